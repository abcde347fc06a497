//! Chunks that look used from their headers and are not: those in threads' caches and in fastbins.
//!
//! Layout: glibc 2.26 to 2.43 malloc/malloc.c, `tcache_perthread_struct`, `tcache_entry`, `PROTECT_PTR`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::addr::{Addr, Span};
use crate::heap::damage::DamageLog;
use crate::heap::memory::{Reader, Stretch};
use crate::heap::table::{AllocId, AllocationTable, State};
use crate::heap::{Damage, DamageKind};
use crate::image::Thread;

use super::arena::Arena;

/// How far from the thread pointer libc's thread-local variables are looked for, in bytes below and above.
const BELOW_THREAD_POINTER: u64 = 256 << 10;
const ABOVE_THREAD_POINTER: u64 = 16 << 10;
/// Without a tunable, chunks up to about 1 KiB are cached, from 2.42 on with one up to 4 MiB.
const LARGEST_CACHED: u64 = 4 << 20;
/// A chunk may be larger than asked for by its alignment and by a rest too small to be one, in bytes: seen with glibc
/// 2.43 for i386.
const ROUNDING: u32 = 40;
/// Addresses of the first page are no marks.
const PAGE: u64 = super::chunks::PAGE;
/// A list in a cache is not longer than the largest count.
const CACHED_LIMIT: u64 = u16::MAX as u64;
/// Beside twice the number of allocations, so many steps along lists may be taken in search of caches: a chunk lies in
/// one, and what is none is seldom followed far.
const SPARE_STEPS: u64 = 1 << 20;
/// Of each cache so many breaks are kept in full.
const BREAKS_KEPT: usize = 16;
/// So many threads are asked where their variable lies; in all it is the same place.
const VOTING_THREADS: usize = 256;

/// What a thread's cache looks like in one family of versions.
#[derive(Debug)]
struct CacheLayout {
    versions: &'static str,
    bins: u64,
    count_bytes: u64,
    /// The counts say how many more fit, not how many there are.
    counts_room: bool,
}

static CACHE_LAYOUTS: [CacheLayout; 3] = [
    CacheLayout { versions: "2.30 to 2.41", bins: 64, count_bytes: 2, counts_room: false },
    // 2.43 has the same; it is known by its arena.
    CacheLayout { versions: "2.42", bins: 76, count_bytes: 2, counts_room: true },
    CacheLayout { versions: "2.26 to 2.29", bins: 64, count_bytes: 1, counts_room: false },
];

impl CacheLayout {
    fn bytes(&self, width: u64) -> u64 {
        self.entries(width) + self.bins * width
    }

    fn entries(&self, width: u64) -> u64 {
        (self.bins * self.count_bytes).next_multiple_of(width)
    }
}

/// A thread's cache, decoded.
#[derive(Debug)]
struct Cache {
    owner: AllocId,
    address: u64,
    layout: &'static CacheLayout,
    entries: Vec<AllocId>,
    /// The first breaks of its lists.
    breaks: Vec<Damage>,
    break_count: usize,
}

impl Cache {
    fn note(&mut self, damage: Damage) {
        self.break_count += 1;
        if self.breaks.len() < BREAKS_KEPT {
            self.breaks.push(damage);
        }
    }

    fn is_whole(&self) -> bool {
        self.break_count == 0
    }

    /// Whether more of its lists leads on than breaks; or it is empty.
    fn is_mostly_whole(&self) -> bool {
        self.is_whole() || self.entries.len() > self.break_count
    }

    /// Whether what it holds proves it.
    fn proves_itself(&self) -> bool {
        let (good, bad) = (self.entries.len(), self.break_count);
        good > 0 && (bad == 0 || (good >= 3 && bad * 3 <= good))
    }
}

/// What settling found.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) caches: Vec<Span>,
    pub(super) cache_versions: Option<&'static str>,
    pub(super) cached: u64,
    pub(super) fast: u64,
    /// Allocations that may be caches, and were not followed.
    pub(super) undecoded: u64,
    pub(super) log: DamageLog,
}

/// How lists were linked in this process; each link is tried both ways.
fn next_in_list(reader: Reader<'_>, place: u64, is_entry: impl Fn(u64) -> bool) -> Result<Option<u64>, u64> {
    let stored = reader.word(place).ok_or(0_u64)?;
    let protected = stored ^ (place >> 12);
    if stored == 0 || protected == 0 {
        return Ok(None);
    }
    [protected, stored].into_iter().find(|next| is_entry(*next)).map(Some).ok_or(stored)
}

/// Marks the chunks in threads' caches, and the caches themselves.
pub(super) fn settle_caches(
    reader: Reader<'_>,
    table: &mut AllocationTable,
    threads: &[Thread],
    first_chunks: &HashSet<u64>,
    settled: &mut Settled,
) {
    let width = reader.width();
    let mut candidates: Vec<Cache> = Vec::new();
    let size_column = table.size_column();
    let wanted: Vec<(u32, u32)> = CACHE_LAYOUTS
        .iter()
        .map(|layout| (layout.bytes(width) as u32, layout.bytes(width) as u32 + ROUNDING))
        .collect();
    let (least, most) = (wanted.iter().map(|range| range.0).min(), wanted.iter().map(|range| range.1).max());
    let (Some(least), Some(most)) = (least, most) else { return };
    let mut steps = 2 * table.len() as u64 + SPARE_STEPS;
    for (at, size) in size_column.iter().enumerate() {
        if *size < least || *size >= most {
            continue;
        }
        let id = AllocId(at as u32);
        if !table.state(id).is_used() {
            continue;
        }
        let fitting = CACHE_LAYOUTS.iter().zip(&wanted).filter(|(_, range)| (range.0..range.1).contains(size));
        for (layout, _) in fitting {
            match decode(reader, table, id, layout, &mut steps) {
                Some(_) if steps == 0 => settled.undecoded += 1,
                cache => candidates.extend(cache.filter(Cache::is_mostly_whole)),
            }
        }
    }
    let by_variable = pointed_at_by_threads(reader, threads, &candidates);
    let mut keys = HashSet::new();
    for cache in candidates {
        let owned = by_variable.contains(&cache.address);
        let first = cache.entries.is_empty() && cache.is_whole() && first_chunks.contains(&cache.address);
        if !owned && !cache.proves_itself() && !first {
            continue;
        }
        if !table.state(cache.owner).is_used() {
            continue;
        }
        table.set_state(cache.owner, State::Internal);
        settled.caches.push(table.span(cache.owner));
        settled.cache_versions = settled.cache_versions.or(Some(cache.layout.versions));
        let entries_key = if cache.is_whole() { None } else { key_of(reader, &cache.entries, table) };
        keys.extend(entries_key);
        settled.log.append(DamageLog { damage: cache.breaks, count: cache.break_count as u64 });
        // Where two lists meet, all behind is in both: one mistake.
        let mut is_met = false;
        for id in cache.entries {
            let was_met = std::mem::replace(&mut is_met, table.state(id) == State::ThreadCached);
            if is_met && !was_met {
                settled.log.note(twice(table, id));
            }
            if table.state(id) == State::Used {
                table.set_state(id, State::ThreadCached);
                settled.cached += 1;
            }
        }
    }
    if !keys.is_empty() {
        settle_lost_entries(reader, table, &keys, settled);
    }
}

/// What all cached chunks have in their second word, from 2.29 on: the mark of being in a cache, taken off when the
/// chunk is handed out.
fn key_of(reader: Reader<'_>, entries: &[AllocId], table: &AllocationTable) -> Option<u64> {
    let key = |id: &AllocId| reader.word(table.address(*id).0 + reader.width()).filter(|key| *key > PAGE);
    let mut counts: HashMap<u64, usize> = HashMap::new();
    for key in entries.iter().filter_map(key) {
        *counts.entry(key).or_default() += 1;
    }
    counts.into_iter().find(|(_, count)| *count >= 2 && count * 2 > entries.len()).map(|(key, _)| key)
}

/// A broken list loses the chunks behind the break; their mark still says that they are free.
fn settle_lost_entries(reader: Reader<'_>, table: &mut AllocationTable, keys: &HashSet<u64>, settled: &mut Settled) {
    for at in 0..table.len() as u32 {
        let id = AllocId(at);
        if !table.state(id).is_used() || table.usable_size(id) > LARGEST_CACHED {
            continue;
        }
        if reader.word(table.address(id).0 + reader.width()).is_some_and(|word| keys.contains(&word)) {
            table.set_state(id, State::ThreadCached);
            settled.cached += 1;
        }
    }
}

fn twice(table: &AllocationTable, id: AllocId) -> Damage {
    Damage {
        kind: DamageKind::FreedTwice,
        at: table.address(id),
        found: table.address(id).0,
        expected: None,
        in_front: None,
        resumed: None,
        lost_bytes: 0,
    }
}

/// Reads an allocation as a thread's cache; `None` where it cannot be one. Each chunk on its lists takes one of `steps`;
/// where none is left, the cache is not whole.
fn decode(
    reader: Reader<'_>,
    table: &AllocationTable,
    owner: AllocId,
    layout: &'static CacheLayout,
    steps: &mut u64,
) -> Option<Cache> {
    let width = reader.width();
    let address = table.address(owner).0;
    let mut cache = Cache { owner, address, layout, entries: Vec::new(), breaks: Vec::new(), break_count: 0 };
    let count = |bin: u64| {
        let place = address + bin * layout.count_bytes;
        match layout.count_bytes {
            1 => reader.bytes::<1>(place).map(|byte| u64::from(byte[0])),
            _ => reader.u16(place).map(u64::from),
        }
    };
    let heads: Vec<(u64, u64)> = (0..layout.bins)
        .map(|bin| Some((count(bin)?, reader.word(address + layout.entries(width) + bin * width)?)))
        .collect::<Option<_>>()?;
    // Most allocations of that size are quickly seen to be none.
    let starts = |head: u64| head.is_multiple_of(2 * width) && table.find_start(Addr(head)).is_some();
    let mut nonsense = heads.iter().filter(|(_, head)| *head != 0 && !starts(*head)).count();
    if !layout.counts_room {
        nonsense += heads.iter().filter(|(count, head)| (*count == 0) != (*head == 0)).count();
    }
    let filled = heads.iter().filter(|(_, head)| *head != 0).count();
    if nonsense > 2 || nonsense > 0 && nonsense * 3 > filled {
        return None;
    }
    let mut room: HashMap<u64, u64> = HashMap::new();
    for (bin, (count, head)) in heads.into_iter().enumerate() {
        let length = read_list(reader, table, bin as u64, head, &mut cache, steps);
        if layout.counts_room {
            *room.entry(count + length).or_default() += 1;
        } else if length > count || (length < count && cache.is_whole()) {
            cache.note(broken_list(address + bin as u64 * layout.count_bytes, count, Some(length)));
        }
    }
    // Each list has room for as many as the others, but lists that are switched off.
    let switched_off = room.get(&0).copied().unwrap_or_default();
    let alike = room.values().copied().max().unwrap_or_default() + switched_off + cache.break_count as u64;
    if layout.counts_room && alike < layout.bins {
        return None;
    }
    Some(cache)
}

fn broken_list(place: u64, found: u64, expected: Option<u64>) -> Damage {
    Damage {
        kind: DamageKind::FreeList,
        at: Addr(place),
        found,
        expected,
        in_front: None,
        resumed: None,
        lost_bytes: 0,
    }
}

/// Follows one list; gives its length.
fn read_list(
    reader: Reader<'_>,
    table: &AllocationTable,
    bin: u64,
    head: u64,
    cache: &mut Cache,
    steps: &mut u64,
) -> u64 {
    let width = reader.width();
    let layout = cache.layout;
    let fits = |memory: u64| {
        let Some(id) = table.find_start(Addr(memory)) else { return false };
        let size = table.usable_size(id) + width;
        match table.state(id) {
            State::Damaged => true,
            State::Used | State::ThreadCached if bin >= 64 => size > 64 * 16,
            State::Used | State::ThreadCached => {
                // In steps of two words; where four words are the alignment, in steps of that.
                size == 4 * width + 2 * width * bin || (width == 4 && size == 16 + 16 * bin)
            }
            _ => false,
        }
    };
    let mut length = 0;
    let mut at = head;
    let mut seen = HashSet::new();
    while at != 0 && length < CACHED_LIMIT && *steps > 0 {
        *steps -= 1;
        let Some(id) = table.find_start(Addr(at)).filter(|_| fits(at)) else {
            cache.note(broken_list(cache.address + layout.entries(width) + bin * width, at, None));
            break;
        };
        if !seen.insert(at) {
            cache.note(twice(table, id));
            break;
        }
        cache.entries.push(id);
        length += 1;
        match next_in_list(reader, at, fits) {
            Ok(next) => at = next.unwrap_or(0),
            Err(found) => {
                cache.note(broken_list(at, found, None));
                break;
            }
        }
    }
    length
}

/// The caches that a thread-local variable points at. In all threads of a process the variable has the same distance
/// from the thread pointer; the distance at which most lies is taken.
fn pointed_at_by_threads(reader: Reader<'_>, threads: &[Thread], caches: &[Cache]) -> HashSet<u64> {
    let weights: HashMap<u64, u64> =
        caches.iter().map(|cache| (cache.address, 1 + cache.entries.len() as u64)).collect();
    if weights.is_empty() {
        return HashSet::new();
    }
    let width = reader.width();
    let pointers: BTreeSet<u64> = threads.iter().filter_map(|thread| Some(thread.thread_pointer?.0)).collect();
    let mut votes: BTreeMap<i64, u64> = BTreeMap::new();
    for pointer in pointers.iter().take(VOTING_THREADS) {
        let (low, end) = (pointer.saturating_sub(BELOW_THREAD_POINTER), pointer.saturating_add(ABOVE_THREAD_POINTER));
        let mut rest = Span::new(Addr(low), Addr(end)).unwrap_or_default();
        while let Some(stretch) = Stretch::first_in(reader.space, rest) {
            for (start, bytes) in stretch.parts(width) {
                for (place, raw) in (start..).step_by(width as usize).zip(bytes.chunks_exact(width as usize)) {
                    if let Some(weight) = reader.target.word(raw).and_then(|word| weights.get(&word)) {
                        *votes.entry(place.wrapping_sub(*pointer) as i64).or_default() += weight;
                    }
                }
            }
            rest = Span::new(stretch.span.end(), rest.end()).unwrap_or_default();
        }
    }
    // An equal vote goes to the place next to the thread pointer.
    let best = votes.into_iter().max_by_key(|(distance, sum)| (*sum, -distance.abs()));
    // Without one cached chunk a single pointer to a block of zeros says nothing.
    let Some((distance, _)) = best.filter(|(_, sum)| *sum >= 2) else { return HashSet::new() };
    let variables = pointers.iter().filter_map(|pointer| reader.word(pointer.wrapping_add_signed(distance)));
    variables.filter(|cache| weights.contains_key(cache)).collect()
}

/// A list of free chunks is followed through so many damaged ones.
const MOST_DAMAGED: u32 = 1000;

/// Marks the chunks in the fastbins of an arena.
pub(super) fn settle_fastbins(reader: Reader<'_>, table: &mut AllocationTable, arena: &Arena, settled: &mut Settled) {
    let width = reader.width();
    // Fastbins hold chunks up to 160 bytes of memory, half of that in 32-bit processes.
    let largest = 22 * width + 8;
    for place in arena.fastbin_heads() {
        let Some(head) = reader.word(place) else { continue };
        let mut at = head;
        let mut damaged = 0;
        while at != 0 {
            let memory = |chunk: u64| chunk.checked_add(2 * width).map(Addr);
            let is_entry = |chunk: u64| {
                memory(chunk).and_then(|memory| table.find_start(memory)).is_some_and(|id| {
                    let state = table.state(id);
                    matches!(state, State::Used | State::FastFree | State::ThreadCached | State::Damaged)
                        && (table.usable_size(id) <= largest || state == State::Damaged)
                })
            };
            if !is_entry(at) {
                // The word before the first fastbin is a flag, and no list.
                if at > 1 {
                    settled.log.note(broken_list(place, at, None));
                }
                break;
            }
            let next = next_in_list(reader, at + 2 * width, is_entry);
            let Some(id) = memory(at).and_then(|memory| table.find_start(memory)) else { break };
            match table.state(id) {
                State::Used => {
                    table.set_state(id, State::FastFree);
                    settled.fast += 1;
                }
                State::FastFree | State::ThreadCached => {
                    settled.log.note(twice(table, id));
                    break;
                }
                // A header was overwritten, and its damage is told; the link behind it still counts where it leads to an entry.
                State::Damaged if damaged < MOST_DAMAGED && next.is_ok() => damaged += 1,
                // Each step marks a chunk, or counts a damaged one, or the list ends: it cannot go round.
                _ => break,
            }
            match next {
                Ok(next) => at = next.unwrap_or(0),
                Err(found) => {
                    settled.log.note(broken_list(at + 2 * width, found, None));
                    break;
                }
            }
        }
    }
}
