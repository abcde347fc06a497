//! Numbers in words: which are sizes, floating point, or several small ones side by side.

use crate::addr::{ByteOrder, Target, Width};

use super::reading::Reading;

/// The largest chunk that the default threshold for mapping leaves in a heap, rounded up: 128 KiB and a page.
pub(super) const LARGEST_CHUNK_BYTES: u64 = 0x2_1000;

/// A size field of glibc's malloc (malloc/malloc.c, `struct malloc_chunk`, `mchunk_size`): a multiple of twice the width, with
/// flags in the low three bits: 1 the chunk in front is in use, 2 mapped, 4 not from the main arena. Only fields with flag 1 and
/// without flag 2 are taken: the others are rare, and even numbers are mostly numbers.
pub(super) fn read_chunk_size(word: u64, width: Width) -> Option<Reading> {
    let unit = 2 * width.bytes() as u64;
    let (bytes, flags) = (word & !7, word & 7);
    let fits = bytes % unit == 0 && (2 * unit..=LARGEST_CHUNK_BYTES).contains(&bytes);
    (fits && matches!(flags, 1 | 5)).then_some(Reading::ChunkSize { bytes })
}

pub(super) fn read_number(word: u64, width: Width) -> Option<Reading> {
    let signed = match width {
        Width::W4 => i64::from(word as u32 as i32),
        Width::W8 => word as i64,
    };
    if signed.unsigned_abs() < 0x1_0000 {
        return Some(Reading::Small(signed));
    }
    let bytes = word.to_le_bytes();
    let filled = bytes.get(..width.bytes())?;
    filled.iter().all(|byte| *byte == bytes[0]).then_some(Reading::Fill(bytes[0]))
}

/// Numbers of 2 bytes below this are taken for four in a word: counts, flags, positions. Of random words one in 65,536 looks so.
const SMALL_QUARTER: u16 = 0x1000;

/// Numbers that a program would write down: a double or two floats with few digits, or two or four small integers.
pub(super) fn read_floats(word: u64, target: Target) -> Option<Reading> {
    if target.width == Width::W4 {
        let single = f32::from_bits(word as u32);
        return plausible_single(single).then_some(Reading::Float(f64::from(single)));
    }
    let (first, second) = match target.order {
        ByteOrder::Little => (word as u32, (word >> 32) as u32),
        ByteOrder::Big => ((word >> 32) as u32, word as u32),
    };
    let number = f64::from_bits(word);
    let magnitude = number.abs();
    if (1e-6..1e15).contains(&magnitude) && format!("{magnitude:?}").len() <= 9 {
        return Some(Reading::Float(number));
    }
    let (a, b) = (f32::from_bits(first), f32::from_bits(second));
    let plausible = |number: f32| number == 0.0 || plausible_single(number);
    if plausible(a) && plausible(b) {
        let one = (a == 0.0 || b == 0.0).then_some(word);
        return Some(Reading::FloatPair(one, a, b));
    }
    // The greatest and the least number of 4 bytes stand for "none" and "no limit".
    let small = |half: u32| (half as i32).unsigned_abs() < 0x1_0000 || matches!(half as i32, i32::MAX | i32::MIN);
    if small(first) && small(second) {
        return Some(Reading::Pair(first as i32, second as i32));
    }
    let halves = |word: u32| match target.order {
        ByteOrder::Little => [word as u16, (word >> 16) as u16],
        ByteOrder::Big => [(word >> 16) as u16, word as u16],
    };
    let ([a, b], [c, d]) = (halves(first), halves(second));
    let quad = [a, b, c, d];
    quad.iter().all(|number| *number < SMALL_QUARTER).then_some(Reading::Quad(quad))
}

/// A number of 4 bytes whose amount is below this hardly is the upper half of a greater one: that would be below 2 to the 44.
const SMALL_HALF: u32 = 0x1000;

/// Two numbers below this in one word hardly are one number: of random words one in 64 looks so.
const MEDIUM_HALF: u32 = 1 << 28;

/// A number that looks like two of 4 bytes: the upper half is small and not zero, or all of it is the upper half; or it is too
/// great for an address, and both halves are of a middling size.
pub(super) fn read_halves(word: u64, target: Target) -> Option<Reading> {
    if target.width == Width::W4 {
        return None;
    }
    let (low, high) = (word as u32 as i32, (word >> 32) as u32 as i32);
    let medium = |half: i32| half.unsigned_abs() < MEDIUM_HALF;
    let beyond_addresses = high.unsigned_abs() >= 0x1_0000;
    let two =
        high != 0 && high.unsigned_abs() < SMALL_HALF || low == 0 || beyond_addresses && medium(low) && medium(high);
    // What is near zero is one negative number.
    let near = high == -1 && low < 0;
    let (first, second) = match target.order {
        ByteOrder::Little => (low, high),
        ByteOrder::Big => (high, low),
    };
    (two && !near).then_some(Reading::Halves(word, first, second))
}

fn plausible_single(number: f32) -> bool {
    (1e-3..1e7).contains(&number.abs()) && format!("{:?}", number.abs()).len() <= 6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_too_small_for_an_address_are_small() {
        assert_eq!(read_number(42, Width::W8), Some(Reading::Small(42)));
        assert_eq!(read_number(u64::MAX, Width::W8), Some(Reading::Small(-1)));
        assert_eq!(read_number(0xffff_fffe, Width::W4), Some(Reading::Small(-2)));
        assert_eq!(read_number(0xffff_fffe, Width::W8), None);
        assert_eq!(read_number(0x1_0000, Width::W8), None);
    }

    #[test]
    fn two_numbers_side_by_side_are_shown_as_such() {
        let read = |word| read_halves(word, Target::LITTLE_8);
        assert_eq!(read(0x0000_0001_07be_3c80), Some(Reading::Halves(0x0000_0001_07be_3c80, 0x07be_3c80, 1)));
        assert_eq!(read(0x003f_ffc1_0000_0000), Some(Reading::Halves(0x003f_ffc1_0000_0000, 0, 0x003f_ffc1)));
        assert_eq!(read(0xffff_ffff_0101_0060), Some(Reading::Halves(0xffff_ffff_0101_0060, 0x0101_0060, -1)));
        assert_eq!(read(0xffff_ffff_8101_0060), None, "a negative number");
        assert_eq!(read(0x0062_90b0_0062_90e8), Some(Reading::Halves(0x0062_90b0_0062_90e8, 0x62_90e8, 0x62_90b0)));
        assert_eq!(read(0x7f00_0062_90e8), None, "an address that was");
        assert_eq!(read(0x3b9a_c9ff), None);
        assert_eq!(read(0x1234_5678_9abc_def0), None);
        let big = Target { order: ByteOrder::Big, ..Target::LITTLE_8 };
        assert_eq!(
            read_halves(0x0000_0001_07be_3c80, big),
            Some(Reading::Halves(0x0000_0001_07be_3c80, 1, 0x07be_3c80))
        );
        assert_eq!(read_halves(0x107b, Target { width: Width::W4, ..big }), None);
    }

    #[test]
    fn one_repeated_byte_is_a_fill_pattern() {
        assert_eq!(read_number(0xcdcd_cdcd_cdcd_cdcd, Width::W8), Some(Reading::Fill(0xcd)));
        assert_eq!(read_number(0xcdcd_cdcd, Width::W4), Some(Reading::Fill(0xcd)));
        assert_eq!(read_number(0xcdcd_cdcd_cdcd_cdce, Width::W8), None);
    }

    #[test]
    fn a_size_field_is_a_multiple_of_two_words_with_its_flag() {
        let chunk = |bytes| Some(Reading::ChunkSize { bytes });
        assert_eq!(read_chunk_size(0x21, Width::W8), chunk(0x20));
        assert_eq!(read_chunk_size(0x35, Width::W8), chunk(0x30));
        assert_eq!(read_chunk_size(0x29, Width::W8), None);
        assert_eq!(read_chunk_size(0x29, Width::W4), chunk(0x28));
        assert_eq!(read_chunk_size(0x11, Width::W8), None, "the least chunk has 32 bytes");
        assert_eq!(read_chunk_size(0x2_1012, Width::W8), None, "mapped");
    }

    #[test]
    fn numbers_with_few_digits_are_floating_point() {
        let read = |word| read_floats(word, Target::LITTLE_8);
        assert_eq!(read(1.5_f64.to_bits()), Some(Reading::Float(1.5)));
        assert_eq!(read((-250.0_f64).to_bits()), Some(Reading::Float(-250.0)));
        assert_eq!(read(0x3fd5_5555_5555_5555), None, "a third has sixteen digits");
        assert_eq!(read(0x4000_0000_3f80_0000), Some(Reading::FloatPair(None, 1.0, 2.0)));
        assert_eq!(read(0x4080_0000), Some(Reading::FloatPair(Some(0x4080_0000), 4.0, 0.0)), "or one number");
        assert_eq!(read(0x0000_0007_0000_0003), Some(Reading::Pair(3, 7)));
        assert_eq!(read(0x7fff_ffff_0000_0000), Some(Reading::Pair(0, i32::MAX)));
        assert_eq!(read(0x7fff_fffe_0000_0000), None);
        assert_eq!(read(0x0018_0002_0001_0000), Some(Reading::Quad([0, 1, 2, 24])));
        assert_eq!(read(0x1018_0002_0001_0000), None);
        let big = Target { order: ByteOrder::Big, ..Target::LITTLE_8 };
        assert_eq!(read_floats(0x0018_0002_0001_0000, big), Some(Reading::Quad([24, 2, 1, 0])));
        assert_eq!(read_floats(0x0000_0007_0000_0003, big), Some(Reading::Pair(7, 3)));
    }
}
