//! The notes of a dump from hostile bytes, behind headers that are right: the first two bytes choose class, byte order and
//! machine.

#![no_main]

use libfuzzer_sys::fuzz_target;
use testkit::elf_core::{CoreBuilder, R, Shape, W};
use topleaked::image::{Image, OpenOptions};

const MACHINES: [u16; 8] = [62, 3, 183, 40, 22, 21, 8, 243];

fuzz_target!(|data: &[u8]| {
    let Some(([shape, machine], notes)) = data.split_first_chunk::<2>() else { return };
    let shape = Shape::ALL[usize::from(shape % 4)];
    let machine = MACHINES[usize::from(machine % 8)];
    let core = CoreBuilder::new(shape, machine).raw_notes(notes).memory(0x10000, R | W, &[0x10; 512]).build();
    let image = Image::from_bytes(core, &OpenOptions::default()).expect("the headers are right");
    assert!(!image.space().segments().is_empty());
});
