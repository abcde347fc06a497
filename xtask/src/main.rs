//! What a developer runs: `cargo xtask test`, `cargo xtask ci`, `cargo xtask fixtures`.
//!
//! `COMMANDS` is the one list of what there is; a new command is a module and a row.

mod bench;
mod ci;
mod core_pattern;
mod fixtures;
mod needs;
mod run;
mod test;

use std::process::ExitCode;

/// One thing that `cargo xtask` does.
struct Command {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> anyhow::Result<()>,
}

const COMMANDS: &[Command] = &[
    Command { name: "test", about: "install what the tests need, and run all of them", run: test::test },
    Command { name: "ci", about: "what CI runs: fmt, clippy, docs, fuzz build, tests, licences", run: ci::ci },
    Command { name: "fixtures", about: "rebuild the demo dump from its sources", run: fixtures::fixtures },
    Command { name: "bench", about: "measure the stages against the plain read of the same bytes", run: bench::bench },
    Command { name: "needs", about: "say what the tests need, and what of it is here", run: needs::show },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let name = arguments.first().map_or("", String::as_str);
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        run::say("usage: cargo xtask COMMAND\n");
        for command in COMMANDS {
            run::say(&format!("  {:<10} {}", command.name, command.about));
        }
        let asked_for_help = matches!(name, "" | "help" | "-h" | "--help");
        return if asked_for_help { ExitCode::SUCCESS } else { ExitCode::from(2) };
    };
    match (command.run)(arguments.get(1..).unwrap_or_default()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            run::complain(&format!("xtask {name}: {error:#}"));
            // Two outcomes that a caller may want to tell apart: a check failed, or it could not be run.
            ExitCode::from(if error.is::<run::CheckFailed>() { 1 } else { 2 })
        }
    }
}
