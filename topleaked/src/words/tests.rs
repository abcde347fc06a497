//! The engine against a plain sort.

use std::collections::BTreeMap;
use std::io::Write;
use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::*;
use crate::addr::{Addr, ByteOrder, Target, Width};
use crate::task::Task;

fn task(threads: usize, memory_budget_bytes: u64) -> Task {
    Task { threads: NonZeroUsize::new(threads).unwrap(), memory_budget_bytes, ..Task::default() }
}

/// What the documentation says, in the plainest way.
fn naive(parts: &[&[u8]], question: &Question<'_>) -> Vec<(u64, u64)> {
    let width = question.target.width.bytes();
    let mut counts = BTreeMap::new();
    for part in parts {
        for chunk in part.chunks(width) {
            let word = match question.target.word(chunk) {
                Some(word) => word,
                None if question.tail == Tail::Zero => 0,
                None => continue,
            };
            let kept = match question.keep {
                Keep::All => true,
                Keep::Within(spans) => spans.iter().any(|span| span.contains(Addr(word))),
            };
            if kept {
                *counts.entry(word).or_insert(0u64) += 1;
            }
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(value, count)| (u64::MAX - count, *value));
    counts.truncate(usize::try_from(question.n).unwrap_or(usize::MAX));
    counts
}

fn pairs(counts: &Counts) -> Vec<(u64, u64)> {
    counts.top.iter().map(|count| (count.value, count.count)).collect()
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    File,
    Mapped,
    Slices,
    Stream,
}

/// The answer by one kind of source; a stream has one part.
fn count(kind: Kind, parts: &[&[u8]], question: &Question<'_>, task: &Task) -> Result<Counts, Error> {
    match kind {
        Kind::Slices => count_words(Source::Slices(parts), question, task),
        Kind::Stream => count_words(Source::Stream(&mut parts.concat().as_slice()), question, task),
        Kind::File | Kind::Mapped => {
            let mut file = tempfile::tempfile().unwrap();
            let mut extents = Vec::new();
            for part in parts {
                file.write_all(b"gap").unwrap();
                extents.push((file.metadata().unwrap().len(), part.len() as u64));
                file.write_all(part).unwrap();
            }
            let extents: Vec<_> = extents
                .iter()
                .map(|(offset, size_bytes)| Extent { file: &file, offset: *offset, size_bytes: *size_bytes })
                .collect();
            let source = if kind == Kind::File { Source::Extents(&extents) } else { Source::Mapped(&extents) };
            count_words(source, question, task)
        }
    }
}

fn words(values: &[u64], width: usize) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()[..width].to_vec()).collect()
}

/// Distributions that each defeat some shortcut.
fn distribution() -> impl Strategy<Value = Vec<u64>> {
    let size = 0..3000usize;
    prop_oneof![
        // All equal.
        (any::<u64>(), size.clone()).prop_map(|(value, size)| vec![value; size]),
        // All different.
        (any::<u64>(), size.clone())
            .prop_map(|(seed, size)| (0..size as u64).map(|i| seed.wrapping_add(i * 0x9e37_79b9)).collect()),
        // Each twice.
        size.clone().prop_map(|size| (0..size as u64).map(|i| (i / 2).wrapping_mul(0xff51_afd7_ed55_8ccd)).collect()),
        // A few hot ones, a tail, zeros.
        (proptest::collection::vec(any::<u64>(), 1..20), proptest::collection::vec(any::<(u8, u64)>(), size)).prop_map(
            |(hot, picks)| picks
                .into_iter()
                .map(|(kind, value)| match kind {
                    0..60 => 0,
                    60..160 => hot[value as usize % hot.len()],
                    _ => value,
                })
                .collect()
        ),
        // Values that differ in their highest bits alone.
        proptest::collection::vec(0u64..2000, 0..3000).prop_map(|values| values.into_iter().map(|v| v << 52).collect()),
        // Ties.
        proptest::collection::vec(0u64..40, 0..3000),
    ]
}

fn target() -> impl Strategy<Value = Target> {
    let width = prop_oneof![Just(Width::W4), Just(Width::W8)];
    let order = prop_oneof![Just(ByteOrder::Little), Just(ByteOrder::Big)];
    (width, order).prop_map(|(width, order)| Target { width, order })
}

fn n() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), Just(10), Just(100), Just(u64::MAX), 0..3000u64]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_path_equals_sort_and_count(
        values in distribution(),
        target in target(),
        tail_bytes in 0..8usize,
        cut in any::<prop::sample::Index>(),
        skip in 0..8usize,
        tail in prop_oneof![Just(Tail::Zero), Just(Tail::Ignore)],
        n in n(),
        threads in 1..4usize,
        kind in prop_oneof![Just(Kind::File), Just(Kind::Mapped), Just(Kind::Slices), Just(Kind::Stream)],
        isa in prop_oneof![Just(Isa::Portable), Just(Isa::Avx2), Just(Isa::Avx512)],
        budget in prop_oneof![Just(1u64 << 20), Just(2 << 20), Just(64 << 20)],
    ) {
        let mut bytes = vec![0xa5; skip];
        bytes.extend(words(&values, target.width.bytes()));
        bytes.extend(vec![0x5a; tail_bytes]);
        let bytes = &bytes[skip..];
        let (left, right) = bytes.split_at(cut.index(bytes.len() + 1));
        let parts = if kind == Kind::Stream { vec![bytes] } else { vec![left, right] };
        let question = Question { n, target, tail, keep: Keep::All, isa: Some(isa) };
        let counts = count(kind, &parts, &question, &task(threads, budget)).unwrap();
        prop_assert_eq!(pairs(&counts), naive(&parts, &question));
        let width = target.width.bytes();
        let total: usize = parts.iter().map(|part| if tail == Tail::Zero { part.len().div_ceil(width) } else { part.len() / width }).sum();
        prop_assert_eq!(counts.total_words, total as u64);
    }

    #[test]
    fn only_words_in_the_ranges_count(
        values in proptest::collection::vec(0u64..5000, 0..2000),
        starts in proptest::collection::vec((0u64..60, 1u64..30), 0..100),
        isa in prop_oneof![Just(Isa::Portable), Just(Isa::Avx2), Just(Isa::Avx512)],
        target in target(),
    ) {
        let mut at = 0;
        let mut spans = Vec::new();
        for (gap, size) in starts {
            spans.push(Span::with_size(Addr(at + gap), size).unwrap());
            at += gap + size;
        }
        let bytes = words(&values, 8);
        let question = Question { n: 20, target, tail: Tail::Ignore, keep: Keep::Within(&spans), isa: Some(isa) };
        let counts = count(Kind::Slices, &[&bytes], &question, &task(2, 1 << 20)).unwrap();
        prop_assert_eq!(pairs(&counts), naive(&[&bytes], &question));
    }
}

/// `count_members` as the documentation says it, for one part.
fn naive_members(bytes: &[u8], search: &Search) -> (u64, Vec<(u64, u64)>) {
    let width = search.target.width.bytes();
    let whole = bytes.len() / width * width;
    let mut padded = bytes[..whole].to_vec();
    if bytes.len() > whole && search.tail == Tail::Zero {
        padded.resize(whole + width, 0);
    }
    let mut matches = 0;
    let mut values = BTreeMap::new();
    for position in (0..padded.len()).step_by(width) {
        if search.target.word(&padded[position..]) != Some(search.value) {
            continue;
        }
        matches += 1;
        let Some(MemberAt { offset, member: Member::Bits(size) }) = search.member else { continue };
        let Ok(start) = usize::try_from(position as i128 + i128::from(offset)) else { continue };
        if start > padded.len() - width {
            continue;
        }
        let Some(raw) = padded.get(start..start + usize::from(size)) else { continue };
        let value = match search.target.order {
            ByteOrder::Little => raw.iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)),
            ByteOrder::Big => raw.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        *values.entry(value).or_insert(0) += 1;
    }
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by_key(|(value, count)| (u64::MAX - count, *value));
    values.truncate(usize::try_from(search.n).unwrap_or(usize::MAX));
    (matches, values)
}

fn members(kind: Kind, bytes: &[u8], search: &Search, task: &Task) -> Result<MemberCounts, Error> {
    match kind {
        Kind::Slices => count_members(Source::Slices(&[bytes]), search, task),
        Kind::Stream => count_members(Source::Stream(&mut &*bytes), search, task),
        Kind::File | Kind::Mapped => {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(b"gap").unwrap();
            file.write_all(bytes).unwrap();
            let extent = Extent { file: &file, offset: 3, size_bytes: bytes.len() as u64 };
            let source = if kind == Kind::File { Source::Extents } else { Source::Mapped };
            count_members(source(&[extent]), search, task)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn members_equal_a_plain_reading(
        values in proptest::collection::vec(prop_oneof![Just(0u64), Just(7), Just(7 << 32), any::<u64>()], 0..2000),
        target in target(),
        value in prop_oneof![Just(0u64), Just(7), Just(7 << 56)],
        size in prop_oneof![Just(None), Just(Some(1u8)), Just(Some(2)), Just(Some(4)), Just(Some(8))],
        offset in prop_oneof![-40..40i64, -9000..9000i64, Just(i64::MIN), Just(i64::MAX)],
        tail_bytes in 0..8usize,
        tail in prop_oneof![Just(Tail::Zero), Just(Tail::Ignore)],
        n in n(),
        kind in prop_oneof![Just(Kind::File), Just(Kind::Mapped), Just(Kind::Slices), Just(Kind::Stream)],
        budget in prop_oneof![Just(1u64 << 20), Just(16 << 20)],
        isa in prop_oneof![Just(Isa::Portable), Just(Isa::Avx2), Just(Isa::Avx512)],
    ) {
        let n = if budget < 1 << 20 { n.min(20) } else { n };
        let mut bytes = words(&values, 8);
        bytes.extend(vec![0x5a; tail_bytes]);
        let member = size.map(|size| MemberAt { offset, member: Member::Bits(size) });
        let search = Search { value, member, n, target, tail, isa: Some(isa) };
        let counts = members(kind, &bytes, &search, &task(2, budget)).unwrap();
        let (matches, top) = naive_members(&bytes, &search);
        prop_assert_eq!(counts.top.iter().map(|count| (count.value, count.count)).collect::<Vec<_>>(), top);
        prop_assert_eq!(counts.matches, matches);
    }
}

#[test]
fn strings_end_at_a_zero_byte_the_limit_or_the_end() {
    let mut bytes = Vec::new();
    for text in [b"open\0\0\0\0", b"closedXX", b"open\0abc"] {
        bytes.extend(7u64.to_le_bytes());
        bytes.extend(text);
    }
    let ask = |max_bytes| {
        let member = Some(MemberAt { offset: 8, member: Member::CString { max_bytes } });
        let search = Search { value: 7, member, n: 9, target: Target::LITTLE_8, tail: Tail::Zero, isa: None };
        let counts = members(Kind::File, &bytes, &search, &task(1, 1 << 20)).unwrap();
        counts
            .strings
            .into_iter()
            .map(|s| (String::from_utf8_lossy(&s.bytes).into_owned(), s.count))
            .collect::<Vec<_>>()
    };
    assert_eq!(ask(100), [("open".into(), 2), ("closedXX\u{7}".into(), 1)]);
    assert_eq!(ask(3), [("ope".into(), 2), ("clo".into(), 1)]);
}

/// So many that they take several passes; and two that a well-known hash takes for one.
#[test]
fn strings_that_do_not_fit_take_more_passes() {
    let mut bytes = Vec::new();
    let texts =
        (0..30_000u32).map(|i| format!("text {:07} of many", i / 2)).chain(["7mohtcOFVz".into(), "c1E51sSEyx".into()]);
    let mut known = BTreeMap::new();
    for text in texts {
        bytes.extend(7u64.to_le_bytes());
        let mut raw = text.clone().into_bytes();
        raw.resize(raw.len() / 8 * 8 + 8, 0);
        bytes.extend(raw);
        *known.entry(text).or_insert(0) += 1;
    }
    let member = Some(MemberAt { offset: 8, member: Member::CString { max_bytes: 100 } });
    let search = Search { value: 7, member, n: 500, target: Target::LITTLE_8, tail: Tail::Zero, isa: None };
    for kind in [Kind::Slices, Kind::Stream] {
        let counts = members(kind, &bytes, &search, &task(1, 1 << 20)).unwrap();
        let found: Vec<_> =
            counts.strings.iter().map(|s| (String::from_utf8_lossy(&s.bytes).into_owned(), s.count)).collect();
        let mut known: Vec<_> = known.clone().into_iter().collect();
        known.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        known.truncate(500);
        assert_eq!(found, known);
        assert!(counts.cost.passes > 1, "{:?}", counts.cost);
    }
}

/// Values in all the ways that a search of a stream takes: few, more than have room of their own, beyond memory, near and
/// far, before and behind.
#[test]
fn members_in_streams_are_exact() {
    let values: Vec<u64> = (0..60_000u64).flat_map(|i| [7, mixed(i % 20_011), mixed(i) % 9]).collect();
    let mut bytes = words(&values, 8);
    bytes.extend([7, 0, 0, 0, 0]);
    for (offset, size) in [(8, 8), (16, 8), (12, 4), (-8, 8), (-4, 2), (65_536, 8), (-65_536, 1), (70_001, 4), (13, 8)]
    {
        for (value, order) in [(7, ByteOrder::Little), (0, ByteOrder::Little), (7 << 56, ByteOrder::Big)] {
            let member = Some(MemberAt { offset, member: Member::Bits(size) });
            let target = Target { width: Width::W8, order };
            let search = Search { value, member, n: 100, target, tail: Tail::Zero, isa: None };
            for budget in [1 << 20, 64 << 20] {
                let stream = members(Kind::Stream, &bytes, &search, &task(2, budget)).unwrap();
                let slices = members(Kind::Slices, &bytes, &search, &task(2, budget)).unwrap();
                let (matches, known) = naive_members(&bytes, &search);
                for counts in [&stream, &slices] {
                    let top: Vec<_> = counts.top.iter().map(|count| (count.value, count.count)).collect();
                    assert_eq!((counts.matches, top), (matches, known.clone()), "{offset} {size} {value:x}");
                }
                assert_eq!(stream.members, slices.members);
                assert!(stream.cost.peak_bytes <= budget, "{:?}", stream.cost);
            }
        }
    }
}

/// One pass where the front is proven; else what was set aside is counted, from memory or from a file.
#[test]
fn streams_are_counted_while_they_come() {
    let hot = |i: u64| if mixed(i).is_multiple_of(3) { mixed(i) } else { 1 + mixed(i) % 24 };
    let late = |i: u64| if i < 100_000 { mixed(i) } else { 1 + mixed(i) % 50 };
    let spread: Vec<u64> = (0..300_000).map(hot).collect();
    let at_the_end: Vec<u64> = (0..300_000).map(late).collect();
    for (values, n, passes) in
        [(&spread, 10, 1..2), (&spread, 100, 2..99), (&at_the_end, 10, 2..99), (&spread, 0, 1..2)]
    {
        for width in [Width::W8, Width::W4] {
            let mut bytes = words(values, width.bytes());
            bytes.push(1);
            for (isa, budget) in Isa::ALL.into_iter().zip([1 << 20, 4 << 20, 64 << 20]) {
                let target = Target { width, order: ByteOrder::Big };
                let question = Question { n, target, isa: Some(isa), ..Question::top(n) };
                let counts = count(Kind::Stream, &[&bytes], &question, &task(2, budget)).unwrap();
                assert_eq!(pairs(&counts), naive(&[&bytes], &question), "{n} {width:?} {budget}");
                assert!(counts.cost.peak_bytes <= budget, "{:?} {budget}", counts.cost);
                assert!(passes.contains(&counts.cost.passes), "{n} {width:?} {:?}", counts.cost);
                assert!(budget > 1 << 20 || counts.cost.spilled_bytes > 0, "{:?}", counts.cost);
            }
        }
    }
}

/// More words of equal counts than the front holds: those outside it may be the smaller.
#[test]
fn a_tie_at_the_edge_of_the_front_is_seen() {
    let values: Vec<u64> = (0..60 * 1000u64).map(|i| 1 + i * 7 % 60).collect();
    let bytes = words(&values, 8);
    let known: Vec<(u64, u64)> = (1..=20).map(|value| (value, 1000)).collect();
    for kind in [Kind::Slices, Kind::Stream] {
        let counts = count(kind, &[&bytes], &Question::top(20), &task(1, 64 << 20)).unwrap();
        assert_eq!(pairs(&counts), known);
    }
    let all: [&[u8]; 1] = [&bytes];
    let hottest = count_hottest(Parts::Slices(&all), &[Parts::Slices(&all)], Target::LITTLE_8, &task(1, 64 << 20));
    assert_eq!(hottest.unwrap().unwrap().top, []);
}

/// A unit's worth of words and leftover bytes.
#[test]
fn leftover_bytes_behind_whole_units_are_a_word() {
    let mut bytes = vec![0xff; 4 << 20];
    bytes.extend([1, 2, 3]);
    for kind in [Kind::File, Kind::Mapped, Kind::Slices, Kind::Stream] {
        let counts = count(kind, &[&bytes], &Question::top(5), &task(2, 64 << 20)).unwrap();
        assert_eq!(pairs(&counts), [(u64::MAX, 1 << 19), (0, 1)]);
    }
}

/// Partitions in many passes, with pools that run out.
#[test]
fn noise_takes_passes_over_partitions() {
    let values: Vec<u64> = (0..400_000u64).map(|i| mixed(i / 2 + u64::from(i % 5 == 0))).collect();
    let bytes = words(&values, 8);
    for (threads, budget) in [(1, 1 << 20), (2, 3 << 20), (2, 8 << 20)] {
        let counts = count(Kind::Slices, &[&bytes], &Question::top(50), &task(threads, budget)).unwrap();
        assert_eq!(pairs(&counts), naive(&[&bytes], &Question::top(50)));
        assert!(counts.cost.peak_bytes <= budget, "{:?}", counts.cost);
        assert!(budget > 4 << 20 || counts.cost.passes > 2, "{:?}", counts.cost);
    }
}

#[test]
fn a_file_that_ends_early_is_an_error() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[1; 100]).unwrap();
    let extent = Extent { file: &file, offset: 0, size_bytes: 4096 };
    let outcome = count_words(Source::Extents(&[extent]), &Question::top(3), &Task::default());
    assert!(matches!(outcome, Err(Error::Shrunk { offset: 100 })), "{outcome:?}");
    let outcome = count_words(Source::Mapped(&[extent]), &Question::top(3), &Task::default());
    assert!(matches!(outcome, Err(Error::Shrunk { offset: 100 })), "{outcome:?}");
    file.set_len(0).unwrap();
    file.set_len(4096).unwrap();
    let beyond = Extent { file: &file, offset: 0, size_bytes: 8192 };
    let outcome = count_words(Source::Extents(&[beyond]), &Question::top(3), &Task::default());
    assert!(matches!(outcome, Err(Error::Shrunk { offset: 4096 })), "{outcome:?}");
}

#[test]
fn holes_count_as_zeros_at_any_alignment() {
    use std::os::unix::fs::FileExt;
    let file = tempfile::tempfile().unwrap();
    file.set_len(40 << 20).unwrap();
    file.write_all_at(&[1; 8192], (9 << 20) + 4096).unwrap();
    file.write_all_at(&[1; 100], (30 << 20) + 77).unwrap();
    let size_bytes = (40 << 20) - 5;
    let mut bytes = vec![0; 40 << 20];
    file.read_exact_at(&mut bytes, 0).unwrap();
    for offset in [0u64, 3, 4096 + 4] {
        let extent = Extent { file: &file, offset, size_bytes: size_bytes - offset };
        let counts = count_words(Source::Extents(&[extent]), &Question::top(50), &task(2, 64 << 20)).unwrap();
        assert_eq!(pairs(&counts), naive(&[&bytes[offset as usize..size_bytes as usize]], &Question::top(50)));
        let counts = count_words(Source::Mapped(&[extent]), &Question::top(50), &task(2, 64 << 20)).unwrap();
        assert_eq!(pairs(&counts), naive(&[&bytes[offset as usize..size_bytes as usize]], &Question::top(50)));
    }
}

#[test]
fn a_budget_too_small_for_anything_says_the_least_that_works() {
    let bytes = words(&[1, 2, 3], 8);
    let outcome = count(Kind::Slices, &[&bytes], &Question::top(3), &task(8, 100));
    let Err(Error::Budget { needed, given: 100 }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(
        pairs(&count(Kind::Slices, &[&bytes], &Question::top(3), &task(8, needed)).unwrap()),
        [(1, 1), (2, 1), (3, 1)]
    );
}

#[test]
fn more_different_words_than_fit_take_more_passes_and_stay_in_the_budget() {
    let values: Vec<u64> = (0..200_000u64).map(|i| mixed(i / 2)).collect();
    let bytes = words(&values, 8);
    let question = Question::top(100);
    for kind in [Kind::File, Kind::Mapped, Kind::Slices, Kind::Stream] {
        let counts = count(kind, &[&bytes], &question, &task(2, 1 << 20)).unwrap();
        assert_eq!(pairs(&counts), naive(&[&bytes], &question));
        assert!(counts.cost.passes > 1 && counts.cost.peak_bytes <= 1 << 20, "{:?}", counts.cost);
    }
}

fn mixed(i: u64) -> u64 {
    i.wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(29) ^ i
}

#[test]
fn a_cancelled_task_stops() {
    let task = task(2, 1 << 20);
    task.progress.cancel();
    let bytes = words(&[1; 100], 8);
    assert!(matches!(count(Kind::Slices, &[&bytes], &Question::top(1), &task), Err(Error::Cancelled)));
    assert!(matches!(count(Kind::Stream, &[&bytes], &Question::top(1), &task), Err(Error::Cancelled)));
}

/// Distributions on which each way of counting is taken, with the least number of passes that shows it.
#[test]
fn each_way_of_counting_is_exact() {
    let mut seed = 1u64;
    let mut random = move || {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        mixed(seed)
    };
    // Few hot words in noise; words that fill narrow counters without being seen in a sample; noise alone.
    let hot: Vec<u64> = (0..60_000).map(|i| if i % 3 == 0 { random() } else { 1 + random() % 5 }).collect();
    let warm: Vec<u64> = (0..80_000u64).map(|i| if i % 2 == 0 { random() } else { mixed(i % 240) }).collect();
    let noise: Vec<u64> = (0..60_000).map(|_| random()).collect();
    for (values, n) in [(&hot, 3), (&hot, 7), (&warm, 10), (&warm, 500), (&warm, 5000), (&noise, 10), (&noise, 20_000)]
    {
        for isa in Isa::ALL {
            for (width, threads, budget) in
                [(Width::W8, 2, 64 << 20), (Width::W4, 1, 64 << 20), (Width::W8, 2, 3 << 20)]
            {
                let bytes = words(values, width.bytes());
                let target = Target { width, order: ByteOrder::Big };
                let question = Question { n, target, isa: Some(isa), ..Question::top(n) };
                match count(Kind::File, &[&bytes], &question, &task(threads, budget)) {
                    Ok(counts) => {
                        assert_eq!(pairs(&counts), naive(&[&bytes], &question), "{isa:?} {width:?} {n}");
                        assert!(counts.cost.peak_bytes <= budget, "{:?}", counts.cost);
                    }
                    Err(Error::Results { .. }) => assert!(n == 20_000 && budget == 3 << 20),
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
}

/// The last of many results is too rare for a sample, but far too frequent for narrow counters; very hot words that are
/// not in the front; a long tail whose words hardly repeat. The frequent ones take a table, and not a place for each of
/// their occurrences, in two passes.
#[test]
fn many_results_above_a_long_tail_take_two_passes() {
    let values: Vec<u64> = (0..1_600_000u64)
        .map(|i| match mixed(i) % 16 {
            0..3 => 1 + mixed(i) / 16 % 100,
            3..7 => 1000 + mixed(i) / 16 % 1500,
            _ => mixed(i),
        })
        .collect();
    for (width, threads, n, isa, kind) in [
        (Width::W8, 2, 1400, Isa::Avx512, Kind::Mapped),
        (Width::W4, 1, 1400, Isa::Avx2, Kind::File),
        (Width::W8, 1, 1600, Isa::Portable, Kind::Slices),
        (Width::W8, 2, 1601, Isa::Avx512, Kind::File),
    ] {
        let bytes = words(&values, width.bytes());
        let target = Target { width, order: ByteOrder::Big };
        let question = Question { target, isa: Some(isa), ..Question::top(n) };
        let counts = count(kind, &[&bytes], &question, &task(threads, 16 << 20)).unwrap();
        assert!(pairs(&counts) == naive(&[&bytes], &question), "{width:?} {n} {isa:?}");
        // The last case ends among the words of the tail, which all survive.
        let (most_bytes, most_passes) = if n == 1601 { (16 << 20, 4) } else { (4 << 20, 2) };
        assert!(counts.cost.peak_bytes <= most_bytes && counts.cost.passes <= most_passes, "{:?}", counts.cost);
    }
}

/// Members go the same ways: few values, values that hardly repeat, ties.
#[test]
fn members_of_any_distribution_are_exact() {
    type Value = fn(u64) -> u64;
    let distributions: [(&str, Value); 4] = [
        ("a state", |i| [1, 1, 1, 1, 2, 2, 3, 0][i as usize % 8]),
        ("all different", mixed),
        ("each twice", |i| mixed(i / 2)),
        ("some hot", |i| if i.is_multiple_of(3) { mixed(i) } else { mixed(i) % 40 }),
    ];
    for (name, value) in distributions {
        let values: Vec<u64> = (0..40_000).flat_map(|i| [7, value(i) ^ u64::from(i == 39_999)]).collect();
        let bytes = words(&values, 8);
        for (isa, n) in Isa::ALL.into_iter().zip([1, 10, 3000]) {
            for (size, threads, budget) in [(8, 2, 64 << 20), (4, 1, 64 << 20), (8, 2, 3 << 20)] {
                let member = Some(MemberAt { offset: 8, member: Member::Bits(size) });
                let search = Search { value: 7, member, n, target: Target::LITTLE_8, tail: Tail::Zero, isa: Some(isa) };
                let counts = members(Kind::Slices, &bytes, &search, &task(threads, budget)).unwrap();
                let top: Vec<_> = counts.top.iter().map(|count| (count.value, count.count)).collect();
                let (matches, known) = naive_members(&bytes, &search);
                assert_eq!((counts.matches, counts.members, top), (matches, matches, known), "{name} {isa:?} {size}");
                assert!(counts.cost.peak_bytes <= budget, "{name}: {:?}", counts.cost);
            }
        }
    }
}

/// More results than the front holds, few enough to be told by a look at a part of the words: one pass.
#[test]
fn the_words_of_warm_counters_are_counted_one_by_one() {
    let values: Vec<u64> = (0..1_500_000u64)
        .map(|i| if mixed(i).is_multiple_of(4) { mixed(i) } else { 7 + mixed(i) % 4801 % 90 })
        .collect();
    let targets = [(Width::W8, ByteOrder::Little), (Width::W8, ByteOrder::Big), (Width::W4, ByteOrder::Little)];
    for (width, order) in targets {
        let bytes = words(&values, width.bytes());
        let question = Question { target: Target { width, order }, ..Question::top(80) };
        let known = naive(&[&bytes], &question);
        for (isa, kind) in Isa::ALL.into_iter().zip([Kind::Slices, Kind::File, Kind::Mapped]) {
            let question = Question { isa: Some(isa), ..question };
            let counts = count(kind, &[&bytes], &question, &task(2, 64 << 20)).unwrap();
            assert_eq!(pairs(&counts), known);
            assert!(width == Width::W4 || counts.cost.passes == 1, "{:?}", counts.cost);
        }
    }
}

/// Counters are emptied long before they run over: a limit of some hundreds stands for that of 2^31.
#[test]
fn counts_outgrow_their_counters_without_harm() {
    use super::kernel::{FRONT_SLOTS, Front};
    use super::pass::{Hashed, Summed};
    use super::source::{Place, Sink};
    let multiplier = 0x9e37_79b9_7f4a_7c15;
    let mut front = Front { multiplier, keys: [0; FRONT_SLOTS] };
    front.keys[Front::slot(multiplier, 77)] = 77;
    let other = 12345u64;
    assert_ne!(Front::slot(multiplier, other), Front::slot(multiplier, 77));
    for isa in Isa::ALL {
        let mut sinks = vec![Hashed::new(&front, isa, 8, false, 12, 300), Hashed::new(&front, isa, 8, false, 12, 300)];
        for sink in &mut sinks {
            for _ in 0..100 {
                let bytes = words(&[77, other, 77, 0, 99, 77, 77], 8);
                sink.words(Place { part: 0, offset: 0 }, &bytes).unwrap();
            }
            sink.zeros(Place { part: 0, offset: 0 }, 1 << 40).unwrap();
        }
        let Summed { exact, bounds } = Hashed::sum(sinks);
        assert_eq!(exact, [(0, (2 << 40) + 200), (77, 800)]);
        assert!(bounds.greatest() >= 200);
        let mut sinks = vec![Hashed::new(&front, isa, 8, true, 20, 300)];
        for _ in 0..1000 {
            sinks[0].words(Place { part: 0, offset: 0 }, &words(&[77, other], 8)).unwrap();
        }
        let Summed { exact, bounds } = Hashed::sum(sinks);
        assert_eq!((exact, bounds.greatest()), (vec![(77, 1000)], u64::MAX));
    }
}
