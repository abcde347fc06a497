//! Two members' values together.

use crate::task::Task;

use super::super::contrast::Category;
use super::column::Column;
use super::read::Class;
use super::{Meaning, Study, sweep};

/// Two members' values together. Numbers stand in their order, other values with the most frequent first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CrossTable {
    /// The first member's values.
    pub rows: CrossValues,
    /// The second's.
    pub columns: CrossValues,
    /// Suspects and reference group, row by row.
    pub counts: Vec<[u64; 2]>,
}

/// The values of one side of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CrossValues {
    /// What they mean.
    pub meanings: Vec<Meaning>,
    /// They are numbers in their order, so that neighbours may be put together; but for the last, which are the others.
    pub ordered: bool,
}

/// Least and greatest order code.
type Extent = Option<(u64, u64)>;

fn joined(a: Extent, b: Extent) -> Extent {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (a, b) => a.or(b),
    }
}

impl Study<'_> {
    /// How often values of two members come together, by both. O(objects).
    pub fn cross(&self, rows: usize, across: usize, task: &Task) -> Option<CrossTable> {
        let (first, second) = (self.columns.get(rows)?, self.columns.get(across)?);
        let (height, width) = (first.binning.categories().len(), second.binning.categories().len());
        let begin = || (vec![[0u64; 2]; height * width], [Vec::new(), Vec::new()], [None, None]);
        let visit = |(counts, codes, extents): &mut (Vec<[u64; 2]>, [Vec<u16>; 2], [Extent; 2]),
                     batch: &sweep::Batch<'_>| {
            let Some(part) = self.parts.get(batch.part) else { return };
            for ((column, codes), extent) in [first, second].into_iter().zip(codes.iter_mut()).zip(extents) {
                let mut found = *extent;
                let ordered = |value| found = joined(found, Some((value, value)));
                column.encode(batch.part, part, batch.bytes, codes, |_, _| {}, ordered);
                *extent = found;
            }
            for ((a, b), suspect) in codes[0].iter().zip(&codes[1]).zip(batch.suspect) {
                if usize::from(*b) < width
                    && let Some(count) = counts.get_mut(usize::from(*a) * width + usize::from(*b))
                {
                    count[usize::from(!suspect)] += 1;
                }
            }
        };
        let (mut counts, mut extents) = (vec![[0u64; 2]; height * width], [None, None]);
        for (of_thread, _, of_values) in sweep::sweep(&self.parts, task, begin, visit) {
            for (sum, count) in counts.iter_mut().zip(of_thread) {
                *sum = [sum[0] + count[0], sum[1] + count[1]];
            }
            extents = [joined(extents[0], of_values[0]), joined(extents[1], of_values[1])];
        }
        let at = |row: usize, column: usize| counts.get(row * width + column).copied().unwrap_or_default();
        let sum = |[a, b]: [u64; 2]| a + b;
        let of_rows: Vec<u64> = (0..height).map(|row| (0..width).map(|column| sum(at(row, column))).sum()).collect();
        let of_columns: Vec<u64> = (0..width).map(|column| (0..height).map(|row| sum(at(row, column))).sum()).collect();
        let (down, rows) = self.side(first, &of_rows, extents[0]);
        let (along, columns) = self.side(second, &of_columns, extents[1]);
        let counts = down.iter().flat_map(|row| along.iter().map(|column| at(*row, *column))).collect();
        Some(CrossTable { rows, columns, counts })
    }

    /// The codes of the values that there are, in the order in which they are shown, and what they mean.
    fn side(&self, column: &Column, counts: &[u64], extent: Extent) -> (Vec<usize>, CrossValues) {
        let (least, greatest) = extent.unwrap_or((0, u64::MAX));
        let categories = column.binning.categories_within(least, greatest);
        let category = |code: &usize| categories.get(*code).copied().unwrap_or(Category::Other);
        let count = |code: &usize| counts.get(*code).copied().unwrap_or(0);
        let ordered = matches!(column.class, Class::Ordered(_));
        let mut codes: Vec<usize> = (0..categories.len()).filter(|code| count(code) > 0).collect();
        codes.sort_by_key(|code| {
            let place = match category(code) {
                Category::Other => u64::MAX,
                Category::Value(value) | Category::Range(value, _) if ordered => value,
                _ => u64::MAX - count(code),
            };
            (category(code) == Category::Other, place, *code)
        });
        let meanings = codes.iter().map(|code| column.meaning(category(code), &self.parts)).collect();
        (codes, CrossValues { meanings, ordered })
    }
}
