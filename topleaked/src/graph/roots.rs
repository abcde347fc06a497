//! Roots: the places from which the program can start.

use crate::addr::{Addr, Span, Target};
use crate::heap::{Heap, State};
use crate::image::{Content, Image, MemoryKind, MissingReason, ModuleId, ThreadId};
use crate::task::Diagnostic;

use super::threads;

/// From so many bytes on, memory of no known use is worth a word: mappings of a few pages are in each process.
const UNKNOWN_BYTES: u64 = 1 << 20;

/// What kind of place a root is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum RootKind {
    /// A register of a thread.
    Register = 0,
    /// The live part of a thread's stack, with the red zone below the stack pointer where the machine has one.
    Stack = 1,
    /// Thread-local storage, and the thread's control block.
    ThreadLocal = 2,
    /// A module's variables: data, bss, and what is read-only after relocation.
    ModuleData = 3,
    /// Memory shared with other processes.
    Shared = 4,
    /// A writable mapping of a file.
    FileMapping = 5,
    /// Other writable memory that belongs to no allocator known here.
    Other = 6,
    /// Stale: the part of a stack below the stack pointer.
    DeadStack = 7,
    /// Stale: the stack of a thread that ended, kept for the next one.
    CachedStack = 8,
    /// Stale: a run of the heap with broken headers, of which nobody knows what is still in use.
    DamagedHeap = 9,
}

impl RootKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [RootKind; 10] = [
        RootKind::Register,
        RootKind::Stack,
        RootKind::ThreadLocal,
        RootKind::ModuleData,
        RootKind::Shared,
        RootKind::FileMapping,
        RootKind::Other,
        RootKind::DeadStack,
        RootKind::CachedStack,
        RootKind::DamagedHeap,
    ];

    /// Its name, the same in all output: `module-data`.
    pub fn name(self) -> &'static str {
        match self {
            RootKind::Register => "register",
            RootKind::Stack => "stack",
            RootKind::ThreadLocal => "thread-local",
            RootKind::ModuleData => "module-data",
            RootKind::Shared => "shared",
            RootKind::FileMapping => "file-mapping",
            RootKind::Other => "other-memory",
            RootKind::DeadStack => "dead-stack",
            RootKind::CachedStack => "cached-stack",
            RootKind::DamagedHeap => "damaged-heap",
        }
    }

    /// Whether the program is, or may be, done with such a place.
    pub fn is_stale(self) -> bool {
        matches!(self, RootKind::DeadStack | RootKind::CachedStack | RootKind::DamagedHeap)
    }
}

/// Memory that is a root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RootMemory {
    /// Its addresses.
    pub span: Span,
    /// What it is.
    pub kind: RootKind,
    /// Whose stack or thread-local storage it is.
    pub thread: Option<ThreadId>,
    /// Whose variables they are.
    pub module: Option<ModuleId>,
}

/// A register that is a root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RootRegister {
    /// Its name on its machine.
    pub name: &'static str,
    /// Its value.
    pub value: u64,
    /// Whose it is.
    pub thread: ThreadId,
}

/// A word in memory that is a root whatever lies around it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RootWord {
    /// Where it is.
    pub at: Addr,
    /// An address in the allocation that it holds.
    pub value: u64,
    /// What kind of place it is in.
    pub kind: RootKind,
}

/// One root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Root {
    /// Memory, of which each aligned word counts.
    Memory(RootMemory),
    /// A register.
    Register(RootRegister),
    /// A single word.
    Word(RootWord),
}

/// All roots of a process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Roots {
    target: Target,
    memory: Vec<RootMemory>,
    registers: Vec<RootRegister>,
    words: Vec<RootWord>,
    diagnostics: Vec<Diagnostic>,
}

impl Roots {
    /// How the process laid out its words.
    pub fn target(&self) -> Target {
        self.target
    }

    /// All of them: registers, single words, then memory by address.
    pub fn iter(&self) -> impl Iterator<Item = Root> + '_ {
        let registers = self.registers.iter().copied().map(Root::Register);
        let words = self.words.iter().copied().map(Root::Word);
        registers.chain(words).chain(self.memory.iter().copied().map(Root::Memory))
    }

    /// The roots that are memory, by address, without overlap.
    pub fn memory(&self) -> &[RootMemory] {
        &self.memory
    }

    /// The root that `addr` lies in.
    pub fn memory_at(&self, addr: Addr) -> Option<&RootMemory> {
        let at = self.memory.partition_point(|root| root.span.end() <= addr);
        self.memory.get(at).filter(|root| root.span.contains(addr))
    }

    /// What weakens conclusions from these roots: stacks and data that are not in the dump.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Finds all roots of `image`. Memory that an allocator owns is none: used allocations have to be reached
    /// themselves, and what allocators keep about free ones holds nothing for the program.
    pub fn find(image: &Image, heap: &Heap) -> Roots {
        let mut roots = Roots {
            target: image.target(),
            memory: Vec::new(),
            registers: Vec::new(),
            words: Vec::new(),
            diagnostics: Vec::new(),
        };
        roots.take_registers(image);
        roots.take_memory(image, &heap.claimed);
        for stack in threads::find_cached_stacks(image, &roots.memory) {
            roots.repaint(stack.span, RootKind::CachedStack);
            roots.words.extend(stack.held);
        }
        roots.words.extend(threads::find_dynamic_thread_vectors(image));
        roots.take_damaged(heap);
        roots.note_missing(image, heap);
        roots
    }

    #[cfg(test)]
    pub(super) fn of_memory(target: Target, memory: Vec<RootMemory>) -> Roots {
        Roots { target, memory, registers: Vec::new(), words: Vec::new(), diagnostics: Vec::new() }
    }

    fn take_registers(&mut self, image: &Image) {
        for (index, thread) in (0_u32..).zip(image.threads()) {
            let registers = thread.registers.iter();
            self.registers.extend(registers.map(|(name, value)| RootRegister { name, value, thread: ThreadId(index) }));
        }
    }

    fn take_memory(&mut self, image: &Image, claimed: &[Span]) {
        for region in image.regions() {
            let kind = match region.kind {
                MemoryKind::Stack => RootKind::Stack,
                MemoryKind::Tls => RootKind::ThreadLocal,
                MemoryKind::Relro | MemoryKind::Data | MemoryKind::Bss => RootKind::ModuleData,
                MemoryKind::MainHeap | MemoryKind::Anonymous => RootKind::Other,
                MemoryKind::Shared => RootKind::Shared,
                MemoryKind::FileMapping => RootKind::FileMapping,
                MemoryKind::Rodata | MemoryKind::Text | MemoryKind::Vdso | MemoryKind::Guard => continue,
            };
            let root = RootMemory { span: region.span, kind, thread: region.thread, module: region.module };
            let segment = image.space().find_segment(region.span.start());
            if !segment.is_some_and(|segment| segment.permissions.write) && region.kind != MemoryKind::Relro {
                continue;
            }
            let live = match kind {
                RootKind::Stack => region.thread.and_then(|id| image.threads().get(id.0 as usize)?.live_stack),
                _ => None,
            };
            match live {
                // A stack whose stack pointer is not known is live as a whole.
                None => self.add(root, claimed),
                Some(live) => {
                    let dead = Span::new(root.span.start(), live.start().clamp(root.span.start(), root.span.end()));
                    if let Some(span) = dead {
                        self.add(RootMemory { span, kind: RootKind::DeadStack, ..root }, claimed);
                    }
                    if let Some(span) = root.span.intersection(live) {
                        self.add(RootMemory { span, ..root }, claimed);
                    }
                }
            }
        }
    }

    /// Adds the parts of `root` that no allocator claims.
    fn add(&mut self, root: RootMemory, claimed: &[Span]) {
        let mut from = root.span.start();
        let first = claimed.partition_point(|span| span.end() <= from);
        for span in claimed.get(first..).unwrap_or_default() {
            if span.start() >= root.span.end() {
                break;
            }
            if let Some(free) = Span::new(from, span.start()).filter(|free| !free.is_empty()) {
                self.memory.push(RootMemory { span: free, ..root });
            }
            from = from.max(span.end());
        }
        if let Some(rest) = Span::new(from, root.span.end()).filter(|rest| !rest.is_empty()) {
            self.memory.push(RootMemory { span: rest, ..root });
        }
    }

    /// Makes the roots in `span` roots of another kind.
    fn repaint(&mut self, span: Span, kind: RootKind) {
        let mut memory = Vec::with_capacity(self.memory.len() + 2);
        for root in self.memory.drain(..) {
            let Some(common) = root.span.intersection(span) else {
                memory.push(root);
                continue;
            };
            let below = Span::new(root.span.start(), common.start());
            let above = Span::new(common.end(), root.span.end());
            memory.extend(below.map(|span| RootMemory { span, ..root }));
            memory.push(RootMemory { span: common, kind, ..root });
            memory.extend(above.map(|span| RootMemory { span, ..root }));
        }
        memory.retain(|root| !root.span.is_empty());
        self.memory = memory;
    }

    /// What lies in a damaged run of the heap may be in use, and hold other allocations.
    fn take_damaged(&mut self, heap: &Heap) {
        if heap.allocators.iter().all(|allocator| allocator.damage.is_empty()) {
            return;
        }
        for id in heap.table.ids().filter(|id| heap.table.state(*id) == State::Damaged) {
            let span = heap.table.span(id);
            self.memory.push(RootMemory { span, kind: RootKind::DamagedHeap, thread: None, module: None });
        }
        self.memory.sort_by_key(|root| root.span);
    }

    /// Says which roots and which allocations' contents are not in the dump.
    fn note_missing(&mut self, image: &Image, heap: &Heap) {
        let mut missing = Vec::new();
        for thread in image.threads() {
            let at = || format!("thread {}", thread.tid);
            let Some(live) = thread.live_stack.or(thread.stack) else {
                missing.push(("stack-missing", at(), "leaks may be overstated: its stack was not found".to_owned()));
                continue;
            };
            let bytes = missing_bytes(image, live);
            if bytes > 0 {
                let effect = format!("leaks may be overstated: {bytes} bytes of its stack are not in the dump");
                missing.push(("stack-missing", at(), effect));
            }
        }
        if image.threads().iter().all(|thread| thread.registers.iter().next().is_none()) {
            let effect = "leaks may be overstated: the dump has no registers of any thread";
            missing.push(("registers-missing", "threads".to_owned(), effect.to_owned()));
        }
        let of_kind = |kind: RootKind| {
            let roots = || self.memory.iter().filter(move |root| root.kind == kind);
            // Linux writes private memory whole once the process wrote to it, and not at all before (fs/coredump.c,
            // vma_dump_size), gdb's gcore does the like. Where variables are in the dump at all, those left out were
            // never written: they hold no pointer that the program put there.
            let is_written = |root: &RootMemory| missing_bytes(image, root.span) < root.span.size_bytes();
            // The same goes for other private memory, of which the heap shows that it is dumped.
            let dumped = match kind {
                RootKind::ModuleData => roots().any(is_written),
                RootKind::Other | RootKind::ThreadLocal => !heap.table.is_empty() || roots().any(is_written),
                _ => false,
            };
            if dumped {
                return roots().map(|root| missing_written_bytes(image, root.span)).sum();
            }
            roots().map(|root| missing_bytes(image, root.span)).sum::<u64>()
        };
        for (kind, code) in [
            (RootKind::ModuleData, "module-data-missing"),
            (RootKind::ThreadLocal, "thread-local-missing"),
            (RootKind::Shared, "shared-memory-missing"),
            (RootKind::FileMapping, "file-mapping-missing"),
            (RootKind::Other, "memory-missing"),
        ] {
            let bytes = of_kind(kind);
            if bytes > 0 {
                let effect = format!("leaks may be overstated: {bytes} bytes of such memory are not in the dump");
                missing.push((code, kind.name().to_owned(), effect));
            }
        }
        let unknown = |root: &&RootMemory| root.kind == RootKind::Other && root.thread.is_none();
        let bytes: u64 = self.memory.iter().filter(unknown).map(|root| root.span.size_bytes()).sum();
        if bytes >= UNKNOWN_BYTES {
            let effect = format!(
                "leaks may be understated: {} MiB of private memory belong to no allocator that is known here; what lies \
                 in them is not told apart, and all of it counts as reachable",
                bytes >> 20
            );
            missing.push(("memory-of-unknown-use", RootKind::Other.name().to_owned(), effect));
        }
        let bytes: u64 = heap.claimed.iter().map(|span| missing_bytes(image, *span)).sum();
        if bytes > 0 {
            let effect = format!("leaks may be overstated: {bytes} bytes of it are not in the dump");
            missing.push(("heap-missing", "heap".to_owned(), effect));
        }
        self.diagnostics.extend(missing.into_iter().map(|(code, at, effect)| Diagnostic { code, at, effect }));
    }
}

/// How many bytes of `span` the dump does not have, of memory that the process could read.
fn missing_bytes(image: &Image, span: Span) -> u64 {
    missing_but(image, span, &[MissingReason::Guard])
}

/// The same without what whoever wrote the dump left out.
fn missing_written_bytes(image: &Image, span: Span) -> u64 {
    missing_but(image, span, &[MissingReason::Guard, MissingReason::NotDumped])
}

/// How many bytes of `span` the dump does not have, for another reason than those.
fn missing_but(image: &Image, span: Span, reasons: &[MissingReason]) -> u64 {
    let segments = image.space().segments();
    let first = segments.partition_point(|segment| segment.span.end() <= span.start());
    let segments = segments.get(first..).unwrap_or_default();
    segments
        .iter()
        .take_while(|segment| segment.span.start() < span.end())
        .filter(|segment| matches!(segment.content, Content::Missing(reason) if !reasons.contains(&reason)))
        .filter_map(|segment| segment.span.intersection(span))
        .map(Span::size_bytes)
        .sum()
}
