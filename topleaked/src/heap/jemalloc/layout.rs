//! How jemalloc 5 lays out its books: rows of tables, and the size classes computed as jemalloc computes them.
//!
//! Sources: jemalloc 5.0.1, 5.1.0, 5.2.1 include/jemalloc/internal/{rtree,extent_structs,cache_bin}.h; 5.3.0, 5.3.1
//! include/jemalloc/internal/{rtree,edata,cache_bin,sc}.h, src/sc.c.

/// How the radix tree divides an address. It depends on the page size and the address width jemalloc was configured for.
#[derive(Debug)]
pub(super) struct Geometry {
    pub(super) page_shift: u32,
    /// How many bits of the address choose an element, from the root to the leaves.
    pub(super) level_bits: &'static [u32],
    /// Bytes of a leaf's element: 8 where size class and flags share the word with the pointer, else 16.
    pub(super) element_bytes: u64,
    /// Blocks of books are aligned to a huge page.
    pub(super) huge_shift: u32,
}

pub(super) static GEOMETRIES: [Geometry; 4] = [
    Geometry { page_shift: 12, level_bits: &[18, 18], element_bytes: 8, huge_shift: 21 },
    // Addresses of 57 bits leave no room beside the pointer.
    Geometry { page_shift: 12, level_bits: &[15, 15, 15], element_bytes: 16, huge_shift: 21 },
    Geometry { page_shift: 16, level_bits: &[16, 16], element_bytes: 8, huge_shift: 29 },
    Geometry { page_shift: 14, level_bits: &[17, 17], element_bytes: 8, huge_shift: 25 },
];

/// An extent's record begins at a multiple of this (from 5.3 of 128): the bits below are a leaf's flags, five at most.
const RECORD_ALIGNMENT: u64 = 64;
/// A pointer that shares its word with a size class has this many bits.
const PACKED_BITS: u32 = 48;

impl Geometry {
    pub(super) fn page(&self) -> u64 {
        1 << self.page_shift
    }

    pub(super) fn last_level(&self) -> usize {
        self.level_bits.len() - 1
    }

    /// How many elements a node of a level has.
    pub(super) fn len(&self, level: usize) -> u64 {
        1 << self.level_bits[level]
    }

    pub(super) fn element_bytes(&self, level: usize) -> u64 {
        if level == self.last_level() { self.element_bytes } else { 8 }
    }

    pub(super) fn node_bytes(&self, level: usize) -> u64 {
        self.len(level) * self.element_bytes(level)
    }

    /// One element of a level stands for two to this power bytes.
    pub(super) fn shift(&self, level: usize) -> u32 {
        self.page_shift + self.level_bits[level + 1..].iter().sum::<u32>()
    }

    /// The element of a level that stands for an address.
    pub(super) fn index(&self, level: usize, address: u64) -> u64 {
        address >> self.shift(level) & (self.len(level) - 1)
    }

    /// The first address above all that the tree can tell.
    pub(super) fn end(&self) -> u64 {
        1 << (self.shift(0) + self.level_bits[0])
    }

    /// The extent's record that a word of a leaf leads to; 0 for none.
    pub(super) fn record(&self, word: u64) -> u64 {
        let pointer = if self.element_bytes == 8 { word & ((1 << PACKED_BITS) - 1) } else { word };
        pointer & !(RECORD_ALIGNMENT - 1)
    }

    /// How many regions a slab can have.
    pub(super) fn most_regions(&self) -> u64 {
        1 << (self.page_shift - 3)
    }
}

/// Offsets in an extent's record (`extent_t`, from 5.3 `edata_t`).
pub(super) const ADDRESS: u64 = 8;
pub(super) const SIZE: u64 = 16;
/// The bitmap of a slab: a set bit is a free region.
pub(super) const BITMAP: u64 = 64;
/// Up to here a record says what its extent is.
pub(super) const HEAD_BYTES: usize = 24;

/// Where the fields in the first word of an extent's record lie. The arena has the lowest bits, the slab flag follows.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) versions: &'static str,
    state_shift: u32,
    state_bits: u32,
    class_shift: u32,
    free_shift: u32,
    /// How caches lie.
    pub(super) caches: CacheKind,
}

/// How a thread's cache tells what lies on the stack of a size class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CacheKind {
    /// A count, and a pointer behind the stack's end.
    Counted,
    /// A pointer to the stack's top; of its bounds the low 16 bits.
    LowBits,
}

pub(super) static FIELDS: [Fields; 3] = [
    Fields {
        versions: "5.3",
        state_shift: 17,
        state_bits: 3,
        class_shift: 20,
        free_shift: 28,
        caches: CacheKind::LowBits,
    },
    Fields {
        versions: "5.1 to 5.2",
        state_shift: 16,
        state_bits: 2,
        class_shift: 18,
        free_shift: 26,
        caches: CacheKind::Counted,
    },
    Fields {
        versions: "5.0",
        state_shift: 15,
        state_bits: 2,
        class_shift: 17,
        free_shift: 25,
        caches: CacheKind::Counted,
    },
];

const ARENA_BITS: u32 = 12;
const CLASS_BITS: u32 = 8;

/// What an extent is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ExtentState {
    Active,
    /// Given back to jemalloc, its memory not yet to the system (dirty, muzzy, or on its way).
    Cached,
    /// Its memory was given back to the system, or never taken; the addresses are kept.
    Retained,
}

fn bits(word: u64, shift: u32, count: u32) -> u64 {
    word >> shift & ((1 << count) - 1)
}

impl Fields {
    pub(super) fn arena(word: u64) -> u16 {
        bits(word, 0, ARENA_BITS) as u16
    }

    pub(super) fn is_slab(word: u64) -> bool {
        bits(word, ARENA_BITS, 1) == 1
    }

    pub(super) fn state(&self, word: u64) -> ExtentState {
        match bits(word, self.state_shift, self.state_bits) {
            0 => ExtentState::Active,
            3 => ExtentState::Retained,
            _ => ExtentState::Cached,
        }
    }

    pub(super) fn class(&self, word: u64) -> usize {
        bits(word, self.class_shift, CLASS_BITS) as usize
    }

    /// How many regions of a slab are free.
    pub(super) fn free_count(&self, word: u64, geometry: &Geometry) -> u64 {
        bits(word, self.free_shift, geometry.page_shift - 3 + 1)
    }
}

/// The smallest class, by its power of two.
const TINY_SHIFT: u32 = 3;
/// Each doubling of the size has two to this power classes.
const GROUP_SHIFT: u32 = 2;

/// Quanta that jemalloc is configured with, by their power of two: 16 bytes on most machines, 8 in the copy that comes
/// with Redis.
pub(super) static QUANTUM_SHIFTS: [u32; 3] = [4, 3, 5];

/// The usable sizes by class.
#[derive(Clone, Debug)]
pub(super) struct Classes {
    sizes: Vec<u64>,
    /// Classes below this one come in slabs.
    slab_classes: usize,
}

impl Classes {
    /// Powers of two below the quantum, multiples of the quantum, then four steps to each doubling.
    pub(super) fn new(quantum_shift: u32, page_shift: u32) -> Classes {
        let group = 1_u64 << GROUP_SHIFT;
        let mut sizes: Vec<u64> = (TINY_SHIFT..quantum_shift).map(|shift| 1 << shift).collect();
        sizes.extend((1..=group).map(|steps| steps << quantum_shift));
        for base_shift in quantum_shift + GROUP_SHIFT..63 {
            sizes.extend((1..=group).map(|steps| (1_u64 << base_shift) + (steps << (base_shift - GROUP_SHIFT))));
        }
        // The last is too large for a signed size.
        sizes.pop();
        let slab_classes = sizes.iter().take_while(|size| **size < 1 << (page_shift + GROUP_SHIFT)).count();
        Classes { sizes, slab_classes }
    }

    pub(super) fn size(&self, class: usize) -> Option<u64> {
        self.sizes.get(class).copied()
    }

    /// The size of a class that comes in slabs.
    pub(super) fn slab_size(&self, class: usize) -> Option<u64> {
        self.size(class).filter(|_| class < self.slab_classes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_that_jemalloc_documents() {
        // jemalloc(3), table "Size classes", 4 KiB pages and 16-byte quantum.
        let classes = Classes::new(4, 12);
        let small = [8, 16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024];
        assert_eq!(classes.sizes[..small.len()], small);
        assert_eq!(classes.slab_size(35), Some(14 << 10));
        assert_eq!((classes.slab_size(36), classes.size(36)), (None, Some(16 << 10)));
        assert_eq!(classes.sizes.last(), Some(&(7 << 60)));
        assert_eq!(classes.sizes.len(), 232);
        let fine = Classes::new(3, 12);
        assert_eq!(fine.sizes[..10], [8, 16, 24, 32, 40, 48, 56, 64, 80, 96]);
        assert_eq!(fine.sizes.len(), 235);
    }

    #[test]
    fn a_tree_covers_the_addresses_it_was_configured_for() {
        assert_eq!(GEOMETRIES.map_end(), [1 << 48, 1 << 57, 1 << 48, 1 << 48]);
        assert_eq!(GEOMETRIES[0].node_bytes(1), 2 << 20);
        assert_eq!(GEOMETRIES[0].index(0, 0x7f80_5700_0000), 0x7f80_5700_0000 >> 30);
    }

    trait MapEnd {
        fn map_end(&self) -> [u64; 4];
    }

    impl MapEnd for [Geometry; 4] {
        fn map_end(&self) -> [u64; 4] {
            std::array::from_fn(|at| self[at].end())
        }
    }
}
