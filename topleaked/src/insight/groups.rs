//! Which allocations are alike.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use crate::heap::{AllocId, AllocationTable};
use crate::objects::{Identity, IdentityId, Objects};

pub(super) use crate::objects::WordHasher;

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

/// A table by group.
pub(super) type ByKey<T> = HashMap<GroupKey, T, BuildHasherDefault<WordHasher>>;
