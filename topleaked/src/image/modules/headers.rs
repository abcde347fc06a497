//! ELF and program headers of modules, in memory and in files.

use crate::addr::{Addr, Span, Target};

use super::super::Image;
use super::super::elf::{self, Header, MAX_MODULE_HEADERS, ProgramHeader};
use super::super::module::{BuildId, Module, ModuleSegment, ModuleSegmentKind};
use super::super::process::AuxiliaryVector;
use super::super::space::AddressSpace;
use super::Draft;

/// Notes of a module longer than this are not read: they hold a build id and a few properties.
const MAX_NOTE_BYTES: u64 = 1 << 16;
/// Entries of a dynamic section beyond this many are not read: linkers write some thirty.
pub(super) const MAX_DYNAMIC_ENTRIES: usize = 1024;

const NT_GNU_BUILD_ID: u32 = 3;
const DT_STRTAB: u64 = 5;
const DT_SONAME: u64 = 14;

/// What ELF headers in memory tell of their module.
pub(super) struct Headers {
    bias: u64,
    /// The end of the highest `PT_LOAD`.
    end: Addr,
    program_headers: Vec<ModuleSegment>,
}

impl Headers {
    pub(super) fn into_draft(self, space: &AddressSpace, base: Addr) -> Draft {
        let mut draft = Draft::new(Span::new(base, self.end).unwrap_or_default());
        draft.bias = Some(self.bias);
        draft.module.bias = self.bias;
        draft.module.build_id = build_id(space, &self.program_headers, self.bias);
        draft.module.program_headers = self.program_headers;
        draft
    }
}

/// Reads the ELF header at `base`, where there is one of a program or library of this process.
pub(super) fn headers_at(space: &AddressSpace, base: Addr) -> Option<Headers> {
    let mut bytes = [0; 4096];
    let held = space.read_into(base, &mut bytes);
    let bytes = bytes.get(..held)?;
    let header = Header::parse(bytes).filter(|header| header.target == space.target())?;
    if !matches!(header.file_type, elf::ET_EXEC | elf::ET_DYN) {
        return None;
    }
    let program_headers = collect(&header, bytes);
    // The first byte of the file is where the first PT_LOAD maps it.
    let loads = || program_headers.iter().filter(|segment| segment.kind == ModuleSegmentKind::Load);
    let first = loads().find(|segment| segment.offset == 0).or(loads().next())?;
    let bias = base.0.wrapping_sub(first.vaddr.wrapping_sub(first.offset)) & space.target().width.max_word();
    finish(space.target(), bias, program_headers).filter(|found| found.end > base)
}

/// Reads the executable's program headers where the kernel said they are.
pub(super) fn from_table(image: &Image, table: Addr) -> Option<Draft> {
    let target = image.space.target();
    let count = usize::try_from(image.auxv.get(AuxiliaryVector::PHNUM)?).ok()?.min(MAX_MODULE_HEADERS);
    let size = elf::least_program_header_size(target);
    let bytes = image.space.bytes(Span::with_size(table, count.checked_mul(size)? as u64)?)?;
    let headers = bytes.chunks_exact(size).filter_map(|raw| ProgramHeader::parse(target, raw));
    let program_headers: Vec<ModuleSegment> = headers.map(module_segment).collect();
    let own = program_headers.iter().find(|segment| segment.kind == ModuleSegmentKind::ProgramHeaders)?;
    let bias = table.0.wrapping_sub(own.vaddr) & target.width.max_word();
    let start = program_headers.iter().filter(|segment| segment.kind == ModuleSegmentKind::Load);
    let start = start.map(|segment| Addr(segment.vaddr.wrapping_add(bias) & target.width.max_word())).min()?;
    Some(finish(target, bias, program_headers)?.into_draft(&image.space, start.align_down(4096)))
}

/// The bias of a file whose program headers lie at `table` in memory.
pub(super) fn bias_from_table(header: &Header, program_headers: &[ModuleSegment], table: Addr) -> Option<u64> {
    let own = program_headers.iter().find(|segment| segment.kind == ModuleSegmentKind::ProgramHeaders);
    let vaddr = match own {
        Some(segment) => segment.vaddr,
        None => {
            let offset = header.program_headers_offset;
            let holds = |segment: &&ModuleSegment| {
                segment.kind == ModuleSegmentKind::Load
                    && offset.checked_sub(segment.offset).is_some_and(|into| into < segment.filesz)
            };
            let segment = program_headers.iter().find(holds)?;
            segment.vaddr.wrapping_add(offset.wrapping_sub(segment.offset))
        }
    };
    Some(table.0.wrapping_sub(vaddr) & header.target.width.max_word())
}

fn finish(target: Target, bias: u64, program_headers: Vec<ModuleSegment>) -> Option<Headers> {
    let loads = program_headers.iter().filter(|segment| segment.kind == ModuleSegmentKind::Load);
    let ends = loads
        .filter_map(|segment| (segment.vaddr.wrapping_add(bias) & target.width.max_word()).checked_add(segment.memsz));
    Some(Headers { bias, end: Addr(ends.max()?), program_headers })
}

/// The program headers and the build id of an ELF file.
pub(super) fn file_headers(header: &Header, file: &[u8]) -> (Vec<ModuleSegment>, Option<BuildId>) {
    let program_headers = collect(header, file);
    let mut notes = program_headers.iter().filter(|segment| segment.kind == ModuleSegmentKind::Note);
    let build_id = notes.find_map(|segment| {
        let start = usize::try_from(segment.offset).ok()?;
        let size = usize::try_from(segment.filesz.min(MAX_NOTE_BYTES)).ok()?;
        build_id_in(header.target, file.get(start..)?.get(..size)?, segment.align)
    });
    (program_headers, build_id)
}

fn collect(header: &Header, bytes: &[u8]) -> Vec<ModuleSegment> {
    let count = header.program_header_count(bytes).count.min(MAX_MODULE_HEADERS as u64);
    header.program_headers(bytes, count).map(module_segment).collect()
}

fn module_segment(header: ProgramHeader) -> ModuleSegment {
    ModuleSegment {
        kind: ModuleSegmentKind::from_elf(header.kind),
        vaddr: header.vaddr,
        memsz: header.memsz,
        filesz: header.filesz,
        offset: header.offset,
        align: header.align,
        flags: header.flags,
    }
}

/// The build id in a module's notes in memory.
fn build_id(space: &AddressSpace, program_headers: &[ModuleSegment], bias: u64) -> Option<BuildId> {
    let mut notes = program_headers.iter().filter(|segment| segment.kind == ModuleSegmentKind::Note);
    notes.find_map(|segment| {
        let start = Addr(segment.vaddr.wrapping_add(bias) & space.target().width.max_word());
        let span = Span::with_size(start, segment.memsz.min(MAX_NOTE_BYTES))?;
        build_id_in(space.target(), space.bytes(span)?, segment.align)
    })
}

fn build_id_in(target: Target, notes: &[u8], alignment: u64) -> Option<BuildId> {
    let mut notes = elf::notes(target, notes, alignment);
    let note = notes.find(|note| note.name == b"GNU" && note.kind == NT_GNU_BUILD_ID)?;
    BuildId::new(note.data)
}

/// The entries of a dynamic section in memory, tag and value, up to its end.
pub(super) fn dynamic_entries(space: &AddressSpace, section: Span) -> impl Iterator<Item = (u64, u64)> + '_ {
    let width = space.target().width.bytes() as u64;
    let count = (section.size_bytes() / (2 * width)).min(MAX_DYNAMIC_ENTRIES as u64);
    (0..count)
        .map_while(move |index| {
            let tag = section.start().checked_add(2 * width * index)?;
            Some((space.word(tag)?, space.word(tag.checked_add(width)?)?))
        })
        .take_while(|(tag, _)| *tag != 0)
}

/// The name a library gives itself.
pub(super) fn soname(space: &AddressSpace, module: &Module) -> Option<Vec<u8>> {
    let section = module.segment_span(module.segments(ModuleSegmentKind::Dynamic).next()?)?;
    let find = |wanted| dynamic_entries(space, section).find(|(tag, _)| *tag == wanted).map(|(_, value)| value);
    let (strings, name) = (find(DT_STRTAB)?, find(DT_SONAME)?);
    // The dynamic linker turns the link-time address into the run-time one in place, on most machines.
    let strings = if module.span.contains(Addr(strings)) { Addr(strings) } else { module.runtime(strings) };
    space.text(strings.checked_add(name)?, 4096).filter(|name| !name.is_empty())
}
