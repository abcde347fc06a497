//! Settles what is known only once modules and threads are: bytes in files, kinds of memory, stacks.

use crate::addr::{Addr, Span};

use super::Image;
use super::module::{Module, ModuleId, ModuleRole, ModuleSegmentKind};
use super::notes::MappedFile;
use super::process::AuxiliaryVector;
use super::region::{MemoryKind, Painter, Region};
use super::space::{Content, MissingReason, Segment};
use super::thread::ThreadId;

/// Settles the image: to be called once, after modules and threads are known.
pub(super) fn settle(image: &mut Image) {
    image.module_memory = module_memory(&image.modules);
    elide(image);
    let mut painter = base(image);
    paint_modules(image, &mut painter);
    paint_main_heap(image, &mut painter);
    paint_stacks(image, &mut painter);
    image.regions = painter.finish();
}

/// The memory of each module, by address; where modules claim the same, the one with the lower base has it.
fn module_memory(modules: &[Module]) -> Vec<(Span, ModuleId)> {
    let mut spans: Vec<(Span, ModuleId)> = Vec::new();
    for (index, module) in (0u32..).zip(modules) {
        let loads = module.segments(ModuleSegmentKind::Load).filter_map(|segment| module.segment_span(segment));
        let pages = loads.filter_map(|span| Span::new(span.start().align_down(4096), span.end().align_up(4096)?));
        spans.extend(pages.filter(|span| !span.is_empty()).map(|span| (span, ModuleId(index))));
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

/// Gives memory that the dump's writer left out the bytes of the module's file, where the build is the same.
fn elide(image: &mut Image) {
    // Modified pages of a module are private memory. A dump without any private writable memory leaves
    // them out too, and then the file does not have what the process saw.
    let keeps_private = image
        .space
        .segments()
        .iter()
        .any(|segment| segment.permissions.write && matches!(segment.content, Content::Present(..)));
    let mut segments = Vec::with_capacity(image.space.segments().len());
    for segment in image.space.segments() {
        if segment.content != Content::Missing(MissingReason::NotDumped)
            || (segment.permissions.write && !keeps_private)
        {
            segments.push(*segment);
            continue;
        }
        let mut rest = segment.span;
        let from = image.mapped_files.partition_point(|file| file.span.end() <= rest.start());
        for file in image.mapped_files.get(from..).unwrap_or_default() {
            let Some(common) = rest.intersection(file.span) else { break };
            segments.extend(sub_segment(segment, Span::new(rest.start(), common.start())));
            let (held, gone) = in_file(image, file, common);
            segments.extend(
                held.and_then(|(span, content)| Some(Segment { content, ..sub_segment(segment, Some(span))? })),
            );
            let content = Content::Missing(MissingReason::FileNotFound);
            segments.extend(gone.and_then(|span| Some(Segment { content, ..sub_segment(segment, Some(span))? })));
            rest = Span::new(common.end(), rest.end()).unwrap_or_default();
        }
        segments.extend(sub_segment(segment, Some(rest)));
    }
    image.space.set_segments(segments);
}

fn sub_segment(segment: &Segment, span: Option<Span>) -> Option<Segment> {
    span.filter(|span| !span.is_empty()).map(|span| Segment { span, ..*segment })
}

/// Which part of `span` the module's file has, and which it has not.
fn in_file(image: &Image, file: &MappedFile, span: Span) -> (Option<(Span, Content)>, Option<Span>) {
    let found = image.module_at(span.start()).and_then(|(_, module)| module.file.found.as_ref());
    let place = found.and_then(|found| {
        let offset = file.file_offset.checked_add(span.start().0 - file.span.start().0)?;
        let size = image.space.backing(found.backing).bytes().len() as u64;
        let held = size.checked_sub(offset)?.min(span.size_bytes());
        Some((Span::with_size(span.start(), held)?, Content::Elided(found.backing, offset)))
    });
    match place {
        Some((held, content)) => (Some((held, content)), Span::new(held.end(), span.end())),
        None => (None, Some(span)),
    }
}

/// All memory, told apart by what the dump says of it without modules and threads.
fn base(image: &Image) -> Painter {
    let mut painter = Painter::default();
    for segment in image.space.segments() {
        let guard = segment.content == Content::Missing(MissingReason::Guard);
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
        for segment in module.segments(ModuleSegmentKind::Load) {
            let Some(span) = module.segment_span(segment) else { continue };
            let Some(page_end) = span.end().align_up(4096) else { continue };
            let kind = match (segment.flags & 1 != 0, segment.flags & 2 != 0) {
                (true, _) => MemoryKind::Text,
                (_, true) => MemoryKind::Data,
                (_, false) => MemoryKind::Rodata,
            };
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
            painter.paint(span, claim(MemoryKind::Relro));
        }
    }
}

/// The heap that grows by `brk` starts above the executable's last page, at a distance the kernel chooses
/// (`arch_randomize_brk`: up to 32 MiB for 32-bit processes, 1 GiB for others). Cores do not name it: the first
/// private writable memory without a file in that range is taken for it, with what follows without a gap.
/// Wrong where a program maps memory there itself, at a fixed address, before its first `brk`.
fn paint_main_heap(image: &Image, painter: &mut Painter) {
    let Some((_, executable)) = image.executable() else { return };
    let reach = if image.target().width.bytes() == 8 { 1 << 30 } else { 32 << 20 };
    let Some(program_end) = executable.span.end().align_up(4096) else { return };
    let Some(limit) = program_end.checked_add(reach) else { return };
    let writable = |region: &Region| {
        region.kind == MemoryKind::Anonymous
            && image.space.find_segment(region.span.start()).is_some_and(|segment| segment.permissions.write)
    };
    let mut heap: Option<Span> = None;
    for region in painter.from(program_end) {
        match heap {
            None if region.span.start() >= limit => break,
            None if writable(region) => heap = Some(region.span),
            None => {}
            Some(span) if region.span.start() == span.end() && writable(region) => {
                heap = Span::new(span.start(), region.span.end());
            }
            Some(_) => break,
        }
    }
    if let Some(span) = heap {
        painter.paint(span, |old| {
            (old.kind == MemoryKind::Anonymous).then_some(Region { kind: MemoryKind::MainHeap, ..*old })
        });
    }
}

/// Stacks: the memory around each thread's stack pointer, and the main stack also by what the kernel put there.
fn paint_stacks(image: &mut Image, painter: &mut Painter) {
    let main = image.process.pid;
    let red_zone = image.machine.red_zone_bytes();
    for index in 0..image.threads.len() {
        let Some(thread) = image.threads.get(index) else { break };
        let marker = thread.sp.filter(|sp| painter.at(*sp).is_some()).or_else(|| {
            let top = image.auxv.get(AuxiliaryVector::RANDOM).map(Addr);
            top.filter(|_| Some(thread.tid) == main)
        });
        let Some(marker) = marker else { continue };
        let Some(region) = painter.at(marker).copied() else { continue };
        if !matches!(region.kind, MemoryKind::Anonymous | MemoryKind::Stack) {
            continue;
        }
        let id = u32::try_from(index).ok().map(ThreadId);
        let live = thread.sp.filter(|sp| region.span.contains(*sp)).and_then(|sp| {
            let low = sp.checked_sub(red_zone).unwrap_or(sp).max(region.span.start());
            Span::new(low, region.span.end())
        });
        painter.paint(region.span, |old| {
            (old.kind == MemoryKind::Anonymous).then_some(Region { kind: MemoryKind::Stack, thread: id, ..*old })
        });
        if let Some(thread) = image.threads.get_mut(index) {
            thread.stack = Some(region.span);
            thread.live_stack = live;
        }
    }
}
