//! What a heap consists of: allocators, arenas, sizes, what is free and cannot go back, damage.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::addr::Addr;
use crate::heap::{AllocId, AllocationTable, AllocatorReport, ArenaReport, Count, Damage, Heap, State, Tally};
use crate::session::Session;
use crate::task::Task;
use crate::types::VtableKind;

use super::unwalked::{UnwalkedRow, unwalked_rows, write_unwalked};
use super::{Answer, Bytes, Column, Grouped, Hex, Look, SafeText, Share, Table};

/// Usable sizes up to this are counted one by one, larger ones between powers of two.
const EXACT_SIZES: u64 = 1032;
/// So many sizes, arenas and damaged places are shown to people unless all are asked for.
const SHOWN: usize = 12;
/// Fragmentation is called the story from this share of the heap on, in per cent, and from this many bytes.
const STORY_PERCENT: u64 = 40;
const STORY_BYTES: u64 = 1 << 20;
/// A heap beside more than so many times as much private memory of no known allocator is small.
const SMALL_HEAP: u64 = 4;
/// Private memory of no known allocator is told of from this many bytes on.
const UNKNOWN_SHOWN: u64 = 1 << 20;

/// The answer of `heap`.
#[derive(Clone, Debug, Serialize)]
pub struct HeapAnswer {
    allocators: Vec<AllocatorRow>,
    /// Allocators that the process has and that are not walked.
    unwalked: Vec<UnwalkedRow>,
    used: CountRow,
    free: CountRow,
    /// Bytes of headers, padding and the allocators' own books.
    overhead_bytes: u64,
    /// Memory whose headers are broken: used or free cannot be told.
    damaged: CountRow,
    /// Private memory that belongs to none of the allocators: the program's own mappings, or an allocator that is not
    /// known here.
    unknown_bytes: u64,
    sizes: Vec<SizeRow>,
    fragmentation: Fragmentation,
    /// Whether people are shown every size, arena and damage.
    #[serde(skip)]
    all: bool,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct CountRow {
    count: u64,
    bytes: u64,
}

impl From<Count> for CountRow {
    fn from(count: Count) -> CountRow {
        CountRow { count: count.count, bytes: count.bytes }
    }
}

#[derive(Clone, Debug, Serialize)]
struct AllocatorRow {
    name: &'static str,
    versions: String,
    evidence: Vec<String>,
    used: CountRow,
    free: CountRow,
    overhead_bytes: u64,
    thread_caches: u64,
    arenas: Vec<ArenaRow>,
    mapped: MappedRow,
    damaged: Vec<DamageRow>,
    /// How many damaged places there are in all; `damaged` has the first thousand.
    damaged_count: u64,
}

#[derive(Clone, Debug, Serialize)]
struct ArenaRow {
    address: Hex,
    kind: &'static str,
    /// Of how many pieces of memory it consists.
    pieces: u64,
    bytes: u64,
    /// What the arena itself says it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    system_bytes: Option<u64>,
    missing_bytes: u64,
    used: CountRow,
    free: CountRow,
    /// The part of `free` that was never handed out.
    top_bytes: u64,
    thread_cached: CountRow,
    fast_free: CountRow,
    internal: CountRow,
    overhead_bytes: u64,
    /// The last used allocation: what lies below it does not go back when the arena shrinks.
    #[serde(skip_serializing_if = "Option::is_none")]
    highest_used: Option<Hex>,
    trimmable_bytes: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct MappedRow {
    mappings: u64,
    bytes: u64,
    used: CountRow,
    overhead_bytes: u64,
}

#[derive(Clone, Debug, Serialize)]
struct DamageRow {
    kind: &'static str,
    at: Hex,
    found: Hex,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<Hex>,
    /// The allocation right in front: the likely overflower.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_front: Option<Hex>,
    /// Its class, where it begins with a vtable.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_front_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resumed: Option<Hex>,
    lost_bytes: u64,
}

/// Allocations of one usable size, or of sizes between two.
#[derive(Clone, Copy, Debug, Serialize)]
struct SizeRow {
    /// The least size.
    size: u64,
    /// The largest size; the same where all are equal.
    size_most: u64,
    used: CountRow,
    free: CountRow,
}

/// What is free, by whether it can go back to the system.
#[derive(Clone, Debug, Serialize)]
struct Fragmentation {
    heap_bytes: u64,
    free_bytes: u64,
    /// At the top of arenas: goes back when the arena is trimmed.
    top_bytes: u64,
    /// In threads' caches and lists of small blocks: not joined with free neighbours.
    cached_bytes: u64,
    /// Whole pages inside free blocks between used ones: `malloc_trim` could give them back.
    trimmable_bytes: u64,
    /// The rest: it shares pages with used allocations.
    pinned_bytes: u64,
    /// Whether free memory that does not go back, not a leak, is why the process is large.
    is_the_story: bool,
    verdict: String,
    #[serde(skip)]
    words: &'static BackWords,
}

/// How memory goes back to the system, in the terms of an allocator.
#[derive(Debug)]
struct BackWords {
    top: (&'static str, &'static str),
    trimmable: (&'static str, &'static str),
    verdict: &'static str,
}

static TRIMMED: BackWords = BackWords {
    top: ("top of arenas", "when the arena is trimmed"),
    trimmable: ("whole pages between used blocks", "only by malloc_trim"),
    verdict: "most of it in whole pages, which malloc_trim(0) would give back",
};
static PURGED: BackWords = BackWords {
    top: ("addresses kept by arenas", "already: no memory is behind them"),
    trimmable: ("whole free extents", "as they age, or by arena.<i>.purge"),
    verdict: "most of it in whole extents, which jemalloc gives back as they age, or mallctl(\"arena.<i>.purge\") at once",
};

impl BackWords {
    /// Those of the allocator that has most memory.
    fn of(heap: &Heap) -> &'static BackWords {
        let largest = heap.allocators.iter().max_by_key(|allocator| allocator.tally().bytes());
        if largest.is_some_and(|allocator| allocator.name == "jemalloc") { &PURGED } else { &TRIMMED }
    }
}

impl HeapAnswer {
    /// Gathers the answer from a walked heap.
    pub fn new(session: &Session<'_>, heap: &Heap) -> HeapAnswer {
        let mut total = Tally::default();
        for allocator in &heap.allocators {
            total.add(&allocator.tally());
        }
        let unknown_bytes = heap.unclaimed_bytes(session.image());
        HeapAnswer {
            allocators: heap
                .allocators
                .iter()
                .map(|allocator| allocator_row(session, &heap.table, allocator))
                .collect(),
            unwalked: unwalked_rows(heap),
            used: total.used().into(),
            free: total.free().into(),
            overhead_bytes: total.overhead_bytes,
            damaged: total.state(State::Damaged).into(),
            unknown_bytes,
            sizes: sizes(&heap.table, session.task()),
            fragmentation: fragmentation(heap, &total, unknown_bytes),
            all: false,
        }
    }

    /// The same with everything shown to people.
    #[must_use]
    pub fn show_all(self, all: bool) -> HeapAnswer {
        HeapAnswer { all, ..self }
    }

    /// Whether all of the heap is in the dump and in order.
    pub fn is_complete(&self) -> bool {
        let whole =
            |row: &AllocatorRow| row.damaged_count == 0 && row.arenas.iter().all(|arena| arena.missing_bytes == 0);
        !self.allocators.is_empty() && self.unwalked.is_empty() && self.allocators.iter().all(whole)
    }
}

fn allocator_row(session: &Session<'_>, table: &AllocationTable, report: &AllocatorReport) -> AllocatorRow {
    let image = session.image();
    let tally = report.tally();
    let mut evidence = report.evidence.clone();
    if let Some(module) = report.module.and_then(|id| image.module(id)) {
        evidence.insert(0, format!("in {}", super::safe_text::lossless(&module.path)));
    }
    AllocatorRow {
        name: report.name,
        versions: report.versions.clone(),
        evidence,
        used: tally.used().into(),
        free: tally.free().into(),
        overhead_bytes: tally.overhead_bytes,
        thread_caches: report.thread_caches,
        arenas: report.arenas.iter().map(|arena| arena_row(table, arena)).collect(),
        mapped: MappedRow {
            mappings: report.mapped.spans.len() as u64,
            bytes: report.mapped.spans.iter().map(|span| span.size_bytes()).sum(),
            used: report.mapped.tally.used().into(),
            overhead_bytes: report.mapped.tally.overhead_bytes,
        },
        damaged: report.damage.iter().map(|damage| damage_row(session, damage)).collect(),
        damaged_count: report.damage_count,
    }
}

fn arena_row(table: &AllocationTable, arena: &ArenaReport) -> ArenaRow {
    ArenaRow {
        address: arena.address.into(),
        kind: arena.kind.name(),
        pieces: arena.spans.len() as u64,
        bytes: arena.bytes(),
        system_bytes: arena.system_bytes,
        missing_bytes: arena.missing_bytes,
        used: arena.tally.used().into(),
        free: arena.tally.free().into(),
        top_bytes: arena.tally.state(State::Top).bytes,
        thread_cached: arena.tally.state(State::ThreadCached).into(),
        fast_free: arena.tally.state(State::FastFree).into(),
        internal: arena.tally.state(State::Internal).into(),
        overhead_bytes: arena.tally.overhead_bytes,
        highest_used: arena.highest_used.map(|id| table.address(id).into()),
        trimmable_bytes: arena.trimmable_bytes,
    }
}

fn damage_row(session: &Session<'_>, damage: &Damage) -> DamageRow {
    let class = |memory: Addr| {
        let first = session.image().space().word(memory)?;
        session.vtables().classify(Addr(first)).filter(|vtable| vtable.kind == VtableKind::Class)?.class
    };
    DamageRow {
        kind: damage.kind.name(),
        at: damage.at.into(),
        found: damage.found.into(),
        expected: damage.expected.map(Hex),
        in_front: damage.in_front.map(Hex::from),
        in_front_type: damage.in_front.and_then(class),
        resumed: damage.resumed.map(Hex::from),
        lost_bytes: damage.lost_bytes,
    }
}

/// Used and free allocations by class of size.
struct Histogram {
    used: Vec<CountRow>,
    free: Vec<CountRow>,
}

impl Histogram {
    fn new() -> Histogram {
        let classes = EXACT_SIZES as usize + 1 + 64;
        Histogram { used: vec![CountRow::default(); classes], free: vec![CountRow::default(); classes] }
    }

    fn count(&mut self, table: &AllocationTable, ids: impl Iterator<Item = AllocId>) {
        for id in ids {
            let state = table.state(id);
            let rows = if state.is_used() {
                &mut self.used
            } else if state.is_free() && state != State::Top {
                &mut self.free
            } else {
                continue;
            };
            let size = table.usable_size(id);
            let class =
                if size <= EXACT_SIZES { size as usize } else { EXACT_SIZES as usize + 1 + size.ilog2() as usize };
            if let Some(row) = rows.get_mut(class) {
                row.count += 1;
                row.bytes += size;
            }
        }
    }

    fn add(&mut self, other: &Histogram) {
        let pairs = self.used.iter_mut().zip(&other.used).chain(self.free.iter_mut().zip(&other.free));
        for (sum, part) in pairs {
            sum.count += part.count;
            sum.bytes += part.bytes;
        }
    }
}

/// The histogram, by size.
fn sizes(table: &AllocationTable, task: &Task) -> Vec<SizeRow> {
    const BATCH: u64 = 1 << 16;
    let length = table.len() as u64;
    let next = AtomicU64::new(0);
    let parts = task.on_all(|| {
        let mut part = Histogram::new();
        loop {
            let from = next.fetch_add(BATCH, Ordering::Relaxed);
            if from >= length {
                return part;
            }
            part.count(table, (from..(from + BATCH).min(length)).map(|id| AllocId(id as u32)));
        }
    });
    let mut whole = Histogram::new();
    parts.iter().for_each(|part| whole.add(part));
    let Histogram { used, free } = whole;
    let bounds = |class: u64| {
        if class <= EXACT_SIZES {
            return (class, class);
        }
        let power = (class - EXACT_SIZES - 1) as u32;
        ((1_u64 << power).max(EXACT_SIZES + 1), (1_u64 << power) - 1 + (1_u64 << power))
    };
    used.into_iter()
        .zip(free)
        .zip(0_u64..)
        .filter(|((used, free), _)| used.count + free.count > 0)
        .map(|((used, free), class)| {
            let (size, size_most) = bounds(class);
            SizeRow { size, size_most, used, free }
        })
        .collect()
}

fn fragmentation(heap: &Heap, total: &Tally, unknown_bytes: u64) -> Fragmentation {
    let words = BackWords::of(heap);
    let heap_bytes = total.bytes();
    let free_bytes = total.free().bytes;
    let top_bytes = total.state(State::Top).bytes;
    let cached_bytes = total.state(State::ThreadCached).bytes + total.state(State::FastFree).bytes;
    let arenas = heap.allocators.iter().flat_map(|allocator| &allocator.arenas);
    let trimmable_bytes: u64 = arenas.map(|arena| arena.trimmable_bytes).sum();
    let pinned_bytes = free_bytes.saturating_sub(top_bytes + cached_bytes + trimmable_bytes);
    let stays = free_bytes.saturating_sub(top_bytes);
    // A small heap beside much other memory is not why the process is large, however fragmented it is.
    let is_much = stays >= STORY_BYTES && stays.saturating_mul(100) >= heap_bytes.saturating_mul(STORY_PERCENT);
    let is_the_story = is_much && heap_bytes.saturating_mul(SMALL_HEAP) >= unknown_bytes;
    let share = Share { part: stays, whole: heap_bytes };
    let used_share = Share { part: total.used().bytes, whole: heap_bytes };
    let verdict = if heap_bytes == 0 {
        "no heap was found".to_owned()
    } else if is_the_story {
        let why =
            if trimmable_bytes * 2 > stays { words.verdict } else { "most of it on pages that used allocations share" };
        format!("fragmentation is the story: {share} of the heap is free and does not go back to the system, {why}")
    } else if is_much {
        format!(
            "fragmentation is not the story: {share} of the heap is free and stays, but most private memory, {}, belongs to \
             no allocator known here",
            Bytes(unknown_bytes)
        )
    } else {
        format!("fragmentation is not the story: {used_share} of the heap is in use, {share} is free and stays")
    };
    Fragmentation {
        heap_bytes,
        free_bytes,
        top_bytes,
        cached_bytes,
        trimmable_bytes,
        pinned_bytes,
        is_the_story,
        verdict,
        words,
    }
}

impl Answer for HeapAnswer {
    fn write_human(&self, out: &mut dyn io::Write, look: &Look) -> io::Result<()> {
        for allocator in &self.allocators {
            writeln!(out, "{} {}", allocator.name, SafeText::from(allocator.versions.as_str()))?;
            for evidence in &allocator.evidence {
                writeln!(out, "  {}", SafeText::from(evidence.as_str()))?;
            }
        }
        write_unwalked(out, &self.unwalked)?;
        if self.allocators.is_empty() {
            if self.unwalked.is_empty() {
                writeln!(out, "no allocator was recognised in this dump")?;
            }
            return writeln!(
                out,
                "{} of private memory, of which no allocation is known: nothing can be said about used and free memory or leaks",
                Bytes(self.unknown_bytes)
            );
        }
        self.write_sums(out, look)?;
        self.write_arenas(out, look)?;
        self.write_sizes(out, look)?;
        self.write_fragmentation(out, look)?;
        self.write_damage(out, look)
    }
}

impl HeapAnswer {
    fn shown(&self) -> usize {
        if self.all { usize::MAX } else { SHOWN }
    }

    fn write_sums(&self, out: &mut dyn io::Write, look: &Look) -> io::Result<()> {
        let whole = self.fragmentation.heap_bytes;
        let mut table =
            Table::new(&[Column::text(""), Column::number("count"), Column::number("bytes"), Column::number("share")]);
        let mut row = |name: &str, count: Option<u64>, bytes: u64| {
            table.row([
                name.to_owned(),
                count.map_or_else(String::new, |count| Grouped(count).to_string()),
                Bytes(bytes).to_string(),
                Share { part: bytes, whole }.to_string(),
            ]);
        };
        row("used", Some(self.used.count), self.used.bytes);
        row("free", Some(self.free.count), self.free.bytes);
        if self.damaged.count > 0 {
            row("damaged", Some(self.damaged.count), self.damaged.bytes);
        }
        let listed = self.used.bytes + self.free.bytes + self.damaged.bytes;
        row("headers and books", None, whole.saturating_sub(listed));
        writeln!(out)?;
        table.write(out, look)
    }

    fn write_arenas(&self, out: &mut dyn io::Write, look: &Look) -> io::Result<()> {
        let mut table = Table::new(&[
            Column::text("arena"),
            Column::text("kind"),
            Column::number("memory"),
            Column::number("used"),
            Column::number("free"),
            Column::number("top"),
            Column::number("overhead"),
        ]);
        let mut rows: Vec<(u64, [String; 7])> = Vec::new();
        for allocator in &self.allocators {
            for arena in &allocator.arenas {
                rows.push((
                    arena.bytes,
                    [
                        arena.address.to_string(),
                        arena.kind.to_owned(),
                        Bytes(arena.bytes).to_string(),
                        Bytes(arena.used.bytes).to_string(),
                        Bytes(arena.free.bytes - arena.top_bytes.min(arena.free.bytes)).to_string(),
                        Bytes(arena.top_bytes).to_string(),
                        Bytes(arena.overhead_bytes).to_string(),
                    ],
                ));
            }
            let mapped = &allocator.mapped;
            if mapped.mappings > 0 {
                rows.push((
                    mapped.bytes,
                    [
                        match mapped.mappings {
                            1 => "1 mapping".to_owned(),
                            mappings => format!("{} mappings", Grouped(mappings)),
                        },
                        "mapped".to_owned(),
                        Bytes(mapped.bytes).to_string(),
                        Bytes(mapped.used.bytes).to_string(),
                        String::new(),
                        String::new(),
                        Bytes(mapped.overhead_bytes).to_string(),
                    ],
                ));
            }
        }
        // The first arena stays first among equals: the sort is stable.
        rows.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        let left_out: Vec<u64> = rows.iter().skip(self.shown()).map(|(bytes, _)| *bytes).collect();
        for (_, row) in rows.into_iter().take(self.shown()) {
            table.row(row);
        }
        writeln!(out)?;
        table.write(out, look)?;
        left_out_line(out, "arena", &left_out)?;
        if self.unknown_bytes < UNKNOWN_SHOWN {
            return Ok(());
        }
        writeln!(
            out,
            "\nbeside it {} of private memory belong to no allocator known here: the program's own mappings, or another \
             allocator's; nothing of this counts them",
            Bytes(self.unknown_bytes)
        )
    }

    fn write_sizes(&self, out: &mut dyn io::Write, look: &Look) -> io::Result<()> {
        let mut rows = self.sizes.clone();
        rows.sort_by_key(|row| (std::cmp::Reverse(row.used.bytes + row.free.bytes), row.size));
        let mut table = Table::new(&[
            Column::number("size"),
            Column::number("used"),
            Column::number("bytes"),
            Column::number("free"),
            Column::number("bytes"),
        ]);
        for row in rows.iter().take(self.shown()) {
            let size = if row.size == row.size_most {
                row.size.to_string()
            } else {
                format!("{} to {}", Bytes(1 << row.size.max(1).ilog2()), Bytes(row.size_most + 1))
            };
            table.row([
                size,
                Grouped(row.used.count).to_string(),
                Bytes(row.used.bytes).to_string(),
                Grouped(row.free.count).to_string(),
                Bytes(row.free.bytes).to_string(),
            ]);
        }
        writeln!(out)?;
        table.write(out, look)?;
        let left: Vec<u64> = rows.iter().skip(self.shown()).map(|row| row.used.bytes + row.free.bytes).collect();
        left_out_line(out, "size", &left)
    }

    fn write_fragmentation(&self, out: &mut dyn io::Write, look: &Look) -> io::Result<()> {
        let parts = &self.fragmentation;
        let mut table = Table::new(&[Column::text("free memory"), Column::number("bytes"), Column::text("goes back")]);
        for (name, bytes, back) in [
            (parts.words.top.0, parts.top_bytes, parts.words.top.1),
            (parts.words.trimmable.0, parts.trimmable_bytes, parts.words.trimmable.1),
            ("caches and lists of small blocks", parts.cached_bytes, "no: kept for the next request"),
            ("on pages with used blocks", parts.pinned_bytes, "no: its neighbours are in use"),
        ] {
            table.row([name.to_owned(), Bytes(bytes).to_string(), back.to_owned()]);
        }
        writeln!(out)?;
        table.write(out, look)?;
        writeln!(out, "{}", parts.verdict)
    }

    fn write_damage(&self, out: &mut dyn io::Write, look: &Look) -> io::Result<()> {
        let count: u64 = self.allocators.iter().map(|allocator| allocator.damaged_count).sum();
        if count == 0 {
            return Ok(());
        }
        let mut table = Table::new(&[
            Column::text("damage"),
            Column::text("at"),
            Column::text("found"),
            Column::text("expected"),
            Column::text("block in front"),
            Column::text("went on at"),
            Column::number("lost"),
        ]);
        let rows = self.allocators.iter().flat_map(|allocator| &allocator.damaged);
        let optional = |word: Option<Hex>| word.map_or_else(|| "unknown".to_owned(), |word| word.to_string());
        for damage in rows.take(self.shown()) {
            table.row([
                damage.kind.to_owned(),
                damage.at.to_string(),
                damage.found.to_string(),
                optional(damage.expected),
                match &damage.in_front_type {
                    Some(name) => format!("{} ({name})", optional(damage.in_front)),
                    None => optional(damage.in_front),
                },
                optional(damage.resumed),
                Bytes(damage.lost_bytes).to_string(),
            ]);
        }
        writeln!(out)?;
        table.write(out, look)?;
        let more = count.saturating_sub(table.len() as u64);
        if more > 0 { writeln!(out, "… {} more damaged places", Grouped(more)) } else { Ok(()) }
    }
}

fn left_out_line(out: &mut dyn io::Write, what: &str, left_out: &[u64]) -> io::Result<()> {
    if left_out.is_empty() {
        return Ok(());
    }
    let bytes = left_out.iter().sum();
    let plural = if left_out.len() == 1 { "" } else { "s" };
    writeln!(out, "… {} more {what}{plural}, {}", Grouped(left_out.len() as u64), Bytes(bytes))
}
