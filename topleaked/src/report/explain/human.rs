//! One address, explained to a person.

use std::io::{self, Write};

use crate::report::{Answer, Bytes, Column, Grouped, Hex, Look, SafeText, Table};

use super::{Explain, SMALL};

/// So many incoming references are listed.
const SHOWN: usize = 10;

impl Answer for Explain {
    fn write_human(&self, out: &mut dyn Write, look: &Look) -> io::Result<()> {
        self.write_place(out)?;
        self.write_allocation(out)?;
        self.write_contents(out, look)?;
        self.write_incoming(out, look)?;
        self.write_path(out)
    }
}

impl Explain {
    fn write_place(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some(segment) = &self.segment else {
            return self.write_nowhere(out);
        };
        writeln!(out, "{} is in {} memory ({}, {})", self.address, segment.kind, segment.permissions, segment.bytes)?;
        writeln!(out, "  {} to {}", segment.start, segment.end)?;
        if let Some(module) = &self.module {
            writeln!(out, "  module {} + {:#x}", SafeText::from(module.path.as_str()), module.offset)?;
        }
        if let Some(symbol) = &self.symbol {
            writeln!(out, "  {} + {:#x}", SafeText::from(symbol.name.as_str()), symbol.offset)?;
        }
        if let Some(stack) = &self.stack {
            write!(out, "  stack of thread {}", stack.tid)?;
            match stack.above_sp {
                Some(distance) if distance >= 0 => write!(out, ", {distance:#x} above its stack pointer")?,
                Some(distance) => {
                    write!(out, ", {:#x} below its stack pointer: no longer in use", distance.unsigned_abs())?;
                }
                None => {}
            }
            if let Some(near) = &stack.near {
                write!(out, ", below a return into {}", SafeText::from(near.as_str()))?;
            }
            writeln!(out)?;
            if let Some(function) = &stack.function {
                writeln!(out, "  the thread was in {}", SafeText::from(function.as_str()))?;
            }
        }
        if self.allocator_metadata {
            writeln!(out, "  an allocator keeps its books there")?;
        }
        for row in &self.neighbours {
            let side = if row.address.0 <= self.address.0 { "behind" } else { "in front of" };
            let article = if row.state.starts_with('i') { "an" } else { "a" };
            writeln!(
                out,
                "  {side} {article} {} allocation of {} bytes at {}",
                row.state,
                Grouped(row.size),
                row.address
            )?;
        }
        Ok(())
    }

    fn write_nowhere(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}: the process had no memory there.", self.address)?;
        if self.address.0 < SMALL {
            return writeln!(
                out,
                "  A number this small is no pointer, or one to a member of an object that is not there."
            );
        }
        let Some(nearest) = &self.nearest else { return Ok(()) };
        let far = |from: u64, to: u64| Bytes(to.saturating_sub(from));
        if let Some(end) = nearest.below_end {
            writeln!(out, "  the memory below ends at {end}, {} before it", far(end.0, self.address.0))?;
        }
        if let Some(start) = nearest.above_start {
            writeln!(out, "  the memory above begins at {start}, {} behind it", far(self.address.0, start.0))?;
        }
        Ok(())
    }

    fn write_allocation(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some(row) = &self.allocation else { return Ok(()) };
        writeln!(out)?;
        let name = row.type_name.as_deref().map_or_else(String::new, |name| format!("{}: ", SafeText::from(name)));
        let offset = if row.offset == 0 { String::new() } else { format!(", {:#x} bytes into it", row.offset) };
        writeln!(
            out,
            "{name}{} allocation of {} at {}{offset} ({})",
            row.state,
            Bytes(row.size),
            row.address,
            SafeText::from(row.allocator.as_str())
        )?;
        if let Some(evidence) = row.evidence {
            writeln!(out, "  type by {evidence}")?;
        }
        match (row.reachability, row.reason) {
            (Some("leaked"), _) => writeln!(out, "  leaked: no reference from any root leads to it"),
            (Some(reachability), Some(reason)) => writeln!(out, "  {reachability}: {reason}"),
            (Some(reachability), None) => writeln!(out, "  {reachability}"),
            (None, _) => Ok(()),
        }
    }

    fn write_contents(&self, out: &mut dyn Write, look: &Look) -> io::Result<()> {
        if self.contents.is_empty() {
            return Ok(());
        }
        let mut table = Table::new(&[Column::number("offset"), Column::text("word"), Column::text("what it is")]);
        for row in &self.contents {
            let offset = match row.offset {
                offset if offset < 0 => format!("-{:#x}", offset.unsigned_abs()),
                offset => format!("+{offset:#x}"),
            };
            table.row([offset, row.value.to_string(), row.what.clone()]);
        }
        writeln!(out, "\nContents\n")?;
        table.write(out, look)?;
        match self.more_words {
            0 => Ok(()),
            more => writeln!(out, "… {} more words", Grouped(more)),
        }
    }

    fn write_incoming(&self, out: &mut dyn Write, look: &Look) -> io::Result<()> {
        if self.segment.is_none() && self.address.0 < SMALL {
            return Ok(());
        }
        if self.incoming_total == 0 {
            return writeln!(out, "\nNo word in roots or used allocations points here.");
        }
        writeln!(out, "\nWho points here: {}\n", Grouped(self.incoming_total))?;
        let mut groups = Table::new(&[Column::number("count"), Column::text("from")]);
        for group in self.incoming_by.iter().take(SHOWN) {
            let from = match &group.type_name {
                Some(name) => format!("{name} ({})", group.kind),
                None => group.kind.to_owned(),
            };
            groups.row([Grouped(group.count).to_string(), from]);
        }
        if self.incoming_by.len() > 1 || self.incoming_total > SHOWN as u64 {
            groups.write(out, look)?;
            writeln!(out)?;
        }
        let mut table = Table::new(&[
            Column::text("where"),
            Column::text("kind"),
            Column::number("points at"),
            Column::text("what is there"),
        ]);
        for row in self.incoming.iter().take(SHOWN) {
            let from = row.from.map_or_else(String::new, |from: Hex| from.to_string());
            table.row([from, row.kind.to_owned(), format!("+{:#x}", row.offset), row.place.clone()]);
        }
        table.write(out, look)?;
        match self.incoming_total.saturating_sub(SHOWN.min(self.incoming.len()) as u64) {
            0 => Ok(()),
            more => writeln!(out, "… {} more", Grouped(more)),
        }
    }

    fn write_path(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some(path) = self.path.as_ref().filter(|path| !path.is_empty()) else { return Ok(()) };
        writeln!(out, "\nA shortest way from a root\n")?;
        // Of a long list the ends tell what it is.
        for (at, step) in path.iter().enumerate() {
            if path.len() > 16 && at == 8 {
                writeln!(out, "  … {} more", Grouped(path.len() as u64 - 16))?;
            }
            if path.len() > 16 && (8..path.len() - 8).contains(&at) {
                continue;
            }
            let from = step.from.map_or_else(String::new, |from| format!("{from} "));
            writeln!(out, "  {from}{}, {} → {}", step.kind, SafeText::from(step.place.as_str()), step.to)?;
        }
        Ok(())
    }
}
