//! How much a member's value tells about the group that an object is in: statistics alone.
//!
//! Knows categories, two groups or one, and strata of like age. Refuses to know what a category stands for, and where it came
//! from.
//!
//! Values become categories by a [`Binning`]. For each member a [`Table`] counts category by group by stratum, and
//! [`Table::assess`] says what it tells: mutual information with the correction of Miller and Madow (1955), a G-test,
//! corrected over all members tried by Holm's procedure (1979) in [`rank`]. Leaks pile up over time, so whatever grows with
//! time separates the groups as well: members that follow the order of the objects ([`correlation`]) are told apart
//! ([`Assessment::age_like`]), and others have to tell within strata of like age too (Cochran, Mantel and Haenszel, 1959;
//! [`Assessment::across_age_only`]). Members that [`tell_the_same`] stand together; [`find_rules`] combines members.

mod bins;
mod numeric;
mod order;
mod rules;
mod same;
#[cfg(test)]
mod tests;

pub use bins::{Binning, MOST_VALUES, NO_CODE};
pub use order::correlation;
pub use rules::{Condition, Objects, find_rules};
pub use same::tell_the_same;

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
/// Parts of like age within which a member has to tell.
pub const STRATA: usize = 16;
/// Rank correlation with the order of the objects from which a member is taken for an age.
pub const AGE: f64 = 0.8;
/// Numbers with fewer values are no age: a state also changes with time.
pub const FEWEST_AGES: usize = 17;
/// Odds that differ by such a factor within strata are worth a word.
const LEAST_ODDS: f64 = 2.0;
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
    /// It follows the order of the objects. Set by whoever knows their order.
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

/// One member's values, counted by category, group and stratum.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Table {
    /// What is counted.
    pub categories: Vec<Category>,
    /// By stratum, in the order of age, and by category: suspects and reference group. Not all strata have all categories.
    pub strata: Vec<Vec<[u64; 2]>>,
}

impl Table {
    fn sums(&self) -> Vec<CategoryCount> {
        let sum = |at: usize| {
            let cells = self.strata.iter().filter_map(|stratum| stratum.get(at));
            cells.fold([0, 0], |[a, b], [c, d]| [a + c, b + d])
        };
        let count = |(at, category): (usize, &Category)| {
            let [suspects, reference] = sum(at);
            CategoryCount { category: *category, suspects, reference }
        };
        self.categories.iter().enumerate().map(count).collect()
    }

    /// The first half of the strata against the second.
    fn halves(&self) -> Vec<CategoryCount> {
        let (early, late) = self.strata.split_at(self.strata.len() / 2);
        let sum = |half: &[Vec<[u64; 2]>], at: usize| -> u64 {
            half.iter().filter_map(|stratum| stratum.get(at)).map(|[a, b]| a + b).sum()
        };
        let count = |(at, category): (usize, &Category)| CategoryCount {
            category: *category,
            suspects: sum(early, at),
            reference: sum(late, at),
        };
        self.categories.iter().enumerate().map(count).collect()
    }

    /// What the member tells. Where all objects are of one group, only the counts and the drift mean something.
    pub fn assess(&self) -> Assessment {
        let sums = self.sums();
        let (suspects, reference) = totals(&sums);
        let told = test(&sums);
        let mut counts = sums;
        counts.retain(|count| count.total() > 0);
        counts.sort_by_key(|count| (std::cmp::Reverse((count.suspects, count.reference)), count.category));
        let mut assessment = Assessment {
            counts,
            suspects,
            reference,
            score: told.score,
            p: told.p,
            age_like: false,
            across_age_only: false,
            significant: false,
            drift: 0.0,
        };
        if told.p < LEVEL
            && self.strata.len() > 1
            && let Some(best) = assessment.telling()
            && let Some(at) = self.categories.iter().position(|category| *category == best.category)
        {
            assessment.across_age_only = !self.tells_within(at, assessment.counts.len());
        }
        let drift = test(&self.halves());
        if drift.p < LEVEL / 10.0 && drift.score >= LEAST_SCORE {
            assessment.drift = drift.score;
        }
        assessment
    }

    /// Whether among objects of like age having a category says something about the group: the test of Cochran, Mantel and
    /// Haenszel with the correction for continuity, paid for by the `tried` categories of which this one was chosen. The
    /// stratum that speaks loudest is left out: the edge of an age that falls into a stratum looks like a cause within it. And
    /// the difference has to matter, since within strata some age is left, and among millions of objects it is significant.
    fn tells_within(&self, category: usize, tried: usize) -> bool {
        // Of each stratum: difference from what is expected, its variance, weights of the risk difference and of the odds.
        let mut parts: Vec<[f64; 5]> = Vec::new();
        for stratum in &self.strata {
            let [suspects, reference] = stratum.iter().fold([0, 0], |[a, b], [c, d]| [a + c, b + d]).map(|n| n as f64);
            let [a, b] = stratum.get(category).copied().unwrap_or_default().map(|n| n as f64);
            let (all, with) = (suspects + reference, a + b);
            if all > 1.0 && suspects > 0.0 && reference > 0.0 {
                let difference = a - with * suspects / all;
                let variance = with * (all - with) * suspects * reference / (all * all * (all - 1.0));
                let (c, d) = (suspects - a, reference - b);
                parts.push([difference, variance, suspects * reference / all, a * d / all, b * c / all]);
            }
        }
        let loudest = (0..parts.len()).max_by(|a, b| {
            let loud = |at: &usize| parts.get(*at).map_or(0.0, |part| part[0].abs());
            loud(a).total_cmp(&loud(b))
        });
        if let Some(loudest) = loudest {
            parts.swap_remove(loudest);
        }
        let [difference, variance, weight, odds, against] =
            parts.iter().fold([0.0f64; 5], |sum, part| std::array::from_fn(|at| sum[at] + part[at]));
        if variance <= 0.0 {
            return false;
        }
        let distance = f64::max(difference.abs() - 0.5, 0.0);
        let certain = chi_square_tail(distance * distance / variance, 1) * tried as f64 <= LEVEL;
        let odds = if against > 0.0 { odds / against } else { f64::INFINITY };
        certain && ((difference / weight).abs() >= LEAST_DIFFERENCE || !(1.0 / LEAST_ODDS..LEAST_ODDS).contains(&odds))
    }
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
