//! The values at an offset from each match of a word.

use std::collections::HashMap;

use crate::addr::{ByteOrder, Target};
use crate::task::Task;

use super::source::{Parts, Place, Sink, Walk};
use super::spill::Spooled;
use super::table::{Range, Table};
use super::top::Top;
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
    fn size_bytes(self) -> u64 {
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
    let means = Means::of(task, search.n)?;
    match source {
        Source::Extents(extents) => search_parts(Parts::Extents(extents), search, means, task),
        Source::Slices(slices) => search_parts(Parts::Slices(slices), search, means, task),
        Source::Mapped(extents) => search_parts(Parts::Mapped(extents), search, means, task),
        Source::Stream(stream) => {
            let spooled = Spooled::read(stream, means.piece_bytes, task)?;
            let means = Means::share(task.memory_budget_bytes - spooled.memory_bytes(), task, search.n);
            let mut counts = spooled.with_parts(|parts| search_parts(parts, search, means, task))?;
            counts.cost.spilled_bytes = spooled.spilled_bytes();
            Ok(counts)
        }
    }
}

fn search_parts(parts: Parts<'_>, search: &Search, means: Means, task: &Task) -> Result<MemberCounts, Error> {
    let width = search.target.width.bytes() as u64;
    let tail_counts = search.tail == Tail::Zero;
    // A match of 0 in a hole has members as any other.
    let skip_holes = search.value != 0;
    let walk = Walk { parts, width, tail_counts, skip_holes, piece_bytes: means.piece_bytes, every: 1 };
    let mut answer =
        MemberCounts { top: Vec::new(), strings: Vec::new(), matches: 0, members: 0, cost: Cost::default() };
    let mut top = Top::new(search.n, means.result_bytes);
    let mut strings: Vec<StringCount> = Vec::new();
    let isa = search.isa.filter(|isa| isa.is_available()).unwrap_or_else(Isa::best);
    let raw = if search.value <= search.target.width.max_word() {
        // Swapping is its own inverse.
        super::count::raw_to_value(search.target, search.value)
    } else {
        // No word of 4 bytes is that large.
        u64::MAX
    };
    let mut first = 0;
    loop {
        task.progress.start("searching", parts.total_bytes());
        let range = Range::from(first);
        let mut sinks: Vec<_> = (0..means.threads)
            .map(|_| Finder {
                parts,
                search: *search,
                isa,
                raw,
                width,
                range: &range,
                table: Table::new(means.table_bytes.saturating_sub(means.piece_bytes as u64), &range),
                strings: Strings { counts: HashMap::new(), bytes: 0, most_bytes: means.table_bytes, first },
                positions: Vec::new(),
                window: Vec::new(),
                matches: 0,
                members: 0,
            })
            .collect();
        walk.run(task, &mut sinks)?;
        answer.cost.passes += 1;
        let bytes = sinks.iter().map(|sink| sink.table.peak_bytes() + sink.strings.bytes).sum();
        answer.cost.peak_bytes = answer.cost.peak_bytes.max(bytes);
        if first == 0 {
            answer.matches = sinks.iter().map(|sink| sink.matches).sum();
            answer.members = sinks.iter().map(|sink| sink.members).sum();
        }
        let mut sinks = sinks.into_iter();
        let Some(mut all) = sinks.next() else { break };
        for other in sinks {
            all.table.merge(&other.table, &range);
            for (bytes, count) in other.strings.counts {
                all.strings.add(&bytes, count, &range);
            }
        }
        for (value, count) in all.table.counts() {
            top.offer(value, count)?;
        }
        let last = range.last();
        let new = all.strings.counts.into_iter().filter(|(bytes, _)| hash(bytes) <= last);
        strings.extend(new.map(|(bytes, count)| StringCount { bytes: bytes.into(), count }));
        strings.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.bytes.cmp(&b.bytes)));
        strings.truncate(usize::try_from(search.n).unwrap_or(usize::MAX));
        let held: u64 = strings.iter().map(|string| Strings::cost(&string.bytes)).sum();
        if held > means.result_bytes {
            return Err(Error::Results { needed: held.saturating_mul(4) });
        }
        match last.checked_add(1) {
            Some(next) => first = next,
            None => break,
        }
    }
    answer.top = top.finish();
    answer.strings = strings;
    Ok(answer)
}

/// Counts of strings whose hash lies in the pass's range.
struct Strings {
    counts: HashMap<Box<[u8]>, u64>,
    bytes: u64,
    most_bytes: u64,
    first: u64,
}

/// FNV-1a with a final mix: which pass a string belongs to.
fn hash(bytes: &[u8]) -> u64 {
    let sum = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    super::table::mix(sum)
}

impl Strings {
    /// What an entry takes: key, count, control bytes and spare room of the map, allocator headers.
    fn cost(bytes: &[u8]) -> u64 {
        bytes.len() as u64 + 96
    }

    fn add(&mut self, bytes: &[u8], count: u64, range: &Range) {
        let hash_of_new = hash(bytes);
        if hash_of_new < self.first || hash_of_new > range.last() {
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
            let middle = (hashes.len() - 1) / 2;
            let (_, half, _) = hashes.select_nth_unstable(middle);
            let last = range.last.fetch_min(*half, std::sync::atomic::Ordering::Relaxed).min(*half);
            self.counts.retain(|bytes, _| hash(bytes) <= last);
            self.counts.shrink_to_fit();
            self.bytes = self.counts.keys().map(|bytes| Strings::cost(bytes)).sum();
        }
    }
}

struct Finder<'a> {
    parts: Parts<'a>,
    search: Search,
    isa: Isa,
    /// The word that is looked for, as this machine loads it.
    raw: u64,
    width: u64,
    range: &'a Range,
    table: Table,
    strings: Strings,
    /// Byte offsets of the matches in the bytes at hand.
    positions: Vec<u32>,
    /// Bytes of members that lie elsewhere.
    window: Vec<u8>,
    matches: u64,
    members: u64,
}

impl Finder<'_> {
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

    fn count(&mut self, member: Member, bytes: &[u8]) {
        self.members += 1;
        match member {
            Member::Bits(_) => {
                let size = (member.size_bytes() as usize).min(8);
                let mut raw = [0; 8];
                let value = match self.search.target.order {
                    ByteOrder::Little => {
                        raw.iter_mut().zip(bytes).take(size).for_each(|(to, from)| *to = *from);
                        u64::from_le_bytes(raw)
                    }
                    ByteOrder::Big => {
                        raw.iter_mut().skip(8 - size).zip(bytes).for_each(|(to, from)| *to = *from);
                        u64::from_be_bytes(raw)
                    }
                };
                self.table.add(value, 1, self.range);
            }
            Member::CString { .. } => {
                let size = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
                self.strings.add(bytes.get(..size).unwrap_or_default(), 1, self.range);
            }
        }
    }

    /// Reads the members of the matches at `positions` of the bytes at `place`.
    fn members(&mut self, place: Place, bytes: &[u8], at: MemberAt) -> Result<(), Error> {
        let (whole, padded) = self.part_bytes(place.part);
        let size = at.member.size_bytes();
        let piece_end = place.offset + bytes.len() as u64;
        let positions = std::mem::take(&mut self.positions);
        let mut window = std::mem::take(&mut self.window);
        // What is in the window now, as offsets in the part.
        let mut held = 0..0;
        for (index, position) in positions.iter().enumerate() {
            let Some(start) = self.member_start(at, place.offset + u64::from(*position), padded) else { continue };
            let end = start.saturating_add(size).min(whole);
            let member = if start >= place.offset && end <= piece_end {
                bytes.get((start - place.offset) as usize..end.max(start).saturating_sub(place.offset) as usize)
            } else {
                if start < held.start || end > held.end {
                    // All that the rest of the matches need, but not more than a piece.
                    let last = positions.get(index..).and_then(|rest| rest.last()).copied().unwrap_or(*position);
                    let far = start.saturating_add(u64::from(last - position)).saturating_add(size);
                    let far = far.min(start.saturating_add(self.window_bytes() as u64 + size)).min(whole).max(start);
                    window.resize((far - start) as usize, 0);
                    self.parts.read(place.part, start, &mut window)?;
                    held = start..far;
                }
                let from = (start - held.start) as usize;
                window.get(from..from + end.saturating_sub(start) as usize)
            };
            // What lies behind the last whole word reads as 0.
            let member = member.unwrap_or_default();
            self.count(at.member, member);
        }
        self.positions = positions;
        self.window = window;
        Ok(())
    }

    fn window_bytes(&self) -> usize {
        super::source::PIECE_BYTES.min(self.table.peak_bytes() as usize * 4)
    }
}

impl Sink for Finder<'_> {
    fn words(&mut self, place: Place, bytes: &[u8]) -> Result<(), Error> {
        self.table.follow(self.range);
        self.positions.clear();
        super::kernel::find_matches(self.isa, self.width, bytes, self.raw, &mut self.positions);
        self.matches += self.positions.len() as u64;
        match self.search.member {
            Some(at) if !self.positions.is_empty() => self.members(place, bytes, at),
            _ => Ok(()),
        }
    }

    fn zeros(&mut self, place: Place, count: u64) -> Result<(), Error> {
        if self.search.value != 0 {
            return Ok(());
        }
        // Only the leftover bytes: holes are read.
        self.matches += count;
        self.positions.clear();
        self.positions.push(0);
        match self.search.member {
            Some(at) => self.members(place, &[], at),
            None => Ok(()),
        }
    }
}
