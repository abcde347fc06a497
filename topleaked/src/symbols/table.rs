//! One module's symbols as sorted columns, and which of them names an address.

use std::ops::Range;
use std::sync::Arc;

use memchr::memchr;

use crate::addr::{Target, Width};
use crate::image::Backing;

use super::elf::{EM_ARM, ElfFile, SectionKind};

/// A name is shown up to this many bytes.
const LONGEST_NAME: usize = 64 << 10;
/// Names are told apart by this many bytes where symbols are put in order: a hostile table has many that begin within one long
/// run of letters, and each comparison would read to its end.
const COMPARED_NAME: usize = 256;
/// How far back from an address a symbol is looked for, in symbols.
const MOST_STEPS: usize = 4096;
/// Section index of symbols whose section is not known.
const NO_SECTION: u16 = u16::MAX;

const SHN_UNDEF: u16 = 0;
const SHN_LORESERVE: u16 = 0xff00;
const SHN_XINDEX: u16 = 0xffff;

/// What a symbol names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SymbolKind {
    /// The symbol table does not say: hand-written assembly, linker-made marks.
    Unknown,
    /// Data: a variable, a vtable.
    Object,
    /// Code.
    Function,
}

/// A loaded section of a module, at link-time addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SectionSpan {
    pub(super) name: Vec<u8>,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) kind: SectionKind,
}

/// The loaded sections of a file, by address; those for threads are left out, since their addresses
/// are those of a template.
pub(super) fn loaded_sections(file: &ElfFile<'_>) -> Vec<SectionSpan> {
    let mut sections: Vec<_> = file
        .sections()
        .iter()
        .filter(|section| section.is_loaded() && section.size > 0)
        .map(|section| SectionSpan {
            name: file.section_name(section).to_vec(),
            start: section.address,
            end: section.address.saturating_add(section.size),
            kind: file.section_kind(section),
        })
        .filter(|section| section.kind != SectionKind::Tls)
        .take(usize::from(NO_SECTION))
        .collect();
    sections.sort_by_key(|section| (section.start, section.end));
    sections
}

/// The section that holds a link-time address.
pub(super) fn section_at(sections: &[SectionSpan], address: u64) -> Option<usize> {
    let at = sections.partition_point(|section| section.start <= address).checked_sub(1)?;
    (address < sections.get(at)?.end).then_some(at)
}

/// Bytes that hold names.
#[derive(Debug)]
pub(super) enum Strings {
    /// A part of a file.
    File(Arc<Backing>, Range<usize>),
    /// Copied out of the dump.
    Copied(Vec<u8>),
}

impl Strings {
    fn bytes(&self) -> &[u8] {
        match self {
            Strings::File(backing, range) => backing.bytes().get(range.clone()).unwrap_or_default(),
            Strings::Copied(bytes) => bytes,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    address: u64,
    size: u64,
    name: u32,
    section: u16,
    rank: u8,
    kind: SymbolKind,
}

/// All symbols of one module, by link-time address.
///
/// Names lie where they were read from; a symbol keeps a place in all string tables laid end to end.
#[derive(Debug, Default)]
pub(super) struct SymbolTable {
    addresses: Vec<u64>,
    sizes: Vec<u64>,
    names: Vec<u32>,
    sections: Vec<u16>,
    kinds: Vec<SymbolKind>,
    strings: Vec<(u32, Strings)>,
}

/// Collects symbols from several sources into a [`SymbolTable`].
#[derive(Debug, Default)]
pub(super) struct TableBuilder {
    entries: Vec<Entry>,
    strings: Vec<(u32, Strings)>,
    strings_end: u32,
}

/// A symbol table as it lies in a file or in the dump.
pub(super) struct RawSymbols<'a> {
    /// The entries.
    pub(super) entries: &'a [u8],
    /// How they are laid out.
    pub(super) target: Target,
    /// For which machine.
    pub(super) machine: u16,
    /// Added to each address, wrapping: nonzero where the file was linked for another base than the module's.
    pub(super) adjust: u64,
    /// For each section number of the file, its place in the module's list of sections.
    pub(super) section_map: &'a [Option<u16>],
}

impl RawSymbols<'_> {
    fn entry_size(&self) -> usize {
        if self.target.width == Width::W8 { 24 } else { 16 }
    }

    /// How many entries there are, those that name nothing included.
    pub(super) fn len(&self) -> usize {
        self.entries.len() / self.entry_size()
    }
}

impl TableBuilder {
    /// Adds the symbols of one table that name something in the module's memory; `strings` holds their names.
    /// Returns how many that were.
    pub(super) fn add(&mut self, raw: &RawSymbols<'_>, strings: Strings, sections: &[SectionSpan]) -> usize {
        let before = self.entries.len();
        let names = strings.bytes();
        let Some(strings_end) = u32::try_from(names.len()).ok().and_then(|size| self.strings_end.checked_add(size))
        else {
            return 0;
        };
        self.entries.reserve(raw.len());
        for entry in raw.entries.chunks_exact(raw.entry_size()) {
            self.entries.extend(read_entry(entry, raw, names, sections, self.strings_end));
        }
        self.strings.push((self.strings_end, strings));
        self.strings_end = strings_end;
        self.entries.len() - before
    }

    /// Sorts what was added. O(n log n).
    pub(super) fn build(self) -> SymbolTable {
        let TableBuilder { mut entries, strings, .. } = self;
        let quality = |entry: &Entry| {
            // Of two names for one thing, the one that people use: `malloc` before `__libc_malloc`.
            let name = name_start(&strings, entry.name);
            (std::cmp::Reverse(name.iter().take_while(|byte| **byte == b'_').count()), std::cmp::Reverse(name.len()))
        };
        entries.sort_unstable_by(|a, b| {
            (a.address, a.rank)
                .cmp(&(b.address, b.rank))
                .then_with(|| quality(a).cmp(&quality(b)))
                .then_with(|| name_start(&strings, b.name).cmp(name_start(&strings, a.name)))
                .then_with(|| (a.size, a.section, a.name).cmp(&(b.size, b.section, b.name)))
        });
        entries.dedup_by(|a, b| {
            let same = a.address == b.address && a.rank == b.rank;
            let (ours, theirs) = (name_start(&strings, a.name), name_start(&strings, b.name));
            same && ours == theirs && (ours.len() < COMPARED_NAME || a.name == b.name)
        });
        SymbolTable {
            addresses: entries.iter().map(|entry| entry.address).collect(),
            sizes: entries.iter().map(|entry| entry.size).collect(),
            names: entries.iter().map(|entry| entry.name).collect(),
            sections: entries.iter().map(|entry| entry.section).collect(),
            kinds: entries.iter().map(|entry| entry.kind).collect(),
            strings,
        }
    }
}

/// One entry (`Elf64_Sym`, `Elf32_Sym`), where it names something that the process has in memory.
fn read_entry(
    entry: &[u8],
    raw: &RawSymbols<'_>,
    names: &[u8],
    sections: &[SectionSpan],
    strings_start: u32,
) -> Option<Entry> {
    let target = raw.target;
    let name = target.u32(entry)?;
    let (value, size, info, section) = match target.width {
        Width::W8 => (target.u64(&entry[8..])?, target.u64(&entry[16..])?, entry[4], target.u16(&entry[6..])?),
        Width::W4 => {
            (target.u32(&entry[4..])?.into(), target.u32(&entry[8..])?.into(), entry[12], target.u16(&entry[14..])?)
        }
    };
    let (kind, typed) = match info & 0xf {
        0 => (SymbolKind::Unknown, false),
        1 | 5 => (SymbolKind::Object, true),
        2 | 10 => (SymbolKind::Function, true),
        _ => return None,
    };
    let bare = names.get(name as usize..)?;
    // Marks of compilers and assemblers, not names: `.L12` everywhere, `$x` and `$d` on ARM and RISC-V.
    let local = info >> 4 == 0;
    if matches!(bare.first(), None | Some(0)) || local && (bare.starts_with(b".L") || !typed && bare.starts_with(b"$"))
    {
        return None;
    }
    let thumb = raw.machine == EM_ARM && kind == SymbolKind::Function;
    let address = if thumb { value & !1 } else { value }.wrapping_add(raw.adjust);
    let section = match section {
        SHN_UNDEF => return None,
        SHN_XINDEX => section_at(sections, address).map(|at| at as u16),
        SHN_LORESERVE.. => return None,
        index => match raw.section_map.get(usize::from(index)) {
            Some(place) => *place,
            None => section_at(sections, address).map(|at| at as u16),
        },
    };
    let binding = match info >> 4 {
        1 | 10 => 2,
        2 => 1,
        _ => 0,
    };
    let rank = u8::from(size > 0) << 3 | u8::from(typed) << 2 | binding;
    Some(Entry {
        address,
        size,
        name: strings_start.checked_add(name)?,
        section: section.unwrap_or(NO_SECTION),
        rank,
        kind,
    })
}

/// The name that begins at a place.
fn name_at(strings: &[(u32, Strings)], place: u32) -> &[u8] {
    bounded_name(strings, place, LONGEST_NAME)
}

/// As much of it as is compared.
fn name_start(strings: &[(u32, Strings)], place: u32) -> &[u8] {
    bounded_name(strings, place, COMPARED_NAME)
}

fn bounded_name(strings: &[(u32, Strings)], place: u32, most_bytes: usize) -> &[u8] {
    let Some(at) = strings.partition_point(|(start, _)| *start <= place).checked_sub(1) else { return &[] };
    let Some((start, part)) = strings.get(at) else { return &[] };
    let rest = part.bytes().get((place - start) as usize..).unwrap_or_default();
    let rest = rest.get(..rest.len().min(most_bytes)).unwrap_or_default();
    rest.get(..memchr(0, rest).unwrap_or(rest.len())).unwrap_or_default()
}

impl SymbolTable {
    /// How many symbols there are.
    pub(super) fn len(&self) -> usize {
        self.addresses.len()
    }

    /// The name of the symbol at `index`, up to 64 KiB of it.
    pub(super) fn name(&self, index: usize) -> &[u8] {
        self.names.get(index).map_or(&[], |place| name_at(&self.strings, *place))
    }

    pub(super) fn address(&self, index: usize) -> u64 {
        self.addresses.get(index).copied().unwrap_or_default()
    }

    pub(super) fn size(&self, index: usize) -> u64 {
        self.sizes.get(index).copied().unwrap_or_default()
    }

    pub(super) fn kind(&self, index: usize) -> SymbolKind {
        self.kinds.get(index).copied().unwrap_or(SymbolKind::Unknown)
    }

    /// The places of all symbols at exactly this link-time address.
    pub(super) fn find_all(&self, address: u64) -> Range<usize> {
        self.addresses.partition_point(|other| *other < address)
            ..self.addresses.partition_point(|other| *other <= address)
    }

    /// The places of all symbols with exactly this name. O(n).
    pub(super) fn find_name<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
        (0..self.len()).filter(move |index| self.name(*index) == name)
    }

    /// The places of all symbols whose name begins so, by address. O(n).
    pub(super) fn find_prefix<'a>(&'a self, prefix: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
        (0..self.len()).filter(move |index| self.name(*index).starts_with(prefix))
    }

    fn holds(&self, index: usize, address: u64) -> bool {
        address.wrapping_sub(self.address(index)) < self.size(index)
    }

    /// The symbol that names a link-time address, by the rules that gdb follows, so that both say the same: the
    /// last one at or below the address in the same section; one with a size before one without; one that ends before
    /// the address is not taken, unless the one before it reaches over it; without any, the nearest mark without a size.
    pub(super) fn find(&self, address: u64, sections: &[SectionSpan]) -> Option<usize> {
        let section = section_at(sections, address);
        if section.is_none() && !sections.is_empty() {
            return None;
        }
        let section_start = section.and_then(|at| sections.get(at)).map_or(0, |section| section.start);
        let mut unsized_mark = None;
        let mut at = self.addresses.partition_point(|other| *other <= address);
        for _ in 0..MOST_STEPS {
            let Some(before) = at.checked_sub(1) else { break };
            at = before;
            if self.address(at) < section_start {
                break;
            }
            let of = self.sections.get(at).copied().unwrap_or(NO_SECTION);
            if section.is_some_and(|section| usize::from(of) != section) {
                continue;
            }
            if self.size(at) == 0 {
                unsized_mark = unsized_mark.or(Some(at));
                continue;
            }
            if self.holds(at, address) {
                return Some(at);
            }
            if at.checked_sub(1).is_some_and(|before| self.holds(before, address)) {
                continue;
            }
            break;
        }
        unsized_mark
    }
}
