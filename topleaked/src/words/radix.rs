//! Exact counts of very many different words: scattered by hash into partitions, each counted in a table that fits
//! the second-level cache.
//!
//! Each thread has a pool of chunks. Where a pool runs out, all threads give up the upper half of the partitions, and
//! a later pass settles those.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::Error;
use super::table::{Range, Table, mix};

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

    #[inline(always)]
    fn of(&self, word: u64) -> usize {
        // 0 bits would be a shift by 64.
        (mix(word) >> 1 >> (63 - self.bits)) as usize
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
    end: usize,
}

impl Pool {
    pub(super) fn new(pool_bytes: u64, partitions: &Partitions) -> Pool {
        let chunks = usize::try_from(pool_bytes / (CHUNK_WORDS as u64 * 8 + 8)).unwrap_or(usize::MAX);
        let chunks = chunks.clamp((1 << partitions.bits) + 1, (u32::MAX / CHUNK_WORDS as u32) as usize);
        let mut pool = Pool {
            words: super::kernel::reserved(chunks * CHUNK_WORDS),
            previous: vec![NONE; chunks],
            next: vec![NONE; 1 << partitions.bits],
            free: Vec::new(),
            fresh: 0,
            end: partitions.end(),
        };
        for partition in partitions.first..pool.end {
            pool.next[partition] = (pool.fresh * CHUNK_WORDS) as u32;
            pool.fresh += 1;
        }
        pool
    }

    /// Bytes that hold words or their bookkeeping; what was never written takes no memory.
    pub(super) fn used_bytes(&self) -> u64 {
        (self.fresh * (CHUNK_WORDS * 8 + 8) + self.next.len() * 4) as u64
    }

    pub(super) fn extend(&mut self, words: &[u64], partitions: &Partitions) {
        self.follow(partitions);
        for word in words {
            let partition = partitions.of(*word);
            if partition < partitions.first || partition >= self.end {
                continue;
            }
            let at = self.next[partition];
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
            let mut chunk = self.next[partition] / CHUNK_WORDS as u32;
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
}

/// Counts what the pools of a pass hold, a partition at a time, and calls `offer` with a batch of words and counts.
/// `table_bytes` is for each thread.
pub(super) fn count_pools(
    pools: &[Pool],
    partitions: &Partitions,
    table_bytes: u64,
    threads: usize,
    value: &(dyn Fn(u64) -> u64 + Sync),
    offer: &Offer<'_>,
) -> Result<u64, Error> {
    let cursor = AtomicUsize::new(partitions.first);
    let peak = Mutex::new(0);
    let work = || -> Result<(), Error> {
        let mut slots: Vec<(u64, u64)> = Vec::new();
        let most_slots = usize::try_from(table_bytes / 32).unwrap_or(usize::MAX).max(64);
        let mut batch = Vec::new();
        let mut most = 0;
        let mut floor = offer(&mut batch)?;
        loop {
            let partition = cursor.fetch_add(1, Ordering::Relaxed);
            if partition >= partitions.end() {
                *peak.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) += most;
                return Ok(());
            }
            let words: usize = pools.iter().flat_map(|pool| pool.runs(partition)).map(<[u64]>::len).sum();
            if words == 0 {
                continue;
            }
            let size = (words + words / 2).next_power_of_two();
            if size > most_slots {
                // Too many words, though perhaps few different ones: as many rounds as it takes.
                slots = Vec::new();
                let mut first = 0;
                loop {
                    let range = Range::from(first);
                    let mut table = Table::new(table_bytes / 2, &range);
                    for word in pools.iter().flat_map(|pool| pool.runs(partition)).flatten() {
                        table.add(*word, 1, &range);
                    }
                    most = most.max(table.peak_bytes());
                    for pair in table.counts() {
                        batch.push(pair);
                        if batch.len() >= 1024 {
                            offer(&mut batch)?;
                        }
                    }
                    floor = offer(&mut batch)?;
                    match range.last().checked_add(1) {
                        Some(next) => first = next,
                        None => break,
                    }
                }
                continue;
            }
            slots.clear();
            slots.resize(size, (0, 0));
            most = most.max((slots.capacity() * 16) as u64);
            for word in pools.iter().flat_map(|pool| pool.runs(partition)).flatten() {
                // Bits that the partition did not take.
                let mut at = mix(*word) as usize & (size - 1);
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
            let least = floor;
            for slot in slots.iter().filter(|slot| slot.1 != 0 && slot.1 >= least.count) {
                if slot.1 == least.count && value(slot.0) > least.value {
                    continue;
                }
                batch.push(*slot);
                if batch.len() >= 1024 {
                    floor = offer(&mut batch)?;
                }
            }
            if !batch.is_empty() {
                floor = offer(&mut batch)?;
            }
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
