//! Runs the commands of a check, one after the other, with their own output passed through.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context;

/// A command ran, and said no.
#[derive(Debug)]
pub(crate) struct CheckFailed(String);

impl std::fmt::Display for CheckFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CheckFailed {}

/// A line on stdout. A reader that went away is no reason to stop a check.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A line on stderr.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs one step in the workspace's root, under a heading, and says how long it took.
///
/// # Errors
/// [`CheckFailed`] where the command ends with another status than 0.
pub(crate) fn step(title: &str, command: &mut Command) -> anyhow::Result<()> {
    say(&format!("\n== {title}"));
    let begin = Instant::now();
    let status = command
        .current_dir(root())
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {:?}", command.get_program()))?;
    say(&format!(
        "== {title}: {} ({:.0} s)",
        if status.success() { "ok" } else { "FAILED" },
        begin.elapsed().as_secs_f64()
    ));
    if status.success() { Ok(()) } else { Err(CheckFailed(format!("{title}: {status}")).into()) }
}

/// Whether a program of this name is on the path.
pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Whether this process may install packages and set kernel parameters.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
