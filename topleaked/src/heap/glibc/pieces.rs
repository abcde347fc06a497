//! Which memory belongs to which arena, and the walk through all of it on several threads.

use std::collections::{BTreeMap, BTreeSet};

use crate::addr::{Addr, Span};
use crate::heap::DamageKind;
use crate::heap::damage::DamageLog;
use crate::heap::memory::{Reader, Stretch, Words};
use crate::heap::parallel::in_parallel;
use crate::heap::run::{Run, Runs};
use crate::heap::table::AllocatorId;
use crate::image::{MemoryKind, Region};
use crate::task::Task;

use super::arena::{Arena, Copy, HeapInfo, distance_into_heap, heap_alignments, heap_info_bytes};
use super::chunks::{End, Log, PAGE, Rules, Walker};

/// A piece longer than twice this is walked in parts of this size, side by side.
const PART_BYTES: u64 = 32 << 20;
/// So many words of libc's data are tried as the start of the heap.
const START_CANDIDATES: usize = 256;

/// Memory of one arena without a gap of the arena's own making.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// 0 for the main arena, then the others in the order of the ring.
    pub(super) arena: usize,
    /// All memory that is the arena's here: with heap_info, arena and padding.
    pub(super) claim: Span,
    /// The first chunk.
    pub(super) from: u64,
    pub(super) rules: Rules,
}

/// A piece after the walk.
#[derive(Debug)]
pub(super) struct WalkedPiece {
    pub(super) arena: usize,
    /// What the arena has there: without what others got from `sbrk` in between.
    pub(super) claims: Vec<Span>,
    /// Bytes of the piece that the dump does not have.
    pub(super) missing_bytes: u64,
}

/// Allocations and what else the walk of some pieces gave.
#[derive(Debug, Default)]
pub(super) struct Harvest {
    pub(super) runs: Vec<Run>,
    pub(super) pieces: Vec<WalkedPiece>,
    pub(super) log: Log,
}

/// All heap_infos in private memory, each with the arena it names.
pub(super) fn find_heaps(reader: Reader<'_>, regions: &[Region]) -> Vec<HeapInfo> {
    let step = heap_alignments(reader).iter().copied().min().unwrap_or(PAGE);
    let mut heaps: Vec<HeapInfo> = Vec::new();
    for region in regions.iter().filter(|region| region.kind == MemoryKind::Anonymous) {
        let mut at = region.span.start().0.checked_next_multiple_of(step);
        while let Some(address) = at.filter(|address| *address < region.span.end().0) {
            let info = HeapInfo::read(reader, address);
            heaps.extend(info.filter(|info| distance_into_heap(reader, info.arena).is_some()));
            at = address.checked_add(step);
        }
    }
    heaps
}

/// The pieces of one secondary arena. A heap whose `heap_info` was written over is damage, and walked all the same.
pub(super) fn plan_secondary<W: Words>(
    reader: Reader<'_>,
    index: usize,
    arena: &Arena,
    heaps: &[HeapInfo],
    log: &mut DamageLog,
) -> Vec<Piece> {
    let info_bytes = heap_info_bytes(reader, arena.address).or_else(|| distance_into_heap(reader, arena.address));
    let Some(info_bytes) = info_bytes else { return Vec::new() };
    let first = arena.address - info_bytes;
    let named = heaps.iter().filter(|heap| heap.arena == arena.address);
    let mut own: BTreeSet<u64> = named.clone().flat_map(|heap| [heap.address, heap.previous]).collect();
    own.insert(first);
    own.extend(arena.top.and_then(|top| heap_of_top(reader, top)));
    let mut pieces = Vec::new();
    for address in own {
        let info = HeapInfo::read(reader, address);
        let end = match info.filter(|info| info.arena == arena.address) {
            Some(info) => address.checked_add(info.size),
            None => end_without_info(reader, address, arena.top)
                .filter(|_| info.is_none_or(|info| heap_info_bytes(reader, info.arena).is_none())),
        };
        let Some(claim) = end.and_then(|end| Span::new(Addr(address), Addr(end))) else { continue };
        let top = arena.top.filter(|top| claim.contains(Addr(*top)));
        let rules = Rules { main: false, top, end: claim.end().0, goes_on: false };
        let begin = if address == first { arena.address + arena.state_bytes } else { address + info_bytes };
        // The user's memory is aligned to two words, in 32-bit processes since 2.26 to four.
        let Some(from) = begin.checked_next_multiple_of(2 * W::WIDTH) else { continue };
        let Some(stretch) = Stretch::around(reader.space, Addr(from), claim) else { continue };
        let mut walker = Walker::new(reader, &stretch, rules);
        let mut proofs = Log::for_bytes(PAGE);
        let starts = [from, from + W::WIDTH * 2, from.saturating_sub(2 * W::WIDTH)];
        let proven = |at: &u64| walker.begins_piece::<W>(*at) && walker.proves::<W>(*at, &mut proofs);
        let proven = starts.into_iter().find(proven);
        match (info.filter(|info| info.arena == arena.address), reader.word(address)) {
            (Some(_), _) => {}
            // Of what was written over, the chunks alone are left as proof.
            (None, _) if proven.is_none() => continue,
            (None, Some(word)) if word == arena.address => {
                let size = reader.word(address + 2 * W::WIDTH).unwrap_or_default();
                log.note_word(DamageKind::Header, address + 2 * W::WIDTH, size, Some(claim.size_bytes()));
            }
            (None, word) => {
                log.note_word(DamageKind::Header, address, word.unwrap_or_default(), Some(arena.address));
            }
        }
        pieces.push(Piece { arena: index, claim, from: proven.unwrap_or(from), rules });
    }
    pieces
}

/// Where the heap begins in which an arena's top lies: at an alignment below it, with no hole in between.
fn heap_of_top(reader: Reader<'_>, top: u64) -> Option<u64> {
    let starts = heap_alignments(reader).iter().map(|alignment| top & !(alignment - 1));
    starts.into_iter().find(|start| {
        let within = Span::new(Addr(*start), Addr(top)).filter(|within| !within.is_empty());
        let stretch = within.and_then(|within| Stretch::around(reader.space, Addr(*start), within));
        stretch.is_some_and(|stretch| stretch.span.end().0 == top)
    })
}

/// Where a heap ends of which the `heap_info` is not known: with its top, or with the memory in a row.
fn end_without_info(reader: Reader<'_>, address: u64, top: Option<u64>) -> Option<u64> {
    let alignment = *heap_alignments(reader).first()?;
    let within = Span::with_size(Addr(address), alignment).filter(|_| address.is_multiple_of(PAGE) && address != 0)?;
    let memory = Stretch::around(reader.space, Addr(address), within)?.span;
    let top = top.filter(|top| memory.contains(Addr(*top)));
    Some(top.and_then(|top| top_end(reader, top, memory)).unwrap_or(memory.end().0))
}

/// The pieces of the main arena that grow by `brk`, and the words of libc's data that may be its note of their start.
///
/// The kernel puts the heap of a static position-independent program far from the program, where it looks like any
/// private memory; libc's own note of the start finds it.
pub(super) fn plan_main<W: Words>(reader: Reader<'_>, copy: &Copy, regions: &[Region]) -> (Vec<Piece>, Vec<u64>) {
    let arena = &copy.main;
    let mut pieces = Vec::new();
    let mut base_words = Vec::new();
    let areas = areas(regions);
    let starts = heap_start_words::<W>(reader, copy, &areas);
    for (index, area) in areas.iter().enumerate() {
        let is_main_heap = area.is_main_heap;
        let top = arena.top.filter(|top| area.span.contains(Addr(*top)));
        let candidates = starts.get(&index);
        let is_wanted = is_main_heap || candidates.is_some() || (arena.is_contiguous && top.is_some());
        if !is_wanted {
            continue;
        }
        let end = top.and_then(|top| top_end(reader, top, area.span)).unwrap_or(area.span.end().0);
        let Some(span) = Span::new(area.span.start(), Addr(end)) else { continue };
        let rules = Rules { main: true, top, end, goes_on: is_main_heap || arena.is_contiguous };
        let Some(stretch) = Stretch::first_in(reader.space, span) else { continue };
        let mut walker = Walker::new(reader, &stretch, rules);
        let mut log = Log::for_bytes(span.size_bytes());
        // Before the noted start, static programs keep thread-local storage.
        let all = || candidates.into_iter().flatten();
        let proven = all().find(|candidate| {
            walker.begins_piece::<W>(candidate.start) && walker.proves::<W>(candidate.start, &mut log)
        });
        // Damage among the very first chunks hides the proof; a heap begins with a page, and in front of its top. A place
        // further up that proves itself does not count then: other words of libc's data, as the end of a buffer of stdio,
        // lead behind the damage.
        let begins = |start: &&StartWord| start.noted.is_multiple_of(PAGE) && walker.looks_first::<W>(start.start);
        let first = all().find(begins).filter(|_| top.is_some());
        let noted = match (first, proven) {
            (Some(first), Some(proven)) => Some(first.min(proven)),
            (first, proven) => proven.or(first),
        };
        // Where even the first header is broken, libc's note of the area's very start still says where the heap begins.
        let noted =
            noted.or_else(|| all().find(|start| Addr(start.noted) == area.span.start()).filter(|_| top.is_some()));
        let begin = match noted {
            Some(noted) => {
                let same = candidates.into_iter().flatten().filter(|candidate| candidate.noted == noted.noted);
                base_words.extend(same.map(|candidate| candidate.place));
                Some((noted.noted, noted.start))
            }
            None if top.is_some() => {
                walker.find_first::<W>(span.start().0, span.end().0, &mut log).map(|from| (from, from))
            }
            None => None,
        };
        if let Some((noted, from)) = begin
            // What lies before the first chunk of a page is padding.
            && let noted = if from % PAGE < 16 { from & !(PAGE - 1) } else { noted }
            && let Some(claim) = Span::new(Addr(noted), span.end())
        {
            pieces.push(Piece { arena: 0, claim, from, rules });
        }
    }
    (pieces, base_words)
}

/// The first address behind the top chunk, where its size leads to one in `within`.
fn top_end(reader: Reader<'_>, top: u64, within: Span) -> Option<u64> {
    let size = reader.word(top.checked_add(reader.width())?)? & !7;
    let end = top.checked_add(size)?;
    (size >= 2 * reader.width() && end <= within.end().0).then_some(end)
}

/// Private memory in which a main arena may lie.
struct Area {
    span: Span,
    is_main_heap: bool,
}

/// The private memory of a process. Thread-local storage at the start of a static program's heap is part of it, since
/// where it ends is not known to a byte.
fn areas(regions: &[Region]) -> Vec<Area> {
    let mut areas: Vec<(Area, MemoryKind)> = Vec::new();
    for region in regions {
        if !matches!(region.kind, MemoryKind::MainHeap | MemoryKind::Anonymous | MemoryKind::Tls) {
            continue;
        }
        let is_main_heap = region.kind == MemoryKind::MainHeap;
        if let Some((last, kind)) = areas.last_mut()
            && last.span.end() == region.span.start()
            && (*kind == region.kind || *kind == MemoryKind::Tls || region.kind == MemoryKind::Tls)
        {
            last.span = Span::new(last.span.start(), region.span.end()).unwrap_or(last.span);
            last.is_main_heap |= is_main_heap;
            *kind = region.kind;
        } else {
            areas.push((Area { span: region.span, is_main_heap }, region.kind));
        }
    }
    areas.into_iter().map(|(area, _)| area).collect()
}

/// A word of libc's data that may say where the heap begins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct StartWord {
    /// The first place for a chunk from there.
    start: u64,
    /// The word itself.
    noted: u64,
    /// Where it stands.
    place: u64,
}

/// Words of libc's data, outside its arena, that point into private memory, by the index of the area.
fn heap_start_words<W: Words>(reader: Reader<'_>, copy: &Copy, areas: &[Area]) -> BTreeMap<usize, BTreeSet<StartWord>> {
    let mut found: BTreeMap<usize, BTreeSet<StartWord>> = BTreeMap::new();
    let Some(stretch) = Stretch::around(reader.space, Addr(copy.main.address), copy.data) else { return found };
    for (start, bytes) in stretch.parts(W::WIDTH) {
        let mut at = 0;
        while let Some(word) = W::word(bytes, at) {
            let place = start + at as u64;
            at += W::WIDTH as usize;
            let index = areas.partition_point(|area| area.span.end().0 <= word);
            let is_heap = areas.get(index).is_some_and(|area| area.span.contains(Addr(word)));
            if is_heap && !copy.main.span().contains(Addr(place)) {
                let words = found.entry(index).or_default();
                // In 32-bit processes since 2.26 chunks begin in the middle between multiples of four words.
                let aligned = word.next_multiple_of(2 * W::WIDTH);
                for start in [aligned, aligned + 2 * W::WIDTH].into_iter().take(if W::WIDTH == 4 { 2 } else { 1 }) {
                    words.insert(StartWord { start, noted: word, place });
                }
                while words.len() > START_CANDIDATES {
                    words.pop_last();
                }
            }
        }
    }
    found
}

/// One job of the walk: a part of a stretch of a piece.
struct Part {
    piece: usize,
    stretch: usize,
    from: Start,
    until: u64,
    bytes: u64,
}

/// Where a part begins: at a chunk, or at the first one behind a place.
#[derive(Clone, Copy)]
enum Start {
    Chunk(u64),
    Behind(u64),
}

struct Done {
    from: Option<u64>,
    end: End,
    runs: Vec<Run>,
    log: Log,
}

/// Walks all pieces.
pub(super) fn walk<W: Words>(reader: Reader<'_>, pieces: &[Piece], allocator: AllocatorId, task: &Task) -> Harvest {
    let mut stretches: Vec<Stretch<'_>> = Vec::new();
    let mut parts: Vec<Part> = Vec::new();
    let mut harvest = Harvest::default();
    for (index, piece) in pieces.iter().enumerate() {
        let mut rest = Span::new(Addr(piece.from), Addr(piece.rules.end)).unwrap_or_default();
        let mut missing_bytes = rest.size_bytes();
        while let Some(stretch) = Stretch::first_in(reader.space, rest) {
            let (start, end) = (stretch.span.start().0, stretch.span.end().0);
            missing_bytes -= end - start;
            let mut from = if start == piece.from { Start::Chunk(start) } else { Start::Behind(start) };
            let mut at = start;
            while end - at > 2 * PART_BYTES {
                at = (at + PART_BYTES) & !(PAGE - 1);
                parts.push(Part { piece: index, stretch: stretches.len(), from, until: at, bytes: PART_BYTES });
                from = Start::Behind(at);
            }
            parts.push(Part { piece: index, stretch: stretches.len(), from, until: u64::MAX, bytes: end - at });
            rest = Span::new(stretch.span.end(), rest.end()).unwrap_or_default();
            stretches.push(stretch);
        }
        harvest.pieces.push(WalkedPiece { arena: piece.arena, claims: Vec::new(), missing_bytes });
    }
    task.progress.start("walking the heap", parts.len() as u64);
    let walk_part = |part: &Part, from: Start| {
        let stretch = &stretches[part.stretch];
        let mut walker = Walker::new(reader, stretch, pieces[part.piece].rules);
        let mut log = Log::for_bytes(part.bytes);
        let mut runs = Runs::new(allocator);
        let limit = part.until.min(stretch.span.end().0);
        let start = match from {
            Start::Chunk(at) => Some(at),
            Start::Behind(at) => walker.find_proven::<W>(at, limit, &mut log),
        };
        let end = match start {
            Some(at) => walker.walk::<W>(at, part.until, &mut runs, &mut log),
            None => End::Missing(limit),
        };
        task.progress.advance(1);
        Done { from: start, end, runs: runs.finish(), log }
    };
    let done = in_parallel(&parts, task, |part| walk_part(part, part.from));
    let mut holes: Vec<Vec<Span>> = vec![Vec::new(); pieces.len()];
    let mut open: Option<(usize, End)> = None;
    for (part, mut result) in parts.iter().zip(done) {
        // Within a stretch a part has to begin where the one before it ended.
        if let Some((_, end)) = open.filter(|(stretch, _)| *stretch == part.stretch) {
            let End::Boundary(at) = end else { continue };
            if at >= part.until {
                continue;
            }
            if result.from != Some(at) && !cut_front(&mut result, at + 2 * W::WIDTH) {
                result = walk_part(part, Start::Chunk(at));
            }
        }
        open = Some((part.stretch, result.end));
        harvest.runs.append(&mut result.runs);
        holes[part.piece].extend(result.log.foreign.iter().copied());
        harvest.log.append(result.log);
        // Behind the last chunk of a main arena the memory is someone else's.
        if let End::Fence(at) | End::Top(at) = result.end {
            holes[part.piece].extend(Span::new(Addr(at), pieces[part.piece].claim.end()));
        }
    }
    for ((piece, holes), walked) in pieces.iter().zip(&mut holes).zip(&mut harvest.pieces) {
        walked.claims = subtract(piece.claim, holes);
    }
    harvest
}

/// Drops what was found before the chunk whose memory is at `address`; `false` where that is none of the chunks found.
fn cut_front(done: &mut Done, address: u64) -> bool {
    let Some(place) = done.runs.iter().position(|run| run.lower_bound(address) < run.len()) else { return false };
    let at = done.runs[place].lower_bound(address);
    if done.runs[place].address(at) != address {
        return false;
    }
    done.runs[place].drop_front(at);
    done.runs.drain(..place);
    let before = done.log.damage.len();
    done.log.damage.retain(|damage| damage.at.0 >= address);
    done.log.damage_count -= (before - done.log.damage.len()) as u64;
    true
}

/// What is left of `span` without `holes`.
pub(super) fn subtract(span: Span, holes: &mut [Span]) -> Vec<Span> {
    holes.sort_unstable();
    let mut left = Vec::new();
    let mut at = span.start();
    for hole in holes.iter().filter_map(|hole| hole.intersection(span)) {
        left.extend(Span::new(at, hole.start()).filter(|part| !part.is_empty()));
        at = at.max(hole.end());
    }
    left.extend(Span::new(at, span.end()).filter(|part| !part.is_empty()));
    left
}
