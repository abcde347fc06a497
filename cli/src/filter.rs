//! `--where`: the same option for all verbs that count allocations.

use anyhow::bail;
use topleaked::heap::AllocId;
use topleaked::insight::filter::{Filter, Prepared};
use topleaked::session::Session;

/// `--where FILTER`; a verb flattens it into its own options.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Where {
    /// Counts only what is meant: 'size > 1K and leaked', 'type ~ Client*', 'module == libfoo.so'
    #[arg(long = "where", value_name = "FILTER", value_parser = str::parse::<Filter>)]
    filter: Option<Filter>,
}

impl Where {
    /// The filter made ready for a dump; `None` where none was given.
    ///
    /// # Errors
    /// Where the heap cannot be walked, or the filter asks for members of objects.
    pub(crate) fn prepare<'a>(&'a self, session: &'a Session<'_>) -> anyhow::Result<Option<Prepared<'a>>> {
        let Some(filter) = &self.filter else { return Ok(None) };
        if let Some(test) = filter.member_tests().first() {
            bail!(
                "--where: `{}` is none of size, type, module and address: what members hold is asked with `topleaked fields`",
                test.path
            );
        }
        Ok(Some(Prepared::new(filter, session.tables()?, None)))
    }
}

/// Whether a filter, where there is one, means an allocation.
pub(crate) fn selects(prepared: Option<&Prepared<'_>>, id: AllocId) -> bool {
    prepared.is_none_or(|prepared| prepared.selects(id))
}
