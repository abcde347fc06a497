//! Which modules the process had, and where.
//!
//! Four sources, each for what the ones before it leave open: the dump's list of mapped files, the auxiliary
//! vector (executable, interpreter, vdso), the dynamic linker's own list, and ELF headers that lie in memory.

mod evidence;
mod headers;
mod link_map;

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;

use crate::addr::{Addr, Span};
use crate::task::Diagnostic;

use super::elf::{self, Header};
use super::files::{self, Evidence, FileSearch, FoundFile, Refusal, SearchPaths};
use super::module::{BuildId, LinkerRecord, Module, ModuleId, ModuleRole, ModuleSegment, ModuleSegmentKind};
use super::process::AuxiliaryVector;
use super::space::AddressSpace;
use super::{Backing, Image};

use headers::{file_headers, headers_at};

/// Modules more than this are not looked for.
const MAX_MODULES: usize = 1 << 16;
/// Diagnostics about files of another build are not repeated more often than this.
const MAX_REFUSALS: usize = 8;

/// A module about which something is still open.
struct Draft {
    module: Module,
    /// `None` while only a file can tell it.
    bias: Option<u64>,
    /// Where its program headers are, where the kernel told.
    program_headers_at: Option<Addr>,
}

/// Finds the modules of `image`, and their files.
pub(super) fn find(image: &mut Image, search: &SearchPaths) {
    let mut drafts = from_mapped_files(image);
    executable(image, &mut drafts);
    vdso(image, &mut drafts);
    for draft in drafts.iter_mut().filter(|draft| draft.module.role == ModuleRole::Executable) {
        adopt_file(&mut image.space, draft, search);
    }
    let (linked, loops) = linked_modules(image, &drafts);
    add_linked(&image.space, &mut drafts, &linked);
    interpreter(image, &mut drafts);
    in_memory(&image.space, &mut drafts);
    for draft in drafts.iter_mut().filter(|draft| draft.module.role != ModuleRole::Executable) {
        adopt_file(&mut image.space, draft, search);
    }
    // Headerless leftovers that no source could place are no use to anyone.
    drafts.retain(|draft| draft.bias.is_some() || !draft.module.span.is_empty());
    drafts.truncate(MAX_MODULES);
    image.modules = drafts.into_iter().map(|draft| draft.module).collect();
    image.modules.sort_by_key(|module| (module.span.start(), module.span.end()));
    image.linker_records = linker_records(&image.modules, &linked);
    report(image, loops);
}

/// Groups of mappings of one file whose first page is an ELF header, or that are code.
fn from_mapped_files(image: &Image) -> Vec<Draft> {
    let (space, mapped) = (&image.space, &image.mapped_files);
    let told: Vec<Addr> = [AuxiliaryVector::PHDR, AuxiliaryVector::ENTRY, AuxiliaryVector::BASE]
        .iter()
        .filter_map(|kind| image.auxv.get(*kind).map(Addr))
        .chain(image.threads.iter().filter_map(|thread| thread.pc))
        .collect();
    let mut drafts = Vec::new();
    let mut at = 0;
    while let Some(first) = mapped.get(at) {
        let same = mapped.get(at..).unwrap_or_default().iter().take_while(|file| file.path == first.path);
        // A file that is mapped twice begins anew at offset 0.
        let group = 1 + same.skip(1).take_while(|file| file.file_offset != 0).count();
        let group_files = mapped.get(at..at + group).unwrap_or_default();
        at += group;
        let base = first.span.start();
        let end = group_files.last().map_or(first.span.end(), |last| last.span.end());
        let Some(span) = Span::new(base, end) else { continue };
        let found = (first.file_offset == 0).then(|| headers_at(space, base)).flatten();
        let code = || {
            let executable = |file: &super::MappedFile| {
                space.find_segment(file.span.start()).is_some_and(|segment| segment.permissions.execute)
            };
            group_files.iter().any(executable) || told.iter().any(|addr| span.contains(*addr))
        };
        let mut draft = match found {
            Some(found) => found.into_draft(space, base),
            None if first.file_offset == 0 && code() => Draft::new(span),
            None => continue,
        };
        draft.module.path = first.path.clone();
        // The headers say how far it reaches, the list how far it was mapped: unused memory behind belongs to nobody.
        draft.module.span = Span::new(base, draft.module.span.end().max(end)).unwrap_or(span);
        drafts.push(draft);
    }
    drafts
}

impl Draft {
    fn new(span: Span) -> Draft {
        let module = Module {
            path: Vec::new(),
            role: ModuleRole::Library,
            bias: 0,
            span,
            build_id: None,
            program_headers: Vec::new(),
            file: FileSearch::default(),
        };
        Draft { module, bias: None, program_headers_at: None }
    }
}

/// The program itself, through the auxiliary vector.
fn executable(image: &Image, drafts: &mut Vec<Draft>) {
    let table = image.auxv.get(AuxiliaryVector::PHDR).filter(|addr| *addr != 0).map(Addr);
    let marker = table.or_else(|| image.auxv.get(AuxiliaryVector::ENTRY).map(Addr));
    let Some(marker) = marker else { return };
    // Programs started through their interpreter by hand show that as the executable.
    if let Some(draft) = drafts.iter_mut().find(|draft| draft.module.span.contains(marker)) {
        draft.module.role = ModuleRole::Executable;
        draft.program_headers_at = table;
        return;
    }
    let base = table.map(|table| table.align_down(4096)).unwrap_or(marker);
    let mut draft = headers_at(&image.space, base)
        .map(|found| found.into_draft(&image.space, base))
        .or_else(|| headers::from_table(image, table?))
        .unwrap_or_else(|| Draft::new(Span::default()));
    draft.module.role = ModuleRole::Executable;
    draft.program_headers_at = table;
    draft.module.path = started_as(image).unwrap_or_default();
    drafts.push(draft);
}

/// The name by which the program was started.
pub(super) fn started_as(image: &Image) -> Option<Vec<u8>> {
    let addr = Addr(image.auxv.get(AuxiliaryVector::EXECFN).filter(|addr| *addr != 0)?);
    image.space.text(addr, 4096).filter(|name| !name.is_empty())
}

fn vdso(image: &Image, drafts: &mut Vec<Draft>) {
    let Some(base) = image.auxv.get(AuxiliaryVector::SYSINFO_EHDR).filter(|addr| *addr != 0).map(Addr) else { return };
    let Some(found) = headers_at(&image.space, base) else { return };
    drafts.retain(|draft| draft.module.span.start() != base);
    let mut draft = found.into_draft(&image.space, base);
    as_vdso(&mut draft);
    drafts.push(draft);
}

fn as_vdso(draft: &mut Draft) {
    draft.module.path = b"[vdso]".to_vec();
    draft.module.role = ModuleRole::Vdso;
    let span = draft.module.span;
    draft.module.span = Span::new(span.start(), span.end().align_up(4096).unwrap_or(span.end())).unwrap_or(span);
}

fn interpreter(image: &Image, drafts: &mut Vec<Draft>) {
    let Some(base) = image.auxv.get(AuxiliaryVector::BASE).filter(|addr| *addr != 0).map(Addr) else { return };
    let known = drafts.iter_mut().find(|draft| {
        draft.module.role == ModuleRole::Library
            && (draft.module.span.contains(base) || draft.bias == Some(base.0) && draft.module.span.is_empty())
    });
    if let Some(draft) = known {
        draft.module.role = ModuleRole::Interpreter;
    } else if let Some(found) = headers_at(&image.space, base) {
        let mut draft = found.into_draft(&image.space, base);
        draft.module.role = ModuleRole::Interpreter;
        drafts.push(draft);
    }
}

/// The dynamic linker's list, and whether it was left because it loops or breaks off.
fn linked_modules(image: &Image, drafts: &[Draft]) -> (Vec<link_map::Linked>, Option<link_map::Broken>) {
    let executable = drafts.iter().find(|draft| draft.module.role == ModuleRole::Executable);
    let dynamic = executable.filter(|draft| draft.bias.is_some()).and_then(|draft| {
        let segment = draft.module.segments(ModuleSegmentKind::Dynamic).next()?;
        Some((&draft.module, draft.module.segment_span(segment)?))
    });
    dynamic.map_or((Vec::new(), None), |(module, dynamic)| link_map::read(&image.space, module, dynamic))
}

/// The linker's records with their modules, by address: each up to where the next one begins.
fn linker_records(modules: &[Module], linked: &[link_map::Linked]) -> Vec<LinkerRecord> {
    let mut by_bias: HashMap<u64, ModuleId> = HashMap::new();
    for (index, module) in (0u32..).zip(modules) {
        by_bias.entry(module.bias).or_insert(ModuleId(index));
    }
    let mut records: Vec<LinkerRecord> = linked
        .iter()
        .map(|node| LinkerRecord { span: node.memory, module: by_bias.get(&node.bias).copied() })
        .filter(|record| !record.span.is_empty())
        .collect();
    records.sort_by_key(|record| record.span.start());
    let starts: Vec<Addr> = records.iter().skip(1).map(|record| record.span.start()).collect();
    for (record, next) in records.iter_mut().zip(starts) {
        let end = record.span.end().min(next);
        record.span = Span::new(record.span.start(), end).unwrap_or(record.span);
    }
    records
}

fn add_linked(space: &AddressSpace, drafts: &mut Vec<Draft>, linked: &[link_map::Linked]) {
    let mut by_bias: HashMap<u64, usize> = HashMap::new();
    for (at, draft) in drafts.iter().enumerate() {
        draft.bias.map(|bias| by_bias.entry(bias).or_insert(at));
    }
    let mut spans: Vec<(Span, usize)> = drafts
        .iter()
        .enumerate()
        .map(|(at, draft)| (draft.module.span, at))
        .filter(|(span, _)| !span.is_empty())
        .collect();
    spans.sort_unstable();
    for node in linked.iter().take(MAX_MODULES) {
        let below = spans.partition_point(|(span, _)| span.start() <= node.dynamic).checked_sub(1);
        let holds = || Some(spans.get(below?)?).filter(|(span, _)| span.contains(node.dynamic)).map(|(_, at)| *at);
        let known = by_bias.get(&node.bias).copied().or_else(holds);
        match known.and_then(|at| drafts.get_mut(at)) {
            Some(draft) => {
                if draft.module.path.is_empty() {
                    draft.module.path.clone_from(&node.name);
                }
                if draft.bias.is_none() {
                    draft.bias = Some(node.bias);
                    draft.module.bias = node.bias;
                }
            }
            // The first node is the program, the one without a name; it was found before or not at all.
            None if node.name.is_empty() => {}
            None => {
                let base = Addr(node.bias);
                let mut draft = headers_at(space, base)
                    .map_or_else(|| Draft::new(Span::default()), |found| found.into_draft(space, base));
                draft.bias = Some(node.bias);
                draft.module.bias = node.bias;
                draft.module.path.clone_from(&node.name);
                by_bias.insert(node.bias, drafts.len());
                drafts.push(draft);
            }
        }
    }
}

/// ELF headers at the start of a segment that no other source named.
fn in_memory(space: &AddressSpace, drafts: &mut Vec<Draft>) {
    let mut known: Vec<Span> = drafts.iter().map(|draft| draft.module.span).collect();
    known.sort_unstable();
    for segment in space.segments() {
        let base = segment.span.start();
        if segment.permissions.write || !space.bytes_from(base).starts_with(elf::MAGIC) {
            continue;
        }
        let at = known.partition_point(|span| span.start() <= base);
        if at.checked_sub(1).and_then(|at| known.get(at)).is_some_and(|span| span.contains(base)) {
            continue;
        }
        if drafts.len() >= MAX_MODULES {
            break;
        }
        if let Some(found) = headers_at(space, base) {
            let mut draft = found.into_draft(space, base);
            draft.module.path = headers::soname(space, &draft.module).unwrap_or_default();
            // The kernel's own, under the names it gives it on all machines.
            if [&b"linux-vdso"[..], b"linux-gate"].iter().any(|name| draft.module.path.starts_with(name)) {
                as_vdso(&mut draft);
            }
            drafts.push(draft);
        }
    }
}

/// Looks for the module's file; one of the same build becomes a backing of the space, and fills in what the
/// dump leaves open.
fn adopt_file(space: &mut AddressSpace, draft: &mut Draft, search: &SearchPaths) {
    let module = &draft.module;
    if module.role == ModuleRole::Vdso {
        return;
    }
    let is_executable = module.role == ModuleRole::Executable;
    let mut tried = HashSet::new();
    for place in files::candidates(search, &module.path, module.build_id.as_ref(), is_executable) {
        let opened = match place.open() {
            Ok(opened) => opened,
            Err(Refusal::Unreadable(ErrorKind::NotFound | ErrorKind::NotADirectory)) => continue,
            Err(refusal) => {
                draft.module.file.refused.push((place.path, refusal));
                continue;
            }
        };
        // The same file under another name is not refused twice.
        if !tried.insert(opened.identity) {
            continue;
        }
        match examine(space, draft, Backing::map_closed(opened.file), place.named) {
            Ok((backing, headers, evidence)) => {
                fill_in(draft, &headers);
                let backing = space.add_backing(backing);
                draft.module.file.found = Some(FoundFile { path: place.path, backing, evidence });
                if draft.module.build_id.is_none() {
                    draft.module.build_id = headers.build_id;
                }
                return;
            }
            Err(refusal) => draft.module.file.refused.push((place.path, refusal)),
        }
    }
}

/// What a file says of the module it may be.
struct FileHeaders {
    bias: u64,
    program_headers: Vec<ModuleSegment>,
    build_id: Option<BuildId>,
}

fn examine(
    space: &AddressSpace,
    draft: &Draft,
    mapped: std::io::Result<Backing>,
    named: bool,
) -> Result<(Backing, FileHeaders, Evidence), Refusal> {
    let backing = mapped.map_err(|error| Refusal::Unreadable(error.kind()))?;
    let bytes = backing.bytes();
    let header = Header::parse(bytes).filter(|header| header.target == space.target()).ok_or(Refusal::NotElf)?;
    if !matches!(header.file_type, elf::ET_EXEC | elf::ET_DYN) {
        return Err(Refusal::NotElf);
    }
    let (program_headers, build_id) = file_headers(&header, bytes);
    let bias = draft.bias.or_else(|| headers::bias_from_table(&header, &program_headers, draft.program_headers_at?));
    let bias = bias.ok_or(Refusal::ModuleBuildIdUnknown)?;
    let found = FileHeaders { bias, program_headers, build_id };
    let evidence = match evidence::agree(space, &draft.module, &found, bytes) {
        Err(Refusal::ModuleBuildIdUnknown) if named => Evidence::UserSays,
        evidence => evidence?,
    };
    Ok((backing, found, evidence))
}

/// Takes from the file what the dump does not have.
fn fill_in(draft: &mut Draft, file: &FileHeaders) {
    let module = &mut draft.module;
    if module.program_headers.is_empty() {
        module.program_headers.clone_from(&file.program_headers);
        module.bias = file.bias;
        draft.bias = Some(file.bias);
    }
    if module.span.is_empty() {
        let loads = module.segments(ModuleSegmentKind::Load).filter_map(|segment| module.segment_span(segment));
        let ends = loads.map(|span| (span.start().align_down(4096), span.end()));
        let span = ends.reduce(|(start, end), (low, high)| (start.min(low), end.max(high)));
        module.span = span.and_then(|(start, end)| Span::new(start, end)).unwrap_or_default();
    }
}

/// Says what weakens the answers.
fn report(image: &mut Image, broken: Option<link_map::Broken>) {
    let mut diagnostics = Vec::new();
    if let Some(broken) = broken {
        diagnostics.push(Diagnostic {
            code: "link-map-broken",
            at: broken.at.to_string(),
            effect: format!("the dynamic linker's list of modules {}; modules behind that may be unknown", broken.how),
        });
    }
    let mut refused = 0;
    for module in &image.modules {
        let wanted = module.build_id.as_ref();
        for (path, refusal) in &module.file.refused {
            let effect = match (refusal, wanted) {
                (Refusal::OtherBuild(found), Some(wanted)) => {
                    let found = found.as_ref().map_or("no build id".into(), |id| format!("build id {id}"));
                    format!("not used: it has {found}, the dump's module has {wanted}")
                }
                (Refusal::OtherBuild(_), None) => "not used: its first page is not the one in the dump".into(),
                (Refusal::NotRegular, _) => "not used: it is no regular file".into(),
                (Refusal::TooLarge(size), _) => format!("not used: its {size} bytes are more than a module has"),
                _ => continue,
            };
            refused += 1;
            if refused <= MAX_REFUSALS {
                let at = path.display().to_string();
                diagnostics.push(Diagnostic { code: "module-file-refused", at, effect });
            }
        }
        if let Some(found) = module.file.found.as_ref().filter(|found| found.evidence == Evidence::UserSays) {
            diagnostics.push(Diagnostic {
                code: "module-file-unverified",
                at: found.path.display().to_string(),
                effect: "taken as the executable because it was named: the dump holds nothing to check it by".into(),
            });
        }
    }
    if refused > MAX_REFUSALS {
        diagnostics.push(Diagnostic {
            code: "module-file-refused",
            at: format!("{} more files", refused - MAX_REFUSALS),
            effect: "not used: they are not what the process had mapped".into(),
        });
    }
    image.diagnostics.extend(diagnostics);
}
