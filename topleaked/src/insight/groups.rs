//! Which allocations are alike.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::heap::{AllocId, AllocationTable};
use crate::objects::{Identity, IdentityId, Objects};

/// What like allocations have in common.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum GroupKey {
    /// They are of one type.
    Type(IdentityId),
    /// Nothing tells them apart but their usable size in bytes.
    Size(u64),
}

/// Puts each allocation into a group.
#[derive(Clone, Copy, Debug)]
pub struct Grouping<'a> {
    objects: &'a Objects,
    table: &'a AllocationTable,
}

impl<'a> Grouping<'a> {
    /// A grouping of the allocations of `table`, of which `objects` tells what they are.
    pub fn new(objects: &'a Objects, table: &'a AllocationTable) -> Grouping<'a> {
        Grouping { objects, table }
    }

    /// The group of an allocation.
    #[inline]
    pub fn key(&self, id: AllocId) -> GroupKey {
        match self.objects.of(id) {
            Some(identity) => GroupKey::Type(identity),
            None => GroupKey::Size(self.table.usable_size(id)),
        }
    }

    /// What the allocations of a group are; `None` where only their size is known.
    pub fn identity(&self, key: GroupKey) -> Option<&'a Identity> {
        match key {
            GroupKey::Type(id) => Some(self.objects.identity(id)),
            GroupKey::Size(_) => None,
        }
    }
}

/// A table by group; the hash only has to be fast: what is hashed was put there by allocators and linkers.
pub(super) type ByKey<T> = HashMap<GroupKey, T, BuildHasherDefault<WordHasher>>;

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

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word as u64);
    }
}
