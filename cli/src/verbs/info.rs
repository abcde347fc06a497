//! `topleaked info`: what died and why, and how much of it the dump holds.

use topleaked::report::{Info, Report};
use topleaked::session::Session;

use crate::dump::Dump;
use crate::means::Means;
use crate::{Exit, output, terminal};

use super::{Example, Verb};

/// Options of `info`.
#[derive(clap::Args)]
pub(super) struct InfoVerb {
    #[command(flatten)]
    dump: Dump,
    /// Shows every thread and module
    #[arg(long)]
    all: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    means: Means,
}

impl Verb for InfoVerb {
    const NAME: &'static str = "info";
    const ABOUT: &'static str = "Says what died and why, and how much of it the dump holds";
    const EXAMPLES: &'static [Example] = &[
        ("topleaked info core", "what died, threads, modules, memory"),
        ("topleaked info core --exe ./server --symbols ./debug", "files that are not where the dump says"),
        ("topleaked info core.zst --sysroot /mnt/container --json", ""),
    ];

    fn run(self) -> anyhow::Result<Exit> {
        let (options, task) = (self.dump.options(), self.means.task());
        let image = self.dump.open(&options, &task)?;
        let session = Session::new(&image, &options, &task);
        let info = terminal::with_progress(&task, || Info::new(&session)).show_all(self.all);
        let mut report = Report::new("info", &self.dump.core, info);
        report.complete = report.result.is_complete();
        output::print_report(&report.with_diagnostics(session.diagnostics()), self.json)?;
        Ok(Exit::Answered)
    }
}
