//! `topleaked man`: the manual page.

use crate::examples::{self, Example, roff};
use crate::{Exit, classic, command_line, output};

use super::Verb;

/// Options of `man`.
#[derive(clap::Args)]
pub(super) struct Man {
    /// A verb; without one, the page of the whole program
    verb: Option<String>,
}

const EXIT_CODES: &[(&str, &str)] = &[
    ("0", "There is an answer, and it is on stdout. So too where the reader of a pipe went away before its end."),
    ("1", "There is an answer, and a limit that --fail-on named was passed."),
    ("2", "There is no answer: nothing is on stdout, and one line on stderr says why."),
];

const ENVIRONMENT: &[(&str, &str)] = &[
    ("NO_COLOR", "Where it is set to anything, there are no colours. A file or a pipe never gets any."),
    ("TERM", "There are no colours where it is not set, or \"dumb\"."),
    ("TMPDIR", "The folder that compressed dumps are unpacked into by the verbs that read by address."),
];

impl Verb for Man {
    const NAME: &'static str = "man";
    const ABOUT: &'static str = "Prints the manual page";
    const EXAMPLES: &'static [Example] = &[
        ("topleaked man | man -l -", "read it"),
        ("topleaked man completions | man -l -", "the page of one verb"),
        ("topleaked man > /usr/local/share/man/man1/topleaked.1", "install it"),
    ];

    fn run(self) -> anyhow::Result<Exit> {
        let (command, examples) = match &self.verb {
            None => (command_line::full_command(), classic::EXAMPLES),
            Some(name) => {
                let row = super::require_verb(name)?;
                let command = row.command().name(format!("topleaked-{name}")).bin_name(format!("topleaked {name}"));
                (command, row.examples)
            }
        };
        let is_whole = self.verb.is_none();
        let man = clap_mangen::Man::new(command);
        let mut page = Vec::new();
        man.render_title(&mut page)?;
        man.render_name_section(&mut page)?;
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        page.extend(examples::for_man(examples).bytes());
        man.render_options_section(&mut page)?;
        if is_whole {
            man.render_subcommands_section(&mut page)?;
        }
        page.extend(terms("\"EXIT STATUS\"", EXIT_CODES).bytes());
        if is_whole {
            page.extend(terms("ENVIRONMENT", ENVIRONMENT).bytes());
            man.render_version_section(&mut page)?;
        }
        output::print(|out| out.write_all(&page))?;
        Ok(Exit::Answered)
    }
}

/// A section of words and what they mean.
fn terms(section: &str, terms: &[(&str, &str)]) -> String {
    let term = |(word, says): &(&str, &str)| format!(".TP\n\\fB{}\\fR\n{}\n", roff(word), roff(says));
    format!(".SH {section}\n{}", terms.iter().map(term).collect::<String>())
}
