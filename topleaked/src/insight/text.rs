//! Text in memory, and what passes for it.

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

/// The text that a word's own bytes hold, in their order in memory: at least four characters of printable ASCII, filling
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
    let all = match target.order {
        ByteOrder::Little => word.to_le_bytes(),
        ByteOrder::Big => word.to_be_bytes(),
    };
    let width = target.width.bytes();
    let bytes = match target.order {
        ByteOrder::Little => all.get(..width)?,
        ByteOrder::Big => all.get(8 - width..)?,
    };
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(width);
    let (text, rest) = bytes.split_at(end);
    let printable = text.iter().all(|byte| (0x20..0x7f).contains(byte));
    let telling = text.iter().filter(|byte| byte.is_ascii_alphanumeric() || **byte == b' ').count() * 2 >= text.len();
    let whole = text.len() >= LEAST_CHARACTERS_IN_WORD && rest.iter().all(|byte| *byte == 0);
    (whole && printable && telling).then(|| String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Width;

    #[test]
    fn a_word_is_text_only_when_all_of_it_is() {
        let read = |bytes: &[u8; 8]| text_in_word(u64::from_le_bytes(*bytes), Target::LITTLE_8);
        assert_eq!(read(b"GET /ind").as_deref(), Some("GET /ind"));
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
    fn text_needs_its_end() {
        assert_eq!(plausible_text(b"GET\0rest"), Some("GET"));
        assert_eq!(plausible_text(b"GET"), None);
        assert_eq!(plausible_text(b"\0"), None);
        assert_eq!(plausible_text(b"\x1b[31m\0"), None);
        assert_eq!(plausible_text("größe\0".as_bytes()), Some("größe"));
    }
}
