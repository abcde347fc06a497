//! Command lines that work, with what they show: on top of each help, and in the manual page.

use topleaked::report::{COLUMNS, wrap};

/// A command line and what it shows; the latter may be empty.
pub type Example = (&'static str, &'static str);

/// Where what is shown begins at most; a longer command line has it below.
const MOST_BEFORE_PURPOSE: usize = 46;
const INDENT: usize = 2;
const GAP: usize = 3;

/// As they stand in a help: a command a line, purposes in a column of their own, 80 columns in all.
pub fn for_help(examples: &[Example]) -> String {
    let end_of = |command: &str| INDENT + command.chars().count() + GAP;
    let ends = examples.iter().filter(|(_, shows)| !shows.is_empty()).map(|(command, _)| end_of(command));
    let column = ends.filter(|end| *end <= MOST_BEFORE_PURPOSE).max().unwrap_or(INDENT + 2 * GAP);
    let mut help = String::new();
    for (command, shows) in examples {
        let mut line = format!("{:INDENT$}{command}", "");
        let mut lines = wrap(shows, COLUMNS - column).into_iter();
        if end_of(command) <= column
            && let Some(first) = lines.next()
        {
            line = format!("{line:column$}{first}");
        }
        help.push_str(&line);
        for rest in lines {
            help.push_str(&format!("\n{:column$}{rest}", ""));
        }
        help.push('\n');
    }
    help.truncate(help.trim_end().len());
    help
}

/// As they stand in a manual page, in the language of `man`.
pub(crate) fn for_man(examples: &[Example]) -> String {
    let mut page = ".SH EXAMPLES\n".to_owned();
    for (command, shows) in examples {
        page.push_str(&format!(".PP\n.nf\n\\fB{}\\fR\n.fi\n", roff(command)));
        if !shows.is_empty() {
            page.push_str(&format!(".RS\n{}\n.RE\n", roff(shows)));
        }
    }
    page
}

/// `text` with nothing in it that `man` obeys.
pub(crate) fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    if escaped.starts_with('.') { format!("\\&{escaped}") } else { escaped }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_stand_in_a_column_and_long_commands_have_them_below() {
        let help = for_help(&[
            ("topleaked top core", "what there is"),
            ("topleaked top core --exe ./a/very/long/name/of/a/program/on/the/disk", "the same"),
            ("topleaked core", ""),
        ]);
        assert_eq!(
            help,
            "  topleaked top core   what there is
  topleaked top core --exe ./a/very/long/name/of/a/program/on/the/disk
                       the same
  topleaked core"
        );
    }

    #[test]
    fn man_obeys_nothing_in_an_example() {
        assert_eq!(roff(".x 'a' \\n -f"), "\\&.x \\(aqa\\(aq \\en \\-f");
    }
}
