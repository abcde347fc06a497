//! Whether a file is the one that the process had mapped.

use crate::addr::{Addr, Span};

use super::super::files::{Evidence, Refusal};
use super::super::module::{Module, ModuleSegmentKind};
use super::super::space::AddressSpace;
use super::FileHeaders;
use super::headers::{MAX_DYNAMIC_ENTRIES, dynamic_entries};

/// `d_tag`: set by the dynamic linker while the program runs, so it says nothing of the build.
const DT_DEBUG: u64 = 21;
/// MIPS keeps `r_debug` behind this one.
const DT_MIPS_RLD_MAP: u64 = 0x7000_0016;
/// A dynamic section with fewer entries proves nothing.
const LEAST_ENTRIES: usize = 8;
/// Data with fewer words that are not zero proves nothing.
const LEAST_WORDS: usize = 32;
/// No more of the data is compared than this.
const MOST_COMPARED_BYTES: u64 = 1 << 20;

/// Compares what the dump holds of `module` with a file, by the strongest evidence that there is.
///
/// # Errors
/// [`Refusal::OtherBuild`] where they differ, [`Refusal::ModuleBuildIdUnknown`] where nothing tells.
pub(super) fn agree(
    space: &AddressSpace,
    module: &Module,
    file: &FileHeaders,
    bytes: &[u8],
) -> Result<Evidence, Refusal> {
    let verdict = |same: bool, evidence| match same {
        true => Ok(evidence),
        false => Err(Refusal::OtherBuild(file.build_id.clone())),
    };
    if let Some(wanted) = &module.build_id {
        return verdict(file.build_id.as_ref() == Some(wanted), Evidence::BuildId);
    }
    if !module.program_headers.is_empty()
        && let Some(same) = first_page(space, module, bytes)
    {
        return verdict(same, Evidence::FirstPage);
    }
    if let Some(same) = dynamic(space, file, bytes) {
        return verdict(same, Evidence::DynamicSection);
    }
    if let Some(same) = data(space, file, bytes) {
        return verdict(same, Evidence::Data);
    }
    Err(Refusal::ModuleBuildIdUnknown)
}

/// The first page holds the ELF header with the offsets of everything, the program headers, and mostly the hash table
/// of the symbols: two builds hardly share it.
fn first_page(space: &AddressSpace, module: &Module, bytes: &[u8]) -> Option<bool> {
    let held = space.bytes_from(module.base());
    let size = held.len().min(bytes.len()).min(4096);
    // Shorter than the ELF header: nothing is proved.
    (size >= 64).then(|| held.get(..size) == bytes.get(..size))
}

/// Compares dynamic sections: the sizes and addresses of all tables. Some values are run-time addresses in memory.
fn dynamic(space: &AddressSpace, file: &FileHeaders, bytes: &[u8]) -> Option<bool> {
    let target = space.target();
    let mask = target.width.max_word();
    let segment = file.program_headers.iter().find(|segment| segment.kind == ModuleSegmentKind::Dynamic)?;
    let section = Span::with_size(Addr(segment.vaddr.wrapping_add(file.bias) & mask), segment.memsz)?;
    let width = target.width.bytes();
    let raw = bytes.get(usize::try_from(segment.offset).ok()?..)?;
    let raw = raw.get(..usize::try_from(segment.filesz).ok()?).unwrap_or(raw);
    let in_file =
        raw.chunks_exact(2 * width).filter_map(|entry| Some((target.word(entry)?, target.word(entry.get(width..)?)?)));
    let in_file: Vec<(u64, u64)> = in_file.take_while(|(tag, _)| *tag != 0).take(MAX_DYNAMIC_ENTRIES).collect();
    let in_memory: Vec<(u64, u64)> = dynamic_entries(space, section).collect();
    if in_file.len() < LEAST_ENTRIES || in_memory.is_empty() {
        return None;
    }
    let same = |(left, right): (&(u64, u64), &(u64, u64))| {
        let value = left.1 == right.1 || left.1.wrapping_add(file.bias) & mask == right.1;
        left.0 == right.0 && (value || matches!(left.0, DT_DEBUG | DT_MIPS_RLD_MAP))
    };
    Some(in_file.len() == in_memory.len() && in_file.iter().zip(&in_memory).all(same))
}

/// Compares data that is read-only once relocated, else all initialised data: most of its words that are not zero stay as
/// they are in the file, or grow by the bias.
fn data(space: &AddressSpace, file: &FileHeaders, bytes: &[u8]) -> Option<bool> {
    let target = space.target();
    let (mask, width) = (target.width.max_word(), target.width.bytes());
    let of_kind = |kind| file.program_headers.iter().filter(move |segment| segment.kind == kind);
    let writable = of_kind(ModuleSegmentKind::Load).filter(|segment| segment.flags & 2 != 0);
    let (mut compared, mut equal) = (0usize, 0usize);
    for segment in of_kind(ModuleSegmentKind::Relro).chain(writable) {
        let size = segment.filesz.min(MOST_COMPARED_BYTES);
        let span = Span::with_size(Addr(segment.vaddr.wrapping_add(file.bias) & mask), size);
        let Some(held) = span.and_then(|span| space.bytes(span)) else { continue };
        let Some(raw) = usize::try_from(segment.offset).ok().and_then(|offset| bytes.get(offset..)) else { continue };
        for (left, right) in raw.chunks_exact(width).zip(held.chunks_exact(width)) {
            let (Some(left), Some(right)) = (target.word(left), target.word(right)) else { continue };
            if left != 0 {
                compared += 1;
                equal += usize::from(left == right || left.wrapping_add(file.bias) & mask == right);
            }
        }
        if compared >= LEAST_WORDS {
            return Some(equal >= compared - compared / 5);
        }
    }
    None
}
