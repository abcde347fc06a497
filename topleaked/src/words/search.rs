//! The values at an offset from each match of a word.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::addr::{ByteOrder, Target};
use crate::task::Task;

use super::count::{count_found, raw_to_value};
use super::source::{PIECE_BYTES, Parts, Place, Sink, Walk};
use super::spill::Spooled;
use super::stream_search::{self, search_stream};
use super::table::Range;
use super::{Cost, Count, Error, Isa, Means, Source, Tail};

/// What is read at a match.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Member {
    /// An integer, a float or a pointer of that many bytes: 1, 2, 4 or 8 (anything else is taken as the next of these).
    /// The value is its bits, zero-extended.
    Bits(u8),
    /// The bytes up to a zero byte, at most `max_bytes` (itself at most 4096).
    CString {
        /// Where the string is cut.
        max_bytes: u16,
    },
}

impl Member {
    pub(super) fn size_bytes(self) -> u64 {
        match self {
            Member::Bits(size) => u64::from(size.clamp(1, 8)).next_power_of_two(),
            Member::CString { max_bytes } => u64::from(max_bytes).clamp(1, 4096),
        }
    }
}

/// A member, and where it lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberAt {
    /// Bytes from the first byte of the match; may be negative, and any distance.
    pub offset: i64,
    /// What is read there.
    pub member: Member,
}

/// What [`count_members`] is asked.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// The word that is looked for, at steps of the target's width from the start of each part.
    pub value: u64,
    /// What is read at each match; `None` only counts the matches.
    pub member: Option<MemberAt>,
    /// How many of the most frequent values are wanted.
    pub n: u64,
    /// Width and byte order, of the word and of the member.
    pub target: Target,
    /// What leftover bytes mean. A member that lies in them reads as 0 under [`Tail::Zero`].
    pub tail: Tail,
    /// A path that is forced, for tests and measurements.
    pub isa: Option<Isa>,
}

/// How often a string occurs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StringCount {
    /// Its bytes, as they are in the dump: neither text nor safe for a terminal.
    pub bytes: Vec<u8>,
    /// How many times it occurs.
    pub count: u64,
}

/// The answer of [`count_members`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberCounts {
    /// The most frequent values: by count descending, then by value ascending. Empty for strings.
    pub top: Vec<Count>,
    /// The most frequent strings: by count descending, then by their bytes ascending.
    pub strings: Vec<StringCount>,
    /// How often the word occurs.
    pub matches: u64,
    /// How many members were read: less than `matches` where some lie outside the part.
    pub members: u64,
    /// What it cost.
    pub cost: Cost,
}

/// Looks for a word, and counts the values of a member at a fixed offset from each of its occurrences.
///
/// A member is read where it starts at the part's first byte or after it, not after the beginning of the part's last
/// word, and fits. Memory stays within the task's budget.
///
/// # Errors
/// [`Error`].
pub fn count_members(source: Source<'_>, search: &Search, task: &Task) -> Result<MemberCounts, Error> {
    let results = match search.member.map(|at| at.member) {
        // Each takes its bytes and some more.
        Some(Member::CString { max_bytes }) => search.n.saturating_mul(2 + u64::from(max_bytes) / 64),
        _ => search.n,
    };
    let means = Means::of(task, results)?;
    match source {
        Source::Extents(extents) => search_parts(Parts::Extents(extents), search, means, task),
        Source::Slices(slices) => search_parts(Parts::Slices(slices), search, means, task),
        Source::Mapped(extents) => search_parts(Parts::Mapped(extents), search, means, task),
        Source::Stream(stream) if stream_search::is_near(search) => search_stream(stream, search, means, task),
        Source::Stream(stream) => {
            let spooled = Spooled::read(stream, means.piece_bytes, task)?;
            let means = Means::share(task.memory_budget_bytes - spooled.memory_bytes(), task, results);
            let mut counts = spooled.with_parts(|parts| search_parts(parts, search, means, task))?;
            counts.cost.spilled_bytes = spooled.spilled_bytes();
            Ok(counts)
        }
    }
}

fn search_parts(parts: Parts<'_>, search: &Search, mut means: Means, task: &Task) -> Result<MemberCounts, Error> {
    let width = search.target.width.bytes() as u64;
    let tail_counts = search.tail == Tail::Zero;
    // A match of 0 in a hole has members as any other.
    let skip_holes = search.value != 0;
    let walk = Walk { parts, width, tail_counts, skip_holes, piece_bytes: means.piece_bytes, every: 1 };
    let group_bytes = (means.piece_bytes / 4).max(4 << 10) & !511;
    // Positions, values, and members that lie elsewhere.
    let finder_bytes = group_bytes * 3 + means.piece_bytes;
    means.table_bytes = means.table_bytes.saturating_sub(finder_bytes as u64).max(4 << 10);
    let find = Find {
        parts,
        search: *search,
        isa: search.isa.filter(|isa| isa.is_available()).unwrap_or_else(Isa::best),
        raw: match search.value <= search.target.width.max_word() {
            // Swapping is its own inverse.
            true => raw_to_value(search.target, search.value),
            // No word of 4 bytes is that large.
            false => u64::MAX,
        },
        width,
        group_bytes,
        window_bytes: means.piece_bytes.min(PIECE_BYTES),
        matches: AtomicU64::new(0),
        members: AtomicU64::new(0),
    };
    let mut answer =
        MemberCounts { top: Vec::new(), strings: Vec::new(), matches: 0, members: 0, cost: Cost::default() };
    match search.member.map(|at| at.member) {
        Some(Member::Bits(_)) if search.n > 0 => answer.top = count_found(walk, &find, means, task, &mut answer.cost)?,
        Some(Member::CString { .. }) if search.n > 0 => {
            answer.strings = strings(walk, &find, means, task, &mut answer.cost)?;
        }
        _ => {
            task.progress.start("searching", parts.total_bytes());
            find.run(&walk, task, (0..means.threads).map(|_| Out::Nothing).collect())?;
            answer.cost.passes = 1;
        }
    }
    answer.cost.peak_bytes += (means.threads * finder_bytes) as u64;
    answer.matches = find.matches.load(Ordering::Relaxed);
    answer.members = find.members.load(Ordering::Relaxed);
    Ok(answer)
}

/// The most frequent strings at the matches, in as many passes as it takes.
fn strings(
    walk: Walk<'_>,
    find: &Find<'_>,
    means: Means,
    task: &Task,
    cost: &mut Cost,
) -> Result<Vec<StringCount>, Error> {
    let mut strings: Vec<StringCount> = Vec::new();
    let mut first = 0;
    loop {
        task.progress.start("searching", walk.parts.total_bytes());
        let range = Range::from(first);
        let new = || Strings { counts: HashMap::new(), bytes: 0, most_bytes: means.table_bytes, first, range: &range };
        let mut all: Vec<_> = (0..means.threads).map(|_| new()).collect();
        find.run(&walk, task, all.iter_mut().map(Out::<Strings<'_>>::Strings).collect())?;
        cost.passes += 1;
        cost.peak_bytes = cost.peak_bytes.max(all.iter().map(|strings| strings.bytes).sum());
        let mut all = all.into_iter();
        let Some(mut sum) = all.next() else { break };
        for (bytes, count) in all.flat_map(|strings| strings.counts) {
            sum.add(&bytes, count);
        }
        let last = range.last();
        let settled = sum.counts.into_iter().filter(|(bytes, _)| hash(bytes) <= last);
        strings.extend(settled.map(|(bytes, count)| StringCount { bytes: bytes.into(), count }));
        strings.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.bytes.cmp(&b.bytes)));
        strings.truncate(usize::try_from(find.search.n).unwrap_or(usize::MAX));
        let held: u64 = strings.iter().map(|string| Strings::cost(&string.bytes)).sum();
        if held > means.result_bytes {
            return Err(Error::Results { needed: held.saturating_mul(4) });
        }
        match last.checked_add(1) {
            Some(next) => first = next,
            None => break,
        }
    }
    Ok(strings)
}

/// Counts of strings whose hash lies in the pass's range.
struct Strings<'a> {
    counts: HashMap<Box<[u8]>, u64>,
    bytes: u64,
    most_bytes: u64,
    first: u64,
    range: &'a Range,
}

/// Which pass a string belongs to. Keyed for each process, so that nobody can write strings that have equal hashes.
fn hash(bytes: &[u8]) -> u64 {
    static KEYS: OnceLock<RandomState> = OnceLock::new();
    KEYS.get_or_init(RandomState::new).hash_one(bytes)
}

impl Strings<'_> {
    /// What an entry takes: key, count, control bytes and spare room of the map, allocator headers.
    fn cost(bytes: &[u8]) -> u64 {
        bytes.len() as u64 + 96
    }

    fn add(&mut self, bytes: &[u8], count: u64) {
        let hash_of_new = hash(bytes);
        if hash_of_new < self.first || hash_of_new > self.range.last() {
            return;
        }
        if let Some(sum) = self.counts.get_mut(bytes) {
            *sum += count;
            return;
        }
        self.counts.insert(bytes.into(), count);
        self.bytes += Strings::cost(bytes);
        while self.bytes > self.most_bytes && self.counts.len() > 1 {
            let mut hashes: Vec<u64> = self.counts.keys().map(|bytes| hash(bytes)).collect();
            hashes.sort_unstable();
            let middle = hashes.get((hashes.len() - 1) / 2).copied().unwrap_or(0);
            // At least those with the greatest hash go.
            let below = |most: u64| hashes.iter().rev().find(|hash| **hash <= most && Some(*hash) != hashes.last());
            // Of equal hashes, which nobody can bring about, none can go.
            let Some(kept) = below(middle).or_else(|| below(u64::MAX)) else { return };
            let last = self.range.last.fetch_min(*kept, Ordering::Relaxed).min(*kept);
            self.counts.retain(|bytes, _| hash(bytes) <= last);
            self.counts.shrink_to_fit();
            self.bytes = self.counts.keys().map(|bytes| Strings::cost(bytes)).sum();
        }
    }
}

/// A sink that takes no words, for where the strings are taken.
impl Sink for Strings<'_> {
    fn words(&mut self, _: Place, _: &[u8]) -> Result<(), Error> {
        Ok(())
    }

    fn zeros(&mut self, _: Place, _: u64) -> Result<(), Error> {
        Ok(())
    }
}

/// What is looked for, and how much of it the last whole walk found.
pub(super) struct Find<'a> {
    parts: Parts<'a>,
    pub(super) search: Search,
    pub(super) isa: Isa,
    /// The word that is looked for, as this machine loads it.
    raw: u64,
    width: u64,
    /// Bytes that are searched at once.
    group_bytes: usize,
    /// Bytes of members that lie elsewhere which are read at once.
    window_bytes: usize,
    matches: AtomicU64,
    members: AtomicU64,
}

/// Where the members go.
pub(super) enum Out<'a, S> {
    Nothing,
    /// Each value as a word of 8 bytes, in this machine's byte order.
    Values(&'a mut S),
    Strings(&'a mut S),
}

impl Find<'_> {
    /// One walk, a finder for each of `outs`.
    fn run(&self, walk: &Walk<'_>, task: &Task, outs: Vec<Out<'_, Strings<'_>>>) -> Result<(), Error> {
        self.run_into(walk, task, outs, |strings, bytes| strings.add(bytes, 1))
    }

    /// One walk that gives the values to `sinks` as if they were the words.
    pub(super) fn run_values<S: Sink>(&self, walk: &Walk<'_>, task: &Task, sinks: &mut [S]) -> Result<(), Error> {
        self.run_into(walk, task, sinks.iter_mut().map(Out::Values).collect(), |_, _| ())
    }

    fn run_into<S: Sink>(
        &self,
        walk: &Walk<'_>,
        task: &Task,
        outs: Vec<Out<'_, S>>,
        string: fn(&mut S, &[u8]),
    ) -> Result<(), Error> {
        let finder = |out| Finder {
            find: self,
            out,
            string,
            positions: Vec::new(),
            window: Vec::new(),
            values: Vec::new(),
            matches: 0,
            members: 0,
        };
        let mut finders: Vec<_> = outs.into_iter().map(finder).collect();
        walk.run(task, &mut finders)?;
        if walk.every == 1 {
            self.matches.store(finders.iter().map(|finder| finder.matches).sum(), Ordering::Relaxed);
            self.members.store(finders.iter().map(|finder| finder.members).sum(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// The part's words in bytes, leftover bytes not included, and all its words, they included.
    fn part_bytes(&self, part: usize) -> (u64, u64) {
        let size = self.parts.size_bytes(part);
        let whole = size - size % self.width;
        let tail = size > whole && self.search.tail == Tail::Zero;
        (whole, whole + if tail { self.width } else { 0 })
    }

    /// Where the member of a match at `position` starts, if it is one that is read.
    fn member_start(&self, at: MemberAt, position: u64, padded: u64) -> Option<u64> {
        let start = position.checked_add_signed(at.offset)?;
        if start > padded.checked_sub(self.width)? {
            return None;
        }
        let fits = match at.member {
            Member::Bits(_) => start.checked_add(at.member.size_bytes())? <= padded,
            Member::CString { .. } => true,
        };
        fits.then_some(start)
    }
}

struct Finder<'a, S> {
    find: &'a Find<'a>,
    out: Out<'a, S>,
    /// Takes a string.
    string: fn(&mut S, &[u8]),
    /// Byte offsets of the matches in the bytes at hand.
    positions: Vec<u32>,
    /// Bytes of members that lie elsewhere.
    window: Vec<u8>,
    /// Values that were found, for the sink: in this machine's byte order.
    values: Vec<[u8; 8]>,
    matches: u64,
    members: u64,
}

impl<S: Sink> Finder<'_, S> {
    /// Takes a member; what of it lies behind the last whole word is missing, and reads as 0.
    fn take(&mut self, member: Member, bytes: &[u8]) {
        self.members += 1;
        match (&mut self.out, member) {
            (Out::Values(_), Member::Bits(_)) => {
                let size = (member.size_bytes() as usize).min(8);
                let mut raw = [0; 8];
                let value = match self.find.search.target.order {
                    ByteOrder::Little => {
                        raw.iter_mut().zip(bytes).take(size).for_each(|(to, from)| *to = *from);
                        u64::from_le_bytes(raw)
                    }
                    ByteOrder::Big => {
                        raw.iter_mut().skip(8 - size).zip(bytes).for_each(|(to, from)| *to = *from);
                        u64::from_be_bytes(raw)
                    }
                };
                self.values.push(value.to_ne_bytes());
            }
            (Out::Strings(strings), Member::CString { .. }) => {
                let size = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
                (self.string)(strings, bytes.get(..size).unwrap_or_default());
            }
            _ => {}
        }
    }

    /// Takes the members of the matches at `positions` of `bytes`, which lie at `place`.
    fn members(&mut self, place: Place, bytes: &[u8], at: MemberAt) -> Result<(), Error> {
        let (whole, padded) = self.find.part_bytes(place.part);
        let size = at.member.size_bytes();
        let piece_end = place.offset + bytes.len() as u64;
        let positions = std::mem::take(&mut self.positions);
        let mut window = std::mem::take(&mut self.window);
        let takes_values = matches!((&self.out, at.member), (Out::Values(_), Member::Bits(_)));
        let target = self.find.search.target;
        let offset = isize::try_from(at.offset).ok().filter(|_| takes_values);
        // Most members lie in the bytes at hand.
        let mut near_ones = 0..0;
        if let Some(offset) = offset {
            // The positions whose member, with 8 bytes from its start on, is inside.
            let last = (bytes.len() as i128 - 8 - offset as i128).min(u32::MAX.into());
            let from = positions.partition_point(|position| i128::from(*position) + (offset as i128) < 0);
            let to = positions.partition_point(|position| i128::from(*position) <= last).max(from);
            near_ones = from..to;
            let unused_bits = 64 - 8 * size as u32;
            let near = positions.get(from..to).unwrap_or_default();
            let start = |position: &u32| (*position as usize).wrapping_add_signed(offset);
            let raw =
                |position| bytes.get(start(position)..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
            let values = near.iter().map(raw).map(|raw: [u8; 8]| match target.order {
                ByteOrder::Little => u64::from_le_bytes(raw) & (u64::MAX >> unused_bits),
                ByteOrder::Big => u64::from_be_bytes(raw) >> unused_bits,
            });
            self.values.extend(values.map(u64::to_ne_bytes));
            self.members += near.len() as u64;
        }
        // What is in the window now, as offsets in the part.
        let mut held = 0..0;
        for (index, position) in positions.iter().enumerate().filter(|(index, _)| !near_ones.contains(index)) {
            let start = self.find.member_start(at, place.offset + u64::from(*position), padded);
            let Some(start) = start else { continue };
            let end = start.saturating_add(size).min(whole);
            let member = if start >= place.offset && end <= piece_end {
                bytes.get((start - place.offset) as usize..end.max(start).saturating_sub(place.offset) as usize)
            } else {
                if start < held.start || end > held.end {
                    // All that the rest of the matches need, but not more than a piece.
                    let last = positions.get(index..).and_then(|rest| rest.last()).copied().unwrap_or(*position);
                    let far = start.saturating_add(u64::from(last - position)).saturating_add(size);
                    let far = far.min(start.saturating_add(self.find.window_bytes as u64 + size)).min(whole).max(start);
                    window.resize((far - start) as usize, 0);
                    self.find.parts.read(place.part, start, &mut window)?;
                    held = start..far;
                }
                let from = (start - held.start) as usize;
                window.get(from..from + end.saturating_sub(start) as usize)
            };
            // What lies behind the last whole word reads as 0.
            self.take(at.member, member.unwrap_or_default());
        }
        self.positions = positions;
        self.window = window;
        if let Out::Values(sink) = &mut self.out {
            sink.words(place, self.values.as_flattened())?;
        }
        self.values.clear();
        Ok(())
    }
}

impl<S: Sink> Sink for Finder<'_, S> {
    fn words(&mut self, place: Place, bytes: &[u8]) -> Result<(), Error> {
        let (isa, width, group_bytes) = (self.find.isa, self.find.width, self.find.group_bytes);
        for (group, start) in bytes.chunks(group_bytes).zip((0..).step_by(group_bytes)) {
            self.positions.clear();
            super::kernel::find_matches(isa, width, group, self.find.raw, &mut self.positions);
            self.matches += self.positions.len() as u64;
            if let Some(at) = self.find.search.member.filter(|_| !self.positions.is_empty()) {
                self.positions.iter_mut().for_each(|position| *position += start);
                self.members(place, bytes, at)?;
            }
        }
        Ok(())
    }

    fn zeros(&mut self, place: Place, count: u64) -> Result<(), Error> {
        if self.find.search.value != 0 {
            return Ok(());
        }
        // Only the leftover bytes: holes are read.
        self.matches += count;
        self.positions.clear();
        self.positions.push(0);
        match self.find.search.member {
            Some(at) => self.members(place, &[], at),
            None => Ok(()),
        }
    }
}
