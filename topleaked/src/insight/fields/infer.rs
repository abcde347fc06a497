//! Members without debug information: where they are and how wide, from the objects themselves.
//!
//! A word is a pointer where nearly all its values are null or lead into memory, and text where most are. Anything else is
//! a number, cut in two as long as both halves vary with few values each: a 4-byte state beside a serial number,
//! two flags beside each other. A half that is zero everywhere belongs to the number beside it. Wrong where two unrelated
//! members both have many values: they are taken for one number.

use std::collections::HashSet;

use super::super::text::text_in_word;
use super::FieldsQuestion;
use super::read::{Source, number_at, object_bytes};
use crate::addr::{Addr, ByteOrder};

/// Objects that are looked at, evenly spread.
const MOST_OBJECTS: usize = 4096;
/// Bytes of an object in which members are looked for.
const MOST_BYTES: u64 = 1024;
/// A part with more values is no member of its own: rather the low end of a number.
const FEW: usize = 64;

pub(super) fn infer_members(question: &FieldsQuestion<'_>) -> Vec<Source> {
    let step = question.objects.len().div_ceil(MOST_OBJECTS).max(1);
    let objects: Vec<&[u8]> =
        (0..question.objects.len()).step_by(step).filter_map(|at| object_bytes(question, at)).collect();
    let size = objects.iter().map(|bytes| bytes.len() as u64).min().unwrap_or(0).min(MOST_BYTES);
    let word = question.image.target().width.bytes() as u64;
    let mut members = Vec::new();
    // The first word is what the objects are known by.
    let mut offset = word;
    while offset + word <= size {
        infer_word(question, &objects, offset, word, &mut members);
        offset += word;
    }
    members
}

fn infer_word(question: &FieldsQuestion<'_>, objects: &[&[u8]], offset: u64, word: u64, members: &mut Vec<Source>) {
    let target = question.image.target();
    let values = || objects.iter().filter_map(|bytes| number_at(bytes, offset, word, target)).filter(|word| *word != 0);
    let present = values().count();
    let most = |count: usize| present > 0 && count * 10 >= present * 9;
    let leads = |word: &u64| *word >= 4096 && question.image.space().find_segment(Addr(*word)).is_some();
    if most(values().filter(leads).count()) {
        members.push(Source::Pointer { offset, width: word });
    } else if most(values().filter(|word| text_in_word(*word, target).is_some()).count()) {
        members.push(Source::Text { offset, width: word });
    } else {
        let parts = split(question, objects, offset, word);
        members.extend(parts.into_iter().map(|(offset, width)| Source::Number { offset, width }));
    }
}

/// Offset and width of each number in a run of bytes. At most three levels deep.
fn split(question: &FieldsQuestion<'_>, objects: &[&[u8]], offset: u64, width: u64) -> Vec<(u64, u64)> {
    if width == 1 {
        return vec![(offset, width)];
    }
    let target = question.image.target();
    let distinct = |offset, width| {
        let values = objects.iter().filter_map(|bytes| number_at(bytes, offset, width, target));
        values.collect::<HashSet<u64>>()
    };
    let half = width / 2;
    let (low, high) = match target.order {
        ByteOrder::Little => (offset, offset + half),
        ByteOrder::Big => (offset + half, offset),
    };
    let (lows, highs) = (distinct(low, half), distinct(high, half));
    let zero = |values: &HashSet<u64>| values.len() == 1 && values.contains(&0);
    let both = || {
        let mut parts = split(question, objects, offset, half);
        parts.extend(split(question, objects, offset + half, half));
        parts
    };
    if zero(&highs) {
        // The upper half is padding, or the zeros of a larger number.
        let parts = split(question, objects, low, half);
        return if parts.len() == 1 { vec![(offset, width)] } else { parts };
    }
    // A number with a sign, negative in some objects: its upper half repeats the sign of the lower one.
    let (sign, ones) = (1u64 << (half * 8 - 1), (1u64 << (half * 8 - 1)) * 2 - 1);
    let is_extended = |bytes: &&[u8]| {
        let (low, high) = (number_at(bytes, low, half, target), number_at(bytes, high, half, target));
        high == low.map(|low| if low & sign != 0 { ones } else { 0 })
    };
    if highs.contains(&ones) && objects.iter().all(is_extended) {
        return vec![(offset, width)];
    }
    if lows.len() == 1 || highs.len() == 1 {
        return both();
    }
    // At the level of a word a serial number may stand beside a state.
    let few = match width {
        8 => lows.len() <= FEW || highs.len() <= FEW,
        _ => lows.len() <= FEW && highs.len() <= FEW,
    };
    if few { both() } else { vec![(offset, width)] }
}
