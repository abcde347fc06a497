//! The few ELF structures an image is made of, read from bytes that may lie.
//!
//! Layouts: System V gABI, chapters 4 and 5, and `elf(5)`.

use crate::addr::{ByteOrder, Target, Width};

/// The first bytes of every ELF file.
pub(super) const MAGIC: &[u8; 4] = b"\x7fELF";

/// `e_type`: an executable at fixed addresses.
pub(super) const ET_EXEC: u16 = 2;
/// `e_type`: a shared object, or a position-independent executable.
pub(super) const ET_DYN: u16 = 3;
/// `e_type`: a core dump.
pub(super) const ET_CORE: u16 = 4;

/// `e_phnum`: the number of program headers is in `sh_info` of section 0.
const PN_XNUM: u64 = 0xffff;

/// `p_type`: memory.
pub(super) const PT_LOAD: u32 = 1;
/// `p_type`: notes.
pub(super) const PT_NOTE: u32 = 4;

/// Program headers more than this in one *module* are a lie: linkers write about a dozen.
pub(super) const MAX_MODULE_HEADERS: usize = 128;

/// What the ELF header says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) target: Target,
    pub(super) machine: u16,
    pub(super) file_type: u16,
    pub(super) program_headers_offset: u64,
    pub(super) program_header_size: u64,
    /// As written: [`Header::program_header_count`] knows more.
    raw_count: u64,
    section_headers_offset: u64,
}

/// One program header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ProgramHeader {
    pub(super) kind: u32,
    pub(super) flags: u32,
    pub(super) offset: u64,
    pub(super) vaddr: u64,
    pub(super) filesz: u64,
    pub(super) memsz: u64,
    pub(super) align: u64,
}

/// How many program headers there are, and whether that is certain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct HeaderCount {
    pub(super) count: u64,
    /// The number had to be worked out: section 0, which holds it, is not in the file.
    pub(super) guessed: bool,
}

/// The bytes of a program header of this class.
pub(super) fn least_program_header_size(target: Target) -> usize {
    match target.width {
        Width::W4 => 32,
        Width::W8 => 56,
    }
}

impl Header {
    /// The header at the start of `bytes`; `None` where there is none, or it is cut off, or contradicts itself.
    pub(super) fn parse(bytes: &[u8]) -> Option<Header> {
        let ident = bytes.get(..16)?;
        if !ident.starts_with(MAGIC) {
            return None;
        }
        let width = match ident.get(4)? {
            1 => Width::W4,
            2 => Width::W8,
            _ => return None,
        };
        let order = match ident.get(5)? {
            1 => ByteOrder::Little,
            2 => ByteOrder::Big,
            _ => return None,
        };
        let target = Target { width, order };
        let u16_at = |at: usize| target.u16(bytes.get(at..)?);
        let word_at = |at: usize| target.word(bytes.get(at..)?);
        let w = width.bytes();
        // e_entry, e_phoff and e_shoff are words; the fields after them keep their size.
        let flags_at = 24 + 3 * w;
        Some(Header {
            target,
            file_type: u16_at(16)?,
            machine: u16_at(18)?,
            program_headers_offset: word_at(24 + w)?,
            section_headers_offset: word_at(24 + 2 * w)?,
            program_header_size: u16_at(flags_at + 6)?.into(),
            raw_count: u16_at(flags_at + 8)?.into(),
        })
    }

    /// How many program headers the file has. More than 65,534 are counted in section 0, which the kernel
    /// writes at the very end; where the dump stops before that, the headers run up to the notes, which
    /// are the first thing after them.
    pub(super) fn program_header_count(&self, file: &[u8]) -> HeaderCount {
        let certain = HeaderCount { count: self.raw_count, guessed: false };
        if self.raw_count != PN_XNUM {
            return certain;
        }
        // sh_info stands after name, type (4 bytes each), flags, addr, offset, size (words), link (4 bytes).
        let info_at = 8 + 4 * self.target.width.bytes() as u64 + 4;
        let section = self.section_headers_offset;
        let info = (section != 0)
            .then(|| section.checked_add(info_at))
            .flatten()
            .and_then(|at| self.target.u32(file.get(usize::try_from(at).ok()?..)?));
        if let Some(count) = info {
            return HeaderCount { count: count.into(), guessed: false };
        }
        let first = self.program_headers(file, 1).next();
        let room = first.and_then(|header| header.offset.checked_sub(self.program_headers_offset));
        let count = room.map_or(self.raw_count, |room| {
            room / self.program_header_size.max(least_program_header_size(self.target) as u64)
        });
        HeaderCount { count: count.max(self.raw_count), guessed: true }
    }

    /// The first `count` program headers, as far as `file` holds them.
    pub(super) fn program_headers<'a>(&self, file: &'a [u8], count: u64) -> impl Iterator<Item = ProgramHeader> + 'a {
        let size = self.program_header_size;
        let valid = size >= least_program_header_size(self.target) as u64;
        let rest = usize::try_from(self.program_headers_offset).ok().and_then(|at| file.get(at..)).unwrap_or_default();
        let target = self.target;
        rest.chunks_exact(usize::try_from(size).unwrap_or(1).max(1))
            .take(if valid { usize::try_from(count).unwrap_or(usize::MAX) } else { 0 })
            .filter_map(move |raw| ProgramHeader::parse(target, raw))
    }
}

impl ProgramHeader {
    /// The header at the start of `raw`; `None` where it is cut off.
    pub(super) fn parse(target: Target, raw: &[u8]) -> Option<ProgramHeader> {
        let u32_at = |at: usize| target.u32(raw.get(at..)?);
        let word_at = |at: usize| target.word(raw.get(at..)?);
        Some(match target.width {
            Width::W4 => ProgramHeader {
                kind: u32_at(0)?,
                offset: word_at(4)?,
                vaddr: word_at(8)?,
                filesz: word_at(16)?,
                memsz: word_at(20)?,
                flags: u32_at(24)?,
                align: word_at(28)?,
            },
            Width::W8 => ProgramHeader {
                kind: u32_at(0)?,
                flags: u32_at(4)?,
                offset: word_at(8)?,
                vaddr: word_at(16)?,
                filesz: word_at(32)?,
                memsz: word_at(40)?,
                align: word_at(48)?,
            },
        })
    }
}

/// One note: its owner's name, its type, its data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Note<'a> {
    pub(super) name: &'a [u8],
    pub(super) kind: u32,
    pub(super) data: &'a [u8],
}

/// The notes in `bytes`, until the first one that does not fit. Name and data are padded to 4 bytes,
/// in 64-bit files too (`elf(5)`; the gABI's 8 were never used in cores).
pub(super) fn notes(target: Target, bytes: &[u8], alignment: u64) -> Notes<'_> {
    Notes { target, rest: bytes, alignment: if alignment == 8 { 8 } else { 4 }, cut_off: false }
}

/// See [`notes`].
#[derive(Clone, Debug)]
pub(super) struct Notes<'a> {
    target: Target,
    rest: &'a [u8],
    alignment: usize,
    cut_off: bool,
}

impl Notes<'_> {
    /// Whether the last note did not fit.
    pub(super) fn is_cut_off(&self) -> bool {
        self.cut_off
    }
}

impl<'a> Iterator for Notes<'a> {
    type Item = Note<'a>;

    fn next(&mut self) -> Option<Note<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let note = (|| {
            let field = |at: usize| Some(self.target.u32(self.rest.get(at..)?)? as usize);
            let (name_size, data_size, kind) = (field(0)?, field(4)?, field(8)? as u32);
            let name = self.rest.get(12..12usize.checked_add(name_size)?)?;
            let data_at = (12 + name_size).checked_next_multiple_of(self.alignment)?;
            let data_end = data_at.checked_add(data_size)?;
            let data = self.rest.get(data_at..data_end)?;
            let next = data_end.checked_next_multiple_of(self.alignment)?.min(self.rest.len());
            self.rest = self.rest.get(next..)?;
            let name = name.strip_suffix(b"\0").unwrap_or(name);
            Some(Note { name, kind, data })
        })();
        if note.is_none() {
            // A tail of zeros is padding, and a whole note of zeros ends some tools' notes.
            self.cut_off = self.rest.iter().take(12).any(|byte| *byte != 0);
            self.rest = &[];
        }
        note
    }
}
