//! `cargo xtask bench`: runs `benches`, built as it ships.

use crate::run;

/// Passes its arguments on.
pub(crate) fn bench(arguments: &[String]) -> anyhow::Result<()> {
    let mut command = run::cargo();
    command.args(["run", "--quiet", "--release", "--package", "benches", "--"]).args(arguments);
    run::step("bench", &mut command)
}
