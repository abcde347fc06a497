//! `topleaked leaks`: what leaked, by type and by what was let go.

use topleaked::report::{Leaks, Report, parse_bytes};
use topleaked::session::Session;

use crate::dump::Dump;
use crate::filter::Where;
use crate::means::Means;
use crate::tagged::Tagged;
use crate::{Exit, output, terminal};

use super::{Example, Verb};

/// Options of `leaks`.
#[derive(clap::Args)]
#[command(mut_arg("memory", crate::means::beside_the_heap))]
pub(super) struct LeaksVerb {
    #[command(flatten)]
    dump: Dump,
    #[command(flatten)]
    only: Where,
    /// Lists the address of each leaked allocation
    #[arg(long)]
    addresses: bool,
    /// Shows every type and every kind of cluster
    #[arg(long)]
    all: bool,
    /// Ends with exit code 1 where at least so much leaked: bytes=1M, count=100
    #[arg(long, value_name = "LIMIT", value_parser = threshold)]
    fail_on: Option<Threshold>,
    #[command(flatten)]
    tagged: Tagged,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    means: Means,
}

/// How much has to leak for exit code 1.
#[derive(Clone, Copy, Debug)]
enum Threshold {
    Bytes(u64),
    Count(u64),
}

impl Threshold {
    fn is_reached(self, leaks: &Leaks<'_>) -> bool {
        match self {
            Threshold::Bytes(bytes) => leaks.leaked_bytes() >= bytes,
            Threshold::Count(count) => leaks.leaked_count() >= count,
        }
    }
}

fn threshold(text: &str) -> Result<Threshold, String> {
    let parsed = match text.split_once('=') {
        Some(("bytes", size)) => parse_bytes(size).map(Threshold::Bytes),
        Some(("count", count)) => count.parse().ok().map(Threshold::Count),
        _ => None,
    };
    match parsed.ok_or("a limit is bytes=SIZE or count=NUMBER, such as bytes=1M or count=100")? {
        // A program that leaks nothing would reach it.
        Threshold::Bytes(0) | Threshold::Count(0) => Err("a limit is at least 1".to_owned()),
        threshold => Ok(threshold),
    }
}

impl Verb for LeaksVerb {
    const NAME: &'static str = "leaks";
    const ABOUT: &'static str = "Finds allocations that nothing reaches, by type and by what was let go";
    const EXAMPLES: &'static [Example] = &[
        ("topleaked leaks core", "what nothing reaches, by type"),
        ("topleaked leaks core --exe ./server --addresses", "an address a line at the end, for `explain`"),
        ("topleaked leaks core --where 'type ~ net::*' --fail-on bytes=1M", "exit code 1 where so much of them leaked"),
    ];

    fn run(self) -> anyhow::Result<Exit> {
        let (options, task) = (self.dump.options(), self.means.task());
        let image = self.dump.open(&options, &task)?;
        let session = Session::new(&image, &options, &task).with_tags(self.tagged.tags());
        self.only.select(&session, |selection, doubts| {
            let leaks = terminal::with_progress(&task, || Leaks::new(&session, selection))?.show_all(self.all);
            let leaks = if self.addresses { leaks.with_addresses(&session, selection)? } else { leaks };
            let passed = self.fail_on.is_some_and(|threshold| threshold.is_reached(&leaks));
            let diagnostics = [session.diagnostics().as_slice(), doubts].concat();
            let mut report = Report::new(Self::NAME, &self.dump.core, leaks);
            report.complete = diagnostics.is_empty();
            output::print_report(&report.with_diagnostics(diagnostics), self.json)?;
            Ok(if passed { Exit::ThresholdPassed } else { Exit::Answered })
        })
    }
}
