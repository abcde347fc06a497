//! The objects of one dump: their bytes, their order, and what their pointers lead to.

use std::ops::Range;

use crate::addr::{Addr, Span};
use crate::heap::{AllocId, AllocationTable, Heap};
use crate::image::Image;
use crate::objects::Objects;
use crate::types::Types;

use super::keys::Key;
use super::{FieldsQuestion, Meaning};

/// The objects of one dump. Threads share it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub(super) image: &'a Image,
    pub(super) table: &'a AllocationTable,
    heap: &'a Heap,
    known: &'a Objects,
    pub(super) objects: &'a [AllocId],
    pub(super) suspect: &'a [bool],
    pub(super) types: Option<&'a Types>,
    alike: bool,
}

/// Names for places of one dump.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    /// The symbol at an address, with its offset.
    pub place: &'a dyn Fn(Addr) -> Option<String>,
}

impl std::fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Names")
    }
}

impl<'a> Part<'a> {
    pub(super) fn new(question: &FieldsQuestion<'a>) -> Part<'a> {
        Part {
            image: question.image,
            table: &question.heap.table,
            heap: question.heap,
            known: question.known,
            objects: question.objects,
            suspect: question.suspect,
            types: question.types,
            alike: question.alike,
        }
    }

    /// What a pointer leads to, whoever else points there.
    #[inline]
    pub(super) fn target_of(&self, addr: Addr) -> Key {
        let Some((id, _)) = self.table.find(addr) else {
            return if self.image.space().find_segment(addr).is_some() { Key::Elsewhere } else { Key::Nowhere };
        };
        match self.known.of(id).filter(|_| !self.alike) {
            None if self.alike => Key::Allocated,
            Some(identity) => Key::Typed(identity.0),
            None => Key::Sized(self.table.usable_size(id)),
        }
    }

    /// The name of a type that allocations have.
    pub(super) fn type_of(&self, identity: u32) -> Meaning {
        match self.known.identities().get(identity as usize) {
            Some(identity) => Meaning::Object(identity.name.clone()),
            None => Meaning::Elsewhere,
        }
    }

    /// A shared target or a place of a module. Across dumps addresses mean nothing: there only names count.
    pub(super) fn place(&self, addr: Addr, names: &Names<'_>, by_name_only: bool) -> Meaning {
        let name = (names.place)(addr);
        if name.is_none() && by_name_only {
            return self.target_of(addr).meaning(self, names, true, true);
        }
        let identity = || self.known.of(self.table.find(addr)?.0);
        let object = match name {
            None => identity().and_then(|id| self.known.identities().get(id.0 as usize)).map(|of| of.name.clone()),
            Some(_) => None,
        };
        Meaning::Place { address: (!by_name_only).then_some(addr), name, object }
    }

    /// The objects from `from` on, at most `most`, each with its bytes; `None` where they are not in the dump.
    pub(super) fn fill_bytes(&self, range: Range<usize>, bytes: &mut Vec<Option<&'a [u8]>>) {
        bytes.clear();
        let space = self.image.space();
        // Neighbours lie in one segment as a rule.
        let (mut start, mut here): (u64, &'a [u8]) = (0, &[]);
        for id in self.objects.get(range).unwrap_or_default() {
            let span: Span = self.table.span(*id);
            let slice = |start: u64, here: &'a [u8]| {
                let from = usize::try_from(span.start().0.checked_sub(start)?).ok()?;
                here.get(from..from.checked_add(usize::try_from(span.size_bytes()).ok()?)?)
            };
            let mut found = slice(start, here);
            if found.is_none() {
                (start, here) = (span.start().0, space.bytes_from(span.start()));
                found = slice(start, here).or_else(|| space.bytes(span));
            }
            bytes.push(found);
        }
    }

    /// Runs of objects whose addresses may follow the order in which they were made: those of one piece of memory of one
    /// arena.
    pub(super) fn runs(&self) -> Vec<Range<usize>> {
        let mut borders: Vec<u64> = Vec::new();
        for allocator in &self.heap.allocators {
            for span in allocator.arenas.iter().flat_map(|arena| &arena.spans) {
                borders.extend([span.start().0, span.end().0]);
            }
        }
        borders.sort_unstable();
        borders.dedup();
        let mut cuts: Vec<usize> =
            borders.iter().map(|at| self.objects.partition_point(|id| self.table.address(*id).0 < *at)).collect();
        cuts.extend([0, self.objects.len()]);
        cuts.sort_unstable();
        cuts.dedup();
        cuts.iter().zip(cuts.iter().skip(1)).map(|(from, to)| *from..*to).collect()
    }
}
