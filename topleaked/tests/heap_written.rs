//! The heap walk on heaps that the test kit wrote, whole, damaged and scribbled over.

use proptest::prelude::*;
use testkit::elf_core::{CoreBuilder, R, Shape, W};
use testkit::heap::{Edition, Heap as WrittenHeap, Piece, Words, Written};
use topleaked::addr::Addr;
use topleaked::heap::{DamageKind, Heap, State, walk_heaps};
use topleaked::image::{Image, OpenOptions};
use topleaked::task::Task;

fn walk(written: &WrittenHeap) -> Heap {
    walk_beside(written, &[])
}

/// Walks a heap in a process that has other private memory.
fn walk_beside(written: &WrittenHeap, other: &[u8]) -> Heap {
    let shape = Shape { wide: written.words.width == 8, big: written.words.big };
    let machine = match (shape.wide, shape.big) {
        (true, false) => 62,
        (false, false) => 3,
        (true, true) => 22,
        (false, true) => 20,
    };
    let core = CoreBuilder::new(shape, machine)
        .memory(written.heap_start, R | W, &written.heap)
        .memory(written.data_start, R | W, &written.data)
        .memory(written.data_start + (1 << 24), R | W, other)
        .build();
    let image = Image::from_bytes(core, &OpenOptions::default()).unwrap();
    walk_heaps(&image, &Task::default()).unwrap()
}

fn pieces(most: usize) -> impl Strategy<Value = Vec<Piece>> {
    let size = prop_oneof![8 => 0_u32..200, 2 => 200_u32..3000];
    let piece = (0..9_u8, size).prop_map(|(kind, size)| match kind {
        0..4 => Piece::Used(size),
        4..6 => Piece::Free(size),
        6..8 => Piece::Cached(size),
        _ => Piece::Fast(size % 100),
    });
    prop::collection::vec(piece, 0..most)
}

fn any_words() -> impl Strategy<Value = Words> {
    (prop_oneof![Just(4_u64), Just(8)], any::<bool>()).prop_map(|(width, big)| Words { width, big })
}

fn state(piece: Piece) -> State {
    match piece {
        Piece::Used(_) => State::Used,
        Piece::Free(_) => State::Free,
        Piece::Cached(_) => State::ThreadCached,
        Piece::Fast(_) => State::FastFree,
    }
}

fn expected(written: &[Written]) -> Vec<(u64, u64, State)> {
    written.iter().map(|chunk| (chunk.address, chunk.usable, state(chunk.piece))).collect()
}

fn found(heap: &Heap) -> Vec<(u64, u64, State)> {
    let shown = heap.table.iter().filter(|allocation| !matches!(allocation.state, State::Top | State::Internal));
    shown.map(|allocation| (allocation.address.0, allocation.usable_size, allocation.state)).collect()
}

#[test]
fn an_empty_heap_has_a_top_and_a_cache() {
    let written = testkit::heap::write(Words { width: 8, big: false }, &[]);
    let heap = walk(&written);
    let states: Vec<State> = heap.table.iter().map(|allocation| allocation.state).collect();
    assert_eq!(states, [State::Internal, State::Top]);
    assert_eq!(heap.allocators[0].tally().bytes(), written.heap.len() as u64);
}

#[test]
fn a_broken_first_header_is_told() {
    let mut written = testkit::heap::write_as(Edition::From2_12, Words { width: 4, big: false }, &[Piece::Used(0)]);
    written.put(written.written[0].size_word, 0);
    let heap = walk(&written);
    let damage: Vec<_> = heap.allocators[0].damage.iter().map(|damage| (damage.kind, damage.at)).collect();
    assert_eq!(damage, [(DamageKind::Header, Addr(written.written[0].size_word))]);
    assert_eq!(heap.allocators[0].tally().bytes(), written.heap.len() as u64);
}

/// The processor time of this thread so far: others' work does not slow the clock.
fn processor_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e9
}

#[test]
fn many_caches_that_share_a_list_cost_neither_memory_nor_time() {
    let words = Words { width: 8, big: false };
    let (blocks, caches) = (30_000, 1500);
    let pieces = [vec![Piece::Used(24); blocks], vec![Piece::Used(640); caches]].concat();
    let mut written = testkit::heap::write_as(Edition::From2_30, words, &pieces);
    let places: Vec<u64> = written.written.iter().map(|chunk| chunk.address).collect();
    for (at, place) in places[..blocks].iter().enumerate() {
        written.put(*place, if at + 1 < blocks { places[at + 1] } else { 0 });
    }
    for cache in &places[blocks..] {
        (0..80).for_each(|word| written.put(cache + 8 * word, 0));
        written.put(*cache, blocks as u64);
        written.put(cache + 128, places[0]);
    }
    let began = processor_seconds();
    let heap = walk(&written);
    // Each cache followed to its end on its own: 45 million chunks in 1500 lists.
    assert!(processor_seconds() - began < 20.0);
    let allocator = &heap.allocators[0];
    assert!(allocator.damage.len() <= 1000, "{} damages are kept", allocator.damage.len());
    assert!(allocator.damage_count <= 2 * caches as u64, "{} damages", allocator.damage_count);
    assert_eq!(allocator.tally().state(State::ThreadCached).count, blocks as u64);
}

#[test]
fn what_looks_like_the_chunks_of_a_piece_is_not_walked_from_each_of_its_pages() {
    let words = Words { width: 8, big: false };
    let mut written = testkit::heap::write(words, &[Piece::Used(24), Piece::Free(100), Piece::Used(500)]);
    // The second flag of the arena: it does not grow in one piece.
    written.data[0x120 + 4] |= 2;
    let chunk = [0_u64, 0x21, 0, 0].map(u64::to_le_bytes).concat();
    let other = chunk.repeat(48 << 15);
    let began = processor_seconds();
    let heap = walk_beside(&written, &other);
    // From each of its 12,288 pages to its end: 9.7 thousand million headers.
    assert!(processor_seconds() - began < 20.0);
    assert_eq!(found(&heap), expected(&written.written));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_written_heap_is_walked_back_exactly(
        edition in prop::sample::select(&Edition::ALL[..]),
        words in any_words(),
        pieces in pieces(300),
    ) {
        let written = testkit::heap::write_as(edition, words, &pieces);
        let heap = walk(&written);
        prop_assert_eq!(found(&heap), expected(&written.written), "{:?}", edition);
        prop_assert_eq!(&heap.diagnostics, &[]);
        let allocator = &heap.allocators[0];
        prop_assert_eq!(&allocator.damage, &[]);
        prop_assert_eq!(allocator.tally().bytes(), written.heap.len() as u64);
    }

    #[test]
    fn one_broken_header_costs_its_neighbourhood_alone(
        edition in prop::sample::select(&Edition::ALL[..]),
        words in any_words(),
        pieces in pieces(200),
        place in any::<prop::sample::Index>(),
        garbage in prop_oneof![Just(0_u64), Just(0x5858_5858_5858_5858), Just(0x4141_4141_0000_0000), Just(2), Just(0xffff_fff8)],
    ) {
        let mut written = testkit::heap::write_as(edition, words, &pieces);
        prop_assume!(!written.written.is_empty());
        let hit = place.index(written.written.len());
        let broken = written.written[hit];
        written.put(broken.size_word, garbage);
        let heap = walk(&written);
        let expected = expected(&written.written);
        let found = found(&heap);
        // The one in front loses at most its state, since the broken header had it; the one behind may be part of the
        // gap where it was free.
        let far = |address: u64| {
            let near = &written.written[hit.saturating_sub(1)..(hit + 2).min(written.written.len())];
            near.iter().all(|chunk| chunk.address != address)
        };
        let kept: Vec<_> = expected.iter().filter(|chunk| far(chunk.0)).collect();
        let seen: Vec<_> = found.iter().filter(|chunk| far(chunk.0)).collect();
        prop_assert_eq!(kept, seen);
        let damage = &heap.allocators[0].damage;
        prop_assert!(damage.iter().any(|damage| damage.kind == DamageKind::Header && damage.at == Addr(broken.size_word)), "{:?}", damage);
    }

    #[test]
    fn scribbles_never_end_the_walk(
        edition in prop::sample::select(&Edition::ALL[..]),
        words in any_words(),
        pieces in pieces(100),
        scribbles in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), prop_oneof![any::<u64>(), 0_u64..256]), 1..30),
    ) {
        let mut written = testkit::heap::write_as(edition, words, &pieces);
        for (place, in_data, word) in scribbles {
            let into = if in_data { &mut written.data } else { &mut written.heap };
            let at = place.index(into.len() - 8) & !3;
            into[at..at + 4].copy_from_slice(&word.to_le_bytes()[..4]);
        }
        let heap = walk(&written);
        prop_assert!(heap.table.len() <= written.heap.len() / 8 + written.data.len() / 8);
        let mut end = 0;
        for allocation in heap.table.iter() {
            prop_assert!(allocation.address.0 >= end);
            end = allocation.address.0 + allocation.usable_size;
        }
    }
}
