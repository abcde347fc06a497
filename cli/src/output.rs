//! stdout, written once the answer is there.

use std::io::{self, BufWriter, Write};

use anyhow::Context as _;
use topleaked::report::{Answer, Report, SafeText};
use topleaked::task::Diagnostic;

use crate::terminal;

/// Writes an answer in the form that was asked for, and its diagnostics to stderr (in JSON they are part of it).
///
/// # Errors
/// Where stdout cannot be written.
pub fn print_report<A: Answer>(report: &Report<A>, json: bool) -> anyhow::Result<()> {
    if json {
        return print(|out| report.write_json(out));
    }
    print(|out| report.write_human(out, &terminal::look()))?;
    print_diagnostics(&report.diagnostics);
    Ok(())
}

/// Writes to stderr what weakens an answer, a line each.
pub fn print_diagnostics(diagnostics: &[Diagnostic]) {
    let mut stderr = io::stderr().lock();
    for diagnostic in diagnostics {
        let (at, effect) = (SafeText::from(&*diagnostic.at), SafeText::from(&*diagnostic.effect));
        // A closed stderr does not make the answer wrong.
        let _ = writeln!(stderr, "topleaked: {at}: {effect} [{}]", diagnostic.code);
    }
}

/// Writes to stdout through a buffer and makes sure that all of it arrived.
///
/// # Errors
/// Where stdout cannot be written: a full disk, a closed pipe ([`is_broken_pipe`] knows that one).
pub fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let written = write(&mut out).and_then(|()| out.flush());
    // What could not be written is not tried again when the buffer is dropped.
    let _ = out.into_parts();
    written.context("cannot write to stdout")
}

/// Whether `error` says that the reader of a pipe has gone away.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}
