//! `topleaked help`: the help, for those who ask by a verb.

use crate::{Exit, command_line};

use super::{Example, Verb};

/// Options of `help`.
#[derive(clap::Args)]
pub(super) struct Help {
    /// A verb; without one, the help of the whole program
    verb: Option<String>,
}

impl Verb for Help {
    const NAME: &'static str = "help";
    const ABOUT: &'static str = "Prints this help, or that of a verb";
    const EXAMPLES: &'static [Example] = &[
        ("topleaked help", "what there is"),
        ("topleaked help leaks", "the options of one verb"),
        ("topleaked leaks --help", "the same"),
    ];

    fn run(self) -> anyhow::Result<Exit> {
        let verb = self.verb.as_deref().map(super::require_verb).transpose()?;
        command_line::print_help(verb)?;
        Ok(Exit::Answered)
    }
}
