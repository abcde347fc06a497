//! How much a member's value tells about the group that an object is in: statistics alone.
//!
//! Knows columns of codes and two groups, or one. Refuses to know what a code stands for, and where it came from.
//!
//! For each member a table of category by group ([`Column::assess`]): mutual information with the correction of Miller and
//! Madow (1955), a G-test, corrected over all members tried by Holm's procedure (1979) in [`rank`]. Leaks pile up over
//! time, so whatever grows with time separates the groups as well: members that follow the order of the objects are told
//! apart ([`Assessment::age_like`]), and others have to tell within parts of that order too (Cochran, Mantel and
//! Haenszel, 1959; [`Assessment::across_age_only`]).

mod bins;
mod numeric;
#[cfg(test)]
mod tests;

use bins::{Sorted, sort_into_categories};
use numeric::{chi_square_tail, fisher_tail};

/// A member that is found to tell is wrong with this chance, over all members together.
pub const LEVEL: f64 = 0.05;
/// A member that tells has at least this score. Among millions of objects the smallest difference is significant.
pub const LEAST_SCORE: f64 = 0.02;
/// A member that tells has a value whose shares differ by so much, or by a factor of two.
const LEAST_DIFFERENCE: f64 = 0.05;
/// A difference by a factor counts where so many suspects have the value.
const LEAST_SUPPORT: u64 = 5;
/// Categories that are expected less often in a group are put together.
const LEAST_EXPECTED: f64 = 5.0;
/// Parts of the objects' order within which a member has to tell.
const STRATA: usize = 8;
/// Rank correlation with the order of the objects from which a member is taken for an age.
const AGE: f64 = 0.8;
/// Numbers with fewer values are no age: a state also changes with time.
const FEWEST_AGES: usize = 17;
/// Objects that the rank correlation is taken over, evenly spread.
const MOST_RANKED: usize = 100_000;
/// Objects of one group that share a value to this degree are as good as constant.
const CONSTANT: f64 = 0.995;

/// The value of a member in one object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cell {
    /// Not in the dump: never evidence.
    Missing,
    /// A value by its code. The codes of an ordered column have the values' order.
    Value(u64),
    /// The same for a value that is never put into a range with others: 0, −1, all ones, absent.
    Apart(u64),
}

/// What objects have in common in one member.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Category {
    /// One value.
    Value(u64),
    /// Values from the first to the last, both included.
    Range(u64, u64),
    /// All values that are too rare to count alone.
    Other,
}

/// One member's values in all objects, in the order of the objects' addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    /// A cell an object.
    pub cells: Vec<Cell>,
    /// Whether greater codes are greater values.
    pub ordered: bool,
}

/// How often a category is in each group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CategoryCount {
    /// Which.
    pub category: Category,
    /// In the suspects.
    pub suspects: u64,
    /// In the reference group.
    pub reference: u64,
}

impl CategoryCount {
    fn total(&self) -> u64 {
        self.suspects + self.reference
    }
}

/// What one member tells.
#[derive(Clone, PartialEq, Debug)]
pub struct Assessment {
    /// All categories, most suspects first, then most in the reference group, then by category.
    pub counts: Vec<CategoryCount>,
    /// Suspects whose value is known.
    pub suspects: u64,
    /// Objects of the reference group whose value is known.
    pub reference: u64,
    /// The uncertainty coefficient, 0 to 1: which part of what there is to know about the group the member tells. Of one
    /// group alone 0.
    pub score: f64,
    /// The chance of such a table where the member tells nothing; for this member alone.
    pub p: f64,
    /// It follows the order of the objects.
    pub age_like: bool,
    /// It tells about the groups, but not among objects of the same age.
    pub across_age_only: bool,
    /// Whether it holds against all members tried together, and is large enough to matter. Set by [`rank`].
    pub significant: bool,
    /// How different the first and the last half of the objects are, by the same coefficient; 0 where that is not
    /// significant.
    pub drift: f64,
}

impl Assessment {
    /// The category that is more frequent among the suspects than in the reference group by the most.
    pub fn telling(&self) -> Option<CategoryCount> {
        let gain =
            |count: &CategoryCount| share(count.suspects, self.suspects) - share(count.reference, self.reference);
        self.counts.iter().rev().max_by(|a, b| gain(a).total_cmp(&gain(b))).copied()
    }

    /// The most frequent category of all objects, and how many have it.
    pub fn most_frequent(&self) -> Option<(Category, u64)> {
        let most = self.counts.iter().rev().max_by_key(|count| count.total())?;
        Some((most.category, most.total()))
    }

    /// Whether all objects, or all but a handful in a thousand, have one value.
    pub fn is_constant(&self) -> bool {
        let all = self.suspects + self.reference;
        self.most_frequent()
            .is_none_or(|(category, count)| matches!(category, Category::Value(_)) && share(count, all) >= CONSTANT)
    }

    /// Of one group alone: how much of the objects one value has, beyond what is `usual` for members of this kind
    /// (both as shares), 0 to 1.
    pub fn concentration(&self, usual: f64) -> f64 {
        let most = self.most_frequent().map_or(0.0, |(category, count)| match category {
            Category::Value(_) => share(count, self.suspects + self.reference),
            Category::Range(..) | Category::Other => 0.0,
        });
        ((most - usual) / (1.0 - usual)).clamp(0.0, 1.0)
    }

    /// Whether the difference is large enough to speak of.
    fn matters(&self) -> bool {
        let differs = |count: &CategoryCount| {
            let (a, b) = (share(count.suspects, self.suspects), share(count.reference, self.reference));
            let twice =
                (count.suspects >= LEAST_SUPPORT && a >= 2.0 * b) || (count.reference >= LEAST_SUPPORT && b >= 2.0 * a);
            (a - b).abs() >= LEAST_DIFFERENCE || twice
        };
        self.score >= LEAST_SCORE && self.counts.iter().any(differs)
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl Column {
    /// Holds the column against the groups: for each object whether it is a suspect. Where all are or none is, only the
    /// counts mean something.
    pub fn assess(&self, suspect: &[bool]) -> Assessment {
        let sorted = sort_into_categories(self);
        let table = sorted.table(suspect);
        let (suspects, reference) = totals(&table);
        let told = test(&table);
        let age_like = self.is_age_like(&sorted);
        let mut counts = table;
        counts.retain(|count| count.total() > 0);
        counts.sort_by_key(|count| (std::cmp::Reverse((count.suspects, count.reference)), count.category));
        let mut assessment = Assessment {
            counts,
            suspects,
            reference,
            score: told.score,
            p: told.p,
            age_like,
            across_age_only: false,
            significant: false,
            drift: 0.0,
        };
        if told.p < LEVEL
            && let Some(best) = assessment.telling()
        {
            // The category was chosen among all.
            let within = within_strata(&sorted, suspect, best.category) * assessment.counts.len() as f64;
            assessment.across_age_only = within > LEVEL;
        }
        let half = suspect.len() / 2;
        let late: Vec<bool> = (0..suspect.len()).map(|at| at >= half).collect();
        let drift = test(&sorted.table(&late));
        if drift.p < LEVEL / 10.0 && drift.score >= LEAST_SCORE {
            assessment.drift = drift.score;
        }
        assessment
    }

    /// Spearman's rank correlation with the order of the objects.
    fn is_age_like(&self, sorted: &Sorted) -> bool {
        if !self.ordered || sorted.distinct < FEWEST_AGES {
            return false;
        }
        let step = self.cells.len().div_ceil(MOST_RANKED).max(1);
        let values: Vec<u64> = (self.cells.iter().step_by(step))
            .filter_map(|cell| match cell {
                Cell::Value(code) => Some(*code),
                _ => None,
            })
            .collect();
        // An age has a value nearly everywhere.
        values.len() * step * 10 >= self.cells.len() * 8 && spearman(&values).abs() > AGE
    }
}

/// The rank correlation of values with their own order; equal values share their mean rank.
fn spearman(values: &[u64]) -> f64 {
    let n = values.len();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by_key(|at| values.get(*at).copied());
    let middle = (n as f64 - 1.0) / 2.0;
    let (mut product, mut square_rank, mut square_place) = (0.0, 0.0, 0.0);
    let mut from = 0;
    for run in order.chunk_by(|a, b| values.get(*a) == values.get(*b)) {
        let rank = from as f64 + (run.len() as f64 - 1.0) / 2.0 - middle;
        for place in run {
            let place = *place as f64 - middle;
            product += rank * place;
            square_rank += rank * rank;
            square_place += place * place;
        }
        from += run.len();
    }
    let scale = (square_rank * square_place).sqrt();
    if scale > 0.0 { product / scale } else { 0.0 }
}

fn totals(table: &[CategoryCount]) -> (u64, u64) {
    table.iter().fold((0, 0), |(a, b), count| (a + count.suspects, b + count.reference))
}

struct Told {
    score: f64,
    p: f64,
}

/// The score and the chance of a table. Rare categories are put together; the one among them that differs most is tested on
/// its own, exactly, and both tests pay for it.
fn test(table: &[CategoryCount]) -> Told {
    let (suspects, reference) = totals(table);
    let all = suspects + reference;
    let none = Told { score: 0.0, p: 1.0 };
    if suspects == 0 || reference == 0 {
        return none;
    }
    let least = LEAST_EXPECTED * all as f64 / suspects.min(reference) as f64;
    let (rare, common): (Vec<&CategoryCount>, Vec<&CategoryCount>) =
        table.iter().filter(|count| count.total() > 0).partition(|count| (count.total() as f64) < least);
    let pair = |count: &CategoryCount| (count.suspects, count.reference);
    let mut cells: Vec<(u64, u64)> = common.iter().map(|count| pair(count)).collect();
    let rest = rare.iter().fold((0, 0), |(a, b), count| (a + count.suspects, b + count.reference));
    if rest != (0, 0) {
        cells.push(rest);
        // Still too rare together: they join the rarest of the others.
        if ((rest.0 + rest.1) as f64) < least && cells.len() > 1 {
            cells.pop();
            if let Some(rarest) = cells.iter_mut().min_by_key(|(a, b)| a + b) {
                *rarest = (rarest.0 + rest.0, rarest.1 + rest.1);
            }
        }
    }
    let (information, p) = g_test(&cells, suspects, reference);
    let entropy = -[suspects, reference].map(|n| share(n, all) * share(n, all).ln()).iter().sum::<f64>();
    let score = |information: f64| (information / entropy).clamp(0.0, 1.0);
    let exact = |count: &CategoryCount| {
        let upper = count.suspects as f64 * all as f64 >= count.total() as f64 * suspects as f64;
        2.0 * fisher_tail(all, suspects, count.total(), count.suspects, upper)
    };
    let best = rare.iter().map(|count| (exact(count), pair(count))).min_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        None => Told { score: score(information), p },
        Some((exact, (a, b))) => {
            let exact = (exact * rare.len() as f64).min(1.0);
            let (alone, _) = g_test(&[(a, b), (suspects - a, reference - b)], suspects, reference);
            Told {
                score: score(if exact < p { information.max(alone) } else { information }),
                p: (2.0 * p.min(exact)).min(1.0),
            }
        }
    }
}

/// Mutual information in nats, corrected for its bias, and the chance of the G-test.
fn g_test(cells: &[(u64, u64)], suspects: u64, reference: u64) -> (f64, f64) {
    let all = (suspects + reference) as f64;
    let mut information = 0.0;
    for (a, b) in cells {
        for (count, group) in [(*a, suspects), (*b, reference)] {
            if count > 0 {
                let count = count as f64;
                information += count / all * (count * all / ((a + b) as f64 * group as f64)).ln();
            }
        }
    }
    let degrees = cells.len().saturating_sub(1) as u64;
    let p = chi_square_tail(2.0 * all * information.max(0.0), degrees);
    ((information - degrees as f64 / (2.0 * all)).max(0.0), p)
}

/// The chance of what is seen where, among objects of like age, having the category says nothing about the group: the test of
/// Cochran, Mantel and Haenszel with the correction for continuity.
fn within_strata(sorted: &Sorted, suspect: &[bool], category: Category) -> f64 {
    let size = suspect.len().div_ceil(STRATA).max(1);
    let (mut difference, mut variance) = (0.0, 0.0);
    for (part, groups) in sorted.of_each.chunks(size).zip(suspect.chunks(size)) {
        let (mut with, mut in_suspects, mut both, mut all) = (0.0, 0.0, 0.0, 0.0);
        for (of, suspect) in part.iter().zip(groups) {
            let Some(of) = sorted.category(*of) else { continue };
            let has = of == category;
            all += 1.0;
            with += f64::from(has);
            in_suspects += f64::from(*suspect);
            both += f64::from(has && *suspect);
        }
        if all > 1.0 {
            difference += both - with * in_suspects / all;
            variance += with * (all - with) * in_suspects * (all - in_suspects) / (all * all * (all - 1.0));
        }
    }
    if variance <= 0.0 {
        return 1.0;
    }
    let distance: f64 = f64::max(difference.abs() - 0.5, 0.0);
    chi_square_tail(distance * distance / variance, 1)
}

/// Decides which members tell, all of them together (Holm), and hands back their order: what tells first, by score;
/// then what tells only across ages, then ages, then the rest.
pub fn rank(assessments: &mut [Assessment]) -> Vec<usize> {
    let mut by_p: Vec<usize> = (0..assessments.len()).collect();
    let p = |at: &usize| assessments.get(*at).map_or(1.0, |assessment| assessment.p);
    by_p.sort_by(|a, b| p(a).total_cmp(&p(b)).then(a.cmp(b)));
    let tried = by_p.len();
    let holds: Vec<usize> = (by_p.into_iter().enumerate())
        .take_while(|(place, at)| p(at) * (tried - place) as f64 <= LEVEL)
        .map(|(_, at)| at)
        .collect();
    for at in holds {
        if let Some(assessment) = assessments.get_mut(at) {
            assessment.significant = assessment.matters();
        }
    }
    let mut order: Vec<usize> = (0..assessments.len()).collect();
    let class = |assessment: &Assessment| match assessment {
        Assessment { significant: false, .. } => 3,
        Assessment { age_like: true, .. } => 2,
        Assessment { across_age_only: true, .. } => 1,
        _ => 0,
    };
    order.sort_by(|a, b| match (assessments.get(*a), assessments.get(*b)) {
        (Some(left), Some(right)) => {
            class(left).cmp(&class(right)).then(right.score.total_cmp(&left.score)).then(a.cmp(b))
        }
        _ => a.cmp(b),
    });
    order
}
