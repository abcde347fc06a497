//! Text from strangers, made harmless for a terminal.

use std::fmt::{self, Write as _};

/// Shows text that came from a dump or a symbol file, with everything escaped that could steer a terminal or
/// deceive the reader: control characters (`\n`, `\x1b`), the second control set (`\u{9b}`), marks
/// that turn the direction of writing (`\u{202e}`), characters without width, and bytes that are no UTF-8 (`\xff`).
/// A backslash is doubled, so that no two texts look the same.
///
/// ```
/// use topleaked::report::SafeText;
///
/// assert_eq!(SafeText::from("a\x1b[31mb").to_string(), r"a\x1b[31mb");
/// assert_eq!(SafeText::from(&b"ok\xff"[..]).to_string(), r"ok\xff");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SafeText<'a>(&'a [u8]);

impl<'a> From<&'a str> for SafeText<'a> {
    fn from(text: &'a str) -> SafeText<'a> {
        SafeText(text.as_bytes())
    }
}

impl<'a> From<&'a [u8]> for SafeText<'a> {
    fn from(bytes: &'a [u8]) -> SafeText<'a> {
        SafeText(bytes)
    }
}

impl<'a> From<&'a std::path::Path> for SafeText<'a> {
    fn from(path: &'a std::path::Path) -> SafeText<'a> {
        SafeText(path.as_os_str().as_encoded_bytes())
    }
}

impl fmt::Display for SafeText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\\' => f.write_str(r"\\")?,
                    '\n' => f.write_str(r"\n")?,
                    '\r' => f.write_str(r"\r")?,
                    '\t' => f.write_str(r"\t")?,
                    '\0'..='\x1f' | '\x7f' => write!(f, r"\x{:02x}", u32::from(c))?,
                    _ if is_deceptive(c) => write!(f, r"\u{{{:x}}}", u32::from(c))?,
                    _ => f.write_char(c)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, r"\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Text from strangers between double quotes; a quote within is escaped, everything else as in [`SafeText`].
#[derive(Clone, Copy, Debug)]
pub struct QuotedText<'a>(pub &'a [u8]);

impl fmt::Display for QuotedText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for (at, part) in self.0.split(|byte| *byte == b'"').enumerate() {
            if at > 0 {
                f.write_str("\\\"")?;
            }
            SafeText(part).fmt(f)?;
        }
        f.write_char('"')
    }
}

/// Whether a character outside ASCII steers the terminal, or makes text look like other text.
pub(super) fn is_deceptive(c: char) -> bool {
    matches!(c,
        '\u{80}'..='\u{9f}'           // the second control set: 0x9b starts an escape sequence on some terminals
        | '\u{ad}' | '\u{61c}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}'     // no width, and direction marks
        | '\u{2028}'..='\u{202e}'     // line separators, direction overrides
        | '\u{2060}'..='\u{206f}'     // invisible operators, direction isolates
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}'   // tags
    )
}

/// The bytes as text that keeps what is UTF-8 as it is and escapes each other byte as `\xff`; for file names in JSON,
/// which does its own escaping.
pub(super) fn lossless(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, r"\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn safe(text: &str) -> String {
        SafeText::from(text).to_string()
    }

    #[test]
    fn ordinary_text_is_left_alone() {
        assert_eq!(safe("std::vector<int, A<Б>>::push_back(é)"), "std::vector<int, A<Б>>::push_back(é)");
    }

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_obey() {
        assert_eq!(safe("\x1b]0;title\x07"), r"\x1b]0;title\x07");
        assert_eq!(safe("a\u{9b}31mb"), r"a\u{9b}31mb");
        assert_eq!(safe("user\u{202e}gpj.exe"), r"user\u{202e}gpj.exe");
        assert_eq!(safe("two\nlines\r\t\0\x7f"), r"two\nlines\r\t\x00\x7f");
        assert_eq!(safe(r"\x1b"), r"\\x1b", "an escape and its spelling differ");
    }

    #[test]
    fn quoted_text_ends_at_its_last_quote() {
        assert_eq!(QuotedText(b"say \"hi\"\n").to_string(), r#""say \"hi\"\n""#);
        assert_eq!(QuotedText(b"").to_string(), r#""""#);
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_bytes() {
        assert_eq!(SafeText::from(&b"a\xc3(\xff\xfe"[..]).to_string(), r"a\xc3(\xff\xfe");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_come_out_printable(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let text = SafeText::from(&bytes[..]).to_string();
            proptest::prop_assert!(text.chars().all(|c| !c.is_control() && !is_deceptive(c)));
        }
    }
}
