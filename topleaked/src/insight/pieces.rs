//! The process's own memory as parts that the counting engine walks.

use std::fs::File;

use crate::addr::{Addr, Span};
use crate::image::{Content, Image, Region};
use crate::words::{Extent, Parts, Source};

/// Parts of a dump's memory, each aligned to the word by virtual address: whatever the file offsets are.
///
/// Only memory whose bytes are in the dump counts. What the dump left out is a copy of a file, the same in every process
/// that maps it, and tells nothing of this one.
#[derive(Debug, Default)]
pub struct MemoryPieces<'i> {
    extents: Vec<Extent<'i>>,
    slices: Vec<&'i [u8]>,
}

impl<'i> MemoryPieces<'i> {
    /// The memory of the regions that `wanted` picks. A word that lies across two regions belongs to the one it starts in.
    pub fn of_regions(image: &'i Image, wanted: impl Fn(&Region) -> bool) -> MemoryPieces<'i> {
        let mut spans: Vec<Span> = Vec::new();
        for region in image.regions().iter().filter(|region| wanted(region)) {
            match spans.last_mut() {
                Some(last) if last.end() == region.span.start() => {
                    *last = Span::new(last.start(), region.span.end()).unwrap_or(*last);
                }
                _ => spans.push(region.span),
            }
        }
        let mut pieces = MemoryPieces::default();
        for span in spans {
            pieces.add(image, span);
        }
        pieces
    }

    fn add(&mut self, image: &'i Image, span: Span) {
        let space = image.space();
        let width = image.target().width.bytes() as u64;
        let segments = space.segments();
        let first = segments.partition_point(|segment| segment.span.end() <= span.start());
        for segment in segments.get(first..).unwrap_or_default() {
            let Some(common) = segment.span.intersection(span) else { break };
            let Content::Present(id, offset) = segment.content else { continue };
            // A word belongs to where it starts; the segment's last word has to end inside it.
            let aligned = |addr: Addr| addr.align_up(width).map(|up| up.min(segment.span.end().align_down(width)));
            let (Some(start), Some(end)) = (aligned(common.start()), aligned(common.end())) else { continue };
            let Some(words) = Span::new(start, end).filter(|words| !words.is_empty()) else { continue };
            let into = words.start().0 - segment.span.start().0;
            match space.backing(id).file() {
                Some(file) => self.push_extent(file, offset + into, words.size_bytes()),
                None => {
                    let bytes = space.segment_bytes(segment);
                    let (from, size) = (into as usize, words.size_bytes() as usize);
                    self.slices.extend(bytes.get(from..).and_then(|rest| rest.get(..size)));
                }
            }
        }
    }

    fn push_extent(&mut self, file: &'i File, offset: u64, size_bytes: u64) {
        match self.extents.last_mut() {
            Some(last) if std::ptr::eq(last.file, file) && last.offset + last.size_bytes == offset => {
                last.size_bytes += size_bytes;
            }
            _ => self.extents.push(Extent { file, offset, size_bytes }),
        }
    }

    /// How many bytes they are.
    pub fn size_bytes(&self) -> u64 {
        let extents: u64 = self.extents.iter().map(|extent| extent.size_bytes).sum();
        extents + self.slices.iter().map(|slice| slice.len() as u64).sum::<u64>()
    }

    /// For counting. A dump's memory lies in a file or in memory, never in both.
    pub fn source(&self) -> Source<'_> {
        if self.slices.is_empty() { Source::Extents(&self.extents) } else { Source::Slices(&self.slices) }
    }

    /// For counting given words in groups.
    pub fn parts(&self) -> Parts<'_> {
        if self.slices.is_empty() { Parts::Extents(&self.extents) } else { Parts::Slices(&self.slices) }
    }
}
