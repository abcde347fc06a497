//! What a worker does with its words in each kind of pass, and what the workers' counters say together.

use super::Error;
use super::Isa;
use super::kernel::{self, COUNTERS_START, FRONT_SLOTS, Filter, LANES, NARROW_MAX, WARM};
use super::radix::{Partitions, Pool};
use super::source::{Place, Sink};
use super::table::{Range, Table};

/// A wide counter from here on stands for "any number"; a narrow one at [`kernel::NARROW_MAX`].
pub(super) const BUCKET_LIMIT: u64 = 1 << 30;

/// Upper bounds for the words that are not in the front.
pub(super) enum Bounds {
    /// Behind [`COUNTERS_START`] others.
    Wide(Vec<u32>),
    /// Two of four bits in each byte, the first in the low ones.
    Narrow(Vec<u8>),
}

fn wide_bound(counter: u32) -> u64 {
    if u64::from(counter) >= BUCKET_LIMIT { u64::MAX } else { counter.into() }
}

fn narrow_bound(counter: u8) -> u64 {
    if counter >= NARROW_MAX { u64::MAX } else { counter.into() }
}

/// A bound that some counters have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    pub(super) bound: u64,
    /// How many counters have it.
    pub(super) counters: u64,
    /// How many words fell into one of them; a guess where it is full.
    words: u64,
}

/// What a full counter is taken for.
const FULL_WIDE: u64 = 4096;
const FULL_NARROW: u64 = 64;

/// The least threshold from `levels` (see [`Bounds::levels`]) with which at most about `words` words survive;
/// `u64::MAX` where there is none.
pub(super) fn threshold(levels: &[Level], words: u64) -> u64 {
    let mut least = u64::MAX;
    let mut mass = 0u64;
    for level in levels {
        mass = mass.saturating_add(level.words.saturating_mul(level.counters));
        if mass > words {
            break;
        }
        least = level.bound;
    }
    least.max(1)
}

/// About how many words survive.
pub(super) fn mass(levels: &[Level], threshold: u64) -> u64 {
    let kept = levels.iter().take_while(|level| level.bound >= threshold);
    kept.fold(0, |mass: u64, level| mass.saturating_add(level.words.saturating_mul(level.counters)))
}

/// How many words are in a counter that holds no frequent one: half of the counters hold fewer.
fn usual(levels: &[Level]) -> u64 {
    let all: u64 = levels.iter().map(|level| level.counters).sum();
    let mut above = 0;
    let middle = levels.iter().find(|level| {
        above += level.counters;
        above > all / 2
    });
    middle.map_or(0, |level| level.words)
}

/// About how many different words survive: a frequent one in each counter, beside the usual ones.
pub(super) fn different(levels: &[Level], threshold: u64) -> u64 {
    let most = usual(levels) + 1;
    let kept = levels.iter().take_while(|level| level.bound >= threshold);
    kept.fold(0, |sum: u64, level| sum.saturating_add(level.words.min(most).saturating_mul(level.counters)))
}

/// A count that the `n`-th most frequent word surely has, as far as chance is what fills the other counters; 0 where it
/// does not stand out.
pub(super) fn surely(levels: &[Level], n: u64) -> u64 {
    let noise = usual(levels) as f64;
    let mut counters = 0u64;
    let nth = levels.iter().find(|level| {
        counters = counters.saturating_add(level.counters);
        counters >= n
    });
    let bound = nth.map_or(0, |level| level.words);
    (bound as f64 - noise - 4.0 * noise.sqrt() - 2.0).max(0.0) as u64
}

/// A threshold that probably lies below the count of the `n`-th most frequent word, and not far below it. Its counter
/// holds other words, too, and so does that of each other word.
pub(super) fn likely(levels: &[Level], n: u64) -> u64 {
    let (mut counters, mut sum) = (0u64, 0.0);
    let (mut nth, mut many) = (None, None);
    for level in levels {
        counters = counters.saturating_add(level.counters);
        sum += level.words as f64 * level.counters as f64;
        // A full counter says nothing about its words.
        let bound = if level.bound == u64::MAX { 0 } else { level.bound };
        nth = nth.or((counters >= n).then_some(bound));
        many = many.or((counters >= n.saturating_mul(32)).then_some(bound));
    }
    let mean = sum / counters.max(1) as f64;
    let by_noise = (nth.unwrap_or(0) as f64 - mean - 1.5 * mean.sqrt()).max(1.0) as u64;
    // Where noise alone fills so many counters that high, words of that count are few.
    by_noise.max(many.unwrap_or(0))
}

impl Bounds {
    /// All bounds, highest first.
    pub(super) fn levels(&self) -> Vec<Level> {
        match self {
            Bounds::Wide(counters) => {
                // Most are small, and need not be sorted.
                let mut small = vec![0u64; FULL_WIDE as usize];
                let mut large = Vec::new();
                for counter in counters.iter().skip(COUNTERS_START) {
                    match small.get_mut(*counter as usize) {
                        Some(tally) => *tally += 1,
                        None => large.push(*counter),
                    }
                }
                large.sort_unstable_by(|a, b| b.cmp(a));
                let large = large.chunk_by(|a, b| a == b).filter_map(|run| Some((*run.first()?, run.len() as u64)));
                let small = (0..FULL_WIDE as u32).zip(small).rev().filter(|(_, counters)| *counters > 0);
                let level = |(counter, counters)| {
                    let bound = wide_bound(counter);
                    Level { bound, counters, words: bound.min(FULL_WIDE) }
                };
                large.chain(small).map(level).collect()
            }
            Bounds::Narrow(counters) => {
                // Four tallies, so that equal neighbours do not wait for one another.
                let mut tallies = [[0u32; 256]; 4];
                for four in counters.chunks(4) {
                    for (pair, tally) in four.iter().zip(&mut tallies) {
                        tally[usize::from(*pair)] += 1;
                    }
                }
                let mut levels = [0u64; NARROW_MAX as usize + 1];
                for (pair, count) in tallies.iter().flat_map(|tally| tally.iter().enumerate()) {
                    levels[pair & 15] += u64::from(*count);
                    levels[pair >> 4] += u64::from(*count);
                }
                let all = levels.iter().enumerate().rev().filter(|(_, count)| **count > 0);
                all.map(|(at, count)| {
                    let bound = narrow_bound(at as u8);
                    Level { bound, counters: *count, words: bound.min(FULL_NARROW) }
                })
                .collect()
            }
        }
    }

    fn bits(&self) -> u32 {
        match self {
            Bounds::Wide(counters) => (counters.len() - COUNTERS_START).ilog2(),
            Bounds::Narrow(counters) => counters.len().ilog2() + 1,
        }
    }

    /// The greatest threshold that means anything: a counter that stands there is full.
    pub(super) fn most_threshold(&self) -> u64 {
        match self {
            Bounds::Wide(_) => BUCKET_LIMIT,
            Bounds::Narrow(_) => NARROW_MAX.into(),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        match self {
            Bounds::Wide(counters) => (counters.len() * 4) as u64,
            Bounds::Narrow(counters) => counters.len() as u64,
        }
    }

    /// The bounds for two parts of the memory together; both have as many counters.
    pub(super) fn plus(self, other: Bounds) -> Bounds {
        match (self, other) {
            (Bounds::Wide(mut sum), Bounds::Wide(more)) => {
                sum.iter_mut().zip(&more).for_each(|(sum, more)| *sum = sum.saturating_add(*more));
                Bounds::Wide(sum)
            }
            (Bounds::Narrow(mut sum), Bounds::Narrow(more)) => {
                for (sum, more) in sum.iter_mut().zip(&more) {
                    let low = ((*sum & 15) + (more & 15)).min(NARROW_MAX);
                    *sum = ((*sum >> 4) + (more >> 4)).min(NARROW_MAX) << 4 | low;
                }
                Bounds::Narrow(sum)
            }
            (_, other) => other,
        }
    }

    /// No word that is not in the front occurs more often; `u64::MAX` where a counter is full.
    pub(super) fn greatest(&self) -> u64 {
        match self {
            Bounds::Wide(counters) => wide_bound(counters.iter().skip(COUNTERS_START).max().copied().unwrap_or(0)),
            Bounds::Narrow(counters) => {
                narrow_bound(counters.iter().map(|pair| (pair & 15).max(pair >> 4)).max().unwrap_or(0))
            }
        }
    }

    /// The indices of the (wide) counters that may hold one of the `n` most frequent words, of which `front` are known to be in
    /// the front, after a look at a part of the words: some times as many as there are such words, and those that are
    /// hardly less than the last of them.
    pub(super) fn hot(&self, n: usize, front: usize) -> Vec<u32> {
        let Bounds::Wide(counters) = self else { return Vec::new() };
        let mut all: Vec<u32> = counters.iter().skip(COUNTERS_START).copied().collect();
        let mut nth = |n: usize| {
            let at = n.min(all.len()).checked_sub(1)?;
            Some(*all.select_nth_unstable_by(at, |a, b| b.cmp(a)).1)
        };
        let some = n * 4 + 64;
        let most = some.max((1 << self.bits()) / 16);
        let (Some(last), Some(some), Some(least)) = (nth(n.saturating_sub(front).max(1)), nth(some), nth(most)) else {
            return Vec::new();
        };
        // Four times what chance makes of it: many words may be as frequent as the n-th.
        let near = last.saturating_sub(4 * last.isqrt());
        let least = near.min(some).max(least).max(1);
        let high = counters.iter().skip(COUNTERS_START).enumerate().filter(|(_, counter)| **counter >= least);
        high.take(most * 2).filter_map(|(at, _)| u32::try_from(at).ok()).collect()
    }

    /// Lets through the words whose counter is at least `threshold`.
    pub(super) fn filter(&self, threshold: u64) -> Filter {
        let mut bitmap = vec![0u64; (1usize << self.bits()).div_ceil(64)];
        match self {
            Bounds::Wide(counters) => {
                let hashed = counters.get(COUNTERS_START..).unwrap_or_default();
                for (bits, counters) in bitmap.iter_mut().zip(hashed.chunks(64)) {
                    for (at, counter) in counters.iter().enumerate() {
                        *bits |= u64::from(wide_bound(*counter) >= threshold) << at;
                    }
                }
            }
            Bounds::Narrow(counters) => {
                let threshold = u8::try_from(threshold).unwrap_or(NARROW_MAX).min(NARROW_MAX);
                for (bits, pairs) in bitmap.iter_mut().zip(counters.chunks(32)) {
                    for (at, pair) in pairs.iter().enumerate() {
                        let both = u64::from(pair & 15 >= threshold) | u64::from(pair >> 4 >= threshold) << 1;
                        *bits |= both << (2 * at);
                    }
                }
            }
        }
        Filter::new(bitmap, 64 - self.bits())
    }
}

/// Hashed counters whose words are counted one by one, since the most frequent words are likely among them.
pub(super) struct Warm<'a> {
    /// The indices of the counters.
    pub(super) counters: &'a [u32],
    pub(super) range: &'a Range,
    pub(super) table_bytes: u64,
}

struct WarmWords<'a> {
    warm: &'a Warm<'a>,
    table: Table,
    found: Vec<u64>,
}

/// Counts the front word by word, and all others in hashed counters.
pub(super) struct Hashed<'a> {
    front: &'a kernel::Front,
    isa: Isa,
    width: u64,
    shift: u32,
    counters: Bounds,
    /// The front's counters where the others are narrow.
    lanes: Vec<u32>,
    exact: Vec<u64>,
    warm: Option<WarmWords<'a>>,
    zeros: u64,
    /// Words since the counters were last emptied.
    pending: u64,
    limit: u64,
}

/// What the workers' counters say together.
pub(super) struct Summed {
    /// Words that were counted one by one.
    pub(super) exact: Vec<(u64, u64)>,
    /// For all others.
    pub(super) bounds: Bounds,
}

impl<'a> Hashed<'a> {
    /// With 2 to the power of `bits` hashed counters. `limit` is [`BUCKET_LIMIT`], or less in tests.
    pub(super) fn new(
        front: &'a kernel::Front,
        isa: Isa,
        width: u64,
        narrow: bool,
        bits: u32,
        limit: u64,
    ) -> Hashed<'a> {
        let (counters, lanes) = if narrow {
            (Bounds::Narrow(kernel::zeroed(1 << (bits - 1))), vec![0; COUNTERS_START])
        } else {
            (Bounds::Wide(kernel::zeroed(COUNTERS_START + (1 << bits))), Vec::new())
        };
        let exact = vec![0; FRONT_SLOTS];
        Hashed { front, isa, width, shift: 64 - bits, counters, lanes, exact, warm: None, zeros: 0, pending: 0, limit }
    }

    /// Counts the words of some (wide) counters one by one.
    pub(super) fn with_warm(mut self, warm: &'a Warm<'a>) -> Hashed<'a> {
        let table = Table::new(warm.table_bytes, warm.range);
        self.warm = Some(WarmWords { warm, table, found: vec![0; FILTERED + 1] });
        self.heat();
        self
    }

    /// Marks the warm counters, and counts nothing in them.
    fn heat(&mut self) {
        if let (Some(warm), Bounds::Wide(counters)) = (&self.warm, &mut self.counters) {
            for at in warm.warm.counters {
                if let Some(counter) = counters.get_mut(COUNTERS_START + *at as usize) {
                    *counter = WARM;
                }
            }
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        let warm = self.warm.as_ref().map_or(0, |warm| warm.table.peak_bytes() + (warm.found.len() * 8) as u64);
        self.counters.bytes() + (self.lanes.len() * 4 + self.exact.len() * 8 + FRONT_SLOTS * 8) as u64 + warm
    }

    /// Empties the counters of the front into wider ones, and keeps the others from running over.
    fn flush(&mut self) {
        self.pending = 0;
        let lanes = match &mut self.counters {
            Bounds::Wide(counters) => {
                let (lanes, hashed) = counters.split_at_mut(COUNTERS_START);
                let limit = self.limit as u32;
                hashed.iter_mut().for_each(|counter| *counter = (*counter).min(limit));
                lanes
            }
            Bounds::Narrow(_) => self.lanes.as_mut_slice(),
        };
        for (sum, lanes) in self.exact.iter_mut().zip(lanes.chunks_mut(LANES)) {
            *sum += lanes.iter().map(|lane| u64::from(*lane)).sum::<u64>();
            lanes.fill(0);
        }
        self.heat();
    }

    /// The exact counts of the front and of the warm counters' words, and the bounds for all other words.
    pub(super) fn sum(sinks: Vec<Hashed<'_>>) -> Summed {
        let mut exact = vec![(0, 0); FRONT_SLOTS];
        let mut sum: Option<Bounds> = None;
        let mut limit = BUCKET_LIMIT;
        let mut warm_words: Option<WarmWords<'_>> = None;
        for mut sink in sinks {
            sink.flush();
            limit = sink.limit;
            for ((slot, key), count) in exact.iter_mut().zip(sink.front.keys.iter()).zip(&sink.exact) {
                *slot = (*key, slot.1 + count);
            }
            if let Some(zero) = exact.first_mut() {
                zero.1 += sink.zeros;
            }
            warm_words = match (warm_words, sink.warm) {
                (Some(mut all), Some(other)) => {
                    all.table.merge(&other.table, all.warm.range);
                    Some(all)
                }
                (all, other) => all.or(other),
            };
            sum = Some(match (sum, sink.counters) {
                (Some(sum), counters) => sum.plus(counters),
                (None, counters) => counters,
            });
        }
        // A counter that stood at a smaller limit in a test may stand for any number, too.
        let mut bounds = sum.unwrap_or(Bounds::Narrow(vec![0]));
        if let Bounds::Wide(counters) = &mut bounds {
            let full = |counter: &&mut u32| u64::from(**counter) >= limit;
            counters.iter_mut().skip(COUNTERS_START).filter(full).for_each(|counter| *counter = u32::MAX);
            if let Some(words) = &warm_words {
                // Where the table had to give up words, the counters stay without a bound.
                let settled = words.table.last() == u64::MAX && words.warm.range.last() == u64::MAX;
                for at in words.warm.counters.iter().filter(|_| settled) {
                    if let Some(counter) = counters.get_mut(COUNTERS_START + *at as usize) {
                        *counter = 0;
                    }
                }
                if settled {
                    exact.extend(words.table.counts());
                }
            }
        }
        exact.retain(|(_, count)| *count > 0);
        Summed { exact, bounds }
    }
}

impl Sink for Hashed<'_> {
    fn words(&mut self, _: Place, bytes: &[u8]) -> Result<(), Error> {
        let words = bytes.len() as u64 / self.width;
        if self.pending + words > self.limit {
            self.flush();
        }
        self.pending += words;
        let (isa, width, front, shift) = (self.isa, self.width, self.front, self.shift);
        match (&mut self.counters, &mut self.warm) {
            (Bounds::Wide(counters), Some(warm)) => {
                warm.table.follow(warm.warm.range);
                for group in bytes.chunks(FILTERED * width as usize) {
                    let (zeros, found) = kernel::count_warm(isa, width, group, front, shift, counters, &mut warm.found);
                    self.zeros += zeros;
                    for word in warm.found.iter().take(found) {
                        warm.table.add(*word, 1, warm.warm.range);
                    }
                }
            }
            (Bounds::Wide(counters), None) => {
                self.zeros += kernel::count_wide(isa, width, bytes, front, shift, counters);
            }
            (Bounds::Narrow(counters), _) => {
                self.zeros += kernel::count_narrow(isa, width, bytes, front, shift, &mut self.lanes, counters);
            }
        }
        Ok(())
    }

    fn zeros(&mut self, _: Place, count: u64) -> Result<(), Error> {
        self.zeros += count;
        Ok(())
    }
}

/// Words that are filtered at once.
const FILTERED: usize = 2048;

/// Which words go into the pools.
#[derive(Clone, Copy)]
pub(super) enum Survive<'a> {
    /// All but 0.
    NotZero,
    /// All that are not in the front.
    NotInFront(&'a kernel::Front),
    /// Those that are not in the front and whose bound is high enough.
    Bounded(&'a kernel::Front, &'a Filter),
}

/// Scatters the words that survive into a pool.
pub(super) struct Survivors<'a> {
    survive: Survive<'a>,
    isa: Isa,
    width: u64,
    pool: &'a mut Pool,
    partitions: &'a Partitions,
    found: Vec<u64>,
    zeros: u64,
    /// Counts the front, where no pass before has.
    hashed: Option<Hashed<'a>>,
}

impl<'a> Survivors<'a> {
    /// `counts_others` where no pass before has counted the words that do not survive.
    pub(super) fn new(
        survive: Survive<'a>,
        isa: Isa,
        width: u64,
        pool: &'a mut Pool,
        partitions: &'a Partitions,
        counts_others: bool,
    ) -> Survivors<'a> {
        let hashed = match survive {
            Survive::NotInFront(front) if counts_others => Some(Hashed::new(front, isa, width, false, 1, BUCKET_LIMIT)),
            _ => None,
        };
        pool.begin(partitions);
        Survivors { survive, isa, width, pool, partitions, found: vec![0; FILTERED + 1], zeros: 0, hashed }
    }

    /// The counts of the front, or of 0.
    pub(super) fn exact(self) -> Vec<(u64, u64)> {
        match self.hashed {
            Some(hashed) => Hashed::sum(vec![hashed]).exact,
            None => vec![(0, self.zeros)],
        }
    }
}

impl Sink for Survivors<'_> {
    fn words(&mut self, place: Place, bytes: &[u8]) -> Result<(), Error> {
        let (isa, width, out) = (self.isa, self.width, self.found.as_mut_slice());
        for group in bytes.chunks(FILTERED * width as usize) {
            let found = match self.survive {
                Survive::NotZero => {
                    let found = kernel::find_between(isa, width, group, 1, u64::MAX, out);
                    self.zeros += (group.len() / width as usize - found) as u64;
                    found
                }
                Survive::NotInFront(front) => kernel::find_others(isa, width, group, front, out),
                Survive::Bounded(front, filter) => kernel::find_survivors(isa, width, group, front, filter, out),
            };
            let (low, high) = self.partitions.limits();
            let words = out.get_mut(..found).unwrap_or_default();
            let selected = kernel::select_spread(isa, width, words, low, high);
            self.pool.extend(words.get(..selected).unwrap_or_default(), self.partitions);
        }
        match &mut self.hashed {
            Some(hashed) => hashed.words(place, bytes),
            None => Ok(()),
        }
    }

    fn zeros(&mut self, place: Place, count: u64) -> Result<(), Error> {
        self.zeros += count;
        match &mut self.hashed {
            Some(hashed) => hashed.zeros(place, count),
            None => Ok(()),
        }
    }
}

/// Counts the words that survive in a table: where few different ones do, however often each of them.
pub(super) struct Few<'a> {
    front: &'a kernel::Front,
    filter: &'a Filter,
    isa: Isa,
    width: u64,
    pub(super) table: Table,
    range: &'a Range,
    found: Vec<u64>,
}

impl<'a> Few<'a> {
    pub(super) fn new(
        front: &'a kernel::Front,
        filter: &'a Filter,
        isa: Isa,
        width: u64,
        table_bytes: u64,
        range: &'a Range,
    ) -> Few<'a> {
        let table = Table::new(table_bytes, range);
        Few { front, filter, isa, width, table, range, found: vec![0; FILTERED + 1] }
    }
}

impl Sink for Few<'_> {
    fn words(&mut self, _: Place, bytes: &[u8]) -> Result<(), Error> {
        self.table.follow(self.range);
        for group in bytes.chunks(FILTERED * self.width as usize) {
            let out = self.found.as_mut_slice();
            let found = kernel::find_survivors(self.isa, self.width, group, self.front, self.filter, out);
            self.found.iter().take(found).for_each(|word| self.table.add(*word, 1, self.range));
        }
        Ok(())
    }

    /// Of the front.
    fn zeros(&mut self, _: Place, _: u64) -> Result<(), Error> {
        Ok(())
    }
}
