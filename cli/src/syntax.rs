//! The spellings of the classic form, brought to the one that the parser knows.
//!
//! The original is written in D and reads its options with that language's `getopt`; scripts rely on what that accepts:
//! `-n10`, `-n 10`, `-n=10`, `--size=10`, `--size 10`, one-letter names after two dashes (`--n=10`), long names in any
//! case, options on both sides of the file, `--` to end them, `--time=true` for a flag. [`normalise`] turns all of them into `--size=10 … -- FILE`.
//! Which options there are, and which take a value, it learns from the parser's own table.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::{Arg, Command};

/// Brings `arguments` (without the program's name) to the form `--name=value … -- positionals`. What it does not know is
/// left as it is, before the `--`, for the parser to refuse.
pub fn normalise<I>(command: &Command, arguments: I) -> Vec<OsString>
where
    I: IntoIterator<Item = OsString>,
{
    let mut command = command.clone();
    command.build();
    let mut options = Vec::new();
    let mut positionals = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let bytes = argument.as_bytes();
        if bytes == b"--" {
            positionals.extend(arguments);
            break;
        }
        if bytes == b"-" || !bytes.starts_with(b"-") {
            positionals.push(argument);
            continue;
        }
        let Some((option, attached)) = split(&command, bytes) else {
            options.push(argument);
            continue;
        };
        let name = option.get_long().unwrap_or_default();
        if !option.get_action().takes_values() {
            let flag = OsString::from(format!("--{name}"));
            match attached.map(truth) {
                None | Some(Some(true)) => options.push(flag),
                Some(Some(false)) => options.retain(|other| *other != flag),
                // A flag with something else attached is for the parser to judge.
                Some(None) => options.push(argument),
            }
            continue;
        }
        match attached.map(<[u8]>::to_vec).or_else(|| arguments.next().map(OsString::into_vec)) {
            Some(value) => options.push(assignment(name, &value)),
            None => options.push(format!("--{name}").into()),
        }
    }
    options.push("--".into());
    options.extend(positionals);
    options
}

/// What the original's language reads as a truth value.
fn truth(text: &[u8]) -> Option<bool> {
    let values = [(&b"true"[..], true), (b"false", false)];
    values.into_iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn assignment(name: &str, value: &[u8]) -> OsString {
    let mut text = OsString::from(format!("--{name}="));
    text.push(OsStr::from_bytes(value));
    text
}

/// The option that `argument` names, and the value that is attached to it.
fn split<'a, 'c>(command: &'c Command, argument: &'a [u8]) -> Option<(&'c Arg, Option<&'a [u8]>)> {
    if let Some(rest) = argument.strip_prefix(b"--") {
        let (name, value) = match rest.iter().position(|byte| *byte == b'=') {
            Some(at) => (rest.get(..at)?, rest.get(at + 1..)),
            None => (rest, None),
        };
        let name = std::str::from_utf8(name).ok()?;
        return Some((find_option(command, name)?, value));
    }
    let (letter, rest) = argument.get(1..)?.split_first()?;
    let option = find_option(command, std::str::from_utf8(std::slice::from_ref(letter)).ok()?)?;
    let value = rest.strip_prefix(b"=").unwrap_or(rest);
    Some((option, (!rest.is_empty()).then_some(value)))
}

/// By long name or single letter; as written first, then in any case.
fn find_option<'c>(command: &'c Command, name: &str) -> Option<&'c Arg> {
    let has_name = |option: &&Arg, same: fn(&str, &str) -> bool| {
        let letter = option.get_short().map(String::from);
        [option.get_long(), letter.as_deref()].into_iter().flatten().any(|own| same(own, name))
    };
    let options = || command.get_arguments().filter(|argument| argument.get_long().is_some());
    let exact = options().find(|option| has_name(option, |own, name| own == name));
    exact.or_else(|| options().find(|option| has_name(option, str::eq_ignore_ascii_case)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ArgAction;

    fn command() -> Command {
        Command::new("topleaked")
            .arg(Arg::new("size").short('n').long("size"))
            .arg(Arg::new("find").short('f').long("find"))
            .arg(Arg::new("memberOffset").long("memberOffset"))
            .arg(Arg::new("time").short('t').long("time").action(ArgAction::SetTrue))
            .arg(Arg::new("FILE"))
    }

    fn normal(arguments: &[&str]) -> Vec<String> {
        let arguments = arguments.iter().map(OsString::from);
        normalise(&command(), arguments).into_iter().map(|argument| argument.into_string().unwrap()).collect()
    }

    #[test]
    fn every_spelling_of_a_value_is_the_same_option() {
        let expected = ["--size=10", "--", "core"];
        for spelling in [
            &["-n10", "core"][..],
            &["-n", "10", "core"],
            &["-n=10", "core"],
            &["--size=10", "core"],
            &["--size", "10", "core"],
            &["--n=10", "core"],
            &["--n", "10", "core"],
            &["--SIZE=10", "core"],
            &["--Size", "10", "core"],
            &["-N10", "core"],
            &["core", "-n10"],
            &["core", "--size", "10"],
            &["-n10", "--", "core"],
        ] {
            assert_eq!(normal(spelling), expected, "{spelling:?}");
        }
    }

    #[test]
    fn a_value_may_look_like_an_option() {
        assert_eq!(normal(&["--memberoffset", "-8", "core"]), ["--memberOffset=-8", "--", "core"]);
        assert_eq!(normal(&["-f", "-"]), ["--find=-", "--"]);
        assert_eq!(normal(&["-f="]), ["--find=", "--"]);
        assert_eq!(normal(&["-f", ""]), ["--find=", "--"]);
    }

    #[test]
    fn flags_take_no_value() {
        assert_eq!(normal(&["-t", "core"]), ["--time", "--", "core"]);
        assert_eq!(normal(&["--TIME", "core"]), ["--time", "--", "core"]);
        assert_eq!(normal(&["-h"]), ["--help", "--"]);
    }

    #[test]
    fn a_flag_may_be_said_to_be_true_or_false() {
        assert_eq!(normal(&["-ttrue", "--time=TRUE"]), ["--time", "--time", "--"]);
        assert_eq!(normal(&["-t", "-n1", "--time=False"]), ["--size=1", "--"]);
        assert_eq!(normal(&["-t=false", "-t"]), ["--time", "--"]);
        assert_eq!(normal(&["--time=yes", "-tn5"]), ["--time=yes", "-tn5", "--"]);
    }

    #[test]
    fn two_dashes_end_the_options() {
        assert_eq!(normal(&["--", "-n10"]), ["--", "-n10"]);
        assert_eq!(normal(&["-t", "--", "--"]), ["--time", "--", "--"]);
    }

    #[test]
    fn a_single_dash_is_a_file() {
        assert_eq!(normal(&["-", "-t"]), ["--time", "--", "-"]);
    }

    #[test]
    fn what_is_unknown_or_lacks_its_value_is_left_for_the_parser_to_refuse() {
        assert_eq!(normal(&["--bogus=1", "core"]), ["--bogus=1", "--", "core"]);
        assert_eq!(normal(&["-x", "core"]), ["-x", "--", "core"]);
        assert_eq!(normal(&["core", "-n"]), ["--size", "--", "core"]);
        assert_eq!(normal(&["--=5"]), ["--=5", "--"]);
    }

    #[test]
    fn names_that_are_no_text_pass_through() {
        let name = OsString::from_vec(b"co\xffre".to_vec());
        assert_eq!(normalise(&command(), [name.clone()]), [OsString::from("--"), name]);
    }
}
