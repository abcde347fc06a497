//! The heap: each allocation of the process, used or free.
//!
//! Knows the allocation table, and one walker for each allocator. Refuses to know what is in an allocation, and what
//! reaches it. Allocators are walked by structures that prove themselves, never by symbols or version strings; those that no
//! walker knows are at least named.
//!
//! ```no_run
//! use std::path::Path;
//! use topleaked::heap::walk_heaps;
//! use topleaked::image::{Image, OpenOptions};
//! use topleaked::task::Task;
//!
//! let task = Task::default();
//! let image = Image::open(Path::new("core"), &OpenOptions::default(), &task)?;
//! let heap = walk_heaps(&image, &task)?;
//! for allocation in heap.table.iter().filter(|allocation| allocation.state.is_used()) {
//!     println!("{} {}", allocation.address, allocation.usable_size);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod damage;
mod glibc;
mod index;
mod jemalloc;
mod memory;
mod model;
mod musl;
mod parallel;
mod rounding;
mod run;
mod table;
mod unwalked;

use crate::addr::Span;
use crate::image::Image;
use crate::task::{Diagnostic, Task};

pub use model::{AllocatorReport, ArenaKind, ArenaReport, Count, Damage, DamageKind, MappedReport, Tally};
pub use rounding::Rounding;
pub use table::{AllocId, Allocation, AllocationTable, AllocatorId, State, TableError};
pub use unwalked::{UnwalkedAllocator, UnwalkedKind};

use run::Run;

/// Why a heap could not be walked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HeapError {
    /// The allocations do not fit a table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The task was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// No allocator was walked, so that there is nothing to count.
    #[error("no allocation is known, so nothing can be counted or called leaked: {}", not_walked(seen))]
    NotWalked {
        /// The allocators that the process has, with their evidence. Names come from the dump.
        seen: Vec<String>,
    },
}

fn not_walked(seen: &[String]) -> String {
    let walked: Vec<&str> = ALLOCATORS.iter().map(|allocator| allocator.name()).collect();
    let walked = walked.join(", ");
    match seen {
        [] => format!("no allocator was recognised (those of {walked} are)"),
        _ => format!(
            "the process allocates with {}, whose blocks could not be walked (those of {walked} are, where the dump holds the \
             allocator's books whole)",
            seen.join(" and ")
        ),
    }
}

/// All that is known of the process's heap.
#[derive(Debug, Default)]
pub struct Heap {
    /// Each allocation.
    pub table: AllocationTable,
    /// The allocators found; [`AllocatorId`] is an index into it.
    pub allocators: Vec<AllocatorReport>,
    /// Memory that allocators keep their books in, outside and inside the heap: arenas, threads' caches. It is no
    /// root: what it points at is not held by the program. Sorted, without overlap.
    pub metadata: Vec<Span>,
    /// All memory that belongs to allocators, used, free or overhead. What is writable and lies outside of it
    /// belongs to the program. Sorted, without overlap.
    pub claimed: Vec<Span>,
    /// Allocators that the process has and that were not walked, once [`Heap::find_unwalked`] looked for them.
    pub unwalked: Vec<UnwalkedAllocator>,
    /// What weakens the answer.
    pub diagnostics: Vec<Diagnostic>,
}

/// One allocator: how it is recognised. A new one is a file of its own and a row in [`ALLOCATORS`].
trait Allocator: Sync {
    /// Its name for people.
    fn name(&self) -> &'static str;

    /// Looks for it in the process, and says what there is to walk.
    fn detect<'a>(&self, image: &'a Image) -> Option<Box<dyn Walk + 'a>>;
}

/// The walk through the heaps of one allocator, in the order of these functions.
trait Walk {
    /// How many copies of the allocator the process has; each gets an id.
    fn copies(&self) -> usize;

    /// How it rounds requests up.
    fn rounding(&self) -> Rounding;

    /// Finds the allocations.
    fn walk(&mut self, first: AllocatorId, task: &Task) -> Vec<Run>;

    /// Corrects states that show only once all allocations are known.
    fn settle(&mut self, table: &mut AllocationTable);

    /// Says what was found, one report a copy.
    fn finish(self: Box<Self>, first: AllocatorId, table: &AllocationTable) -> Vec<AllocatorReport>;
}

/// The allocators known. An earlier one wins where two claim the same memory.
static ALLOCATORS: [&dyn Allocator; 3] = [&glibc::Glibc, &jemalloc::Jemalloc, &musl::MallocNg];

/// Finds each allocation of the process.
///
/// A process in which no allocator is recognised gives an empty table and a diagnostic.
///
/// # Errors
/// [`HeapError`] where the allocations do not fit a table, or the task was cancelled.
pub fn walk_heaps(image: &Image, task: &Task) -> Result<Heap, HeapError> {
    let mut walks = Vec::new();
    let mut runs = Vec::new();
    let mut next = 0_u8;
    for allocator in ALLOCATORS {
        let Some(mut walk) = allocator.detect(image) else { continue };
        if usize::from(next) + walk.copies() > AllocatorId::LIMIT {
            break;
        }
        let first = AllocatorId(next);
        runs.append(&mut walk.walk(first, task));
        next += walk.copies() as u8;
        walks.push((first, allocator.name(), walk));
        if task.progress.is_cancelled() {
            return Err(HeapError::Cancelled);
        }
    }
    let mut heap = Heap::default();
    let (mut table, dropped) = AllocationTable::from_runs(runs, task.threads)?;
    if dropped > 0 {
        heap.diagnostics.push(Diagnostic {
            code: "allocations-overlap",
            at: "heap".to_string(),
            effect: format!("{dropped} allocations lay inside others and were left out"),
        });
    }
    for (first, _, walk) in &mut walks {
        table.set_rounding(*first, walk.copies(), walk.rounding());
        walk.settle(&mut table);
    }
    if walks.is_empty() {
        let known: Vec<&str> = ALLOCATORS.iter().map(|allocator| allocator.name()).collect();
        heap.diagnostics.push(Diagnostic {
            code: "no-allocator",
            at: "heap".to_string(),
            effect: format!("no allocator was found that can be walked ({}): no allocation is known", known.join(", ")),
        });
    }
    for (first, _, walk) in walks {
        heap.allocators.extend(walk.finish(first, &table));
    }
    for allocator in &mut heap.allocators {
        heap.diagnostics.append(&mut allocator.diagnostics);
        heap.diagnostics.extend(allocator.damage_diagnostic());
        heap.metadata.extend(allocator.metadata.iter().copied());
        heap.claimed.extend(allocator.arenas.iter().flat_map(|arena| arena.spans.iter().copied()));
        heap.claimed.extend(allocator.mapped.spans.iter().copied());
        heap.claimed.extend(allocator.metadata.iter().copied());
    }
    heap.metadata = joined(heap.metadata);
    heap.claimed = joined(heap.claimed);
    heap.table = table;
    Ok(heap)
}

/// The same addresses, sorted, with spans that touch joined.
fn joined(mut spans: Vec<Span>) -> Vec<Span> {
    spans.retain(|span| !span.is_empty());
    spans.sort_unstable();
    let mut joined: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match joined.last_mut() {
            Some(last) if span.start() <= last.end() => {
                *last = Span::new(last.start(), last.end().max(span.end())).unwrap_or(*last);
            }
            _ => joined.push(span),
        }
    }
    joined
}
