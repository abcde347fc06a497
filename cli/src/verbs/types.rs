//! `topleaked types`: what the heap consists of, by type.

use topleaked::report::{Report, TypesAnswer, TypesOrder};
use topleaked::session::Session;

use crate::dump::Dump;
use crate::filter::Where;
use crate::means::Means;
use crate::tagged::Tagged;
use crate::{Exit, output, terminal};

use super::{Example, Verb};

/// Options of `types`.
#[derive(clap::Args)]
#[command(mut_arg("memory", crate::means::beside_the_heap))]
pub(super) struct TypesVerb {
    #[command(flatten)]
    dump: Dump,
    /// The order of the rows: `bytes` or `count`
    #[arg(long, value_name = "BY", default_value = "bytes", value_parser = order)]
    sort: TypesOrder,
    #[command(flatten)]
    only: Where,
    /// Lists the address of each allocation that is counted
    #[arg(long)]
    addresses: bool,
    #[command(flatten)]
    tagged: Tagged,
    /// Shows every type and every size
    #[arg(long)]
    all: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    means: Means,
}

fn order(text: &str) -> Result<TypesOrder, String> {
    match text {
        "bytes" => Ok(TypesOrder::Bytes),
        "count" => Ok(TypesOrder::Count),
        _ => Err("rows are sorted by `bytes` or by `count`".to_owned()),
    }
}

impl Verb for TypesVerb {
    const NAME: &'static str = "types";
    const ABOUT: &'static str = "Counts all allocations in use by type: how many, how large, leaked and live";
    const EXAMPLES: &'static [Example] = &[
        ("topleaked types core --where 'leaked and size > 1K' --sort count", "only what is large and leaked"),
        ("topleaked types core --where 'type ~ *Client and state == CLOSING'", "by what a member holds"),
        ("topleaked types core.zst --json | jq '.result.types[0]'", "what takes most"),
    ];

    fn run(self) -> anyhow::Result<Exit> {
        let (options, task) = (self.dump.options(), self.means.task());
        let image = self.dump.open(&options, &task)?;
        let session = Session::new(&image, &options, &task).with_tags(self.tagged.tags());
        self.only.select(&session, |selection, doubts| {
            let answer = terminal::with_progress(&task, || TypesAnswer::new(&session, selection, self.sort))?;
            let answer = if self.addresses { answer.with_addresses(&session, selection)? } else { answer };
            let diagnostics = [session.diagnostics().as_slice(), doubts].concat();
            let mut report = Report::new(Self::NAME, &self.dump.core, answer.show_all(self.all));
            report.complete = diagnostics.is_empty();
            output::print_report(&report.with_diagnostics(diagnostics), self.json)
        })?;
        Ok(Exit::Answered)
    }
}
