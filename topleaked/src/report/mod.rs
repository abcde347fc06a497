//! One model for all answers, and what renders it: for people, for gdb, as JSON.
//!
//! Knows how an answer is laid out, how sizes and counts are written, and how text
//! from a dump is made harmless ([`SafeText`]). Refuses to know the terminal: whoever
//! calls says in a [`Look`] how wide it is and whether it shows colours.
//!
//! A new answer is a type that is [`serde::Serialize`] and [`Answer`]; wrapped in a
//! [`Report`] it has the envelope that all JSON output shares.
//!
//! ```
//! use topleaked::report::{Answer, Look, Report};
//!
//! #[derive(serde::Serialize)]
//! struct Size { bytes: u64 }
//! impl Answer for Size {
//!     fn write_human(&self, out: &mut dyn std::io::Write, _: &Look) -> std::io::Result<()> {
//!         writeln!(out, "{}", topleaked::report::Bytes(self.bytes))
//!     }
//! }
//!
//! let report = Report::new("size", "app.core", Size { bytes: 3 << 20 });
//! let mut text = Vec::new();
//! report.write_human(&mut text, &Look::PLAIN)?;
//! assert_eq!(text, b"3.0 MiB\n");
//! # Ok::<(), std::io::Error>(())
//! ```

mod addresses;
mod amounts;
mod explain;
mod fields;
mod heap;
mod hex;
mod inferred;
mod info;
mod json;
mod layout;
mod leaks;
mod member_filter;
mod prose;
mod safe_text;
mod table;
mod top;
mod type_rows;
mod types;
mod unwalked;
mod words;

use std::io;

use crate::task::Diagnostic;

pub use amounts::{Bytes, Grouped, Share, parse_bytes};
pub use explain::Explain;
pub use fields::{Fields, FieldsError, FieldsOptions, TypeValues};
pub use heap::HeapAnswer;
pub use hex::Hex;
pub use info::Info;
pub use layout::{EnumeratorView, LayoutView, Layouts, MemberView};
pub use leaks::Leaks;
pub use member_filter::{FilterConditions, FilterTypes, MemberFilterError};
pub use prose::{COLUMNS, wrap, wrap_paragraphs};
pub use safe_text::{QuotedText, SafeText};
pub use table::{Column, Table};
pub use top::TopWords;
pub use types::{TypesAnswer, TypesOrder};
pub use words::{MemberValues, ValueRow, WordCounts, WordRow, Words, WriteGdb};

/// What the renderers are told of the place where the text will be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Look {
    /// Columns to fit into; `None` where lines may be of any length (a file, a pipe).
    pub width: Option<u16>,
    /// Whether escape sequences for colour and weight are wanted.
    pub color: bool,
}

impl Look {
    /// No width, no colour: what a file or a pipe gets.
    pub const PLAIN: Look = Look { width: None, color: false };
}

/// What a verb found out.
pub trait Answer: serde::Serialize {
    /// Writes it for people. Text from the dump goes through [`SafeText`] or [`Table`].
    ///
    /// # Errors
    /// What `out` says.
    fn write_human(&self, out: &mut dyn io::Write, look: &Look) -> io::Result<()>;
}

/// An answer with what all answers have.
#[derive(Debug)]
pub struct Report<A> {
    /// The verb that was asked; `classic` for the form without one.
    pub command: &'static str,
    /// The input as the user named it; bytes that are no UTF-8 are escaped.
    pub input: String,
    /// Whether the answer rests on all of the input; false where a part was missing or damaged.
    pub complete: bool,
    /// What weakens the answer.
    pub diagnostics: Vec<Diagnostic>,
    /// The answer itself.
    pub result: A,
}

impl<A: Answer> Report<A> {
    /// A complete report without diagnostics.
    pub fn new(command: &'static str, input: impl AsRef<std::ffi::OsStr>, result: A) -> Report<A> {
        let input = safe_text::lossless(input.as_ref().as_encoded_bytes());
        Report { command, input, complete: true, diagnostics: Vec::new(), result }
    }

    /// The same with diagnostics; `complete` is left as it is.
    #[must_use]
    pub fn with_diagnostics(mut self, diagnostics: Vec<Diagnostic>) -> Report<A> {
        self.diagnostics = diagnostics;
        self
    }

    /// Writes the answer for people. Diagnostics are not in it: they belong on stderr.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write_human(&self, out: &mut dyn io::Write, look: &Look) -> io::Result<()> {
        self.result.write_human(out, look)
    }

    /// Writes the whole report as one JSON object, indented, with a line feed at its end.
    ///
    /// Characters that could steer a terminal are escaped, so the text is harmless there and means the same.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write_json(&self, out: &mut dyn io::Write) -> io::Result<()> {
        json::write_envelope(self, out)
    }
}
