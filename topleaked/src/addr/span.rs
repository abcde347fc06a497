use std::fmt;

/// A virtual address of the process in the dump, zero-extended to 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Addr(pub u64);

impl Addr {
    /// The address `bytes` further up, or `None` past the end of the 64-bit space.
    pub fn checked_add(self, bytes: u64) -> Option<Addr> {
        self.0.checked_add(bytes).map(Addr)
    }

    /// The address `bytes` further down, or `None` below 0.
    pub fn checked_sub(self, bytes: u64) -> Option<Addr> {
        self.0.checked_sub(bytes).map(Addr)
    }

    /// The address `bytes` further up or down, or `None` outside the 64-bit space.
    pub fn checked_offset(self, bytes: i64) -> Option<Addr> {
        self.0.checked_add_signed(bytes).map(Addr)
    }

    /// Bytes from `base` up to this address, or `None` where it lies below `base`.
    pub fn offset_from(self, base: Addr) -> Option<u64> {
        self.0.checked_sub(base.0)
    }

    /// The highest multiple of `alignment` (a power of two) that is not above this address.
    pub fn align_down(self, alignment: u64) -> Addr {
        debug_assert!(alignment.is_power_of_two());
        Addr(self.0 & !(alignment - 1))
    }

    /// The lowest multiple of `alignment` (a power of two) that is not below
    /// this address, or `None` past the end of the 64-bit space.
    pub fn align_up(self, alignment: u64) -> Option<Addr> {
        debug_assert!(alignment.is_power_of_two());
        Some(self.checked_add(alignment - 1)?.align_down(alignment))
    }

    /// Whether the address is a multiple of `alignment` (a power of two).
    pub fn is_aligned(self, alignment: u64) -> bool {
        self.align_down(alignment) == self
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A half-open range of addresses: `start` belongs to it, `end` does not.
///
/// `end` is at most `u64::MAX`, so the very last byte of a 64-bit space is in
/// no span; no process has memory there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    start: Addr,
    end: Addr,
}

impl Span {
    /// From `start` up to but not including `end`; `None` where `end` lies below `start`.
    pub fn new(start: Addr, end: Addr) -> Option<Span> {
        (start <= end).then_some(Span { start, end })
    }

    /// `size_bytes` bytes from `start`; `None` where they leave the 64-bit space.
    pub fn with_size(start: Addr, size_bytes: u64) -> Option<Span> {
        Some(Span { start, end: start.checked_add(size_bytes)? })
    }

    /// The first address in the span.
    pub fn start(self) -> Addr {
        self.start
    }

    /// The first address past the span.
    pub fn end(self) -> Addr {
        self.end
    }

    /// How many bytes the span has.
    pub fn size_bytes(self) -> u64 {
        self.end.0 - self.start.0
    }

    /// Whether the span has no byte.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Whether `addr` lies in the span.
    pub fn contains(self, addr: Addr) -> bool {
        self.start <= addr && addr < self.end
    }

    /// Whether all of `other` lies in the span.
    pub fn contains_span(self, other: Span) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// The bytes that both spans have, or `None` where there are none.
    pub fn intersection(self, other: Span) -> Option<Span> {
        let start = self.start.max(other.start);
        let end = self.end.min(other.end);
        (start < end).then_some(Span { start, end })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}..{:?}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_stops_at_the_ends_of_the_space() {
        assert_eq!(Addr(u64::MAX).checked_add(1), None);
        assert_eq!(Addr(0).checked_sub(1), None);
        assert_eq!(Addr(8).checked_offset(-9), None);
        assert_eq!(Addr(u64::MAX - 3).align_up(8), None);
        assert_eq!(Addr(0x1001).align_up(0x1000), Some(Addr(0x2000)));
    }

    #[test]
    fn a_span_is_half_open() {
        let span = Span::with_size(Addr(0x10), 0x10).unwrap();
        assert!(span.contains(Addr(0x10)) && span.contains(Addr(0x1f)) && !span.contains(Addr(0x20)));
        assert_eq!(Span::new(Addr(2), Addr(1)), None);
        assert_eq!(Span::with_size(Addr(u64::MAX), 1), None);
    }

    #[test]
    fn spans_that_only_touch_have_nothing_in_common() {
        let low = Span::new(Addr(0), Addr(8)).unwrap();
        let high = Span::new(Addr(8), Addr(16)).unwrap();
        assert_eq!(low.intersection(high), None);
        assert_eq!(low.intersection(Span::new(Addr(4), Addr(12)).unwrap()), Span::new(Addr(4), Addr(8)));
    }
}
