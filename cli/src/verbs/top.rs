//! `topleaked top`: the most frequent words of the process, each read for the user.

use anyhow::{Context as _, bail};
use clap::builder::PossibleValuesParser;
use topleaked::image::{Image, MemoryKind, ModuleId};
use topleaked::insight::{Reader, TopQuestion, WordKind, top_words};
use topleaked::report::{Report, SafeText, TopWords, TypeValues, WriteGdb as _};
use topleaked::session::Session;
use topleaked::task::Diagnostic;
use topleaked::types::Vtables;

use crate::classic::{Form, decimal};
use crate::dump::Dump;
use crate::means::Means;
use crate::{Exit, output, terminal};

use super::{Example, Verb};

/// Options of `top`.
#[derive(clap::Args)]
pub(super) struct Top {
    #[command(flatten)]
    dump: Dump,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    means: Means,
    /// How many words to show
    #[arg(short = 'n', long = "size", value_name = "N", default_value = "20", value_parser = decimal)]
    size: u64,
    /// How to write: for people, or as commands for gdb
    #[arg(short = 'o', long, value_name = "FORM", default_value = "human", conflicts_with = "type_name")]
    output: Form,
    /// Shows noise too: zero, small numbers, size fields, fill patterns
    #[arg(long)]
    all: bool,
    /// Only words of this kind; may be given several times
    #[arg(long, value_name = "KIND", value_parser = PossibleValuesParser::new(WordKind::ALL.map(|(_, name)| name)))]
    kind: Vec<String>,
    /// Only words found in this kind of memory: heap (main-heap and anonymous), or a name that `info` shows.
    /// Without it, all that the process wrote itself: not code, constants and mapped files
    #[arg(long = "in", value_name = "MEMORY")]
    found_in: Vec<String>,
    /// Only words that point into this module: its file name, or a part of it that no other has
    #[arg(long, value_name = "NAME")]
    module: Option<String>,
    /// The values of a member of this type's objects instead of words: with --member
    #[arg(long = "type", value_name = "TYPE", requires = "member", conflicts_with_all = ["kind", "found_in", "module", "all"])]
    type_name: Option<String>,
    /// The member whose values are counted, by its path or its offset: conn.state, +0x18
    #[arg(long, value_name = "PATH", requires = "type_name")]
    member: Option<String>,
}

impl Verb for Top {
    const NAME: &'static str = "top";
    const ABOUT: &'static str =
        "The most frequent words of the process, each read for you: a class, a function, a string";
    const EXAMPLES: &'static [Example] = &[
        ("topleaked top core", "what there is most of"),
        ("topleaked top core --kind vtable", "objects by class, C++ and Rust"),
        ("topleaked top core --type Client --member state", "the values of a member: the classic -f by name"),
    ];

    fn run(self) -> anyhow::Result<Exit> {
        if self.json && self.output == Form::Gdb {
            bail!("--json and --output=gdb exclude each other");
        }
        let memory = memory_kinds(&self.found_in)?;
        let (options, task) = (self.dump.options(), self.means.task());
        let image = self.dump.open(&options, &task)?;
        let session = Session::new(&image, &options, &task);
        if let (Some(type_name), Some(member)) = (&self.type_name, &self.member) {
            let values = terminal::with_progress(&task, || TypeValues::new(&session, type_name, member, self.size))?;
            let mut diagnostics = session.diagnostics();
            diagnostics.extend_from_slice(values.diagnostics());
            let mut report = Report::new("top", &self.dump.core, values);
            report.complete = !image.truncated();
            output::print_report(&report.with_diagnostics(diagnostics), self.json)?;
            return Ok(Exit::Answered);
        }
        let module = self.module.as_deref().map(|name| find_module(&image, name)).transpose()?;
        let kinds = self.kind.iter().filter_map(|name| kind_of(name)).collect();
        let question = TopQuestion { n: self.size, noise: self.all, kinds, memory, module };
        let vtables = Vtables::new(&image, session.symbols());
        let reader = Reader::new(session.symbols(), &vtables);
        let answer = terminal::with_progress(&task, || top_words(&reader, &question, &task))?;
        let mut diagnostics = session.diagnostics();
        diagnostics.extend(vtables.diagnostics());
        if answer.cut {
            diagnostics.push(Diagnostic {
                code: "rare-words-unread",
                at: "the words".to_owned(),
                effect:
                    "only the most frequent fit in the memory budget; rarer ones that were asked for may be missing \
                         (--memory gives more)"
                        .to_owned(),
            });
        }
        let mut report = Report::new("top", &self.dump.core, TopWords::new(&answer, &session));
        report.complete = !image.truncated();
        report.diagnostics = diagnostics;
        if self.output == Form::Gdb {
            output::print(|out| report.result.write_gdb(out))?;
        } else {
            output::print_report(&report, self.json)?;
        }
        Ok(Exit::Answered)
    }
}

fn kind_of(name: &str) -> Option<WordKind> {
    WordKind::ALL.iter().find(|(_, other)| *other == name).map(|(kind, _)| *kind)
}

fn memory_kinds(names: &[String]) -> anyhow::Result<Vec<MemoryKind>> {
    let mut kinds = Vec::new();
    for name in names {
        match MemoryKind::ALL.iter().find(|kind| kind.name() == name) {
            Some(kind) => kinds.push(*kind),
            None if name == "heap" => kinds.extend([MemoryKind::MainHeap, MemoryKind::Anonymous]),
            None => {
                let known: Vec<&str> = MemoryKind::ALL.iter().map(|kind| kind.name()).collect();
                bail!("there is no kind of memory `{name}`: it is heap, {}", known.join(", "));
            }
        }
    }
    Ok(kinds)
}

/// The module with exactly this file name, else the only one whose path holds it.
fn find_module(image: &Image, name: &str) -> anyhow::Result<ModuleId> {
    let id = |at: usize| u32::try_from(at).map(ModuleId).context("too many modules");
    if let Some(at) = image.modules().iter().position(|module| module.name() == name.as_bytes()) {
        return id(at);
    }
    let path = |at: &usize| String::from_utf8_lossy(&image.modules()[*at].path).into_owned();
    let found: Vec<usize> = (0..image.modules().len()).filter(|at| path(at).contains(name)).collect();
    match &found[..] {
        [at] => id(*at),
        [] => bail!("no module is named `{name}`; `topleaked info` lists them"),
        several => {
            let paths: Vec<String> = several.iter().take(4).map(path).collect();
            bail!("several modules are named `{name}`: {}", SafeText::from(&*paths.join(", ")))
        }
    }
}
