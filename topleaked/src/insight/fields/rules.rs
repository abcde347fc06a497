//! Combinations of members that cover most suspects and few others.

use crate::task::Task;

use super::super::contrast::{Category, Condition, NO_CODE, Objects, find_rules};
use super::column::Column;
use super::read::Class;
use super::{FieldMember, Meaning, Study, sweep};

/// Members that are combined.
const MOST_MEMBERS: usize = 24;
/// Conditions of one member.
const MOST_CONDITIONS: usize = 10;
/// Members among which pairs are looked for that tell together what neither tells alone.
const MOST_PAIRED: usize = 96;
/// Objects over which pairs are held together.
const MOST_PAIRED_OBJECTS: usize = 4096;
/// Codes of one member that are told apart in a pair.
const MOST_PAIRED_CODES: usize = 16;

/// How a member's value is tested.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RuleTest {
    /// It is this value.
    Is,
    /// It is not this value.
    IsNot,
    /// It is this value or less.
    AtMost,
    /// It is more than this value.
    Above,
}

/// One condition of a rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleCondition {
    /// The member, by its id in the study.
    pub member: usize,
    /// How it is tested.
    pub test: RuleTest,
    /// Against what.
    pub value: Meaning,
    /// By code, whether it holds.
    codes: Vec<bool>,
}

/// Conditions that all have to hold, and what they cover.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldRule {
    /// At most three.
    pub conditions: Vec<RuleCondition>,
    /// Suspects for which all hold.
    pub suspects: u64,
    /// Objects of the reference group for which all hold.
    pub reference: u64,
}

impl Study<'_> {
    /// Rules over the members, best first; each is looked for in a sample, held against the other half of it where there is
    /// enough, and counted over all objects. Ages are left out, and whatever tells through age alone. They have `shortest` conditions
    /// at least. None where there is one group.
    pub fn rules(&self, members: &[FieldMember], shortest: usize, task: &Task) -> Vec<FieldRule> {
        if self.is_one_group() {
            return Vec::new();
        }
        let chosen = self.choose(members);
        let mut conditions: Vec<RuleCondition> = Vec::new();
        for id in &chosen {
            if let Some(column) = self.columns.get(*id) {
                conditions.extend(self.conditions(*id, column));
            }
        }
        let size = self.sample_suspect.len();
        let holds = |condition: &RuleCondition, at: usize| {
            let code = self.columns.get(condition.member).and_then(|column| column.sample_codes.get(at));
            code.and_then(|code| condition.codes.get(usize::from(*code))).copied().unwrap_or(false)
        };
        let sets: Vec<Condition> = (conditions.iter())
            .map(|condition| Condition {
                member: condition.member,
                side: match condition.test {
                    RuleTest::Is | RuleTest::IsNot => 0,
                    RuleTest::AtMost => 1,
                    RuleTest::Above => 2,
                },
                objects: Objects::of(size, |at| holds(condition, at)),
            })
            .collect();
        let found = find_rules(&sets, &self.sample_suspect, shortest);
        let rules = found.into_iter().map(|rule| FieldRule {
            conditions: rule.iter().filter_map(|at| conditions.get(*at)).cloned().collect(),
            suspects: 0,
            reference: 0,
        });
        self.count_rules(rules.collect(), task)
    }

    /// What tells, then what tells together with another, then the rest; no ages, no constants.
    fn choose(&self, members: &[FieldMember]) -> Vec<usize> {
        let usable = |member: &&FieldMember| {
            let assessment = &member.assessment;
            let of_age = assessment.age_like || assessment.across_age_only || assessment.may_be_age;
            !of_age && !assessment.is_constant() && member.same_as.is_none()
        };
        let mut chosen: Vec<usize> = members.iter().filter(usable).map(|member| member.id).collect();
        if chosen.len() > MOST_MEMBERS {
            let telling = members.iter().filter(usable).take_while(|member| member.assessment.significant).count();
            let alone: Vec<usize> = chosen.iter().copied().take(telling.min(MOST_MEMBERS / 2)).collect();
            let mut pairs = self.paired(&chosen);
            pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let all = chosen.clone();
            chosen = alone;
            for id in pairs.into_iter().flat_map(|(_, (a, b))| [a, b]).chain(all) {
                if chosen.len() < MOST_MEMBERS && !chosen.contains(&id) {
                    chosen.push(id);
                }
            }
        }
        chosen
    }

    /// What each pair of members tells together beyond what its better one tells.
    fn paired(&self, ids: &[usize]) -> Vec<(f64, (usize, usize))> {
        let step = self.sample_suspect.len().div_ceil(MOST_PAIRED_OBJECTS).max(1);
        let suspect: Vec<bool> = self.sample_suspect.iter().step_by(step).copied().collect();
        let codes: Vec<(usize, Vec<usize>)> = (ids.iter().take(MOST_PAIRED))
            .filter_map(|id| {
                let codes = self.columns.get(*id)?.sample_codes.iter().step_by(step);
                Some((*id, codes.map(|code| usize::from(*code).min(MOST_PAIRED_CODES - 1)).collect()))
            })
            .collect();
        let information = |code: &dyn Fn(usize) -> usize, width: usize| {
            let mut counts = vec![[0.0f64; 2]; width];
            for (at, suspect) in suspect.iter().enumerate() {
                if let Some(count) = counts.get_mut(code(at)) {
                    count[usize::from(*suspect)] += 1.0;
                }
            }
            let groups = counts.iter().fold([0.0; 2], |[a, b], [c, d]| [a + c, b + d]);
            let all = groups[0] + groups[1];
            let mut bits = 0.0;
            let mut used = 0usize;
            for count in &counts {
                let row = count[0] + count[1];
                used += usize::from(row > 0.0);
                for (cell, group) in count.iter().zip(groups) {
                    if *cell > 0.0 {
                        bits += cell / all * (cell * all / (row * group)).ln();
                    }
                }
            }
            bits - used.saturating_sub(1) as f64 / (2.0 * all.max(1.0))
        };
        let of = |codes: &[usize], at: usize| codes.get(at).copied().unwrap_or(0);
        let alone: Vec<f64> =
            codes.iter().map(|(_, codes)| information(&|at| of(codes, at), MOST_PAIRED_CODES)).collect();
        let mut pairs = Vec::new();
        for (a, (first, codes_a)) in codes.iter().enumerate() {
            for (b, (second, codes_b)) in codes.iter().enumerate().skip(a + 1) {
                let width = MOST_PAIRED_CODES * MOST_PAIRED_CODES;
                let joint = information(&|at| of(codes_a, at) * MOST_PAIRED_CODES + of(codes_b, at), width);
                let best = alone.get(a).copied().unwrap_or(0.0).max(alone.get(b).copied().unwrap_or(0.0));
                pairs.push((joint - best, (*first, *second)));
            }
        }
        pairs
    }

    /// The conditions on one member: its most frequent values, null and not null, and both sides of each bin's edge.
    fn conditions(&self, member: usize, column: &Column) -> Vec<RuleCondition> {
        let categories = column.binning.categories();
        let mut counts = vec![0u64; categories.len()];
        for code in &column.sample_codes {
            if let Some(count) = counts.get_mut(usize::from(*code)) {
                *count += 1;
            }
        }
        let mut conditions = Vec::new();
        let mut add = |test: RuleTest, value: Meaning, holds: &dyn Fn(usize) -> bool| {
            let codes = (0..categories.len()).map(holds).collect();
            conditions.push(RuleCondition { member, test, value, codes });
        };
        let mut alone: Vec<usize> = (0..categories.len())
            .filter(|at| matches!(categories.get(*at), Some(Category::Value(_))))
            .filter(|at| counts.get(*at).is_some_and(|count| *count > 1))
            .collect();
        alone.sort_by_key(|at| (std::cmp::Reverse(counts.get(*at).copied()), *at));
        for at in alone.iter().take(MOST_CONDITIONS) {
            let Some(category) = categories.get(*at) else { continue };
            let meaning = column.meaning(*category, &self.parts);
            let null = meaning == Meaning::Null;
            add(RuleTest::Is, meaning.clone(), &|code| code == *at);
            if null {
                add(RuleTest::IsNot, meaning, &|code| code != *at);
            }
        }
        if matches!(column.class, Class::Ordered(_)) {
            let end = |category: &Category| match category {
                Category::Value(code) => Some(*code),
                Category::Range(_, high) => Some(*high),
                Category::Other => None,
            };
            let mut ends: Vec<u64> = categories.iter().filter_map(end).collect();
            ends.sort_unstable();
            ends.dedup();
            ends.pop();
            // Of two values, "at most the first" is the first.
            let step = ends.len().div_ceil(2 * MOST_CONDITIONS).max(1);
            for edge in ends.iter().step_by(step).filter(|_| ends.len() > 1) {
                let value = column.meaning(Category::Value(*edge), &self.parts);
                let below = |code: usize| categories.get(code).and_then(end).is_some_and(|end| end <= *edge);
                let above = |code: usize| categories.get(code).and_then(end).is_some_and(|end| end > *edge);
                add(RuleTest::AtMost, value.clone(), &below);
                add(RuleTest::Above, value, &above);
            }
        }
        conditions
    }

    fn count_rules(&self, mut rules: Vec<FieldRule>, task: &Task) -> Vec<FieldRule> {
        let mut ids: Vec<usize> =
            rules.iter().flat_map(|rule| &rule.conditions).map(|condition| condition.member).collect();
        ids.sort_unstable();
        ids.dedup();
        let begin = || (vec![[0u64; 2]; rules.len()], vec![Vec::new(); ids.len()]);
        let visit = |(counts, codes): &mut (Vec<[u64; 2]>, Vec<Vec<u16>>), batch: &sweep::Batch<'_>| {
            let Some(part) = self.parts.get(batch.part) else { return };
            for (id, codes) in ids.iter().zip(codes.iter_mut()) {
                if let Some(column) = self.columns.get(*id) {
                    column.encode(batch.part, part, batch.bytes, codes, |_, _| {}, |_| {});
                }
            }
            for (rule, count) in rules.iter().zip(counts) {
                let tests: Vec<(&Vec<bool>, Option<&Vec<u16>>)> = (rule.conditions.iter())
                    .map(|condition| {
                        let at = ids.binary_search(&condition.member).ok();
                        (&condition.codes, at.and_then(|at| codes.get(at)))
                    })
                    .collect();
                for (at, suspect) in batch.suspect.iter().enumerate() {
                    let holds = |(of_codes, codes): &(&Vec<bool>, Option<&Vec<u16>>)| {
                        let code = codes.and_then(|codes| codes.get(at)).copied().unwrap_or(NO_CODE);
                        of_codes.get(usize::from(code)).copied().unwrap_or(false)
                    };
                    if tests.iter().all(holds) {
                        count[usize::from(!suspect)] += 1;
                    }
                }
            }
        };
        let mut sums = vec![[0u64; 2]; rules.len()];
        if !rules.is_empty() {
            for (counts, _) in sweep::sweep(&self.parts, task, begin, visit) {
                for (sum, count) in sums.iter_mut().zip(counts) {
                    *sum = [sum[0] + count[0], sum[1] + count[1]];
                }
            }
        }
        for (rule, [suspects, reference]) in rules.iter_mut().zip(sums) {
            (rule.suspects, rule.reference) = (suspects, reference);
        }
        rules
    }
}
