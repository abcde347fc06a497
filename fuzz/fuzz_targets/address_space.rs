//! Segments from hostile bytes: any order, any overlap, any size, any place in the file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use topleaked::addr::{Addr, Span, Target};
use topleaked::image::{AddressSpace, Backing, Content, MissingReason, Permissions, Segment};

fuzz_target!(|data: &[u8]| {
    let mut space = AddressSpace::new(Target::LITTLE_8);
    let id = space.add_backing(Backing::memory(data.to_vec()));
    let mut words =
        data.chunks_exact(8).filter_map(|chunk| chunk.first_chunk::<8>()).map(|raw| u64::from_le_bytes(*raw));
    while let (Some(start), Some(size), Some(offset)) = (words.next(), words.next(), words.next()) {
        let Some(span) = Span::with_size(Addr(start), size) else { continue };
        let content =
            if offset % 3 == 0 { Content::Missing(MissingReason::NotDumped) } else { Content::Present(id, offset) };
        let _ = space.add_segment(Segment { span, permissions: Permissions::default(), content });
    }
    let mut end = Addr(0);
    for segment in space.segments() {
        assert!(segment.span.start() >= end, "segments overlap or are out of order");
        end = segment.span.end();
        let bytes = space.segment_bytes(segment);
        assert!(bytes.is_empty() || bytes.len() as u64 == segment.span.size_bytes());
        let _ = space.word(segment.span.start());
        let mut buffer = [0; 64];
        assert!(space.read_into(segment.span.start(), &mut buffer) <= buffer.len());
    }
});
