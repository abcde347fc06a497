//! Rows of what the heap consists of, by type and by size: the same in all answers.

use serde::Serialize;

use crate::heap::Count;
use crate::insight::{GroupKey, Grouping, TypeCounts, Usage};
use crate::objects::{Confidence, confidence_word};

use super::Grouped;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct CountRow {
    pub(super) count: u64,
    pub(super) bytes: u64,
}

impl From<Count> for CountRow {
    fn from(count: Count) -> CountRow {
        CountRow { count: count.count, bytes: count.bytes }
    }
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct PossiblyRow {
    pub(super) count: u64,
    pub(super) bytes: u64,
    /// Reached only over a pointer into the middle of some allocation.
    pub(super) interior: CountRow,
    /// Reached only from a stack's dead part, the stack of a thread that ended, a damaged part of the heap.
    pub(super) stale: CountRow,
}

impl From<&Usage> for PossiblyRow {
    fn from(usage: &Usage) -> PossiblyRow {
        let Count { count, bytes } = usage.total.possibly_leaked;
        PossiblyRow { count, bytes, interior: usage.interior.into(), stale: usage.stale.into() }
    }
}

/// The allocations of one type.
#[derive(Clone, Debug, Serialize)]
pub(super) struct TypeRow {
    pub(super) name: String,
    pub(super) evidence: &'static str,
    pub(super) confidence: &'static str,
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) leaked: CountRow,
    pub(super) possibly_leaked: CountRow,
    pub(super) live: CountRow,
    #[serde(skip)]
    is_certain: bool,
}

/// The allocations of no known type that have one usable size.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SizeRow {
    pub(super) size: u64,
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) leaked: CountRow,
    pub(super) possibly_leaked: CountRow,
    pub(super) live: CountRow,
}

/// Sorts groups into those with a type and those without, in their order.
pub(super) fn type_rows<'g>(
    groups: impl IntoIterator<Item = &'g (GroupKey, TypeCounts)>,
    grouping: &Grouping<'_>,
) -> (Vec<TypeRow>, Vec<SizeRow>) {
    let (mut types, mut sizes) = (Vec::new(), Vec::new());
    for (key, counts) in groups {
        let TypeCounts { leaked, possibly_leaked, anchored } = *counts;
        let (leaked, possibly_leaked, live) = (leaked.into(), possibly_leaked.into(), anchored.into());
        let Count { count, bytes } = counts.used();
        match (grouping.identity(*key), key) {
            (Some(identity), _) => types.push(TypeRow {
                name: identity.name.clone(),
                evidence: identity.evidence.words(),
                confidence: confidence_word(identity.confidence),
                count,
                bytes,
                leaked,
                possibly_leaked,
                live,
                is_certain: identity.confidence == Confidence::Certain,
            }),
            (None, GroupKey::Size(size)) => {
                sizes.push(SizeRow { size: *size, count, bytes, leaked, possibly_leaked, live });
            }
            (None, GroupKey::Type(_)) => {}
        }
    }
    (types, sizes)
}

impl TypeRow {
    /// Its name, and in words how sure it is where it is not certain.
    pub(super) fn label(&self) -> String {
        if self.is_certain { self.name.clone() } else { format!("{}  [{}]", self.name, self.confidence) }
    }
}

impl SizeRow {
    /// What stands in place of a type.
    pub(super) fn label(&self) -> String {
        format!("({} bytes)", Grouped(self.size))
    }
}
