//! Marking and clustering on a heap that the test kit wrote, with words written over at random: they end, every used
//! allocation is in exactly one set, every leaked one has a head, and the number of threads changes nothing.
#![no_main]

use std::num::NonZeroUsize;

use libfuzzer_sys::fuzz_target;
use testkit::elf_core::{CoreBuilder, R, Shape, W};
use testkit::heap::{Piece, Words};
use topleaked::graph::{References, Roots, Tags};
use topleaked::heap::walk_heaps;
use topleaked::image::{Image, OpenOptions};
use topleaked::task::Task;

fuzz_target!(|data: &[u8]| {
    let [shape_byte, count, rest @ ..] = data else { return };
    let shape_byte = *shape_byte;
    let words = Words { width: if shape_byte & 1 == 0 { 8 } else { 4 }, big: shape_byte & 2 != 0 };
    let (pieces, scribbles) = rest.split_at(rest.len().min(2 * usize::from(*count)));
    let pieces: Vec<Piece> = pieces
        .chunks_exact(2)
        .map(|pair| {
            let size = u32::from(pair[0]) * if pair[1] & 4 == 0 { 1 } else { 16 };
            match pair[1] & 3 {
                0 => Piece::Used(size),
                1 => Piece::Free(size),
                2 => Piece::Cached(size),
                _ => Piece::Fast(size),
            }
        })
        .collect();
    let mut written = testkit::heap::write(words, &pieces);
    for scribble in scribbles.chunks_exact(7) {
        let into = if scribble[0] & 1 == 0 { &mut written.heap } else { &mut written.data };
        let place = u32::from_le_bytes([scribble[0] >> 1, scribble[1], scribble[2], 0]) as usize * 4 % (into.len() - 4);
        into[place..place + 4].copy_from_slice(&scribble[3..7]);
    }
    let shape = Shape { wide: words.width == 8, big: words.big };
    let core = CoreBuilder::new(shape, 62)
        .memory(written.heap_start, R | W, &written.heap)
        .memory(written.data_start, R | W, &written.data)
        .build();
    let Ok(image) = Image::from_bytes(core, &OpenOptions::default()) else { return };
    let Ok(heap) = walk_heaps(&image, &Task::default()) else { return };
    let roots = Roots::find(&image, &heap);
    let references =
        References::new(&image, &heap, &roots, Tags { low_bits: shape_byte & 4 != 0, top_byte: shape_byte & 8 != 0 });
    let on = |threads| Task { threads: NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN), ..Task::default() };
    let graph = references.build_graph(&on(1));
    assert!(graph == references.build_graph(&on(3)));
    for allocation in heap.table.iter() {
        let marks = &graph.marks;
        let sets = [&marks.anchored, &marks.interior, &marks.stale, &marks.leaked];
        let held_by = sets.iter().filter(|set| set.contains(allocation.id)).count();
        assert_eq!(held_by, usize::from(allocation.state.is_used()));
        let head = graph.clusters.head(allocation.id);
        assert_eq!(head.is_some(), marks.leaked.contains(allocation.id));
        assert!(head.is_none_or(|head| graph.clusters.is_head(head)));
    }
});
