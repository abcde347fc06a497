//! Exact counts of very many different words: scattered by hash into partitions, each counted in tables that fit
//! the first-level or second-level cache.
//!
//! Each thread has a pool of chunks. Where a pool runs out, all threads give up the upper half of the partitions, and
//! a later pass settles those. What is scattered are spread words (`kernel::spread`); their highest bits name the partition.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::addr::Target;
use crate::task::Task;

use super::Error;
use super::count::raw_to_value;
use super::kernel::unspread;
use super::table::{Range, Table, key, mix};

const CHUNK_WORDS: usize = 512;
const NONE: u32 = u32::MAX;

/// How the words of a pass are partitioned, and which partitions it settles.
pub(super) struct Partitions {
    bits: u32,
    first: usize,
    end: AtomicUsize,
    /// Set where a single partition outgrew a pool.
    failed: AtomicU64,
}

impl Partitions {
    /// Enough partitions that each of them fits a cache, not so many that a pool of `pool_bytes` is all edges.
    /// `words` are those of all partitions: as many partitions are tried as pools of `pools_bytes` in all will hold.
    pub(super) fn new(first: usize, bits: u32, words: u64, pools_bytes: u64) -> Partitions {
        let all = 1u64 << bits;
        // One chunk of each partition is half empty at the end, and partitions differ.
        let each = words / all + words / all / 32 + CHUNK_WORDS as u64;
        let fit = usize::try_from(pools_bytes / (each * 8)).unwrap_or(usize::MAX).max(1);
        let end = first.saturating_add(fit).min(1 << bits);
        Partitions { bits, first, end: AtomicUsize::new(end), failed: AtomicU64::new(0) }
    }

    /// What the pools take that hold `words` in that many passes.
    pub(super) fn pools_bytes(words: u64, passes: u64) -> u64 {
        (words.saturating_mul(8) / passes).saturating_add(words).max(16 << 20)
    }

    pub(super) fn bits(words: u64, pool_bytes: u64) -> u32 {
        let by_words = (words / 16_384).max(1).ilog2() + 1;
        let by_pool = (pool_bytes / (CHUNK_WORDS as u64 * 8 * 8)).max(2).ilog2();
        by_words.min(by_pool).min(12)
    }

    pub(super) fn end(&self) -> usize {
        self.end.load(Ordering::Relaxed)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.end() == 1 << self.bits
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed) != 0
    }

    /// The least and the greatest spread word of the pass.
    pub(super) fn limits(&self) -> (u64, u64) {
        let last = (self.end() - 1) as u64;
        let shift = 64 - self.bits;
        ((self.first as u64) << shift, last << shift | (u64::MAX >> self.bits))
    }

    #[inline(always)]
    fn of(&self, spread: u64) -> usize {
        (spread >> (64 - self.bits)) as usize
    }
}

/// The words that one thread has scattered.
pub(super) struct Pool {
    words: Vec<u64>,
    /// The chunk before, for each chunk of the pool.
    previous: Vec<u32>,
    /// Where the next word of each partition goes.
    next: Vec<u32>,
    free: Vec<u32>,
    fresh: usize,
    /// Chunks that were ever used: memory that is taken.
    touched: usize,
    end: usize,
}

impl Pool {
    pub(super) fn new(pool_bytes: u64, partitions: &Partitions) -> Pool {
        let chunks = usize::try_from(pool_bytes / (CHUNK_WORDS as u64 * 8 + 8)).unwrap_or(usize::MAX);
        let chunks = chunks.clamp((1 << partitions.bits) + 1, (u32::MAX / CHUNK_WORDS as u32) as usize);
        Pool {
            words: super::kernel::reserved(chunks * CHUNK_WORDS),
            previous: vec![NONE; chunks],
            next: Vec::new(),
            free: Vec::new(),
            fresh: 0,
            touched: 0,
            end: 0,
        }
    }

    /// Empties it for a pass; its memory stays, for fresh pages cost more than the words that go there.
    pub(super) fn begin(&mut self, partitions: &Partitions) {
        self.previous.fill(NONE);
        self.free.clear();
        self.next.clear();
        self.next.resize(1 << partitions.bits, NONE);
        self.end = partitions.end();
        let active = self.next.get_mut(partitions.first..self.end).unwrap_or_default();
        for (chunk, next) in active.iter_mut().enumerate() {
            *next = (chunk * CHUNK_WORDS) as u32;
        }
        self.fresh = active.len();
        self.touched = self.touched.max(self.fresh);
    }

    /// Bytes that hold words or their bookkeeping; what was never written takes no memory.
    pub(super) fn used_bytes(&self) -> u64 {
        (self.touched * (CHUNK_WORDS * 8 + 8) + self.next.len() * 4) as u64
    }

    /// Takes spread words that lie within the pass's [`Partitions::limits`], or did when they were selected.
    pub(super) fn extend(&mut self, words: &[u64], partitions: &Partitions) {
        self.follow(partitions);
        for word in words {
            let partition = partitions.of(*word);
            let at = self.next[partition];
            if at == NONE {
                // Given up since.
                continue;
            }
            self.words[at as usize] = *word;
            self.next[partition] = at + 1;
            if ((at + 1) as usize).is_multiple_of(CHUNK_WORDS) {
                self.grow(partition, partitions);
            }
        }
    }

    /// Gives `partition` a new chunk, or gives up partitions.
    fn grow(&mut self, partition: usize, partitions: &Partitions) {
        loop {
            let chunk = self.free.pop().or_else(|| {
                let fresh = (self.fresh < self.previous.len()).then_some(self.fresh as u32);
                self.fresh += usize::from(fresh.is_some());
                self.touched = self.touched.max(self.fresh);
                fresh
            });
            if let Some(chunk) = chunk {
                let full = self.next[partition] / CHUNK_WORDS as u32 - 1;
                self.previous[chunk as usize] = full;
                self.next[partition] = chunk * CHUNK_WORDS as u32;
                return;
            }
            let end = partitions.first + (self.end - partitions.first) / 2;
            if end <= partitions.first {
                // Only the pass's first partition is left. It begins again; what it had is lost, and said so.
                partitions.failed.store(1, Ordering::Relaxed);
                let chunk = self.next[partition] / CHUNK_WORDS as u32 - 1;
                self.previous[chunk as usize] = NONE;
                self.next[partition] = chunk * CHUNK_WORDS as u32;
                return;
            }
            partitions.end.fetch_min(end, Ordering::Relaxed);
            // So that the full chunk of the partition at hand is found, should that go too.
            self.next[partition] -= 1;
            self.follow(partitions);
            if partition >= self.end {
                return;
            }
            self.next[partition] += 1;
        }
    }

    fn follow(&mut self, partitions: &Partitions) {
        let end = partitions.end();
        for partition in end..self.end {
            let mut chunk = std::mem::replace(&mut self.next[partition], NONE) / CHUNK_WORDS as u32;
            while chunk != NONE {
                self.free.push(chunk);
                chunk = std::mem::replace(&mut self.previous[chunk as usize], NONE);
            }
        }
        self.end = self.end.min(end);
    }

    /// The words of a partition, in runs.
    fn runs(&self, partition: usize) -> impl Iterator<Item = &[u64]> {
        let next = self.next[partition] as usize;
        let mut run = Some((next / CHUNK_WORDS, next % CHUNK_WORDS));
        std::iter::from_fn(move || {
            let (chunk, size) = run?;
            let previous = self.previous[chunk];
            if previous != NONE {
                super::kernel::prefetch(
                    self.words.get(previous as usize * CHUNK_WORDS..).unwrap_or_default(),
                    CHUNK_WORDS,
                );
            }
            run = (previous != NONE).then_some((previous as usize, CHUNK_WORDS));
            Some(&self.words[chunk * CHUNK_WORDS..][..size])
        })
    }
}

/// Takes a batch of words and counts, and empties it; says from which count on a word may still matter.
pub(super) type Offer<'a> = dyn Fn(&mut Vec<(u64, u64)>) -> Result<Floor, Error> + Sync + 'a;

/// The last of the results so far, where there are enough: words below it need not be offered.
#[derive(Clone, Copy)]
pub(super) struct Floor {
    pub(super) count: u64,
    /// A word of that count and of a greater value does not matter.
    pub(super) value: u64,
}

impl Floor {
    pub(super) const NONE: Floor = Floor { count: 0, value: u64::MAX };

    fn may_matter(&self, value: u64, count: u64) -> bool {
        count > self.count || count == self.count && value <= self.value
    }
}

/// Words and counts that are offered at once.
const BATCH: usize = 1024;

/// Counts what the pools of a pass hold, a partition at a time, and calls `offer` with a batch of words and counts.
/// `table_bytes` is for each thread; `target` says what value a word has. Returns the bytes that were taken.
pub(super) fn count_pools(
    pools: &[&Pool],
    partitions: &Partitions,
    table_bytes: u64,
    threads: usize,
    target: Target,
    task: &Task,
    offer: &Offer<'_>,
) -> Result<u64, Error> {
    let cursor = AtomicUsize::new(partitions.first);
    let peak = Mutex::new(0);
    let work = || -> Result<(), Error> {
        let mut counter = Counter::new(partitions.bits, table_bytes, target, offer)?;
        loop {
            let partition = cursor.fetch_add(1, Ordering::Relaxed);
            if partition >= partitions.end() {
                *peak.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) += counter.peak_bytes;
                return Ok(());
            }
            if task.progress.is_cancelled() {
                return Err(Error::Cancelled);
            }
            counter.count(pools, partition)?;
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut outcome = work();
        for other in others {
            outcome = outcome.and(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        outcome
    })?;
    Ok(peak.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

/// What one thread counts partitions with.
struct Counter<'a> {
    partition_bits: u32,
    table_bytes: u64,
    target: Target,
    offer: &'a Offer<'a>,
    floor: Floor,
    /// Spread words and their counts; 0 where a slot is free.
    slots: Vec<(u64, u64)>,
    /// A bit for each hash that was met, and for each that was met again.
    met: Vec<[u64; 2]>,
    kept: Vec<u64>,
    batch: Vec<(u64, u64)>,
    peak_bytes: u64,
}

impl<'a> Counter<'a> {
    fn new(partition_bits: u32, table_bytes: u64, target: Target, offer: &'a Offer<'a>) -> Result<Counter<'a>, Error> {
        let mut batch = Vec::with_capacity(BATCH);
        let floor = offer(&mut batch)?;
        Ok(Counter {
            partition_bits,
            table_bytes,
            target,
            offer,
            floor,
            slots: Vec::new(),
            met: Vec::new(),
            kept: Vec::new(),
            batch,
            peak_bytes: 0,
        })
    }

    fn count(&mut self, pools: &[&Pool], partition: usize) -> Result<(), Error> {
        let runs = || pools.iter().flat_map(|pool| pool.runs(partition));
        let words: usize = runs().map(<[u64]>::len).sum();
        if words == 0 {
            return Ok(());
        }
        let slots_of = |words: usize| (words + words / 2).next_power_of_two();
        // The slots may take one half, and what comes before them the other.
        let table_bytes = self.table_bytes / 2;
        let fits = |slots: usize, words: usize| (slots * 16 + words * 8) as u64 <= table_bytes;
        // Where there are enough results, a word that occurs but once hardly matters, and most words occur but once.
        if self.floor.count > 0 && fits(words.next_power_of_two() / 8, words) {
            let mut kept = std::mem::take(&mut self.kept);
            self.select(words, runs, &mut kept);
            let size = slots_of(kept.len().max(1));
            let done = fits(size, kept.capacity());
            if done {
                self.count_in_slots(size, std::iter::once(kept.as_slice()))?;
            }
            self.kept = kept;
            if done {
                return self.hand_over();
            }
        }
        let size = slots_of(words);
        if fits(size, 0) {
            self.count_in_slots(size, runs())?;
        } else {
            self.count_in_rounds(runs)?;
        }
        self.hand_over()
    }

    /// The words whose hash occurs at least twice, or that would matter though they occur but once.
    fn select<'w, R: Iterator<Item = &'w [u64]>>(&mut self, words: usize, runs: impl Fn() -> R, kept: &mut Vec<u64>) {
        // Eight to sixteen bits a word: few words share one by chance.
        let bits = (words.next_power_of_two() * 8).ilog2().max(7);
        let (up, down) = (self.partition_bits, 64 - bits);
        let hash = |word: u64| {
            let hash = ((word << up) >> down) as usize;
            (hash / 64, hash % 64)
        };
        self.met.clear();
        self.met.resize(1 << (bits - 6), [0; 2]);
        let met = self.met.as_mut_slice();
        for run in runs() {
            for word in run {
                let (at, bit) = hash(*word);
                let [once, again] = &mut met[at];
                let mask = 1 << bit;
                *again |= *once & mask;
                *once |= mask;
            }
        }
        kept.clear();
        // One more, for what is written and not kept.
        kept.resize(words + 1, 0);
        let mut found = 0;
        let (once_matters, least) = (self.floor.count == 1, self.floor.value);
        let target = self.target;
        for run in runs() {
            for word in run {
                let (at, bit) = hash(*word);
                let repeats = met[at][1] >> bit & 1 != 0;
                kept[found] = *word;
                found += usize::from(repeats | (once_matters & (raw_to_value(target, unspread(*word)) <= least)));
            }
        }
        kept.truncate(found);
        self.note_bytes(kept.capacity());
    }

    /// All words of `runs`, which a table of `size` slots holds.
    fn count_in_slots<'w>(&mut self, size: usize, runs: impl Iterator<Item = &'w [u64]>) -> Result<(), Error> {
        self.slots.clear();
        self.slots.resize(size, (0, 0));
        self.note_bytes(0);
        let slots = self.slots.as_mut_slice();
        let key = key();
        for word in runs.flatten() {
            let mut at = mix(*word ^ key) as usize & (size - 1);
            loop {
                let slot = &mut slots[at];
                if slot.0 == *word && slot.1 != 0 {
                    slot.1 += 1;
                    break;
                }
                if slot.1 == 0 {
                    *slot = (*word, 1);
                    break;
                }
                at = (at + 1) & (size - 1);
            }
        }
        let slots = std::mem::take(&mut self.slots);
        let outcome = slots.iter().filter(|slot| slot.1 != 0).try_for_each(|(word, count)| self.give(*word, *count));
        self.slots = slots;
        outcome
    }

    /// Too many words for one table, though perhaps few different ones: as many rounds as it takes.
    fn count_in_rounds<'w, R: Iterator<Item = &'w [u64]>>(&mut self, runs: impl Fn() -> R) -> Result<(), Error> {
        (self.slots, self.kept, self.met) = (Vec::new(), Vec::new(), Vec::new());
        let mut first = 0;
        loop {
            let range = Range::from(first);
            let mut table = Table::new(self.table_bytes / 2, &range);
            runs().flatten().for_each(|word| table.add(*word, 1, &range));
            self.peak_bytes = self.peak_bytes.max(table.peak_bytes());
            table.counts().try_for_each(|(word, count)| self.give(word, count))?;
            match range.last().checked_add(1) {
                Some(next) => first = next,
                None => return Ok(()),
            }
        }
    }

    #[inline]
    fn give(&mut self, word: u64, count: u64) -> Result<(), Error> {
        if count < self.floor.count {
            return Ok(());
        }
        let raw = unspread(word);
        if self.floor.may_matter(raw_to_value(self.target, raw), count) {
            self.batch.push((raw, count));
            if self.batch.len() >= BATCH {
                return self.hand_over();
            }
        }
        Ok(())
    }

    fn hand_over(&mut self) -> Result<(), Error> {
        if !self.batch.is_empty() {
            self.floor = (self.offer)(&mut self.batch)?;
        }
        Ok(())
    }

    fn note_bytes(&mut self, kept: usize) {
        let bytes = self.slots.capacity() * 16 + self.met.capacity() * 16 + kept.max(self.kept.capacity()) * 8;
        self.peak_bytes = self.peak_bytes.max(bytes as u64);
    }
}
