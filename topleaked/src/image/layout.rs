//! Settles what is known only once modules and threads are: bytes that lie in files, and the kinds of memory.

use crate::addr::{Addr, Span};
use crate::task::Diagnostic;

use super::module::{Module, ModuleId, ModuleRole, ModuleSegmentKind};
use super::process::AuxiliaryVector;
use super::region::{MemoryKind, Painter, Region};
use super::space::{Content, MissingReason, Permissions, Segment};
use super::{Image, Machine, stacks};

/// Pages of the kernel's data that lie right below the vdso: some five; more are not taken for it.
const MOST_VVAR_BYTES: u64 = 64 << 10;
/// Where x86-64 has the page that served system calls before there was a vdso.
const VSYSCALL: Addr = Addr(0xffff_ffff_ff60_0000);

/// Settles the image: to be called once, after modules and threads are known.
pub(super) fn settle(image: &mut Image) {
    image.module_memory = module_memory(&image.modules);
    elide(image);
    let mut painter = base(image);
    paint_modules(image, &mut painter);
    paint_kernel(image, &mut painter);
    paint_main_heap(image, &mut painter);
    stacks::settle(image, &mut painter);
    paint_linker(image, &mut painter);
    if painter.gave_up() {
        image.diagnostics.push(Diagnostic {
            code: "memory-kinds-unsettled",
            at: "the dump's modules and mapped files".into(),
            effect: "very many of them claim the same memory; what some of it is for is not told".into(),
        });
    }
    image.regions = joined(image, painter.finish());
}

/// The memory of each module, by address; where modules claim the same, the one with the lower base has it.
fn module_memory(modules: &[Module]) -> Vec<(Span, ModuleId)> {
    let mut spans: Vec<(Span, ModuleId)> = Vec::new();
    for (index, module) in (0u32..).zip(modules) {
        let loads = module.segments(ModuleSegmentKind::Load).filter_map(|segment| module.segment_span(segment));
        let pages = loads.filter_map(|span| Span::new(span.start().align_down(4096), span.end().align_up(4096)?));
        let before = spans.len();
        spans.extend(pages.filter(|span| !span.is_empty()).map(|span| (span, ModuleId(index))));
        if spans.len() == before && !module.span.is_empty() {
            spans.push((module.span, ModuleId(index)));
        }
    }
    spans.sort_by_key(|(span, id)| (span.start(), *id));
    let mut end = Addr(0);
    spans.retain_mut(|(span, _)| {
        let Some(rest) = Span::new(span.start().max(end), span.end()).filter(|rest| !rest.is_empty()) else {
            return false;
        };
        *span = rest;
        end = rest.end();
        true
    });
    spans
}

/// Memory that mirrors a file.
struct FileMap {
    span: Span,
    file_offset: u64,
    /// The module whose file it is; `None` where it is no module's.
    module: Option<ModuleId>,
}

/// All memory that mirrors files, by address, without overlap: as the dump lists it, else as the modules' headers say.
fn file_maps(image: &Image) -> Vec<FileMap> {
    let mut maps: Vec<FileMap> = Vec::new();
    for file in &image.mapped_files {
        let module = image.module_at(file.span.start()).filter(|(_, module)| module.path == file.path);
        maps.push(FileMap { span: file.span, file_offset: file.file_offset, module: module.map(|(id, _)| id) });
    }
    let listed = maps.len();
    for (index, module) in (0u32..).zip(&image.modules) {
        let start = module.span.start();
        let at = image.mapped_files.partition_point(|file| file.span.end() <= start);
        let is_listed = image.mapped_files.get(at).is_some_and(|file| file.span.contains(start));
        if is_listed || module.role == ModuleRole::Vdso {
            continue;
        }
        for segment in module.segments(ModuleSegmentKind::Load) {
            let into_page = segment.vaddr & 4095;
            let (Some(start), Some(file_offset)) =
                (module.runtime(segment.vaddr).checked_sub(into_page), segment.offset.checked_sub(into_page))
            else {
                continue;
            };
            // The rest of the last page mirrors the file too, unless the program may have zeroed it.
            let whole_pages = if segment.flags & 2 == 0 { 4095 } else { 0 };
            let size = segment.filesz.saturating_add(into_page).saturating_add(whole_pages) & !whole_pages;
            let span = Span::with_size(start, size).filter(|span| !span.is_empty());
            maps.extend(span.map(|span| FileMap { span, file_offset, module: Some(ModuleId(index)) }));
        }
    }
    if maps.len() > listed || !maps.is_sorted_by_key(|map| map.span.start()) {
        maps.sort_by_key(|map| map.span.start());
    }
    let mut end = Addr(0);
    maps.retain(|map| {
        let free = map.span.start() >= end;
        end = end.max(map.span.end());
        free
    });
    maps
}

/// Gives memory that the dump's writer left out the bytes of the module's file, where the build is the same.
/// Some writers (`gcore`) leave such memory out of the segments altogether; it becomes a segment here.
fn elide(image: &mut Image) {
    // Modified pages of a module are private memory. A dump without any private writable memory leaves
    // them out too, and then the file does not have what the process saw.
    let keeps_private = image
        .space
        .segments()
        .iter()
        .any(|segment| segment.permissions.write && matches!(segment.content, Content::Present(..)));
    let maps = file_maps(image);
    let mut segments = Vec::with_capacity(image.space.segments().len());
    for segment in image.space.segments() {
        let left_out = segment.content == Content::Missing(MissingReason::NotDumped);
        if !left_out || (segment.permissions.write && !keeps_private) {
            segments.push(*segment);
            continue;
        }
        let mut rest = segment.span;
        let from = maps.partition_point(|map| map.span.end() <= rest.start());
        for map in maps.get(from..).unwrap_or_default() {
            let Some(common) = rest.intersection(map.span) else { break };
            push(&mut segments, segment, Span::new(rest.start(), common.start()), segment.content);
            push_mirror(image, &mut segments, segment, map, common, keeps_private);
            rest = Span::new(common.end(), rest.end()).unwrap_or_default();
        }
        push(&mut segments, segment, Some(rest), segment.content);
    }
    let described = image.space.segments();
    let mut added = Vec::new();
    for map in &maps {
        let mut at = map.span.start();
        let from = described.partition_point(|segment| segment.span.end() <= at);
        let inside = described.get(from..).unwrap_or_default().iter().map(|segment| segment.span);
        let inside = inside.take_while(|span| span.start() < map.span.end());
        for span in inside.chain(Span::new(map.span.end(), map.span.end())) {
            if let Some(gap) = Span::new(at, span.start()).filter(|gap| !gap.is_empty()) {
                let content = Content::Missing(MissingReason::NotDumped);
                let like = Segment { span: gap, permissions: permissions(image, gap.start()), content };
                push_mirror(image, &mut added, &like, map, gap, keeps_private);
            }
            at = at.max(span.end());
        }
    }
    if !added.is_empty() {
        segments.extend(added);
        segments.sort_by_key(|segment| segment.span.start());
    }
    image.space.set_segments(segments);
}

fn push(segments: &mut Vec<Segment>, like: &Segment, span: Option<Span>, content: Content) {
    let span = span.filter(|span| !span.is_empty());
    segments.extend(span.map(|span| Segment { span, content, ..*like }));
}

/// Adds `span` of `map`: as far as the module's file has it as elided, the rest as missing.
fn push_mirror(
    image: &Image,
    segments: &mut Vec<Segment>,
    like: &Segment,
    map: &FileMap,
    span: Span,
    keeps_private: bool,
) {
    let Some(module) = map.module.and_then(|id| image.module(id)) else {
        push(segments, like, Some(span), Content::Missing(MissingReason::NotDumped));
        return;
    };
    // Relocated once, then made read-only: private memory too.
    let relocated = module.segments(ModuleSegmentKind::Relro).filter_map(|segment| module.segment_span(segment));
    let private = like.permissions.write || relocated.into_iter().any(|relro| relro.intersection(span).is_some());
    let held = module.file.found.as_ref().filter(|_| keeps_private || !private).and_then(|found| {
        let offset = map.file_offset.checked_add(span.start().0 - map.span.start().0)?;
        let size = image.space.backing(found.backing).bytes().len() as u64;
        let held = Span::with_size(span.start(), size.checked_sub(offset)?.min(span.size_bytes()))?;
        Some((held, Content::Elided(found.backing, offset)))
    });
    let mut rest = span;
    if let Some((held, content)) = held {
        push(segments, like, Some(held), content);
        rest = Span::new(held.end(), span.end()).unwrap_or_default();
    }
    push(segments, like, Some(rest), Content::Missing(MissingReason::FileNotFound));
}

/// What a module's headers say may be done with the memory at `addr`; reading, where none does.
fn permissions(image: &Image, addr: Addr) -> Permissions {
    let covers = |module: &Module| {
        let mut loads = module.segments(ModuleSegmentKind::Load);
        let load = loads.find(|segment| {
            let span = module.segment_span(segment);
            span.is_some_and(|span| span.start().align_down(4096) <= addr && addr < span.end())
        })?;
        Some(load.flags)
    };
    let flags = image.module_at(addr).and_then(|(_, module)| covers(module)).unwrap_or(4);
    Permissions { read: flags & 4 != 0, write: flags & 2 != 0, execute: flags & 1 != 0 }
}

/// All memory, told apart by what the dump says of it without modules and threads.
fn base(image: &Image) -> Painter {
    let mut painter = Painter::default();
    for segment in image.space.segments() {
        let permissions = segment.permissions;
        let guard = !permissions.read && !permissions.write && !permissions.execute;
        let kind = if guard { MemoryKind::Guard } else { MemoryKind::Anonymous };
        painter.add(Region { span: segment.span, kind, module: None, thread: None });
    }
    for file in &image.mapped_files {
        let kind = if is_shared_memory(&file.path) { MemoryKind::Shared } else { MemoryKind::FileMapping };
        painter.paint(file.span, |old| (old.kind != MemoryKind::Guard).then_some(Region { kind, ..*old }));
    }
    painter
}

/// Files that exist only in memory: System V shared memory, `memfd_create`, `/dev/zero` mapped shared, POSIX
/// shared memory.
fn is_shared_memory(path: &[u8]) -> bool {
    [b"/SYSV".as_slice(), b"/memfd:", b"/dev/zero", b"/dev/shm/"].iter().any(|start| path.starts_with(start))
}

fn paint_modules(image: &Image, painter: &mut Painter) {
    for (index, module) in (0u32..).zip(&image.modules) {
        let id = Some(ModuleId(index));
        let claim =
            |kind| move |old: &Region| (old.kind != MemoryKind::Guard).then_some(Region { kind, module: id, ..*old });
        if module.role == ModuleRole::Vdso {
            painter.paint(module.span, claim(MemoryKind::Vdso));
            continue;
        }
        if module.program_headers.is_empty() {
            // Nothing tells its parts but what may be done with them.
            painter.paint(module.span, |old| {
                let permissions = image.space.find_segment(old.span.start())?.permissions;
                let kind = kind_by(permissions.execute, permissions.write);
                (old.kind == MemoryKind::FileMapping).then_some(Region { kind, module: id, ..*old })
            });
        }
        for segment in module.segments(ModuleSegmentKind::Load) {
            let Some(span) = module.segment_span(segment) else { continue };
            let Some(page_end) = span.end().align_up(4096) else { continue };
            let kind = kind_by(segment.flags & 1 != 0, segment.flags & 2 != 0);
            let Some(pages) = Span::new(span.start().align_down(4096), page_end) else { continue };
            painter.paint(pages, claim(kind));
            if kind == MemoryKind::Data {
                let bss = span.start().checked_add(segment.filesz).and_then(|start| Span::new(start, page_end));
                if let Some(bss) = bss.filter(|_| segment.memsz > segment.filesz) {
                    painter.paint(bss, claim(MemoryKind::Bss));
                }
            }
        }
        for segment in module.segments(ModuleSegmentKind::Relro) {
            let Some(span) = module.segment_span(segment) else { continue };
            // What stands before it in its first page is what stands there in the file.
            let span = Span::new(span.start().align_down(4096), span.end()).unwrap_or(span);
            painter.paint(span, claim(MemoryKind::Relro));
        }
    }
}

fn kind_by(execute: bool, write: bool) -> MemoryKind {
    match (execute, write) {
        (true, _) => MemoryKind::Text,
        (false, true) => MemoryKind::Data,
        (false, false) => MemoryKind::Rodata,
    }
}

/// What the kernel maps beside the vdso: its data in the pages right below, and the old page of x86-64.
fn paint_kernel(image: &Image, painter: &mut Painter) {
    let claim = |old: &Region| (old.kind == MemoryKind::Anonymous).then_some(Region { kind: MemoryKind::Vdso, ..*old });
    for module in image.modules.iter().filter(|module| module.role == ModuleRole::Vdso) {
        let mut end = module.span.start();
        while let Some(below) = end.checked_sub(1).and_then(|below| painter.at(below)).map(|region| region.span) {
            let far = module.span.start().0 - below.start().0 > MOST_VVAR_BYTES;
            let writable = image.space.find_segment(below.start()).is_none_or(|segment| segment.permissions.write);
            if far || writable {
                break;
            }
            painter.paint(below, claim);
            end = below.start();
        }
    }
    if image.machine == Machine::X86_64 {
        painter.paint(Span::with_size(VSYSCALL, 4096).unwrap_or_default(), claim);
    }
}

/// The heap that grows by `brk` starts above the executable's last page, at a distance the kernel chooses
/// (`arch_randomize_brk`: up to 32 MiB for 32-bit processes, 1 GiB for others). Cores do not name it: the first
/// private writable memory without a file in that range is taken for it, with what follows without a gap.
/// Wrong where a program maps memory there itself, at a fixed address, before its first `brk`.
///
/// A static position-independent program has its heap elsewhere: where the kernel would have loaded it had it an
/// interpreter (`ELF_ET_DYN_BASE`). For one that lies among the libraries' addresses nothing follows within reach but
/// what it mapped itself.
fn paint_main_heap(image: &Image, painter: &mut Painter) {
    let Some((_, executable)) = image.executable() else { return };
    let reach = if image.target().width.bytes() == 8 { 1 << 30 } else { 32 << 20 };
    let loads = executable.segments(ModuleSegmentKind::Load).filter_map(|segment| executable.segment_span(segment));
    let Some(program_end) = loads.map(Span::end).max().and_then(|end| end.align_up(4096)) else { return };
    let find = |from: Addr| -> Option<Span> {
        let limit = from.checked_add(reach)?;
        let writable = |region: &Region| {
            let segment = image.space.find_segment(region.span.start());
            region.kind == MemoryKind::Anonymous && segment.is_some_and(|segment| segment.permissions.write)
        };
        let mut regions = painter.from(from).skip_while(|region| region.span.start() < limit && !writable(region));
        let first = regions.next().filter(|region| region.span.start() < limit)?;
        let mut span = first.span;
        for region in regions {
            if region.span.start() != span.end() || !writable(region) {
                break;
            }
            span = Span::new(span.start(), region.span.end())?;
        }
        // The main stack lies near the end of the address space, never this near to the program.
        let stack = image.auxv.get(AuxiliaryVector::RANDOM).map(Addr);
        stack.is_none_or(|stack| !span.contains(stack)).then_some(span)
    };
    let static_pie = executable.bias != 0 && image.auxv.get(AuxiliaryVector::BASE).unwrap_or(0) == 0;
    let loader_base = dynamic_base(image.machine);
    let start = if static_pie { loader_base.unwrap_or(program_end) } else { program_end };
    let found = if static_pie { find(start).or_else(|| find(program_end)) } else { find(start) };
    if let Some(span) = found {
        painter.paint(span, |old| {
            (old.kind == MemoryKind::Anonymous).then_some(Region { kind: MemoryKind::MainHeap, ..*old })
        });
    }
}

/// `ELF_ET_DYN_BASE`: two thirds of the address space, to a page (Linux `arch/*/include/asm/elf.h`).
fn dynamic_base(machine: Machine) -> Option<Addr> {
    match machine {
        Machine::X86_64 => Some(Addr(0x5555_5555_4000)),
        Machine::Aarch64 => Some(Addr(0xaaaa_aaaa_a000)),
        _ => None,
    }
}

/// The dynamic linker's records of modules, which it keeps in memory of its own before `malloc` works: its data.
fn paint_linker(image: &Image, painter: &mut Painter) {
    let interpreter = image.modules.iter().position(|module| module.role == ModuleRole::Interpreter);
    let Some(id) = interpreter.and_then(|at| u32::try_from(at).ok()).map(ModuleId) else { return };
    for record in &image.linker_records {
        painter.paint(record.span, |old| {
            (old.kind == MemoryKind::Anonymous).then_some(Region { kind: MemoryKind::Data, module: Some(id), ..*old })
        });
    }
}

/// Joins neighbours of one kind where the process may do the same with both.
fn joined(image: &Image, regions: Vec<Region>) -> Vec<Region> {
    let permissions =
        |region: &Region| image.space.find_segment(region.span.start()).map(|segment| segment.permissions);
    let mut joined: Vec<(Region, Option<Permissions>)> = Vec::with_capacity(regions.len());
    for region in regions {
        let may = permissions(&region);
        if let Some((last, last_may)) = joined.last_mut()
            && last.span.end() == region.span.start()
            && (last.kind, last.module, last.thread) == (region.kind, region.module, region.thread)
            && *last_may == may
            && let Some(span) = Span::new(last.span.start(), region.span.end())
        {
            last.span = span;
            continue;
        }
        joined.push((region, may));
    }
    joined.into_iter().map(|(region, _)| region).collect()
}
