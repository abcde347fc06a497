//! The walk of jemalloc on heaps that the test kit wrote, whole and scribbled over.

use proptest::prelude::*;
use testkit::slabs::{self, Piece, Written};
use topleaked::heap::{Heap, State, walk_heaps};
use topleaked::image::{Image, OpenOptions};
use topleaked::task::Task;

fn walk(written: &Written) -> Heap {
    let image = Image::from_bytes(written.core(), &OpenOptions::default()).unwrap();
    walk_heaps(&image, &Task::default()).unwrap()
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let piece = prop_oneof![
        6 => (any::<u8>(), any::<u64>()).prop_map(|(class, seed)| Piece::Slab(class, seed)),
        2 => any::<u8>().prop_map(Piece::Large),
        1 => any::<u8>().prop_map(Piece::Free),
    ];
    // One slab at least: by it the layout is told.
    (any::<u64>(), prop::collection::vec(piece, 3..80)).prop_map(|(seed, mut pieces)| {
        pieces.push(Piece::Slab(1, seed));
        pieces
    })
}

fn used(heap: &Heap) -> Vec<(u64, u64)> {
    let used = heap.table.iter().filter(|allocation| allocation.state.is_used());
    used.map(|allocation| (allocation.address.0, allocation.usable_size)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_written_heap_is_walked_back_exactly(pieces in pieces()) {
        let written = slabs::write(&pieces);
        let heap = walk(&written);
        prop_assert_eq!(heap.allocators.len(), 1);
        prop_assert_eq!(heap.allocators[0].damage_count, 0, "{:?}", &heap.allocators[0].damage);
        prop_assert_eq!(used(&heap), written.used);
        prop_assert_eq!(heap.allocators[0].thread_caches, 1);
    }

    #[test]
    fn whatever_is_written_over_the_walk_ends_and_claims_no_byte_twice(
        pieces in pieces(),
        scribbles in prop::collection::vec((0_usize..5, any::<prop::sample::Index>(), any::<u64>(), 0_u32..64), 1..30),
    ) {
        let mut written = slabs::write(&pieces);
        for (area, place, value, shift) in scribbles {
            let bytes = &mut written.areas[area].2;
            let at = place.index(bytes.len() / 8) * 8;
            bytes[at..at + 8].copy_from_slice(&(value >> shift).to_le_bytes());
        }
        let heap = walk(&written);
        let mut end = 0;
        for allocation in heap.table.iter() {
            prop_assert!(allocation.address.0 >= end);
            end = allocation.address.0 + allocation.usable_size;
        }
    }
}

#[test]
fn a_broken_record_costs_its_extent_alone() {
    let pieces: Vec<Piece> = (0..20).map(|at| Piece::Slab(at, at.into())).collect();
    let mut written = slabs::write(&pieces);
    let whole = walk(&written);
    // The address in the tenth record.
    let (_, _, books) = &mut written.areas[1];
    books[0x1000 + 10 * 128 + 8] ^= 0x40;
    books[0x1000 + 10 * 128 + 9] ^= 0x70;
    let heap = walk(&written);
    let [damage] = heap.allocators[0].damage.as_slice() else { panic!("{:?}", heap.allocators[0].damage) };
    assert_eq!(damage.at.0, slabs::BOOKS + 0x1000 + 10 * 128);
    let expected = damage.expected.unwrap();
    let lost = |allocation: &topleaked::heap::Allocation| {
        (expected..expected + 7 * 4096).contains(&allocation.address.0)
            && heap.table.find_start(allocation.address).is_none()
    };
    let all_found =
        whole.table.iter().all(|allocation| heap.table.find_start(allocation.address).is_some() || lost(&allocation));
    assert!(all_found);
    assert!(heap.table.len() < whole.table.len());
    assert!(heap.table.iter().any(|allocation| allocation.state == State::ThreadCached));
}
