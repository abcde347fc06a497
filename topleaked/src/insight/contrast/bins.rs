//! From values to what is compared: single values, or ranges with as many objects in each.

use std::collections::HashMap;

use super::{Category, Cell};

/// Up to so many different values are compared one by one, where nobody asks for more.
pub const MOST_VALUES: usize = 32;
/// Ranges that many numbers are put into.
const RANGES: usize = 12;
/// A value is shared by so many objects at least.
const LEAST_SHARED: u64 = 5;
/// Values that stand alone because one group has them often.
const MOST_CHOSEN: usize = 16;
/// Values that are counted before there are too many to be told apart.
const MOST_COUNTED: usize = 1 << 17;
/// The code of an object whose value is missing.
pub const NO_CODE: u16 = u16::MAX;

/// Gives each value of a member the number of its category. Made from a sample of the objects, and without a look at the
/// groups, so that a test of the table that it leads to stays honest.
#[derive(Clone, Debug)]
pub struct Binning {
    /// Single values first, then ranges in their order, then [`Category::Other`].
    categories: Vec<Category>,
    /// Open addressing, a power of two slots: a value, and its code; [`NO_CODE`] for an empty slot.
    slots: Vec<(u64, u16)>,
    shift: u32,
    /// The upper ends of the ranges, both of which the outermost go beyond.
    ends: Vec<u64>,
    first_range: u16,
    other: u16,
    /// Different values in the sample; a lower bound where they are many.
    distinct: usize,
    /// All values of the sample are told apart: one that it does not hold is worth a category, too.
    open: bool,
    /// Categories that stand alone because one group has them often, each with the one that it belongs to otherwise.
    folds: Vec<(u16, u16)>,
    /// Values among which those were chosen.
    choices: u64,
}

impl Binning {
    /// Bins for what the sample holds; `most_values` are told apart one by one at most, and of those that are too many the ones that
    /// many objects share, or many of one group (`suspect`, by cell; empty where there are no groups).
    pub fn of_sample(cells: &[Cell], suspect: &[bool], ordered: bool, most_values: usize) -> Binning {
        Binning::of_choices(cells, suspect, ordered, most_values, &HashMap::new(), 0)
    }

    /// The same where some values stand alone because one group has them often: `parents` says for each what it is otherwise.
    /// They were chosen among `choices`.
    pub(in crate::insight) fn of_choices(
        cells: &[Cell],
        suspect: &[bool],
        ordered: bool,
        most_values: usize,
        parents: &HashMap<u64, u64>,
        choices: u64,
    ) -> Binning {
        let mut apart: HashMap<u64, u64> = HashMap::new();
        let mut values: HashMap<u64, u64> = HashMap::new();
        let (mut of_suspects, mut suspects): (HashMap<u64, u64>, u64) = (HashMap::new(), 0);
        for (at, cell) in cells.iter().enumerate() {
            let (counts, code) = match cell {
                Cell::Missing => continue,
                Cell::Apart(code) => (&mut apart, code),
                Cell::Value(code) => (&mut values, code),
            };
            if counts.len() < MOST_COUNTED || counts.contains_key(code) {
                *counts.entry(*code).or_default() += 1;
                if suspect.get(at) == Some(&true) && matches!(cell, Cell::Value(_)) {
                    *of_suspects.entry(*code).or_default() += 1;
                    suspects += 1;
                }
            }
        }
        let most_values = most_values.min(usize::from(NO_CODE) / 4);
        let distinct = values.len() + apart.len();
        let known: u64 = values.values().sum();
        let mut alone: Vec<(u64, u64)> = apart.into_iter().collect();
        let mut ends = Vec::new();
        let open = values.len() <= most_values;
        let mut chosen: HashMap<u64, Option<u64>> =
            parents.iter().map(|(code, parent)| (*code, Some(*parent))).collect();
        let choices = choices.max(values.len() as u64);
        if open {
            alone.extend(values);
        } else {
            // What many objects share; the others stand together, numbers as ranges.
            let often = |count: u64, of: u64| count >= LEAST_SHARED && count * most_values as u64 >= of;
            let common = |count: u64| often(count, known);
            let of_group = |code: u64, count: u64| {
                let here = of_suspects.get(&code).copied().unwrap_or(0);
                suspects > 0 && known > suspects && (often(here, suspects) || often(count - here, known - suspects))
            };
            let mut by_group: Vec<(u64, u64)> = Vec::new();
            for (code, count) in values {
                match () {
                    () if common(count) => alone.push((code, count)),
                    () if of_group(code, count) => by_group.push((code, count)),
                    () => {}
                }
            }
            by_group.sort_by_key(|(code, count)| (std::cmp::Reverse((of_suspects.get(code).copied(), *count)), *code));
            by_group.truncate(MOST_CHOSEN);
            for (code, _) in &by_group {
                chosen.entry(*code).or_insert(None);
            }
            alone.extend(by_group);
            if ordered {
                let stands: std::collections::HashSet<u64> =
                    alone.iter().map(|(code, _)| *code).filter(|code| !chosen.contains_key(code)).collect();
                ends = quantiles(cells, &stands);
            }
        }
        alone.sort_by_key(|(code, count)| (std::cmp::Reverse(*count), *code));
        alone.truncate(usize::from(NO_CODE) / 2);
        let mut categories: Vec<Category> = alone.iter().map(|(code, _)| Category::Value(*code)).collect();
        let first_range = categories.len() as u16;
        let mut low = 0;
        for high in &ends {
            categories.push(Category::Range(low, *high));
            low = high.saturating_add(1);
        }
        let other = categories.len() as u16;
        categories.push(Category::Other);
        let size = (alone.len() * 4).next_power_of_two().max(4);
        let shift = 64 - size.trailing_zeros();
        let slots = vec![(0, NO_CODE); size];
        let folds = Vec::new();
        let mut binning =
            Binning { categories, slots, shift, ends, first_range, other, distinct, open, folds, choices };
        for ((code, _), at) in alone.iter().zip(0u16..) {
            let slot = binning.slot(*code);
            if let Some(slot) = binning.slots.get_mut(slot) {
                *slot = (*code, at);
            }
        }
        for ((code, _), at) in alone.iter().zip(0u16..) {
            let otherwise = match chosen.get(code) {
                None => continue,
                Some(Some(parent)) => binning.code(Cell::Value(*parent)),
                Some(None) if binning.ends.is_empty() => other,
                Some(None) => binning.range_of(*code),
            };
            binning.folds.push((at, otherwise));
        }
        binning
    }

    /// The code of the range that a value is in; there is one.
    #[inline]
    fn range_of(&self, code: u64) -> u16 {
        // No branch a range: the ends are few.
        let at = self.ends.iter().map(|end| u16::from(*end < code)).sum::<u16>().min(self.ends.len() as u16 - 1);
        self.first_range + at
    }

    /// Codes that stand alone because one group has them often, each with the code that they would have otherwise.
    pub fn folds(&self) -> &[(u16, u16)] {
        &self.folds
    }

    /// Values among which those were chosen.
    pub fn choices(&self) -> u64 {
        self.choices
    }

    /// The slot that holds a value, or the empty one where it would be.
    #[inline]
    fn slot(&self, code: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = (code.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize & mask;
        // A quarter of the slots are taken at most: the search ends.
        while self.slots.get(at).is_some_and(|(known, is)| *is != NO_CODE && *known != code) {
            at = (at + 1) & mask;
        }
        at
    }

    /// The code of a value's category; [`NO_CODE`] for what is missing.
    #[inline]
    pub fn code(&self, cell: Cell) -> u16 {
        let code = match cell {
            Cell::Missing => return NO_CODE,
            Cell::Value(code) | Cell::Apart(code) => code,
        };
        match self.slots.get(self.slot(code)) {
            Some((_, at)) if *at != NO_CODE => return *at,
            _ => {}
        }
        if self.ends.is_empty() {
            return self.other;
        }
        self.range_of(code)
    }

    /// The categories, by code.
    pub fn categories(&self) -> &[Category] {
        &self.categories
    }

    /// The code of what is in no category of its own.
    pub fn other(&self) -> u16 {
        self.other
    }

    /// Whether values that the sample does not hold deserve categories of their own.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// How many different values the sample has; a lower bound where they are very many.
    pub fn distinct(&self) -> usize {
        self.distinct
    }

    /// The codes of ranges, from the least values to the greatest; empty where values stand alone.
    pub fn ranges(&self) -> std::ops::Range<u16> {
        self.first_range..self.first_range + self.ends.len() as u16
    }

    /// The categories with the outermost ranges brought to the least and the greatest value that there is.
    pub fn categories_within(&self, least: u64, greatest: u64) -> Vec<Category> {
        let mut categories = self.categories.clone();
        if let Some(Category::Range(low, _)) = categories.get_mut(usize::from(self.first_range)) {
            *low = least;
        }
        let last = self.ends.len().checked_sub(1).map(|last| usize::from(self.first_range) + last);
        if let Some(Category::Range(_, high)) = last.and_then(|last| categories.get_mut(last)) {
            *high = greatest;
        }
        categories
    }
}

/// Upper ends of ranges with about as many objects in each, but for those that stand alone.
fn quantiles(cells: &[Cell], alone: &std::collections::HashSet<u64>) -> Vec<u64> {
    let value = |cell: &Cell| match cell {
        Cell::Value(code) => (!alone.contains(code)).then_some(*code),
        _ => None,
    };
    let mut sample: Vec<u64> = cells.iter().filter_map(value).collect();
    sample.sort_unstable();
    let mut ends: Vec<u64> =
        (1..=RANGES).filter_map(|part| sample.get((sample.len() * part / RANGES).max(1) - 1).copied()).collect();
    ends.dedup();
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_as_many_objects_each_and_reach_past_the_sample() {
        let cells: Vec<Cell> = (100..1300).map(Cell::Value).collect();
        let binning = Binning::of_sample(&cells, &[], true, MOST_VALUES);
        assert_eq!((binning.ranges(), binning.distinct(), binning.is_open()), (0..12, 1200, false));
        let mut counts = [0; 12];
        cells.iter().for_each(|cell| counts[usize::from(binning.code(*cell))] += 1);
        assert_eq!(counts, [100; 12]);
        assert_eq!((binning.code(Cell::Value(0)), binning.code(Cell::Value(u64::MAX))), (0, 11));
        assert_eq!(binning.categories_within(3, 2000)[0], Category::Range(3, 199));
    }

    #[test]
    fn what_many_objects_of_one_group_share_stands_alone_among_many_values() {
        // 8080 is shared by many of all, 77 by the suspects alone.
        let cells: Vec<Cell> = (0..4000u64)
            .map(|at| match at {
                at if at % 10 == 0 => Cell::Value(8080),
                at if at % 400 == 1 => Cell::Value(77),
                at => Cell::Value(at + 100),
            })
            .collect();
        let suspect: Vec<bool> = (0..4000).map(|at| at % 200 == 1).collect();
        for ordered in [true, false] {
            let binning = Binning::of_sample(&cells, &suspect, ordered, MOST_VALUES);
            let code = |value| binning.code(Cell::Value(value));
            let alone = |value| binning.categories()[usize::from(code(value))] == Category::Value(value);
            assert!(alone(8080) && alone(77) && !alone(200), "{ordered}");
            let otherwise = if ordered { code(101) } else { binning.other() };
            assert_eq!(binning.folds(), [(code(77), otherwise)], "{ordered}");
        }
    }

    #[test]
    fn few_values_stand_alone() {
        let cells: Vec<Cell> = (0..90).map(|at| Cell::Value(at % 3 * 1000)).collect();
        let binning = Binning::of_sample(&cells, &[], true, MOST_VALUES);
        assert_eq!(binning.categories().len(), 4);
        assert_eq!(binning.categories()[usize::from(binning.code(Cell::Value(2000)))], Category::Value(2000));
        assert_eq!(binning.code(Cell::Value(7)), binning.other());
        assert_eq!(binning.code(Cell::Missing), NO_CODE);
    }
}
