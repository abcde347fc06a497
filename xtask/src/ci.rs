//! `cargo xtask ci`: everything that must hold before a change goes in, cheapest first.
//!
//! The layering of the library's rooms is a test (`topleaked/tests/layering.rs`), and runs with the others.

use crate::run::{cargo, on_path, root, say, step};
use crate::{needs, test};

/// Runs every check.
///
/// # Errors
/// The first check that fails.
pub(crate) fn ci(_arguments: &[String]) -> anyhow::Result<()> {
    needs::ensure()?;
    step("format", cargo().args(["fmt", "--all", "--check"]))?;
    step("clippy", cargo().args(["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    step("docs", cargo().args(["doc", "--locked", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    // Not `--locked`: this workspace has a lock file of its own, which a new dependency of the library leaves behind.
    let fuzz = root().join("target/fuzz");
    step("fuzz build", cargo().args(["build", "--manifest-path", "fuzz/Cargo.toml", "--target-dir"]).arg(&fuzz))?;
    // Nothing runs from there, and the machines of a CI have small disks.
    let _ = std::fs::remove_dir_all(fuzz);
    test::test(&[])?;
    if on_path("cargo-deny") {
        step("licences and advisories", cargo().args(["deny", "check"]))?;
    } else {
        say("\n== licences and advisories: cargo-deny is not installed, so deny.toml was not checked");
    }
    Ok(())
}
