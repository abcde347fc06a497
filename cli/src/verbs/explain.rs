//! `topleaked explain`: what is at one address, and who points there.

use topleaked::addr::Addr;
use topleaked::report::{Explain, Report};
use topleaked::session::Session;

use crate::dump::Dump;
use crate::means::Means;
use crate::tagged::Tagged;
use crate::{Exit, output, terminal};

use super::{Example, Verb};

/// Options of `explain`.
#[derive(clap::Args)]
#[command(mut_arg("memory", crate::means::beside_the_heap))]
pub(super) struct ExplainVerb {
    #[command(flatten)]
    dump: Dump,
    /// The address, in hexadecimal; `0x` may be left out
    #[arg(value_name = "ADDR", value_parser = address)]
    address: Addr,
    #[command(flatten)]
    tagged: Tagged,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    means: Means,
}

fn address(text: &str) -> Result<Addr, String> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parsed = plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten();
    parsed.map(Addr).ok_or_else(|| "an address is a hexadecimal number of at most 64 bits".to_owned())
}

impl Verb for ExplainVerb {
    const NAME: &'static str = "explain";
    const ABOUT: &'static str = "Says what is at an address, who points there, and how the program reaches it";
    const EXAMPLES: &'static [Example] = &[
        ("topleaked explain core 0x55697c45cd78", "an object, a function, anything"),
        ("topleaked explain core 55697c45cd78 --exe ./server", "with the executable's names"),
        ("topleaked explain core 0x7ffd1c2a8e10 --json", "a place on a stack"),
    ];

    fn run(self) -> anyhow::Result<Exit> {
        let (options, task) = (self.dump.options(), self.means.task());
        let image = self.dump.open(&options, &task)?;
        let session = Session::new(&image, &options, &task).with_tags(self.tagged.tags());
        let explain = terminal::with_progress(&task, || Explain::new(&session, self.address))?;
        let diagnostics = session.diagnostics();
        let mut report = Report::new("explain", &self.dump.core, explain);
        report.complete = diagnostics.is_empty();
        output::print_report(&report.with_diagnostics(diagnostics), self.json)?;
        Ok(Exit::Answered)
    }
}
