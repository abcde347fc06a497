//! Single bits of numbers: flags that stand in a plain word, as in C.

use super::super::contrast::{Category, NO_CODE};
use super::column::Column;
use super::read::{Class, Code};

/// Numbers with fewer values are told apart one by one.
const FEWEST_VALUES: usize = 5;
/// A bit says so much more than the number's values, as a difference between shares.
const AHEAD: f64 = 0.1;

/// The bit of a number that tells the groups apart best, where it tells more than the number's values and ranges do. It is
/// chosen by the groups: its test has to be paid for by all bits.
pub(super) fn best_bit(column: &Column, suspect: &[bool]) -> Option<u32> {
    let source = column.sources.first()?;
    let numeric = match column.class {
        Class::Ordered(Code::Unsigned | Code::Signed) => !source.is_inferred_time(),
        Class::Plain => source.is_enumeration(),
        _ => false,
    };
    let bits = u32::try_from(source.width().checked_mul(8)?).ok().filter(|bits| *bits <= 64)?;
    if !numeric || column.binning.distinct() < FEWEST_VALUES {
        return None;
    }
    let (mut counts, mut groups) = ([[0u64; 2]; 64], [0u64; 2]);
    for (cell, suspect) in column.sample.iter().zip(suspect) {
        let Some(raw) = source.raw_bits(cell) else { continue };
        groups[usize::from(!suspect)] += 1;
        for (bit, count) in counts.iter_mut().enumerate() {
            count[usize::from(!suspect)] += raw >> bit & 1;
        }
    }
    let share = |count: u64, of: u64| if of == 0 { 0.0 } else { count as f64 / of as f64 };
    let gain = |[a, b]: [u64; 2]| (share(a, groups[0]) - share(b, groups[1])).abs();
    let (bit, best) = (counts.iter().take(bits as usize).enumerate())
        .map(|(bit, count)| (bit, gain(*count)))
        .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))?;
    // What the values tell, one by one and up to a bound.
    let mut of_codes = vec![[0u64; 2]; column.binning.categories().len()];
    for (code, suspect) in column.sample_codes.iter().zip(suspect).filter(|(code, _)| **code != NO_CODE) {
        if let Some(count) = of_codes.get_mut(usize::from(*code)) {
            count[usize::from(!suspect)] += 1;
        }
    }
    let alone = of_codes.iter().map(|count| gain(*count)).fold(0.0, f64::max);
    let mut row: Vec<(u64, [u64; 2])> = (column.binning.categories().iter().zip(&of_codes))
        .filter_map(|(category, count)| match category {
            Category::Value(code) | Category::Range(code, _) => Some((*code, *count)),
            Category::Other => None,
        })
        .collect();
    row.sort_unstable();
    let (mut sum, mut bound) = ([0u64; 2], 0.0f64);
    for (_, [a, b]) in row {
        sum = [sum[0] + a, sum[1] + b];
        bound = bound.max(gain(sum));
    }
    (best > alone.max(bound) + AHEAD).then_some(bit as u32)
}
