//! What a word refers to.

use crate::addr::Addr;
use crate::heap::{AllocId, AllocationTable};
use crate::image::{AddressSpace, Region};

use super::Tags;
use super::form::{Form, words};
use super::memory::Memory;
use super::shape::{Inner, Shapes};

/// The allocations, the memory that may refer to them, and how words are taken.
#[derive(Debug)]
pub(super) struct Ground<'a> {
    pub(super) table: &'a AllocationTable,
    pub(super) memory: Memory<'a>,
    shapes: Shapes,
    /// The first address of an allocation.
    low: u64,
    /// From there to the end of the last one.
    range: u64,
    /// What is left of a word before it is taken as an address.
    mask: u64,
    /// Bits below a word's width that do not count when a word points at a start.
    low_tag: u64,
}

/// How a word points at the allocation it points into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Aim {
    /// At its first byte.
    Start,
    /// Into its middle, this many bytes behind the first.
    Inside(u64),
}

impl<'a> Ground<'a> {
    pub(super) fn new(
        space: &'a AddressSpace,
        regions: &[Region],
        table: &'a AllocationTable,
        tags: Tags,
    ) -> Ground<'a> {
        let width = space.target().width.bytes() as u64;
        let (low, range) = match table.len() {
            0 => (0, 0),
            length => {
                let first = table.address(AllocId(0)).0;
                (first, table.span(AllocId(length as u32 - 1)).end().0.saturating_sub(first).max(1))
            }
        };
        Ground {
            table,
            memory: Memory::new(space),
            shapes: Shapes::new(space.target(), regions),
            low,
            range,
            mask: if tags.top_byte { u64::MAX >> 8 } else { u64::MAX },
            low_tag: if tags.low_bits { width - 1 } else { 0 },
        }
    }

    /// Calls `found` for each aligned word of `bytes` that may point into an allocation: with the word's offset, and
    /// what it points at.
    #[inline(always)]
    pub(super) fn candidates<F: Form>(&self, bytes: &[u8], mut found: impl FnMut(usize, u64)) {
        for (at, word) in words::<F>(bytes) {
            let to = word & self.mask;
            if to.wrapping_sub(self.low) < self.range {
                found(at, to);
            }
        }
    }

    /// What is left of a word when it is taken as an address.
    #[inline(always)]
    pub(super) fn address(&self, word: u64) -> u64 {
        word & self.mask
    }

    /// The allocation that `to` points into, used or not.
    #[inline(always)]
    pub(super) fn find(&self, to: u64) -> Option<(AllocId, Aim)> {
        let (id, offset) = self.table.find(Addr(to))?;
        Some((id, if offset & !self.low_tag == 0 { Aim::Start } else { Aim::Inside(offset) }))
    }

    /// The same for one word as memory holds it.
    pub(super) fn resolve(&self, word: u64) -> Option<(AllocId, Aim)> {
        let to = word & self.mask;
        if to.wrapping_sub(self.low) < self.range { self.find(to) } else { None }
    }

    /// Whether a pointer into the middle is as good as one to the start.
    pub(super) fn proves(&self, id: AllocId, offset: u64) -> bool {
        let base = self.table.address(id).0;
        let Some(to) = base.checked_add(offset) else { return false };
        let size = self.table.usable_size(id);
        let least = self.table.rounding(id).least_request(size);
        self.shapes.proves(&self.memory, Inner { base, size, to, least })
    }
}
