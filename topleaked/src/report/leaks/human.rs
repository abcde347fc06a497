//! Leaks as people read them.

use std::io::{self, Write};

use crate::report::unwalked::write_unwalked_line;
use crate::report::{Answer, Bytes, Column, Grouped, Look, SafeText, Share, Table};

use super::{ClusterTypeRow, CountRow, Leaks, MUCH_BYTES, ShapeRow};

/// So many rows are shown unless all are asked for.
const SHOWN: usize = 15;
/// So many kinds of clusters are drawn, and so many lines of each.
const DRAWN: usize = 8;
const MOST_LINES: usize = 12;

impl Answer for Leaks<'_> {
    fn write_human(&self, out: &mut dyn Write, look: &Look) -> io::Result<()> {
        self.write_totals(out, look)?;
        if self.leaked.count > 0 {
            self.write_types(out, look)?;
            self.write_clusters(out, look)?;
        } else {
            self.write_nothing_leaked(out)?;
        }
        self.write_closing(out)?;
        self.addresses.as_ref().map_or(Ok(()), |addresses| addresses.write(out))
    }
}

impl Leaks<'_> {
    fn write_totals(&self, out: &mut dyn Write, look: &Look) -> io::Result<()> {
        let mut table = Table::new(&[
            Column::text("allocations"),
            Column::number("count"),
            Column::number("bytes"),
            Column::number("share"),
        ]);
        let possibly = CountRow { count: self.possibly_leaked.count, bytes: self.possibly_leaked.bytes };
        for (name, row) in
            [("leaked", self.leaked), ("possibly leaked", possibly), ("anchored", self.anchored), ("in use", self.used)]
        {
            let share = Share { part: row.bytes, whole: self.used.bytes }.to_string();
            table.row([name.to_owned(), Grouped(row.count).to_string(), Bytes(row.bytes).to_string(), share]);
        }
        table.write(out, look)
    }

    fn write_types(&self, out: &mut dyn Write, look: &Look) -> io::Result<()> {
        let mut rows: Vec<(CountRow, CountRow, String)> = Vec::new();
        rows.extend(self.types.iter().map(|row| (row.leaked, row.live, row.label())));
        rows.extend(self.unidentified.iter().map(|row| (row.leaked, row.live, row.label())));
        rows.sort_by(|a, b| b.0.bytes.cmp(&a.0.bytes).then_with(|| a.2.cmp(&b.2)));
        let shown = if self.all { rows.len() } else { SHOWN };
        let mut table = Table::new(&[
            Column::number("leaked"),
            Column::number("bytes"),
            Column::number("share"),
            Column::number("live"),
            Column::text("type"),
        ]);
        for (leaked, live, name) in rows.iter().take(shown) {
            table.row([
                Grouped(leaked.count).to_string(),
                Bytes(leaked.bytes).to_string(),
                Share { part: leaked.bytes, whole: self.leaked.bytes }.to_string(),
                Grouped(live.count).to_string(),
                name.clone(),
            ]);
        }
        writeln!(out, "\nLeaked, by type\n")?;
        table.write(out, look)?;
        write_rest(out, "type", rows.iter().skip(shown).map(|(leaked, ..)| leaked.bytes))
    }

    fn write_clusters(&self, out: &mut dyn Write, look: &Look) -> io::Result<()> {
        writeln!(out, "\nLeaked, by what was let go, with all that hung on it\n")?;
        let shown = if self.all { self.cluster_types.len() } else { SHOWN };
        let mut table = Table::new(&[
            Column::number("clusters"),
            Column::number("allocations"),
            Column::number("bytes"),
            Column::text("head"),
        ]);
        for row in self.cluster_types.iter().take(shown) {
            table.row([
                Grouped(row.clusters).to_string(),
                Grouped(row.count).to_string(),
                Bytes(row.bytes).to_string(),
                head_name(row),
            ]);
        }
        table.write(out, look)?;
        write_rest(out, "row", self.cluster_types.iter().skip(shown).map(|row| row.bytes))?;
        let drawn = self
            .cluster_types
            .iter()
            .filter(|row| row.typical.as_ref().is_some_and(|typical| !typical.shape.children.is_empty()));
        for row in drawn.take(DRAWN) {
            let Some(typical) = &row.typical else { continue };
            writeln!(out, "\nTypical, at {}:", typical.head)?;
            write_shape(out, &typical.shape)?;
        }
        Ok(())
    }

    fn write_nothing_leaked(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(heap) = self.heap.filter(|heap| self.used.count == 0 && heap.count > 0) {
            return writeln!(out, "\nThe filter means none of {} allocations in use.", Grouped(heap.count));
        }
        if self.used.count == 0 {
            return writeln!(out, "\nNothing is in use.");
        }
        let what = match (self.heap, self.judges_all()) {
            (Some(_), _) => "everything that the filter means",
            (None, true) => "everything in use",
            (None, false) => "everything that is counted here",
        };
        let how = if self.possibly_leaked.count > 0 { "is reached, or possibly reached" } else { "is reached" };
        writeln!(out, "\nNo leak was found: {what} {how}.")?;
        if let Some(row) = &self.dominant {
            let name = match (&row.type_name, row.size) {
                (Some(name), _) => SafeText::from(name.as_str()).to_string(),
                (None, size) => format!("allocations of {} bytes", Grouped(size.unwrap_or(0))),
            };
            let example = row.example.map_or_else(|| "ADDR".to_owned(), |example| example.to_string());
            writeln!(
                out,
                "{} of what is in use ({}, {}) is {name}: if that is too much, something still holds it.\n\
                 `topleaked types CORE` counts all types, `topleaked explain CORE {example}` says who holds one of them.",
                Share { part: row.bytes, whole: self.used.bytes },
                Grouped(row.count),
                Bytes(row.bytes),
            )?;
        }
        if self.heap.is_none() && self.stays_free >= MUCH_BYTES.max(self.used.bytes) {
            writeln!(
                out,
                "{} of the heap are free and stay with the process, more than is in use: `topleaked heap CORE` says why.",
                Bytes(self.stays_free)
            )?;
        }
        Ok(())
    }

    fn write_closing(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out)?;
        if let Some(heap) = self.heap {
            let (meant, all) = (Grouped(self.used.count), Grouped(heap.count));
            writeln!(out, "The filter means {meant} of {all} allocations in use; clusters are meant by their heads.")?;
        }
        if self.cycles.count > 0 {
            writeln!(
                out,
                "{} of the clusters are rings whose members refer to each other: containers that know their owner, pointers back \
                 to a parent, shared pointers in a cycle.",
                Grouped(self.cycles.count)
            )?;
        }
        let possibly = &self.possibly_leaked;
        let parts = [
            (possibly.interior.count, "over pointers into the middle of an allocation"),
            (possibly.stale.count, "from places that the program is done with"),
        ];
        let parts = parts.into_iter().filter(|(count, _)| *count > 0);
        let is = |count: u64| if count == 1 { "is" } else { "are" };
        let words = parts.map(|(count, how)| format!("{} {} reached only {how}", Grouped(count), is(count)));
        let words: Vec<String> = words.collect();
        if !words.is_empty() {
            writeln!(out, "Possibly leaked: {}.", words.join(", "))?;
            writeln!(out, "`topleaked types CORE --where possibly-leaked` says what they are.")?;
        }
        let roots: Vec<String> = (self.roots.iter())
            .filter(|row| row.references > 0)
            .map(|row| format!("{} {}", row.kind, Grouped(row.references)))
            .collect();
        let total = self.roots.iter().map(|row| row.references).sum();
        match roots.is_empty() {
            true => writeln!(out, "No root refers to any allocation."),
            false => writeln!(out, "Searched from {} references in roots: {}.", Grouped(total), roots.join(", ")),
        }?;
        write_unwalked_line(out, &self.unwalked)
    }
}

fn write_rest(out: &mut dyn Write, what: &str, bytes: impl Iterator<Item = u64>) -> io::Result<()> {
    let (count, bytes) = bytes.fold((0_u64, 0_u64), |(count, sum), bytes| (count + 1, sum.saturating_add(bytes)));
    match count {
        0 => Ok(()),
        1 => writeln!(out, "… 1 more {what}, {}; --all shows it", Bytes(bytes)),
        _ => writeln!(out, "… {} more {what}s, {}; --all shows them", Grouped(count), Bytes(bytes)),
    }
}

fn head_name(row: &ClusterTypeRow) -> String {
    let name = match (&row.type_name, row.size) {
        (Some(name), _) => name.clone(),
        (None, size) => format!("({} bytes)", Grouped(size.unwrap_or(0))),
    };
    match row.cycles {
        0 => name,
        cycles if cycles == row.clusters => format!("{name}, in a cycle"),
        cycles => format!("{name}, {} in a cycle", Grouped(cycles)),
    }
}

/// Draws the tree, of which people want the first levels.
fn write_shape(out: &mut dyn Write, shape: &ShapeRow) -> io::Result<()> {
    writeln!(out, "  {}", shape_name(shape))?;
    let mut lines = Vec::new();
    draw_children(&mut lines, shape, "  ");
    let more = lines.len().saturating_sub(MOST_LINES);
    // One line more is no longer than to say so.
    let shown = if more > 1 { MOST_LINES } else { lines.len() };
    lines.iter().take(shown).try_for_each(|line| writeln!(out, "{line}"))?;
    if more > 1 { writeln!(out, "  … {more} more lines") } else { Ok(()) }
}

fn draw_children(lines: &mut Vec<String>, shape: &ShapeRow, indent: &str) {
    for child in &shape.children {
        let times = if child.count > 1 { format!("{} × ", Grouped(child.count)) } else { String::new() };
        // A chain or a tree of its own kind goes on as it began.
        let is_same = child.shape.type_name == shape.type_name && child.shape.size == shape.size;
        let goes_on = is_same && !child.shape.children.is_empty();
        let rest = if goes_on { ", and so on" } else { "" };
        lines.push(format!("{indent}└ +{:#x} → {times}{}{rest}", child.offset, shape_name(&child.shape)));
        if !goes_on {
            draw_children(lines, &child.shape, &format!("{indent}  "));
        }
    }
    if shape.cut {
        lines.push(format!("{indent}└ …"));
    }
}

fn shape_name(shape: &ShapeRow) -> String {
    match &shape.type_name {
        Some(name) => format!("{} ({} bytes)", SafeText::from(name.as_str()), Grouped(shape.size)),
        None => format!("{} bytes", Grouped(shape.size)),
    }
}
