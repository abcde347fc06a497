//! What a worker does with its words in each kind of pass, and what the workers' counters say together.

use super::Error;
use super::Isa;
use super::kernel::{self, CLASSES, COUNTERS_START, FRONT_SLOTS, LANES, SMALL_SLOTS, SmallFront};
use super::radix::{Partitions, Pool};
use super::source::{Place, Sink};

/// A wide counter from here on stands for "any number"; a narrow one from 255 on.
pub(super) const BUCKET_LIMIT: u64 = 1 << 31;

/// Upper bounds for the words that are not in the front.
pub(super) enum Bounds {
    /// Behind [`COUNTERS_START`] others.
    Wide(Vec<u32>),
    Narrow(Vec<u8>),
}

impl Bounds {
    fn each(&self) -> Box<dyn Iterator<Item = u64> + '_> {
        match self {
            Bounds::Wide(counters) => Box::new(counters.iter().skip(COUNTERS_START).map(|counter| match *counter {
                limit if u64::from(limit) >= BUCKET_LIMIT => u64::MAX,
                counter => counter.into(),
            })),
            Bounds::Narrow(counters) => Box::new(counters.iter().map(|counter| match *counter {
                255 => u64::MAX,
                counter => counter.into(),
            })),
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

    /// No word that is not in the front occurs more often; `u64::MAX` where a counter is full.
    pub(super) fn greatest(&self) -> u64 {
        match self {
            Bounds::Wide(_) => self.each().max().unwrap_or(0),
            Bounds::Narrow(counters) => match counters.iter().max() {
                Some(255) => u64::MAX,
                most => most.copied().unwrap_or(0).into(),
            },
        }
    }

    /// About the least threshold with which at most `words` words survive; `u64::MAX` where there is none.
    pub(super) fn threshold(&self, words: u64) -> u64 {
        const BINS: usize = 1 << 12;
        let greatest = self.each().filter(|bound| *bound != u64::MAX).max().unwrap_or(0);
        let shift = (greatest / BINS as u64 + 1).next_power_of_two().ilog2();
        let mut bins = vec![0u64; BINS + 1];
        let mut full = 0u64;
        for bound in self.each() {
            if bound == u64::MAX {
                full += 255;
            } else if let Some(bin) = bins.get_mut((bound >> shift) as usize) {
                *bin += bound;
            }
        }
        let mut mass = full;
        if mass > words {
            return u64::MAX;
        }
        for (bin, more) in bins.iter().enumerate().rev() {
            mass += more;
            if mass > words {
                return (bin as u64 + 1) << shift;
            }
        }
        1
    }

    /// How many words survive, at least where a counter is full.
    pub(super) fn mass(&self, threshold: u64) -> u64 {
        self.each().filter(|bound| *bound >= threshold).fold(0, |mass, bound| mass.saturating_add(bound.min(1 << 20)))
    }

    /// A bit for each counter, set where it is at least `threshold`; and the shift that names a word's counter.
    pub(super) fn bitmap(&self, threshold: u64) -> (Vec<u64>, u32) {
        let mut bitmap = vec![0u64; (1usize << self.bits()).div_ceil(64)];
        match self {
            Bounds::Wide(_) => {
                for (at, bound) in self.each().enumerate() {
                    if let Some(bits) = bitmap.get_mut(at / 64) {
                        *bits |= u64::from(bound >= threshold) << (at % 64);
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
    zeros: u64,
    /// Words since the counters were last emptied.
    pending: u64,
    limit: u64,
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
        Hashed { front, isa, width, shift: 64 - bits, counters, lanes, exact, zeros: 0, pending: 0, limit }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.counters.bytes() + (self.lanes.len() * 4 + self.exact.len() * 8 + FRONT_SLOTS * 8) as u64
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
    }

    /// The exact counts of the front, and the bounds for all other words.
    pub(super) fn sum(sinks: Vec<Hashed<'_>>) -> (Vec<(u64, u64)>, Bounds) {
        let mut exact = vec![(0, 0); FRONT_SLOTS];
        let mut sum: Option<Bounds> = None;
        let mut limit = BUCKET_LIMIT;
        for mut sink in sinks {
            sink.flush();
            limit = sink.limit;
            for ((slot, key), count) in exact.iter_mut().zip(sink.front.keys.iter()).zip(&sink.exact) {
                *slot = (*key, slot.1 + count);
            }
            if let Some(zero) = exact.first_mut() {
                zero.1 += sink.zeros;
            }
            sum = Some(match (sum, sink.counters) {
                (Some(Bounds::Wide(mut sum)), Bounds::Wide(more)) => {
                    sum.iter_mut().zip(&more).for_each(|(sum, more)| *sum = sum.saturating_add(*more));
                    Bounds::Wide(sum)
                }
                (Some(Bounds::Narrow(mut sum)), Bounds::Narrow(more)) => {
                    sum.iter_mut().zip(&more).for_each(|(sum, more)| *sum = sum.saturating_add(*more));
                    Bounds::Narrow(sum)
                }
                (_, counters) => counters,
            });
        }
        // A counter that stood at a smaller limit in a test may stand for any number, too.
        let mut bounds = sum.unwrap_or(Bounds::Narrow(vec![0]));
        if let Bounds::Wide(counters) = &mut bounds
            && limit < BUCKET_LIMIT
        {
            counters.iter_mut().filter(|counter| u64::from(**counter) >= limit).for_each(|counter| *counter = u32::MAX);
        }
        exact.retain(|(_, count)| *count > 0);
        (exact, bounds)
    }
}

impl Sink for Hashed<'_> {
    fn words(&mut self, _: Place, bytes: &[u8]) -> Result<(), Error> {
        let words = bytes.len() as u64 / self.width;
        if self.pending + words > self.limit {
            self.flush();
        }
        self.pending += words;
        self.zeros += match &mut self.counters {
            Bounds::Wide(counters) => kernel::count_wide(self.isa, self.width, bytes, self.front, self.shift, counters),
            Bounds::Narrow(counters) => {
                kernel::count_narrow(self.isa, self.width, bytes, self.front, self.shift, &mut self.lanes, counters)
            }
        };
        Ok(())
    }

    fn zeros(&mut self, _: Place, count: u64) -> Result<(), Error> {
        self.zeros += count;
        Ok(())
    }
}

/// Counts pairs of words by their classes.
pub(super) struct Pairs<'a> {
    front: &'a SmallFront,
    width: u64,
    table: Vec<u32>,
    classes: Vec<u64>,
    zeros: u64,
    /// Zeros that were only there to fill a block.
    padding: u64,
    pending: u64,
}

impl<'a> Pairs<'a> {
    pub(super) fn new(front: &'a SmallFront, width: u64) -> Pairs<'a> {
        let table = kernel::zeroed(CLASSES * CLASSES);
        Pairs { front, width, table, classes: vec![0; CLASSES], zeros: 0, padding: 0, pending: 0 }
    }

    pub(super) fn bytes(&self) -> u64 {
        (self.table.len() * 4 + self.classes.len() * 8) as u64
    }

    fn flush(&mut self) {
        self.pending = 0;
        for (second, row) in self.table.chunks_mut(CLASSES).enumerate() {
            let mut sum = 0;
            for (class, count) in self.classes.iter_mut().zip(row.iter()) {
                *class += u64::from(*count);
                sum += u64::from(*count);
            }
            if let Some(class) = self.classes.get_mut(second) {
                *class += sum;
            }
            row.fill(0);
        }
    }

    /// The exact counts of the front, and the greatest count of a class of other words.
    pub(super) fn sum(sinks: Vec<Pairs<'_>>) -> (Vec<(u64, u64)>, u64) {
        let mut classes = vec![(0u64, 0u64); CLASSES];
        for mut sink in sinks {
            sink.flush();
            for (sum, class) in classes.iter_mut().zip(&sink.classes) {
                sum.1 += class;
            }
            for (sum, key) in classes.iter_mut().zip(&sink.front.keys) {
                sum.0 = *key;
            }
            if let Some(zero) = classes.first_mut() {
                zero.1 = (zero.1 + sink.zeros).saturating_sub(sink.padding);
            }
        }
        let (exact, others) = classes.split_at(SMALL_SLOTS);
        let exact = exact.iter().filter(|(_, count)| *count > 0).copied().collect();
        (exact, others.iter().map(|(_, count)| *count).max().unwrap_or(0))
    }
}

impl Sink for Pairs<'_> {
    fn words(&mut self, _: Place, bytes: &[u8]) -> Result<(), Error> {
        let words = bytes.len() as u64 / self.width;
        if self.pending + words + 64 > BUCKET_LIMIT {
            self.flush();
        }
        self.pending += words + 64;
        let (taken, zeros) = kernel::count_pairs(self.width, bytes, self.front, &mut self.table);
        self.zeros += zeros;
        let rest = bytes.get(taken..).unwrap_or_default();
        if !rest.is_empty() {
            let mut block = [0; 64 * 8];
            let size = 64 * self.width as usize;
            block.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            let block = block.get(..size).unwrap_or_default();
            let (_, zeros) = kernel::count_pairs(self.width, block, self.front, &mut self.table);
            self.zeros += zeros;
            self.padding += (size - rest.len()) as u64 / self.width;
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

/// Scatters the words whose bound is high enough into a pool.
pub(super) struct Survivors<'a> {
    front: &'a kernel::Front,
    isa: Isa,
    width: u64,
    bitmap: &'a [u64],
    shift: u32,
    pool: Pool,
    partitions: &'a Partitions,
    found: Vec<u64>,
    /// Counts the front, where no pass before has.
    hashed: Option<Hashed<'a>>,
}

impl<'a> Survivors<'a> {
    pub(super) fn new(
        front: &'a kernel::Front,
        isa: Isa,
        width: u64,
        (bitmap, shift): (&'a [u64], u32),
        pool: Pool,
        partitions: &'a Partitions,
        count_front: bool,
    ) -> Survivors<'a> {
        let hashed = count_front.then(|| Hashed::new(front, isa, width, false, 1, BUCKET_LIMIT));
        Survivors { front, isa, width, bitmap, shift, pool, partitions, found: vec![0; FILTERED + 1], hashed }
    }

    /// The pool, and the counts of the front where they were asked for.
    pub(super) fn finish(self) -> (Pool, Vec<(u64, u64)>) {
        (self.pool, self.hashed.map(|hashed| Hashed::sum(vec![hashed]).0).unwrap_or_default())
    }
}

impl Sink for Survivors<'_> {
    fn words(&mut self, place: Place, bytes: &[u8]) -> Result<(), Error> {
        for group in bytes.chunks(FILTERED * self.width as usize) {
            let found = kernel::find_survivors(
                self.isa,
                self.width,
                group,
                self.front,
                self.shift,
                self.bitmap,
                &mut self.found,
            );
            self.pool.extend(self.found.get(..found).unwrap_or_default(), self.partitions);
        }
        match &mut self.hashed {
            Some(hashed) => hashed.words(place, bytes),
            None => Ok(()),
        }
    }

    fn zeros(&mut self, place: Place, count: u64) -> Result<(), Error> {
        match &mut self.hashed {
            Some(hashed) => hashed.zeros(place, count),
            None => Ok(()),
        }
    }
}
