//! The address space: sorted, non-overlapping segments, read by virtual address.

use crate::addr::{Addr, Span, Target};

use super::backing::{Backing, BackingId};

/// What may be done with a segment's memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Permissions {
    /// The process may read it.
    pub read: bool,
    /// The process may write it.
    pub write: bool,
    /// The process may execute it.
    pub execute: bool,
}

/// Why memory of the process is not to be had.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MissingReason {
    /// The dump ends before these bytes.
    Truncated,
    /// Whoever wrote the dump left them out: `coredump_filter`, `MADV_DONTDUMP`.
    NotDumped,
    /// They lie in a file that was not found, or is not the one the process had mapped.
    FileNotFound,
    /// The process could not read them itself.
    Guard,
}

/// Where a segment's bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Content {
    /// In the dump: at this offset of this backing.
    Present(BackingId, u64),
    /// Left out of the dump, and read from the file that the process had mapped.
    Elided(BackingId, u64),
    /// Nowhere.
    Missing(MissingReason),
}

/// A run of memory with one set of permissions and one place for its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Segment {
    /// The addresses it covers.
    pub span: Span,
    /// What the process may do with it.
    pub permissions: Permissions,
    /// Where its bytes are.
    pub content: Content,
}

/// Why a segment was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SegmentError {
    /// It shares addresses with one that is there already.
    #[error("segment {new} overlaps segment {old}")]
    Overlap {
        /// The refused one.
        new: Span,
        /// The one in its way.
        old: Span,
    },
    /// Its bytes lie outside its backing.
    #[error("segment {span} lies outside its file")]
    OutsideBacking {
        /// The refused one.
        span: Span,
    },
}

/// The memory of one process.
#[derive(Debug)]
pub struct AddressSpace {
    target: Target,
    backings: Vec<Backing>,
    segments: Vec<Segment>,
}

impl AddressSpace {
    /// A space without memory.
    pub fn new(target: Target) -> AddressSpace {
        AddressSpace { target, backings: Vec::new(), segments: Vec::new() }
    }

    /// How the process laid out its words.
    pub fn target(&self) -> Target {
        self.target
    }

    /// Adds bytes for segments to refer to.
    pub fn add_backing(&mut self, backing: Backing) -> BackingId {
        let id = BackingId(u32::try_from(self.backings.len()).expect("fewer than 2^32 files"));
        self.backings.push(backing);
        id
    }

    /// The bytes that `id` names.
    pub fn backing(&self, id: BackingId) -> &Backing {
        &self.backings[id.0 as usize]
    }

    /// Adds a segment. An empty one is dropped. Costs O(number of segments) unless segments come in address order.
    ///
    /// # Errors
    /// [`SegmentError`] where it overlaps another, or its bytes lie outside its backing; the space is unchanged then.
    pub fn add_segment(&mut self, segment: Segment) -> Result<(), SegmentError> {
        if segment.span.is_empty() {
            return Ok(());
        }
        if let Content::Present(id, offset) | Content::Elided(id, offset) = segment.content {
            let size = self.backing(id).bytes().len() as u64;
            if offset.checked_add(segment.span.size_bytes()).is_none_or(|end| end > size) {
                return Err(SegmentError::OutsideBacking { span: segment.span });
            }
        }
        let at = self.segments.partition_point(|other| other.span.end() <= segment.span.start());
        if let Some(next) = self.segments.get(at)
            && next.span.intersection(segment.span).is_some()
        {
            return Err(SegmentError::Overlap { new: segment.span, old: next.span });
        }
        self.segments.insert(at, segment);
        Ok(())
    }

    /// Replaces all segments. They must be sorted, without overlap, and within their backings.
    pub(super) fn set_segments(&mut self, segments: Vec<Segment>) {
        debug_assert!(segments.is_sorted_by(|low, high| low.span.end() <= high.span.start()));
        self.segments = segments;
    }

    /// All segments, by address, without overlap.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The segment that holds `addr`. O(log segments).
    pub fn find_segment(&self, addr: Addr) -> Option<&Segment> {
        let at = self.segments.partition_point(|segment| segment.span.end() <= addr);
        self.segments.get(at).filter(|segment| segment.span.contains(addr))
    }

    /// The segments that have bytes of `span`, by address.
    pub fn segments_in(&self, span: Span) -> impl Iterator<Item = &Segment> {
        let from = self.segments.partition_point(|segment| segment.span.end() <= span.start());
        let rest = self.segments.get(from..).unwrap_or_default();
        rest.iter().take_while(move |segment| segment.span.start() < span.end())
    }

    /// The bytes of one segment of this space; empty where they are missing.
    pub fn segment_bytes(&self, segment: &Segment) -> &[u8] {
        let (Content::Present(id, offset) | Content::Elided(id, offset)) = segment.content else {
            return &[];
        };
        let bytes = self.backing(id).bytes();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let size = usize::try_from(segment.span.size_bytes()).unwrap_or(usize::MAX);
        bytes.get(start..).and_then(|rest| rest.get(..size)).unwrap_or_default()
    }

    /// The bytes from `addr` to the end of its segment; empty where nothing is to be had there.
    /// Adjacent segments are not joined.
    pub fn bytes_from(&self, addr: Addr) -> &[u8] {
        let Some(segment) = self.find_segment(addr) else { return &[] };
        let into = (addr.0 - segment.span.start().0) as usize;
        self.segment_bytes(segment).get(into..).unwrap_or_default()
    }

    /// Exactly the bytes of `span`, where one segment holds them all, or several that follow each other in the dump as
    /// they do in memory.
    pub fn bytes(&self, span: Span) -> Option<&[u8]> {
        let size = usize::try_from(span.size_bytes()).ok()?;
        match self.bytes_from(span.start()).get(..size) {
            Some(bytes) => Some(bytes),
            None => self.bytes_over_borders(span, size),
        }
    }

    fn bytes_over_borders(&self, span: Span, size: usize) -> Option<&[u8]> {
        let mut segments = self.segments_in(span);
        let first = segments.next().filter(|first| first.span.contains(span.start()))?;
        let (mut end, Content::Present(backing, offset)) = (first.span.end(), first.content) else { return None };
        let place = |addr: Addr| offset.checked_add(addr.0.checked_sub(first.span.start().0)?);
        for next in segments {
            let Content::Present(id, offset) = next.content else { return None };
            if next.span.start() != end || id != backing || Some(offset) != place(end) {
                return None;
            }
            end = next.span.end();
        }
        let from = usize::try_from(place(span.start())?).ok()?;
        (end >= span.end()).then(|| self.backing(backing).bytes().get(from..from.checked_add(size)?))?
    }

    /// Copies the bytes from `addr` on into `buffer`, over segment borders; returns how many were to be had in a row.
    pub fn read_into(&self, addr: Addr, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buffer.len() {
            let Some(at) = addr.checked_add(done as u64) else { break };
            let bytes = self.bytes_from(at);
            if bytes.is_empty() {
                break;
            }
            let size = bytes.len().min(buffer.len() - done);
            buffer[done..done + size].copy_from_slice(&bytes[..size]);
            done += size;
        }
        done
    }

    /// The text at `addr` up to its zero, or to `most_bytes`, or to where memory ends; `None` where nothing is to be had.
    pub fn text(&self, addr: Addr, most_bytes: usize) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        while text.len() < most_bytes {
            let Some(at) = addr.checked_add(text.len() as u64) else { break };
            let bytes = self.bytes_from(at);
            let bytes = bytes.get(..most_bytes - text.len()).unwrap_or(bytes);
            if bytes.is_empty() {
                if text.is_empty() {
                    return None;
                }
                break;
            }
            let end = bytes.iter().position(|byte| *byte == 0);
            text.extend_from_slice(bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default());
            if end.is_some() {
                break;
            }
        }
        Some(text)
    }

    /// The word at `addr`, zero-extended, aligned or not; `None` where it is not to be had whole.
    pub fn word(&self, addr: Addr) -> Option<u64> {
        if let Some(word) = self.target.word(self.bytes_from(addr)) {
            return Some(word);
        }
        let mut buffer = [0; 8];
        let width = self.target.width.bytes();
        let read = self.read_into(addr, &mut buffer[..width]);
        (read == width).then(|| self.target.word(&buffer)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_that_follow_each_other_are_one_run_of_bytes() {
        let mut space = AddressSpace::new(Target::LITTLE_8);
        let id = space.add_backing(Backing::memory((0..64).collect()));
        let other = space.add_backing(Backing::memory(vec![0; 16]));
        let contents = [(id, 8), (id, 16), (id, 32), (other, 0)];
        for (at, (id, offset)) in contents.into_iter().enumerate() {
            let span = Span::with_size(Addr(0x1000 + 8 * at as u64), 8).unwrap();
            let content = Content::Present(id, offset);
            space.add_segment(Segment { span, permissions: Permissions::default(), content }).unwrap();
        }
        let bytes = |at, size| space.bytes(Span::with_size(Addr(at), size).unwrap());
        assert_eq!(bytes(0x1004, 8), Some(&[12, 13, 14, 15, 16, 17, 18, 19][..]));
        assert_eq!(bytes(0x1000, 16).map(<[u8]>::len), Some(16));
        // Elsewhere in the file, in another file, and beyond the last.
        assert_eq!([bytes(0x100c, 8), bytes(0x1014, 8), bytes(0x101c, 8), bytes(0xffc, 8)], [None; 4]);
        // A copy joins what no slice can.
        assert_eq!(space.read_into(Addr(0x100c), &mut [0; 12]), 12);
    }

    fn space(segments: &[(u64, &[u8])]) -> AddressSpace {
        let mut space = AddressSpace::new(Target::LITTLE_8);
        for (start, bytes) in segments {
            let id = space.add_backing(Backing::memory(bytes.to_vec()));
            let span = Span::with_size(Addr(*start), bytes.len() as u64).unwrap();
            let segment = Segment { span, permissions: Permissions::default(), content: Content::Present(id, 0) };
            space.add_segment(segment).unwrap();
        }
        space
    }

    #[test]
    fn a_word_is_read_over_the_border_of_two_segments() {
        let space = space(&[(0x1004, &[5, 6, 7, 8]), (0x1000, &[1, 2, 3, 4])]);
        assert_eq!(space.word(Addr(0x1000)), Some(0x0807_0605_0403_0201));
        assert_eq!(space.word(Addr(0x1001)), None);
    }

    #[test]
    fn an_overlapping_segment_is_refused() {
        let mut space = space(&[(0x1000, &[0; 16])]);
        let span = Span::with_size(Addr(0x100f), 2).unwrap();
        let content = Content::Missing(MissingReason::NotDumped);
        let refused = space.add_segment(Segment { span, permissions: Permissions::default(), content });
        assert!(matches!(refused, Err(SegmentError::Overlap { .. })));
        assert_eq!(space.segments().len(), 1);
    }

    #[test]
    fn a_segment_outside_its_file_is_refused() {
        let mut space = space(&[(0x1000, &[0; 16])]);
        let span = Span::with_size(Addr(0x2000), 16).unwrap();
        let content = Content::Present(BackingId(0), u64::MAX);
        let refused = space.add_segment(Segment { span, permissions: Permissions::default(), content });
        assert_eq!(refused, Err(SegmentError::OutsideBacking { span }));
    }

    #[test]
    fn missing_memory_has_no_bytes() {
        let mut space = space(&[]);
        let span = Span::with_size(Addr(0x2000), 16).unwrap();
        let content = Content::Missing(MissingReason::Guard);
        space.add_segment(Segment { span, permissions: Permissions::default(), content }).unwrap();
        assert!(space.find_segment(Addr(0x2008)).is_some());
        assert_eq!(space.word(Addr(0x2000)), None);
    }
}
