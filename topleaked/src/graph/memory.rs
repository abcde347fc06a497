//! The memory that is to be had, as few sorted pieces: what a scan reads from.

use crate::addr::{Addr, Span};
use crate::image::AddressSpace;

/// Bytes of the process that lie in a row, in memory and in their backing.
#[derive(Clone, Copy, Debug)]
struct Piece<'a> {
    end: u64,
    bytes: &'a [u8],
}

/// All present memory by address.
#[derive(Debug)]
pub(crate) struct Memory<'a> {
    /// The pieces' first addresses, apart from the rest: what a search touches.
    starts: Vec<u64>,
    pieces: Vec<Piece<'a>>,
}

impl<'a> Memory<'a> {
    pub(crate) fn new(space: &'a AddressSpace) -> Memory<'a> {
        let mut memory = Memory { starts: Vec::new(), pieces: Vec::new() };
        for segment in space.segments() {
            let bytes = space.segment_bytes(segment);
            if !bytes.is_empty() {
                memory.starts.push(segment.span.start().0);
                memory.pieces.push(Piece { end: segment.span.start().0 + bytes.len() as u64, bytes });
            }
        }
        memory
    }

    /// The bytes from `addr` to the end of its piece; empty where it is in none. O(log pieces).
    #[inline]
    pub(crate) fn bytes_from(&self, addr: u64) -> &'a [u8] {
        let Some(at) = self.starts.partition_point(|start| *start <= addr).checked_sub(1) else { return &[] };
        let (start, piece) = (self.starts[at], &self.pieces[at]);
        if addr < piece.end { piece.bytes.get((addr - start) as usize..).unwrap_or_default() } else { &[] }
    }

    /// The bytes of `span` up to the first border of a piece or the first that is missing.
    #[inline]
    pub(crate) fn bytes(&self, addr: u64, size: u64) -> &'a [u8] {
        let bytes = self.bytes_from(addr);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        bytes.get(..size).unwrap_or(bytes)
    }

    /// All bytes of `span` that are to be had, in runs by address.
    pub(crate) fn runs(&self, span: Span) -> impl Iterator<Item = (Addr, &'a [u8])> + '_ {
        let first = self.starts.partition_point(|start| *start <= span.start().0).saturating_sub(1);
        self.starts.iter().zip(&self.pieces).skip(first).map_while(move |(start, piece)| {
            (*start < span.end().0).then(|| {
                let from = span.start().0.max(*start);
                let to = span.end().0.min(piece.end).max(from);
                let bytes = piece.bytes.get((from - start) as usize..(to - start) as usize).unwrap_or_default();
                (Addr(from), bytes)
            })
        })
    }
}
