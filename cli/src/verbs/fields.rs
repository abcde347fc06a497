//! `topleaked fields`: which member tells the leaked objects of a type from the live ones.

use topleaked::report::{Fields, Report};
use topleaked::session::Session;

use crate::dump::Dump;
use crate::means::Means;
use crate::{Exit, output, terminal};

use super::Verb;

/// Options of `fields`.
#[derive(clap::Args)]
pub(super) struct FieldsVerb {
    #[command(flatten)]
    dump: Dump,
    /// The type, by its name as `leaks` shows it; scopes may be left out
    #[arg(value_name = "TYPE")]
    type_name: String,
    /// Shows all values of one member: conn.state, +0x18
    #[arg(long, value_name = "PATH")]
    member: Option<String>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    means: Means,
}

impl Verb for FieldsVerb {
    const NAME: &'static str = "fields";
    const ABOUT: &'static str = "Finds the member whose value tells leaked objects of a type from live ones";
    const EXAMPLES: &'static str =
        "  topleaked fields core net::Client --exe ./server      members, the most telling first
  topleaked fields core Client --member state           how often each value of one member is there
  topleaked fields core Client --member +0x18 --json    the same without debug information, for other programs";

    fn run(self) -> anyhow::Result<Exit> {
        let (options, task) = (self.dump.options(), self.means.task());
        let image = self.dump.open(&options, &task)?;
        let session = Session::new(&image, &options, &task);
        let fields = terminal::with_progress(&task, || Fields::new(&session, &self.type_name, self.member.as_deref()))?;
        let mut diagnostics = session.diagnostics();
        diagnostics.extend_from_slice(fields.diagnostics());
        let mut report = Report::new(Self::NAME, &self.dump.core, fields);
        report.complete = diagnostics.is_empty();
        output::print_report(&report.with_diagnostics(diagnostics), self.json)?;
        Ok(Exit::Answered)
    }
}
