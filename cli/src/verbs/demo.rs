//! `topleaked demo`: a tour on the bundled dump of a game server.
//!
//! Each step is a command that the user can type, run for real in the folder with the unpacked dump. A new verb gets a row in
//! `STEPS`. What the texts say of the dump they take from the server's own counts (`truth.txt`, which a test holds to
//! what the commands find).

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use topleaked::report::{COLUMNS, Grouped, SafeText, wrap_paragraphs};

use crate::{Exit, output, terminal};

use super::{Example, Verb};

const CORE: &[u8] = include_bytes!("../../../fixtures/demo/demo.core.xz");
const SERVER: &[u8] = include_bytes!("../../../fixtures/demo/server.xz");
const TRUTH: &str = include_str!("../../../fixtures/demo/truth.txt");

/// One stop of the tour. In both texts, `{name}` stands for a fact of the dump, see [`Facts`].
struct Step {
    /// What follows `topleaked` on the command line, words parted by blanks.
    arguments: &'static str,
    /// What to see in the output.
    see: &'static str,
}

const STEPS: &[Step] = &[
    Step {
        arguments: "info demo.core --exe server",
        see: "\
What died, and how much of it there is: the process ended itself (SIGABRT), three threads, 4.5 MiB of heap. `--exe server`
is needed because the dump says /srv/game/server, where this machine has no such file.",
    },
    Step {
        arguments: "top demo.core --exe server -n 8",
        see: "\
The most frequent words of the process, read for you. An object begins with a pointer to the table of its class's virtual
functions, so a class that leaks is a word that is everywhere: {tcp-clients} clients that came by TCP. The text is their
addresses. Zero, small numbers and the allocator's own fields fill any dump, and are left out.",
    },
    Step {
        arguments: "top demo.core --exe server --kind vtable -n 5",
        see: "\
The same for classes alone. Nothing else comes near.",
    },
    Step {
        arguments: "demo.core -n 10",
        see: "\
The classic form: the ten most frequent words of any file, as they are. {vtable} is the vtable that
`top` named. gdb has the name as well, where there is one:
  topleaked demo.core -n10 -ogdb | gdb server demo.core
answers `vtable for game::TcpClient + 16`.",
    },
    Step {
        arguments: "demo.core -f {vtable} --memberType=pointer",
        see: "\
The search for that one word, and at each place the pointer that stands there, which is itself: {tcp-clients} clients that
came by TCP are in memory. Players of a Saturday, or a leak? What they have in common will tell.",
    },
    Step {
        arguments: "demo.core -f {vtable} --memberOffset={state-offset} --memberType=uint32",
        see: "\
The same search, but it takes the 4 bytes at offset {state-offset} of each object: the member `state_` (`ptype /o
game::Connection` in gdb gives the offset), counted by value. 1 is `Connected`, 2 `Handshake`, up to 6, `Closing`.
{tcp-connected} of {tcp-clients} never left the first state: they connected, and never sent a byte. That is the scenario that
leaks: the server arms a client's idle timer when its first bytes come, so a silent one is never closed.",
    },
    Step {
        arguments: "types demo.core --exe server",
        see: "\
What the heap consists of: every allocation in use, counted by what it is. Classes are known by their vtables, containers by
their owners, C objects by their tables of functions; the closing lines say how much of the heap has a name.",
    },
    Step {
        arguments: "leaks demo.core --exe server",
        see: "\
Another question: what does nothing point at any more? Not the zombies: the server's table of connections still holds
them. But the {rejected} requests that it refused were forgotten: they are the leaked C objects, named by the table of
functions that each begins with, but for a few that a stray pointer still hits: those are possibly leaked.",
    },
    Step {
        arguments: "top demo.core --exe server --type game::TcpClient --member state_",
        see: "\
Back to the clients: the search for the state again, by name. Type and member take the place of the address and the offset,
which nobody has to look up.",
    },
    Step {
        arguments: "fields demo.core game::TcpClient --exe server",
        see: "\
And without knowing which member to ask for: all of them at once, those ahead whose values are shared by more objects than is
usual. {tcp-connected} clients of {tcp-clients} are `Connected`, and what says the same tells the story: no byte came from
them, none was sent, no session began, no idle timer was armed. A client that connects and stays silent is never closed.
With a dump of a healthy server, `--baseline` would compare the two.",
    },
];

/// Options of `demo`.
#[derive(clap::Args)]
pub(super) struct Demo {
    /// Unpack the dump and its executable into this folder and leave them there
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

impl Verb for Demo {
    const NAME: &'static str = "demo";
    const ABOUT: &'static str = "A tour: finds the leak in the bundled dump of a game server";
    const EXAMPLES: &'static [Example] = &[
        ("topleaked demo", "the tour, in a folder that goes afterwards"),
        ("topleaked demo --keep demo", "the same; leaves demo/demo.core and demo/server for trying things"),
        ("topleaked demo | less", "read it page by page"),
    ];

    fn run(self) -> anyhow::Result<Exit> {
        let temporary;
        let folder = match &self.keep {
            Some(folder) => {
                fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
                folder.as_path()
            }
            None => {
                temporary = tempfile::tempdir().context("cannot make a temporary folder")?;
                temporary.path()
            }
        };
        unpack(CORE, &folder.join("demo.core"))?;
        unpack(SERVER, &folder.join("server"))?;
        let facts = Facts::of_truth(TRUTH)?;
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let kept = match &self.keep {
            Some(folder) => format!("Both are in {}.", SafeText::from(&*folder.to_string_lossy())),
            None => "Both go when the tour ends; `topleaked demo --keep DIR` leaves them in DIR.".to_owned(),
        };
        let look = terminal::look();
        let columns = look.width.map_or(COLUMNS, usize::from).min(COLUMNS);
        let tell = |text: &str| say(&format!("{}\n", wrap_paragraphs(&facts.fill(text), columns)));
        tell(&format!(
            "A game server has died: `accept4: Too many open files`. It had {{connections}} clients. Left are its \
             dump, demo.core, and its executable, server. {kept}"
        ))?;
        for step in STEPS {
            let arguments = facts.fill(step.arguments);
            let (bold, plain) = if look.color { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
            say(&format!("\n{bold}$ topleaked {arguments}{plain}\n"))?;
            run_step(&program, &arguments, folder)?;
            say("\n")?;
            tell(step.see)?;
        }
        Ok(Exit::Answered)
    }
}

fn say(text: &str) -> anyhow::Result<()> {
    output::print(|out| out.write_all(text.as_bytes()))
}

/// Runs this program as the user would; it writes where the tour does, and fits its tables to the terminal.
fn run_step(program: &Path, arguments: &str, folder: &Path) -> anyhow::Result<()> {
    let status = Command::new(program)
        .args(arguments.split(' '))
        .current_dir(folder)
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(status.success(), "`topleaked {arguments}` ended with {status}");
    Ok(())
}

fn unpack(packed: &[u8], to: &Path) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    liblzma::read::XzDecoder::new(packed)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot unpack {}", to.display()))?;
    fs::write(to, bytes).with_context(|| format!("cannot write {}", to.display()))
}

/// What the server counted when it died, and where gdb found its vtable.
struct Facts(Vec<(&'static str, String)>);

impl Facts {
    /// Reads `truth.txt`: lines `NAME VALUE`, or `TRANSPORT STATE COUNT`.
    fn of_truth(truth: &str) -> anyhow::Result<Facts> {
        let value = |prefix: &str| {
            truth
                .lines()
                .find_map(|line| line.strip_prefix(prefix)?.strip_prefix(' '))
                .with_context(|| format!("the bundled truth does not say {prefix:?}"))
        };
        let count = |digits: &str| anyhow::Ok(Grouped(digits.parse()?).to_string());
        let tcp_clients: u64 =
            truth.lines().filter_map(|line| line.strip_prefix("tcp ")?.split_once(' ')?.1.parse::<u64>().ok()).sum();
        Ok(Facts(vec![
            ("{vtable}", value("vtable-of-TcpClient")?.to_owned()),
            ("{state-offset}", value("offset-of-state")?.to_owned()),
            ("{connections}", count(value("connections")?)?),
            ("{tcp-connected}", count(value("tcp Connected")?)?),
            ("{tcp-clients}", Grouped(tcp_clients).to_string()),
            ("{rejected}", count(value("rejected")?)?),
        ]))
    }

    fn fill(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_the_tour_has_an_unknown_fact() {
        let facts = Facts::of_truth(TRUTH).unwrap();
        for step in STEPS {
            for text in [step.arguments, step.see] {
                assert!(!facts.fill(text).contains(['{', '}']), "{text}");
            }
        }
    }

    #[test]
    fn a_truth_without_the_vtable_is_an_error() {
        assert!(Facts::of_truth("tcp Connected 1\n").is_err());
    }
}
