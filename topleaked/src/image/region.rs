//! Kinds of memory: the one classification that all questions share.

use std::collections::BTreeMap;
use std::fmt;

use crate::addr::{Addr, Span};

use super::module::ModuleId;
use super::thread::ThreadId;

/// What a piece of memory is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MemoryKind {
    /// The heap that grows by `brk`.
    MainHeap,
    /// Private memory without a file: further heaps, mapped allocations, arenas.
    Anonymous,
    /// A thread's stack.
    Stack,
    /// Thread-local variables and the thread's control block.
    Tls,
    /// A module's data that is read-only once relocated: vtables, the GOT.
    Relro,
    /// A module's initialised data.
    Data,
    /// A module's data that starts as zero.
    Bss,
    /// A module's read-only data.
    Rodata,
    /// A module's code.
    Text,
    /// Memory shared with other processes, without a regular file: `shmget`, `memfd`, `/dev/zero`.
    Shared,
    /// A mapped file that is no module.
    FileMapping,
    /// What the kernel maps into each process: code and data of its own.
    Vdso,
    /// Memory without access: guard pages, reserved address space.
    Guard,
}

impl MemoryKind {
    /// All kinds, in the order in which they are shown.
    pub const ALL: [MemoryKind; 13] = [
        MemoryKind::MainHeap,
        MemoryKind::Anonymous,
        MemoryKind::Stack,
        MemoryKind::Tls,
        MemoryKind::Relro,
        MemoryKind::Data,
        MemoryKind::Bss,
        MemoryKind::Rodata,
        MemoryKind::Text,
        MemoryKind::Shared,
        MemoryKind::FileMapping,
        MemoryKind::Vdso,
        MemoryKind::Guard,
    ];

    /// Its name, the same in all output: `main-heap`.
    pub fn name(self) -> &'static str {
        match self {
            MemoryKind::MainHeap => "main-heap",
            MemoryKind::Anonymous => "anonymous",
            MemoryKind::Stack => "stack",
            MemoryKind::Tls => "tls",
            MemoryKind::Relro => "relro",
            MemoryKind::Data => "data",
            MemoryKind::Bss => "bss",
            MemoryKind::Rodata => "rodata",
            MemoryKind::Text => "text",
            MemoryKind::Shared => "shared",
            MemoryKind::FileMapping => "file-mapping",
            MemoryKind::Vdso => "vdso",
            MemoryKind::Guard => "guard",
        }
    }
}

impl fmt::Display for MemoryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A run of memory of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Region {
    /// Its addresses.
    pub span: Span,
    /// What it is for.
    pub kind: MemoryKind,
    /// The module it belongs to.
    pub module: Option<ModuleId>,
    /// The thread it belongs to.
    pub thread: Option<ThreadId>,
}

/// Regions while they are being told apart: later claims paint over earlier ones, and only where there is memory.
#[derive(Debug, Default)]
pub(super) struct Painter {
    /// By start; never overlapping.
    regions: BTreeMap<Addr, Region>,
    /// How many regions were painted by claims that reach over many.
    far: usize,
    /// Whether claims were cut short.
    gave_up: bool,
}

/// A claim that touches no more regions than this is ordinary.
const ORDINARY: usize = 64;
/// So many regions may be touched beyond that, by all claims together: modules and mapped files of a hostile dump each claim all
/// of its memory.
const MOST_FAR: usize = 1 << 20;

impl Painter {
    /// Adds memory. It must not overlap what is there.
    pub(super) fn add(&mut self, region: Region) {
        if !region.span.is_empty() {
            self.regions.insert(region.span.start(), region);
        }
    }

    /// Gives the parts of `span` that are memory to `claim` where it answers, and leaves the others as they are.
    pub(super) fn paint(&mut self, span: Span, claim: impl Fn(&Region) -> Option<Region>) {
        let first = self.regions.range(..=span.start()).next_back().map_or(span.start(), |(start, _)| *start);
        let most = ORDINARY.max(MOST_FAR.saturating_sub(self.far));
        let in_reach = self.regions.range(first..span.end()).map(|(_, region)| *region);
        let touched: Vec<Region> = in_reach.take(most + 1).collect();
        self.gave_up |= touched.len() > most;
        self.far = self.far.saturating_add(touched.len().saturating_sub(ORDINARY));
        for old in touched {
            let Some(common) = old.span.intersection(span) else { continue };
            let Some(new) = claim(&old) else { continue };
            self.regions.remove(&old.span.start());
            let rest = [Span::new(old.span.start(), common.start()), Span::new(common.end(), old.span.end())];
            for part in rest.into_iter().flatten() {
                self.add(Region { span: part, ..old });
            }
            self.add(Region { span: common, ..new });
        }
    }

    /// Whether claims reached over so much memory that they were cut short.
    pub(super) fn gave_up(&self) -> bool {
        self.gave_up
    }

    /// The region at `addr`.
    pub(super) fn at(&self, addr: Addr) -> Option<&Region> {
        self.regions.range(..=addr).next_back().map(|(_, region)| region).filter(|region| region.span.contains(addr))
    }

    /// The regions from `addr` on, by address.
    pub(super) fn from(&self, addr: Addr) -> impl Iterator<Item = &Region> {
        self.regions.range(addr..).map(|(_, region)| region)
    }

    /// All regions, by address.
    pub(super) fn finish(self) -> Vec<Region> {
        self.regions.into_values().collect()
    }
}
