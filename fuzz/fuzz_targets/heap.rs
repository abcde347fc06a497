//! A heap that the test kit wrote, with words written over at random: the walk ends, and claims no byte twice.
#![no_main]

use libfuzzer_sys::fuzz_target;
use testkit::elf_core::{CoreBuilder, R, Shape, W};
use testkit::heap::{Piece, Words};
use topleaked::heap::walk_heaps;
use topleaked::image::{Image, OpenOptions};
use topleaked::task::Task;

fuzz_target!(|data: &[u8]| {
    let [shape, count, rest @ ..] = data else { return };
    let words = Words { width: if shape & 1 == 0 { 8 } else { 4 }, big: shape & 2 != 0 };
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
    assert!(heap.table.len() <= (written.heap.len() + written.data.len()) / 8);
    let mut end = 0;
    for allocation in heap.table.iter() {
        assert!(allocation.address.0 >= end);
        end = allocation.address.0 + allocation.usable_size;
    }
});
