//! A heap that the test kit wrote (of glibc, or of jemalloc), with words written over at random: the walk ends, and claims
//! no byte twice.
#![no_main]

use libfuzzer_sys::fuzz_target;
use testkit::elf_core::{CoreBuilder, R, Shape, W};
use testkit::heap::{Piece, Words};
use testkit::slabs::Piece as Slab;
use topleaked::heap::walk_heaps;
use topleaked::image::{Image, OpenOptions};
use topleaked::task::Task;

fuzz_target!(|data: &[u8]| {
    let [shape, count, rest @ ..] = data else { return };
    if shape & 4 != 0 {
        return slabs(usize::from(*count), rest);
    }
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
    walk(core, (written.heap.len() + written.data.len()) / 8);
});

/// The same for slabs.
fn slabs(count: usize, rest: &[u8]) {
    let (pieces, scribbles) = rest.split_at(rest.len().min(2 * count));
    let pieces: Vec<Slab> = pieces
        .chunks_exact(2)
        .map(|pair| match pair[0] & 3 {
            0 | 1 => Slab::Slab(pair[0] >> 2, pair[1].into()),
            2 => Slab::Large(pair[1]),
            _ => Slab::Free(pair[1]),
        })
        .collect();
    let mut written = testkit::slabs::write(&pieces);
    for scribble in scribbles.chunks_exact(9) {
        let (_, _, area) = &mut written.areas[usize::from(scribble[0] % 5)];
        let place = usize::from(u16::from_le_bytes([scribble[1], scribble[2]])) * 4 % (area.len() - 8);
        area[place..place + 6].copy_from_slice(&scribble[3..9]);
    }
    walk(written.core(), 1 << 20);
}

/// Walks a dump, and checks that no allocation overlaps another.
fn walk(core: Vec<u8>, most: usize) {
    let Ok(image) = Image::from_bytes(core, &OpenOptions::default()) else { return };
    let Ok(heap) = walk_heaps(&image, &Task::default()) else { return };
    assert!(heap.table.len() <= most);
    let mut end = 0;
    for allocation in heap.table.iter() {
        assert!(allocation.address.0 >= end);
        end = allocation.address.0.saturating_add(allocation.usable_size);
    }
}
