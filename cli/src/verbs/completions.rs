//! `topleaked completions`: what a shell needs to complete our commands.

use clap_complete::Shell;

use crate::{Exit, command_line, output};

use super::Verb;

/// Options of `completions`.
#[derive(clap::Args)]
pub(super) struct Completions {
    /// The shell to write for
    shell: Shell,
}

impl Verb for Completions {
    const NAME: &'static str = "completions";
    const ABOUT: &'static str = "Prints a completion script for a shell";
    const EXAMPLES: &'static str = "  source <(topleaked completions bash)            for this session
  topleaked completions zsh > ~/.zfunc/_topleaked
  topleaked completions fish > ~/.config/fish/completions/topleaked.fish";

    fn run(self) -> anyhow::Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command_line::full_command(), "topleaked", &mut script);
        output::print(|out| out.write_all(&script))?;
        Ok(Exit::Answered)
    }
}
