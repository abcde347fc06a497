//! Sets of allocations: one bit for each id.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::heap::AllocId;
use crate::task::Task;

/// A set of allocations that is complete.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AllocSet {
    words: Vec<u64>,
}

impl AllocSet {
    /// Whether `id` is in it. An id past the table's end is in no set.
    #[inline]
    pub fn contains(&self, id: AllocId) -> bool {
        self.words.get(id.0 as usize / 64).is_some_and(|word| word >> (id.0 % 64) & 1 != 0)
    }

    /// How many there are. O(table).
    pub fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// All members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = AllocId> + '_ {
        self.iter_in(0..u32::MAX)
    }

    /// The members in a range of ids, ascending.
    pub fn iter_in(&self, ids: std::ops::Range<u32>) -> impl Iterator<Item = AllocId> + '_ {
        let first = ids.start as usize / 64;
        let last = (ids.end as usize).div_ceil(64).min(self.words.len());
        let words = self.words.get(first..last).unwrap_or_default();
        words
            .iter()
            .enumerate()
            .flat_map(move |(at, word)| Ones(*word).map(move |bit| AllocId(((first + at) * 64) as u32 + bit)))
            .filter(move |id| ids.contains(&id.0))
    }

    /// The ids of a table of `length` allocations for which `wanted` says so, asked on all threads.
    pub(super) fn build(length: usize, task: &Task, wanted: impl Fn(AllocId) -> bool + Sync) -> AllocSet {
        let mut set = AllocSet::empty(length);
        let part = set.words.len().div_ceil(task.threads.get()).max(1 << 10);
        let wanted = &wanted;
        std::thread::scope(|scope| {
            for (at, words) in set.words.chunks_mut(part).enumerate() {
                scope.spawn(move || {
                    for (place, word) in words.iter_mut().enumerate() {
                        let first = (at * part + place) * 64;
                        for bit in 0..64.min(length - first) {
                            *word |= u64::from(wanted(AllocId((first + bit) as u32))) << bit;
                        }
                    }
                });
            }
        });
        set
    }

    pub(super) fn empty(length: usize) -> AllocSet {
        AllocSet { words: vec![0; length.div_ceil(64)] }
    }

    pub(super) fn insert(&mut self, id: AllocId) {
        if let Some(word) = self.words.get_mut(id.0 as usize / 64) {
            *word |= 1 << (id.0 % 64);
        }
    }

    /// What is in either, of the same table.
    pub(super) fn union(&self, other: &AllocSet) -> AllocSet {
        AllocSet { words: self.words.iter().zip(&other.words).map(|(mine, theirs)| mine | theirs).collect() }
    }

    /// What is in both, of the same table.
    pub(super) fn intersection(&self, other: &AllocSet) -> AllocSet {
        AllocSet { words: self.words.iter().zip(&other.words).map(|(mine, theirs)| mine & theirs).collect() }
    }

    /// What is in `self` and not in `other`, of the same table.
    pub(super) fn without(&self, other: &AllocSet) -> AllocSet {
        AllocSet { words: self.words.iter().zip(&other.words).map(|(mine, theirs)| mine & !theirs).collect() }
    }
}

/// The places of the bits that are set, ascending.
struct Ones(u64);

impl Iterator for Ones {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        let bit = self.0.trailing_zeros();
        (bit < 64).then(|| {
            self.0 &= self.0 - 1;
            bit
        })
    }
}

/// A set whose members are numbered, ascending from 0.
#[derive(Debug)]
pub(super) struct Rank {
    set: AllocSet,
    /// For each word of the set how many members lie before it.
    before: Vec<u32>,
    length: usize,
}

impl Rank {
    pub(super) fn new(set: AllocSet) -> Rank {
        let mut length = 0_u32;
        let mut before = Vec::with_capacity(set.words.len());
        for word in &set.words {
            before.push(length);
            length += word.count_ones();
        }
        Rank { set, before, length: length as usize }
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// The number of `id`; `None` where it is no member.
    pub(super) fn place(&self, id: AllocId) -> Option<usize> {
        let (at, bit) = (id.0 as usize / 64, id.0 % 64);
        let word = *self.set.words.get(at)?;
        let lower = (word & ((1 << bit) - 1)).count_ones();
        (word >> bit & 1 != 0).then(|| (self.before[at] + lower) as usize)
    }
}

/// A set that several threads add to.
#[derive(Debug)]
pub(super) struct GrowingSet {
    words: Vec<AtomicU64>,
}

impl GrowingSet {
    pub(super) fn empty(length: usize) -> GrowingSet {
        GrowingSet { words: (0..length.div_ceil(64)).map(|_| AtomicU64::new(0)).collect() }
    }

    pub(super) fn from_set(set: &AllocSet) -> GrowingSet {
        GrowingSet { words: set.words.iter().map(|word| AtomicU64::new(*word)).collect() }
    }

    #[inline]
    pub(super) fn contains(&self, id: AllocId) -> bool {
        self.words[id.0 as usize / 64].load(Ordering::Relaxed) >> (id.0 % 64) & 1 != 0
    }

    /// Adds `id`; whether it was not there before. Of several threads that add the same, one is told so.
    #[inline]
    pub(super) fn insert(&self, id: AllocId) -> bool {
        let bit = 1 << (id.0 % 64);
        self.words[id.0 as usize / 64].fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    pub(super) fn snapshot(&self) -> AllocSet {
        AllocSet { words: self.words.iter().map(|word| word.load(Ordering::Relaxed)).collect() }
    }

    pub(super) fn finish(self) -> AllocSet {
        AllocSet { words: self.words.into_iter().map(AtomicU64::into_inner).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_ascending_over_the_borders_of_words() {
        let mut set = AllocSet::empty(200);
        for id in [199, 0, 63, 64, 130] {
            set.insert(AllocId(id));
        }
        assert_eq!(set.iter().map(|id| id.0).collect::<Vec<_>>(), [0, 63, 64, 130, 199]);
        assert_eq!(set.iter_in(63..130).map(|id| id.0).collect::<Vec<_>>(), [63, 64]);
        assert!(set.contains(AllocId(199)) && !set.contains(AllocId(1)) && !set.contains(AllocId(u32::MAX)));
        assert_eq!(set.count(), 5);
    }

    #[test]
    fn only_the_first_who_adds_is_told_so() {
        let set = GrowingSet::empty(65);
        assert!(set.insert(AllocId(64)) && !set.insert(AllocId(64)));
        assert_eq!(set.finish().iter().collect::<Vec<_>>(), [AllocId(64)]);
    }
}
