//! What glibc keeps about threads, where it decides what is a root: the stacks of threads that ended, and the vectors
//! through which threads find their variables.

use crate::addr::{Addr, Span};
use crate::image::{Image, Machine};

use super::roots::{RootKind, RootMemory, RootWord};

/// `struct pthread` is smaller than this in all releases.
const PTHREAD_BYTES: u64 = 0x1000;
/// A stack is at least this large (`PTHREAD_STACK_MIN`), and smaller than this.
const STACK_BYTES: std::ops::Range<u64> = 0x4000..1 << 40;
/// A process keeps a few dozen stacks at most: the cache is limited to 40 MiB.
const MOST_CACHED: usize = 1 << 16;

/// The stack of a thread that ended, kept for the next one.
#[derive(Clone, Copy, Debug)]
pub(super) struct CachedStack {
    pub(super) span: Span,
    /// What the kept stack still holds for good.
    pub(super) held: Option<RootWord>,
}

/// Where the pointer to the dynamic thread vector lies, from the thread pointer (glibc `tcbhead_t`, `sysdeps/*/nptl/tls.h`);
/// `None` where it is elsewhere.
fn vector_offset(machine: Machine, width: u64) -> Option<u64> {
    match machine {
        Machine::X86_64 | Machine::X86 | Machine::S390 => Some(width),
        Machine::Aarch64 | Machine::Arm => Some(0),
        _ => None,
    }
}

/// The vectors of all threads: each is an allocation that its thread holds by a pointer to its second element
/// (glibc 2.36 `elf/dl-tls.c`, `allocate_dtv`, and `INSTALL_DTV`), of two words each.
pub(super) fn find_dynamic_thread_vectors(image: &Image) -> Vec<RootWord> {
    let pointers = image.threads().iter().filter_map(|thread| thread.thread_pointer);
    pointers.filter_map(|pointer| thread_vector(image, pointer)).collect()
}

fn thread_vector(image: &Image, thread_pointer: Addr) -> Option<RootWord> {
    let width = image.target().width.bytes() as u64;
    let at = thread_pointer.checked_add(vector_offset(image.machine(), width)?)?;
    let value = image.space().word(at)?.checked_sub(2 * width)?;
    Some(RootWord { at, value, kind: RootKind::ThreadLocal })
}

/// Finds the stacks that glibc keeps of threads that ended. The control block on top of a stack points at itself twice
/// (`tcbhead_t`: `tcb` and `self`, on x86 and IBM Z), and says where the stack lies; a thread that still runs has a
/// thread pointer to it. On other machines nothing tells such a stack from other memory, and it counts as that.
pub(super) fn find_cached_stacks(image: &Image, memory: &[RootMemory]) -> Vec<CachedStack> {
    if !matches!(image.machine(), Machine::X86_64 | Machine::X86 | Machine::S390) || image.threads().is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let width = image.target().width.bytes() as u64;
    for root in memory.iter().filter(|root| root.kind == RootKind::Other) {
        let Some(mut at) = root.span.start().align_up(64) else { continue };
        while at < root.span.end() && found.len() < MOST_CACHED {
            let bytes = image.space().bytes_from(at);
            // The bytes go on to the end of the segment, the root perhaps not.
            let end = root.span.end().0.min(at.0.saturating_add(bytes.len() as u64));
            let step = 64;
            let blocks = usize::try_from(end.saturating_sub(at.0)).unwrap_or(usize::MAX).div_ceil(step);
            for (place, block) in bytes.chunks(step).take(blocks).enumerate() {
                let here = at.0 + (place * step) as u64;
                if image.target().word(block) == Some(here)
                    && block.get(2 * width as usize..).and_then(|rest| image.target().word(rest)) == Some(here)
                    && image.threads().iter().all(|thread| thread.thread_pointer != Some(Addr(here)))
                    && let Some(span) = stack_of(image, Addr(here))
                {
                    found.push(CachedStack { span, held: thread_vector(image, Addr(here)) });
                }
            }
            // Where nothing is to be had the segment is passed over.
            let next = match image.space().find_segment(at) {
                Some(segment) => segment.span.end(),
                None => root.span.end(),
            };
            let Some(next) = next.align_up(64).filter(|next| *next > at) else { break };
            at = next;
        }
    }
    found
}

/// The stack on top of which the control block at `pthread` lies: `stackblock` and `stackblock_size`, two words in a row
/// somewhere in `struct pthread`.
fn stack_of(image: &Image, pthread: Addr) -> Option<Span> {
    let width = image.target().width.bytes() as u64;
    (0..PTHREAD_BYTES).step_by(width as usize).find_map(|offset| {
        let at = pthread.checked_add(offset)?;
        let start = Addr(image.space().word(at)?);
        let size = image.space().word(at.checked_add(width)?)?;
        let span = Span::with_size(start, size)?;
        (start.is_aligned(4096) && size.is_multiple_of(4096) && STACK_BYTES.contains(&size) && span.contains(pthread))
            .then_some(span)
    })
}
