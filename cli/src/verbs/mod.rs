//! The verbs: one file each, and one row in [`VERBS`].
//!
//! A verb is a struct of its options that says its name and purpose and can be run ([`Verb`]); help,
//! man page and completions come from the same struct.

use anyhow::Context as _;
use clap::{ArgMatches, Command};

use crate::Exit;
use crate::examples::Example;

mod completions;
mod demo;
mod explain;
mod fields;
mod heap;
mod help;
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
    Row::of::<help::Help>(),
];

/// What a verb has to say of itself.
pub trait Verb: clap::Args {
    /// What the user types.
    const NAME: &'static str;
    /// What it is for, in one line.
    const ABOUT: &'static str;
    /// At least three command lines that work (a test runs them), with what they show.
    const EXAMPLES: &'static [Example];

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
    /// Command lines that work.
    pub examples: &'static [Example],
    command: fn() -> Command,
    run: fn(&ArgMatches) -> anyhow::Result<Exit>,
}

impl Row {
    const fn of<V: Verb>() -> Row {
        Row {
            name: V::NAME,
            examples: V::EXAMPLES,
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

/// The verb of this name.
///
/// # Errors
/// Where there is none.
fn require_verb(name: &str) -> anyhow::Result<&'static Row> {
    find_verb(name.as_ref()).with_context(|| format!("there is no verb `{name}`; `topleaked --help` lists them"))
}

/// The verb that `name` was probably meant to be.
pub(crate) fn nearest_verb(name: &str) -> Option<&'static str> {
    let (distance, nearest) = VERBS.iter().map(|row| (distance(row.name, name), row.name)).min()?;
    (distance <= 2 && distance < name.chars().count()).then_some(nearest)
}

/// How many characters have to be put in, left out or replaced to get from one to the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (above, a) in from.chars().enumerate() {
        let mut diagonal = above;
        let mut left = above + 1;
        for (cell, b) in row.iter_mut().zip(std::iter::once(None).chain(to.chars().map(Some))) {
            let here = match b {
                None => left,
                Some(b) => (diagonal + usize::from(a != b)).min(*cell + 1).min(left + 1),
            };
            diagonal = std::mem::replace(cell, here);
            left = here;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_levenshtein() {
        for (from, to, expected) in [
            ("", "", 0),
            ("", "ab", 2),
            ("ab", "", 2),
            ("info", "inof", 2),
            ("leaks", "leak", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }

    #[test]
    fn a_verb_is_found_by_what_is_nearly_its_name() {
        assert_eq!(nearest_verb("inof"), Some("info"));
        assert_eq!(nearest_verb("explian"), Some("explain"));
        assert_eq!(nearest_verb("app.core"), None);
        assert_eq!(nearest_verb("x"), None);
    }
}
