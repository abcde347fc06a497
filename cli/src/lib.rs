//! The command line of `topleaked`: arguments, terminal, exit codes.
//!
//! The first argument decides: the name of a verb (`topleaked info CORE`) goes to that verb's
//! file in [`verbs`]; anything else is the classic form (`topleaked CORE -n10`). A file that is
//! called like a verb is named with its folder: `./info`.
//!
//! stdout carries the answer and is written once there is one; stderr carries the rest. The exit code is 0 where the
//! question was answered, 1 where a threshold was asked for and passed, 2 where there is no answer. A reader
//! that closes the pipe early (`| head -1`) is no error: the rest of the answer goes nowhere, and the exit code is 0.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use topleaked::report::SafeText;

pub mod classic;
pub mod command_line;
pub mod dump;
pub mod examples;
mod filter;
pub mod means;
pub mod output;
pub mod sigbus;
pub mod syntax;
mod tagged;
pub mod terminal;
pub mod verbs;

/// How a command ended that could answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Answered: exit code 0.
    Answered,
    /// Answered, and a threshold that the user named was passed: exit code 1.
    ThresholdPassed,
}

/// The exit code of a command that has no answer.
const NO_ANSWER: u8 = 2;

/// Runs the program; `arguments` begins with its own name.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    // Without the handler the end is less clear, and nothing else.
    let _ = sigbus::install();
    match command_line::dispatch(&arguments) {
        Ok(Exit::Answered) => ExitCode::SUCCESS,
        Ok(Exit::ThresholdPassed) => ExitCode::from(1),
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) if error.is::<command_line::Quiet>() => ExitCode::from(NO_ANSWER),
        Err(error) => {
            // Where stderr is closed as well there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "topleaked: {}", SafeText::from(one_line(&error).as_str()));
            ExitCode::from(NO_ANSWER)
        }
    }
}

/// The error and its causes in one line. Some errors have their cause in their own text already.
fn one_line(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |line, cause| match line.as_str() {
        "" => cause,
        _ if line.contains(&cause) => line,
        _ => format!("{line}: {cause}"),
    })
}
