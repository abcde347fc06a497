//! musl's mallocng, 1.2.1 and later.
//!
//! A group holds up to 32 slots of one size; its `meta` lies apart, in a page that begins with a secret of the process,
//! and the two point at each other. The size a program asked for is what the slot's end says is reserved.
//!
//! Layout: musl 1.2.3 src/malloc/mallocng/meta.h, malloc.c, aligned_alloc.c.

use std::collections::BTreeSet;

use crate::addr::{Addr, Span, Width};
use crate::image::{Image, MemoryKind, ModuleId, Region};
use crate::task::{Diagnostic, Task};

use super::damage::DamageLog;
use super::memory::{Reader, Stretch};
use super::run::{Run, Runs};
use super::table::{AllocationTable, AllocatorId, State};
use super::{Allocator, AllocatorReport, ArenaKind, ArenaReport, DamageKind, MappedReport, Rounding, Tally, Walk};

const PAGE: u64 = 4096;
/// Slots and sizes count in these.
const UNIT: u64 = 16;
/// Bytes at the end of a slot that are the next slot's header.
const IN_BAND: u64 = 4;
/// Slot sizes in units, by class.
const SIZE_CLASSES: [u64; 48] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 18, 20, 25, 31, 36, 42, 50, 63, 72, 84, 102, 127, 146, 170, 204, 255, 292,
    340, 409, 511, 584, 682, 818, 1023, 1169, 1364, 1637, 2047, 2340, 2730, 3276, 4095, 4680, 5460, 6552, 8191,
];
/// The class of a group that is one mapping.
const MAPPED_CLASS: u64 = 63;
/// More pages of metas than this make no chain: there are a hundred groups in each.
const CHAIN_STEPS: u64 = 1 << 22;
/// So many places are tried as the beginning of the program's memory in slots larger than a MiB, one in each: enough for
/// 4 TiB of such slots.
const MOVED_STEPS: u64 = 1 << 22;
/// In a slot's header: the program's memory begins further up.
const MOVED: u8 = 7;
/// In a slot's header: the slot holds a group of smaller slots.
const NESTED: u8 = 6;

/// The row of musl in the table of allocators.
pub(super) struct MallocNg;

/// Where the members of the structures lie, by the width of a word.
struct Layout {
    /// From the start of `malloc_context` to `meta_area_head`, without and with a member for the page size.
    head: [u64; 2],
    /// From the start of a `meta_area` to its slots, and the size of one.
    slots: u64,
    meta_bytes: u64,
    /// Bytes of `malloc_context`, at least.
    context_bytes: u64,
}

static LAYOUT_8: Layout = Layout { head: [56, 64], slots: 24, meta_bytes: 40, context_bytes: 0x3c8 };
static LAYOUT_4: Layout = Layout { head: [36, 40], slots: 16, meta_bytes: 24, context_bytes: 0x208 };

fn layout(reader: Reader<'_>) -> &'static Layout {
    if reader.target.width == Width::W8 { &LAYOUT_8 } else { &LAYOUT_4 }
}

impl Allocator for MallocNg {
    fn name(&self) -> &'static str {
        "musl"
    }

    fn detect<'a>(&self, image: &'a Image) -> Option<Box<dyn Walk + 'a>> {
        let contexts = find_contexts(image);
        let copies: Vec<CopyWalk> =
            contexts.into_iter().map(|context| CopyWalk { context, found: Found::default() }).collect();
        (!copies.is_empty()).then(|| Box::new(MuslWalk { image, copies }) as Box<dyn Walk + 'a>)
    }
}

/// One copy of the allocator: its context, and the pages of its metas.
struct Context {
    address: u64,
    secret: u64,
    areas: Vec<u64>,
    module: Option<ModuleId>,
}

/// Looks in modules' data for a secret that is followed by the head and the tail of a chain of pages which all begin
/// with it.
fn find_contexts(image: &Image) -> Vec<Context> {
    let reader = Reader::new(image.space());
    let layout = layout(reader);
    let width = reader.width();
    let mut contexts: Vec<Context> = Vec::new();
    let mut steps = CHAIN_STEPS;
    let is_data = |kind| matches!(kind, MemoryKind::Data | MemoryKind::Bss | MemoryKind::Relro);
    let mut data: Vec<&Region> = image.regions().iter().filter(|region| is_data(region.kind)).collect();
    if data.is_empty() {
        // A dump that names no modules: their data is private memory like any other.
        data = image.regions().iter().filter(|region| region.kind == MemoryKind::Anonymous).collect();
    }
    for region in data {
        let mut rest = region.span;
        while let Some(stretch) = Stretch::first_in(reader.space, rest) {
            for (start, bytes) in stretch.parts(width) {
                for (place, raw) in (start..).step_by(width as usize).zip(bytes.chunks_exact(width as usize)) {
                    let word = reader.target.word(raw);
                    let Some(head) = word.filter(|word| *word != 0 && word.is_multiple_of(PAGE)) else { continue };
                    let context = layout.head.iter().find_map(|distance| {
                        let address = place.checked_sub(*distance)?;
                        let secret = read_u64(reader, address).filter(|secret| *secret != 0)?;
                        let tail = reader.word(place + width)?;
                        let areas = chain(reader, head, tail, secret, &mut steps)?;
                        Some(Context { address, secret, areas, module: region.module })
                    });
                    if let Some(context) = context
                        && contexts.iter().all(|known| known.secret != context.secret)
                    {
                        contexts.push(context);
                    }
                }
            }
            rest = Span::new(stretch.span.end(), rest.end()).unwrap_or_default();
        }
    }
    contexts
}

fn read_u64(reader: Reader<'_>, address: u64) -> Option<u64> {
    reader.target.u64(&reader.bytes::<8>(address)?)
}

/// The pages of metas from `head` to `tail`, where all begin with the secret. Each takes one of `steps`.
fn chain(reader: Reader<'_>, head: u64, tail: u64, secret: u64, steps: &mut u64) -> Option<Vec<u64>> {
    let mut areas = Vec::new();
    let mut seen = BTreeSet::new();
    let mut at = head;
    loop {
        *steps = steps.checked_sub(1)?;
        if !at.is_multiple_of(PAGE) || read_u64(reader, at) != Some(secret) || !seen.insert(at) {
            return None;
        }
        areas.push(at);
        if at == tail {
            return Some(areas);
        }
        at = reader.word(at + 8)?;
    }
}

struct MuslWalk<'a> {
    image: &'a Image,
    copies: Vec<CopyWalk>,
}

struct CopyWalk {
    context: Context,
    found: Found,
}

#[derive(Default)]
struct Found {
    /// Memory of groups that lie in no other.
    groups: Vec<Span>,
    group_count: u64,
    nested_count: u64,
    log: DamageLog,
    missing_bytes: u64,
    /// How many places were tried in slots whose memory begins further up.
    moved_steps: u64,
}

/// A group, as its meta describes it.
struct Group {
    meta: u64,
    address: u64,
    /// Bit by bit, whether a slot is free.
    free: u32,
    slots: u64,
    stride: u64,
    /// Bytes of its mapping; 0 where it has none of its own.
    mapped_bytes: u64,
}

impl Group {
    fn span(&self) -> Option<Span> {
        Span::with_size(Addr(self.address), self.mapped_bytes.max(UNIT + self.stride * self.slots - IN_BAND))
    }
}

/// Whether all of a group is memory of the process, in the dump or not: one that is not was overwritten.
fn lies_in_one(mapped: &[Span], group: Option<Span>) -> bool {
    let Some(group) = group else { return false };
    let at = mapped.partition_point(|span| span.end() <= group.start());
    mapped.get(at).is_some_and(|span| span.start() <= group.start() && group.end() <= span.end())
}

impl Walk for MuslWalk<'_> {
    fn copies(&self) -> usize {
        self.copies.len()
    }

    fn rounding(&self) -> Rounding {
        Rounding::Exact
    }

    fn walk(&mut self, first: AllocatorId, task: &Task) -> Vec<Run> {
        let reader = Reader::new(self.image.space());
        let mapped = super::joined(reader.space.segments().iter().map(|segment| segment.span).collect());
        task.progress.start("walking the heap", self.copies.iter().map(|copy| copy.context.areas.len() as u64).sum());
        let mut runs = Vec::new();
        for (copy, id) in self.copies.iter_mut().zip(first.0..) {
            // Groups lie in no order, and inside each other: sixteen bytes an allocation until they are sorted.
            let mut allocations: Vec<(u64, u64)> = Vec::new();
            for area in &copy.context.areas {
                for group in groups_of(reader, *area) {
                    if lies_in_one(&mapped, group.span()) {
                        copy.found.walk_group(reader, &group, &mut allocations);
                    } else {
                        copy.found.log.note_word(DamageKind::Header, group.meta, group.address, None);
                    }
                }
                task.progress.advance(1);
                if task.progress.is_cancelled() {
                    return Vec::new();
                }
            }
            allocations.sort_unstable();
            let mut sorted = Runs::new(AllocatorId(id));
            for (address, size_and_state) in allocations {
                let state = if size_and_state & 1 == 0 { State::Used } else { State::Free };
                sorted.push(Addr(address), size_and_state >> 1, state);
            }
            runs.extend(sorted.finish());
            copy.found.groups = super::joined(std::mem::take(&mut copy.found.groups));
        }
        runs
    }

    fn settle(&mut self, _: &mut AllocationTable) {}

    fn finish(self: Box<Self>, first: AllocatorId, table: &AllocationTable) -> Vec<AllocatorReport> {
        let reader = Reader::new(self.image.space());
        let copies = self.copies.into_iter().zip(first.0..);
        copies.map(|(copy, id)| copy.report(reader, AllocatorId(id), table)).collect()
    }
}

/// The groups whose metas lie in the page at `area`.
fn groups_of(reader: Reader<'_>, area: u64) -> impl Iterator<Item = Group> + '_ {
    let layout = layout(reader);
    let most = (PAGE - layout.slots) / layout.meta_bytes;
    let nslots = reader.u32(area + 8 + reader.width()).map_or(most, u64::from).min(most);
    (0..nslots).filter_map(move |slot| read_group(reader, area + layout.slots + slot * layout.meta_bytes))
}

/// The group of the meta at `meta`; `None` where the two do not point at each other: the meta is unused.
fn read_group(reader: Reader<'_>, meta: u64) -> Option<Group> {
    let width = reader.width();
    let address = reader.word(meta + 2 * width).filter(|memory| memory.is_multiple_of(UNIT) && *memory != 0)?;
    (reader.word(address)? == meta).then_some(())?;
    let masks = meta + 3 * width;
    let free = reader.u32(masks)? | reader.u32(masks + 4)?;
    let packed = reader.word(masks + 8)?;
    // Bit fields are filled from the least significant bit up, or from the other end.
    let bits = 8 * width;
    let field = |from: u64, length: u64| match reader.target.order {
        crate::addr::ByteOrder::Little => packed >> from & ((1 << length) - 1),
        crate::addr::ByteOrder::Big => packed >> (bits - from - length) & ((1 << length) - 1),
    };
    let (last, class, pages) = (field(0, 5), field(6, 6), field(12, bits - 12));
    let mapped_bytes = pages.checked_mul(PAGE).filter(|bytes| *bytes < 1 << 56)?;
    let stride = if last == 0 && pages > 0 {
        mapped_bytes.checked_sub(UNIT)?
    } else {
        SIZE_CLASSES.get(class as usize).map(|units| units * UNIT)?
    };
    let fits = class < 48 || (class == MAPPED_CLASS && last == 0 && pages > 0);
    (fits && address.checked_add(mapped_bytes)?.checked_add(UNIT + stride * (last + 1)).is_some()).then_some(Group {
        meta,
        address,
        free,
        slots: last + 1,
        stride,
        mapped_bytes,
    })
}

impl Found {
    fn walk_group(&mut self, reader: Reader<'_>, group: &Group, allocations: &mut Vec<(u64, u64)>) {
        self.group_count += 1;
        self.groups.extend(group.span());
        let storage = group.address + UNIT;
        for slot in 0..group.slots {
            let start = storage + slot * group.stride;
            let end = start + group.stride - IN_BAND;
            if group.free >> slot & 1 == 1 {
                allocations.push((start, (end - start) << 1 | 1));
                continue;
            }
            let Some(head) = reader.bytes::<4>(start - 4) else {
                self.missing_bytes += group.stride;
                continue;
            };
            if head[1] >> 5 == NESTED {
                self.nested_count += 1;
                continue;
            }
            match used_slot(reader, storage, slot, start, end, head, &mut self.moved_steps) {
                Some((memory, size)) => allocations.push((memory, size << 1)),
                None if !reader.is_present(end - 1) => {
                    // Its start is there, its end is not: the size it has at most.
                    self.missing_bytes += group.stride;
                    allocations.push((start, (end - start) << 1));
                }
                None => {
                    self.log.note_word(DamageKind::Header, start - 4, u32::from_be_bytes(head).into(), None);
                    allocations.push((start, (end - start) << 1));
                }
            }
        }
    }
}

/// Where the program's memory begins in a used slot, and the size it asked for.
fn used_slot(
    reader: Reader<'_>,
    storage: u64,
    slot: u64,
    start: u64,
    end: u64,
    head: [u8; 4],
    steps: &mut u64,
) -> Option<(u64, u64)> {
    let mut memory = start;
    let mut header = head;
    if head[1] >> 5 == MOVED {
        let units = u64::from(reader.u16(start - 2)?);
        // The distance has 16 bits; in a slot larger than that, the place that says so itself is meant.
        let wrap = UNIT << 16;
        let at = (0..=(end - start) / wrap).map(|round| start + units * UNIT + round * wrap);
        let left = MOVED_STEPS.saturating_sub(*steps);
        let mut tried = at.take_while(|at| *at < end).take(left as usize).inspect(|_| *steps += 1);
        let found = tried.find_map(|at| {
            let header = reader.bytes::<4>(at - 4)?;
            let distance = if header[0] == 0 { reader.u16(at - 2)?.into() } else { reader.u32(at - 8)? };
            let fits = u64::from(header[1] & 31) == slot && storage + u64::from(distance) * UNIT == at;
            fits.then_some((at, header))
        });
        (memory, header) = found?;
    }
    let distance = if header[0] == 0 { reader.u16(memory - 2)?.into() } else { reader.u32(memory - 8)? };
    if u64::from(header[1] & 31) != slot || storage + u64::from(distance) * UNIT != memory {
        return None;
    }
    let reserved = match header[1] >> 5 {
        few @ 0..5 => u64::from(few),
        5 => u64::from(reader.u32(end - 4)?),
        _ => return None,
    };
    let size = end.checked_sub(memory)?.checked_sub(reserved)?;
    Some((memory, size))
}

impl CopyWalk {
    fn report(self, reader: Reader<'_>, id: AllocatorId, table: &AllocationTable) -> AllocatorReport {
        let CopyWalk { context, found } = self;
        let mut arena = ArenaReport {
            address: Addr(context.address),
            kind: ArenaKind::Slots,
            spans: found.groups,
            system_bytes: None,
            missing_bytes: found.missing_bytes,
            tally: Tally::default(),
            highest_used: None,
            trimmable_bytes: 0,
        };
        arena.count(table, id);
        // A group goes back as a whole, or not at all.
        arena.trimmable_bytes = 0;
        let context_span = Span::with_size(Addr(context.address), layout(reader).context_bytes);
        let pages = context.areas.iter().filter_map(|area| Span::with_size(Addr(*area), PAGE));
        let mut diagnostics = Vec::new();
        if found.missing_bytes > 0 {
            diagnostics.push(Diagnostic {
                code: "heap-missing",
                at: format!("malloc context {}", Addr(context.address)),
                effect: format!(
                    "{} bytes of slots are not in the dump: their sizes are not known",
                    found.missing_bytes
                ),
            });
        }
        AllocatorReport {
            name: "musl",
            id,
            versions: "mallocng, 1.2.1 and later".to_string(),
            module: context.module,
            evidence: vec![
                format!("malloc context at {}", Addr(context.address)),
                format!("its secret begins each of {} pages of metas, which form a chain", context.areas.len()),
                format!(
                    "{} groups and their metas point at each other, {} of them in a slot of another",
                    found.group_count, found.nested_count
                ),
            ],
            arenas: vec![arena],
            mapped: MappedReport::default(),
            thread_caches: 0,
            damage: found.log.damage,
            damage_count: found.log.count,
            metadata: context_span.into_iter().chain(pages).collect(),
            diagnostics,
        }
    }
}
