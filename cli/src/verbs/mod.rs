//! The verbs: one file each, and one row in [`VERBS`].
//!
//! A verb is a struct of its options that says its name and purpose and can be run ([`Verb`]); help,
//! man page and completions come from the same struct.

use clap::{ArgMatches, Command};

use crate::Exit;

mod completions;
mod demo;
mod explain;
mod fields;
mod heap;
mod info;
mod layout;
mod leaks;
mod man;
mod top;
mod types;

/// All verbs, in the order of the help.
pub static VERBS: &[Row] = &[
    Row::of::<top::Top>(),
    Row::of::<info::InfoVerb>(),
    Row::of::<heap::HeapVerb>(),
    Row::of::<types::TypesVerb>(),
    Row::of::<leaks::LeaksVerb>(),
    Row::of::<fields::FieldsVerb>(),
    Row::of::<explain::ExplainVerb>(),
    Row::of::<layout::LayoutVerb>(),
    Row::of::<demo::Demo>(),
    Row::of::<completions::Completions>(),
    Row::of::<man::Man>(),
];

/// What a verb has to say of itself.
pub trait Verb: clap::Args {
    /// What the user types.
    const NAME: &'static str;
    /// What it is for, in one line.
    const ABOUT: &'static str;
    /// Three command lines that work, with what they show; printed on top of the help.
    const EXAMPLES: &'static str;

    /// Does it.
    ///
    /// # Errors
    /// Where there is no answer; nothing is on stdout then.
    fn run(self) -> anyhow::Result<Exit>;
}

/// A verb in the table.
pub struct Row {
    /// What the user types.
    pub name: &'static str,
    command: fn() -> Command,
    run: fn(&ArgMatches) -> anyhow::Result<Exit>,
}

impl Row {
    const fn of<V: Verb>() -> Row {
        Row {
            name: V::NAME,
            command: || crate::command_line::with_help(V::augment_args(Command::new(V::NAME)), V::ABOUT, V::EXAMPLES),
            run: |matches| V::from_arg_matches(matches)?.run(),
        }
    }

    /// The verb's options, for parsing and for its help.
    pub fn command(&self) -> Command {
        (self.command)()
    }

    /// Runs the verb with parsed options.
    ///
    /// # Errors
    /// As [`Verb::run`].
    pub fn run(&self, matches: &ArgMatches) -> anyhow::Result<Exit> {
        (self.run)(matches)
    }
}

/// The verb of this name.
pub fn find_verb(name: &std::ffi::OsStr) -> Option<&'static Row> {
    VERBS.iter().find(|row| row.name == name)
}
