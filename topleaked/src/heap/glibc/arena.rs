//! Finding the arenas of each glibc in the process, without symbols.
//!
//! A main arena is static data of libc, or of the program where libc is linked into it. Its 127 bins prove it: an empty
//! bin points at itself twice, and the chunks in a filled one point back at the bin. From the bins, all versions have
//! their members at the same distances; only what stands before the bins differs, and so does the distance to the
//! arena's start. The ring of arenas says which: it closes only from the right start.
//!
//! Layout: glibc 2.12 to 2.43 malloc/malloc.c, struct malloc_state; malloc/arena.c, struct _heap_info.

use std::collections::BTreeSet;

use crate::addr::{Addr, Span};
use crate::heap::memory::{Reader, Stretch, Words, with_words};
use crate::image::{MemoryKind, ModuleId, Region};

/// Bins 1 to 127, two words each.
const BINS: u64 = 127;
/// So many of them may be broken by stray writes in an arena that is otherwise sure.
const BROKEN_BINS_LIMIT: u64 = 12;
/// More arenas than this close no ring. glibc makes eight for each processor.
const ARENA_LIMIT: usize = 1 << 16;

/// So many words that look like an empty bin are looked at closely; a real arena is the first or second of them.
const ATTEMPT_LIMIT: u32 = 2000;
/// So many arenas are looked at on what may be rings.
const RING_STEPS: u32 = 1 << 18;

/// What a search for arenas may still cost.
struct Budget {
    attempts: u32,
    ring_steps: u32,
}

/// Where the members before the bins lie in one family of versions.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Which versions have it.
    pub(super) versions: &'static str,
    /// Bytes of a word.
    width: u64,
    /// From the arena's start to its bins.
    pub(super) bins: u64,
    /// Whether fastbins stand before the top pointer; they fill the words from the second one on.
    pub(super) fastbins: bool,
    /// Whether a mapped chunk has room for a header behind it.
    pub(super) mapped_have_trailer: bool,
}

/// All layouts. Where two share a distance, they differ only in how many fastbins there are.
pub(super) static LAYOUTS: [Layout; 7] = [
    Layout { versions: "2.27 to 2.42", width: 8, bins: 0x70, fastbins: true, mapped_have_trailer: false },
    Layout { versions: "2.12 to 2.26", width: 8, bins: 0x68, fastbins: true, mapped_have_trailer: false },
    Layout { versions: "2.43", width: 8, bins: 0x18, fastbins: false, mapped_have_trailer: true },
    Layout { versions: "2.27 to 2.42", width: 4, bins: 0x40, fastbins: true, mapped_have_trailer: false },
    Layout { versions: "2.26 to 2.42", width: 4, bins: 0x3c, fastbins: true, mapped_have_trailer: false },
    Layout { versions: "2.12 to 2.25", width: 4, bins: 0x38, fastbins: true, mapped_have_trailer: false },
    Layout { versions: "2.43", width: 4, bins: 0x10, fastbins: false, mapped_have_trailer: true },
];

/// One arena's own words.
#[derive(Clone, Debug)]
pub(super) struct Arena {
    /// Where its `malloc_state` begins.
    pub(super) address: u64,
    pub(super) layout: &'static Layout,
    /// Bytes of its `malloc_state`, as far as they are known to belong to it.
    pub(super) state_bytes: u64,
    /// Its top chunk; `None` where its pointer leads nowhere, or it has none yet.
    pub(super) top: Option<u64>,
    /// Whether it never got memory.
    pub(super) is_unused: bool,
    /// Whether its memory is one piece that grows by `brk`.
    pub(super) is_contiguous: bool,
    /// What it says it has from the system.
    pub(super) system_bytes: Option<u64>,
}

impl Arena {
    /// Reads the arena that begins at `address`.
    pub(super) fn read(reader: Reader<'_>, layout: &'static Layout, address: u64) -> Option<Arena> {
        let width = layout.width;
        let bins = address.checked_add(layout.bins)?;
        let flags = reader.u32(address.checked_add(4)?)?;
        let top = reader.word(bins.checked_sub(2 * width)?)?;
        let next = bins.checked_add(2 * BINS * width + 16)?;
        // next, next_free, attached_threads, system_mem, max_system_mem; attached_threads from 2.23 on.
        let members: Vec<u64> = (0..5).map_while(|at| reader.word(next + at * width)).collect();
        let (system, maximum) = if layout.bins == 0x68 || layout.bins == 0x38 {
            // Which of the two it is shows in the order: the maximum is never less than the present value.
            match members.as_slice() {
                [_, _, attached, system, maximum] if system <= maximum && *attached < 1 << 16 => (Some(*system), 5),
                [_, _, system, maximum, ..] if system <= maximum => (Some(*system), 4),
                _ => (None, 3),
            }
        } else {
            (members.get(3).copied(), 5)
        };
        let initial_top = bins.checked_sub(2 * width)?;
        Some(Arena {
            address,
            layout,
            state_bytes: next + maximum * width - address,
            top: (top != initial_top && top.is_multiple_of(2 * width) && reader.is_present(top.checked_add(width)?))
                .then_some(top),
            is_unused: top == initial_top || top == 0,
            is_contiguous: flags & 2 == 0,
            system_bytes: system,
        })
    }

    /// The memory of its `malloc_state`.
    pub(super) fn span(&self) -> Span {
        Span::with_size(Addr(self.address), self.state_bytes).unwrap_or_default()
    }

    /// The words that may be heads of fastbins: all between the flags and the top pointer. In layouts with a flag among
    /// them, it holds 0 or 1, which is no chunk.
    pub(super) fn fastbin_heads(&self) -> impl Iterator<Item = u64> + use<> {
        let width = self.layout.width;
        let end = if self.layout.fastbins { self.layout.bins - 2 * width } else { 8 };
        (8..end).step_by(width as usize).map(|offset| offset + self.address).collect::<Vec<_>>().into_iter()
    }

    fn next(&self, reader: Reader<'_>) -> Option<u64> {
        reader.word(self.address + self.layout.bins + 2 * BINS * self.layout.width + 16)
    }
}

/// One copy of glibc in the process.
#[derive(Clone, Debug)]
pub(super) struct Copy {
    pub(super) main: Arena,
    pub(super) module: Option<ModuleId>,
    pub(super) secondary: Vec<Arena>,
    /// Whether the ring of arenas came back to the main one. Else those up to the break are known, and those that a heap
    /// names.
    pub(super) ring_closes: bool,
    pub(super) empty_bins: u64,
    pub(super) filled_bins: u64,
    pub(super) broken_bins: u64,
    /// Where the data lies that holds the main arena.
    pub(super) data: Span,
}

/// Finds every main arena in the writable data of modules.
pub(super) fn find_copies(reader: Reader<'_>, regions: &[Region]) -> Vec<Copy> {
    with_words!(reader.target, find_copies_in(reader, regions))
}

fn find_copies_in<W: Words>(reader: Reader<'_>, regions: &[Region]) -> Vec<Copy> {
    let mut copies: Vec<Copy> = Vec::new();
    let mut budget = Budget { attempts: ATTEMPT_LIMIT, ring_steps: RING_STEPS };
    let is_data = |kind| matches!(kind, MemoryKind::Data | MemoryKind::Bss | MemoryKind::Relro);
    let mut data: Vec<&Region> = regions.iter().filter(|region| is_data(region.kind)).collect();
    if data.is_empty() {
        // A dump that names no modules: their data is private memory like any other.
        data = regions.iter().filter(|region| region.kind == MemoryKind::Anonymous).collect();
    }
    for region in data {
        let mut rest = region.span;
        while let Some(stretch) = Stretch::first_in(reader.space, rest) {
            for (start, bytes) in stretch.parts(W::WIDTH) {
                scan::<W>(reader, region, start, bytes, &mut copies, &mut budget);
            }
            match Span::new(stretch.span.end(), rest.end()) {
                Some(behind) => rest = behind,
                None => break,
            }
        }
    }
    copies
}

/// Looks for words that stand twice and say where they stand: empty bins.
fn scan<W: Words>(
    reader: Reader<'_>,
    region: &Region,
    start: u64,
    bytes: &[u8],
    copies: &mut Vec<Copy>,
    budget: &mut Budget,
) {
    let width = W::WIDTH as usize;
    let mut at = 0;
    let mut skip_until = 0;
    while let (Some(forward), Some(backward)) = (W::word(bytes, at), W::word(bytes, at + width)) {
        let address = start + at as u64;
        at += width;
        if forward != backward || forward != address.wrapping_sub(2 * W::WIDTH) || address < skip_until {
            continue;
        }
        if budget.attempts == 0 {
            return;
        }
        budget.attempts -= 1;
        if let Some(copy) = copy_around::<W>(reader, region, address, &mut budget.ring_steps) {
            skip_until = copy.main.address + copy.main.state_bytes;
            if copies.iter().all(|known| known.main.address != copy.main.address) {
                copies.push(copy);
            }
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Bins {
    empty: u64,
    filled: u64,
    broken: u64,
}

/// What the bins that begin at `bins` look like.
fn read_bins(reader: Reader<'_>, width: u64, bins: u64) -> Option<Bins> {
    let mut seen = Bins::default();
    for index in 0..BINS {
        let place = bins + 2 * index * width;
        let header = place.checked_sub(2 * width)?;
        let (forward, backward) = (reader.word(place)?, reader.word(place + width)?);
        let leads_back = |chunk: u64, words: u64| {
            chunk.checked_add(words * width).and_then(|place| reader.word(place)) == Some(header)
        };
        if (forward, backward) == (header, header) {
            seen.empty += 1;
        } else if leads_back(forward, 3) && leads_back(backward, 2) {
            seen.filled += 1;
        } else {
            seen.broken += 1;
            if seen.broken > BROKEN_BINS_LIMIT {
                return None;
            }
        }
    }
    Some(seen)
}

/// The copy of glibc one of whose bins stands at `bin`.
fn copy_around<W: Words>(reader: Reader<'_>, region: &Region, bin: u64, steps: &mut u32) -> Option<Copy> {
    let mut broken: Option<(Arena, Ring, Bins)> = None;
    for index in 0..BINS {
        let Some(bins) = bin.checked_sub(2 * index * W::WIDTH) else { break };
        let Some(seen) = read_bins(reader, W::WIDTH, bins) else { continue };
        for layout in LAYOUTS.iter().filter(|layout| layout.width == W::WIDTH) {
            let Some(main) = bins.checked_sub(layout.bins).and_then(|start| Arena::read(reader, layout, start)) else {
                continue;
            };
            let ring = ring(reader, &main, steps);
            if ring.closes {
                return Some(copy(main, ring, &seen, region));
            }
            let is_better = |(_, known, best): &(Arena, Ring, Bins)| {
                (ring.others.len(), best.broken) > (known.others.len(), seen.broken)
            };
            if (main.top.is_some() || !ring.others.is_empty()) && broken.as_ref().is_none_or(is_better) {
                broken = Some((main, ring, seen));
            }
        }
    }
    // A ring that does not close may have been written over. Other arenas on it, or all else, have to be right.
    let (main, ring, seen) = broken?;
    let is_right = !ring.others.is_empty() || (seen.broken == 0 && seen.empty >= 8);
    is_right.then(|| copy(main, ring, &seen, region))
}

fn copy(main: Arena, ring: Ring, bins: &Bins, region: &Region) -> Copy {
    Copy {
        main,
        module: region.module,
        secondary: ring.others,
        ring_closes: ring.closes,
        empty_bins: bins.empty,
        filled_bins: bins.filled,
        broken_bins: bins.broken,
        data: region.span,
    }
}

/// The other arenas, as far as following `next` from the main one leads to such.
struct Ring {
    others: Vec<Arena>,
    /// Whether it came back to the main arena.
    closes: bool,
}

/// Follows the ring of arenas; each takes one of `steps`.
fn ring(reader: Reader<'_>, main: &Arena, steps: &mut u32) -> Ring {
    let mut ring = Ring { others: Vec::new(), closes: false };
    let mut seen = BTreeSet::new();
    let mut next = main.next(reader);
    while let Some(at) = next {
        if at == main.address {
            ring.closes = true;
            break;
        }
        let is_next = at.is_multiple_of(main.layout.width) && seen.insert(at);
        if !is_next || ring.others.len() >= ARENA_LIMIT || *steps == 0 {
            break;
        }
        *steps -= 1;
        let arena = Arena::read(reader, main.layout, at).filter(|arena| is_secondary(reader, arena));
        let Some(arena) = arena else { break };
        next = arena.next(reader);
        ring.others.push(arena);
    }
    ring
}

/// Whether an arena stands right behind the `heap_info` that names it, or, where that was written over, where it should,
/// and its bins prove it.
fn is_secondary(reader: Reader<'_>, arena: &Arena) -> bool {
    heap_info_bytes(reader, arena.address).is_some()
        || (distance_into_heap(reader, arena.address).is_some() && has_bins(reader, arena))
}

fn has_bins(reader: Reader<'_>, arena: &Arena) -> bool {
    let bins = arena.address.checked_add(arena.layout.bins);
    bins.and_then(|bins| read_bins(reader, arena.layout.width, bins)).is_some_and(|seen| seen.broken == 0)
}

/// The arenas that heaps name and that prove themselves, beside those `known`: behind a break of the ring.
pub(super) fn arenas_of_heaps(reader: Reader<'_>, mut known: BTreeSet<u64>, heaps: &[HeapInfo]) -> Vec<Arena> {
    let named = heaps.iter().map(|heap| heap.arena).filter(|arena| known.insert(*arena));
    let behind_info = named.filter(|at| heap_info_bytes(reader, *at).is_some());
    let layouts = || LAYOUTS.iter().filter(|layout| layout.width == reader.width());
    let read = |at| layouts().filter_map(move |layout| Arena::read(reader, layout, at));
    behind_info.filter_map(|at| read(at).find(|arena| has_bins(reader, arena))).collect()
}

impl Copy {
    /// Adds arenas behind a break of the ring. Where it breaks at the main arena, that one's layout was a guess; theirs is
    /// proven.
    pub(super) fn add_behind_break(&mut self, reader: Reader<'_>, arenas: Vec<Arena>) {
        let bins = self.main.address + self.main.layout.bins;
        if self.secondary.is_empty()
            && let Some(layout) = arenas.first().map(|arena| arena.layout)
            && let Some(main) = bins.checked_sub(layout.bins).and_then(|at| Arena::read(reader, layout, at))
        {
            self.main = main;
        }
        let layout = self.main.layout;
        self.secondary.extend(arenas.into_iter().filter(|arena| arena.layout == layout));
    }
}

/// From the start of its first heap to an arena, where it lies as if behind a `heap_info`.
pub(super) fn distance_into_heap(reader: Reader<'_>, arena: u64) -> Option<u64> {
    heap_info_sizes(reader).iter().copied().find(|size| arena % PAGE == *size)
}

/// Four words up to 2.34, five from 2.35 on, padded so that chunks come to lie aligned.
fn heap_info_sizes(reader: Reader<'_>) -> &'static [u64] {
    if reader.width() == 8 { &[0x30, 0x20] } else { &[0x18, 0x10, 0x20] }
}

/// How many bytes the `heap_info` before the arena at `arena` takes: its first word points at the arena.
pub(super) fn heap_info_bytes(reader: Reader<'_>, arena: u64) -> Option<u64> {
    heap_info_sizes(reader).iter().copied().find(|size| {
        arena.checked_sub(*size).is_some_and(|heap| heap.is_multiple_of(PAGE) && reader.word(heap) == Some(arena))
    })
}

const PAGE: u64 = super::chunks::PAGE;

/// What a `heap_info` says.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeapInfo {
    pub(super) address: u64,
    pub(super) arena: u64,
    pub(super) previous: u64,
    pub(super) size: u64,
}

impl HeapInfo {
    /// Reads the heap that begins at `address`; `None` where what stands there cannot be one.
    pub(super) fn read(reader: Reader<'_>, address: u64) -> Option<HeapInfo> {
        let width = reader.width();
        let word = |at: u64| reader.word(address.checked_add(at * width)?);
        let info = HeapInfo { address, arena: word(0)?, previous: word(1)?, size: word(2)? };
        let accessible = word(3)?;
        let plausible = info.size.is_multiple_of(PAGE)
            && info.size > 0
            && info.size <= accessible
            && accessible <= 1 << 34
            && info.previous.is_multiple_of(PAGE);
        plausible.then_some(info)
    }
}

/// The alignments at which heaps lie: 64 MiB, or 1 MiB in 32-bit processes; from 2.35 to 2.41 four huge pages, where
/// the tunable asks for these (glibc malloc/arena.c, HEAP_MAX_SIZE and heap_max_size).
pub(super) fn heap_alignments(reader: Reader<'_>) -> &'static [u64] {
    if reader.width() == 8 { &[64 << 20, 8 << 20, 4 << 30] } else { &[1 << 20, 8 << 20] }
}
