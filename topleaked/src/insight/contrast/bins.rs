//! From values to what is compared: single values, or ranges with as many objects in each.

use std::collections::HashMap;

use super::{Category, CategoryCount, Cell, Column};

/// Up to so many different values are compared one by one.
const MOST_VALUES: usize = 32;
/// Ranges that many numbers are put into.
const RANGES: usize = 12;
/// Values that are counted before there are too many to be told apart.
const MOST_COUNTED: usize = 1 << 16;
/// Objects from which the ends of ranges are taken, evenly spread.
const MOST_SAMPLED: usize = 200_000;
/// The mark of an object without a category: its value is missing.
const NONE: u16 = u16::MAX;

/// Every object by its category.
pub(super) struct Sorted {
    categories: Vec<Category>,
    /// For each object an index into the categories.
    pub(super) of_each: Vec<u16>,
    /// How many values there are; a lower bound where they are many.
    pub(super) distinct: usize,
}

impl Sorted {
    pub(super) fn category(&self, index: u16) -> Option<Category> {
        self.categories.get(usize::from(index)).copied()
    }

    pub(super) fn table(&self, suspect: &[bool]) -> Vec<CategoryCount> {
        let empty = |category: &Category| CategoryCount { category: *category, suspects: 0, reference: 0 };
        let mut table: Vec<CategoryCount> = self.categories.iter().map(empty).collect();
        for (index, suspect) in self.of_each.iter().zip(suspect) {
            if let Some(count) = table.get_mut(usize::from(*index)) {
                match suspect {
                    true => count.suspects += 1,
                    false => count.reference += 1,
                }
            }
        }
        table
    }
}

/// Groups are not looked at, so that the test of the table stays honest.
pub(super) fn sort_into_categories(column: &Column) -> Sorted {
    let mut apart: HashMap<u64, u64> = HashMap::new();
    let mut values: HashMap<u64, u64> = HashMap::new();
    for cell in &column.cells {
        let (counts, code) = match cell {
            Cell::Missing => continue,
            Cell::Apart(code) => (&mut apart, code),
            Cell::Value(code) => (&mut values, code),
        };
        if counts.len() < MOST_COUNTED || counts.contains_key(code) {
            *counts.entry(*code).or_default() += 1;
        }
    }
    let distinct = values.len() + apart.len();
    let mut alone: Vec<(u64, u64)> = apart.into_iter().collect();
    let mut ranges = Vec::new();
    if values.len() <= MOST_VALUES {
        alone.extend(values);
    } else if column.ordered {
        ranges = quantiles(column);
    } else {
        // What many objects share; the others stand together.
        let known: u64 = values.values().sum();
        alone.extend(values.into_iter().filter(|(_, count)| *count * MOST_VALUES as u64 >= known));
    }
    alone.sort_by_key(|(code, count)| (std::cmp::Reverse(*count), *code));
    alone.truncate(usize::from(NONE) / 2);
    let mut categories: Vec<Category> = alone.iter().map(|(code, _)| Category::Value(*code)).collect();
    let index: HashMap<u64, u16> = alone.iter().zip(0u16..).map(|((code, _), at)| (*code, at)).collect();
    let first_range = categories.len() as u16;
    categories.extend(ranges.iter().map(|(low, high)| Category::Range(*low, *high)));
    let other = categories.len() as u16;
    categories.push(Category::Other);
    let of_each = (column.cells.iter())
        .map(|cell| {
            let (Cell::Value(code) | Cell::Apart(code)) = cell else { return NONE };
            if let Some(at) = index.get(code) {
                return *at;
            }
            let at = ranges.partition_point(|(_, high)| high < code);
            match at < ranges.len() {
                true => first_range + at as u16,
                false => other,
            }
        })
        .collect();
    Sorted { categories, of_each, distinct }
}

/// Ranges with about as many objects in each, from the least value to the greatest, without gaps between the values seen.
fn quantiles(column: &Column) -> Vec<(u64, u64)> {
    let value = |cell: &Cell| match cell {
        Cell::Value(code) => Some(*code),
        _ => None,
    };
    let step = column.cells.len().div_ceil(MOST_SAMPLED).max(1);
    let mut sample: Vec<u64> = column.cells.iter().step_by(step).filter_map(value).collect();
    sample.sort_unstable();
    let (Some(least), Some(greatest)) =
        (column.cells.iter().filter_map(value).min(), column.cells.iter().filter_map(value).max())
    else {
        return Vec::new();
    };
    let mut ends: Vec<u64> = (1..RANGES).filter_map(|part| sample.get(sample.len() * part / RANGES).copied()).collect();
    ends.push(greatest);
    ends.dedup();
    let mut low = least;
    let mut ranges = Vec::new();
    for high in ends {
        if high >= low {
            ranges.push((low, high));
            low = high.saturating_add(1);
        }
    }
    ranges
}
