//! jemalloc 5.0 to 5.3, in 64-bit processes.
//!
//! A radix tree leads from each page to the record of its extent. An extent is a slab of regions of one size, with a
//! bitmap of the free ones; one large allocation; or free. What lies in threads' caches is free, though its slab
//! counts it as handed out.

mod books;
mod caches;
mod layout;
mod tree;

use std::collections::BTreeMap;

use crate::addr::{Addr, Span, Width};
use crate::image::Image;
use crate::task::{Diagnostic, Task};

use super::damage::DamageLog;
use super::memory::Reader;
use super::parallel::in_parallel;
use super::run::{Run, Runs};
use super::table::{AllocationTable, AllocatorId, State};
use super::{Allocator, AllocatorReport, ArenaKind, ArenaReport, DamageKind, MappedReport, Rounding, Tally, Walk};

use books::Books;
use caches::{Caches, Settled};
use layout::{BITMAP, Classes, ExtentState, FIELDS, Fields, Geometry, QUANTUM_SHIFTS};
use tree::{Extent, Tree};

/// Layout and size classes are chosen by so many slabs.
const VOTING_SLABS: usize = 4096;
/// A thread walks so many extents at a time.
const PART_EXTENTS: usize = 2048;
/// A bitmap is read in pieces of so many words.
const BITMAP_WORDS: usize = 8;

/// The row of jemalloc in the table of allocators.
pub(super) struct Jemalloc;

impl Allocator for Jemalloc {
    fn name(&self) -> &'static str {
        "jemalloc"
    }

    fn detect<'a>(&self, image: &'a Image) -> Option<Box<dyn Walk + 'a>> {
        if image.target().width != Width::W8 {
            return None;
        }
        let copies: Vec<Copy> =
            tree::find_trees(image).into_iter().filter_map(|tree| Copy::read(image, tree)).collect();
        (!copies.is_empty()).then(|| Box::new(JemallocWalk { image, copies }) as Box<dyn Walk + 'a>)
    }
}

struct JemallocWalk<'a> {
    image: &'a Image,
    copies: Vec<Copy>,
}

/// One copy of jemalloc.
struct Copy {
    tree: Tree,
    extents: Vec<Extent>,
    fields: &'static Fields,
    classes: Classes,
    large: LargeSizes,
    /// How many of the slabs looked at fit layout and classes.
    proof: (usize, usize),
    books: Books,
    log: DamageLog,
    settled: Settled,
}

impl Walk for JemallocWalk<'_> {
    fn copies(&self) -> usize {
        self.copies.len()
    }

    fn rounding(&self) -> Rounding {
        Rounding::Classes
    }

    fn walk(&mut self, first: AllocatorId, task: &Task) -> Vec<Run> {
        let reader = Reader::new(self.image.space());
        let parts: usize = self.copies.iter().map(|copy| copy.extents.len().div_ceil(PART_EXTENTS)).sum();
        task.progress.start("walking the heap", parts as u64);
        let mut runs = Vec::new();
        for (copy, id) in self.copies.iter_mut().zip(first.0..) {
            let parts: Vec<&[Extent]> = copy.extents.chunks(PART_EXTENTS).collect();
            let geometry = copy.tree.geometry;
            let slabs = Rules { reader, geometry, fields: copy.fields, classes: &copy.classes, large: copy.large };
            let done = in_parallel(&parts, task, |part| {
                let mut runs = Runs::new(AllocatorId(id));
                let mut log = DamageLog::default();
                if !task.progress.is_cancelled() {
                    part.iter().for_each(|extent| slabs.walk(extent, &mut runs, &mut log));
                }
                task.progress.advance(1);
                (runs.finish(), log)
            });
            for (mut part, log) in done {
                runs.append(&mut part);
                copy.log.append(log);
            }
        }
        runs
    }

    fn settle(&mut self, table: &mut AllocationTable) {
        let mut claimed: Vec<Span> = Vec::new();
        for copy in &self.copies {
            claimed.extend(copy.extents.iter().filter_map(|extent| Span::with_size(Addr(extent.base), extent.size)));
            claimed.extend(copy.books.spans().map(|(span, _)| span));
            claimed.push(copy.tree.root_span());
        }
        let claimed = super::joined(claimed);
        for copy in &mut self.copies {
            let caches = Caches {
                image: self.image,
                reader: Reader::new(self.image.space()),
                kind: copy.fields.caches,
                classes: &copy.classes,
                leaves: &copy.tree.leaves,
            };
            copy.settled = caches.settle(table, &claimed);
        }
    }

    fn finish(self: Box<Self>, first: AllocatorId, table: &AllocationTable) -> Vec<AllocatorReport> {
        let image = self.image;
        let copies = self.copies.into_iter().zip(first.0..);
        copies.map(|(copy, id)| copy.report(image, AllocatorId(id), table)).collect()
    }
}

impl Copy {
    /// Reads the extents of a tree, and where the books are; `None` where no layout fits.
    fn read(image: &Image, tree: Tree) -> Option<Copy> {
        let reader = Reader::new(image.space());
        let mut log = DamageLog::default();
        let extents = tree.extents(reader, &mut log);
        let (fields, classes, proof) = vote(reader, tree.geometry, &extents)?;
        let large = LargeSizes::of(&extents, tree.geometry, fields, &classes);
        let mut books = Books::default();
        let huge_shift = tree.geometry.huge_shift;
        let nodes = tree.nodes.iter().copied().chain(tree.leaves.iter().map(|leaf| leaf.address));
        for inside in nodes.chain(extents.iter().map(|extent| extent.record)) {
            books.add(reader, inside, huge_shift);
        }
        books.assign_arenas(reader);
        Some(Copy { tree, extents, fields, classes, large, proof, books, log, settled: Settled::default() })
    }
}

/// The layout of records and the size classes that most slabs agree with, and how many of how many do.
fn vote(
    reader: Reader<'_>,
    geometry: &'static Geometry,
    extents: &[Extent],
) -> Option<(&'static Fields, Classes, (usize, usize))> {
    let slabs: Vec<&Extent> = extents.iter().filter(|extent| Fields::is_slab(extent.bits)).take(VOTING_SLABS).collect();
    let mut best: Option<(&'static Fields, Classes, (usize, usize))> = None;
    for fields in &FIELDS {
        for quantum_shift in QUANTUM_SHIFTS {
            let classes = Classes::new(quantum_shift, geometry.page_shift);
            let rules = Rules { reader, geometry, fields, classes: &classes, large: LargeSizes::Classes };
            // An extent that was a slab keeps the mark when it is given back.
            let active = slabs.iter().filter(|slab| fields.state(slab.bits) == ExtentState::Active);
            let (fitting, all) = active.fold((0, 0), |(fit, all), slab| (fit + usize::from(rules.fits(slab)), all + 1));
            if fitting > best.as_ref().map_or(0, |(_, _, (most, _))| *most) {
                best = Some((fields, classes, (fitting, all)));
            }
        }
    }
    best
}

/// The usable size of a large allocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum LargeSizes {
    /// Its class's.
    Classes,
    /// Its extent's, without so many bytes of room to move it in: from 5.3.1 on unless an option says otherwise.
    Pages(u64),
}

impl LargeSizes {
    /// By classes, unless an extent is too small for its class, and yet too large for the class before.
    fn of(extents: &[Extent], geometry: &Geometry, fields: &Fields, classes: &Classes) -> LargeSizes {
        let large = |extent: &&Extent| {
            !Fields::is_slab(extent.bits)
                && fields.state(extent.bits) == ExtentState::Active
                && classes.slab_size(fields.class(extent.bits)).is_none()
        };
        let is_moved = extents.iter().filter(large).any(|extent| extent.address != extent.base);
        let pad = if is_moved { geometry.page() } else { 0 };
        let by_pages = extents.iter().filter(large).any(|extent| {
            let class = fields.class(extent.bits);
            let (size, before) = (classes.size(class), class.checked_sub(1).and_then(|class| classes.size(class)));
            let usable = extent.size.saturating_sub(pad);
            size.is_some_and(|size| usable < size) && before.is_some_and(|before| usable > before)
        });
        if by_pages { LargeSizes::Pages(pad) } else { LargeSizes::Classes }
    }
}

/// The rules by which extents are read.
#[derive(Clone, Copy)]
struct Rules<'a> {
    reader: Reader<'a>,
    geometry: &'static Geometry,
    fields: &'static Fields,
    classes: &'a Classes,
    large: LargeSizes,
}

impl Rules<'_> {
    /// Whether a slab is consistent: filled by its regions, as many bits set as it counts free ones.
    fn fits(&self, slab: &Extent) -> bool {
        let Some((size, regions)) = self.regions(slab) else { return false };
        let free = self.fields.free_count(slab.bits, self.geometry);
        size * regions == slab.size && free <= regions && self.count_free(slab, regions) == Some(free)
    }

    /// The size of a slab's regions and their number.
    fn regions(&self, slab: &Extent) -> Option<(u64, u64)> {
        let size = self.classes.slab_size(self.fields.class(slab.bits))?;
        let regions = slab.size / size;
        (1..=self.geometry.most_regions()).contains(&regions).then_some((size, regions))
    }

    /// How many regions of a slab are free by its bitmap; `None` where bits are set that have no region.
    fn count_free(&self, slab: &Extent, regions: u64) -> Option<u64> {
        let mut free = 0;
        for group in 0..regions.div_ceil(64) {
            let word = self.reader.word(slab.record + BITMAP + 8 * group)?;
            let known = (regions - 64 * group).min(64);
            if known < 64 && word >> known != 0 {
                return None;
            }
            free += u64::from(word.count_ones());
        }
        Some(free)
    }

    fn walk(&self, extent: &Extent, runs: &mut Runs, log: &mut DamageLog) {
        let address = Addr(extent.base);
        match self.fields.state(extent.bits) {
            ExtentState::Cached => runs.push(address, extent.size, State::Free),
            ExtentState::Retained => runs.push(address, extent.size, State::Top),
            ExtentState::Active if Fields::is_slab(extent.bits) => self.walk_slab(extent, runs, log),
            ExtentState::Active => {
                // It may begin some cache lines into its first page.
                let most = extent.base + extent.size - extent.address;
                let class = self.fields.class(extent.bits);
                let size = match self.large {
                    LargeSizes::Pages(pad) if self.classes.slab_size(class).is_none() => extent.size.checked_sub(pad),
                    _ => self.classes.size(class),
                };
                let size = size.filter(|size| (1..=most).contains(size));
                if size.is_none() || !extent.address.is_multiple_of(8) {
                    log.note_word(DamageKind::Header, extent.record, extent.bits, None);
                }
                runs.push(Addr(extent.address & !7), size.unwrap_or(most), State::Used);
            }
        }
    }

    fn walk_slab(&self, slab: &Extent, runs: &mut Runs, log: &mut DamageLog) {
        let Some((size, regions)) = self.regions(slab) else {
            log.note_word(DamageKind::Header, slab.record, slab.bits, None);
            runs.push(Addr(slab.base), slab.size, State::Damaged);
            return;
        };
        let mut free_count = 0;
        let mut region = 0;
        while region < regions {
            let at = slab.record + BITMAP + region / 8;
            let Some(raw) = self.reader.bytes::<{ 8 * BITMAP_WORDS }>(at) else {
                log.note_word(DamageKind::Header, at, 0, None);
                runs.push(Addr(slab.base + region * size), slab.size - region * size, State::Damaged);
                return;
            };
            for raw in raw.chunks_exact(8) {
                let Some(word) = self.reader.target.word(raw) else { break };
                let here = regions.saturating_sub(region).min(64);
                for bit in 0..here {
                    let is_free = word >> bit & 1 == 1;
                    free_count += u64::from(is_free);
                    let state = if is_free { State::Free } else { State::Used };
                    runs.push(Addr(slab.base + (region + bit) * size), size, state);
                }
                region += here;
            }
        }
        let counted = self.fields.free_count(slab.bits, self.geometry);
        if counted != free_count {
            log.note_word(DamageKind::Header, slab.record, counted, Some(free_count));
        }
    }
}

impl Copy {
    fn report(self, image: &Image, id: AllocatorId, table: &AllocationTable) -> AllocatorReport {
        let page = self.tree.geometry.page();
        let mut arenas = self.arenas();
        for arena in arenas.values_mut() {
            arena.spans = super::joined(std::mem::take(&mut arena.spans));
            arena.count(table, id);
            // A free page in a slab goes back with the slab alone.
            arena.trimmable_bytes = 0;
        }
        for extent in self.extents.iter().filter(|extent| self.fields.state(extent.bits) == ExtentState::Cached) {
            if let Some(arena) = arenas.get_mut(&Fields::arena(extent.bits)) {
                arena.trimmable_bytes += extent.size;
            }
        }
        let unproven = self.books.unproven().filter_map(|inside| Span::with_size(Addr(inside & !(page - 1)), page));
        let mut metadata: Vec<Span> = self.books.spans().map(|(span, _)| span).chain(unproven).collect();
        let unproven_count = self.books.unproven().count();
        metadata.push(self.tree.root_span());
        metadata.extend(self.settled.metadata.iter().copied());
        let mut diagnostics = Vec::new();
        if unproven_count > 0 {
            diagnostics.push(Diagnostic {
                code: "allocator-books-unproven",
                at: format!("jemalloc tree {}", Addr(self.tree.root)),
                effect: format!(
                    "{unproven_count} places that hold its books lie in no block of books: what else lies there may count as held by the program"
                ),
            });
        }
        let evidence = self.evidence(image);
        let mut log = self.log;
        log.append(self.settled.log);
        log.damage.sort_by_key(|damage| damage.at);
        AllocatorReport {
            name: "jemalloc",
            id,
            versions: self.fields.versions.to_owned(),
            module: self.tree.module,
            evidence,
            arenas: arenas.into_values().collect(),
            mapped: MappedReport::default(),
            thread_caches: self.settled.caches,
            damage: log.damage,
            damage_count: log.count,
            metadata,
            diagnostics,
        }
    }

    /// The arenas with their memory: extents, and blocks of books.
    fn arenas(&self) -> BTreeMap<u16, ArenaReport> {
        let mut arenas: BTreeMap<u16, ArenaReport> = BTreeMap::new();
        let mut add = |number: u16, span: Span| {
            let arena = arenas.entry(number).or_insert_with(|| ArenaReport {
                address: self.books.base(number).map_or(span.start(), Addr),
                kind: ArenaKind::Shared,
                spans: Vec::new(),
                system_bytes: None,
                missing_bytes: 0,
                tally: Tally::default(),
                highest_used: None,
                trimmable_bytes: 0,
            });
            match arena.spans.last_mut() {
                Some(last) if last.end() == span.start() => {
                    *last = Span::new(last.start(), span.end()).unwrap_or(*last)
                }
                _ => arena.spans.push(span),
            }
        };
        for extent in &self.extents {
            if let Some(span) = Span::with_size(Addr(extent.base), extent.size) {
                add(Fields::arena(extent.bits), span);
            }
        }
        for (span, arena) in self.books.spans() {
            add(arena.unwrap_or(0), span);
        }
        arenas
    }

    fn evidence(&self, image: &Image) -> Vec<String> {
        let module = self.tree.module.and_then(|id| image.module(id)).map(|module| module.name().to_vec());
        let place = module.map_or(String::new(), |name| format!(" in {}", String::from_utf8_lossy(&name)));
        let (fitting, slabs) = self.proof;
        let mut evidence = vec![
            format!("tree of extents at {}{place}", Addr(self.tree.root)),
            format!("{} extents' records hold the very address that the tree has them under", self.extents.len()),
            format!("of {slabs} slabs looked at, in {fitting} as many bits are set as they count free regions"),
        ];
        if self.settled.caches > 0 {
            let caches = match self.settled.caches {
                1 => "one thread's cache holds".to_owned(),
                caches => format!("{caches} threads' caches hold"),
            };
            evidence.push(format!("{caches} {} regions", self.settled.cached));
        }
        evidence
    }
}
