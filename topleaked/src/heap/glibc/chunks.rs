//! From chunk to chunk through one piece of an arena, and on behind broken headers.
//!
//! Layout: glibc 2.12 to 2.43 malloc/malloc.c, "malloc_chunk details". A chunk begins with two words: the size of the
//! chunk before it, which counts only where that one is free, and its own size with three flags in the low bits. The
//! first bit says that the chunk *before* is in use, so what a chunk is shows in the header behind it.

use crate::addr::{Addr, Span};
use crate::heap::damage::DAMAGE_LIMIT;
use crate::heap::memory::{Reader, Stretch, Words};
use crate::heap::run::Runs;
use crate::heap::table::State;
use crate::heap::{Damage, DamageKind};

/// The chunk before this one is in use.
const PREVIOUS_IN_USE: u64 = 1;
/// The chunk is a mapping of its own, in no arena.
pub(super) const MAPPED: u64 = 2;
/// The chunk belongs to an arena other than the main one.
const SECONDARY: u64 = 4;
const FLAGS: u64 = 7;

/// How many headers in a row have to fit together before a place counts as a chunk. Words that look like headers
/// by chance do not lead to each other: in dumps of programs with large integer tables, six were never exceeded.
const PROOF_LENGTH: usize = 24;
/// A used chunk up to this size is doubted when the header behind it is broken. Behind a larger one the broken header
/// itself is: old headers survive inside large blocks, and would be taken for chunks.
const DOUBT_BYTES: u64 = 1024;

pub(super) const PAGE: u64 = 4096;

/// What holds for the chunks of one piece of memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// The piece belongs to a main arena: none of its chunks is marked as another arena's.
    pub(super) main: bool,
    /// The chunk at the end of the arena, where it lies in this piece.
    pub(super) top: Option<u64>,
    /// The first address behind the piece.
    pub(super) end: u64,
    /// Behind an end marker the piece goes on: others have called `sbrk` in between.
    pub(super) goes_on: bool,
}

/// How a walk ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// At the first chunk that begins at or behind the place where it had to stop.
    Boundary(u64),
    /// Behind the top chunk.
    Top(u64),
    /// Behind the markers that close a piece.
    Fence(u64),
    /// Where the dump has no more memory.
    Missing(u64),
}

/// What a walk leaves beside the allocations.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) damage: Vec<Damage>,
    pub(super) damage_count: u64,
    /// Memory inside the piece that is not the arena's: someone else called `sbrk`.
    pub(super) foreign: Vec<Span>,
    /// Steps that proofs may still take, so that a hostile dump costs linear time.
    budget: u64,
}

impl Log {
    pub(super) fn for_bytes(bytes: u64) -> Log {
        Log { budget: bytes / 4 + 100_000, ..Log::default() }
    }

    fn note(&mut self, damage: Damage) {
        self.damage_count += 1;
        if self.damage.len() < DAMAGE_LIMIT {
            self.damage.push(damage);
        }
    }

    pub(super) fn append(&mut self, other: Log) {
        self.damage_count += other.damage_count;
        let room = DAMAGE_LIMIT.saturating_sub(self.damage.len());
        self.damage.extend(other.damage.into_iter().take(room));
        self.foreign.extend(other.foreign);
    }
}

enum Header {
    Chunk(u64),
    /// Too small for a chunk: the markers at the end of a piece are.
    Small,
    Broken,
}

#[inline(always)]
fn parse<W: Words>(header: u64, at: u64, rules: &Rules) -> Header {
    let size = header & !FLAGS;
    if header & MAPPED != 0 || (rules.main && header & SECONDARY != 0) || size & (2 * W::WIDTH - 1) != 0 {
        return Header::Broken;
    }
    if size < 4 * W::WIDTH {
        return Header::Small;
    }
    if size > rules.end.saturating_sub(at) { Header::Broken } else { Header::Chunk(size) }
}

/// A walk through one piece.
pub(super) struct Walker<'a, 'm> {
    pub(super) reader: Reader<'m>,
    pub(super) stretch: &'a Stretch<'m>,
    pub(super) rules: Rules,
    hint: usize,
}

impl<'a, 'm> Walker<'a, 'm> {
    pub(super) fn new(reader: Reader<'m>, stretch: &'a Stretch<'m>, rules: Rules) -> Walker<'a, 'm> {
        Walker { reader, stretch, rules, hint: 0 }
    }

    #[inline(always)]
    fn word<W: Words>(&mut self, addr: u64) -> Option<u64> {
        self.stretch.word::<W>(addr, &mut self.hint)
    }

    /// Walks from the chunk at `from` to the first chunk at or behind `until`, and writes what it finds to `runs`.
    pub(super) fn walk<W: Words>(&mut self, from: u64, until: u64, runs: &mut Runs, log: &mut Log) -> End {
        // The chunk whose state the next header will tell.
        let mut pending: Option<(u64, u64)> = None;
        let mut at = from;
        loop {
            let Some(header) = self.word::<W>(at.saturating_add(W::WIDTH)) else {
                return self.end_of_memory::<W>(pending, at, runs);
            };
            if at >= until {
                self.settle::<W>(pending, at, header, runs, log);
                return End::Boundary(at);
            }
            if self.rules.top == Some(at) {
                self.settle::<W>(pending, at, header, runs, log);
                return self.top::<W>(at, header, runs, log);
            }
            match parse::<W>(header, at, &self.rules) {
                Header::Chunk(size) => {
                    self.settle::<W>(pending, at, header, runs, log);
                    pending = Some((at, size));
                    at += size;
                    continue;
                }
                Header::Small => {
                    if let Some(end) = self.fence_end::<W>(at, header) {
                        // The last marker of a heap follows the one before it, which may be as large as a chunk.
                        if header & !FLAGS != 0 || self.rules.main {
                            self.settle::<W>(pending, at, header, runs, log);
                        }
                        if !self.rules.goes_on {
                            return End::Fence(end);
                        }
                        match self.find_first::<W>(end, self.stretch.span.end().0, log) {
                            Some(next) => {
                                log.foreign.extend(Span::new(Addr(end), Addr(next)).filter(|span| !span.is_empty()));
                                (pending, at) = (None, next);
                                continue;
                            }
                            None => return End::Fence(end),
                        }
                    }
                }
                Header::Broken => {}
            }
            let (next, kept) = self.recover::<W>(pending, at, header, runs, log);
            pending = kept;
            at = next;
        }
    }

    /// Writes down a chunk whose successor at `next` has been reached.
    #[inline(always)]
    fn settle<W: Words>(
        &mut self,
        pending: Option<(u64, u64)>,
        next: u64,
        header: u64,
        runs: &mut Runs,
        log: &mut Log,
    ) {
        let Some((at, size)) = pending else { return };
        let mut state = State::Used;
        if header & PREVIOUS_IN_USE == 0 {
            state = State::Free;
            let foot = self.word::<W>(next);
            if foot != Some(size) {
                state = self.doubtful_state::<W>(at);
                log.note(Damage {
                    kind: DamageKind::Footer,
                    at: Addr(next),
                    found: foot.unwrap_or_default(),
                    expected: Some(size),
                    in_front: Some(Addr(at + 2 * W::WIDTH)),
                    resumed: Some(Addr(next + 2 * W::WIDTH)),
                    lost_bytes: 0,
                });
            }
        }
        runs.push(Addr(at + 2 * W::WIDTH), size - W::WIDTH, state);
    }

    /// What a chunk is whose successor is broken: free if the two others on its list point at it.
    fn doubtful_state<W: Words>(&self, at: u64) -> State {
        let linked = |offset: u64, back: u64| {
            let other = self.reader.word(at.checked_add(offset)?)?;
            self.reader.word(other.checked_add(back)?)
        };
        let width = W::WIDTH;
        let free = linked(2 * width, 3 * width) == Some(at) && linked(3 * width, 2 * width) == Some(at);
        if free { State::Free } else { State::Used }
    }

    fn end_of_memory<W: Words>(&mut self, pending: Option<(u64, u64)>, at: u64, runs: &mut Runs) -> End {
        if let Some((chunk, size)) = pending {
            let (size, state) = match self.rules.top {
                // The arena's own word on its top is broken; what reaches exactly to the end can only be that.
                None if at == self.rules.end => (size - 2 * W::WIDTH, State::Top),
                _ => (size - W::WIDTH, State::Used),
            };
            runs.push(Addr(chunk + 2 * W::WIDTH), size, state);
        }
        End::Missing(at)
    }

    fn top<W: Words>(&mut self, at: u64, header: u64, runs: &mut Runs, log: &mut Log) -> End {
        let mut size = header & !FLAGS;
        if size > self.rules.end.saturating_sub(at) || size < 2 * W::WIDTH || header & MAPPED != 0 {
            let whole = self.rules.end.saturating_sub(at);
            log.note(Damage {
                kind: DamageKind::Header,
                at: Addr(at + W::WIDTH),
                found: header,
                expected: Some(whole | PREVIOUS_IN_USE),
                in_front: None,
                resumed: None,
                lost_bytes: 0,
            });
            size = whole;
        }
        runs.push(Addr(at + 2 * W::WIDTH), size.saturating_sub(2 * W::WIDTH), State::Top);
        End::Top(at + size)
    }

    /// The first address behind the markers that begin at `at`; `None` where these are none.
    ///
    /// glibc `sysmalloc`: a main arena that goes on elsewhere closes its old piece with two chunks of two words; a heap
    /// of another arena with one such, or a small chunk, and a header of size 0.
    fn fence_end<W: Words>(&mut self, at: u64, header: u64) -> Option<u64> {
        let marker = 2 * W::WIDTH;
        let mut end = at;
        let mut header = header;
        if self.rules.main {
            let mut markers = 0;
            while header & !(FLAGS & !SECONDARY) == marker && markers < 3 {
                end += marker;
                markers += 1;
                header = self.word::<W>(end + W::WIDTH).unwrap_or_default();
            }
            let page_end = end.checked_next_multiple_of(PAGE)?;
            return (markers >= 2 && page_end - end < 16 && page_end <= self.rules.end).then_some(page_end);
        }
        if header & !FLAGS == marker {
            end += marker;
            header = self.word::<W>(end + W::WIDTH)?;
        }
        end += marker;
        (header == PREVIOUS_IN_USE && self.rules.end.checked_sub(end)? < 16).then_some(self.rules.end)
    }

    /// Finds where to go on behind a broken header at `at`, and writes down what lies between.
    #[cold]
    fn recover<W: Words>(
        &mut self,
        pending: Option<(u64, u64)>,
        at: u64,
        header: u64,
        runs: &mut Runs,
        log: &mut Log,
    ) -> (u64, Option<(u64, u64)>) {
        let least = 4 * W::WIDTH;
        let in_front = pending.map(|(chunk, _)| Addr(chunk + 2 * W::WIDTH));
        // Where a small chunk leads to nonsense, its own size may be what is wrong.
        if let Some((chunk, size)) = pending.filter(|(_, size)| *size <= DOUBT_BYTES)
            && let Some(next) = self.find_proven::<W>(chunk + least, at, log)
        {
            let found = self.word::<W>(chunk + W::WIDTH).unwrap_or_default();
            log.note(Damage {
                kind: DamageKind::Header,
                at: Addr(chunk + W::WIDTH),
                found,
                expected: Some((next - chunk) | (found & FLAGS)),
                in_front: None,
                resumed: Some(Addr(next + 2 * W::WIDTH)),
                lost_bytes: 0,
            });
            debug_assert!(next < chunk + size);
            return (next, Some((chunk, next - chunk)));
        }
        if let Some((chunk, size)) = pending {
            let state = match self.word::<W>(at) {
                Some(foot) if foot == size => self.doubtful_state::<W>(chunk),
                _ => State::Used,
            };
            runs.push(Addr(chunk + 2 * W::WIDTH), size - W::WIDTH, state);
        }
        let limit = self.stretch.span.end().0.min(self.rules.end);
        let next = self.find_proven::<W>(at.saturating_add(least), limit, log).unwrap_or(limit);
        // The top is known without its chain.
        let next = match self.rules.top {
            Some(top) if top > at && top < next => top,
            _ => next,
        };
        let width = W::WIDTH;
        let successor = self.word::<W>(next.saturating_add(width));
        // The successor may tell that the run is one free chunk.
        let whole = next - at;
        let free = successor.is_some_and(|header| header & PREVIOUS_IN_USE == 0)
            && self.word::<W>(next) == Some(whole)
            && self.doubtful_state::<W>(at) == State::Free;
        if whole >= least {
            let state = if free { State::Free } else { State::Damaged };
            runs.push(Addr(at + 2 * width), whole - width, state);
        }
        log.note(Damage {
            kind: DamageKind::Header,
            at: Addr(at + width),
            found: header,
            expected: free.then_some(whole | PREVIOUS_IN_USE),
            in_front,
            resumed: successor.map(|_| Addr(next + 2 * width)),
            lost_bytes: if free { 0 } else { whole },
        });
        (next, None)
    }

    /// The first place in `from..until` whose headers lead on for long enough to be chunks.
    pub(super) fn find_proven<W: Words>(&mut self, from: u64, until: u64, log: &mut Log) -> Option<u64> {
        let step = 2 * W::WIDTH;
        let mut at = from.checked_next_multiple_of(step)?;
        while at < until {
            let header = self.word::<W>(at + W::WIDTH)?;
            if (header & !FLAGS >= 2 * step || self.rules.top == Some(at)) && self.proves::<W>(at, log) {
                return Some(at);
            }
            at += step;
        }
        None
    }

    /// The first place in `from..until` where a piece may begin: proven, and with no chunk before it.
    pub(super) fn find_first<W: Words>(&mut self, from: u64, until: u64, log: &mut Log) -> Option<u64> {
        let mut at = from;
        loop {
            at = self.find_proven::<W>(at, until, log)?;
            if self.begins_piece::<W>(at) {
                return Some(at);
            }
            at += 2 * W::WIDTH;
        }
    }

    /// The first chunk of a piece has none before it that could be free.
    pub(super) fn begins_piece<W: Words>(&mut self, at: u64) -> bool {
        self.word::<W>(at.saturating_add(W::WIDTH)).is_some_and(|header| header & PREVIOUS_IN_USE != 0)
    }

    /// Whether one header alone looks like that of a piece's first chunk.
    pub(super) fn looks_first<W: Words>(&mut self, at: u64) -> bool {
        let header = at.checked_add(W::WIDTH).and_then(|place| self.word::<W>(place));
        header.is_some_and(|header| {
            header & PREVIOUS_IN_USE != 0 && matches!(parse::<W>(header, at, &self.rules), Header::Chunk(_))
        })
    }

    /// Whether the headers from `at` on fit together: [`PROOF_LENGTH`] of them, or all up to the top or to a marker.
    pub(super) fn proves<W: Words>(&mut self, at: u64, log: &mut Log) -> bool {
        let mut at = at;
        let mut previous = None;
        for _ in 0..PROOF_LENGTH {
            if log.budget == 0 {
                return false;
            }
            log.budget -= 1;
            if self.rules.top == Some(at) {
                return true;
            }
            let Some(header) = at.checked_add(W::WIDTH).and_then(|place| self.word::<W>(place)) else { return false };
            if header & PREVIOUS_IN_USE == 0 && previous.is_some_and(|size| self.word::<W>(at) != Some(size)) {
                return false;
            }
            match parse::<W>(header, at, &self.rules) {
                Header::Chunk(size) => {
                    previous = Some(size);
                    at += size;
                }
                Header::Small => return previous.is_some() && self.fence_end::<W>(at, header).is_some(),
                Header::Broken => return false,
            }
        }
        true
    }
}
