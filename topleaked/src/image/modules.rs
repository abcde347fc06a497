//! Which modules the process had, and where.

use crate::addr::{Addr, Span, Target};

use super::elf::{self, Header, MAX_MODULE_HEADERS};
use super::files::{self, FileSearch, FoundFile, Refusal, SearchPaths};
use super::module::{BuildId, Module, ModuleRole, ModuleSegment, ModuleSegmentKind};
use super::notes::MappedFile;
use super::process::AuxiliaryVector;
use super::space::AddressSpace;
use super::{Backing, Image};

/// Modules more than this are not looked for.
const MAX_MODULES: usize = 1 << 16;
/// Notes of a module longer than this are not read: they hold a build id and a few properties.
const MAX_NOTE_BYTES: u64 = 1 << 16;

const NT_GNU_BUILD_ID: u32 = 3;

/// Finds the modules of `image`, and their files.
pub(super) fn find(image: &mut Image, search: &SearchPaths) {
    let mut modules = from_mapped_files(&image.space, &image.mapped_files);
    modules.truncate(MAX_MODULES);
    modules.sort_by_key(|module| (module.span.start(), module.span.end()));
    assign_roles(&mut modules, &image.auxv);
    for module in &mut modules {
        module.file = find_file(&mut image.space, module, search);
    }
    image.modules = modules;
}

/// Modules among the mapped files: a file whose first page is mapped and is an ELF header, and what follows of it.
fn from_mapped_files(space: &AddressSpace, mapped: &[MappedFile]) -> Vec<Module> {
    let mut modules = Vec::new();
    for (at, first) in mapped.iter().enumerate() {
        if first.file_offset != 0 {
            continue;
        }
        let base = first.span.start();
        let Some(found) = headers_at(space, base) else { continue };
        let limit = Span::new(base, found.end).unwrap_or(first.span);
        let own = mapped
            .get(at..)
            .unwrap_or_default()
            .iter()
            .take_while(|file| file.span.start() < limit.end())
            .filter(|file| file.path == first.path);
        let end = own.map(|file| file.span.end()).max().unwrap_or(first.span.end()).max(found.end);
        modules.push(Module {
            path: first.path.clone(),
            role: ModuleRole::Library,
            bias: found.bias,
            span: Span::new(base, end).unwrap_or(first.span),
            build_id: build_id(space, &found.program_headers, found.bias),
            program_headers: found.program_headers,
            file: FileSearch::default(),
        });
    }
    modules
}

/// What an ELF header in memory tells of its module.
struct Headers {
    bias: u64,
    /// The end of the highest `PT_LOAD`.
    end: Addr,
    program_headers: Vec<ModuleSegment>,
}

/// Reads the ELF header at `base`, where there is one of a program or library of this process.
fn headers_at(space: &AddressSpace, base: Addr) -> Option<Headers> {
    let mut bytes = [0; 4096];
    let held = space.read_into(base, &mut bytes);
    let bytes = bytes.get(..held)?;
    let header = Header::parse(bytes).filter(|header| header.target == space.target())?;
    if !matches!(header.file_type, elf::ET_EXEC | elf::ET_DYN) {
        return None;
    }
    let count = header.program_header_count(bytes).count.min(MAX_MODULE_HEADERS as u64);
    let program_headers: Vec<ModuleSegment> = header.program_headers(bytes, count).map(module_segment).collect();
    // The first byte of the file is where the first PT_LOAD maps it.
    let loads = || program_headers.iter().filter(|segment| segment.kind == ModuleSegmentKind::Load);
    let first = loads().find(|segment| segment.offset == 0).or(loads().next())?;
    let mask = space.target().width.max_word();
    let bias = base.0.wrapping_sub(first.vaddr.wrapping_sub(first.offset)) & mask;
    let ends = loads().filter_map(|segment| (segment.vaddr.wrapping_add(bias) & mask).checked_add(segment.memsz));
    let end = Addr(ends.max()?);
    (end > base).then_some(Headers { bias, end, program_headers })
}

fn module_segment(header: elf::ProgramHeader) -> ModuleSegment {
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
    let notes = program_headers.iter().filter(|segment| segment.kind == ModuleSegmentKind::Note);
    notes.into_iter().find_map(|segment| {
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

/// The build id of an ELF file.
fn file_build_id(header: &Header, file: &[u8]) -> Option<BuildId> {
    let count = header.program_header_count(file).count.min(MAX_MODULE_HEADERS as u64);
    let mut notes = header.program_headers(file, count).filter(|segment| segment.kind == elf::PT_NOTE);
    notes.find_map(|segment| {
        let start = usize::try_from(segment.offset).ok()?;
        let size = usize::try_from(segment.filesz.min(MAX_NOTE_BYTES)).ok()?;
        build_id_in(header.target, file.get(start..)?.get(..size)?, segment.align)
    })
}

fn assign_roles(modules: &mut [Module], auxv: &AuxiliaryVector) {
    let mut assign = |addr: Option<u64>, role| {
        let addr = Addr(addr.filter(|addr| *addr != 0)?);
        let module = modules.iter_mut().find(|module| module.span.contains(addr))?;
        module.role = role;
        Some(())
    };
    assign(auxv.get(AuxiliaryVector::BASE), ModuleRole::Interpreter);
    assign(auxv.get(AuxiliaryVector::SYSINFO_EHDR), ModuleRole::Vdso);
    let executable = auxv.get(AuxiliaryVector::PHDR).or(auxv.get(AuxiliaryVector::ENTRY));
    assign(executable, ModuleRole::Executable);
}

/// Looks for the module's file; one of the same build becomes a backing of the space.
fn find_file(space: &mut AddressSpace, module: &Module, search: &SearchPaths) -> FileSearch {
    let mut result = FileSearch::default();
    if module.role == ModuleRole::Vdso {
        return result;
    }
    let is_executable = module.role == ModuleRole::Executable;
    for path in files::candidates(search, &module.path, module.build_id.as_ref(), is_executable) {
        match check_file(&path, module.build_id.as_ref(), space.target()) {
            Ok(backing) => {
                result.found = Some(FoundFile { path, backing: space.add_backing(backing) });
                break;
            }
            Err(Refusal::Unreadable(std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)) => {}
            Err(refusal) => result.refused.push((path, refusal)),
        }
    }
    result
}

fn check_file(path: &std::path::Path, wanted: Option<&BuildId>, target: Target) -> Result<Backing, Refusal> {
    let backing = Backing::map(files::open_regular(path)?).map_err(|error| Refusal::Unreadable(error.kind()))?;
    let header = Header::parse(backing.bytes()).filter(|header| header.target == target).ok_or(Refusal::NotElf)?;
    let Some(wanted) = wanted else { return Err(Refusal::ModuleBuildIdUnknown) };
    let found = file_build_id(&header, backing.bytes());
    if found.as_ref() == Some(wanted) { Ok(backing) } else { Err(Refusal::OtherBuild(found)) }
}
