//! A heap that the test kit wrote, with pointers into itself and any words written over it: identification ends, and
//! each identity is one of those that it lists.
#![no_main]

use libfuzzer_sys::fuzz_target;
use testkit::elf_core::{CoreBuilder, R, Shape, W};
use testkit::heap::{Piece, Words};
use topleaked::image::{Image, OpenOptions};
use topleaked::session::Session;
use topleaked::task::Task;

fuzz_target!(|data: &[u8]| {
    let [shape, count, rest @ ..] = data else { return };
    let words = Words { width: if shape & 1 == 0 { 8 } else { 4 }, big: shape & 2 != 0 };
    let (pieces, writes) = rest.split_at(rest.len().min(usize::from(*count)));
    let pieces: Vec<Piece> = pieces.iter().map(|size| Piece::Used(u32::from(*size) * 4)).collect();
    let mut written = testkit::heap::write(words, &pieces);
    for write in writes.chunks_exact(6) {
        let width = words.width as usize;
        let place = usize::from(u16::from_le_bytes([write[0], write[1]])) * width % (written.heap.len() - 8);
        let number = u64::from(u16::from_le_bytes([write[2], write[3]]));
        // Pointers into the heap and small numbers: what owners consist of.
        let word = if write[4] & 1 == 0 { written.heap_start + number * 4 } else { number };
        let bytes = if words.big { (word << (64 - 8 * width)).to_be_bytes() } else { word.to_le_bytes() };
        let place = place / width * width;
        written.heap[place..place + width].copy_from_slice(&bytes[..width]);
    }
    let shape = Shape { wide: words.width == 8, big: words.big };
    let core = CoreBuilder::new(shape, 62)
        .memory(written.heap_start, R | W, &written.heap)
        .memory(written.data_start, R | W, &written.data)
        .files(&[(0x1000, 0x2000, 0, b"/lib/libstdc++.so.6"), (0x2000, 0x3000, 0, b"/lib/libc++.so.1")])
        .build();
    let (options, task) = (OpenOptions::default(), Task::default());
    let Ok(image) = Image::from_bytes(core, &options) else { return };
    let session = Session::new(&image, &options, &task);
    let (Ok(heap), Ok(objects)) = (session.heap(), session.objects()) else { return };
    for id in heap.table.ids() {
        if let Some(identity) = objects.of(id) {
            assert!(heap.table.state(id).is_used());
            assert!(!objects.identity(identity).name.is_empty());
        }
    }
});
