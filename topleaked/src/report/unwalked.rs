//! Allocators that were seen and not walked, as all answers about the heap show them.

use std::io;

use serde::Serialize;

use crate::heap::{Heap, UnwalkedKind};

use super::SafeText;

#[derive(Clone, Debug, Serialize)]
pub(super) struct UnwalkedRow {
    name: &'static str,
    kind: &'static str,
    evidence: Vec<String>,
}

pub(super) fn unwalked_rows(heap: &Heap) -> Vec<UnwalkedRow> {
    let row = |unwalked: &crate::heap::UnwalkedAllocator| UnwalkedRow {
        name: unwalked.name,
        kind: match unwalked.kind {
            UnwalkedKind::Blocks => "blocks",
            UnwalkedKind::Objects => "objects",
        },
        evidence: unwalked.evidence.clone(),
    };
    heap.unwalked.iter().map(row).collect()
}

/// A paragraph an allocator.
pub(super) fn write_unwalked(out: &mut dyn io::Write, rows: &[UnwalkedRow]) -> io::Result<()> {
    for row in rows {
        writeln!(out, "{}: not walked", row.name)?;
        for evidence in &row.evidence {
            writeln!(out, "  {}", SafeText::from(evidence.as_str()))?;
        }
        match row.kind {
            "objects" => writeln!(
                out,
                "  its objects are not told apart or counted; all of its memory counts as a root, so what it points at is taken for live"
            )?,
            _ => writeln!(out, "  its blocks are not told apart or counted: whether they leaked cannot be said")?,
        }
    }
    Ok(())
}

/// A line that names them, for answers that count what was walked; nothing where there are none.
pub(super) fn write_unwalked_line(out: &mut dyn io::Write, rows: &[UnwalkedRow]) -> io::Result<()> {
    for row in rows {
        let evidence = row.evidence.join(", ");
        let evidence = SafeText::from(evidence.as_str());
        match row.kind {
            "objects" => writeln!(
                out,
                "Not counted: the objects of {} ({evidence}); what they point at is taken for live.",
                row.name
            )?,
            _ => writeln!(
                out,
                "Not counted: the blocks of {} ({evidence}); whether they leaked cannot be said.",
                row.name
            )?,
        }
    }
    Ok(())
}
