//! Numbers that are the same all over one process, because the C library drew them when it started.

use crate::addr::{Addr, Width};
use crate::image::{Image, Machine, ModuleId, ModuleRole};
use crate::symbols::Symbols;

/// The numbers of this process, with what they are for.
pub(super) fn known_numbers(symbols: &Symbols<'_>) -> Vec<(u64, &'static str)> {
    let image = symbols.image();
    let mut known: Vec<(u64, &'static str)> = Vec::new();
    let drawn = |number: Option<u64>| number.filter(|number| *number > 0xffff);
    if let Some((canary, guard)) = guards(image) {
        known.extend(drawn(canary).map(|number| (number, "stack guard (-fstack-protector)")));
        known.extend(drawn(guard).map(|number| (number, "pointer guard of the C library")));
    }
    known.extend(drawn(cache_key(symbols)).map(|number| (number, "mark of a freed chunk (tcache_key)")));
    known
}

/// glibc's `tcbhead_t` (sysdeps/x86_64/nptl/tls.h and i386): `stack_guard` and `pointer_guard`, the same in all threads.
fn guards(image: &Image) -> Option<(Option<u64>, Option<u64>)> {
    let (canary, guard) = match (image.machine(), image.target().width) {
        (Machine::X86_64, Width::W8) => (0x28, 0x30),
        (Machine::X86, Width::W4) => (0x14, 0x18),
        _ => return None,
    };
    let block = image.threads().iter().find_map(|thread| thread.thread_pointer)?;
    let word = |offset: u64| image.space().word(block.checked_add(offset)?);
    // The block begins with its own address; another C library's may not.
    (word(0) == Some(block.0)).then(|| (word(canary), word(guard)))
}

/// What glibc since 2.34 writes into chunks that it keeps for a thread (malloc/malloc.c, `tcache_key`).
fn cache_key(symbols: &Symbols<'_>) -> Option<u64> {
    let image = symbols.image();
    let is_libc = |name: &[u8]| name.starts_with(b"libc.so") || name.starts_with(b"libc-");
    let of_libc = (0u32..).zip(image.modules()).find(|(_, module)| is_libc(module.name()));
    let of_executable = || (0u32..).zip(image.modules()).find(|(_, module)| module.role == ModuleRole::Executable);
    let (id, _) = of_libc.or_else(of_executable)?;
    let hit = symbols.find_by_name(Some(ModuleId(id)), b"tcache_key").into_iter().next()?;
    image.space().word(Addr(hit.address.0))
}
