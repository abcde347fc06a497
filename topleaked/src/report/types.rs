//! What the heap consists of, by type.

use std::io::{self, Write};

use serde::Serialize;

use crate::heap::HeapError;
use crate::insight::{Grouping, Selection, Usage};
use crate::objects::Evidence;
use crate::session::Session;

use super::addresses::Addresses;
use super::leaks::heap_total;
use super::type_rows::{CountRow, PossiblyRow, SizeRow, TypeRow, type_rows};
use super::unwalked::{UnwalkedRow, unwalked_rows, write_unwalked_line};
use super::{Answer, Bytes, Column, Grouped, Look, Share, Table};

/// So many types, and so many sizes of what has no known type, are shown unless all are asked for.
const SHOWN: usize = 25;
const SHOWN_SIZES: usize = 8;

/// The order of the rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TypesOrder {
    /// Most bytes first.
    #[default]
    Bytes,
    /// Most allocations first.
    Count,
}

/// The answer of `types`.
#[derive(Debug, Serialize)]
pub struct TypesAnswer<'s> {
    /// What is counted: all used allocations, or those that were selected.
    used: CountRow,
    leaked: CountRow,
    possibly_leaked: PossiblyRow,
    live: CountRow,
    /// What of it has a known type.
    identified: CountRow,
    /// What of that is known by the types of pointers alone.
    by_pointers: CountRow,
    /// All used allocations of the process.
    heap: CountRow,
    types: Vec<TypeRow>,
    unidentified: Vec<SizeRow>,
    /// Allocators whose blocks are not among them.
    unwalked: Vec<UnwalkedRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    addresses: Option<Addresses<'s>>,
    #[serde(skip)]
    is_selected: bool,
    #[serde(skip)]
    order: TypesOrder,
    #[serde(skip)]
    all: bool,
}

impl<'s> TypesAnswer<'s> {
    /// Counts the used allocations that are selected, or all, by type.
    ///
    /// # Errors
    /// Where the heap cannot be walked.
    pub fn new(
        session: &Session<'_>,
        selection: Option<Selection<'_>>,
        order: TypesOrder,
    ) -> Result<TypesAnswer<'s>, HeapError> {
        let (heap, graph, objects) = (session.heap()?, session.graph()?, session.objects()?);
        heap.require_walked()?;
        let grouping = Grouping::new(objects, &heap.table);
        let mut usage = Usage::build(heap, graph, &grouping, selection, session.task());
        if order == TypesOrder::Count {
            usage.groups.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.used().count));
        }
        let used = usage.total.used();
        let whole = if selection.is_some() { heap_total(heap) } else { used.into() };
        let (mut identified, mut by_pointers) = (CountRow::default(), CountRow::default());
        for (key, counts) in &usage.groups {
            let Some(identity) = grouping.identity(*key) else { continue };
            let by_pointer = identity.evidence == Evidence::TypedPointer;
            let used = counts.used();
            for sum in [Some(&mut identified), by_pointer.then_some(&mut by_pointers)].into_iter().flatten() {
                sum.count += used.count;
                sum.bytes = sum.bytes.saturating_add(used.bytes);
            }
        }
        let (types, unidentified) = type_rows(&usage.groups, &grouping);
        Ok(TypesAnswer {
            used: used.into(),
            leaked: usage.total.leaked.into(),
            possibly_leaked: (&usage).into(),
            live: usage.total.anchored.into(),
            identified,
            by_pointers,
            heap: whole,
            types,
            unidentified,
            unwalked: unwalked_rows(heap),
            addresses: None,
            is_selected: selection.is_some(),
            order,
            all: false,
        })
    }

    /// The same with the address of each allocation that is counted.
    ///
    /// # Errors
    /// As [`TypesAnswer::new`].
    pub fn with_addresses(
        mut self,
        session: &'s Session<'_>,
        selection: Option<Selection<'s>>,
    ) -> Result<TypesAnswer<'s>, HeapError> {
        self.addresses = Some(Addresses { heap: session.heap()?, leaked_of: None, selection });
        Ok(self)
    }

    /// Whether people are shown every row.
    #[must_use]
    pub fn show_all(self, all: bool) -> TypesAnswer<'s> {
        TypesAnswer { all, ..self }
    }
}

impl Answer for TypesAnswer<'_> {
    fn write_human(&self, out: &mut dyn Write, look: &Look) -> io::Result<()> {
        if self.used.count == 0 {
            return match (self.is_selected, self.heap.count) {
                (true, 1..) => {
                    writeln!(out, "The filter means none of {} allocations in use.", Grouped(self.heap.count))
                }
                _ => {
                    writeln!(out, "Nothing is in use.")?;
                    write_unwalked_line(out, &self.unwalked)
                }
            };
        }
        let by = if self.order == TypesOrder::Count { "count" } else { "bytes" };
        if !self.types.is_empty() {
            let shown = if self.all { self.types.len() } else { SHOWN };
            let mut table = self.table("type");
            for row in self.types.iter().take(shown) {
                let used = CountRow { count: row.count, bytes: row.bytes };
                self.add_row(&mut table, used, [row.leaked, row.possibly_leaked, row.live], row.label());
            }
            writeln!(out, "In use, by type and {by}\n")?;
            table.write(out, look)?;
            self.write_rest(out, "type", self.types.iter().skip(shown).map(|row| row.bytes))?;
            writeln!(out)?;
        }
        if !self.unidentified.is_empty() {
            let shown = if self.all { self.unidentified.len() } else { SHOWN_SIZES };
            let mut table = self.table("size");
            for row in self.unidentified.iter().take(shown) {
                let used = CountRow { count: row.count, bytes: row.bytes };
                self.add_row(
                    &mut table,
                    used,
                    [row.leaked, row.possibly_leaked, row.live],
                    format!("{} bytes", Grouped(row.size)),
                );
            }
            writeln!(out, "In use, of no known type, by size\n")?;
            table.write(out, look)?;
            self.write_rest(out, "size", self.unidentified.iter().skip(shown).map(|row| row.bytes))?;
            writeln!(out)?;
        }
        self.write_closing(out)?;
        self.addresses.as_ref().map_or(Ok(()), |addresses| addresses.write(out))
    }
}

impl TypesAnswer<'_> {
    fn table(&self, what: &'static str) -> Table {
        Table::new(&[
            Column::number("count"),
            Column::number("bytes"),
            Column::number("share"),
            Column::number("leaked"),
            Column::number("possibly"),
            Column::number("live"),
            Column::text(what),
        ])
    }

    /// `used` in all; of these leaked, possibly leaked, live.
    fn add_row(&self, table: &mut Table, used: CountRow, parts: [CountRow; 3], label: String) {
        let [leaked, possibly, live] = parts.map(|part| Grouped(part.count).to_string());
        table.row([
            Grouped(used.count).to_string(),
            Bytes(used.bytes).to_string(),
            Share { part: used.bytes, whole: self.heap.bytes }.to_string(),
            leaked,
            possibly,
            live,
            label,
        ]);
    }

    fn write_rest(&self, out: &mut dyn Write, what: &str, bytes: impl Iterator<Item = u64>) -> io::Result<()> {
        let (count, bytes) = bytes.fold((0_u64, 0_u64), |(count, sum), bytes| (count + 1, sum.saturating_add(bytes)));
        match count {
            0 => Ok(()),
            1 => writeln!(out, "… 1 more {what}, {}; --all shows it", Bytes(bytes)),
            _ => writeln!(out, "… {} more {what}s, {}; --all shows them", Grouped(count), Bytes(bytes)),
        }
    }

    fn write_closing(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.is_selected {
            writeln!(
                out,
                "The filter means {} of {} allocations in use, {} of {}.",
                Grouped(self.used.count),
                Grouped(self.heap.count),
                Bytes(self.used.bytes),
                Bytes(self.heap.bytes)
            )?;
        }
        let share = |part: CountRow| Share { part: part.bytes, whole: self.used.bytes };
        writeln!(
            out,
            "In use: {} allocations, {}; leaked {} ({}), possibly leaked {} ({}).",
            Grouped(self.used.count),
            Bytes(self.used.bytes),
            Grouped(self.leaked.count),
            share(self.leaked),
            Grouped(self.possibly_leaked.count),
            share(CountRow { count: 0, bytes: self.possibly_leaked.bytes }),
        )?;
        writeln!(
            out,
            "Identified: {} of the bytes, {} of {} allocations.",
            share(self.identified),
            Grouped(self.identified.count),
            Grouped(self.used.count)
        )?;
        if self.by_pointers.count == 0 {
            return write_unwalked_line(out, &self.unwalked);
        }
        let before = CountRow {
            count: self.identified.count - self.by_pointers.count,
            bytes: self.identified.bytes.saturating_sub(self.by_pointers.bytes),
        };
        writeln!(
            out,
            "Before types spread along pointers: {} of the bytes, {} allocations.",
            share(before),
            Grouped(before.count)
        )?;
        write_unwalked_line(out, &self.unwalked)
    }
}
