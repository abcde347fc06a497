//! Allocations whose bytes are text.
//!
//! A C string that was allocated to measure ends where its allocation ends, up to the allocator's rounding; a buffer
//! begins with a longer text. What this gets wrong: a number whose bytes are printable and whose neighbours are zero
//! passes for a text of four characters or more, so short texts are never more than possible. Text of 2-byte characters is
//! not recognised.

use crate::addr::Target;
use crate::heap::Rounding;

/// A shorter one is a number as likely.
const LEAST_CHARACTERS: usize = 4;
/// From here on chance is no explanation, wherever the text ends.
const SURE_CHARACTERS: usize = 8;
/// So many bytes of a text are looked at.
const MOST_BYTES: usize = 4096;
/// A text that does not end where its allocation ends has to be as long as this.
const LEAST_IN_BUFFER: usize = 16;

/// What a text tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TextKind {
    /// It fills its allocation.
    Filling,
    /// It fills its allocation, but is short.
    Short,
    /// More follows behind it.
    InBuffer,
    /// It stands behind a header that says how long it is.
    Measured,
    /// Its characters have four bytes each.
    Wide,
    /// It is a copy-on-write `std::string`'s.
    Shared,
}

/// Whether no byte of the word is a control character: a quick test that nearly all words fail.
/// (Warren, "Hacker's Delight", 6-1; a borrow only goes upwards from a byte that fails by itself.)
#[inline(always)]
pub(super) fn may_begin_text(bytes: &[u8]) -> bool {
    let Some(first) = bytes.first_chunk::<4>() else { return false };
    let word = u32::from_le_bytes(*first);
    word.wrapping_sub(0x2020_2020) & !word & 0x8080_8080 == 0
}

/// Whether two 4-byte characters of the Latin alphabets stand there, in either byte order.
#[inline(always)]
pub(super) fn may_begin_wide_text(bytes: &[u8]) -> bool {
    let Some([a, b, c, d, e, f, g, h]) = bytes.first_chunk::<8>() else { return false };
    let little = [b, c, d, f, g, h].iter().all(|byte| **byte == 0) && *a >= b' ' && *e >= b' ';
    let big = [a, b, c, e, f, g].iter().all(|byte| **byte == 0) && *d >= b' ' && *h >= b' ';
    little || big
}

/// The kind of text that begins an allocation with these bytes; `None` for no text.
pub(super) fn text_kind(bytes: &[u8], rounding: Rounding) -> Option<TextKind> {
    let head = bytes.get(..MOST_BYTES).unwrap_or(bytes);
    let end = memchr::memchr(0, head);
    let text = head.get(..end.unwrap_or(head.len()))?;
    if text.len() < LEAST_CHARACTERS {
        return None;
    }
    let (is_text, length) = match plain_ascii(text) {
        Some(is_text) => (is_text, text.len()),
        None => match std::str::from_utf8(text) {
            Ok(text) => (is_text(text), text.len()),
            // A cut in the middle of a character is no fault of the text.
            Err(error) if end.is_none() && error.error_len().is_none() => {
                let text = std::str::from_utf8(text.get(..error.valid_up_to())?).ok()?;
                (is_text(text), text.len())
            }
            Err(_) => return None,
        },
    };
    if !is_text || length < LEAST_CHARACTERS {
        return None;
    }
    let fills = end.is_some_and(|end| rounding.is_for(end as u64 + 1, bytes.len() as u64));
    if fills {
        return Some(if length >= SURE_CHARACTERS { TextKind::Filling } else { TextKind::Short });
    }
    (length >= LEAST_IN_BUFFER).then_some(TextKind::InBuffer)
}

/// The text behind a header that counts its bytes, and the zero byte behind it where it says: redis's strings
/// (`sds.h`: length and capacity of 1, 2, 4 or 8 bytes each, packed, and a byte that says which), or a length of four or
/// eight bytes alone.
pub(super) fn measured_text(bytes: &[u8], rounding: Rounding, target: Target) -> Option<TextKind> {
    let byte = |at: usize| bytes.get(at).copied();
    let (header, length) = match (byte(2)?, byte(4)?, byte(8), byte(16)) {
        (1, ..) if byte(0)? <= byte(1)? => (3, u64::from(byte(0)?)),
        (_, 2, ..) => (5, u64::from(target.u16(bytes)?)),
        (_, _, Some(3), _) => (9, u64::from(target.u32(bytes)?)),
        (_, _, _, Some(4)) => (17, target.u64(bytes)?),
        _ => match target.u32(bytes).map(u64::from) {
            Some(length) if target.u64(bytes) == Some(length) => (8, length),
            length => (4, length?),
        },
    };
    let text = bytes.get(header..)?;
    let length = usize::try_from(length).ok().filter(|length| (SURE_CHARACTERS..MOST_BYTES).contains(length))?;
    let is_measured = memchr::memchr(0, text.get(..=length)?) == Some(length);
    // Without a capacity of its own, the text fills its allocation.
    let fills = header % 4 != 0 || rounding.is_for((header + length + 1) as u64, bytes.len() as u64);
    (is_measured && fills && is_text(std::str::from_utf8(text.get(..length)?).ok()?)).then_some(TextKind::Measured)
}

/// The text of a `std::string` of before C++11, which programs share until one writes (libstdc++'s
/// `basic_string::_Rep`: length, capacity, references less one, then the characters and a zero).
pub(super) fn shared_string(bytes: &[u8], rounding: Rounding, target: Target) -> Option<TextKind> {
    let width = target.width.bytes();
    let (length, capacity) = (target.word(bytes)?, target.word(bytes.get(width..)?)?);
    let references = target.u32(bytes.get(2 * width..)?)? as i32;
    let header = 3 * width as u64;
    let fits = (1..1 << 40).contains(&capacity) && rounding.is_for(header + capacity + 1, bytes.len() as u64);
    let length = usize::try_from(length).ok().filter(|length| (1..MOST_BYTES).contains(length))?;
    if !fits || length as u64 > capacity || references < -1 {
        return None;
    }
    let text = bytes.get(3 * width..)?;
    let is_measured = memchr::memchr(0, text.get(..=length)?) == Some(length);
    (is_measured && std::str::from_utf8(text.get(..length)?).is_ok()).then_some(TextKind::Shared)
}

/// Text of 4-byte characters (`wchar_t`) that ends with a zero.
pub(super) fn wide_text(bytes: &[u8], target: Target) -> Option<TextKind> {
    let characters = bytes.chunks_exact(4).take(MOST_BYTES / 4).filter_map(|raw| target.u32(raw));
    let characters = characters.take_while(|character| *character != 0);
    let text: String = characters.map(char::from_u32).collect::<Option<_>>()?;
    let length = text.chars().count();
    // A cut text ends in no zero.
    let ends = bytes.get(4 * length..4 * length + 4) == Some(&[0; 4]);
    (ends && length >= SURE_CHARACTERS && is_text(&text)).then_some(TextKind::Wide)
}

/// What [`is_text`] says of bytes that are all ASCII; `None` where some are not. Texts are many, and nearly all are.
fn plain_ascii(text: &[u8]) -> Option<bool> {
    let mut letters = 0_usize;
    let (mut controls, mut high) = (false, 0_u8);
    for byte in text {
        high |= byte;
        letters += usize::from(byte.is_ascii_alphanumeric() || *byte == b' ');
        controls |= *byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r') || *byte == 0x7f;
    }
    (high < 0x80).then_some(!controls && letters * 2 >= text.len() && !is_fill(text))
}

/// Whether one byte, or two in turn, are all that there is.
fn is_fill(bytes: &[u8]) -> bool {
    bytes.len() >= SURE_CHARACTERS && bytes.iter().zip(bytes.iter().skip(2)).all(|(a, b)| a == b)
}

/// Whether no character controls anything, and half of them are letters: fill patterns are no text.
fn is_text(text: &str) -> bool {
    let is_plain = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r');
    let letters = text.chars().filter(|c| c.is_alphanumeric() || *c == ' ').count();
    letters * 2 >= text.chars().count() && text.chars().all(is_plain) && !is_fill(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &[u8], size: usize) -> Option<TextKind> {
        let mut bytes = text.to_vec();
        bytes.resize(size, 0);
        if may_begin_text(&bytes) { text_kind(&bytes, Rounding::default()) } else { None }
    }

    #[test]
    fn a_text_that_ends_where_its_allocation_ends_is_one() {
        assert_eq!(kind(b"session-name-longer-than-sso-1234567", 40), Some(TextKind::Filling));
        assert_eq!(kind(b"worker", 24), Some(TextKind::Short));
        assert_eq!(kind("größer als gedacht".as_bytes(), 24), Some(TextKind::Filling));
        assert_eq!(kind(b"GET /index.html HTTP/1.1\r\n", 4096), Some(TextKind::InBuffer));
        assert_eq!(kind(b"GET /", 4096), None);
        assert_eq!(kind(b"abc", 24), None);
        assert_eq!(kind(b"\x01bcdefghijklmnop", 24), None);
        assert_eq!(kind(b"((((((((((((((((", 24), None);
        assert_eq!(kind(&b"many words ".repeat(500), 5500), Some(TextKind::InBuffer));
        // Patterns that memory is filled with.
        assert_eq!(kind(&[b'x'; 5000], 5000), None);
        assert_eq!(kind(&[b'3'; 599], 600), None);
        assert_eq!(kind(&b"ab".repeat(20), 40), None);
        assert_eq!(kind(b"", 0), None);
    }

    #[test]
    fn ascii_is_judged_as_any_text_is() {
        for text in
            ["plain text", "a\tb\r\n", "((((", "(((a", "((aa", "a\u{7f}bc", "a\u{1}bc", "    ", "aaaaaaaaaa", "größer"]
        {
            let expected = if text.is_ascii() { Some(is_text(text)) } else { None };
            assert_eq!(plain_ascii(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn a_text_behind_its_length_is_one() {
        let measured = |front: &[u8], text: &str, size: usize| {
            let mut bytes = [front, text.as_bytes()].concat();
            bytes.resize(size, 0);
            measured_text(&bytes, Rounding::default(), Target::LITTLE_8)
        };
        let text = "a value of so many characters, 40 in all";
        let kind = Some(TextKind::Measured);
        assert_eq!(measured(&[40, 60, 1], text, 72), kind);
        assert_eq!(measured(&[40, 0, 60, 0, 2], text, 72), kind);
        assert_eq!(measured(&[40, 0, 0, 0, 60, 0, 0, 0, 3], text, 72), kind);
        assert_eq!(measured(&[40, 0, 0, 0], text, 56), kind);
        assert_eq!(measured(&40_u64.to_le_bytes(), text, 56), kind);
        // A length too long or too short, a capacity below it, room that nobody asked for.
        assert_eq!(measured(&[41, 60, 1], text, 72), None);
        assert_eq!(measured(&[39, 60, 1], text, 72), None);
        assert_eq!(measured(&[40, 30, 1], text, 72), None);
        assert_eq!(measured(&[40, 0, 0, 0], text, 200), None);
        assert_eq!(measured(&[], "", 24), None);
        assert_eq!(measured(&[0; 16], "", 40), None);
    }

    #[test]
    fn a_shared_string_proves_itself() {
        let shared = |words: [u64; 3], text: &str, size: usize| {
            let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            bytes.extend(text.as_bytes());
            bytes.resize(size, 0);
            shared_string(&bytes, Rounding::default(), Target::LITTLE_8)
        };
        assert_eq!(shared([9, 12, 0], "some text", 40), Some(TextKind::Shared));
        assert_eq!(shared([9, 12, u64::from(u32::MAX)], "some text", 40), Some(TextKind::Shared));
        for (words, size) in
            [([8, 12, 0], 40), ([0, 0, 0], 40), ([9, 8, 0], 40), ([9, 12, 0], 104), ([9, 12, 0x8000_0000], 40)]
        {
            assert_eq!(shared(words, "some text", size), None, "{words:?} {size}");
        }
    }

    #[test]
    fn wide_characters_are_text() {
        let wide = |text: &str, size: usize| {
            let mut bytes: Vec<u8> = text.chars().flat_map(|c| (c as u32).to_le_bytes()).collect();
            bytes.resize(size, 0);
            wide_text(&bytes, Target::LITTLE_8)
        };
        assert_eq!(wide("a wide title, größer", 120), Some(TextKind::Wide));
        assert_eq!(wide("short", 40), None);
        assert_eq!(wide("\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}\u{7}\u{8}\u{9}", 40), None);
        assert_eq!(wide_text(&[0x41, 0, 0, 0].repeat(10), Target::LITTLE_8), None);
    }
}
