//! The most frequent words, and the most frequent values of a member.

use std::borrow::Cow;
use std::io;

use serde::{Serialize, Serializer};

use crate::insight::WordKind;
use crate::words::{Count, Counts};

use super::{Answer, Hex, Look};

/// One frequent word.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct WordRow {
    /// The word.
    pub value: Hex,
    /// How often it occurs.
    pub count: u64,
    /// What it is.
    pub kind: WordKind,
    /// What it is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// In which kinds of memory it was found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<Cow<'static, str>>,
}

impl WordRow {
    /// A word of which nothing is known but its value.
    pub fn bare(value: u64, count: u64) -> WordRow {
        WordRow { value: Hex(value), count, kind: WordKind::of_value(value), name: None, memory: Vec::new() }
    }
}

/// The most frequent words of an input.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Words {
    /// Count descending, then value ascending.
    pub words: Vec<WordRow>,
    /// How many words were counted in all.
    pub total_words: u64,
    /// How many different words `words` has.
    pub distinct_shown: u64,
}

impl Words {
    /// An answer of these rows.
    pub fn new(words: Vec<WordRow>, total_words: u64) -> Words {
        let distinct_shown = words.len() as u64;
        Words { words, total_words, distinct_shown }
    }
}

/// The most frequent words of an input of which nothing else is known. Rows are made while they are written: millions of
/// them would take more memory than counting did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct WordCounts {
    #[serde(rename = "words", serialize_with = "bare_rows")]
    top: Vec<Count>,
    total_words: u64,
    distinct_shown: u64,
}

impl WordCounts {
    /// The answer that these counts are.
    pub fn new(counts: Counts) -> WordCounts {
        let distinct_shown = counts.top.len() as u64;
        WordCounts { top: counts.top, total_words: counts.total_words, distinct_shown }
    }
}

fn bare_rows<S: Serializer>(top: &[Count], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(top.iter().map(|found| WordRow::bare(found.value, found.count)))
}

/// The original's lines: `0x000055697c45cd78 : 1000000`.
impl Answer for WordCounts {
    fn write_human(&self, out: &mut dyn io::Write, _: &Look) -> io::Result<()> {
        self.top.iter().try_for_each(|found| writeln!(out, "{} : {}", Hex(found.value), found.count))
    }
}

impl WriteGdb for WordCounts {
    fn write_gdb(&self, out: &mut dyn io::Write) -> io::Result<()> {
        self.top.iter().try_for_each(|found| write_gdb_value(out, Hex(found.value), found.count))
    }
}

/// One frequent value of a member.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ValueRow {
    /// The value as it is shown: hexadecimal for unsigned numbers and pointers, else as its type is written. Quoted
    /// text has its quotes and is safe for a terminal.
    pub value: String,
    /// How often it occurs.
    pub count: u64,
    /// What it is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The value's bits, for gdb; `None` where it is text.
    #[serde(skip)]
    pub bits: Option<u64>,
}

/// The most frequent values at an offset from each match of a word.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct MemberValues {
    /// Count descending, then value ascending.
    pub values: Vec<ValueRow>,
    /// How often the word occurs.
    pub matches: u64,
    /// How many of the matches have the member within the input.
    pub members: u64,
}

impl Answer for MemberValues {
    fn write_human(&self, out: &mut dyn io::Write, _: &Look) -> io::Result<()> {
        self.values.iter().try_for_each(|row| writeln!(out, "{} : {}", row.value, row.count))
    }
}

/// An answer that gdb can be asked about.
pub trait WriteGdb {
    /// Writes three commands a value: its count, the memory at it, the symbol for it.
    ///
    /// # Errors
    /// What `out` says.
    fn write_gdb(&self, out: &mut dyn io::Write) -> io::Result<()>;
}

impl WriteGdb for Words {
    fn write_gdb(&self, out: &mut dyn io::Write) -> io::Result<()> {
        self.words.iter().try_for_each(|row| write_gdb_value(out, row.value, row.count))
    }
}

/// Values that are text are left out: gdb has no command for them.
impl WriteGdb for MemberValues {
    fn write_gdb(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let mut rows = self.values.iter().filter_map(|row| Some((Hex(row.bits?), row.count)));
        rows.try_for_each(|(value, count)| write_gdb_value(out, value, count))
    }
}

fn write_gdb_value(out: &mut dyn io::Write, value: Hex, count: u64) -> io::Result<()> {
    write!(out, "p {count}\nx {value}\ninfo symbol {value}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_written_as_the_original_does() {
        let top = vec![Count { value: 0x5569_7c45_cd78, count: 1_000_000 }];
        let words = WordCounts { top, total_words: 2_000_000, distinct_shown: 1 };
        let mut human = Vec::new();
        words.write_human(&mut human, &Look::PLAIN).unwrap();
        assert_eq!(human, b"0x000055697c45cd78 : 1000000\n");
        let mut gdb = Vec::new();
        words.write_gdb(&mut gdb).unwrap();
        assert_eq!(gdb, b"p 1000000\nx 0x000055697c45cd78\ninfo symbol 0x000055697c45cd78\n");
    }

    #[test]
    fn what_is_unknown_is_absent_in_json() {
        let value = serde_json::to_value(WordRow::bare(0x21, 3)).unwrap();
        assert_eq!(value, serde_json::json!({"value": "0x0000000000000021", "count": 3, "kind": "small"}));
    }
}
