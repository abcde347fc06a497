//! Which allocations are alike.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::addr::{Addr, Target};
use crate::heap::{AllocId, AllocationTable};
use crate::image::{Image, MemoryKind};

/// What like allocations have in common.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum GroupKey {
    /// They begin with the same pointer into a module's constant data: a vtable, a table of functions.
    Marker(Addr),
    /// Nothing tells them apart but their usable size in bytes.
    Size(u64),
}

impl GroupKey {
    /// What the allocations begin with; `None` where only their size is known.
    pub fn marker(self) -> Option<Addr> {
        match self {
            GroupKey::Marker(addr) => Some(addr),
            GroupKey::Size(_) => None,
        }
    }
}

/// Tells whether a pointer into constant data says what the object is that begins with it.
pub type Identify<'f> = &'f dyn Fn(Addr) -> bool;

/// What is read of an allocation to group it, before it is known which markers mean something.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct RawKey {
    /// A pointer into constant data; 0 for none.
    marker: u64,
    size: u64,
}

impl RawKey {
    pub(super) fn settle(self, identify: Identify<'_>) -> GroupKey {
        let marker = Addr(self.marker);
        if self.marker != 0 && identify(marker) { GroupKey::Marker(marker) } else { GroupKey::Size(self.size) }
    }
}

/// Puts each allocation into a group.
#[derive(Debug)]
pub struct Grouping<'a> {
    image: &'a Image,
    table: &'a AllocationTable,
    target: Target,
    /// Memory of modules that an object's first word may point into: sorted, first address and the one behind the last.
    constants: Vec<(u64, u64)>,
    low: u64,
    range: u64,
}

impl<'a> Grouping<'a> {
    /// A grouping of the allocations of `table`, which is of `image`.
    pub fn new(image: &'a Image, table: &'a AllocationTable) -> Grouping<'a> {
        let mut constants: Vec<(u64, u64)> = Vec::new();
        for region in image.regions() {
            if matches!(region.kind, MemoryKind::Relro | MemoryKind::Rodata | MemoryKind::Data) {
                constants.push((region.span.start().0, region.span.end().0));
            }
        }
        let low = constants.first().map_or(0, |(start, _)| *start);
        let range = constants.last().map_or(0, |(_, end)| *end) - low;
        Grouping { image, table, target: image.target(), constants, low, range }
    }

    /// The group of an allocation. Reads its first word.
    pub fn key(&self, id: AllocId, identify: Identify<'_>) -> GroupKey {
        self.raw(id).settle(identify)
    }

    #[inline]
    pub(super) fn raw(&self, id: AllocId) -> RawKey {
        let size = self.table.usable_size(id);
        let word = match size >= self.target.width.bytes() as u64 {
            true => self.image.space().word(self.table.address(id)).unwrap_or(0),
            false => 0,
        };
        RawKey { marker: if self.is_constant(word) { word } else { 0 }, size }
    }

    #[inline]
    fn is_constant(&self, word: u64) -> bool {
        if word.wrapping_sub(self.low) >= self.range || !word.is_multiple_of(self.target.width.bytes() as u64) {
            return false;
        }
        let at = self.constants.partition_point(|(_, end)| *end <= word);
        self.constants.get(at).is_some_and(|(start, _)| *start <= word)
    }
}

/// A table by group; the hash only has to be fast: what is hashed was put there by allocators and linkers.
pub(super) type ByKey<T> = HashMap<RawKey, T, BuildHasherDefault<WordHasher>>;

/// Mixes words by multiplication.
#[derive(Default)]
pub(super) struct WordHasher(u64);

impl Hasher for WordHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word as u64);
    }
}
