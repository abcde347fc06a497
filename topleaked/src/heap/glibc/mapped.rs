//! What glibc has in private memory beside the heaps of arenas: chunks that are mappings of their own, and the pieces of
//! a main arena that could not grow by `brk`.
//!
//! Layout: glibc 2.12 to 2.43 malloc/malloc.c, `sysmalloc`, `sysmalloc_mmap`, `_int_memalign`.

use crate::addr::{Addr, Span};
use crate::heap::memory::{Reader, Stretch, Words};
use crate::heap::run::Runs;
use crate::heap::table::State;
use crate::image::{MemoryKind, Region};

use super::arena::Copy;
use super::chunks::{End, Log, MAPPED, PAGE, Rules, Walker};
use super::pieces::{Harvest, WalkedPiece};

/// What glibc counts of its mapped chunks (`mp_`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct MappedCount {
    pub(super) chunks: u64,
    pub(super) bytes: u64,
}

impl std::iter::Sum for MappedCount {
    fn sum<I: Iterator<Item = MappedCount>>(counts: I) -> MappedCount {
        counts.fold(MappedCount::default(), |sum, count| MappedCount {
            chunks: sum.chunks.saturating_add(count.chunks),
            bytes: sum.bytes.saturating_add(count.bytes),
        })
    }
}

impl MappedCount {
    /// Reads the counts that stand before the noted start of the heap in `struct malloc_par`.
    ///
    /// The bytes now and at most stand right before it, up to 2.22 with one more word between; four 32-bit integers
    /// before these count the chunks: now, allowed, at most, and a switch. From 2.35 on there is a fifth in front of
    /// them, so that 8-byte words leave a gap behind.
    pub(super) fn read(reader: Reader<'_>, base_word: u64) -> Option<MappedCount> {
        let width = reader.width();
        let places = [(2, 4), (2, 0), (3, 0)];
        places.into_iter().filter(|(_, gap)| *gap == 0 || width == 8).find_map(|(words, gap)| {
            let bytes_at = base_word.checked_sub(words * width)?;
            let bytes = reader.word(bytes_at)?;
            let most_bytes = reader.word(bytes_at + width)?;
            let integers = bytes_at.checked_sub(16 + gap)?;
            let chunks = u64::from(reader.u32(integers)?);
            let most_chunks = u64::from(reader.u32(integers + 8)?);
            let switch = reader.u32(integers + 12)?;
            let fits = |chunks: u64, bytes: u64| (chunks == 0) == (bytes == 0) && bytes / PAGE >= chunks;
            let plausible = bytes.is_multiple_of(PAGE)
                && bytes <= most_bytes
                && chunks <= most_chunks
                && switch <= 1
                && fits(chunks, bytes)
                && fits(most_chunks, most_bytes);
            plausible.then_some(MappedCount { chunks, bytes })
        })
    }
}

/// What was found in private memory.
#[derive(Debug, Default)]
pub(super) struct Mapped {
    /// The mappings of mapped chunks.
    pub(super) spans: Vec<Span>,
    /// Pieces of the main arena that were walked on the way.
    pub(super) harvest: Harvest,
}

impl Mapped {
    /// What was found of mapped chunks.
    pub(super) fn count(&self) -> MappedCount {
        MappedCount { chunks: self.spans.len() as u64, bytes: self.spans.iter().map(|span| span.size_bytes()).sum() }
    }
}

/// One mapped chunk.
struct MappedChunk {
    /// Bytes of its mapping.
    total: u64,
    memory: u64,
    usable_size: u64,
}

/// Walks that lead to no end of a piece may cover a stretch so many times; then none begins before the place that the last
/// of them reached.
const FAILED_WALKS: u64 = 4;

/// What is looked for.
pub(super) struct Wanted<'a> {
    pub(super) copy: &'a Copy,
    /// What glibc counted of its mapped chunks; spares the search where that is nothing.
    pub(super) expected: Option<MappedCount>,
    /// The tops of the main arenas of other copies: pieces that end with them are theirs.
    pub(super) other_tops: &'a [u64],
}

/// Looks at each page of private memory that no heap has.
pub(super) fn find<W: Words>(
    reader: Reader<'_>,
    wanted: &Wanted<'_>,
    regions: &[Region],
    claimed: &[Span],
    runs: &mut Runs,
) -> Mapped {
    let Wanted { copy, expected, .. } = *wanted;
    let mut found = Mapped::default();
    let wants_chunks = expected.is_none_or(|count| count.chunks > 0);
    let wants_pieces = !copy.main.is_contiguous;
    if !wants_chunks && !wants_pieces {
        return found;
    }
    let free = free_spans(regions, claimed);
    for span in free {
        let mut rest = span;
        while let Some(stretch) = Stretch::first_in(reader.space, rest) {
            search::<W>(reader, wanted, &stretch, (wants_chunks, wants_pieces), runs, &mut found);
            rest = Span::new(stretch.span.end(), rest.end()).unwrap_or_default();
        }
    }
    found
}

fn search<W: Words>(
    reader: Reader<'_>,
    wanted: &Wanted<'_>,
    stretch: &Stretch<'_>,
    (wants_chunks, wants_pieces): (bool, bool),
    runs: &mut Runs,
    found: &mut Mapped,
) {
    let mut at = stretch.span.start().0.next_multiple_of(PAGE);
    let end = stretch.span.end().0;
    let mut hint = 0;
    let mut log = Log::for_bytes(stretch.span.size_bytes());
    let trailer = wanted.copy.main.layout.mapped_have_trailer;
    let mut failures = stretch.span.size_bytes().saturating_mul(FAILED_WALKS);
    let mut pieces_from = at;
    while at < end {
        // Up to 2.25 and in 64-bit processes the first chunk begins with the page, else half an alignment behind.
        let pads = if W::WIDTH == 8 { &[0][..] } else { &[0, 8][..] };
        let mut next = at + PAGE;
        for pad in pads {
            if wants_chunks && let Some(chunk) = mapped_chunk::<W>(stretch, at, *pad, end, trailer, &mut hint) {
                runs.push(Addr(chunk.memory), chunk.usable_size, State::Used);
                found.spans.extend(Span::with_size(Addr(at), chunk.total));
                next = at + chunk.total;
                break;
            }
            if !wants_pieces || at < pieces_from {
                continue;
            }
            match main_piece::<W>(reader, wanted, stretch, at + pad, runs, found, &mut log) {
                Ok((piece_end, is_own)) => {
                    if is_own {
                        let claim = Span::new(Addr(at), Addr(piece_end)).unwrap_or_default();
                        found.harvest.pieces.push(WalkedPiece { arena: 0, claims: vec![claim], missing_bytes: 0 });
                    }
                    next = piece_end.next_multiple_of(PAGE).max(at + PAGE);
                    break;
                }
                Err(reached) => {
                    failures = failures.saturating_sub(reached.saturating_sub(at));
                    if failures == 0 {
                        pieces_from = pieces_from.max(reached);
                    }
                }
            }
        }
        at = next;
    }
    found.harvest.log.append(log);
}

/// The mapped chunk whose mapping begins at `at`.
fn mapped_chunk<W: Words>(
    stretch: &Stretch<'_>,
    at: u64,
    pad: u64,
    end: u64,
    trailer: bool,
    hint: &mut usize,
) -> Option<MappedChunk> {
    let width = W::WIDTH;
    let trailer_bytes = if trailer { 2 * width } else { 0 };
    let header = stretch.word::<W>(at + pad + width, hint)?;
    if header & 7 != MAPPED {
        return None;
    }
    // The lowest bit of the word before says "huge pages" from 2.43 on.
    let before = stretch.word::<W>(at + pad, hint)?;
    let hugeness = if trailer { before & 1 } else { 0 };
    if before - hugeness != pad {
        return None;
    }
    let total = (header & !7).checked_add(pad + trailer_bytes)?;
    if !total.is_multiple_of(PAGE) || total == 0 || total > end - at {
        return None;
    }
    // memalign moves the chunk up inside its mapping, and leaves the first header as it was.
    let mut begins = at + pad;
    let mut alignment = 4 * width;
    'search: while alignment < total {
        let aligned = (at + pad + 2 * width).next_multiple_of(alignment);
        for memory in [aligned, aligned.saturating_add(alignment)] {
            let chunk = memory - 2 * width;
            let lead = chunk - at;
            if lead <= pad || lead >= total {
                continue;
            }
            let moved = stretch.word::<W>(chunk, hint) == Some(lead | hugeness)
                && stretch.word::<W>(chunk + width, hint) == Some((total - lead - trailer_bytes) | MAPPED);
            if moved {
                begins = chunk;
                break 'search;
            }
        }
        alignment *= 2;
    }
    let size = total - (begins - at) - trailer_bytes;
    let overhead = if trailer { width } else { 2 * width };
    Some(MappedChunk { total, memory: begins + 2 * width, usable_size: size.checked_sub(overhead)? })
}

/// Walks the piece of a main arena that begins at `from`, where one does; gives its end, and whether it is this copy's. One
/// of another copy adds nothing.
///
/// # Errors
/// The address up to which was walked for nothing.
fn main_piece<W: Words>(
    reader: Reader<'_>,
    wanted: &Wanted<'_>,
    stretch: &Stretch<'_>,
    from: u64,
    runs: &mut Runs,
    found: &mut Mapped,
    log: &mut Log,
) -> Result<(u64, bool), u64> {
    let end = stretch.span.end().0;
    let own_top = wanted.copy.main.top;
    let tops = wanted.other_tops.iter().copied().chain(own_top);
    // The next one: a piece does not reach beyond it.
    let top = tops.filter(|top| stretch.span.contains(Addr(*top)) && *top >= from).min();
    let rules = Rules { main: true, top, end, goes_on: false };
    let mut walker = Walker::new(reader, stretch, rules);
    if !walker.begins_piece::<W>(from) || !walker.proves::<W>(from, log) {
        return Err(from);
    }
    let mut piece_runs = Runs::like(runs);
    let mut piece_log = Log::for_bytes(end - from);
    let (piece_end, is_own) = match walker.walk::<W>(from, u64::MAX, &mut piece_runs, &mut piece_log) {
        End::Fence(at) => (at, true),
        End::Top(at) => (at, top == own_top),
        // Without a proper end it is no piece, unless damage hides it.
        End::Boundary(at) | End::Missing(at) if piece_log.damage_count == 0 => return Err(at),
        End::Boundary(at) | End::Missing(at) => (at, true),
    };
    if is_own {
        found.harvest.runs.extend(piece_runs.finish());
        log.append(piece_log);
    }
    Ok((piece_end, is_own))
}

/// Private memory that nobody has claimed, in runs that touch no other.
fn free_spans(regions: &[Region], claimed: &[Span]) -> Vec<Span> {
    let mut joined: Vec<Span> = Vec::new();
    for region in regions.iter().filter(|region| region.kind == MemoryKind::Anonymous) {
        match joined.last_mut() {
            Some(last) if last.end() == region.span.start() => {
                *last = Span::new(last.start(), region.span.end()).unwrap_or(*last);
            }
            _ => joined.push(region.span),
        }
    }
    let mut claimed = claimed.to_vec();
    joined.into_iter().flat_map(|span| super::pieces::subtract(span, &mut claimed)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Target;
    use crate::image::{AddressSpace, Backing, Content, Permissions, Segment};

    /// Lays out the end of a `malloc_par` and reads the counts from it.
    fn count(integers: &[u32], words: &[u64]) -> Option<MappedCount> {
        let mut bytes = vec![0; 32];
        bytes.extend(integers.iter().flat_map(|integer| integer.to_le_bytes()));
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        bytes.extend(0x5000_u64.to_le_bytes());
        let mut space = AddressSpace::new(Target::LITTLE_8);
        let span = Span::with_size(Addr(0x1000), bytes.len() as u64).unwrap();
        let base_word = span.end().0 - 8;
        let id = space.add_backing(Backing::memory(bytes));
        let content = Content::Present(id, 0);
        space.add_segment(Segment { span, permissions: Permissions::default(), content }).unwrap();
        MappedCount::read(Reader::new(&space), base_word)
    }

    #[test]
    fn the_counts_are_read_from_all_layouts() {
        let expected = Some(MappedCount { chunks: 3, bytes: 0x6000 });
        // 2.12 to 2.22, 2.23 to 2.34, and from 2.35 on: one flag more before, and a gap behind.
        assert_eq!(count(&[3, 65536, 7, 0], &[0x6000, 0x9000, 0]), expected);
        assert_eq!(count(&[3, 65536, 7, 0], &[0x6000, 0x9000]), expected);
        assert_eq!(count(&[0, 3, 65536, 7, 0, 0], &[0x6000, 0x9000]), expected);
        // One chunk, never more: the flag and the limit look like counts of nothing in the older layouts.
        let one = Some(MappedCount { chunks: 1, bytes: 0x3d000 });
        assert_eq!(count(&[0, 1, 65536, 1, 0, 0], &[0x3d000, 0x3d000]), one);
        for integers in [&[0, 65536, 0, 0][..], &[0, 0, 65536, 0, 0, 0]] {
            assert_eq!(count(integers, &[0, 0]), Some(MappedCount { chunks: 0, bytes: 0 }));
        }
    }
}
