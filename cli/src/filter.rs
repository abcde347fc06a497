//! `--where`: the same option for all verbs that count allocations.

use topleaked::insight::Selection;
use topleaked::insight::filter::{Filter, Prepared};
use topleaked::report::FilterTypes;
use topleaked::session::Session;
use topleaked::task::Diagnostic;

use crate::terminal;

/// `--where FILTER`; a verb flattens it into its own options.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Where {
    /// Counts only what is meant: 'size > 1K and leaked', 'type ~ Client*', 'type == Client and state == CLOSING'
    #[arg(long = "where", value_name = "FILTER", value_parser = str::parse::<Filter>)]
    filter: Option<Filter>,
}

impl Where {
    /// Makes the filter ready for a dump, and works with what it selects, `None` where no filter was given, and with what
    /// weakens its answer.
    ///
    /// # Errors
    /// Where the heap cannot be walked, or no object has a member that the filter asks for; and those of `work`.
    pub(crate) fn select<T>(
        &self,
        session: &Session<'_>,
        work: impl FnOnce(Option<Selection<'_>>, &[Diagnostic]) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let Some(filter) = &self.filter else { return work(None, &[]) };
        let types = terminal::with_progress(session.task(), || FilterTypes::find(session, filter))?;
        let conditions = types.conditions(session, filter)?;
        let tables = terminal::with_progress(session.task(), || session.tables())?;
        let prepared = Prepared::new(filter, tables, Some(&conditions));
        work(Some(&|id| prepared.selects(id)), types.diagnostics())
    }
}
