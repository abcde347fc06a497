//! `topleaked types`: what the heap consists of, by type.

use topleaked::report::{Report, TypesAnswer, TypesOrder};
use topleaked::session::Session;

use crate::dump::Dump;
use crate::means::Means;
use crate::{Exit, output, terminal};

use super::Verb;

/// Options of `types`.
#[derive(clap::Args)]
pub(super) struct TypesVerb {
    #[command(flatten)]
    dump: Dump,
    /// The order of the rows: `bytes` or `count`
    #[arg(long, value_name = "BY", default_value = "bytes", value_parser = order)]
    sort: TypesOrder,
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
    const EXAMPLES: &'static str = "  topleaked types core
  topleaked types core --exe ./server --sort count         most allocations first
  topleaked types core.zst --json | jq '.result.types[0]'";

    fn run(self) -> anyhow::Result<Exit> {
        let (options, task) = (self.dump.options(), self.means.task());
        let image = self.dump.open(&options, &task)?;
        let session = Session::new(&image, &options, &task);
        let answer = terminal::with_progress(&task, || TypesAnswer::new(&session, None, self.sort))?;
        let diagnostics = session.diagnostics();
        let mut report = Report::new("types", &self.dump.core, answer.show_all(self.all));
        report.complete = diagnostics.is_empty();
        output::print_report(&report.with_diagnostics(diagnostics), self.json)?;
        Ok(Exit::Answered)
    }
}
