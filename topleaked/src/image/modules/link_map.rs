//! The dynamic linker's own list of modules (glibc and musl `include/link.h`: `struct r_debug`, `struct link_map`).

use std::collections::HashSet;

use crate::addr::{Addr, Span};

use super::super::module::{Module, ModuleSegmentKind};
use super::super::space::AddressSpace;
use super::{MAX_MODULES, headers};

/// `d_tag`: where `struct r_debug` is.
const DT_DEBUG: u64 = 21;
/// A path longer than this is cut.
const MAX_PATH_BYTES: usize = 4096;
/// What glibc allocates for one module, in words: a bound from above for `struct link_map` in 2.12 to 2.43, which
/// has 0x480 to 0x4b0 bytes on 64-bit machines.
const LINK_MAP_WORDS: u64 = 0x96;

/// One module in the list.
#[derive(Debug)]
pub(super) struct Linked {
    pub(super) bias: u64,
    pub(super) name: Vec<u8>,
    pub(super) dynamic: Addr,
    /// The linker's own record of it.
    pub(super) memory: Span,
}

/// Why the list was left before its end.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) at: Addr,
    pub(super) how: &'static str,
}

/// Reads the list that the executable's dynamic section leads to. Each record is visited once. The interpreter's name
/// lies among the executable's read-only data, which may be in its file alone.
pub(super) fn read(space: &AddressSpace, executable: &Module, dynamic: Span) -> (Vec<Linked>, Option<Broken>) {
    let mut linked = Vec::new();
    let debug = headers::dynamic_entries(space, dynamic).find(|(tag, _)| *tag == DT_DEBUG);
    let Some((_, debug)) = debug.filter(|(_, value)| *value != 0) else { return (linked, None) };
    let width = space.target().width.bytes() as u64;
    // A version number, padded to a word, then the first record.
    let first = Addr(debug).checked_add(width).and_then(|at| space.word(at));
    let Some(first) = first else { return (linked, Some(Broken { at: Addr(debug), how: "is not in the dump" })) };
    let mut next = Addr(first);
    let mut seen = HashSet::new();
    while next.0 != 0 {
        if !seen.insert(next) {
            return (linked, Some(Broken { at: next, how: "loops" }));
        }
        if seen.len() > MAX_MODULES {
            return (linked, Some(Broken { at: next, how: "does not end" }));
        }
        let field = |index: u64| next.checked_add(index * width).and_then(|at| space.word(at));
        let (Some(bias), Some(name), Some(dynamic), Some(after)) = (field(0), field(1), field(2), field(3)) else {
            return (linked, Some(Broken { at: next, how: "breaks off" }));
        };
        let name = space.text(Addr(name), MAX_PATH_BYTES).or_else(|| text_in_file(space, executable, Addr(name)));
        let name = name.unwrap_or_default();
        let memory = Span::with_size(next, LINK_MAP_WORDS * width).unwrap_or_default();
        linked.push(Linked { bias, name, dynamic: Addr(dynamic), memory });
        next = Addr(after);
    }
    (linked, None)
}

fn text_in_file(space: &AddressSpace, module: &Module, addr: Addr) -> Option<Vec<u8>> {
    let bytes = space.backing(module.file.found.as_ref()?.backing).bytes();
    let vaddr = module.link_time(addr);
    let offset = module.segments(ModuleSegmentKind::Load).find_map(|segment| {
        let into = vaddr.checked_sub(segment.vaddr).filter(|into| *into < segment.filesz)?;
        segment.offset.checked_add(into)
    })?;
    let rest = bytes.get(usize::try_from(offset).ok()?..)?;
    let rest = rest.get(..MAX_PATH_BYTES).unwrap_or(rest);
    Some(rest.split(|byte| *byte == 0).next().unwrap_or_default().to_vec())
}
