//! ELF core dumps, as the kernel, `gcore` and emulators write them.
//!
//! Layout: System V gABI chapter 5, Linux `fs/binfmt_elf.c` (`elf_core_dump`), gdb `gcore.c`.
//!
//! What cannot be trusted is bounded by the size of the file: each program header takes some bytes of it.
//! Where two segments claim the same address, the one whose header comes first keeps it.

use std::collections::BTreeMap;

use crate::addr::{Addr, Span};
use crate::task::Diagnostic;

use super::backing::{Backing, BackingId};
use super::elf::{self, Header};
use super::files::SearchPaths;
use super::machine::Machine;
use super::notes::{self, CoreNotes};
use super::process::AuxiliaryVector;
use super::space::{AddressSpace, Content, MissingReason, Permissions, Segment};
use super::{Image, ImageError, arguments, layout, modules};

/// No writer of dumps lets segments share bytes, but a hostile one makes terabytes of memory from a megabyte: all segments together
/// have at most so many times the bytes of the dump.
const MOST_SHARED: u64 = 4;

/// One `PT_LOAD` of the dump, or what is left of it where another one came first.
struct Load {
    span: Span,
    permissions: Permissions,
    /// Where in the dump the first byte would be.
    offset: u64,
    /// How many bytes are in the dump, from the first on.
    present_bytes: u64,
    /// How many the dump's writer put there: more than `present_bytes` in a truncated dump.
    written_bytes: u64,
}

/// Builds the image of a core whose bytes are all of `dump`.
///
/// # Errors
/// [`ImageError`] where the bytes are no core at all; everything else that is wrong with them is a diagnostic.
pub(super) fn load(dump: Backing, search: &SearchPaths) -> Result<Image, ImageError> {
    let bytes = dump.bytes();
    let Some(header) = Header::parse(bytes) else {
        return Err(if bytes.starts_with(elf::MAGIC) { ImageError::BrokenHeader } else { ImageError::NotACore });
    };
    match header.file_type {
        elf::ET_CORE => {}
        elf::ET_EXEC | elf::ET_DYN => return Err(ImageError::NotADump),
        other => return Err(ImageError::OtherElf(other)),
    }
    let machine = Machine::from_elf(header.machine);
    let mut diagnostics = Vec::new();
    let mut core_notes = CoreNotes::default();
    let count = header.program_header_count(bytes);
    if count.guessed {
        diagnostics.push(Diagnostic {
            code: "segment-count-guessed",
            at: "the dump's program headers".into(),
            effect: "the dump ends before the number of its segments; as many are read as there is room for".into(),
        });
    }
    let mut loads = Vec::new();
    let mut read = 0u64;
    let headers_bytes = count.count.saturating_mul(header.program_header_size);
    let mut expected_bytes = header.program_headers_offset.saturating_add(headers_bytes);
    for program_header in header.program_headers(bytes, count.count) {
        read += 1;
        expected_bytes = expected_bytes.max(program_header.offset.saturating_add(program_header.filesz));
        match program_header.kind {
            elf::PT_LOAD => loads.push(program_header),
            elf::PT_NOTE => {
                let held = part(bytes, program_header.offset, program_header.filesz);
                notes::read(held, program_header.align, machine, header.target, &mut core_notes, &mut diagnostics);
            }
            _ => {}
        }
    }
    if read < count.count {
        diagnostics.push(Diagnostic {
            code: "segments-missing",
            at: "the dump's program headers".into(),
            effect: format!("{} of {} segments are not described in the dump", count.count - read, count.count),
        });
    }
    let file_bytes = bytes.len() as u64;
    let mut space = AddressSpace::new(header.target);
    let id = space.add_backing(dump);
    space.set_segments(segments(&resolve(loads, file_bytes, &mut diagnostics), id));
    let mut image = Image::empty(machine, space);
    image.diagnostics = diagnostics;
    image.file_bytes = file_bytes;
    image.expected_bytes = expected_bytes.max(file_bytes);
    if image.truncated() {
        image.diagnostics.push(Diagnostic {
            code: "dump-truncated",
            at: "the dump".into(),
            effect: format!(
                "it ends after {file_bytes} of {} bytes; what lay behind is missing from every answer",
                image.expected_bytes
            ),
        });
    }
    image.process = core_notes.process;
    image.threads = core_notes.threads;
    image.auxv = core_notes.auxv;
    image.mapped_files = core_notes.files;
    modules::find(&mut image, search);
    layout::settle(&mut image);
    settle_process(&mut image);
    Ok(image)
}

/// Fills in what the process's note is too small for.
fn settle_process(image: &mut Image) {
    let path = image.executable().map(|(_, module)| module.path.clone()).filter(|path| !path.is_empty());
    image.process.executable = path;
    image.process.started_as = modules::started_as(image);
    if !image.process.arguments_cut {
        return;
    }
    let marker = image.auxv.get(AuxiliaryVector::RANDOM).map(Addr);
    let Some(stack) = marker.and_then(|addr| image.region(addr)).map(|region| region.span) else { return };
    let Some(all) = arguments::find(&image.space, &image.auxv, stack) else { return };
    // A program may have written something else over them; then the note is right.
    let noted = image.process.arguments.join(&b' ');
    if all.join(&b' ').starts_with(&noted) {
        image.process.arguments = all;
        image.process.arguments_cut = false;
    }
}

/// As many of `size` bytes from `offset` as there are.
fn part(bytes: &[u8], offset: u64, size: u64) -> &[u8] {
    let Some(rest) = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)) else { return &[] };
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    rest.get(..size).unwrap_or(rest)
}

/// Orders the segments by address and settles who owns what where they overlap.
fn resolve(headers: Vec<elf::ProgramHeader>, file_bytes: u64, diagnostics: &mut Vec<Diagnostic>) -> Vec<Load> {
    let mut loads: Vec<Load> = Vec::with_capacity(headers.len());
    let mut taken = Taken::default();
    let (mut overlaps, mut impossible) = (Vec::new(), Vec::new());
    let mut may_be_present = file_bytes.saturating_mul(MOST_SHARED);
    let mut starved = 0u64;
    for header in headers {
        // Some writers leave p_memsz at 0.
        let size = if header.memsz == 0 { header.filesz } else { header.memsz };
        let Some(span) = Span::with_size(Addr(header.vaddr), size) else {
            impossible.push(Addr(header.vaddr));
            continue;
        };
        if span.is_empty() {
            continue;
        }
        let written = header.filesz.min(size);
        let present = file_bytes.saturating_sub(header.offset).min(written);
        if present > may_be_present {
            starved += 1;
        }
        let present = present.min(may_be_present);
        may_be_present -= present;
        let permissions =
            Permissions { read: header.flags & 4 != 0, write: header.flags & 2 != 0, execute: header.flags & 1 != 0 };
        let free = taken.take(span);
        if free.len() != 1 || free[0] != span {
            overlaps.push(span.start());
        }
        for span in free {
            let into = span.start().0 - header.vaddr;
            loads.push(Load {
                span,
                permissions,
                offset: header.offset.saturating_add(into),
                present_bytes: present.saturating_sub(into).min(span.size_bytes()),
                written_bytes: written.saturating_sub(into).min(span.size_bytes()),
            });
        }
    }
    loads.sort_by_key(|load| load.span.start());
    if let Some(first) = overlaps.first() {
        diagnostics.push(Diagnostic {
            code: "segments-overlap",
            at: first.to_string(),
            effect: format!(
                "{} segments claim memory that an earlier one has; the earlier one is believed",
                overlaps.len()
            ),
        });
    }
    if starved > 0 {
        diagnostics.push(Diagnostic {
            code: "segments-share-bytes",
            at: "the dump's program headers".into(),
            effect: format!(
                "segments claim more than {MOST_SHARED} times the bytes that the dump has; {starved} of them are missing from every answer"
            ),
        });
    }
    if let Some(first) = impossible.first() {
        diagnostics.push(Diagnostic {
            code: "segment-impossible",
            at: first.to_string(),
            effect: format!("{} segments leave the address space and are not read", impossible.len()),
        });
    }
    loads
}

/// The addresses that have an owner: spans by start, joined where they touch, so that claiming stays cheap
/// however many segments claim the same memory.
#[derive(Default)]
struct Taken(BTreeMap<Addr, Addr>);

impl Taken {
    /// Takes `span`; returns the parts of it that were free, by address.
    fn take(&mut self, span: Span) -> Vec<Span> {
        let (mut start, mut end) = (span.start(), span.end());
        let mut free = Vec::new();
        let mut at = span.start();
        // The spans that touch `span`: one may begin before it.
        let before = self.0.range(..=span.start()).next_back().filter(|(_, end)| **end >= span.start());
        let from = before.map_or(span.start(), |(start, _)| *start);
        let touching: Vec<(Addr, Addr)> = self.0.range(from..=span.end()).map(|(start, end)| (*start, *end)).collect();
        for (other_start, other_end) in touching {
            if other_start > at {
                free.extend(Span::new(at, other_start.min(span.end())));
            }
            at = at.max(other_end);
            start = start.min(other_start);
            end = end.max(other_end);
            self.0.remove(&other_start);
        }
        if at < span.end() {
            free.extend(Span::new(at, span.end()));
        }
        self.0.insert(start, end);
        free.retain(|span| !span.is_empty());
        free
    }
}

/// The segments of the address space: each load's bytes that are there, those cut off, those never written.
fn segments(loads: &[Load], dump: BackingId) -> Vec<Segment> {
    let mut segments = Vec::with_capacity(loads.len());
    for load in loads {
        let start = load.span.start().0;
        let borders = [0, load.present_bytes, load.written_bytes, load.span.size_bytes()];
        let no_access = !load.permissions.read && !load.permissions.write && !load.permissions.execute;
        let left_out = if no_access { MissingReason::Guard } else { MissingReason::NotDumped };
        let contents = [
            Content::Present(dump, load.offset),
            Content::Missing(MissingReason::Truncated),
            Content::Missing(left_out),
        ];
        for (ends, content) in borders.windows(2).zip(contents) {
            let span = Span::new(Addr(start + ends[0]), Addr(start + ends[1]));
            segments.extend(span.filter(|span| !span.is_empty()).map(|span| Segment {
                span,
                permissions: load.permissions,
                content,
            }));
        }
    }
    segments
}
