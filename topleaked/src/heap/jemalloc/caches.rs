//! What lies in threads' caches: regions that are handed out to the thread, not to the program.
//!
//! A cache is a row of bins in the thread's local storage, one a size class. The stacks of all bins lie in a row in one
//! piece of memory, in the bins' order: where one ends the next begins. That finds caches without symbols, those of
//! threads that a fork left behind as well.
//!
//! Layout: jemalloc 5.0.1 and 5.2.1 `struct cache_bin_s`, `tcache_init`; 5.3.0 and 5.3.1 `struct cache_bin_s`,
//! `cache_bin_init`.

use std::collections::BTreeMap;

use crate::addr::{Addr, Span};
use crate::heap::DamageKind;
use crate::heap::damage::DamageLog;
use crate::heap::memory::{Reader, Stretch};
use crate::heap::table::{AllocationTable, State};
use crate::image::{Image, MemoryKind};

use super::layout::{CacheKind, Classes};
use super::tree::Leaf;

/// Bytes of a bin's record.
const RECORD: usize = 24;
/// So many bins in a row make a cache: there are at least as many as classes that come in slabs.
const LEAST_BINS: usize = 24;
/// And no more than there are classes.
const MOST_BINS: usize = 256;
/// The large bins of a cache may lie apart from the small ones.
const LEAST_LARGE_BINS: usize = 3;
/// Beside twice the number of allocations, so many slots of stacks are read: an allocation lies on one.
const SPARE_SLOTS: u64 = 1 << 20;

/// The memory that stacks lie in: the end of each, by its start.
type Stacks = BTreeMap<u64, Span>;

/// What settling found.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// The bins of each cache, and pairs of a key and a leaf that threads remember.
    pub(super) metadata: Vec<Span>,
    pub(super) caches: u64,
    pub(super) cached: u64,
    pub(super) log: DamageLog,
}

/// One bin: where its stack begins, and what of it is filled.
#[derive(Clone, Copy, Debug)]
struct Bin {
    low: u64,
    top: u64,
    end: u64,
}

pub(super) struct Caches<'a> {
    pub(super) image: &'a Image,
    pub(super) reader: Reader<'a>,
    pub(super) kind: CacheKind,
    pub(super) classes: &'a Classes,
    pub(super) leaves: &'a [Leaf],
}

impl Caches<'_> {
    /// Marks what lies in caches, wherever in memory outside of `claimed` their bins are.
    pub(super) fn settle(&self, table: &mut AllocationTable, claimed: &[Span]) -> Settled {
        let mut settled = Settled::default();
        let mut stacks = Stacks::new();
        let mut slots = 2 * table.len() as u64 + SPARE_SLOTS;
        for region in self.image.regions() {
            let may_hold = matches!(
                region.kind,
                MemoryKind::Tls | MemoryKind::Stack | MemoryKind::Anonymous | MemoryKind::Data | MemoryKind::Bss
            );
            if !may_hold {
                continue;
            }
            for span in outside(region.span, claimed) {
                let mut rest = span;
                while let Some(stretch) = Stretch::first_in(self.reader.space, rest) {
                    for (start, bytes) in stretch.parts(8) {
                        self.settle_part(start, bytes, table, (&mut stacks, &mut slots), &mut settled);
                    }
                    rest = Span::new(stretch.span.end(), rest.end()).unwrap_or_default();
                }
            }
        }
        settled
    }

    fn settle_part(
        &self,
        start: u64,
        bytes: &[u8],
        table: &mut AllocationTable,
        (stacks, slots): (&mut Stacks, &mut u64),
        settled: &mut Settled,
    ) {
        let mut at = 0;
        let mut before = 0;
        while let Some(raw) = bytes.get(at..at + 8) {
            let word = if raw == [0; 8] { 0 } else { self.reader.target.word(raw).unwrap_or(0) };
            if word == 0 {
                (before, at) = (0, at + 8);
                continue;
            }
            if self.is_leaf(before, word) {
                settled.metadata.extend(Span::with_size(Addr(start + at as u64 - 8), 16));
            }
            before = word;
            let bins = match self.kind {
                CacheKind::LowBits => self.low_bits_bins(bytes.get(at..).unwrap_or_default()),
                CacheKind::Counted => {
                    let from = at.checked_sub(RECORD - 8);
                    from.map_or(Vec::new(), |from| self.counted_bins(&bytes[from..], table, stacks))
                }
            };
            if bins.is_empty() {
                at += 8;
                continue;
            }
            let from = if self.kind == CacheKind::LowBits { at } else { at + 8 - RECORD };
            let size = bins.len() * RECORD;
            settled.metadata.extend(Span::with_size(Addr(start + from as u64), size as u64));
            self.take(&bins, table, (&mut *stacks, &mut *slots), settled);
            (before, at) = (0, from + size);
        }
    }

    /// Whether the tree has a leaf at `address` for `key`.
    fn is_leaf(&self, key: u64, address: u64) -> bool {
        // Most words are smaller than all keys, or larger.
        let [first, .., last] = self.leaves else { return self.leaves.iter().any(|leaf| leaf.is(key, address)) };
        let may_be = (first.key..=last.key).contains(&key);
        may_be
            && self.leaves.binary_search_by_key(&key, |leaf| leaf.key).is_ok_and(|at| self.leaves[at].is(key, address))
    }

    /// Marks what lies on the stacks, and the stacks themselves.
    fn take(
        &self,
        bins: &[Bin],
        table: &mut AllocationTable,
        (stacks, slots): (&mut Stacks, &mut u64),
        settled: &mut Settled,
    ) {
        let (Some(first), Some(last)) = (bins.first(), bins.last()) else { return };
        if let Some((id, _)) = table.find(Addr(first.low)).filter(|(id, _)| table.state(*id).is_used()) {
            table.set_state(id, State::Internal);
            stacks.insert(table.address(id).0, table.span(id));
        }
        settled.caches += u64::from(bins.len() >= LEAST_BINS);
        debug_assert!(first.low <= last.end);
        for bin in bins {
            for slot in (bin.top..bin.end).step_by(8) {
                if *slots == 0 {
                    return;
                }
                *slots -= 1;
                let Some(item) = self.reader.word(slot) else { continue };
                match table.find_start(Addr(item)).map(|id| (id, table.state(id))) {
                    Some((id, State::Used)) => {
                        table.set_state(id, State::ThreadCached);
                        settled.cached += 1;
                    }
                    Some((_, State::ThreadCached)) => settled.log.note_word(DamageKind::FreedTwice, item, item, None),
                    _ => settled.log.note_word(DamageKind::FreeList, slot, item, None),
                }
            }
        }
    }

    /// The bins that begin with `bytes`, where there are enough in a row.
    fn low_bits_bins(&self, bytes: &[u8]) -> Vec<Bin> {
        let mut bins: Vec<Bin> = Vec::new();
        let mut records = bytes.chunks_exact(RECORD);
        while bins.len() < MOST_BINS
            && let Some(bin) = records.next().and_then(|record| self.low_bits_bin(record))
        {
            if bins.last().is_some_and(|before: &Bin| before.end != bin.low) || (bins.is_empty() && bin.low == bin.end)
            {
                break;
            }
            bins.push(bin);
        }
        if bins.len() >= LEAST_BINS { bins } else { Vec::new() }
    }

    /// Pointer to the top; requests served; low bits of the lowest top since the last look, of the full stack's top, and of
    /// the stack's end.
    fn low_bits_bin(&self, record: &[u8]) -> Option<Bin> {
        let target = self.reader.target;
        let top = target.word(record)?;
        let [lowest, full, empty] = [16, 18, 20].map(|at| record.get(at..).and_then(|rest| target.u16(rest)));
        let (lowest, full, empty) = (lowest?, full?, empty?);
        let size = u64::from(empty.wrapping_sub(full));
        let filled = u64::from(empty.wrapping_sub(top as u16));
        let most_filled = u64::from(empty.wrapping_sub(lowest));
        let fits = top > 0xffff && (top | size).is_multiple_of(8) && filled <= size && most_filled <= size;
        let end = top.checked_add(filled)?;
        Some(Bin { low: end.checked_sub(size)?, top, end }).filter(|_| fits)
    }

    /// The same where a bin has a count and a pointer behind its stack.
    fn counted_bins(&self, bytes: &[u8], table: &AllocationTable, stacks: &Stacks) -> Vec<Bin> {
        let target = self.reader.target;
        let read = |record: &[u8]| -> Option<(u32, u32, u64)> {
            let half = |at: usize| record.get(at..).and_then(|rest| target.u32(rest));
            Some((half(0)?, half(4)?, target.word(record.get(16..)?)?))
        };
        let Some((_, _, first)) = bytes.get(..RECORD).and_then(read) else { return Vec::new() };
        if first == 0 || !first.is_multiple_of(8) {
            return Vec::new();
        }
        let below = stacks.range(..=first).next_back().map(|(_, span)| span);
        let known = below.filter(|span| span.contains(Addr(first)));
        let memory = match known {
            Some(span) => *span,
            None => match table.find(Addr(first)).filter(|(id, _)| table.state(*id).is_used()) {
                Some((id, into)) if into > 0 => table.span(id),
                _ => return Vec::new(),
            },
        };
        let mut low = memory.start().0;
        let mut bins: Vec<Bin> = Vec::new();
        for record in bytes.chunks_exact(RECORD).take(MOST_BINS) {
            let Some((lowest, count, end)) = read(record) else { break };
            let size = end.saturating_sub(low);
            let filled = u64::from(count) * 8;
            // The low-water mark of an emptied bin is -1.
            let fits = end <= memory.end().0
                && size >= 8
                && size.is_multiple_of(8)
                && (filled <= size || (known.is_some() && bins.is_empty()))
                && (lowest as i32) >= -1
                && i64::from(lowest as i32) <= i64::from(count);
            let Some(top) = end.checked_sub(filled).filter(|_| fits) else { break };
            bins.push(Bin { low: end - size, top, end });
            low = end;
        }
        let least = if known.is_some() { LEAST_LARGE_BINS } else { LEAST_BINS };
        let fits = bins.len() >= least && (known.is_some() || self.hold_their_classes(&bins, table));
        if fits { bins } else { Vec::new() }
    }

    /// Whether each bin holds regions of its class.
    fn hold_their_classes(&self, bins: &[Bin], table: &AllocationTable) -> bool {
        bins.iter().enumerate().all(|(class, bin)| {
            let Some(top) = Some(bin.top).filter(|top| *top < bin.end) else { return true };
            let item = self.reader.word(top).and_then(|item| table.find_start(Addr(item)));
            item.is_some_and(|id| Some(table.usable_size(id)) == self.classes.size(class))
        })
    }
}

/// The parts of `span` outside of `claimed`, which is sorted.
fn outside(span: Span, claimed: &[Span]) -> Vec<Span> {
    let mut parts = Vec::new();
    let mut from = span.start();
    let first = claimed.partition_point(|claim| claim.end() <= from);
    for claim in claimed.get(first..).unwrap_or_default() {
        if claim.start() >= span.end() {
            break;
        }
        parts.extend(Span::new(from, claim.start()));
        from = from.max(claim.end());
    }
    parts.extend(Span::new(from, span.end()));
    parts.retain(|part| !part.is_empty());
    parts
}
