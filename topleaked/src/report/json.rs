//! The JSON envelope that all commands share.

use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, PrettyFormatter};

use crate::task::Diagnostic;

use super::{Answer, Report, safe_text::is_deceptive};

/// Grows when a member is renamed or removed; members may be added without.
const SCHEMA_VERSION: u32 = 1;

#[derive(Serialize)]
struct Envelope<'a, A> {
    schema_version: u32,
    command: &'a str,
    input: &'a str,
    complete: bool,
    diagnostics: Vec<DiagnosticRow<'a>>,
    result: &'a A,
}

#[derive(Serialize)]
struct DiagnosticRow<'a> {
    code: &'a str,
    at: &'a str,
    effect: &'a str,
}

impl<'a> From<&'a Diagnostic> for DiagnosticRow<'a> {
    fn from(diagnostic: &'a Diagnostic) -> DiagnosticRow<'a> {
        DiagnosticRow { code: diagnostic.code, at: &diagnostic.at, effect: &diagnostic.effect }
    }
}

pub(super) fn write_envelope<A: Answer>(report: &Report<A>, out: &mut dyn io::Write) -> io::Result<()> {
    let envelope = Envelope {
        schema_version: SCHEMA_VERSION,
        command: report.command,
        input: &report.input,
        complete: report.complete,
        diagnostics: report.diagnostics.iter().map(DiagnosticRow::from).collect(),
        result: &report.result,
    };
    let formatter = TerminalSafe(PrettyFormatter::new());
    envelope.serialize(&mut serde_json::Serializer::with_formatter(&mut *out, formatter))?;
    out.write_all(b"\n")
}

/// Indented JSON in which characters that a terminal would obey are written as `\u` escapes. JSON itself asks that
/// only of those below 0x20.
struct TerminalSafe<'a>(PrettyFormatter<'a>);

impl Formatter for TerminalSafe<'_> {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut written = 0;
        for (at, c) in fragment.char_indices().filter(|(_, c)| *c == '\x7f' || is_deceptive(*c)) {
            out.write_all(&fragment.as_bytes()[written..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            written = at + c.len_utf8();
        }
        out.write_all(&fragment.as_bytes()[written..])
    }

    fn write_char_escape<W: ?Sized + io::Write>(&mut self, out: &mut W, escape: CharEscape) -> io::Result<()> {
        self.0.write_char_escape(out, escape)
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_array(out)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array(out)
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(out, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array_value(out)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(out, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object_value(out)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Hex, Look};

    #[derive(Serialize)]
    struct Name {
        address: Hex,
        name: &'static str,
    }

    impl Answer for Name {
        fn write_human(&self, out: &mut dyn io::Write, _: &Look) -> io::Result<()> {
            writeln!(out, "{}", self.name)
        }
    }

    fn json(name: &'static str, input: &str) -> String {
        let diagnostic = Diagnostic { code: "stack-missing", at: "thread 7".into(), effect: "overstated".into() };
        let report = Report::new("name", input, Name { address: Hex(0xff), name }).with_diagnostics(vec![diagnostic]);
        let mut text = Vec::new();
        report.write_json(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn the_envelope_holds_the_answer() {
        let value: serde_json::Value = serde_json::from_str(&json("vtable for A", "a.core")).unwrap();
        let expected = serde_json::json!({
            "schema_version": 1, "command": "name", "input": "a.core", "complete": true,
            "diagnostics": [{"code": "stack-missing", "at": "thread 7", "effect": "overstated"}],
            "result": {"address": "0x00000000000000ff", "name": "vtable for A"},
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn text_is_harmless_on_a_terminal_and_means_the_same() {
        let name = "a\x1b[31m\u{9b}\u{202e}\u{e0041}b\x7fé\"";
        let text = json(name, "a.core");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control() && !is_deceptive(c)), "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["result"]["name"], name);
    }
}
