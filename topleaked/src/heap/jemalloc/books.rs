//! The blocks in which jemalloc keeps its books: arenas, the tree's nodes, the records of extents.
//!
//! A block begins with its size, a pointer to the block made before it, and the record of what is still unused: from its
//! address on as many bytes as the record says lead to the block's very end. That proves it.
//!
//! Layout: jemalloc 5.0.1 to 5.3.1 `struct base_block_s` and `struct base_s`.

use std::collections::{BTreeMap, BTreeSet};

use crate::addr::{Addr, Span};
use crate::heap::memory::Reader;

use super::layout::{ADDRESS, SIZE};

const NEXT: u64 = 8;
const UNUSED: u64 = 16;
/// The first object of an arena's first block is the `base_t`; before it the header, up to the next cache line.
const BASE: u64 = 192;
/// Within so many bytes a `base_t` points at its newest block.
const BASE_HEAD: u64 = 256;
/// A block is at most so many huge pages long when it is looked for from inside.
const MOST_STEPS: u64 = 1 << 10;

/// One block.
#[derive(Clone, Copy, Debug)]
struct Block {
    end: u64,
    next: u64,
    arena: Option<u16>,
}

/// All blocks found, by their first address.
#[derive(Debug, Default)]
pub(super) struct Books {
    blocks: BTreeMap<u64, Block>,
    /// Where the books of each arena begin.
    bases: BTreeMap<u16, u64>,
    /// Huge pages in which no block was found.
    pages_without: BTreeMap<u64, u64>,
}

impl Books {
    /// Notes the block that `inside` lies in, and those it leads to.
    pub(super) fn add(&mut self, reader: Reader<'_>, inside: u64, huge_shift: u32) {
        if self.contains(inside) {
            return;
        }
        let huge = 1_u64 << huge_shift;
        let first = inside & !(huge - 1);
        if self.pages_without.contains_key(&first) {
            return;
        }
        let candidates = (0..MOST_STEPS).map_while(|step| first.checked_sub(step << huge_shift));
        // Memory in a row down to the block's header.
        let found = candidates
            .take_while(|at| reader.space.find_segment(Addr(*at)).is_some())
            .find_map(|at| read_block(reader, at, huge).filter(|block| block.end > inside).map(|block| (at, block)));
        let Some((at, block)) = found else {
            self.pages_without.insert(first, inside);
            return;
        };
        let mut open = Some((at, block));
        // Each step adds a block that was not known.
        while let Some((at, block)) = open {
            let overlaps = self.blocks.range(..block.end).next_back().is_some_and(|(_, other)| other.end > at);
            if overlaps {
                break;
            }
            self.blocks.insert(at, block);
            open = read_block(reader, block.next, huge).map(|next| (block.next, next));
        }
    }

    fn contains(&self, address: u64) -> bool {
        self.blocks.range(..=address).next_back().is_some_and(|(_, block)| block.end > address)
    }

    /// Finds out whose each block is.
    pub(super) fn assign_arenas(&mut self, reader: Reader<'_>) {
        let firsts: Vec<u64> = self.blocks.iter().filter(|(_, block)| block.next == 0).map(|(at, _)| *at).collect();
        let ends = self.ends();
        for first in firsts {
            let base = first + BASE;
            let Some(arena) = reader.u32(base).filter(|arena| *arena < 1 << 12) else { continue };
            let newest = (base..base + BASE_HEAD)
                .step_by(8)
                .filter_map(|at| reader.word(at))
                .find(|word| ends.get(word) == Some(&first));
            let Some(newest) = newest else { continue };
            let arena = arena as u16;
            self.bases.entry(arena).or_insert(base);
            for at in self.chain(newest).collect::<Vec<_>>() {
                if let Some(block) = self.blocks.get_mut(&at) {
                    block.arena = Some(arena);
                }
            }
        }
    }

    /// For each block the one that its chain ends with; none for those that lead round in a circle.
    fn ends(&self) -> BTreeMap<u64, u64> {
        let mut ends: BTreeMap<u64, u64> = BTreeMap::new();
        let mut visited = BTreeSet::new();
        for start in self.blocks.keys() {
            // Up to a block whose end is known, or that has been here before.
            let mut open = Vec::new();
            let end = self.chain(*start).find_map(|at| {
                let known = ends.get(&at).copied().or_else(|| (!visited.insert(at)).then_some(0));
                open.extend(known.is_none().then_some(at));
                known
            });
            let end = end.or(open.last().copied()).filter(|end| *end != 0);
            ends.extend(open.into_iter().filter_map(|at| Some((at, end?))));
        }
        ends
    }

    /// The blocks from one on to the first of its arena.
    fn chain(&self, newest: u64) -> impl Iterator<Item = u64> + '_ {
        let known = |at: &u64| self.blocks.contains_key(at);
        let next = move |at: &u64| self.blocks.get(at).map(|block| block.next).filter(known);
        std::iter::successors(Some(newest).filter(known), next).take(self.blocks.len())
    }

    /// Where an arena's books begin.
    pub(super) fn base(&self, arena: u16) -> Option<u64> {
        self.bases.get(&arena).copied()
    }

    /// The blocks with the arena whose they are.
    pub(super) fn spans(&self) -> impl Iterator<Item = (Span, Option<u16>)> + '_ {
        self.blocks.iter().filter_map(|(at, block)| Some((Span::new(Addr(*at), Addr(block.end))?, block.arena)))
    }

    /// One address in each huge page that had to hold books, and no block was found there.
    pub(super) fn unproven(&self) -> impl Iterator<Item = u64> + '_ {
        self.pages_without.iter().filter(|(page, _)| !self.contains(**page)).map(|(_, inside)| *inside)
    }
}

fn read_block(reader: Reader<'_>, at: u64, huge: u64) -> Option<Block> {
    if at == 0 || !at.is_multiple_of(huge) {
        return None;
    }
    let size = reader.word(at)?;
    let next = reader.word(at + NEXT)?;
    let unused = reader.word(at + UNUSED + ADDRESS)?;
    let unused_bytes = reader.word(at + UNUSED + SIZE)?;
    let end = at.checked_add(size)?;
    let is_block = size >= huge
        && size.is_multiple_of(huge)
        && next.is_multiple_of(huge)
        && unused > at
        && unused.checked_add(unused_bytes)? == end;
    is_block.then_some(Block { end, next, arena: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_chain_ends_with_its_first_block() {
        let blocks: [(u64, u64); 8] = [
            (0x10, 0),
            (0x20, 0x10),
            (0x30, 0x20),
            (0x40, 0x50),
            (0x50, 0x60),
            (0x60, 0x40),
            (0x70, 0x20),
            (0x80, 0x60),
        ];
        let blocks = blocks.map(|(at, next)| (at, Block { end: at + 8, next, arena: None }));
        let books = Books { blocks: blocks.into_iter().collect(), ..Books::default() };
        let ends: Vec<(u64, u64)> = books.ends().into_iter().collect();
        assert_eq!(ends, [(0x10, 0x10), (0x20, 0x10), (0x30, 0x10), (0x70, 0x10)]);
        // A long chain costs a step a block.
        let chain = |at: u64| (at * 16, Block { end: at * 16 + 8, next: (at - 1) * 16, arena: None });
        let books = Books { blocks: (1..200_000).map(chain).collect(), ..Books::default() };
        assert!(books.ends().values().all(|end| *end == 16));
    }
}
