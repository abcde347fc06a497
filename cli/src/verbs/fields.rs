//! `topleaked fields`: which member tells the leaked objects of a type from the live ones.

use std::path::PathBuf;

use topleaked::report::{Fields, FieldsOptions, Report};
use topleaked::session::Session;

use crate::dump::Dump;
use crate::means::Means;
use crate::{Exit, output, terminal};

use super::{Example, Verb};

/// Options of `fields`.
#[derive(clap::Args)]
#[command(mut_arg("memory", crate::means::beside_the_heap))]
pub(super) struct FieldsVerb {
    #[command(flatten)]
    dump: Dump,
    /// The type, by its name as `leaks` shows it, scopes left out or not; or the size of allocations of no known type: 48
    #[arg(value_name = "TYPE")]
    type_name: String,
    /// Shows all values of one member: conn.state, +0x18
    #[arg(long, value_name = "PATH")]
    member: Option<String>,
    /// Shows the values of --member by those of this one
    #[arg(long, value_name = "PATH", requires = "member")]
    group_by: Option<String>,
    /// Lists the addresses of the objects in which --member has this value: CLOSING, null, '> 3'
    #[arg(long, value_name = "VALUE", requires = "member", conflicts_with = "group_by")]
    objects: Option<String>,
    /// Looks for combinations of up to three members that cover most suspects and few others
    #[arg(long, conflicts_with = "member")]
    rules: bool,
    /// The objects asked about: leaked, live, possibly-leaked, 'size > 64', 'state == CLOSING and retries > 3'
    /// [default: leaked]
    #[arg(long, value_name = "FILTER")]
    suspects: Option<String>,
    /// The objects compared with, in the same words [default: live; with --suspects all others]
    #[arg(long, value_name = "FILTER")]
    reference: Option<String>,
    /// Considers only objects of which this holds, in the same words: 'retries > 3', 'address >= 0x7f0000000000'
    #[arg(long = "where", value_name = "FILTER")]
    only: Option<String>,
    /// Another dump of the program, in good health: its objects are compared with
    #[arg(long, value_name = "OTHER_CORE", conflicts_with = "reference")]
    baseline: Option<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    means: Means,
}

impl Verb for FieldsVerb {
    const NAME: &'static str = "fields";
    const ABOUT: &'static str = "Finds the member whose value tells leaked objects of a type from live ones";
    const EXAMPLES: &'static [Example] = &[
        ("topleaked fields core net::Client --exe ./server", "members, the most telling first"),
        ("topleaked fields core Client --member state", "how often each value of one member is there"),
        (
            "topleaked fields core Client --suspects 'state == CLOSING' --rules",
            "what the closing ones have in common, in combination",
        ),
        ("topleaked fields core Client --baseline healthy.core", "compared with a process that does not leak"),
    ];

    fn run(self) -> anyhow::Result<Exit> {
        let (options, task) = (self.dump.options(), self.means.task());
        let image = self.dump.open(&options, &task)?;
        let session = Session::new(&image, &options, &task);
        let other = self.baseline.clone().map(|core| Dump { core, ..self.dump.clone() });
        let other = other.map(|dump| dump.open(&options, &task)).transpose()?;
        let other = other.as_ref().map(|image| Session::new(image, &options, &task));
        let asked = FieldsOptions {
            member: self.member.as_deref(),
            group_by: self.group_by.as_deref(),
            objects: self.objects.as_deref(),
            rules: self.rules,
            suspects: self.suspects.as_deref(),
            reference: self.reference.as_deref(),
            only: self.only.as_deref(),
            exact: false,
        };
        let fields = terminal::with_progress(&task, || Fields::new(&session, &self.type_name, &asked, other.as_ref()))?;
        let mut diagnostics = session.diagnostics();
        diagnostics.extend_from_slice(fields.diagnostics());
        let mut report = Report::new(Self::NAME, &self.dump.core, fields);
        report.complete = diagnostics.is_empty();
        output::print_report(&report.with_diagnostics(diagnostics), self.json)?;
        Ok(Exit::Answered)
    }
}
