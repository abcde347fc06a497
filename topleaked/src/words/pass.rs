//! What a worker does with its words in each kind of pass, and what the workers' counters say together.

use super::Error;
use super::Isa;
use super::kernel::{self, COUNTERS_START, FRONT_SLOTS, LANES, WARM};
use super::radix::{Partitions, Pool};
use super::source::{Place, Sink};
use super::table::{Range, Table};

/// A wide counter from here on stands for "any number"; a narrow one from 255 on.
pub(super) const BUCKET_LIMIT: u64 = 1 << 30;

/// Upper bounds for the words that are not in the front.
pub(super) enum Bounds {
    /// Behind [`COUNTERS_START`] others.
    Wide(Vec<u32>),
    Narrow(Vec<u8>),
}

fn wide_bound(counter: u32) -> u64 {
    if u64::from(counter) >= BUCKET_LIMIT { u64::MAX } else { counter.into() }
}

/// The least threshold from `levels` (see [`Bounds::levels`]) with which at most about `words` words survive;
/// `u64::MAX` where there is none.
pub(super) fn threshold(levels: &[(u64, u64)], words: u64) -> u64 {
    let mut least = u64::MAX;
    let mut mass = 0u64;
    for (bound, counters) in levels {
        mass = mass.saturating_add(bound.min(&FULL).saturating_mul(*counters));
        if mass > words {
            break;
        }
        least = *bound;
    }
    least.max(1)
}

/// How many words survive, at least where a counter is full.
pub(super) fn mass(levels: &[(u64, u64)], threshold: u64) -> u64 {
    let kept = levels.iter().take_while(|(bound, _)| *bound >= threshold);
    kept.fold(0, |mass: u64, (bound, counters)| mass.saturating_add(bound.min(&FULL).saturating_mul(*counters)))
}

/// What a full counter is taken for.
const FULL: u64 = 4096;

/// A threshold that probably lies below the count of the `n`-th most frequent word: its counter holds other words, too.
pub(super) fn likely(levels: &[(u64, u64)], n: u64) -> u64 {
    let (mut counters, mut sum) = (0u64, 0.0);
    let mut nth = None;
    for (bound, more) in levels {
        counters = counters.saturating_add(*more);
        sum += (*bound).min(FULL) as f64 * *more as f64;
        nth = nth.or((counters >= n).then_some(*bound));
    }
    let mean = sum / counters.max(1) as f64;
    (nth.unwrap_or(0).min(FULL) as f64 - mean - 1.5 * mean.sqrt()).max(1.0) as u64
}

impl Bounds {
    /// The bounds and how many counters have each, highest first.
    pub(super) fn levels(&self) -> Vec<(u64, u64)> {
        match self {
            Bounds::Wide(counters) => {
                let mut all: Vec<u32> = counters.iter().skip(COUNTERS_START).copied().collect();
                all.sort_unstable_by(|a, b| b.cmp(a));
                let runs = all.chunk_by(|a, b| a == b);
                runs.filter_map(|run| Some((wide_bound(*run.first()?), run.len() as u64))).collect()
            }
            Bounds::Narrow(counters) => {
                // Four tallies, so that equal neighbours do not wait for one another.
                let mut tallies = [[0u32; 256]; 4];
                for four in counters.chunks(4) {
                    for (counter, tally) in four.iter().zip(&mut tallies) {
                        tally[usize::from(*counter)] += 1;
                    }
                }
                let count = |at: usize| tallies.iter().map(|tally| u64::from(tally[at])).sum();
                let bound = |at: usize| if at == 255 { u64::MAX } else { at as u64 };
                (0..256).rev().map(|at| (bound(at), count(at))).filter(|(_, count)| *count > 0).collect()
            }
        }
    }

    fn bits(&self) -> u32 {
        match self {
            Bounds::Wide(counters) => (counters.len() - COUNTERS_START).ilog2(),
            Bounds::Narrow(counters) => counters.len().ilog2(),
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
                sum.iter_mut().zip(&more).for_each(|(sum, more)| *sum = sum.saturating_add(*more));
                Bounds::Narrow(sum)
            }
            (_, other) => other,
        }
    }

    /// No word that is not in the front occurs more often; `u64::MAX` where a counter is full.
    pub(super) fn greatest(&self) -> u64 {
        match self {
            Bounds::Wide(counters) => wide_bound(counters.iter().skip(COUNTERS_START).max().copied().unwrap_or(0)),
            Bounds::Narrow(counters) => match counters.iter().max() {
                Some(255) => u64::MAX,
                most => most.copied().unwrap_or(0).into(),
            },
        }
    }

    /// The indices of the `number` highest (wide) counters, and perhaps some more of the same height.
    pub(super) fn highest(&self, number: usize) -> Vec<u32> {
        let Bounds::Wide(counters) = self else { return Vec::new() };
        let mut all: Vec<u32> = counters.iter().skip(COUNTERS_START).copied().collect();
        let Some(last) = number.min(all.len()).checked_sub(1) else { return Vec::new() };
        let least = (*all.select_nth_unstable_by(last, |a, b| b.cmp(a)).1).max(1);
        let high = counters.iter().skip(COUNTERS_START).enumerate().filter(|(_, counter)| **counter >= least);
        high.take(number * 2).filter_map(|(at, _)| u32::try_from(at).ok()).collect()
    }

    /// A bit for each counter, set where it is at least `threshold`; and the shift that names a word's counter.
    pub(super) fn bitmap(&self, threshold: u64) -> (Vec<u64>, u32) {
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
                let threshold = u8::try_from(threshold).unwrap_or(255);
                for (bits, counters) in bitmap.iter_mut().zip(counters.chunks(64)) {
                    for (at, counter) in counters.iter().enumerate() {
                        *bits |= u64::from(*counter >= threshold) << at;
                    }
                }
            }
        }
        (bitmap, 64 - self.bits())
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
            (Bounds::Narrow(kernel::zeroed(1 << bits)), vec![0; COUNTERS_START])
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

/// Which words survive: those whose hashed counter has its bit set, and the shift that names a word's counter.
#[derive(Clone, Copy)]
pub(super) struct Filter<'a> {
    pub(super) bitmap: &'a [u64],
    pub(super) shift: u32,
}

/// Which words go into the pools.
#[derive(Clone, Copy)]
pub(super) enum Survive<'a> {
    /// All but 0.
    NotZero,
    /// All that are not in the front.
    NotInFront(&'a kernel::Front),
    /// Those that are not in the front and whose bound is high enough.
    Bounded(&'a kernel::Front, Filter<'a>),
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
                Survive::Bounded(front, Filter { bitmap, shift }) => {
                    kernel::find_survivors(isa, width, group, front, shift, bitmap, out)
                }
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
