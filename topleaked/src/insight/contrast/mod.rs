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
/// With fewer parts of like age that hold objects of both groups nothing can be said.
const FEWEST_STRATA: usize = 3;
/// Standard deviations on both sides of 99 %.
const CERTAINLY: f64 = 2.576;
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
    /// Whether it is more than age cannot be told: too few objects of one age differ.
    pub may_be_age: bool,
    /// Whether it holds against all members tried together, and is large enough to matter. Set by [`rank`].
    pub significant: bool,
    /// It holds against all members tried together, but the groups differ too little to matter. Set by [`rank`].
    pub slight: bool,
    /// What best tells the suspects from the others.
    pub claim: Option<Claim>,
    /// How different the first and the last half of the objects are, by the same coefficient; 0 where that is not
    /// significant.
    pub drift: f64,
}

/// How the values of a claim are put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClaimKind {
    /// It is this value.
    Is,
    /// It is any but this value.
    IsNot,
    /// It is at most the greatest of these.
    AtMost,
    /// It is at least the least of these.
    AtLeast,
    /// It lies between the least and the greatest of these.
    Between,
}

/// What can be said of most suspects and of few others: of one value, of all but one, of numbers up to a bound.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// How it is put.
    pub kind: ClaimKind,
    /// The values that are named, in their order.
    pub categories: Vec<Category>,
    /// Suspects of which it holds.
    pub suspects: u64,
    /// Objects of the reference group of which it holds.
    pub reference: u64,
}

impl Claim {
    /// Whether it holds of a category of the table.
    pub fn holds(&self, category: Category) -> bool {
        self.categories.contains(&category) != (self.kind == ClaimKind::IsNot)
    }
}

/// What objects of like age say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Within {
    /// The groups differ there, too.
    Tells,
    /// They do not.
    TellsNot,
    /// There are too few of both groups to say.
    Unknown,
}

impl Assessment {
    /// Whether it tells, whatever the objects' age.
    pub fn tells(&self) -> bool {
        self.significant && !self.age_like && !self.across_age_only && !self.may_be_age
    }

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
    /// Their codes have the order of the values.
    pub ordered: bool,
    /// Categories that stand alone because one group has them often, each with the one that it belongs to otherwise. They
    /// are tested apart.
    pub folds: Vec<(u16, u16)>,
    /// Values among which those were chosen.
    pub choices: u64,
    /// Members of which this one was chosen by what it tells: its test is paid for by all.
    pub tried: u64,
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

    /// The chance and the score: categories that were chosen by how often one group has them count to the ones that they
    /// belong to otherwise, and are tested on their own, paid for by all values that could have been chosen.
    fn told(&self, sums: &[CategoryCount]) -> Told {
        let mut folded = sums.to_vec();
        let mut best: Option<(f64, CategoryCount)> = None;
        let (suspects, reference) = totals(sums);
        for (chosen, otherwise) in &self.folds {
            let (Some(from), Some(_)) =
                (folded.get(usize::from(*chosen)).copied(), folded.get(usize::from(*otherwise)))
            else {
                continue;
            };
            if let Some(into) = folded.get_mut(usize::from(*otherwise)) {
                (into.suspects, into.reference) = (into.suspects + from.suspects, into.reference + from.reference);
            }
            if let Some(from) = folded.get_mut(usize::from(*chosen)) {
                (from.suspects, from.reference) = (0, 0);
            }
            let p = exact(&from, suspects, reference) * self.choices.max(1) as f64;
            if best.as_ref().is_none_or(|(least, _)| p < *least) {
                best = Some((p, from));
            }
        }
        let whole = test(&folded);
        let Some((p, chosen)) = best else { return whole };
        let cells = [
            (chosen.suspects, chosen.reference),
            (suspects.saturating_sub(chosen.suspects), reference.saturating_sub(chosen.reference)),
        ];
        let (alone, _) = g_test(&cells, suspects, reference);
        let alone = alone / entropy(suspects, reference);
        Told {
            score: if p < whole.p { whole.score.max(alone.clamp(0.0, 1.0)) } else { whole.score },
            p: (2.0 * p.min(whole.p)).min(1.0),
        }
    }

    /// What best tells the suspects from the others: one value, all but one, or of many numbers those up to a bound.
    fn claim(&self, counts: &[CategoryCount], suspects: u64, reference: u64) -> Option<Claim> {
        let gain = |a: u64, b: u64| share(a, suspects) - share(b, reference);
        let claim = |kind, categories: &[&CategoryCount]| {
            let (a, b) = categories.iter().fold((0, 0), |(a, b), of| (a + of.suspects, b + of.reference));
            let (a, b) = if kind == ClaimKind::IsNot { (suspects - a, reference - b) } else { (a, b) };
            let categories = categories.iter().map(|of| of.category).collect();
            Claim { kind, categories, suspects: a, reference: b }
        };
        let better = |a: &Claim, b: &Claim, by: f64| gain(a.suspects, a.reference) > gain(b.suspects, b.reference) + by;
        let mut best: Option<Claim> = None;
        for count in counts {
            let is = claim(ClaimKind::Is, &[count]);
            if best.as_ref().is_none_or(|best| better(&is, best, 0.0)) {
                best = Some(is);
            }
        }
        // What the suspects lack, where that says more. Of two values, one not is the other.
        if counts.len() > 2 {
            for count in counts.iter().filter(|count| matches!(count.category, Category::Value(_))) {
                let lacks = claim(ClaimKind::IsNot, &[count]);
                if best.as_ref().is_none_or(|best| better(&lacks, best, LEAST_DIFFERENCE)) {
                    best = Some(lacks);
                }
            }
        }
        if self.ordered {
            let start = |count: &&CategoryCount| match count.category {
                Category::Value(code) | Category::Range(code, _) => Some(code),
                Category::Other => None,
            };
            let mut row: Vec<&CategoryCount> = counts.iter().filter(|count| start(count).is_some()).collect();
            row.sort_by_key(start);
            // The neighbours with the greatest gain: what is gained so far, begun anew where it would be less than nothing.
            let (mut from, mut sum, mut run, mut most) = (0, 0.0, 0..0, 0.0);
            for (at, count) in row.iter().enumerate() {
                if sum <= 0.0 {
                    (from, sum) = (at, 0.0);
                }
                sum += gain(count.suspects, count.reference);
                if sum > most {
                    (run, most) = (from..at + 1, sum);
                }
            }
            let kind = match (run.start == 0, run.end == row.len()) {
                (true, _) => ClaimKind::AtMost,
                (_, true) => ClaimKind::AtLeast,
                _ => ClaimKind::Between,
            };
            if run.len() > 1 && run.len() < row.len() {
                let run = claim(kind, row.get(run).unwrap_or_default());
                if best.as_ref().is_none_or(|best| better(&run, best, LEAST_DIFFERENCE)) {
                    best = Some(run);
                }
            }
        }
        best
    }

    /// What the member tells. Where all objects are of one group, only the counts and the drift mean something.
    pub fn assess(&self) -> Assessment {
        let sums = self.sums();
        let (suspects, reference) = totals(&sums);
        let told = self.told(&sums);
        let mut counts = sums;
        counts.retain(|count| count.total() > 0);
        counts.sort_by_key(|count| (std::cmp::Reverse((count.suspects, count.reference)), count.category));
        let claim = self.claim(&counts, suspects, reference);
        let mut assessment = Assessment {
            counts,
            suspects,
            reference,
            score: told.score,
            p: (told.p * self.tried.max(1) as f64).min(1.0),
            age_like: false,
            across_age_only: false,
            may_be_age: false,
            significant: false,
            slight: false,
            claim,
            drift: 0.0,
        };
        if told.p < LEVEL
            && self.strata.len() > 1
            && let Some(claim) = &assessment.claim
        {
            let holds: Vec<bool> = self.categories.iter().map(|category| claim.holds(*category)).collect();
            let overall = share(claim.suspects, suspects) - share(claim.reference, reference);
            let within = self.tells_within(&holds, overall, assessment.counts.len());
            assessment.across_age_only = within == Within::TellsNot;
            assessment.may_be_age = within == Within::Unknown;
        }
        let drift = test(&self.halves());
        if drift.p < LEVEL / 10.0 && drift.score >= LEAST_SCORE {
            assessment.drift = drift.score;
        }
        assessment
    }

    /// Whether among objects of like age what holds of some categories says something about the group: the test of Cochran,
    /// Mantel and Haenszel with the correction for continuity. It has to be certain even if paid for by the `tried` categories
    /// of which these were chosen, or about as large as over all objects (`overall`): a difference that age makes shrinks. The
    /// stratum that speaks loudest is left out: the edge of an age that falls into a stratum looks like a cause within it. And
    /// the difference has to matter, since within strata some age is left, and among millions of objects it is significant.
    fn tells_within(&self, holds: &[bool], overall: f64, tried: usize) -> Within {
        // Of each stratum: difference from what is expected, its variance, weights of the risk difference and of the odds.
        let mut parts: Vec<[f64; 5]> = Vec::new();
        for stratum in &self.strata {
            let add = |[a, b]: [u64; 2], [c, d]: &[u64; 2]| [a + c, b + d];
            let [suspects, reference] = stratum.iter().fold([0, 0], add).map(|n| n as f64);
            let with = stratum.iter().zip(holds).filter(|(_, holds)| **holds);
            let [a, b] = with.map(|(cell, _)| cell).fold([0, 0], add).map(|n| n as f64);
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
        if parts.len() < FEWEST_STRATA {
            return Within::Unknown;
        }
        if let Some(loudest) = loudest {
            parts.swap_remove(loudest);
        }
        let [difference, variance, weight, odds, against] =
            parts.iter().fold([0.0f64; 5], |sum, part| std::array::from_fn(|at| sum[at] + part[at]));
        if variance <= 0.0 {
            return Within::Unknown;
        }
        let distance = f64::max(difference.abs() - 0.5, 0.0);
        let p = chi_square_tail(distance * distance / variance, 1);
        let risk = difference / weight;
        let as_large = risk * overall > 0.0 && risk.abs() >= overall.abs() / 2.0;
        let odds = if against > 0.0 { odds / against } else { f64::INFINITY };
        let matters = risk.abs() >= LEAST_DIFFERENCE || !(1.0 / LEAST_ODDS..LEAST_ODDS).contains(&odds);
        if matters && (p * tried as f64 <= LEVEL || (as_large && p <= LEVEL)) {
            return Within::Tells;
        }
        // At 99 %: what is there at most is less than half of what is to be explained.
        match risk.abs() + CERTAINLY * variance.sqrt() / weight < overall.abs() / 2.0 || !matters && p <= LEVEL {
            true => Within::TellsNot,
            false => Within::Unknown,
        }
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
    let entropy = entropy(suspects, reference);
    let score = |information: f64| (information / entropy).clamp(0.0, 1.0);
    let best =
        rare.iter().map(|count| (exact(count, suspects, reference), pair(count))).min_by(|a, b| a.0.total_cmp(&b.0));
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

/// What there is to know about the group of an object, in nats.
fn entropy(suspects: u64, reference: u64) -> f64 {
    let all = suspects + reference;
    -[suspects, reference].map(|n| share(n, all) * share(n, all).ln()).iter().sum::<f64>()
}

/// The chance of so uneven a category, both ways.
fn exact(count: &CategoryCount, suspects: u64, reference: u64) -> f64 {
    let all = suspects + reference;
    let upper = count.suspects as f64 * all as f64 >= count.total() as f64 * suspects as f64;
    2.0 * fisher_tail(all, suspects, count.total(), count.suspects, upper)
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
            assessment.slight = !assessment.significant;
        }
    }
    let mut order: Vec<usize> = (0..assessments.len()).collect();
    let class = |assessment: &Assessment| match assessment {
        Assessment { significant: false, .. } => 4,
        Assessment { age_like: true, .. } => 3,
        Assessment { across_age_only: true, .. } => 2,
        Assessment { may_be_age: true, .. } => 1,
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
