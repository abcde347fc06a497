//! The addresses of the allocations that an answer is about, one a line, for `explain`.

use std::fmt;
use std::io;

use serde::{Serialize, Serializer};

use crate::graph::Graph;
use crate::heap::Heap;
use crate::insight::Selection;

use super::Hex;

/// The addresses of used allocations, or of leaked ones alone.
pub(super) struct Addresses<'s> {
    pub(super) heap: &'s Heap,
    /// Only those that are leaked here.
    pub(super) leaked_of: Option<&'s Graph>,
    pub(super) selection: Option<Selection<'s>>,
}

impl Addresses<'_> {
    fn iter(&self) -> impl Iterator<Item = Hex> + '_ {
        let table = &self.heap.table;
        let is_meant = |id: &_| match self.leaked_of {
            Some(graph) => graph.marks.leaked.contains(*id),
            None => table.state(*id).is_used(),
        };
        let meant = table.ids().filter(is_meant);
        let selected = meant.filter(|id| self.selection.is_none_or(|selected| selected(*id)));
        selected.map(|id| Hex::from(table.address(id)))
    }

    /// After an empty line.
    pub(super) fn write(&self, out: &mut dyn io::Write) -> io::Result<()> {
        writeln!(out)?;
        self.iter().try_for_each(|address| writeln!(out, "{address}"))
    }
}

impl fmt::Debug for Addresses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Addresses")
    }
}

impl Serialize for Addresses<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}
