//! The walk of musl's mallocng on memory written by hand, true and hostile.
//!
//! Layout: musl 1.2.3 src/malloc/mallocng/meta.h, 64-bit, little-endian.

use testkit::elf_core::{CoreBuilder, R, Shape, W};
use topleaked::heap::{Heap, State, walk_heaps};
use topleaked::image::{Image, OpenOptions};
use topleaked::task::Task;

const SECRET: u64 = 0x1357_9bdf_0246_8ace;
const DATA: u64 = 0x7f10_0000_0000;
const AREA: u64 = 0x5650_0000_1000;
const META: u64 = AREA + 24;
const GROUP: u64 = 0x7f00_0000_0000;

/// A process with one group that is a mapping of its own, of so many pages, four of which are there.
fn walk(pages: u64, header: [u8; 4], free: u32) -> Heap {
    let mut data = vec![0; 0x1000];
    let put = |bytes: &mut Vec<u8>, at: usize, word: u64| bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    put(&mut data, 0x100, SECRET);
    put(&mut data, 0x100 + 56, AREA);
    put(&mut data, 0x100 + 64, AREA);
    let mut area = vec![0; 0x1000];
    put(&mut area, 0, SECRET);
    put(&mut area, 16, 1);
    put(&mut area, 24, META);
    put(&mut area, 32, META);
    put(&mut area, 40, GROUP);
    put(&mut area, 48, free.into());
    // Last slot 0, class 63, and the pages.
    put(&mut area, 56, 63 << 6 | pages << 12);
    let mut group = vec![0; 0x4000];
    put(&mut group, 0, META);
    group[12..16].copy_from_slice(&header);
    let core = CoreBuilder::new(Shape { wide: true, big: false }, 62)
        .memory(AREA, R | W, &area)
        .memory(GROUP, R | W, &group)
        .memory(DATA, R | W, &data)
        .build();
    let image = Image::from_bytes(core, &OpenOptions::default()).unwrap();
    walk_heaps(&image, &Task::default()).unwrap()
}

fn found(heap: &Heap) -> Vec<(u64, u64, State)> {
    heap.table.iter().map(|allocation| (allocation.address.0, allocation.usable_size, allocation.state)).collect()
}

#[test]
fn a_group_that_is_one_mapping_is_walked() {
    // Slot 0, nothing reserved, at distance 0.
    let used = walk(4, [0, 0, 0, 0], 0);
    assert_eq!(found(&used), [(GROUP + 16, 0x4000 - 20, State::Used)]);
    assert_eq!(found(&walk(4, [0, 0, 0, 0], 1)), [(GROUP + 16, 0x4000 - 20, State::Free)]);
    assert!(used.claimed.iter().any(|span| span.start().0 == GROUP && span.size_bytes() == 0x4000));
}

#[test]
fn a_group_of_more_pages_than_there_are_is_refused() {
    // The program's memory begins further up in the slot: where, is looked for through the whole slot.
    for (header, free) in [([0, 7 << 5, 1, 0], 0), ([0, 0, 0, 0], 0), ([0, 0, 0, 0], 1)] {
        for pages in [5, 1 << 30, 1 << 40, (1 << 52) - 1] {
            let heap = walk(pages, header, free);
            assert_eq!(found(&heap), [], "{pages} pages");
            assert!(heap.claimed.iter().all(|span| span.size_bytes() <= 0x4000), "{:?}", heap.claimed);
        }
    }
}
