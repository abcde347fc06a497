//! How often `fields` raises an alarm where nothing is to be found, and how often it finds what was planted: over written heaps with
//! fixed seeds, by the way that the verb goes. And what it says of the members of objects of any width and byte order.

use testkit::elf_core::{CoreBuilder, R, Shape, W};
use testkit::heap::{Piece, Words};
use testkit::random::Random;
use topleaked::image::{Image, OpenOptions};
use topleaked::report::{Fields, FieldsOptions, Layouts, Look, Report};
use topleaked::session::Session;
use topleaked::task::Task;

/// Bytes of an object as the process would have stored them.
struct Object {
    bytes: Vec<u8>,
    big: bool,
}

impl Object {
    fn put(&mut self, value: u64, width: usize) {
        match self.big {
            true => self.bytes.extend_from_slice(&value.to_be_bytes()[8 - width..]),
            false => self.bytes.extend_from_slice(&value.to_le_bytes()[..width]),
        }
    }
}

/// Bytes of each object.
const SIZE: u32 = 72;
/// Where the state of an object is.
const STATE: u64 = 4;
/// A place that is no allocation.
const ELSEWHERE: u64 = 0x10_0000;

/// An object of fourteen members that have nothing to do with the group. `state` is from 1 to 6.
fn object(random: &mut Random, words: Words, at: u64, state: u64) -> Vec<u8> {
    const LABELS: [&[u8; 8]; 5] = [b"alpha\0\0\0", b"bravo\0\0\0", b"carolina", b"delta\0\0\0", b"echoes\0\0"];
    let mut object = Object { bytes: Vec::new(), big: words.big };
    object.put(random.below(1 << 30) | 1 << 30, 4);
    object.put(state, 4);
    object.put(random.below(1000), 4);
    object.put(random.below(20), 4);
    object.put(u64::from((random.below(4000) as f32 / 16.0 + 1.0).to_bits()), 4);
    object.put(1_700_000_000 + random.below(1 << 20), 4);
    object.put(u64::from(random.chance(50)), 1);
    object.put(u64::from(random.chance(3)), 1);
    object.put(2 + random.below(4), 1);
    object.put(3 + random.below(200), 1);
    object.put((random.below(2000) as i64 - 1000) as u64, 4);
    let width = words.width as usize;
    object.put(if random.chance(30) { 0 } else { ELSEWHERE + 16 * random.below(3) }, width);
    object.bytes.extend_from_slice(LABELS[random.below(5) as usize]);
    object.put(1_000_000 + at * 3, 4);
    object.put(random.below(6) * random.below(6) / 5, 4);
    object.put(random.below(1 << 28) + 77_777_777, 4);
    object.put(random.below(1000), 4);
    object.bytes
}

/// A dump with these objects; those that are no suspects are held.
fn dump(words: Words, objects: &[(Vec<u8>, bool)]) -> (Image, u64) {
    let size = objects.first().map_or(SIZE, |(bytes, _)| bytes.len() as u32);
    let mut pieces = vec![Piece::Used(objects.len() as u32 * words.width as u32)];
    pieces.extend(objects.iter().map(|_| Piece::Used(size)));
    let mut heap = testkit::heap::write(words, &pieces);
    let (list, written) = heap.written.clone().split_first().map(|(list, rest)| (*list, rest.to_vec())).unwrap();
    let start = heap.heap_start;
    for (at, ((bytes, suspect), place)) in objects.iter().zip(&written).enumerate() {
        let from = (place.address - start) as usize;
        heap.heap[from..from + place.usable as usize].fill(0);
        heap.heap[from..from + bytes.len()].copy_from_slice(bytes);
        heap.put(list.address + at as u64 * words.width, if *suspect { 0 } else { place.address });
    }
    let shape = Shape { wide: words.width == 8, big: words.big };
    let machine = match (shape.wide, shape.big) {
        (true, false) => 62,
        (false, false) => 3,
        (true, true) => 22,
        (false, true) => 20,
    };
    // A page that holds the list.
    let mut root = shape.words(&[list.address]);
    root.resize(4096, 0);
    let core = CoreBuilder::new(shape, machine)
        .memory(ELSEWHERE, R | W, &root)
        .memory(heap.heap_start, R | W, &heap.heap)
        .memory(heap.data_start, R | W, &heap.data)
        .build();
    (Image::from_bytes(core, &OpenOptions::default()).unwrap(), written[0].usable)
}

/// What `fields` says of the allocations of one size, and in words.
fn asked(image: &Image, size: u64, options: &FieldsOptions<'_>) -> (serde_json::Value, String) {
    let (opened, task) = (OpenOptions::default(), Task::default());
    let session = Session::new(image, &opened, &task);
    let fields = Fields::new(&session, &size.to_string(), options, None).unwrap();
    let value = serde_json::to_value(&fields).unwrap();
    let mut text = Vec::new();
    Report::new("fields", "core", fields).write_human(&mut text, &Look::PLAIN).unwrap();
    (value, String::from_utf8(text).unwrap())
}

fn telling(result: &serde_json::Value) -> Vec<u64> {
    let tells = |member: &&serde_json::Value| {
        member["significant"] == true && member["age_like"] == false && member["across_age_only"] == false
    };
    let members = result["members"].as_array().unwrap();
    members.iter().filter(tells).map(|member| member["offset"].as_u64().unwrap()).collect()
}

const WORDS: Words = Words { width: 8, big: false };

/// A data set of a seed: whether each object is a suspect, and how likely the others are in the state of the suspects.
fn data(seed: u64, planted: bool) -> Vec<(Vec<u8>, bool)> {
    let mut random = Random::new(seed);
    let objects = if planted { 500 } else { 200 } + random.below(1000);
    let percent = if planted { 10 + random.below(50) } else { 3 + random.below(60) };
    (0..objects)
        .map(|at| {
            let suspect = random.chance(percent);
            let there = planted && random.chance(if suspect { 60 } else { 25 });
            let state = if there { 1 } else { 1 + random.below(6) };
            (object(&mut random, WORDS, at, state), suspect)
        })
        .collect()
}

#[test]
fn no_alarm_is_raised_where_there_is_no_signal() {
    let mut alarms = Vec::new();
    for seed in 1..=200 {
        let (image, size) = dump(WORDS, &data(seed, false));
        let (result, text) = asked(&image, size, &FieldsOptions::default());
        assert!(result["members"].as_array().unwrap().len() >= 12, "{text}");
        if !telling(&result).is_empty() || !result["rules"].as_array().unwrap().is_empty() {
            alarms.push((seed, text));
        }
    }
    assert!(alarms.len() <= 10, "{} of 200: {alarms:#?}", alarms.len());
}

#[test]
fn a_planted_signal_comes_first() {
    let mut missed = Vec::new();
    for seed in 1001..=1200 {
        let (image, size) = dump(WORDS, &data(seed, true));
        let (result, text) = asked(&image, size, &FieldsOptions::default());
        let first = &result["members"][0];
        if first["offset"] != STATE || telling(&result).first() != Some(&STATE) {
            missed.push((seed, text));
        }
    }
    assert!(missed.len() <= 10, "{} of 200: {missed:#?}", missed.len());
}

#[test]
fn members_are_read_as_what_they_are_in_any_width_and_byte_order() {
    for words in [(8, true), (8, false), (4, true), (4, false)].map(|(width, big)| Words { width, big }) {
        let mut random = Random::new(9);
        let objects: Vec<(Vec<u8>, bool)> = (0..900)
            .map(|at| {
                let suspect = random.chance(30);
                let state = if suspect { 4 } else { 1 + random.below(3) };
                (object(&mut random, words, at, state), suspect)
            })
            .collect();
        let (image, size) = dump(words, &objects);
        let (result, text) = asked(&image, size, &FieldsOptions::default());
        assert_eq!((&result["layout"], &result["type"]), (&"inferred".into(), &format!("({size} bytes)").into()));
        assert_eq!(telling(&result), [STATE], "{words:?}: {text}");
        assert!(text.contains(" leaked have +0x4 u32 (4 values) = 4 (0.0 % of "), "{words:?}: {text}");
        let members = result["members"].as_array().unwrap();
        let kind = |offset: u64| {
            let member = members.iter().find(|member| member["offset"] == offset);
            member.map_or("nothing", |member| member["type"].as_str().unwrap())
        };
        let text_at = 32 + words.width;
        for (offset, expected) in [
            (8, "u32 (many values)"),
            (12, "u32 (20 values)"),
            (16, "f32 (many values)"),
            (20, "u32 (time in seconds)"),
            (24, "u8 (flag)"),
            (25, "u8 (flag)"),
            (26, "u8 (4 values)"),
            (28, "i32 (many values)"),
            (32, "pointer (4 values)"),
            (text_at, "char[8] (5 values)"),
            (text_at + 8, "u32 (counter)"),
            (text_at + 12, "u32 (6 values)"),
        ] {
            assert_eq!(kind(offset), expected, "{words:?}, {offset}: {text}");
        }
        let only = |member: &str| asked(&image, size, &FieldsOptions { member: Some(member), ..Default::default() });
        let (_, times) = only("+0x14");
        assert!(times.contains("1700") && times.contains(" (2023-11-"), "{words:?}: {times}");
        let (_, numbers) = only("+0x1c");
        assert!(numbers.contains(" values, from -") && numbers.contains("\n-"), "{words:?}: {numbers}");
        let (_, floats) = only("+0x10");
        assert!(
            floats.contains(" values, from 1") && floats.contains(" to 250.") && floats.lines().count() < 24,
            "{words:?}: {floats}"
        );
        let filtered = FieldsOptions { only: Some("+0x18 == true and +0x1c < -500"), ..Default::default() };
        let (result, text) = asked(&image, size, &filtered);
        let offset = |bytes: &[u8]| match words.big {
            true => i32::from_be_bytes(bytes[28..32].try_into().unwrap()),
            false => i32::from_le_bytes(bytes[28..32].try_into().unwrap()),
        };
        let kept = objects.iter().filter(|(bytes, _)| bytes[24] == 1 && offset(bytes) < -500);
        let count = |group: &str| result[group]["count"].as_u64().unwrap();
        assert_eq!(count("suspects") + count("reference"), kept.count() as u64, "{text}");
        assert!(text.contains(&format!("({size} bytes) where +0x18 == true and +0x1c < -500; ")), "{text}");

        let (opened, task) = (OpenOptions::default(), Task::default());
        let session = Session::new(&image, &opened, &task);
        let layouts = Layouts::inferred(&session, &size.to_string()).unwrap().unwrap();
        let mut text = Vec::new();
        Report::new("layout", "core", layouts).write_human(&mut text, &Look::PLAIN).unwrap();
        let text = String::from_utf8(text).unwrap();
        for row in ["+0x4   u32       state (4 values)", "+0x10  f32 ", "+0x14  u32       time in seconds"] {
            assert!(text.contains(row), "{words:?}: no {row}: {text}");
        }
    }
}
