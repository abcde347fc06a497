//! `cargo xtask test`: what the tests need, then all of them.

use crate::run::{cargo, step};
use crate::{core_pattern, needs};

/// Installs what is missing and runs the tests of the workspace; `arguments` go to `cargo test`.
///
/// # Errors
/// Where something is missing that cannot be installed, or a test fails.
pub(crate) fn test(arguments: &[String]) -> anyhow::Result<()> {
    needs::ensure()?;
    let _restore = core_pattern::ensure()?;
    // Every failure of a run is shown, not only those of the first crate.
    step("tests", cargo().args(["test", "--locked", "--workspace", "--no-fail-fast"]).args(arguments))
}
