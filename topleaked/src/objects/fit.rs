//! Whether an allocation was made for so many bytes.

/// The allocator's rounding. glibc rounds a request and its header up to two words, never below four, and leaves a rest
/// of two words that cannot be a chunk of its own with it (malloc/malloc.c, `request2size` and `MINSIZE`); what is mapped
/// directly is rounded up to a page. musl tells the size asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fit {
    width: u64,
}

/// From this size on, an allocation may be a mapping of its own (glibc's initial `M_MMAP_THRESHOLD`).
const MAPPED_FROM: u64 = 128 << 10;
const PAGE_BYTES: u64 = 4096;

impl Fit {
    pub(super) fn new(width: u64) -> Fit {
        Fit { width }
    }

    /// Whether a request for `requested` bytes can have become an allocation of `usable` bytes.
    #[inline]
    pub(super) fn is_for(self, requested: u64, usable: u64) -> bool {
        if requested > usable {
            return false;
        }
        // 32-bit glibc aligns at 16 bytes from 2.26 on.
        let granule = 16;
        let rounding = granule - 1 + granule;
        let least = 4 * self.width;
        let slack = if requested >= MAPPED_FROM { PAGE_BYTES + 2 * granule } else { rounding };
        usable - requested <= slack || usable <= least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_fits_what_it_was_rounded_up_from() {
        let fit = Fit::new(8);
        assert!(fit.is_for(0, 24) && fit.is_for(24, 24) && fit.is_for(25, 40) && fit.is_for(25, 56));
        assert!(!fit.is_for(25, 24) && !fit.is_for(8, 40) && !fit.is_for(25, 64));
        // A mapping of 49 pages less its header, and one with a page too many.
        assert!(fit.is_for(200_000, 200_688) && !fit.is_for(200_000, 204_784));
        assert!(fit.is_for(200_000, 200_000 + 4000) && !fit.is_for(200_000, 210_000));
    }
}
