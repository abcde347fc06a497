//! `topleaked man`: the manual page.

use crate::{Exit, command_line, output};

use super::Verb;

/// Options of `man`.
#[derive(clap::Args)]
pub(super) struct Man {
    /// A verb; without one, the page of the whole program
    verb: Option<String>,
}

impl Verb for Man {
    const NAME: &'static str = "man";
    const ABOUT: &'static str = "Prints the manual page";
    const EXAMPLES: &'static str = "  topleaked man | man -l -                        read it
  topleaked man > /usr/local/share/man/man1/topleaked.1
  topleaked man completions | man -l -            the page of one verb";

    fn run(self) -> anyhow::Result<Exit> {
        let command = match &self.verb {
            None => command_line::full_command(),
            Some(name) => {
                let Some(row) = super::find_verb(name.as_ref()) else {
                    anyhow::bail!("there is no verb `{name}`; `topleaked --help` lists them");
                };
                row.command().name(format!("topleaked-{name}")).bin_name(format!("topleaked {name}"))
            }
        };
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        output::print(|out| out.write_all(&page))?;
        Ok(Exit::Answered)
    }
}
