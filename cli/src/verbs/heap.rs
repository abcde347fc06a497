//! `topleaked heap`: allocators, arenas, used and free by size, fragmentation, damage.

use topleaked::report::{HeapAnswer, Report};
use topleaked::session::Session;

use crate::dump::Dump;
use crate::means::Means;
use crate::{Exit, output, terminal};

use super::{Example, Verb};

/// Options of `heap`.
#[derive(clap::Args)]
#[command(mut_arg("memory", crate::means::beside_the_heap))]
pub(super) struct HeapVerb {
    #[command(flatten)]
    dump: Dump,
    /// Shows every arena, size and damaged place
    #[arg(long)]
    all: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    means: Means,
}

impl Verb for HeapVerb {
    const NAME: &'static str = "heap";
    const ABOUT: &'static str = "Says what the heap consists of: arenas, used and free by size, fragmentation, damage";
    const EXAMPLES: &'static [Example] = &[
        ("topleaked heap core", "arenas, sizes, fragmentation"),
        ("topleaked heap core --all", "every arena, size and damaged place"),
        ("topleaked heap core.zst --json | jq .result.fragmentation", ""),
    ];

    fn run(self) -> anyhow::Result<Exit> {
        let (options, task) = (self.dump.options(), self.means.task());
        let image = self.dump.open(&options, &task)?;
        let session = Session::new(&image, &options, &task);
        let heap = terminal::with_progress(&task, || session.heap())?;
        let answer = HeapAnswer::new(&session, heap).show_all(self.all);
        let mut report = Report::new("heap", &self.dump.core, answer);
        report.complete = report.result.is_complete();
        output::print_report(&report.with_diagnostics(session.diagnostics()), self.json)?;
        Ok(Exit::Answered)
    }
}
