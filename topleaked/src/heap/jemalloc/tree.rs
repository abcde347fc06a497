//! The radix tree that leads from a page to its extent: found without symbols, and read.
//!
//! The root is an array in a module's data: a pointer for each GiB (or larger piece) of the address space, nearly all
//! zero. A leaf proves itself: each element leads to a record that holds the very address the element stands for. From
//! that address follows the element's place in the root, and so where the root begins.

use std::collections::HashSet;

use crate::addr::{Addr, Span};
use crate::heap::DamageKind;
use crate::heap::damage::DamageLog;
use crate::heap::memory::{Reader, Stretch};
use crate::heap::table::AllocatorId;
use crate::image::{Image, MemoryKind, ModuleId};

use super::layout::{ADDRESS, GEOMETRIES, Geometry, HEAD_BYTES, SIZE};

/// So many elements of a leaf are looked at to prove it.
const PROOF_ELEMENTS: usize = 64;
/// Where so many are no proof, and none is, the leaf is none.
const MOST_MISSES: usize = 4;
/// In a search for the root at most this many bytes are read of what may be leaves.
const SEARCH_BYTES: u64 = 1 << 30;
/// And at most so many words are tried as pointers to nodes, for each geometry.
const SEARCH_WORDS: u64 = 1 << 22;

/// One tree: one copy of jemalloc.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: u64,
    pub(super) geometry: &'static Geometry,
    pub(super) module: Option<ModuleId>,
    /// Nodes between the root and the leaves.
    pub(super) nodes: Vec<u64>,
    /// By the first address they stand for.
    pub(super) leaves: Vec<Leaf>,
}

/// A leaf, and the first address it stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Leaf {
    pub(super) key: u64,
    pub(super) address: u64,
}

impl Leaf {
    pub(super) fn is(&self, key: u64, address: u64) -> bool {
        (self.key, self.address) == (key, address)
    }
}

/// Pages in a row that jemalloc has for one purpose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Where its record lies.
    pub(super) record: u64,
    /// The record's first word.
    pub(super) bits: u64,
    /// What the record says of its address: for a large allocation, the allocation's.
    pub(super) address: u64,
    /// Its first page.
    pub(super) base: u64,
    pub(super) size: u64,
}

/// Looks for trees in the data of all modules.
pub(super) fn find_trees(image: &Image) -> Vec<Tree> {
    let reader = Reader::new(image.space());
    let mut search = Search { image, reader, budget: SEARCH_BYTES, words: 0, refused: HashSet::new() };
    let mut trees: Vec<Tree> = Vec::new();
    let areas = data_areas(image);
    for geometry in &GEOMETRIES {
        search.words = SEARCH_WORDS;
        for (span, module) in areas.iter().copied() {
            if span.size_bytes() >= geometry.node_bytes(0) {
                search.search_area(span, module, geometry, &mut trees);
            }
        }
    }
    trees
}

/// The variables of each module, regions that touch joined. Where the dump names no modules, their data is private memory
/// like any other.
fn data_areas(image: &Image) -> Vec<(Span, Option<ModuleId>)> {
    let is_data = |kind| matches!(kind, MemoryKind::Data | MemoryKind::Bss | MemoryKind::Relro);
    let areas = areas_of(image, is_data);
    if areas.is_empty() { areas_of(image, |kind| kind == MemoryKind::Anonymous) } else { areas }
}

fn areas_of(image: &Image, wanted: impl Fn(MemoryKind) -> bool) -> Vec<(Span, Option<ModuleId>)> {
    let mut areas: Vec<(Span, Option<ModuleId>)> = Vec::new();
    for region in image.regions().iter().filter(|region| wanted(region.kind)) {
        match areas.last_mut() {
            Some((span, module)) if span.end() == region.span.start() && *module == region.module => {
                *span = Span::new(span.start(), region.span.end()).unwrap_or(*span);
            }
            _ => areas.push((region.span, region.module)),
        }
    }
    areas
}

struct Search<'a> {
    image: &'a Image,
    reader: Reader<'a>,
    budget: u64,
    words: u64,
    /// What is no node, by its address and level, whatever the geometry would be: a node's first words tell.
    refused: HashSet<(u64, u32)>,
}

impl Search<'_> {
    fn search_area(
        &mut self,
        area: Span,
        module: Option<ModuleId>,
        geometry: &'static Geometry,
        trees: &mut Vec<Tree>,
    ) {
        self.refused.clear();
        let mut rest = area;
        while let Some(stretch) = Stretch::first_in(self.reader.space, rest) {
            for (start, bytes) in stretch.parts(8) {
                for (place, raw) in (start..).step_by(8).zip(bytes.chunks_exact(8)) {
                    let Some(child) = self.reader.target.word(raw).filter(|word| *word != 0) else { continue };
                    if trees.iter().any(|tree| tree.root_span().contains(Addr(place))) {
                        continue;
                    }
                    self.words = self.words.saturating_sub(1);
                    if self.words == 0 || trees.len() >= AllocatorId::LIMIT {
                        return;
                    }
                    let Some(key) = self.prove(child, 1, geometry) else { continue };
                    let root = place.checked_sub(8 * geometry.index(0, key));
                    let tree = root.filter(|root| area.contains(Addr(*root))).and_then(|root| {
                        let span = Span::with_size(Addr(root), geometry.node_bytes(0))?;
                        (span.end() <= area.end()).then(|| Tree::read(self.reader, root, module, geometry))
                    });
                    trees.extend(tree.filter(|tree| !tree.leaves.is_empty()));
                }
            }
            rest = Span::new(stretch.span.end(), rest.end()).unwrap_or_default();
        }
    }

    /// An address that the node at `node` has an element for, where its elements prove it.
    fn prove(&mut self, node: u64, level: usize, geometry: &Geometry) -> Option<u64> {
        if !node.is_multiple_of(64) || self.budget == 0 || self.refused.contains(&(node, level as u32)) {
            return None;
        }
        let kind = self.image.region(Addr(node))?.kind;
        if !matches!(kind, MemoryKind::Anonymous | MemoryKind::MainHeap) {
            return None;
        }
        let key = if level == geometry.last_level() {
            self.prove_leaf(node, geometry)
        } else {
            self.prove_node(node, level, geometry)
        };
        if key.is_none() {
            self.refused.insert((node, level as u32));
        }
        key
    }

    fn prove_node(&mut self, node: u64, level: usize, geometry: &Geometry) -> Option<u64> {
        let mut children = Vec::new();
        let budget = &mut self.budget;
        for_each_word(self.reader, node, geometry.node_bytes(level), |at, word| {
            children.push((at / 8, word));
            *budget = budget.saturating_sub(8);
            children.len() < MOST_MISSES && *budget > 0
        });
        children.into_iter().find_map(|(index, child)| {
            let key = self.prove(child, level + 1, geometry)?;
            (geometry.index(level, key) == index).then_some(key)
        })
    }

    fn prove_leaf(&mut self, leaf: u64, geometry: &Geometry) -> Option<u64> {
        let level = geometry.last_level();
        let reader = self.reader;
        let (mut proven, mut matches, mut missed) = (None, 0, 0);
        let (mut last, mut before) = (0, 0);
        for_each_word(reader, leaf, geometry.node_bytes(level), |at, word| {
            last = at;
            let record = geometry.record(word);
            // Cleared elements keep a size class, the second word of a wide one is no pointer, and all pages of a slab lead
            // to the same record.
            if record == 0 || record == before || !at.is_multiple_of(geometry.element_bytes) {
                return true;
            }
            before = record;
            let page = reader.word(record + ADDRESS).unwrap_or(0) & !(geometry.page() - 1);
            let key = leaf_key(page, geometry);
            let is_first = page != 0
                && page < geometry.end()
                && geometry.index(level, page) == at / geometry.element_bytes
                && proven.is_none_or(|known| leaf_key(known, geometry) == key);
            if is_first {
                proven = Some(page);
                matches += 1;
            } else {
                missed += 1;
            }
            matches + missed < PROOF_ELEMENTS && (matches > 0 || missed < MOST_MISSES)
        });
        self.budget = self.budget.saturating_sub(last + 8);
        proven.filter(|_| matches >= 2 && matches > missed)
    }
}

/// What a leaf's addresses have in common.
fn leaf_key(address: u64, geometry: &Geometry) -> u64 {
    address >> geometry.shift(geometry.last_level() - 1)
}

/// Calls `visit` with the distance and the value of each word that is not zero, until it says false.
fn for_each_word(reader: Reader<'_>, start: u64, size: u64, mut visit: impl FnMut(u64, u64) -> bool) {
    let Some(mut rest) = Span::with_size(Addr(start), size) else { return };
    while let Some(stretch) = Stretch::first_in(reader.space, rest) {
        for (from, bytes) in stretch.parts(8) {
            for (place, raw) in (from..).step_by(8).zip(bytes.chunks_exact(8)) {
                if raw == [0; 8] {
                    continue;
                }
                let Some(word) = reader.target.word(raw) else { continue };
                if !visit(place - start, word) {
                    return;
                }
            }
        }
        rest = Span::new(stretch.span.end(), rest.end()).unwrap_or_default();
    }
}

impl Tree {
    /// Gathers the nodes below a root. Those that overlap others are left out: each word of the image is read as a part of
    /// one leaf at most, however often a root points at it.
    fn read(reader: Reader<'_>, root: u64, module: Option<ModuleId>, geometry: &'static Geometry) -> Tree {
        let mut level: Vec<Leaf> = vec![Leaf { key: 0, address: root }];
        let mut nodes = Vec::new();
        for depth in 0..geometry.last_level() {
            let mut below = Vec::new();
            for node in &level {
                for_each_word(reader, node.address, geometry.node_bytes(depth), |at, child| {
                    below.push(Leaf { key: node.key | ((at / 8) << geometry.shift(depth)), address: child });
                    true
                });
            }
            let size = geometry.node_bytes(depth + 1);
            below.retain(|node| reader.is_present(node.address) && node.address.checked_add(size).is_some());
            below.sort_by_key(|node| node.address);
            let mut end = 0;
            below.retain(|node| {
                let apart = node.address >= end;
                if apart {
                    end = node.address + size;
                }
                apart
            });
            if depth > 0 {
                nodes.extend(level.iter().map(|node| node.address));
            }
            level = below;
        }
        level.sort_by_key(|leaf| leaf.key);
        Tree { root, geometry, module, nodes, leaves: level }
    }

    pub(super) fn root_span(&self) -> Span {
        Span::with_size(Addr(self.root), self.geometry.node_bytes(0)).unwrap_or_default()
    }

    /// All extents, by address, without overlap.
    pub(super) fn extents(&self, reader: Reader<'_>, log: &mut DamageLog) -> Vec<Extent> {
        let geometry = self.geometry;
        let stride = geometry.element_bytes;
        let mut extents: Vec<Extent> = Vec::new();
        let (mut next, mut broken) = (0, 0);
        for leaf in &self.leaves {
            for_each_word(reader, leaf.address, geometry.node_bytes(geometry.last_level()), |at, word| {
                let page = leaf.key + ((at / stride) << geometry.page_shift);
                let record = geometry.record(word);
                if page < next || record == 0 || record == broken || !at.is_multiple_of(stride) {
                    return true;
                }
                match read_extent(reader, record, geometry) {
                    // Its last page leads to it as well, which proves its size.
                    Some(extent)
                        if extent.base == page
                            && self.record_at(reader, extent.base + extent.size - 1) == Some(record) =>
                    {
                        next = extent.base + extent.size;
                        extents.push(extent);
                    }
                    other => {
                        broken = record;
                        log.note_word(DamageKind::Header, record, other.map_or(0, |extent| extent.address), Some(page));
                    }
                }
                true
            });
        }
        extents
    }

    /// The record that the page of an address leads to.
    fn record_at(&self, reader: Reader<'_>, address: u64) -> Option<u64> {
        let geometry = self.geometry;
        let at = self.leaves.partition_point(|leaf| leaf.key <= address).checked_sub(1)?;
        let leaf = self.leaves.get(at).filter(|leaf| leaf_key(leaf.key, geometry) == leaf_key(address, geometry))?;
        let index = geometry.index(geometry.last_level(), address);
        Some(geometry.record(reader.word(leaf.address + index * geometry.element_bytes)?))
    }
}

/// Reads an extent's record; `None` where it is not in the dump, or says nothing of a page.
fn read_extent(reader: Reader<'_>, record: u64, geometry: &Geometry) -> Option<Extent> {
    let head = reader.bytes::<HEAD_BYTES>(record).filter(|_| record < geometry.end())?;
    let word = |at: u64| reader.target.word(head.get(at as usize..)?);
    let (bits, address, size) = (word(0)?, word(ADDRESS)?, word(SIZE)?);
    let base = address & !(geometry.page() - 1);
    let size = size & !(geometry.page() - 1);
    (size > 0 && base.checked_add(size)? <= geometry.end()).then_some(Extent { record, bits, address, base, size })
}
