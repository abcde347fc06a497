//! Reading words of a dump fast: width and byte order fixed at compile time, segments joined.

use crate::addr::{Addr, Span, Target};
use crate::image::AddressSpace;

/// How words lie in memory, known when a walker is compiled.
pub(super) trait Words: Copy + Send + Sync + 'static {
    /// Bytes of a word.
    const WIDTH: u64;

    /// The word at `at`, zero-extended; `None` where it does not fit.
    fn word(bytes: &[u8], at: usize) -> Option<u64>;
}

/// Four-byte words, the least significant byte first.
#[derive(Clone, Copy)]
pub(super) struct Little4;
/// Eight-byte words, the least significant byte first.
#[derive(Clone, Copy)]
pub(super) struct Little8;
/// Four-byte words, the most significant byte first.
#[derive(Clone, Copy)]
pub(super) struct Big4;
/// Eight-byte words, the most significant byte first.
#[derive(Clone, Copy)]
pub(super) struct Big8;

macro_rules! words {
    ($name:ident, $integer:ty, $read:ident) => {
        impl Words for $name {
            const WIDTH: u64 = size_of::<$integer>() as u64;

            #[inline(always)]
            fn word(bytes: &[u8], at: usize) -> Option<u64> {
                let raw = bytes.get(at..)?.first_chunk()?;
                Some(<$integer>::$read(*raw).into())
            }
        }
    };
}

words!(Little4, u32, from_le_bytes);
words!(Little8, u64, from_le_bytes);
words!(Big4, u32, from_be_bytes);
words!(Big8, u64, from_be_bytes);

/// Calls a function that is generic over [`Words`] with the words of a target.
macro_rules! with_words {
    ($target:expr, $function:ident ( $($argument:expr),* $(,)? )) => {
        match ($target.width, $target.order) {
            (crate::addr::Width::W4, crate::addr::ByteOrder::Little) => $function::<crate::heap::memory::Little4>($($argument),*),
            (crate::addr::Width::W4, crate::addr::ByteOrder::Big) => $function::<crate::heap::memory::Big4>($($argument),*),
            (crate::addr::Width::W8, crate::addr::ByteOrder::Little) => $function::<crate::heap::memory::Little8>($($argument),*),
            (crate::addr::Width::W8, crate::addr::ByteOrder::Big) => $function::<crate::heap::memory::Big8>($($argument),*),
        }
    };
}
pub(super) use with_words;

/// Memory without a hole, though it may come from several segments.
#[derive(Clone, Debug)]
pub(super) struct Stretch<'a> {
    pub(super) span: Span,
    parts: Vec<(u64, &'a [u8])>,
}

impl<'a> Stretch<'a> {
    /// All memory to be had in a row around `addr`, cut to `within`; `None` where there is none at `addr`.
    pub(super) fn around(space: &'a AddressSpace, addr: Addr, within: Span) -> Option<Stretch<'a>> {
        let segments = space.segments();
        let at = segments.partition_point(|segment| segment.span.end() <= addr);
        let present = |place: usize| {
            let segment = segments.get(place)?;
            let bytes = space.segment_bytes(segment);
            (!bytes.is_empty() && segment.span.intersection(within).is_some()).then_some((segment.span, bytes))
        };
        present(at).filter(|(span, _)| span.contains(addr))?;
        let mut first = at;
        while let Some(below) = first.checked_sub(1)
            && let Some((span, _)) = present(below)
            && span.end() == segments[first].span.start()
        {
            first = below;
        }
        Stretch::collect(space, first, within)
    }

    /// The memory to be had in a row from the first present byte of `within` on.
    pub(super) fn first_in(space: &'a AddressSpace, within: Span) -> Option<Stretch<'a>> {
        let segments = space.segments();
        let mut at = segments.partition_point(|segment| segment.span.end() <= within.start());
        while segments.get(at)?.span.start() < within.end() {
            if !space.segment_bytes(&segments[at]).is_empty() {
                return Stretch::collect(space, at, within);
            }
            at += 1;
        }
        None
    }

    /// Joins segments from the one at `first` on, as long as they touch.
    fn collect(space: &'a AddressSpace, first: usize, within: Span) -> Option<Stretch<'a>> {
        let mut parts: Vec<(u64, &[u8])> = Vec::new();
        let mut end = None;
        for segment in &space.segments()[first..] {
            let Some(common) = segment.span.intersection(within) else { break };
            if end.is_some_and(|end| end != common.start()) {
                break;
            }
            let skip = (common.start().0 - segment.span.start().0) as usize;
            let Some(bytes) = space.segment_bytes(segment).get(skip..).filter(|bytes| !bytes.is_empty()) else { break };
            let size = usize::try_from(common.size_bytes()).unwrap_or(usize::MAX).min(bytes.len());
            parts.push((common.start().0, &bytes[..size]));
            end = Some(common.end());
        }
        let start = Addr(parts.first()?.0);
        Some(Stretch { span: Span::new(start, end?)?, parts })
    }

    /// The word at `addr`. `hint` is the part where the last one was found.
    #[inline(always)]
    pub(super) fn word<W: Words>(&self, addr: u64, hint: &mut usize) -> Option<u64> {
        if let Some((start, bytes)) = self.parts.get(*hint)
            && let Some(into) = addr.checked_sub(*start)
            && let Some(word) = W::word(bytes, into as usize)
        {
            return Some(word);
        }
        self.word_elsewhere::<W>(addr, hint)
    }

    #[cold]
    fn word_elsewhere<W: Words>(&self, addr: u64, hint: &mut usize) -> Option<u64> {
        let place = self.parts.partition_point(|(start, _)| *start <= addr).checked_sub(1)?;
        let (start, bytes) = self.parts.get(place)?;
        // A word that straddles two segments is not aligned, and no allocator's.
        let word = W::word(bytes, (addr - start) as usize)?;
        *hint = place;
        Some(word)
    }

    /// The parts, each from its first word on, with that word's address. Memory of a module may begin anywhere.
    pub(super) fn parts(&self, width: u64) -> impl Iterator<Item = (u64, &'a [u8])> + '_ {
        self.parts.iter().filter_map(move |(start, bytes)| {
            let first = start.checked_next_multiple_of(width)?;
            Some((first, bytes.get((first - start) as usize..)?))
        })
    }
}

/// The words of a space, one at a time, at any address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    pub(super) space: &'a AddressSpace,
    pub(super) target: Target,
}

impl<'a> Reader<'a> {
    pub(super) fn new(space: &'a AddressSpace) -> Reader<'a> {
        Reader { space, target: space.target() }
    }

    /// Bytes of a word.
    pub(super) fn width(&self) -> u64 {
        self.target.width.bytes() as u64
    }

    pub(super) fn word(&self, addr: u64) -> Option<u64> {
        self.space.word(Addr(addr))
    }

    pub(super) fn u16(&self, addr: u64) -> Option<u16> {
        self.target.u16(&self.bytes::<2>(addr)?)
    }

    pub(super) fn u32(&self, addr: u64) -> Option<u32> {
        self.target.u32(&self.bytes::<4>(addr)?)
    }

    pub(super) fn bytes<const N: usize>(&self, addr: u64) -> Option<[u8; N]> {
        let mut buffer = [0; N];
        (self.space.read_into(Addr(addr), &mut buffer) == N).then_some(buffer)
    }

    /// Whether the byte at `addr` is to be had.
    pub(super) fn is_present(&self, addr: u64) -> bool {
        !self.space.bytes_from(Addr(addr)).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Backing, Content, Permissions, Segment};

    #[test]
    fn words_are_read_where_they_are_aligned() {
        let mut space = AddressSpace::new(Target::LITTLE_8);
        let id = space.add_backing(Backing::memory((0..32).collect()));
        let span = Span::with_size(Addr(0x1004), 28).unwrap();
        let content = Content::Present(id, 4);
        space.add_segment(Segment { span, permissions: Permissions::default(), content }).unwrap();
        let parts = |within: Span| {
            let stretch = Stretch::first_in(&space, within).unwrap();
            stretch.parts(8).map(|(at, bytes)| (at, bytes.first().copied())).collect::<Vec<_>>()
        };
        assert_eq!(parts(span), [(0x1008, Some(8))]);
        assert_eq!(parts(Span::with_size(Addr(0x1009), 20).unwrap()), [(0x1010, Some(16))]);
        // No word begins there.
        assert_eq!(parts(Span::with_size(Addr(0x1009), 2).unwrap()), []);
    }
}
