//! How often given words occur in each of several groups of memory.

use std::collections::HashMap;

use crate::addr::Target;
use crate::task::Task;

use super::count::raw_to_value;
use super::kernel::{self, FRONT_SLOTS, Filter, Front};
use super::source::{Parts, Place, Sink, Walk};
use super::{Error, Isa, Means};

/// The answer of [`count_given`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GivenCounts {
    /// For each group, how often each word occurs in it, in the order in which the words were given.
    pub groups: Vec<Vec<u64>>,
    /// For each group, how many words it has in all.
    pub total_words: Vec<u64>,
}

/// Counts `words` in each group, in one walk over each. Leftover bytes at the end of a part are no word.
///
/// # Errors
/// [`Error`].
pub fn count_given(groups: &[Parts<'_>], words: &[u64], target: Target, task: &Task) -> Result<GivenCounts, Error> {
    let means = Means::of(task, 0)?;
    let width = target.width.bytes() as u64;
    let given = Words::new(words, target);
    let bytes = groups.iter().fold(0, |sum: u64, group| sum.saturating_add(group.total_bytes()));
    task.progress.start("counting given words", bytes);
    let mut answer = GivenCounts { groups: Vec::new(), total_words: Vec::new() };
    for parts in groups {
        let walk = Walk {
            parts: *parts,
            width,
            tail_counts: false,
            skip_holes: true,
            piece_bytes: means.piece_bytes,
            every: 1,
        };
        let mut sinks: Vec<_> = (0..means.threads).map(|_| Given::new(&given, words.len(), width)).collect();
        walk.run(task, &mut sinks)?;
        let count = |slot: usize| sinks.iter().filter_map(|sink| sink.counts.get(slot)).sum();
        // A word that was given twice has the same count twice.
        answer.groups.push(words.iter().map(|word| given.slot_of_value(*word, target).map_or(0, count)).collect());
        answer.total_words.push(parts.total_words(width, false));
    }
    Ok(answer)
}

/// The words, raw, in a form in which a word that is none of them is told by one bit.
struct Words {
    slots: HashMap<u64, usize>,
    /// 0 alone: it is counted apart.
    front: Front,
    filter: Filter,
    /// For each bit, a word that has it, and its slot.
    first: Vec<(u64, usize)>,
}

impl Words {
    fn new(words: &[u64], target: Target) -> Words {
        // Seen from either side the bytes are in the same order.
        let raw = words.iter().map(|word| raw_to_value(target, *word));
        let slots: HashMap<u64, usize> = raw.enumerate().map(|(slot, raw)| (raw, slot)).collect();
        let front = Front { multiplier: 0x9e37_79b9_7f4a_7c15, keys: [0; FRONT_SLOTS] };
        let bits = (slots.len().max(1) * 64).next_power_of_two().ilog2().clamp(12, 20);
        let shift = 64 - bits;
        let mut bitmap = vec![0u64; 1 << (bits - 6)];
        let mut first = vec![(0, 0); 1 << bits];
        for (raw, slot) in &slots {
            let bit = (raw.wrapping_mul(front.multiplier) >> shift) as usize;
            if let (Some(block), Some(first)) = (bitmap.get_mut(bit / 64), first.get_mut(bit)) {
                *block |= 1 << (bit % 64);
                *first = (*raw, *slot);
            }
        }
        Words { slots, front, filter: Filter::new(bitmap, shift), first }
    }

    fn slot(&self, raw: u64) -> Option<usize> {
        match self.first.get((raw.wrapping_mul(self.front.multiplier) >> self.filter.shift) as usize) {
            Some((word, slot)) if *word == raw && raw != 0 => Some(*slot),
            _ => self.slots.get(&raw).copied(),
        }
    }

    fn slot_of_value(&self, word: u64, target: Target) -> Option<usize> {
        self.slot(raw_to_value(target, word))
    }
}

/// Words that are filtered at once.
const FILTERED: usize = 2048;

struct Given<'a> {
    words: &'a Words,
    counts: Vec<u64>,
    width: u64,
    isa: Isa,
    found: Vec<u64>,
}

impl<'a> Given<'a> {
    fn new(words: &'a Words, count: usize, width: u64) -> Given<'a> {
        Given { words, counts: vec![0; count], width, isa: Isa::best(), found: vec![0; FILTERED + 1] }
    }

    fn add(&mut self, slot: Option<usize>, count: u64) {
        if let Some(sum) = slot.and_then(|slot| self.counts.get_mut(slot)) {
            *sum += count;
        }
    }
}

fn zeros<const W: usize>(bytes: &[u8]) -> u64 {
    bytes.as_chunks::<W>().0.iter().map(|word| u64::from(*word == [0; W])).sum()
}

impl Sink for Given<'_> {
    fn words(&mut self, _: Place, bytes: &[u8]) -> Result<(), Error> {
        let Words { front, filter, .. } = self.words;
        for group in bytes.chunks(FILTERED * self.width as usize) {
            let found = kernel::find_survivors(self.isa, self.width, group, front, filter, &mut self.found);
            for at in 0..found {
                let raw = self.found.get(at).copied().unwrap_or_default();
                self.add(self.words.slot(raw), 1);
            }
        }
        let zero = self.words.slots.get(&0).copied();
        if zero.is_some() {
            self.add(zero, if self.width == 4 { zeros::<4>(bytes) } else { zeros::<8>(bytes) });
        }
        Ok(())
    }

    fn zeros(&mut self, _: Place, count: u64) -> Result<(), Error> {
        self.add(self.words.slots.get(&0).copied(), count);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_group_by_group() {
        let bytes = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
        let (a, b, c) = (bytes(&[1, 2, 1, 0]), bytes(&[2, 2]), bytes(&[1]));
        let groups = [Parts::Slices(&[&a, &c]), Parts::Slices(&[&b])];
        let answer = count_given(&groups, &[1, 2, 3, 1], Target::LITTLE_8, &Task::default()).unwrap();
        assert_eq!(answer.groups, [[3, 1, 0, 3], [0, 2, 0, 0]]);
        assert_eq!(answer.total_words, [5, 2]);
    }
}
