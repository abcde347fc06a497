//! How an allocator rounds a request up, seen from what came of it.

/// The rule of one allocator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rounding {
    /// glibc, with words of so many bytes: a request and its header become a multiple of 16 bytes and at least four words,
    /// and a rest of 16 bytes that cannot be a chunk of its own stays with it; a mapped chunk ends with a page
    /// (malloc/malloc.c, `request2size`, `MINSIZE`, `sysmalloc_mmap`).
    Chunks {
        /// Bytes of a word.
        width: u8,
    },
    /// jemalloc: four classes between a power of two and the next, at steps of 16 bytes up to 128 (`sz.h`).
    Classes,
    /// The usable size is the size asked for (musl's mallocng keeps it).
    Exact,
}

impl Default for Rounding {
    fn default() -> Rounding {
        Rounding::Chunks { width: 8 }
    }
}

const PAGE: u64 = 4096;
/// From this size on, a chunk may be a mapping of its own (glibc's initial `M_MMAP_THRESHOLD`).
const MAPPED_FROM: u64 = 128 << 10;

impl Rounding {
    /// The smallest request that can have become `usable` bytes.
    #[inline]
    pub fn least_request(self, usable: u64) -> u64 {
        match self {
            Rounding::Chunks { width } => {
                let width = u64::from(width);
                // A mapped chunk ends with a page but for its header's two words and what some versions put around it; small
                // ones only where the threshold was lowered.
                let is_mapped = usable >= MAPPED_FROM || usable % PAGE == PAGE - 2 * width;
                if is_mapped {
                    return usable.saturating_sub(PAGE + 2 * 16);
                }
                let least = 4 * width;
                let chunk = usable.saturating_add(width);
                // The smallest chunk that is no rest of 16 bytes smaller.
                let chunk = if chunk >= least + 16 { chunk - 16 } else { chunk };
                if chunk <= least { 0 } else { (chunk + 1).saturating_sub(16 + width) }
            }
            Rounding::Classes => match usable {
                0..=8 => 0,
                9..=16 => 9,
                17..=128 => usable.saturating_sub(15),
                _ => usable - (1 << (usable - 1).ilog2() >> 2) + 1,
            },
            Rounding::Exact => usable,
        }
    }

    /// Whether a request for `requested` bytes can have become an allocation of `usable` bytes.
    #[inline]
    pub fn is_for(self, requested: u64, usable: u64) -> bool {
        requested <= usable && requested >= self.least_request(usable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_fit_what_they_were_rounded_up_from() {
        let chunks = Rounding::Chunks { width: 8 };
        assert!(chunks.is_for(0, 24) && chunks.is_for(24, 24) && chunks.is_for(25, 40) && chunks.is_for(25, 56));
        // A chunk of 32 bytes with a rest of 16 that is none.
        assert!(chunks.is_for(8, 40) && chunks.is_for(0, 40) && !chunks.is_for(8, 56) && !chunks.is_for(24, 56));
        assert!(!chunks.is_for(25, 24) && !chunks.is_for(25, 72) && !chunks.is_for(40, 72) && chunks.is_for(41, 72));
        // Mapped: a header of two words, and up to a page.
        assert!(chunks.is_for(200_000, 200_688) && chunks.is_for(200_000, 200_000 + 3_984));
        assert!(!chunks.is_for(200_000, 200_688 + 4096));
        let chunks = Rounding::Chunks { width: 4 };
        assert!(chunks.is_for(0, 12) && chunks.is_for(12, 28) && chunks.is_for(13, 28) && chunks.is_for(13, 44));
        assert!(!chunks.is_for(12, 44) && !chunks.is_for(13, 60));
    }

    #[test]
    fn classes_fit_what_lies_above_the_class_below() {
        let classes = Rounding::Classes;
        let all =
            [8, 16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 112 << 10, 128 << 10];
        for (usable, least) in all.into_iter().zip([0, 9, 17, 33, 49, 65, 81, 97, 113, 129, 161, 193, 225, 257, 321]) {
            assert_eq!(classes.least_request(usable), least, "{usable}");
        }
        assert!(classes.is_for(98 << 10, 112 << 10) && !classes.is_for(96 << 10, 112 << 10));
    }
}
