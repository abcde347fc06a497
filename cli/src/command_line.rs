//! From arguments to the command that they ask for.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{ArgMatches, Command};

use crate::{Exit, output, verbs};

/// How help is laid out: purpose, examples, then the options.
pub(crate) const HELP_TEMPLATE: &str = "\
{about}

Examples:
{before-help}{usage-heading} {usage}

{all-args}{after-help}";

/// Arguments that cannot be understood; one line, with the way to the help.
#[derive(Debug, thiserror::Error)]
#[error("{message}; see `{command} --help`")]
pub struct UsageError {
    message: String,
    command: String,
}

/// Runs what the arguments ask for.
///
/// # Errors
/// [`UsageError`], or whatever the command says.
pub fn dispatch(arguments: &[OsString]) -> anyhow::Result<Exit> {
    let named = arguments.get(1);
    if let Some(verb) = named.and_then(|name| verbs::find_verb(name)) {
        let Some(matches) = parse(full_command(), arguments)? else { return Ok(Exit::Answered) };
        let Some((_, options)) = matches.subcommand() else { unreachable!("the first argument is the verb") };
        return verb.run(options);
    }
    parse(full_command(), arguments)?;
    Ok(Exit::Answered)
}

/// The whole command line in one definition: for help, man page and completions.
pub fn full_command() -> Command {
    Command::new("topleaked")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Looks at a core dump and says why the process leaked")
        .disable_help_subcommand(true)
        .subcommand_required(true)
        .subcommands(verbs::VERBS.iter().map(verbs::Row::command))
}

/// Parses; prints help or the version and answers `None` where that was asked for.
fn parse(command: Command, arguments: &[OsString]) -> anyhow::Result<Option<ArgMatches>> {
    let error = match command.clone().try_get_matches_from(arguments) {
        Ok(matches) => return Ok(Some(matches)),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let text = match crate::terminal::look().color {
                true => error.render().ansi().to_string(),
                false => error.render().to_string(),
            };
            output::print(|out| out.write_all(text.as_bytes()))?;
            Ok(None)
        }
        _ => Err(usage_error(&error, arguments).into()),
    }
}

/// clap's message without its heading, its usage and its hints, which stand on lines of their own.
fn usage_error(error: &clap::Error, arguments: &[OsString]) -> UsageError {
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first.split_whitespace().collect();
    let message = words.join(" ");
    let message = message.strip_prefix("error: ").unwrap_or(&message).to_owned();
    let verb = arguments.get(1).and_then(|name| verbs::find_verb(name));
    let command = verb.map_or_else(|| "topleaked".to_owned(), |verb| format!("topleaked {}", verb.name));
    UsageError { message, command }
}
