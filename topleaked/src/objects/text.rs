//! Allocations whose bytes are text.
//!
//! A C string that was allocated to measure ends where its allocation ends, up to the allocator's rounding; a buffer
//! begins with a longer text. What this gets wrong: a number whose bytes are printable and whose neighbours are zero
//! passes for a text of four characters or more, so short texts are never more than possible; wide characters are not
//! recognised.

use super::fit::Fit;

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
}

/// Whether no byte of the word is a control character: a quick test that nearly all words fail.
/// (Warren, "Hacker's Delight", 6-1; a borrow only goes upwards from a byte that fails by itself.)
#[inline(always)]
pub(super) fn may_begin_text(bytes: &[u8]) -> bool {
    let Some(first) = bytes.first_chunk::<4>() else { return false };
    let word = u32::from_le_bytes(*first);
    word.wrapping_sub(0x2020_2020) & !word & 0x8080_8080 == 0
}

/// The kind of text that begins an allocation with these bytes; `None` for no text.
pub(super) fn text_kind(bytes: &[u8], fit: Fit) -> Option<TextKind> {
    let head = bytes.get(..MOST_BYTES).unwrap_or(bytes);
    let end = memchr::memchr(0, head);
    let text = head.get(..end.unwrap_or(head.len()))?;
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        // A cut in the middle of a character is no fault of the text.
        Err(error) if end.is_none() && error.error_len().is_none() => {
            std::str::from_utf8(text.get(..error.valid_up_to())?).ok()?
        }
        Err(_) => return None,
    };
    let is_plain = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r');
    if text.len() < LEAST_CHARACTERS || !text.chars().all(is_plain) {
        return None;
    }
    // Fill patterns are no text.
    let letters = text.chars().filter(|c| c.is_alphanumeric() || *c == ' ').count();
    if letters * 2 < text.chars().count() {
        return None;
    }
    let fills = end.is_some_and(|end| fit.is_for(end as u64 + 1, bytes.len() as u64));
    if fills {
        return Some(if text.len() >= SURE_CHARACTERS { TextKind::Filling } else { TextKind::Short });
    }
    (text.len() >= LEAST_IN_BUFFER).then_some(TextKind::InBuffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &[u8], size: usize) -> Option<TextKind> {
        let mut bytes = text.to_vec();
        bytes.resize(size, 0);
        if may_begin_text(&bytes) { text_kind(&bytes, Fit::new(8)) } else { None }
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
        assert_eq!(kind(&[b'x'; 5000], 5000), Some(TextKind::InBuffer));
        assert_eq!(kind(b"", 0), None);
    }
}
