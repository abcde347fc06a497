//! Text in memory, and what passes for it.

use std::ops::Range;

use crate::addr::{ByteOrder, Target};

/// The shortest run of characters in a word that is taken for text: three bytes of a number are printable too often.
const LEAST_CHARACTERS_IN_WORD: usize = 4;

/// The text at the start of `bytes`, up to its NUL: `None` where it has none, is empty, or holds what no
/// text holds (control characters other than tab and line ends, bytes that are no UTF-8).
pub fn plausible_text(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let text = std::str::from_utf8(bytes.get(..end)?).ok()?;
    let plain = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r');
    (!text.is_empty() && text.chars().all(plain)).then_some(text)
}

/// The text at the start of memory that the program asked for: at least four characters of printable ASCII, most of them letters,
/// digits and blanks. Bytes of numbers look so too seldom to matter: one of six thousand.
pub(super) fn text_in_heap(bytes: &[u8]) -> Option<&str> {
    let text = plausible_text(bytes).filter(|text| text.len() >= LEAST_CHARACTERS_IN_WORD && text.is_ascii())?;
    let telling = text.bytes().filter(|byte| byte.is_ascii_alphanumeric() || *byte == b' ').count();
    (telling * 2 > text.len()).then_some(text)
}

/// The text that a word's own bytes hold, in their order in memory: at least four characters of printable ASCII or line ends, filling
/// the word or followed by NULs alone.
///
/// ```
/// use topleaked::addr::Target;
/// use topleaked::insight::text_in_word;
///
/// assert_eq!(text_in_word(u64::from_le_bytes(*b"CONNECT\0"), Target::LITTLE_8), Some("CONNECT".to_owned()));
/// assert_eq!(text_in_word(0x0000_7f12_3456_7890, Target::LITTLE_8), None);
/// ```
pub fn text_in_word(word: u64, target: Target) -> Option<String> {
    let (all, own) = in_memory(word, target);
    let bytes = all.get(own)?;
    let width = bytes.len();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(width);
    let (text, rest) = bytes.split_at(end);
    let printable = text.iter().all(|byte| (0x20..0x7f).contains(byte) || b"\t\n\r".contains(byte));
    let telling = text.iter().filter(|byte| byte.is_ascii_alphanumeric() || **byte == b' ').count() * 2 >= text.len();
    let whole = text.len() >= LEAST_CHARACTERS_IN_WORD && rest.iter().all(|byte| *byte == 0);
    (whole && printable && telling).then(|| String::from_utf8_lossy(text).into_owned())
}

/// A word's bytes in their order in memory: those of the range.
fn in_memory(word: u64, target: Target) -> ([u8; 8], Range<usize>) {
    let width = target.width.bytes();
    match target.order {
        ByteOrder::Little => (word.to_le_bytes(), 0..width),
        ByteOrder::Big => (word.to_be_bytes(), 8 - width..8),
    }
}

/// The shortest run of letters and digits in a word of other bytes that is worth showing: of a thousand words of random
/// bytes, three have one.
const LEAST_LETTERS: usize = 5;

/// The text that begins or ends in a word beside something else: at least five letters and digits, with what stands between
/// such, at the word's end or its start. The header of a string in front of its letters, or what was there before it.
/// Of a thousand words of random bytes, two are taken for it.
pub(super) fn part_of_text(word: u64, target: Target) -> Option<String> {
    let (all, own) = in_memory(word, target);
    let bytes = all.get(own)?;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b" _-./:".contains(byte);
    let at_end = bytes.len() - bytes.iter().rev().take_while(|byte| plain(byte)).count();
    let at_start = bytes.iter().take_while(|byte| plain(byte)).count();
    let telling = |text: &&[u8]| text.iter().filter(|byte| byte.is_ascii_alphanumeric()).count() >= LEAST_LETTERS;
    let text = [bytes.get(at_end..)?, bytes.get(..at_start)?].into_iter().find(telling)?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// The longest run of ASCII letters and digits in a word's bytes, in their order in memory: at least five.
pub(super) fn letters_in_word(word: u64, target: Target) -> Option<String> {
    let (all, own) = in_memory(word, target);
    let bytes = all.get(own)?;
    // Three letters and nothing else: as likely a short string as a number.
    if let Some((text, rest)) = bytes.split_at_checked(3)
        && text.iter().all(u8::is_ascii_alphanumeric)
        && rest.iter().all(|byte| *byte == 0)
    {
        return Some(String::from_utf8_lossy(text).into_owned());
    }
    let runs = bytes.split(|byte| !byte.is_ascii_alphanumeric());
    let longest = runs.max_by_key(|run| run.len()).filter(|run| run.len() >= LEAST_LETTERS)?;
    Some(String::from_utf8_lossy(longest).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Width;

    #[test]
    fn letters_among_other_bytes_are_found() {
        let read = |bytes: &[u8; 8]| letters_in_word(u64::from_le_bytes(*bytes), Target::LITTLE_8);
        assert_eq!(read(b"((\x01value").as_deref(), Some("value"));
        assert_eq!(read(b"\x0b\x01key:12"), None, "four at most stand together");
        assert_eq!(letters_in_word(0x6161_6161, Target { width: Width::W4, order: ByteOrder::Little }), None);
    }

    #[test]
    fn text_beside_other_bytes_is_found_at_the_ends() {
        let read = |bytes: &[u8; 8]| part_of_text(u64::from_le_bytes(*bytes), Target::LITTLE_8);
        assert_eq!(read(b"\x0d\x0d\x01value").as_deref(), Some("value"));
        assert_eq!(read(b"key:12\0\x07").as_deref(), Some("key:12"));
        assert_eq!(read(b"\x01value\x02\x03"), None, "in the middle");
        assert_eq!(read(b"\x01\x01a.b.c-"), None, "few letters");
        assert_eq!(read(&0x0000_7f12_3456_7890_u64.to_le_bytes()), None);
    }

    #[test]
    fn a_word_is_text_only_when_all_of_it_is() {
        let read = |bytes: &[u8; 8]| text_in_word(u64::from_le_bytes(*bytes), Target::LITTLE_8);
        assert_eq!(read(b"GET /ind").as_deref(), Some("GET /ind"));
        assert_eq!(read(b"<html>\r\n").as_deref(), Some("<html>\r\n"));
        assert_eq!(read(b"abc\0\0\0\0\0"), None, "three characters are a number as likely");
        assert_eq!(read(b"abcd\0\0\0\x01"), None, "something follows the text");
        assert_eq!(read(b"((((((((").as_deref(), None, "a fill pattern, no text");
    }

    #[test]
    fn the_order_of_bytes_is_that_of_the_target() {
        let big = Target { width: Width::W4, order: ByteOrder::Big };
        assert_eq!(text_in_word(u64::from(u32::from_be_bytes(*b"idle")), big).as_deref(), Some("idle"));
        let little = Target { width: Width::W4, order: ByteOrder::Little };
        assert_eq!(text_in_word(u64::from(u32::from_le_bytes(*b"idle")), little).as_deref(), Some("idle"));
    }

    #[test]
    fn text_in_a_heap_has_letters() {
        assert_eq!(text_in_heap(b"CONNECTED\0\x01"), Some("CONNECTED"));
        assert_eq!(text_in_heap(b"abc\0"), None, "too short");
        assert_eq!(text_in_heap(b"\"#$%a\0"), None, "hardly any letters");
        assert_eq!(text_in_heap(b"ab\x01cdef\0"), None);
        assert_eq!(text_in_heap("größer\0".as_bytes()), None, "other bytes stand in numbers as well");
    }

    #[test]
    fn text_needs_its_end() {
        assert_eq!(plausible_text(b"GET\0rest"), Some("GET"));
        assert_eq!(plausible_text(b"GET"), None);
        assert_eq!(plausible_text(b"\0"), None);
        assert_eq!(plausible_text(b"\x1b[31m\0"), None);
        assert_eq!(plausible_text("größe\0".as_bytes()), Some("größe"));
    }
}
