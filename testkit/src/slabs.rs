//! Writes small jemalloc 5.3 heaps into memory, and remembers what it wrote.
//!
//! The layout is written down here a second time, on purpose, by hand from jemalloc 5.3.0's rtree.h, edata.h, base.c and
//! cache_bin.h. Addresses are low, so that the few pages of the sparse tables that matter come first.

use crate::elf_core::{CoreBuilder, R, Shape, W};

const PAGE: u64 = 4096;
/// The tree's root, in the variables of a module that the dump does not name.
pub const ROOT: u64 = 0x4000_0000;
/// The block of books: header, then records; the leaf in its second MiB.
pub const BOOKS: u64 = 0x8000_0000;
const LEAF: u64 = BOOKS + (1 << 20);
const BOOKS_BYTES: u64 = 4 << 20;
const RECORDS: u64 = 0x1000;
/// Slabs and large allocations.
pub const HEAP: u64 = 0x20_0000;
/// A thread's cache.
pub const CACHE: u64 = 0xc000_0000;
/// The stacks of the cache's bins lie behind its records.
const STACKS: u64 = 0x1000;
const BINS: u64 = 36;
const SLOTS: u64 = 8;

/// Sizes of the classes written, by their number.
const CLASSES: [u64; 9] = [8, 16, 32, 48, 64, 80, 96, 112, 128];

/// One extent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece {
    /// A slab of one of the small classes; the seed says which of its regions are free.
    Slab(u8, u64),
    /// A large allocation of this many times 16 KiB, at most four.
    Large(u8),
    /// Given back, of this many pages.
    Free(u8),
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// Present bytes of the root, the books' beginning, the leaf, the heap, the cache.
    pub areas: [(u64, u64, Vec<u8>); 5],
    /// What is used, with its size, and is in no cache.
    pub used: Vec<(u64, u64)>,
}

fn put(bytes: &mut [u8], at: u64, value: u64) {
    if let Some(place) = bytes.get_mut(at as usize..at as usize + 8) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

/// Pages of a slab: the first multiple that the size divides.
fn slab_pages(size: u64) -> u64 {
    (1..).find(|pages| (pages * PAGE).is_multiple_of(size)).unwrap_or(1)
}

/// Writes a heap of at most 200 pieces; every eighth used region goes to the thread's cache.
pub fn write(pieces: &[Piece]) -> Written {
    let mut root = vec![0; 64];
    let mut books = vec![0; 0x1_0000];
    let mut leaf = vec![0; 0x4000];
    let mut cache = vec![0; (STACKS + 8 + BINS * SLOTS * 8 + 8) as usize];
    let mut used = Vec::new();
    let mut filled = [0_u64; BINS as usize];
    put(&mut root, 0, LEAF);
    put(&mut books, 0, BOOKS_BYTES);
    put(&mut books, 24, BOOKS + BOOKS_BYTES);
    // The arena's own: its number is 0, and it points at its newest block.
    put(&mut books, 192 + 48, BOOKS);
    let mut at = HEAP;
    for (index, piece) in (0_u64..).zip(pieces.iter().take(200)) {
        let record = RECORDS + index * 128;
        let (pages, state, class, slab, mut free_count) = match piece {
            Piece::Slab(class, _) => {
                let class = u64::from(*class) % CLASSES.len() as u64;
                (slab_pages(CLASSES[class as usize]), 0, class, 1, 0)
            }
            // 16, 20, 24 and 28 KiB have the classes from 36 on; a page more keeps caches' sets apart.
            Piece::Large(step) => (u64::from(*step % 4) + 5, 0, 36 + u64::from(*step % 4), 0, 0),
            Piece::Free(pages) => (u64::from(*pages % 5) + 1, 1 + u64::from(*pages % 3), 232, 0, 0),
        };
        let mut address = at;
        match piece {
            Piece::Slab(class, seed) => {
                let class = usize::from(*class) % CLASSES.len();
                let size = CLASSES[class];
                let regions = pages * PAGE / size;
                let mut state = seed | 1;
                for region in 0..regions {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let memory = at + region * size;
                    if state >> 60 < 6 {
                        free_count += 1;
                        let place = (record + 64 + region / 64 * 8) as usize;
                        books[place + (region % 64 / 8) as usize] |= 1 << (region % 8);
                    } else if state >> 50 & 7 == 0 && filled[class] < SLOTS {
                        filled[class] += 1;
                        let end = STACKS + 8 + (class as u64 + 1) * SLOTS * 8;
                        put(&mut cache, end - filled[class] * 8, memory);
                    } else {
                        used.push((memory, size));
                    }
                }
            }
            Piece::Large(step) => {
                address += u64::from(*step) % 64 * 64;
                used.push((address, (4 + u64::from(*step % 4)) * PAGE));
            }
            Piece::Free(_) => {}
        }
        put(&mut books, record, slab << 12 | state << 17 | class << 20 | free_count << 28);
        put(&mut books, record + 8, address);
        put(&mut books, record + 16, pages * PAGE);
        let element = class << 48 | (BOOKS + record) | state << 2 | slab;
        for page in 0..pages {
            if slab == 1 || page == 0 || page == pages - 1 {
                put(&mut leaf, (at / PAGE + page) * 8, element);
            }
        }
        at += pages * PAGE;
    }
    put(&mut cache, STACKS, 0x7a7a_7a7a_7a7a_7a7a);
    for bin in 0..BINS {
        let full = CACHE + STACKS + 8 + bin * SLOTS * 8;
        let empty = full + SLOTS * 8;
        put(&mut cache, 64 + bin * 24, empty - filled[bin as usize] * 8);
        put(&mut cache, 64 + bin * 24 + 16, empty & 0xffff | (full & 0xffff) << 16 | (empty & 0xffff) << 32);
    }
    let cache_bytes = cache.len() as u64;
    let areas = [
        (ROOT, 2 << 20, root),
        (BOOKS, 1 << 20, books),
        (LEAF, BOOKS_BYTES - (1 << 20), leaf),
        (HEAP, (at - HEAP).max(PAGE), vec![0; (at - HEAP).max(PAGE) as usize]),
        (CACHE, cache_bytes, cache),
    ];
    Written { areas, used }
}

impl Written {
    /// A dump with this memory, and no module.
    pub fn core(&self) -> Vec<u8> {
        let builder = CoreBuilder::new(Shape { wide: true, big: false }, 62);
        let built = self
            .areas
            .iter()
            .fold(builder, |builder, (at, size, bytes)| builder.partial_memory(*at, R | W, bytes, *size));
        built.build()
    }
}
