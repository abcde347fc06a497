//! The dynamic linker's symbol table, read from the dump: names where there is no file at all.
//!
//! The dynamic section names the table, the strings and a hash table; the number of symbols is in none of them, and
//! follows from the hash table (`DT_HASH`: its `nchain`; `DT_GNU_HASH`: the end of the last chain), or from the
//! strings, which linkers put right behind the symbols. After the gABI, chapter 5, and the GNU hash section as glibc's
//! `elf/dl-lookup.c` (2.36) reads it.

use crate::addr::{Addr, Span, Width};
use crate::image::{Image, Machine, Module, ModuleSegmentKind};

const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_STRSZ: u64 = 10;
const DT_GNU_HASH: u64 = 0x6fff_fef5;

/// A dynamic section has some thirty entries.
const MOST_ENTRIES: u64 = 4096;
/// More dynamic symbols than any module has.
const MOST_SYMBOLS: u64 = 1 << 24;
/// More bytes of names than any module has.
const MOST_NAME_BYTES: u64 = 1 << 30;

/// A module's dynamic symbols, copied out of the dump.
pub(super) struct DynamicSymbols {
    pub(super) entries: Vec<u8>,
    pub(super) names: Vec<u8>,
    pub(super) machine: u16,
}

/// The dynamic symbols of a module; `None` where the dump does not hold them.
pub(super) fn read_dynamic_symbols(image: &Image, module: &Module) -> Option<DynamicSymbols> {
    let tables = Tables::find(image, module)?;
    let entry_size = if image.target().width == Width::W8 { 24 } else { 16 };
    let names = copy(image, module, tables.names, tables.names_size?.min(MOST_NAME_BYTES))?;
    let count = tables
        .gnu_hash
        .and_then(|at| count_by_gnu_hash(image, at))
        .or_else(|| tables.hash.and_then(|at| count_by_hash(image, at)))
        .or_else(|| tables.names.offset_from(tables.symbols).map(|size| size / entry_size))?
        .min(MOST_SYMBOLS);
    let entries = copy(image, module, tables.symbols, count.checked_mul(entry_size)?)?;
    let machine = if image.machine() == Machine::Arm { super::elf::EM_ARM } else { 0 };
    Some(DynamicSymbols { entries, names, machine })
}

/// Copies what the dump has of a table, from its start on; bounded by the module's own size.
fn copy(image: &Image, module: &Module, start: Addr, size: u64) -> Option<Vec<u8>> {
    let span = Span::with_size(start, size)?.intersection(module.span)?;
    let mut bytes = vec![0; usize::try_from(span.size_bytes()).ok()?];
    let read = image.space().read_into(span.start(), &mut bytes);
    bytes.truncate(read);
    (read > 0).then_some(bytes)
}

struct Tables {
    symbols: Addr,
    names: Addr,
    names_size: Option<u64>,
    hash: Option<Addr>,
    gnu_hash: Option<Addr>,
}

impl Tables {
    fn find(image: &Image, module: &Module) -> Option<Tables> {
        let span = module.segments(ModuleSegmentKind::Dynamic).find_map(|segment| module.segment_span(segment))?;
        let width = image.target().width.bytes() as u64;
        let mut found = [None; 5];
        for index in 0..(span.size_bytes() / (2 * width)).min(MOST_ENTRIES) {
            let at = span.start().checked_add(index * 2 * width)?;
            let (Some(tag), Some(value)) = (image.space().word(at), image.space().word(at.checked_add(width)?)) else {
                break;
            };
            let place = match tag {
                0 => break,
                DT_SYMTAB => 0,
                DT_STRTAB => 1,
                DT_STRSZ => 2,
                DT_HASH => 3,
                DT_GNU_HASH => 4,
                _ => continue,
            };
            if let Some(slot) = found.get_mut(place) {
                *slot = Some(value);
            }
        }
        // glibc replaces the link-time addresses by those at run time, musl does not, and neither where the
        // section is read-only.
        let locate = |value: u64| {
            let at = Addr(value);
            if module.span.contains(at) { at } else { module.runtime(value) }
        };
        let [symbols, names, names_size, hash, gnu_hash] = found;
        Some(Tables {
            symbols: locate(symbols?),
            names: locate(names?),
            names_size,
            hash: hash.map(locate),
            gnu_hash: gnu_hash.map(locate),
        })
    }
}

fn half(image: &Image, at: Addr) -> Option<u64> {
    let mut bytes = [0; 4];
    (image.space().read_into(at, &mut bytes) == 4).then(|| image.target().u32(&bytes).map(u64::from)).flatten()
}

fn count_by_hash(image: &Image, at: Addr) -> Option<u64> {
    // IBM Z and Alpha alone have 8-byte entries in 64-bit processes.
    if image.machine() == Machine::S390 && image.target().width == Width::W8 {
        return image.space().word(at.checked_add(8)?);
    }
    half(image, at.checked_add(4)?)
}

fn count_by_gnu_hash(image: &Image, at: Addr) -> Option<u64> {
    let buckets = half(image, at)?;
    let first = half(image, at.checked_add(4)?)?;
    let bloom_words = half(image, at.checked_add(8)?)?;
    let width = image.target().width.bytes() as u64;
    let bucket_start = at.checked_add(16 + bloom_words.checked_mul(width)?)?;
    let mut last = 0;
    for bucket in 0..buckets.min(MOST_SYMBOLS) {
        last = last.max(half(image, bucket_start.checked_add(bucket * 4)?)?);
    }
    if last < first {
        // Nothing is exported: the symbols before `first` are the undefined ones.
        return Some(first);
    }
    let chains = bucket_start.checked_add(buckets.checked_mul(4)?)?;
    for symbol in last..last.saturating_add(MOST_SYMBOLS) {
        if half(image, chains.checked_add((symbol - first).checked_mul(4)?)?)? & 1 == 1 {
            return symbol.checked_add(1);
        }
    }
    None
}
