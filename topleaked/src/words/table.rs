//! Exact counts of as many different values as the memory allows, and honesty about the rest.
//!
//! Values are mixed by a bijection, and a table is responsible for a range of mixed values. Where a table would
//! outgrow its memory, the range is cut, what lies above it is forgotten, and left to a later pass. What remains is
//! exact, each pass settles at least a part of a table's worth, and no choice of values can prevent that.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

const FACTOR_A: u64 = 0x9e6c_63d0_9760_5a4d;
const FACTOR_B: u64 = 0xc2b2_ae3d_27d4_eb4f;

/// What words are mixed with before they are hashed, another number in each process: nobody can write a dump whose words all
/// fall into one place. No answer depends on it.
pub(super) fn key() -> u64 {
    static KEY: OnceLock<u64> = OnceLock::new();
    *KEY.get_or_init(|| RandomState::new().hash_one(0))
}

/// The number whose product with `odd` is 1.
pub(super) const fn inverse(odd: u64) -> u64 {
    // Newton's iteration doubles the number of right bits; the first guess has 3.
    let mut x = odd;
    let mut round = 0;
    while round < 5 {
        x = x.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(x)));
        round += 1;
    }
    x
}

/// A bijection whose every output bit depends on every input bit.
#[inline(always)]
pub(super) fn mix(value: u64) -> u64 {
    let mut x = value;
    x = (x ^ (x >> 32)).wrapping_mul(FACTOR_A);
    x = (x ^ (x >> 32)).wrapping_mul(FACTOR_B);
    x ^ (x >> 32)
}

/// The value that [`mix`] made into `mixed`.
pub(super) fn unmix(mixed: u64) -> u64 {
    let mut x = mixed;
    x = (x ^ (x >> 32)).wrapping_mul(const { inverse(FACTOR_B) });
    x = (x ^ (x >> 32)).wrapping_mul(const { inverse(FACTOR_A) });
    x ^ (x >> 32)
}

/// The mixed values that a pass settles: from `first` to what `last` has come down to, both inclusive.
pub(super) struct Range {
    pub(super) first: u64,
    pub(super) last: AtomicU64,
}

impl Range {
    pub(super) fn from(first: u64) -> Range {
        Range { first, last: AtomicU64::new(u64::MAX) }
    }

    pub(super) fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }
}

#[derive(Clone, Copy, Default)]
struct Slot {
    mixed: u64,
    /// 0 where the slot is free.
    count: u64,
}

/// Odd, and far from small fractions of any power of two.
const MERGE_STRIDE: usize = 0x9e37_79b9_7f4a_7c15_u64 as usize | 1;

/// Counts of mixed values in a range: open addressing, linear probing.
pub(super) struct Table {
    slots: Vec<Slot>,
    used: usize,
    most_slots: usize,
    first: u64,
    last: u64,
    key: u64,
    peak_bytes: u64,
}

impl Table {
    /// A table that takes at most `most_bytes` (or 1 KiB, if that is more), growing as it needs.
    pub(super) fn new(most_bytes: u64, range: &Range) -> Table {
        let affordable = usize::try_from(most_bytes / size_of::<Slot>() as u64).unwrap_or(usize::MAX).max(64);
        let power = 1usize << affordable.ilog2();
        // While it grows, the old table (half of the new one) is still there.
        let most_slots = if power + power / 2 <= affordable { power } else { power / 2 }.max(32);
        let slots = vec![Slot::default(); most_slots.min(1024)];
        let peak_bytes = (slots.len() * size_of::<Slot>()) as u64;
        Table { slots, used: 0, most_slots, first: range.first, last: range.last(), key: key(), peak_bytes }
    }

    /// The greatest mixed value that it is responsible for.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// The most bytes it has taken so far.
    pub(super) fn peak_bytes(&self) -> u64 {
        self.peak_bytes
    }

    /// Follows other tables of the same pass that had to give up a part of the range.
    pub(super) fn follow(&mut self, range: &Range) {
        let last = range.last();
        if last < self.last {
            self.last = last;
            self.forget_above_last();
        }
    }

    /// Adds `count` (not 0) to `value`, where it lies in the range.
    #[inline]
    pub(super) fn add(&mut self, value: u64, count: u64, range: &Range) {
        self.add_mixed(mix(value ^ self.key), count, range);
    }

    #[inline]
    fn add_mixed(&mut self, mixed: u64, count: u64, range: &Range) {
        if mixed < self.first || mixed > self.last {
            return;
        }
        let mask = self.slots.len() - 1;
        let mut at = self.home(mixed);
        // Bounded: a table is never full.
        loop {
            let slot = &mut self.slots[at];
            if slot.count == 0 {
                *slot = Slot { mixed, count };
                self.used += 1;
                if self.used * 4 > self.slots.len() * 3 {
                    self.make_room(range);
                }
                return;
            }
            if slot.mixed == mixed {
                slot.count = slot.count.saturating_add(count);
                return;
            }
            at = (at + 1) & mask;
        }
    }

    /// By the low bits: the high ones may be equal for a whole range.
    #[inline]
    fn home(&self, mixed: u64) -> usize {
        mixed as usize & (self.slots.len() - 1)
    }

    fn make_room(&mut self, range: &Range) {
        if self.slots.len() < self.most_slots {
            let size = self.slots.len() * 2;
            self.peak_bytes = self.peak_bytes.max(((size + self.slots.len()) * size_of::<Slot>()) as u64);
            let old = std::mem::replace(&mut self.slots, vec![Slot::default(); size]);
            for slot in old.iter().filter(|slot| slot.count != 0) {
                self.reinsert(*slot);
            }
            return;
        }
        while self.used * 2 > self.slots.len() {
            let Some(last) = self.half_range() else { return };
            self.last = range.last.fetch_min(last, Ordering::Relaxed).min(last);
            self.forget_above_last();
        }
    }

    fn reinsert(&mut self, slot: Slot) {
        let mask = self.slots.len() - 1;
        let mut at = self.home(slot.mixed);
        while self.slots[at].count != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }

    /// A smaller `last` that keeps about half of the values, and at least one.
    fn half_range(&self) -> Option<u64> {
        const BINS: usize = 256;
        let step = (self.last - self.first) / BINS as u64 + 1;
        let mut bins = [0usize; BINS];
        let (mut least, mut greatest) = (u64::MAX, 0);
        for slot in self.slots.iter().filter(|slot| slot.count != 0) {
            bins[((slot.mixed - self.first) / step) as usize] += 1;
            least = least.min(slot.mixed);
            greatest = greatest.max(slot.mixed);
        }
        if least >= greatest {
            return None;
        }
        let mut kept = 0;
        for (bin, count) in bins.iter().enumerate() {
            kept += count;
            if kept * 2 >= self.used || kept > 0 && *count * 4 > self.used {
                let end = self.first.saturating_add(step.saturating_mul(bin as u64 + 1)) - 1;
                // All in one bin: at least the greatest goes.
                return Some(if end >= greatest { least + (greatest - least) / 2 } else { end });
            }
        }
        None
    }

    fn forget_above_last(&mut self) {
        // Rebuilt in place: taking all out one probe run at a time would leave holes in the runs.
        let mut kept: Vec<Slot> = Vec::new();
        let size = self.slots.len();
        // Start after a free slot, so that no run is cut in two.
        let start = (0..size).find(|at| self.slots[*at].count == 0).unwrap_or(0);
        for step in 1..=size {
            let at = (start + step) & (size - 1);
            let slot = std::mem::take(&mut self.slots[at]);
            if slot.count != 0 {
                if slot.mixed <= self.last {
                    kept.push(slot);
                }
                continue;
            }
            for slot in kept.drain(..) {
                self.reinsert(slot);
            }
        }
        for slot in kept.drain(..) {
            self.reinsert(slot);
        }
        self.used = self.slots.iter().filter(|slot| slot.count != 0).count();
    }

    /// Takes in all of another table of the same pass.
    pub(super) fn merge(&mut self, other: &Table, range: &Range) {
        self.follow(range);
        // Not in the order of the slots: that is the order of the hash, which would fill one end of a table that is still
        // growing, and make each probe walk over all of it. An odd stride visits every slot of a power of two.
        let mask = other.slots.len() - 1;
        let visited = (0..other.slots.len()).map(|step| step.wrapping_mul(MERGE_STRIDE) & mask);
        for slot in visited.filter_map(|at| other.slots.get(at)).filter(|slot| slot.count != 0) {
            self.add_mixed(slot.mixed, slot.count, range);
        }
    }

    /// All values in the range, with their counts, in no order.
    pub(super) fn counts(&self) -> impl Iterator<Item = (u64, u64)> {
        self.slots.iter().filter(|slot| slot.count != 0).map(|slot| (unmix(slot.mixed) ^ self.key, slot.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn mixing_can_be_undone() {
        for value in [0, 1, u64::MAX, 0x0000_7fff_1234_5678, 0x5555_0000_0000_0000] {
            assert_eq!(unmix(mix(value)), value);
        }
    }

    /// How far a value lies from where it is looked for first.
    fn longest_probe(table: &Table) -> usize {
        let mask = table.slots.len() - 1;
        let used = table.slots.iter().enumerate().filter(|(_, slot)| slot.count != 0);
        used.map(|(at, slot)| at.wrapping_sub(table.home(slot.mixed)) & mask).max().unwrap_or(0)
    }

    #[test]
    fn nobody_can_write_words_that_fall_into_one_place() {
        let range = Range::from(0);
        let mut table = Table::new(16 << 20, &range);
        (0..5000).for_each(|i| table.add(unmix(i << 32), 1, &range));
        assert_eq!(table.counts().count(), 5000);
        assert!(longest_probe(&table) < 200, "{}", longest_probe(&table));
    }

    #[test]
    fn a_table_gives_up_what_another_gave_up() {
        let range = Range::from(0);
        let (mut large, mut small) = (Table::new(1 << 20, &range), Table::new(4096, &range));
        (0..1000).for_each(|i| large.add(i, 1, &range));
        (0..1000).for_each(|i| small.add(i, 1, &range));
        assert!(range.last() < u64::MAX);
        large.follow(&range);
        assert_eq!(
            large.counts().count(),
            large.counts().filter(|(value, _)| mix(value ^ key()) <= range.last()).count()
        );
        large.merge(&small, &range);
        assert!(large.counts().all(|(_, count)| count == 2) && large.counts().count() > 0);
    }

    #[test]
    fn passes_over_a_table_that_is_too_small_settle_every_value_once() {
        let values: Vec<u64> = (0..5000u64).map(|i| i * i % 3001).collect();
        let mut naive = BTreeMap::new();
        for value in &values {
            *naive.entry(*value).or_insert(0u64) += 1;
        }
        let mut settled = BTreeMap::new();
        let mut first = 0;
        let mut passes = 0;
        loop {
            let range = Range::from(first);
            let mut tables = [Table::new(4096, &range), Table::new(8192, &range)];
            for (at, value) in values.iter().enumerate() {
                tables[at % 2].add(*value, 1, &range);
            }
            let [mut all, other] = tables;
            all.merge(&other, &range);
            for (value, count) in all.counts() {
                assert_eq!(settled.insert(value, count), None, "value {value} was settled twice");
            }
            passes += 1;
            let last = range.last();
            if last == u64::MAX {
                break;
            }
            first = last + 1;
        }
        assert_eq!(settled, naive);
        assert!(passes > 3, "the table was not too small: {passes} passes");
    }
}
