//! What refers to what: roots, references between allocations, who is reached, and what went with what.
//!
//! Knows words, and where they point. Refuses to know types: that a word is a pointer is never certain here, only that
//! it would be one.
//!
//! **References.** A reference is an aligned word whose value is an address in a used allocation. It is *sure* where it
//! is the address of the first byte, or where memory proves that a pointer into the middle is meant
//! (a base subobject by its vtable, an array behind its length, a hook of a linked list, the control bytes of a Rust
//! map, memory aligned by hand, a shared string, text behind its length, an object that knows the pool that it lies in). Any other pointer into the middle is *doubtful*.
//!
//! **Reachability.** An allocation is *anchored* where sure references lead to it from a root; *possibly leaked* where
//! doubtful ones are needed, or where they start at a place that the program is done with; *leaked* where nothing
//! leads to it.
//!
//! What this gets wrong: a number that equals an address anchors what it hits (leaks are understated), and so does a
//! pointer that the program forgot to clear; a pointer that is stored in another form (compressed, encrypted,
//! unaligned, as an offset) is not seen (leaks are overstated).
//!
//! ```no_run
//! use std::path::Path;
//! use topleaked::graph::{References, Roots, Tags};
//! use topleaked::heap::walk_heaps;
//! use topleaked::image::{Image, OpenOptions};
//! use topleaked::task::Task;
//!
//! let task = Task::default();
//! let image = Image::open(Path::new("core"), &OpenOptions::default(), &task)?;
//! let heap = walk_heaps(&image, &task)?;
//! let roots = Roots::find(&image, &heap);
//! let graph = References::new(&image, &heap, &roots, Tags::default()).build_graph(&task);
//! for id in graph.clusters.unreferenced().iter() {
//!     println!("{} was let go", heap.table.address(id));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bits;
mod cluster;
mod crew;
pub(crate) mod form;
mod incoming;
mod mark;
pub(crate) mod memory;
mod path;
mod prefetch;
mod reference;
mod roots;
mod shape;
#[cfg(test)]
mod tests;
mod threads;

use crate::addr::{Addr, Span, Target};
use crate::heap::{AllocId, Heap};
use crate::image::Image;
use crate::task::Task;

pub use bits::AllocSet;
pub use cluster::{ClusterSizes, Clusters};
pub use incoming::{Holder, Incoming, IncomingReferences};
pub use mark::{Marks, Reachability};
pub use path::{Path, Step};
pub use roots::{Root, RootKind, RootMemory, RootRegister, RootWord, Roots};

use reference::{Aim, Ground};

/// Which bits of a pointer the program used for something else.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tags {
    /// The lowest two (4-byte words) or three bits may be set in a pointer to an allocation's start.
    pub low_bits: bool,
    /// The top byte is not part of an address (aarch64's top-byte-ignore).
    pub top_byte: bool,
}

/// Where a word points.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pointer {
    /// The allocation that it points into, used or not.
    pub allocation: AllocId,
    /// How many bytes behind its start; 0 also for a tagged pointer to the start.
    pub offset: u64,
    /// Whether it holds the allocation for sure.
    pub sure: bool,
}

/// All references of one process. Nothing is stored: each question reads the memory that it needs.
#[derive(Debug)]
pub struct References<'a> {
    ground: Ground<'a>,
    heap: &'a Heap,
    roots: &'a Roots,
}

impl<'a> References<'a> {
    /// The references in the memory of `image` to the allocations of `heap`.
    pub fn new(image: &'a Image, heap: &'a Heap, roots: &'a Roots, tags: Tags) -> References<'a> {
        References { ground: Ground::new(image.space(), image.regions(), &heap.table, tags), heap, roots }
    }

    /// Marks what the roots reach, and sorts the rest into clusters. Reads each anchored and each leaked allocation once.
    pub fn build_graph(&self, task: &Task) -> Graph {
        Graph::of_ground(&self.ground, self.roots, task)
    }

    /// Where a word points, taken as the marking takes it; `None` where it points into no allocation.
    pub fn find_pointer(&self, word: u64) -> Option<Pointer> {
        let (allocation, aim) = self.ground.resolve(word)?;
        Some(match aim {
            Aim::Start => Pointer { allocation, offset: 0, sure: true },
            Aim::Inside(offset) => Pointer { allocation, offset, sure: self.ground.proves(allocation, offset) },
        })
    }

    /// The words in roots and used allocations that point into `target`: all are counted, the first `most` are kept.
    /// Words inside `target` do not count. Reads all memory.
    pub fn find_incoming(&self, target: Span, most: usize, task: &Task) -> IncomingReferences {
        let search =
            incoming::FindIncoming { ground: &self.ground, heap: self.heap, roots: self.roots, target, most, task };
        form::with_form(self.target(), search)
    }

    /// A shortest way from a root to `target`, which has to be in use. Reads what lies nearer to the roots.
    pub fn find_path(&self, target: AllocId, task: &Task) -> Path {
        form::with_form(self.target(), path::FindPath { ground: &self.ground, roots: self.roots, target, task })
    }

    /// Calls `found` for each aligned word of `span` that points into an allocation: where the word is, and where it
    /// points.
    pub fn for_each_pointer(&self, span: Span, mut found: impl FnMut(Addr, Pointer)) {
        let width = self.target().width.bytes();
        for (start, bytes) in self.ground.memory.runs(span) {
            let skip = (start.0.wrapping_neg() as usize) & (width - 1);
            for (at, raw) in bytes.get(skip..).unwrap_or_default().chunks_exact(width).enumerate() {
                if let Some(pointer) = self.target().word(raw).and_then(|word| self.find_pointer(word)) {
                    found(Addr(start.0 + (skip + at * width) as u64), pointer);
                }
            }
        }
    }

    fn target(&self) -> Target {
        self.roots.target()
    }
}

/// What marking and clustering found of one heap.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Graph {
    /// Who is reached.
    pub marks: Marks,
    /// The leaked ones by cluster.
    pub clusters: Clusters,
}

impl Graph {
    fn of_ground(ground: &Ground<'_>, roots: &Roots, task: &Task) -> Graph {
        let marks = mark::mark(ground, roots, task);
        let clusters = cluster::build_clusters(ground, &marks, roots.target(), task);
        Graph { marks, clusters }
    }
}
