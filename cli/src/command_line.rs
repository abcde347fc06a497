//! From arguments to the command that they ask for.

use std::ffi::OsString;
use std::io::Write as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Args as _, Command, FromArgMatches as _};

use crate::examples::{self, Example};
use crate::{Exit, classic, output, syntax, verbs};

/// How help is laid out: purpose, examples, then the options.
pub(crate) const HELP_TEMPLATE: &str = "\
{about}

Examples:
{before-help}{usage-heading} {usage}

{all-args}{after-help}";

const EXIT_CODES: &str =
    "Exit code: 0 with an answer, 1 where a limit of --fail-on was passed, 2 where there is no answer.";

/// Arguments that cannot be understood; one line, with the way to the help.
#[derive(Debug, thiserror::Error)]
#[error("{message}{} `{command} --help`", if message.ends_with('?') { " See" } else { "; see" })]
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
    let mut rest = arguments.get(1..).unwrap_or_default().to_vec();
    if rest.is_empty() {
        // Whoever types the bare name wants to know how to go on; it is no answer all the same.
        let help = full_command().render_help();
        let _ = std::io::stderr().write_all(help.to_string().as_bytes());
        return Err(Quiet.into());
    }
    rest = syntax::normalise(&classic_command(), rest);
    rest.insert(0, "topleaked".into());
    let Some(matches) = parse(classic_command(), &rest)? else { return Ok(Exit::Answered) };
    classic::run(&classic::Options::from_arg_matches(&matches)?)
}

/// No answer, and the reason is on stderr already.
#[derive(Debug, thiserror::Error)]
#[error("no question")]
pub struct Quiet;

/// The classic form by itself.
pub fn classic_command() -> Command {
    let command = Command::new("topleaked").version(env!("CARGO_PKG_VERSION"));
    let about = "Looks at a core dump and says why the process leaked";
    with_help(classic::Options::augment_args(command), about, classic::EXAMPLES)
}

/// Purpose, examples and habits that all commands share.
pub(crate) fn with_help(command: Command, about: &'static str, examples: &[Example]) -> Command {
    // One help for -h and --help: two that differ by a few lines only make people look twice.
    let help = Arg::new("help").short('h').long("help").action(ArgAction::HelpShort).help("Print this help");
    command
        .about(about)
        .long_about(None)
        .before_help(examples::for_help(examples))
        .help_template(HELP_TEMPLATE)
        .disable_help_flag(true)
        .arg(help)
        .args_override_self(true)
}

/// The whole command line in one definition: for help, man page and completions.
pub fn full_command() -> Command {
    classic_command()
        .disable_help_subcommand(true)
        .args_conflicts_with_subcommands(true)
        .subcommand_negates_reqs(true)
        .after_help(EXIT_CODES)
        .subcommands(verbs::VERBS.iter().map(verbs::Row::command))
}

/// Prints the help of the whole program, or of a verb.
///
/// # Errors
/// Where stdout cannot be written.
pub(crate) fn print_help(verb: Option<&verbs::Row>) -> anyhow::Result<()> {
    let verb = verb.map(|verb| verb.name.into());
    let arguments: Vec<OsString> =
        [Some("topleaked".into()), verb, Some("--help".into())].into_iter().flatten().collect();
    parse(full_command(), &arguments).map(drop)
}

/// Parses; prints help or the version and answers `None` where that was asked for.
fn parse(command: Command, arguments: &[OsString]) -> anyhow::Result<Option<ArgMatches>> {
    let error = match command.clone().try_get_matches_from(arguments) {
        Ok(matches) => return Ok(Some(matches)),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // The help of the classic form is that of the whole program.
            let asked = |name: &str| arguments.iter().any(|argument| argument == name);
            if command.get_subcommands().next().is_none() && asked("--help") {
                return print_help(None).map(|()| None);
            }
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
    let mut message = message.strip_prefix("error: ").unwrap_or(&message).to_owned();
    for suggested in [ContextKind::SuggestedArg, ContextKind::SuggestedValue] {
        if let Some(ContextValue::String(suggested)) = error.get(suggested) {
            message = format!("{message}; did you mean `{suggested}`?");
        }
    }
    let verb = arguments.get(1).and_then(|name| verbs::find_verb(name));
    let command = verb.map_or_else(|| "topleaked".to_owned(), |verb| format!("topleaked {}", verb.name));
    let message = if verb.is_none() { one_too_many(error, arguments).unwrap_or(message) } else { message };
    UsageError { message, command }
}

/// What to say where the classic form is given more than a file: mostly, a verb was meant.
fn one_too_many(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    let files: Vec<String> = arguments.split(|argument| argument == "--").nth(1)?.iter().map(lossy).collect();
    let Some(ContextValue::String(refused)) = error.get(ContextKind::InvalidArg) else { return None };
    let (first, second) = (files.first()?, files.get(1)?);
    if error.kind() != ErrorKind::UnknownArgument || refused != second {
        return None;
    }
    if let Some(verb) = files.iter().find_map(|name| verbs::find_verb(name.as_ref())) {
        return Some(format!("the verb comes first: `topleaked {} …`", verb.name));
    }
    if !std::path::Path::new(first).exists()
        && let Some(verb) = verbs::nearest_verb(first)
    {
        return Some(format!("there is no verb `{first}`; did you mean `{verb}`?"));
    }
    Some(format!("one file at a time: `{second}` is one too many"))
}

fn lossy(argument: &OsString) -> String {
    argument.to_string_lossy().into_owned()
}
