//! How often given words occur in each of several groups of memory.

use std::collections::HashMap;

use crate::addr::Target;
use crate::task::Task;

use super::count::for_each_word;
use super::source::{Parts, Place, Sink, Walk};
use super::{Error, Means};

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
    let slots: HashMap<u64, usize> = words.iter().enumerate().rev().map(|(slot, word)| (*word, slot)).collect();
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
        let mut sinks: Vec<_> =
            (0..means.threads).map(|_| Given { slots: &slots, counts: vec![0; words.len()], target }).collect();
        walk.run(task, &mut sinks)?;
        let count = |slot: usize| sinks.iter().filter_map(|sink| sink.counts.get(slot)).sum();
        // A word that was given twice has the same count twice.
        answer.groups.push(words.iter().map(|word| slots.get(word).map_or(0, |slot| count(*slot))).collect());
        answer.total_words.push(parts.total_words(width, false));
    }
    Ok(answer)
}

struct Given<'a> {
    slots: &'a HashMap<u64, usize>,
    counts: Vec<u64>,
    target: Target,
}

impl Given<'_> {
    fn add(&mut self, word: u64, count: u64) {
        if let Some(slot) = self.slots.get(&word)
            && let Some(sum) = self.counts.get_mut(*slot)
        {
            *sum += count;
        }
    }
}

impl Sink for Given<'_> {
    fn words(&mut self, _: Place, bytes: &[u8]) -> Result<(), Error> {
        for_each_word(self.target, bytes, |word| self.add(word, 1));
        Ok(())
    }

    fn zeros(&mut self, _: Place, count: u64) -> Result<(), Error> {
        self.add(0, count);
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
