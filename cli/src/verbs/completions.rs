//! `topleaked completions`: what a shell needs to complete our commands.
//!
//! The first argument is a verb or a file. The generator of the scripts for bash and zsh knows of such a command only the one
//! or the other (clap_complete 4.6), so those two are mended: both are offered, and behind a file come options.

use clap::Command;
use clap_complete::Shell;

use crate::{Exit, command_line, output};

use super::{Example, VERBS, Verb};

/// Options of `completions`.
#[derive(clap::Args)]
pub(super) struct Completions {
    /// The shell to write for
    shell: Shell,
}

impl Verb for Completions {
    const NAME: &'static str = "completions";
    const ABOUT: &'static str = "Prints a completion script for a shell";
    const EXAMPLES: &'static [Example] = &[
        ("source <(topleaked completions bash)", "for this session"),
        ("topleaked completions zsh > ~/.zfunc/_topleaked", "for good"),
        ("topleaked completions fish > ~/.config/fish/completions/topleaked.fish", "for good"),
    ];

    fn run(self) -> anyhow::Result<Exit> {
        let script = match self.shell {
            Shell::Bash => bash_with_files(&generate(Shell::Bash, without_file())?),
            Shell::Zsh => zsh_with_files(&generate(Shell::Zsh, without_file())?),
            other => generate(other, command_line::full_command())?,
        };
        output::print(|out| out.write_all(script.as_bytes()))?;
        Ok(Exit::Answered)
    }
}

fn generate(shell: Shell, mut command: Command) -> anyhow::Result<String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "topleaked", &mut script);
    Ok(String::from_utf8(script)?)
}

/// The whole command line but for `FILE`, which we complete ourselves.
fn without_file() -> Command {
    let full = command_line::full_command();
    Command::new("topleaked")
        .disable_help_subcommand(true)
        .disable_help_flag(true)
        .args(full.get_arguments().filter(|argument| !argument.is_positional()))
        .subcommands(full.get_subcommands())
}

/// bash completes files by itself where nothing else fits; here they come beside the verbs that fit.
fn bash_with_files(script: &str) -> String {
    const OFFER: &str = "COMPREPLY=( $(compgen -W \"${opts}\" -- \"${cur}\") )\n";
    const FILES: &str = "                \
                if [[ ${cur} != -* && ${#COMPREPLY[@]} -gt 0 ]] ; then
                    while IFS= read -r file ; do
                        COMPREPLY+=( \"$(printf %q \"${file}\")\" )
                    done < <(compgen -f -- \"${cur}\")
                fi\n";
    let Some((before, whole)) = script.split_once("        topleaked)\n") else { return script.to_owned() };
    format!("{before}        topleaked)\n{}", whole.replacen(OFFER, &format!("{OFFER}{FILES}"), 1))
}

/// zsh is told per command line whether it begins with a verb.
fn zsh_with_files(script: &str) -> String {
    const BY_VERB: &str = "\":: :_topleaked_commands\" \\\n\"*::: :->topleaked\" \\\n";
    const CONTEXT: &str = "    local context curcontext=";
    const LAST: &str = "if [ \"$funcstack[1]\" = \"_topleaked\" ]";
    let verbs: Vec<&str> = VERBS.iter().map(|row| row.name).collect();
    let choice = format!(
        "    local -a arguments
    arguments=('1: :_topleaked_first' '*: :')
    case $words[2] in
    ({})
        (( CURRENT == 2 )) || arguments=(':: :_topleaked_commands' '*::: :->topleaked')
    ;;
    esac

",
        verbs.join("|")
    );
    let first = "(( $+functions[_topleaked_first] )) ||
_topleaked_first() {
    _alternative 'commands:command:_topleaked_commands' 'files:file:_files'
}

";
    script
        .replacen(BY_VERB, "\"${arguments[@]}\" \\\n", 1)
        .replacen(CONTEXT, &format!("{choice}{CONTEXT}"), 1)
        .replacen(LAST, &format!("{first}{LAST}"), 1)
}
