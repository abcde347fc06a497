//! The most frequent words, read for people.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use crate::addr::{Addr, Width};
use crate::image::{ModuleId, ModuleRole};
use crate::insight::{Reading, TopAnswer};
use crate::session::Session;
use crate::symbols::SourceKind;

use super::words::{WordRow, Words};
use super::{Answer, Bytes, Column, Grouped, Hex, Look, SafeText, Share, Table, WriteGdb};

/// The answer of `top`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct TopWords {
    #[serde(flatten)]
    words: Words,
    /// What was left out.
    noise: NoiseRow,
    /// What would name more of the words.
    advice: Vec<String>,
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
    pub fn new(answer: &TopAnswer, session: &Session<'_>) -> TopWords {
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
            advice: advice(answer, session),
            descriptions: answer.words.iter().map(|word| word.reading.describe()).collect(),
            width: session.image().target().width,
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
            table.row([Grouped(row.count).to_string(), word, shortened(description), row.memory.join(", ")]);
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
        self.write_noise(out)?;
        self.advice.iter().try_for_each(|advice| writeln!(out, "… {}", SafeText::from(advice.as_str())))
    }
}

/// The longest name that a table shows whole, in characters. Names of templates grow to thousands, and one of them would push
/// the rest of every row out of sight; JSON has them whole.
const LONGEST_SHOWN: usize = 120;

/// A long name without its middle: its beginning and its end tell most.
fn shortened(name: &str) -> String {
    let count = name.chars().count();
    if count <= LONGEST_SHOWN {
        return name.to_owned();
    }
    let (head, tail) = (LONGEST_SHOWN * 2 / 3, LONGEST_SHOWN / 3 - 1);
    let begin: String = name.chars().take(head).collect();
    let end: String = name.chars().skip(count - tail).collect();
    format!("{begin}…{end}")
}

/// So many modules are named in the advice.
const ADVISED: usize = 2;

/// What would name the words that point into modules and have no name: the files of these modules, or their symbols.
fn advice(answer: &TopAnswer, session: &Session<'_>) -> Vec<String> {
    let image = session.image();
    let mut unnamed: BTreeMap<ModuleId, u64> = BTreeMap::new();
    let is_unnamed =
        |reading: &Reading| matches!(reading, Reading::Pointer { .. } | Reading::Vtable { named: false, .. });
    for word in answer.words.iter().filter(|word| is_unnamed(&word.reading)) {
        if let Some((id, _)) = image.module_at(Addr(word.value)) {
            *unnamed.entry(id).or_default() += 1;
        }
    }
    let mut unnamed: Vec<(ModuleId, u64)> = unnamed.into_iter().collect();
    unnamed.sort_by_key(|(id, words)| (std::cmp::Reverse(*words), *id));
    let advice = unnamed.into_iter().filter_map(|(id, words)| {
        let module = image.module(id)?;
        let whole = |kind| matches!(kind, SourceKind::OwnFile | SourceKind::DebugFile);
        if module.role == ModuleRole::Vdso || session.symbols().sources(id).iter().any(|source| whole(source.kind)) {
            return None;
        }
        let points = if words == 1 { "one word above points" } else { "words above point" };
        let many = if words == 1 { String::new() } else { format!("{words} ") };
        let name = String::from_utf8_lossy(module.name());
        let build_id = module.build_id.as_ref().map(|id| format!(" (build id {id})")).unwrap_or_default();
        let remedy = match (&module.file.found, module.role) {
            (None, ModuleRole::Executable) => format!("whose file is not here{build_id}: give it with --exe FILE"),
            (None, _) => {
                format!("whose file is not here{build_id}: give its folder with --symbols DIR, or its root with --sysroot DIR")
            }
            (Some(_), _) => {
                format!("of which only exported symbols are here: its debug file{build_id} has all, give its folder with --symbols DIR")
            }
        };
        Some(format!("{many}{points} into {name}, {remedy}"))
    });
    advice.take(ADVISED).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_loses_its_middle() {
        assert_eq!(shortened("vtable of Client"), "vtable of Client");
        let long = format!("vtable of {}<{}>::Field", "a".repeat(90), "ä".repeat(10_000));
        let short = shortened(&long);
        assert_eq!(short.chars().count(), LONGEST_SHOWN);
        assert!(short.starts_with("vtable of aaa") && short.ends_with("ä>::Field") && short.contains('…'), "{short}");
    }
}
