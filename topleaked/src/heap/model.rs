//! What a walk says beside the allocations: arenas, their sums, and damage.

use crate::addr::{Addr, Span};
use crate::image::ModuleId;
use crate::task::Diagnostic;

use super::table::{AllocId, AllocationTable, AllocatorId, State};

/// The granule in which the system takes memory back.
const PAGE: u64 = 4096;

/// A number of allocations and their usable bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// How many.
    pub count: u64,
    /// Usable bytes in all.
    pub bytes: u64,
}

/// Allocations by state, and what is in none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    states: [Count; State::ALL.len()],
    /// Bytes of headers, markers, padding and the allocator's tables: all of the memory that is in no allocation.
    pub overhead_bytes: u64,
}

impl Tally {
    /// The allocations in one state.
    pub fn state(&self, state: State) -> Count {
        self.states[state as usize]
    }

    /// What the program owns.
    pub fn used(&self) -> Count {
        self.state(State::Used)
    }

    /// What was given back or never handed out, the top of arenas included.
    pub fn free(&self) -> Count {
        State::ALL.into_iter().filter(|state| state.is_free()).fold(Count::default(), |sum, state| {
            let part = self.state(state);
            Count { count: sum.count + part.count, bytes: sum.bytes + part.bytes }
        })
    }

    /// All bytes: allocations and overhead.
    pub fn bytes(&self) -> u64 {
        self.states.iter().map(|part| part.bytes).sum::<u64>() + self.overhead_bytes
    }

    /// Adds another's sums.
    pub fn add(&mut self, other: &Tally) {
        for (sum, part) in self.states.iter_mut().zip(&other.states) {
            sum.count += part.count;
            sum.bytes += part.bytes;
        }
        self.overhead_bytes += other.overhead_bytes;
    }

    fn count(&mut self, state: State, usable_size: u64) {
        let sum = &mut self.states[state as usize];
        sum.count += 1;
        sum.bytes += usable_size;
    }
}

/// What kind of arena.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ArenaKind {
    /// The one that grows by `brk`.
    Main,
    /// The main one of a process in which `brk` was blocked: it goes on in mappings.
    MainInPieces,
    /// One made for further threads.
    Thread,
    /// One of several that threads share, with the blocks that its books lie in.
    Shared,
    /// All slots of one allocator that has no arenas.
    Slots,
}

impl ArenaKind {
    /// Its name, the same in all output.
    pub fn name(self) -> &'static str {
        match self {
            ArenaKind::Main => "main",
            ArenaKind::MainInPieces => "main-in-pieces",
            ArenaKind::Thread => "thread",
            ArenaKind::Shared => "shared",
            ArenaKind::Slots => "slots",
        }
    }
}

/// One arena.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArenaReport {
    /// Where the allocator keeps its books.
    pub address: Addr,
    /// Which kind.
    pub kind: ArenaKind,
    /// Its memory, by address.
    pub spans: Vec<Span>,
    /// How many bytes the arena itself says it has from the system.
    pub system_bytes: Option<u64>,
    /// Bytes of `spans` that are not in the dump.
    pub missing_bytes: u64,
    /// What is in `spans`.
    pub tally: Tally,
    /// The used allocation with the highest address: what lies below it cannot go back by shrinking the arena.
    pub highest_used: Option<AllocId>,
    /// Bytes in whole free pages below the highest used allocation: `malloc_trim` could give them back. For jemalloc, in
    /// whole free extents, wherever they lie.
    pub trimmable_bytes: u64,
}

impl ArenaReport {
    /// Bytes of its memory.
    pub fn bytes(&self) -> u64 {
        self.spans.iter().map(|span| span.size_bytes()).sum()
    }

    pub(super) fn count(&mut self, table: &AllocationTable, allocator: AllocatorId) {
        self.highest_used = None;
        let mut free_pages = 0;
        for span in &self.spans {
            for id in table.ids_in(*span).filter(|id| table.allocator(*id) == allocator) {
                let (state, size) = (table.state(id), table.usable_size(id));
                self.tally.count(state, size);
                if state.is_used() {
                    self.highest_used = Some(id);
                    self.trimmable_bytes = free_pages;
                } else if matches!(state, State::Free) && size >= PAGE {
                    let start = table.address(id).0.next_multiple_of(PAGE);
                    free_pages += (table.address(id).0 + size - start.min(table.address(id).0 + size)) & !(PAGE - 1);
                }
            }
        }
        let allocated = self.tally.bytes();
        self.tally.overhead_bytes = self.bytes().saturating_sub(allocated + self.missing_bytes);
    }
}

/// Allocations that are mappings of their own.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MappedReport {
    /// The mappings, by address.
    pub spans: Vec<Span>,
    /// What is in them.
    pub tally: Tally,
}

impl MappedReport {
    pub(super) fn count(&mut self, table: &AllocationTable, allocator: AllocatorId) {
        self.spans.sort_unstable();
        for span in &self.spans {
            for id in table.ids_in(*span).filter(|id| table.allocator(*id) == allocator) {
                self.tally.count(table.state(id), table.usable_size(id));
            }
        }
        let total: u64 = self.spans.iter().map(|span| span.size_bytes()).sum();
        self.tally.overhead_bytes = total.saturating_sub(self.tally.bytes());
    }
}

/// What is wrong at a place of the heap.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DamageKind {
    /// A header cannot be what the allocator wrote.
    Header,
    /// The size behind a free chunk is not the chunk's.
    Footer,
    /// A list of free chunks leads to what is none.
    FreeList,
    /// An allocation is on lists of free ones twice.
    FreedTwice,
}

impl DamageKind {
    /// Its name, the same in all output.
    pub fn name(self) -> &'static str {
        match self {
            DamageKind::Header => "broken-header",
            DamageKind::Footer => "broken-footer",
            DamageKind::FreeList => "broken-free-list",
            DamageKind::FreedTwice => "freed-twice",
        }
    }
}

/// One place where the heap is not as its allocator left it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damage {
    /// What is wrong.
    pub kind: DamageKind,
    /// The word that is wrong; for an allocation freed twice its memory.
    pub at: Addr,
    /// What stands there.
    pub found: u64,
    /// What should, where that can be told.
    pub expected: Option<u64>,
    /// The memory of the allocation right in front: who wrote over its end, most likely.
    pub in_front: Option<Addr>,
    /// The memory of the allocation at which the walk went on; `None` where it found no place.
    pub resumed: Option<Addr>,
    /// How many bytes in between cannot be told used from free.
    pub lost_bytes: u64,
}

/// One allocator found in the process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AllocatorReport {
    /// Its name: `glibc`.
    pub name: &'static str,
    /// Its id in the table.
    pub id: AllocatorId,
    /// The versions that lay out their books so: `2.30 to 2.41`.
    pub versions: String,
    /// The module whose data it is.
    pub module: Option<ModuleId>,
    /// What proves it, for people.
    pub evidence: Vec<String>,
    /// Its arenas, the main one first.
    pub arenas: Vec<ArenaReport>,
    /// Allocations outside of arenas.
    pub mapped: MappedReport,
    /// How many threads' caches it has.
    pub thread_caches: u64,
    /// Damage, by address; the first thousand.
    pub damage: Vec<Damage>,
    /// How much damage there is in all.
    pub damage_count: u64,
    pub(super) metadata: Vec<Span>,
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl AllocatorReport {
    /// What the first damaged place is, and how many there are.
    pub(super) fn damage_diagnostic(&self) -> Option<Diagnostic> {
        let first = self.damage.first()?;
        let mut effect = match self.damage_count {
            1 => String::new(),
            count => format!("{count} damaged places, of which the first is: "),
        };
        effect += &format!("{}, found {:#x}", first.kind.name(), first.found);
        if let Some(expected) = first.expected {
            effect += &format!(", expected {expected:#x}");
        }
        if let (Some(in_front), DamageKind::Header | DamageKind::Footer) = (first.in_front, first.kind) {
            effect += &format!("; the allocation in front, at {in_front}, most likely wrote over its end");
        }
        match (first.resumed, first.lost_bytes) {
            (_, 0) => {}
            (Some(resumed), lost) => {
                effect +=
                    &format!("; the walk went on at {resumed}, {lost} bytes before it cannot be told used from free");
            }
            (None, lost) => effect += &format!("; the walk found no place to go on, {lost} bytes are lost"),
        }
        Some(Diagnostic { code: "heap-damaged", at: first.at.to_string(), effect })
    }

    /// The sums over arenas and mapped allocations.
    pub fn tally(&self) -> Tally {
        let mut sum = self.mapped.tally;
        for arena in &self.arenas {
            sum.add(&arena.tally);
        }
        sum
    }
}
