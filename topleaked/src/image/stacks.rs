//! Threads' stacks and thread-local storage.
//!
//! A dump does not say which memory is a stack. The stack pointer does, unless the thread was on an alternate stack
//! (`sigaltstack`) or on one of its own making (coroutines). The kernel's gifts to the program (`AT_RANDOM`) mark the
//! main stack; glibc and musl keep a thread's control block at the top of its stack, where the thread pointer leads.

use crate::addr::{Addr, Span};
use crate::task::Diagnostic;

use super::module::{ModuleRole, ModuleSegmentKind};
use super::process::AuxiliaryVector;
use super::region::{MemoryKind, Painter, Region};
use super::thread::ThreadId;
use super::{Image, Machine};

/// The control block (`struct pthread`) of any glibc from 2.12 to 2.43 is smaller, on any machine.
const CONTROL_BLOCK_BYTES: u64 = 0xa00;
/// No control block is smaller than this together with what lies behind it up to the end of the stack.
const LEAST_ABOVE_BYTES: u64 = 0x400;
/// Static thread-local storage larger than this is not looked for.
const MOST_TLS_BYTES: u64 = 16 << 20;
/// More modules with thread-local storage than any process has: each thread's table of blocks is read.
const MOST_TLS_BLOCKS: u64 = 1 << 10;
/// On an alternate stack, memory further than this above the stack pointer is not taken for it.
const MOST_ALTERNATE_BYTES: u64 = 1 << 20;

/// Finds each thread's stack and thread-local storage, and paints both.
pub(super) fn settle(image: &mut Image, painter: &mut Painter) {
    let mut missing = Vec::new();
    let blocks = TlsBlocks::of(image);
    for index in 0..image.threads.len() {
        let Ok(id) = u32::try_from(index).map(ThreadId) else { break };
        let found = find(image, painter, index);
        if let Some(stack) = found.stack {
            paint(painter, stack, MemoryKind::Stack, id);
            paint_guard(image, painter, stack);
        }
        if let Some(alternate) = found.alternate {
            paint(painter, alternate, MemoryKind::Stack, id);
        }
        for span in thread_local(image, painter, &blocks, index, found.stack) {
            painter.paint(span, |old| {
                let claimed = matches!(old.kind, MemoryKind::Anonymous | MemoryKind::MainHeap)
                    || (old.kind == MemoryKind::Stack && old.thread == Some(id));
                claimed.then_some(Region { kind: MemoryKind::Tls, thread: Some(id), ..*old })
            });
        }
        if let Some(thread) = image.threads.get_mut(index) {
            thread.stack = found.stack;
            thread.live_stack = found.live;
            thread.alternate_stack = found.alternate;
        }
        let Some(thread) = image.threads.get(index) else { break };
        let held = thread.sp.is_some_and(|sp| !image.space.bytes_from(sp).is_empty());
        if !held {
            missing.push(thread.tid);
        }
    }
    if let Some(first) = missing.first() {
        let (at, effect) = match missing.len() {
            1 => (
                format!("thread {first}"),
                "its stack is not in the dump: what only it refers to looks unreferenced".into(),
            ),
            more => (
                format!("{more} threads, thread {first} first"),
                "their stacks are not in the dump: what only they refer to looks unreferenced".into(),
            ),
        };
        image.diagnostics.push(Diagnostic { code: "stack-missing", at, effect });
    }
}

fn paint(painter: &mut Painter, span: Span, kind: MemoryKind, thread: ThreadId) {
    painter.paint(span, |old| {
        (old.kind == MemoryKind::Anonymous).then_some(Region { kind, thread: Some(thread), ..*old })
    });
}

/// gdb writes the guard pages below a stack as if they could be read.
fn paint_guard(image: &Image, painter: &mut Painter, stack: Span) {
    let below = stack.start().checked_sub(1).and_then(|below| painter.at(below)).copied();
    let Some(below) = below.filter(|region| region.kind == MemoryKind::Anonymous) else { return };
    if image.space.find_segment(below.span.start()).is_some_and(|segment| !segment.permissions.write) {
        painter.paint(below.span, |old| Some(Region { kind: MemoryKind::Guard, ..*old }));
    }
}

#[derive(Default)]
struct Found {
    stack: Option<Span>,
    live: Option<Span>,
    alternate: Option<Span>,
}

fn find(image: &Image, painter: &Painter, index: usize) -> Found {
    let Some(thread) = image.threads.get(index) else { return Found::default() };
    let usable = |addr: Addr| {
        let region = painter.at(addr)?;
        matches!(region.kind, MemoryKind::Anonymous | MemoryKind::Stack).then_some(region.span)
    };
    let is_main = image.process.pid == Some(thread.tid);
    let marked = if is_main {
        image.auxv.get(AuxiliaryVector::RANDOM).map(Addr).and_then(usable)
    } else {
        thread.thread_pointer.filter(|pointer| points_at_itself(image, *pointer)).and_then(|pointer| {
            let span = usable(pointer)?;
            // The stack ends with the page that the control block ends in; what lies above was mapped before it.
            let end = pointer.checked_add(LEAST_ABOVE_BYTES)?.align_up(4096)?.min(span.end());
            Span::new(span.start(), end)
        })
    };
    let around = thread.sp.and_then(usable);
    let live = |stack: Span, sp: Addr| {
        let low = sp.checked_sub(image.machine.red_zone_bytes()).unwrap_or(sp).max(stack.start());
        Span::new(low, stack.end())
    };
    match (marked, thread.sp, around) {
        (Some(stack), Some(sp), _) if stack.contains(sp) => {
            Found { stack: Some(stack), live: live(stack, sp), alternate: None }
        }
        // Away from its own stack: how deep that one was then is not known, so all of it counts as live.
        (Some(stack), sp, other) => {
            let alternate = other.zip(sp).and_then(|(other, sp)| {
                let end = sp.checked_add(MOST_ALTERNATE_BYTES)?.min(other.end());
                live(Span::new(other.start(), end)?, sp)
            });
            Found { stack: Some(stack), live: Some(stack), alternate }
        }
        (None, Some(sp), Some(stack)) => Found { stack: Some(stack), live: live(stack, sp), alternate: None },
        (None, _, _) => Found::default(),
    }
}

/// On machines whose thread pointer is the address of a control block that starts with its own address
/// (the ABIs' second variant of thread-local storage), whether it does.
fn points_at_itself(image: &Image, pointer: Addr) -> bool {
    blocks_lie_below(image.machine) && image.space.word(pointer) == Some(pointer.0)
}

/// Whether modules' thread-local blocks lie below the thread pointer (variant II in Drepper, "ELF Handling For
/// Thread-Local Storage").
fn blocks_lie_below(machine: Machine) -> bool {
    matches!(machine, Machine::X86_64 | Machine::X86 | Machine::S390)
}

/// The thread-local storage that the modules ask for in each thread.
struct TlsBlocks {
    /// How many blocks, at most [`MOST_TLS_BLOCKS`].
    count: u64,
    /// Their bytes, at most [`MOST_TLS_BYTES`].
    total: u64,
}

impl TlsBlocks {
    fn of(image: &Image) -> TlsBlocks {
        let sizes = image
            .modules
            .iter()
            .flat_map(|module| module.segments(ModuleSegmentKind::Tls))
            .map(|segment| segment.memsz.min(MOST_TLS_BYTES).saturating_add(segment.align.min(4096)));
        let (count, total) = sizes.fold((0u64, 0u64), |(count, total), size| (count + 1, total.saturating_add(size)));
        TlsBlocks { count: count.min(MOST_TLS_BLOCKS), total: total.min(MOST_TLS_BYTES) }
    }
}

/// The thread's control block with the static blocks of its modules, and the table that leads to the other blocks.
fn thread_local(
    image: &Image,
    painter: &Painter,
    blocks_of_modules: &TlsBlocks,
    index: usize,
    stack: Option<Span>,
) -> Vec<Span> {
    let Some(thread) = image.threads.get(index) else { return Vec::new() };
    let Some(pointer) = thread.thread_pointer else { return Vec::new() };
    let Some(region) = painter.at(pointer).map(|region| region.span) else { return Vec::new() };
    let TlsBlocks { count, total } = *blocks_of_modules;
    let width = image.target().width.bytes() as u64;
    // glibc and musl keep the table of blocks (dtv) in the second word of the block, or the first where blocks lie above.
    let table_at = if blocks_lie_below(image.machine) { pointer.checked_add(width) } else { Some(pointer) };
    let table = table_at.and_then(|at| image.space.word(at)).map(Addr);
    // glibc has two words a module, after a pair of the table's own; one more pair stands before the table.
    let table_span = table.and_then(|table| {
        let start = table.checked_sub(2 * width)?;
        Span::with_size(start, (2 * count + 4) * width)
    });
    let entries =
        table_span.iter().flat_map(|span| (0..2 * count + 4).map_while(|at| span.start().checked_add(at * width)));
    let blocks = entries.filter_map(|at| image.space.word(at)).filter(|value| {
        let limit = total.saturating_add(MOST_TLS_BYTES.min(64 << 10));
        value.abs_diff(pointer.0) <= limit && region.contains(Addr(*value))
    });
    let blocks: Vec<u64> = blocks.collect();
    let (low, high) = if blocks_lie_below(image.machine) {
        let low = blocks.iter().copied().filter(|block| *block < pointer.0).min();
        let low = low.unwrap_or_else(|| pointer.0.saturating_sub(total));
        (low, pointer.0.saturating_add(CONTROL_BLOCK_BYTES))
    } else {
        (pointer.0.saturating_sub(CONTROL_BLOCK_BYTES), pointer.0.saturating_add(total + 16 * width))
    };
    // Never below what the thread had pushed.
    let floor = thread.sp.filter(|sp| region.contains(*sp) && sp.0 < pointer.0).unwrap_or(region.start());
    let block = Span::new(Addr(low).max(floor), Addr(high).min(region.end()));
    // At the top of a stack all the rest belongs to the library.
    let block = match (block, stack) {
        (Some(block), Some(stack)) if stack.contains(pointer) => Span::new(block.start(), stack.end()),
        (block, _) => block,
    };
    // Where the linker's own memory holds the table; in the heap it is an allocation like others.
    let table_span = table_span.filter(|span| {
        let has_linker = image.modules.iter().any(|module| module.role == ModuleRole::Interpreter);
        has_linker && painter.at(span.start()).is_some_and(|region| region.kind == MemoryKind::Anonymous)
    });
    block.into_iter().chain(table_span).filter(|span| !span.is_empty()).collect()
}
