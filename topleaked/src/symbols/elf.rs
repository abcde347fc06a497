//! An ELF file as a source of symbols: its sections, segments and notes.
//!
//! After the System V ABI, "Object Files" (gABI 4.3 draft), and the GNU extensions for build ids,
//! debug links and compressed sections. Every offset in the file is taken as hostile: what does not
//! fit is left out, never read past.

use std::borrow::Cow;
use std::io::Read;

use crate::addr::{ByteOrder, Target, Width};

/// The machine number of ARM, whose function symbols carry the Thumb bit.
pub(super) const EM_ARM: u16 = 40;
const SHT_SYMTAB: u32 = 2;
const SHT_NOTE: u32 = 7;
const SHT_NOBITS: u32 = 8;
const SHT_DYNSYM: u32 = 11;
const SHF_WRITE: u64 = 1;
const SHF_ALLOC: u64 = 2;
const SHF_EXECINSTR: u64 = 4;
const SHF_TLS: u64 = 0x400;
const SHF_COMPRESSED: u64 = 0x800;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const NT_GNU_BUILD_ID: u32 = 3;

/// More section headers than any linker writes; further ones are not read.
const MOST_SECTIONS: usize = 1 << 20;
/// More program headers than any linker writes.
const MOST_SEGMENTS: usize = 1 << 16;

/// What a section holds, told from its flags and name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SectionKind {
    /// Machine code.
    Text,
    /// Constants that are never written.
    ReadOnly,
    /// Data that the dynamic linker wrote and then made read-only: `.data.rel.ro`, `.got`.
    RelRo,
    /// Data that the program may write.
    Data,
    /// Data that starts as zeros and has no bytes in the file.
    Bss,
    /// Memory for each thread: its address is that of the template.
    Tls,
    /// Not in the process's memory.
    NotLoaded,
}

/// One section header.
#[derive(Clone, Debug)]
pub(super) struct Section {
    name: u32,
    pub(super) section_type: u32,
    flags: u64,
    /// Its address at link time; 0 where it is not loaded.
    pub(super) address: u64,
    offset: u64,
    pub(super) size: u64,
    pub(super) link: u32,
}

impl Section {
    /// Whether the process has it in memory.
    pub(super) fn is_loaded(&self) -> bool {
        self.flags & SHF_ALLOC != 0
    }

    fn kind(&self, name: &[u8]) -> SectionKind {
        if !self.is_loaded() {
            return SectionKind::NotLoaded;
        }
        if self.flags & SHF_TLS != 0 {
            return SectionKind::Tls;
        }
        if self.flags & SHF_EXECINSTR != 0 {
            return SectionKind::Text;
        }
        if self.flags & SHF_WRITE == 0 {
            return SectionKind::ReadOnly;
        }
        const RELRO: [&[u8]; 5] = [b".data.rel.ro", b".got", b".init_array", b".fini_array", b".dynamic"];
        if RELRO.contains(&name) || name.starts_with(b".data.rel.ro.") {
            return SectionKind::RelRo;
        }
        if self.section_type == SHT_NOBITS { SectionKind::Bss } else { SectionKind::Data }
    }
}

/// The bytes of an ELF file with its headers read.
#[derive(Debug)]
pub(super) struct ElfFile<'a> {
    bytes: &'a [u8],
    pub(super) target: Target,
    pub(super) machine: u16,
    sections: Vec<Section>,
    section_names: &'a [u8],
    /// Its loaded segments: offset, link-time address, size in the file, size in memory, flags.
    pub(super) loads: Vec<(u64, u64, u64, u64, u32)>,
    notes: Vec<(u64, u64)>,
}

impl<'a> ElfFile<'a> {
    /// Reads the headers; `None` where the bytes are no ELF file. Sections and segments that do not
    /// lie in the file are left out.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<ElfFile<'a>> {
        let identity = bytes.get(..16)?;
        if !identity.starts_with(b"\x7fELF") {
            return None;
        }
        let width = match identity.get(4)? {
            1 => Width::W4,
            2 => Width::W8,
            _ => return None,
        };
        let order = match identity.get(5)? {
            1 => ByteOrder::Little,
            2 => ByteOrder::Big,
            _ => return None,
        };
        let target = Target { width, order };
        let machine = target.u16(bytes.get(18..)?)?;
        let (phoff, shoff, counts) = match width {
            Width::W4 => (target.u32(bytes.get(28..)?)?.into(), target.u32(bytes.get(32..)?)?.into(), 42),
            Width::W8 => (target.u64(bytes.get(32..)?)?, target.u64(bytes.get(40..)?)?, 54),
        };
        let half = |index: usize| target.u16(bytes.get(counts + 2 * index..).unwrap_or_default());
        let (phentsize, phnum, shentsize, shnum, shstrndx) = (half(0)?, half(1)?, half(2)?, half(3)?, half(4)?);

        let mut file =
            ElfFile { bytes, target, machine, sections: Vec::new(), section_names: &[], loads: vec![], notes: vec![] };
        // A count of 0 (sections) or 0xffff (segments, name table) says that the first section header holds it.
        let first = file.read_section(shoff, 0, shentsize);
        let section_count = match (shnum, &first) {
            (0, Some(first)) if shoff != 0 => usize::try_from(first.size).unwrap_or(0),
            _ => usize::from(shnum),
        };
        let names_at = match (shstrndx, &first) {
            (0xffff, Some(first)) => first.link as usize,
            _ => usize::from(shstrndx),
        };
        file.sections = (0..section_count.min(MOST_SECTIONS))
            .map_while(|index| file.read_section(shoff, index as u64, shentsize))
            .collect();
        file.section_names = file.sections.get(names_at).and_then(|names| file.raw_section(names)).unwrap_or_default();
        file.read_segments(phoff, usize::from(phnum).min(MOST_SEGMENTS), phentsize);
        for section in &file.sections {
            if section.section_type == SHT_NOTE {
                file.notes.push((section.offset, section.size));
            }
        }
        Some(file)
    }

    fn slice(&self, offset: u64, size: u64) -> Option<&'a [u8]> {
        let start = usize::try_from(offset).ok()?;
        self.bytes.get(start..)?.get(..usize::try_from(size).ok()?)
    }

    fn read_section(&self, shoff: u64, index: u64, entry_size: u16) -> Option<Section> {
        let (target, size) = (self.target, if self.target.width == Width::W8 { 64 } else { 40 });
        if u64::from(entry_size) < size || shoff == 0 {
            return None;
        }
        let header = self.slice(shoff.checked_add(index.checked_mul(entry_size.into())?)?, size)?;
        let word = |place: usize| target.word(header.get(place..)?);
        let half = |place: usize| target.u32(header.get(place..)?);
        let width = target.width.bytes();
        Some(Section {
            name: half(0)?,
            section_type: half(4)?,
            flags: word(8)?,
            address: word(8 + width)?,
            offset: word(8 + 2 * width)?,
            size: word(8 + 3 * width)?,
            link: half(8 + 4 * width)?,
        })
    }

    fn read_segments(&mut self, phoff: u64, count: usize, entry_size: u16) {
        let target = self.target;
        for index in 0..count as u64 {
            let at = index.checked_mul(entry_size.into()).and_then(|into| phoff.checked_add(into));
            let size = if target.width == Width::W8 { 56 } else { 32 };
            let Some(header) = at.and_then(|at| self.slice(at, size)) else { return };
            let field = |w8: usize, w4: usize| {
                target.word(header.get(if target.width == Width::W8 { w8 } else { w4 }..).unwrap_or_default())
            };
            let (Some(kind), Some(offset), Some(address), Some(file_size), Some(memory_size)) =
                (target.u32(header), field(8, 4), field(16, 8), field(32, 16), field(40, 20))
            else {
                return;
            };
            let flags_at = if target.width == Width::W8 { 4 } else { 24 };
            let flags = target.u32(header.get(flags_at..).unwrap_or_default()).unwrap_or_default();
            match kind {
                PT_LOAD => self.loads.push((offset, address, file_size, memory_size, flags)),
                PT_NOTE => self.notes.push((offset, file_size)),
                _ => {}
            }
        }
    }

    /// The section headers, in the file's order.
    pub(super) fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The name of a section; empty where it lies outside the name table.
    pub(super) fn section_name(&self, section: &Section) -> &'a [u8] {
        let start = usize::try_from(section.name).unwrap_or(usize::MAX);
        let rest = self.section_names.get(start..).unwrap_or_default();
        let rest = rest.get(..rest.len().min(256)).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// What a section holds.
    pub(super) fn section_kind(&self, section: &Section) -> SectionKind {
        section.kind(self.section_name(section))
    }

    /// The first section of that name.
    pub(super) fn find_section(&self, name: &[u8]) -> Option<&Section> {
        self.sections.iter().find(|section| self.section_name(section) == name)
    }

    /// The table with all symbols (`.symtab`), where the file has one that is not empty.
    pub(super) fn symbol_table(&self) -> Option<&Section> {
        self.sections.iter().find(|section| self.is_filled(section, SHT_SYMTAB))
    }

    /// The table with the symbols the dynamic linker needs (`.dynsym`).
    pub(super) fn dynamic_symbol_table(&self) -> Option<&Section> {
        self.sections.iter().find(|section| self.is_filled(section, SHT_DYNSYM))
    }

    fn is_filled(&self, section: &Section, section_type: u32) -> bool {
        section.section_type == section_type && self.raw_section(section).is_some_and(|bytes| !bytes.is_empty())
    }

    /// The bytes of a section as they lie in the file; `None` where it has none, or they lie outside.
    pub(super) fn raw_section(&self, section: &Section) -> Option<&'a [u8]> {
        if section.section_type == SHT_NOBITS { None } else { self.slice(section.offset, section.size) }
    }

    /// The bytes of a section, unpacked where it is compressed (`SHF_COMPRESSED`, zlib or Zstandard).
    /// `None` where they do not lie in the file, do not unpack, or would take more than `most_bytes`.
    pub(super) fn section_data(&self, section: &Section, most_bytes: u64) -> Option<Cow<'a, [u8]>> {
        let raw = self.raw_section(section)?;
        if section.flags & SHF_COMPRESSED == 0 {
            return (raw.len() as u64 <= most_bytes).then_some(Cow::Borrowed(raw));
        }
        let (method, size, header) = match self.target.width {
            Width::W4 => (self.target.u32(raw)?, self.target.u32(raw.get(4..)?)?.into(), 12),
            Width::W8 => (self.target.u32(raw)?, self.target.u64(raw.get(8..)?)?, 24),
        };
        if size > most_bytes {
            return None;
        }
        let packed = raw.get(header..)?;
        match method {
            1 => read_exactly(flate2::read::ZlibDecoder::new(packed), size),
            2 => read_exactly(zstd::stream::read::Decoder::new(packed).ok()?, size),
            _ => None,
        }
        .map(Cow::Owned)
    }

    /// The build id (`NT_GNU_BUILD_ID`); empty where the file has none.
    pub(super) fn build_id(&self) -> &'a [u8] {
        self.notes
            .iter()
            .filter_map(|(offset, size)| self.slice(*offset, *size))
            .find_map(|notes| find_build_id(notes, self.target))
            .unwrap_or_default()
    }

    /// What `.gnu_debuglink` says: the name of the file with the debug information, and the CRC-32 of all its bytes.
    pub(super) fn debug_link(&self) -> Option<(&'a [u8], u32)> {
        let bytes = self.raw_section(self.find_section(b".gnu_debuglink")?)?;
        let end = bytes.iter().position(|byte| *byte == 0)?;
        let checksum = self.target.u32(bytes.get((end + 1).next_multiple_of(4)..)?)?;
        Some((bytes.get(..end)?, checksum))
    }
}

/// Reads `size` bytes out of a decompressor; `None` where it gives another number, or fails.
fn read_exactly(reader: impl Read, size: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(size.checked_add(1)?).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 == size).then_some(bytes)
}

/// The build id among a run of notes.
fn find_build_id(mut notes: &[u8], target: Target) -> Option<&[u8]> {
    while !notes.is_empty() {
        let name_size = target.u32(notes)? as usize;
        let content_size = target.u32(notes.get(4..)?)? as usize;
        let kind = target.u32(notes.get(8..)?)?;
        let content_at = 12 + name_size.checked_next_multiple_of(4)?;
        let content = notes.get(content_at..)?.get(..content_size)?;
        if kind == NT_GNU_BUILD_ID && notes.get(12..16) == Some(b"GNU\0") && name_size == 4 && content_size <= 64 {
            return Some(content);
        }
        notes = notes.get(content_at.checked_add(content_size.checked_next_multiple_of(4)?)?..)?;
    }
    None
}

/// Unpacks an xz stream (MiniDebugInfo), with a bound on what it may give and on what the decoder may take.
pub(super) fn unpack_xz(packed: &[u8], most_bytes: u64) -> Option<Vec<u8>> {
    let stream = liblzma::stream::Stream::new_stream_decoder(256 << 20, 0).ok()?;
    let mut bytes = Vec::new();
    let reader = liblzma::read::XzDecoder::new_stream(packed, stream);
    reader.take(most_bytes.checked_add(1)?).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= most_bytes).then_some(bytes)
}
