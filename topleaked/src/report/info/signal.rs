//! What a signal's code means.

use crate::addr::Addr;
use crate::image::{Image, Machine, MemoryKind, Signal};

/// Codes from the kernel's point of view (Linux `include/uapi/asm-generic/siginfo.h`).
const SI_USER: i32 = 0;
const SI_KERNEL: i32 = 128;
const SI_QUEUE: i32 = -1;
const SI_TIMER: i32 = -2;
const SI_TKILL: i32 = -6;

/// Addresses below this are taken for a null pointer and an offset from it.
const NULL_PAGE: u64 = 4096;
/// A function's own variables seldom take more than this.
const MOST_FRAME_BYTES: u64 = 1 << 20;

/// Why the signal was sent, in words.
pub(super) fn meaning(image: &Image, signal: &Signal) -> Option<String> {
    let name = signal.name(image.machine())?;
    let code = signal.code?;
    let sender = || {
        let pid = signal.sender_pid?;
        let own = image.process().pid == Some(pid);
        Some(if own { "the process sent it to itself".to_owned() } else { format!("process {pid} sent it") })
    };
    let text = match (name, code) {
        (_, SI_USER | SI_TKILL | SI_QUEUE) => return sender(),
        (_, SI_TIMER) => "a timer of the process sent it",
        ("SIGSEGV", SI_KERNEL) if image.machine() == Machine::X86_64 => {
            "an address that cannot exist was accessed (the processor does not tell which)"
        }
        (_, SI_KERNEL) => "the kernel sent it",
        ("SIGSEGV", 1) => return Some(address(image, signal, "is not mapped")),
        ("SIGSEGV", 2) => return Some(address(image, signal, "may not be accessed so")),
        ("SIGSEGV", 3) => "a bound was exceeded",
        ("SIGSEGV", 4) => "a protection key forbids the access",
        ("SIGBUS", 1) => "the address is not aligned as the instruction wants it",
        ("SIGBUS", 2) => return Some(address(image, signal, "has no memory behind it (a mapped file that was cut?)")),
        ("SIGBUS", 3..=5) => "the memory is broken",
        ("SIGFPE", 1) => "integer division by zero",
        ("SIGFPE", 2) => "integer overflow",
        ("SIGFPE", 3) => "floating-point division by zero",
        ("SIGFPE", 4..=7) => "floating-point exception",
        ("SIGILL", 1) => "an instruction that the processor does not know",
        ("SIGILL", 2) => "an operand that the instruction does not take",
        ("SIGILL", 5 | 6) => "an instruction that only the kernel may execute",
        ("SIGTRAP", 1) => "a breakpoint",
        ("SIGSYS", 1) => "a system call that the sandbox forbids (seccomp)",
        _ => return None,
    };
    Some(text.to_owned())
}

fn address(image: &Image, signal: &Signal, what: &str) -> String {
    let Some(addr) = signal.fault_address else { return format!("the address {what}") };
    let near = match image.region(addr).map(|region| region.kind) {
        _ if addr.0 == 0 => " (a null pointer)".to_owned(),
        _ if addr.0 < NULL_PAGE => format!(" (a null pointer, {} bytes into the object)", addr.0),
        Some(MemoryKind::Guard) | None if below_stack(image, addr) => {
            " (right below a stack: it overflowed)".to_owned()
        }
        Some(MemoryKind::Guard) => " (a guard page)".to_owned(),
        Some(kind) => format!(" ({kind})"),
        None => String::new(),
    };
    format!("address {:#x} {what}{near}", addr.0)
}

/// Whether the next memory above is a stack, so near that a call could have reached for `addr`.
fn below_stack(image: &Image, addr: Addr) -> bool {
    let mut above = image.regions_from(addr).iter().filter(|region| region.kind != MemoryKind::Guard);
    above.next().is_some_and(|region| {
        region.kind == MemoryKind::Stack && region.span.start().0.saturating_sub(addr.0) <= MOST_FRAME_BYTES
    })
}
