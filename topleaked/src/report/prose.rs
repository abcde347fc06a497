//! Running text, broken into lines.

/// How many columns every terminal has.
pub const COLUMNS: usize = 80;

/// Breaks `text` at blanks into lines of at most `columns` characters; a longer word has a line of its own.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut left = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        match lines.last_mut() {
            Some(line) if length < left => {
                line.push(' ');
                line.push_str(word);
                left -= length + 1;
            }
            _ => {
                lines.push(word.to_owned());
                left = columns.saturating_sub(length);
            }
        }
    }
    lines
}

/// Breaks each paragraph of `text`; lines that begin with a blank stay as they are.
pub fn wrap_paragraphs(text: &str, columns: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut paragraph = String::new();
    // The last, empty line ends the last paragraph.
    for line in text.lines().chain([""]) {
        if !line.is_empty() && !line.starts_with(' ') {
            paragraph.push(' ');
            paragraph.push_str(line);
            continue;
        }
        lines.append(&mut wrap(&std::mem::take(&mut paragraph), columns));
        lines.push(line.to_owned());
    }
    lines.pop();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_long_as_they_may_be() {
        assert_eq!(wrap("one two  three\nfour", 8), ["one two", "three", "four"]);
        assert_eq!(wrap("one two", 7), ["one two"]);
        assert_eq!(wrap("one two", 6), ["one", "two"]);
        assert_eq!(wrap("unbreakable a", 4), ["unbreakable", "a"]);
        assert!(wrap("", 8).is_empty() && wrap(" ", 0).is_empty());
    }

    #[test]
    fn what_is_set_in_stays_as_it_is() {
        assert_eq!(
            wrap_paragraphs("one\ntwo three\n  a  command\nfour\n\nfive", 9),
            "one two\nthree\n  a  command\nfour\n\nfive"
        );
        assert_eq!(wrap_paragraphs("", 9), "");
    }
}
