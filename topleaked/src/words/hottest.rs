//! The beginning of the list of most frequent words, group by group of memory, in one walk.

use std::collections::HashMap;

use crate::addr::Target;
use crate::task::Task;

use super::count::{FEW_WORDS, raw_to_value};
use super::pass::{BUCKET_LIMIT, Bounds, Hashed, Summed};
use super::sample::Sample;
use super::source::{Parts, Walk};
use super::{Count, Error, Isa, Means};

/// The answer of [`count_hottest`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HottestCounts {
    /// The most frequent words of all groups together: by count descending, then by value ascending. Every word that is
    /// not among them occurs less often than each of them.
    pub top: Vec<Count>,
    /// For each group, how often each word of `top` occurs in it.
    pub groups: Vec<Vec<u64>>,
    /// How many words all groups have.
    pub total_words: u64,
}

/// Hashed counters, as a power of 2: they fit the second-level cache, and the words of a large dump that are not hot spread
/// thinly over them.
const COUNTER_BITS: u32 = 17;

/// The words that the first look takes for hot, some dozens, as far as one walk proves that no other occurs as often:
/// at the cost of reading the memory once. `None` where there are so few words that nothing is gained by it. `all` is
/// what the groups are together.
///
/// How many words it proves depends on the memory. Where they do not suffice, [`count_words`](super::count_words) finds any
/// number.
///
/// # Errors
/// [`Error`].
pub fn count_hottest(
    all: Parts<'_>,
    groups: &[Parts<'_>],
    target: Target,
    task: &Task,
) -> Result<Option<HottestCounts>, Error> {
    let means = Means::of(task, 0)?;
    let width = target.width.bytes() as u64;
    let total_words = groups.iter().fold(0, |sum: u64, parts| sum.saturating_add(parts.total_words(width, false)));
    let affordable = (means.table_bytes / 8).max(1).ilog2();
    if total_words < FEW_WORDS || affordable < 10 {
        return Ok(None);
    }
    let wanted = (total_words / 64).min(1 << 17).min(means.table_bytes / 64).max(1 << 10);
    let front = Sample::take(all, width, wanted)?.front();
    let bits = COUNTER_BITS.min(affordable);
    task.progress.start("counting", all.total_bytes());
    let mut counts: HashMap<u64, Vec<u64>> = HashMap::new();
    let mut bounds: Option<Bounds> = None;
    for (at, parts) in groups.iter().enumerate() {
        let piece_bytes = means.piece_bytes;
        let walk = Walk { parts: *parts, width, tail_counts: false, skip_holes: true, piece_bytes, every: 1 };
        let mut sinks: Vec<_> =
            (0..means.threads).map(|_| Hashed::new(&front, Isa::best(), width, false, bits, BUCKET_LIMIT)).collect();
        walk.run(task, &mut sinks)?;
        let Summed { exact, bounds: more } = Hashed::sum(sinks);
        for (raw, count) in exact {
            let in_groups = counts.entry(raw).or_insert_with(|| vec![0; groups.len()]);
            if let Some(in_group) = in_groups.get_mut(at) {
                *in_group += count;
            }
        }
        bounds = Some(match bounds {
            Some(sum) => sum.plus(more),
            None => more,
        });
    }
    let greatest = bounds.map_or(0, |bounds| bounds.greatest());
    let mut proven: Vec<(Count, Vec<u64>)> = counts
        .into_iter()
        .map(|(raw, groups)| (Count { value: raw_to_value(target, raw), count: groups.iter().sum() }, groups))
        .filter(|(count, _)| count.count > greatest)
        .collect();
    proven.sort_unstable_by_key(|(count, _)| (std::cmp::Reverse(count.count), count.value));
    let by_group = |at: usize| proven.iter().map(|(_, groups)| groups.get(at).copied().unwrap_or_default()).collect();
    let groups = (0..groups.len()).map(by_group).collect();
    Ok(Some(HottestCounts { top: proven.into_iter().map(|(count, _)| count).collect(), groups, total_words }))
}

#[cfg(test)]
mod tests {
    use super::super::{Question, Source, Tail, count_words};
    use super::*;
    use crate::addr::{ByteOrder, Width};

    /// Words of which 50 are frequent, the more the smaller, among many that occur once.
    fn words(seed: u64) -> Vec<u64> {
        let mut words = Vec::new();
        for hot in 0..50u64 {
            words.extend(std::iter::repeat_n(hot * 0x1_0001, (2000 - 20 * hot as usize) * (1 + seed as usize % 2)));
        }
        words.extend((0..40_000u64).map(|at| (at * 8 + seed) | 0x7f00_0000));
        // In an order that has nothing to do with the values.
        let mut order: Vec<(u64, u64)> = words
            .into_iter()
            .enumerate()
            .map(|(at, word)| ((at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15), word))
            .collect();
        order.sort_unstable();
        order.into_iter().map(|(_, word)| word).collect()
    }

    #[test]
    fn what_is_proven_is_the_beginning_of_the_whole_list() {
        for target in [
            Target::LITTLE_8,
            Target { width: Width::W4, order: ByteOrder::Big },
            Target { width: Width::W8, order: ByteOrder::Big },
        ] {
            let bytes = |words: &[u64]| -> Vec<u8> {
                words
                    .iter()
                    .flat_map(|word| match (target.width, target.order) {
                        (Width::W4, _) => (*word as u32).to_be_bytes().to_vec(),
                        (Width::W8, ByteOrder::Big) => word.to_be_bytes().to_vec(),
                        (Width::W8, ByteOrder::Little) => word.to_le_bytes().to_vec(),
                    })
                    .collect()
            };
            let (a, b) = (words(1), words(2));
            let (first, second) = (bytes(&a), bytes(&b));
            let all: [&[u8]; 2] = [&first, &second];
            let groups = [Parts::Slices(&all[..1]), Parts::Slices(&all[1..])];
            let hottest = count_hottest(Parts::Slices(&all), &groups, target, &Task::default()).unwrap().unwrap();
            assert!(hottest.top.len() >= 20, "{} words are proven", hottest.top.len());
            assert_eq!(hottest.total_words, (a.len() + b.len()) as u64);
            let n = hottest.top.len() as u64;
            let question = Question { n, target, tail: Tail::Ignore, ..Question::top(n) };
            assert_eq!(hottest.top, count_words(Source::Slices(&all), &question, &Task::default()).unwrap().top);
            for (at, count) in hottest.top.iter().enumerate() {
                let of = |words: &[u64]| words.iter().filter(|word| **word == count.value).count() as u64;
                assert_eq!([hottest.groups[0][at], hottest.groups[1][at]], [of(&a), of(&b)], "{count:?}");
            }
        }
    }

    #[test]
    fn nothing_is_proven_where_every_word_is_as_frequent() {
        let bytes: Vec<u8> = (0..1u64 << 17).flat_map(|at| (at | 1 << 40).to_le_bytes()).collect();
        let all: [&[u8]; 1] = [&bytes];
        let parts = Parts::Slices(&all);
        let hottest = count_hottest(parts, &[parts], Target::LITTLE_8, &Task::default()).unwrap().unwrap();
        assert_eq!(hottest.top, []);
        let few: [&[u8]; 1] = [&bytes[..256]];
        let parts = Parts::Slices(&few);
        assert_eq!(count_hottest(parts, &[parts], Target::LITTLE_8, &Task::default()).unwrap(), None);
    }
}
