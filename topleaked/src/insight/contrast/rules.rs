//! Short rules that cover most suspects and few others: subgroup discovery (Klösgen, 1996; Lavrač et al., 2004).
//!
//! Conditions are sets of objects. All pairs of them are tried, since two members that tell nothing alone may tell
//! everything together; from the best pairs a beam search goes to three conditions. The quality of a rule is its weighted
//! relative accuracy, coverage × (share of suspects in it − share of suspects overall), which is proportional to
//! (share of the suspects that it covers) − (share of the others that it covers); that form holds for a sample in which the groups
//! are not as large as in the whole. No rule that contains a pair covers more suspects than the pair: what could not beat the
//! beam with no others at all is not tried (optimistic bound).

use super::LEVEL;
use super::numeric::chi_square_tail;

/// Conditions in one rule.
const DEEPEST: usize = 3;
/// Rules that are followed at each depth.
const BEAM: usize = 64;
/// Rules that are handed back.
const MOST_RULES: usize = 5;
/// Rules that are held against the half that was kept back.
const MOST_TRIED: usize = 10;
/// A rule covers a share of the suspects that is greater by so much than that of the others.
const LEAST_QUALITY: f64 = 0.05;
/// A further condition adds so much.
const LEAST_GAIN: f64 = 0.02;
/// Two rules that share so much of what they cover are one.
const ALIKE: f64 = 0.9;
/// Each half has to hold so many of either group for one to be held back.
const LEAST_HALF: u64 = 50;

/// A set of objects, a bit each.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Objects(Vec<u64>);

impl Objects {
    /// The objects for which `holds`, of the first `count`.
    pub fn of(count: usize, holds: impl Fn(usize) -> bool) -> Objects {
        let mut words = vec![0u64; count.div_ceil(64)];
        for (at, word) in words.iter_mut().enumerate() {
            for bit in 0..64.min(count - at * 64) {
                *word |= u64::from(holds(at * 64 + bit)) << bit;
            }
        }
        Objects(words)
    }

    fn and(&self, other: &Objects) -> Objects {
        Objects(self.0.iter().zip(&other.0).map(|(a, b)| a & b).collect())
    }

    fn len(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    fn common(&self, other: &Objects) -> u64 {
        self.0.iter().zip(&other.0).map(|(a, b)| u64::from((a & b).count_ones())).sum()
    }
}

/// Something that holds of some objects.
#[derive(Clone, Debug)]
pub struct Condition {
    /// A rule has one condition a member, or two that bound it from both sides.
    pub member: usize,
    /// Conditions of one member and side exclude each other.
    pub side: u8,
    /// The objects for which it holds.
    pub objects: Objects,
}

/// Half of the objects, by group.
struct Half {
    suspects: Objects,
    reference: Objects,
    counts: (f64, f64),
}

impl Half {
    fn new(suspects: Objects, reference: Objects) -> Half {
        let counts = (suspects.len() as f64, reference.len() as f64);
        Half { suspects, reference, counts }
    }

    /// The shares of both groups.
    fn shares(&self, objects: &Objects) -> (f64, f64) {
        let share = |count: u64, of: f64| if of > 0.0 { count as f64 / of } else { 0.0 };
        (share(objects.common(&self.suspects), self.counts.0), share(objects.common(&self.reference), self.counts.1))
    }

    fn quality(&self, objects: &Objects) -> f64 {
        let (suspects, reference) = self.shares(objects);
        suspects - reference
    }
}

/// Rules as sets of indices into the conditions, best first. Where there are enough objects, rules are looked for in one
/// half and kept only where they hold in the other. They have `shortest` conditions at least. O(conditions² x objects / 64).
pub fn find_rules(conditions: &[Condition], suspect: &[bool], shortest: usize) -> Vec<Vec<usize>> {
    let count = suspect.len();
    let is = |at: usize| suspect.get(at).copied().unwrap_or(false);
    // The halves alternate over pairs, as suspects may alternate with others.
    let first = |at: usize| (at / 2).is_multiple_of(2);
    let half = |wanted: bool| {
        let suspects = Objects::of(count, |at| is(at) && first(at) == wanted);
        Half::new(suspects, Objects::of(count, |at| !is(at) && first(at) == wanted))
    };
    let (found_in, held_back) = (half(true), half(false));
    let enough = |half: &Half| half.counts.0.min(half.counts.1) as u64 >= LEAST_HALF;
    let (found_in, held_back) = match enough(&found_in) && enough(&held_back) {
        true => (found_in, Some(held_back)),
        false => (Half::new(Objects::of(count, is), Objects::of(count, |at| !is(at))), None),
    };
    let mut candidates = search(conditions, &found_in);
    candidates.sort_by(|a, b| b.quality.total_cmp(&a.quality).then(a.conditions.cmp(&b.conditions)));
    let tried = match held_back {
        Some(_) => MOST_TRIED as f64,
        None => (1..=DEEPEST).map(|depth| (conditions.len() as f64).powi(depth as i32)).sum(),
    };
    let mut rules: Vec<Candidate> = Vec::new();
    let mut left = held_back.as_ref().map_or(usize::MAX, |_| MOST_TRIED);
    for candidate in candidates {
        if rules.len() == MOST_RULES || left == 0 || candidate.quality < LEAST_QUALITY {
            break;
        }
        if candidate.conditions.len() < shortest {
            continue;
        }
        let alike = |rule: &Candidate| {
            let common = rule.objects.common(&candidate.objects) as f64;
            common >= ALIKE * (rule.objects.len() + candidate.objects.len()) as f64 - ALIKE * common
        };
        let half = held_back.as_ref().unwrap_or(&found_in);
        if rules.iter().any(alike) || !beats_its_parts(conditions, &candidate, &found_in) {
            continue;
        }
        // What was held back is looked at for these alone.
        left -= 1;
        let holds = || half.quality(&candidate.objects) >= candidate.quality / 2.0;
        let certain = || chance(half, &candidate.objects) * tried <= LEVEL / 5.0;
        if beats_its_parts(conditions, &candidate, half) && holds() && certain() {
            rules.push(candidate);
        }
    }
    rules.into_iter().map(|rule| rule.conditions).collect()
}

#[derive(Clone)]
struct Candidate {
    conditions: Vec<usize>,
    objects: Objects,
    quality: f64,
}

fn search(conditions: &[Condition], half: &Half) -> Vec<Candidate> {
    let single = |(at, condition): (usize, &Condition)| Candidate {
        conditions: vec![at],
        objects: condition.objects.clone(),
        quality: half.quality(&condition.objects),
    };
    let singles: Vec<Candidate> = conditions.iter().enumerate().map(single).collect();
    let reach: Vec<f64> = singles.iter().map(|single| half.shares(&single.objects).0).collect();
    let mut all = singles.clone();
    let mut level = singles;
    for depth in 2..=DEEPEST {
        let mut next: Vec<Candidate> = Vec::new();
        let mut least = 0.0;
        for rule in &level {
            let covered = half.shares(&rule.objects).0;
            let behind = match depth {
                2 => rule.conditions.first().map_or(0, |at| at + 1),
                _ => 0,
            };
            for (at, condition) in conditions.iter().enumerate().skip(behind) {
                let clashes = |other: &usize| {
                    conditions.get(*other).is_none_or(|other| {
                        other.member == condition.member
                            && (other.side == condition.side || condition.side == 0 || other.side == 0)
                    })
                };
                let bound = covered.min(reach.get(at).copied().unwrap_or(0.0));
                if bound <= least || rule.conditions.iter().any(clashes) {
                    continue;
                }
                let objects = rule.objects.and(&condition.objects);
                let quality = half.quality(&objects);
                if quality <= least {
                    continue;
                }
                let mut conditions = rule.conditions.clone();
                conditions.push(at);
                conditions.sort_unstable();
                next.push(Candidate { conditions, objects, quality });
                if next.len() >= 4 * BEAM {
                    least = keep_best(&mut next);
                }
            }
        }
        keep_best(&mut next);
        all.extend(next.iter().cloned());
        level = next;
    }
    all
}

/// Keeps a beam; hands back the quality that a further rule has to beat.
fn keep_best(rules: &mut Vec<Candidate>) -> f64 {
    rules.sort_by(|a, b| b.quality.total_cmp(&a.quality).then(a.conditions.cmp(&b.conditions)));
    rules.dedup_by(|a, b| a.conditions == b.conditions);
    rules.truncate(BEAM);
    if rules.len() == BEAM { rules.last().map_or(0.0, |rule| rule.quality) } else { 0.0 }
}

/// Whether each condition is needed: the rule is better than each shorter one that it contains.
fn beats_its_parts(conditions: &[Condition], rule: &Candidate, half: &Half) -> bool {
    let whole = (1u32 << rule.conditions.len()) - 1;
    (1..whole).all(|part| {
        let mut chosen = (rule.conditions.iter().enumerate())
            .filter(|(bit, _)| part >> bit & 1 == 1)
            .filter_map(|(_, at)| conditions.get(*at));
        let Some(first) = chosen.next() else { return true };
        let objects = chosen.fold(first.objects.clone(), |objects, condition| objects.and(&condition.objects));
        half.quality(&rule.objects) >= half.quality(&objects) + LEAST_GAIN
    })
}

/// The chance of such a difference where the rule tells nothing: the chi-square test with Yates' correction.
fn chance(half: &Half, objects: &Objects) -> f64 {
    let (a, b) = (objects.common(&half.suspects) as f64, objects.common(&half.reference) as f64);
    let (c, d) = (half.counts.0 - a, half.counts.1 - b);
    let all = a + b + c + d;
    let product = (a + b) * (c + d) * (a + c) * (b + d);
    if product <= 0.0 {
        return 1.0;
    }
    let distance = f64::max((a * d - b * c).abs() - all / 2.0, 0.0);
    chi_square_tail(all * distance * distance / product, 1)
}
