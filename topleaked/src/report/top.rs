//! The most frequent words, read for people.

use std::borrow::Cow;
use std::io;

use serde::Serialize;

use crate::addr::{Target, Width};
use crate::insight::TopAnswer;

use super::words::{WordRow, Words};
use super::{Answer, Bytes, Column, Grouped, Hex, Look, Share, Table, WriteGdb};

/// The answer of `top`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct TopWords {
    #[serde(flatten)]
    words: Words,
    /// What was left out.
    noise: NoiseRow,
    #[serde(skip)]
    descriptions: Vec<String>,
    #[serde(skip)]
    width: Width,
}

/// What was left out, in occurrences.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
struct NoiseRow {
    zeros: u64,
    small: u64,
    chunk_sizes: u64,
    fills: u64,
}

impl TopWords {
    /// The answer in rows.
    pub fn new(answer: &TopAnswer, target: Target) -> TopWords {
        let rows = answer.words.iter().map(|word| WordRow {
            value: Hex(word.value),
            count: word.count,
            kind: word.reading.kind(),
            name: word.reading.is_named().then(|| word.reading.describe()),
            memory: word.memory.iter().map(|(kind, _)| Cow::Borrowed(kind.name())).collect(),
        });
        let noise = answer.noise;
        TopWords {
            words: Words::new(rows.collect(), answer.total_words),
            noise: NoiseRow {
                zeros: noise.zeros,
                small: noise.small,
                chunk_sizes: noise.chunk_sizes,
                fills: noise.fills,
            },
            descriptions: answer.words.iter().map(|word| word.reading.describe()).collect(),
            width: target.width,
        }
    }
}

impl Answer for TopWords {
    fn write_human(&self, out: &mut dyn io::Write, look: &Look) -> io::Result<()> {
        let mut table = Table::new(&[
            Column::number("count"),
            Column::text("word"),
            Column::text("what it is"),
            Column::text("found in"),
        ]);
        for (row, description) in self.words.words.iter().zip(&self.descriptions) {
            let word = match self.width {
                Width::W4 => format!("{:#010x}", row.value.0),
                Width::W8 => row.value.to_string(),
            };
            table.row([Grouped(row.count).to_string(), word, description.clone(), row.memory.join(", ")]);
        }
        table.write(out, look)?;
        let bytes = self.words.total_words.saturating_mul(self.width.bytes() as u64);
        if table.is_empty() {
            writeln!(out, "no such word in {} of memory", Bytes(bytes))?;
        }
        let shown: u64 = self.words.words.iter().map(|row| row.count).sum();
        let total = self.words.total_words;
        let share = Share { part: shown, whole: total };
        writeln!(out, "… {} of {} words ({}) are shown above", Grouped(shown), Grouped(total), share)?;
        self.write_noise(out)
    }
}

impl TopWords {
    fn write_noise(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let NoiseRow { zeros, small, chunk_sizes, fills } = self.noise;
        let parts: Vec<String> = [
            (zeros, "zeros"),
            (small, "small numbers"),
            (chunk_sizes, "size fields of chunks"),
            (fills, "fill patterns"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", Grouped(count)))
        .collect();
        if parts.is_empty() {
            return Ok(());
        }
        writeln!(out, "… left out as noise, among the most frequent: {} (--all shows them)", parts.join(", "))
    }
}

impl WriteGdb for TopWords {
    fn write_gdb(&self, out: &mut dyn io::Write) -> io::Result<()> {
        self.words.write_gdb(out)
    }
}
