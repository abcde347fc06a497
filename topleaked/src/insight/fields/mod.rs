//! The members of one type's objects: their values, sorted for comparison.
//!
//! A [`Study`] learns from a sample what values each member has ([`column`]), then reads all objects once ([`sweep`]) and
//! leaves the rest to the statistics of [`contrast`](super::contrast).

mod age;
mod alike;
mod bits;
mod column;
mod condition;
mod cross;
mod keys;
mod part;
mod places;
mod read;
mod rules;
mod sweep;
mod target;
mod usual;

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::addr::Addr;
use crate::heap::{AllocId, Heap};
use crate::image::Image;
use crate::objects::Objects;
use crate::task::Task;
use crate::types::Types;

use super::contrast::{Assessment, Category, Claim, ClaimKind, MOST_VALUES, rank, tell_the_same};
use column::{Column, read_sample};
use part::Part;
use places::path_of;
use read::{Class, Source};
use sweep::Strata;

pub use alike::alike;
pub use condition::{ConditionError, ObjectConditions};
pub use cross::{CrossTable, CrossValues};
pub use part::Names;
pub use places::MemberPlaces;
pub use rules::{FieldRule, RuleCondition, RuleTest};
pub use usual::{MemberKind, Usual};

/// Objects from which it is learnt what values there are; more are read only to count.
const MOST_SAMPLED: usize = 1 << 17;
/// Cells of the sample over all members.
const MOST_SAMPLED_CELLS: usize = 1 << 23;
/// Values beyond which a member that is asked for alone is summed up.
const MOST_VALUES_ALONE: usize = 1000;
/// The same for numbers, which have ranges.
const MOST_NUMBERS_ALONE: usize = 64;

/// What objects have in common in one member.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Meaning {
    /// A value as a person would write it. Text from the dump: not yet safe for a terminal.
    Text(String),
    /// A value with a name: an enumerator, and its number.
    Named(String, String),
    /// The null pointer.
    Null,
    /// Pointers to one place.
    Place {
        /// Where; not told where two dumps are compared.
        address: Option<Addr>,
        /// The symbol there.
        name: Option<String>,
        /// The type of the object there, where no symbol names it.
        object: Option<String>,
    },
    /// Pointers to objects of this type.
    Object(String),
    /// Pointers to allocations of no known type that have so many usable bytes.
    Allocation(u64),
    /// Pointers to allocations.
    AnyAllocation,
    /// Pointers to somewhere else.
    Elsewhere,
    /// No addresses: numbers where a pointer could be.
    Nowhere,
    /// Numbers from the first to the last, both included.
    Range(String, String),
    /// Numbers up to this one.
    AtMost(String),
    /// Numbers from this one on.
    AtLeast(String),
    /// Anything but this.
    Not(Box<Meaning>),
    /// Texts that begin so.
    Prefix(String),
    /// Texts of so many bytes, from the first to the last.
    Length(u64, u64),
    /// What remains of a class of values, some of which stand for themselves.
    Others(Box<Meaning>),
    /// Everything else.
    Other,
}

/// One value, and how many objects have it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldValue {
    /// The value.
    pub meaning: Meaning,
    /// Suspects that have it.
    pub suspects: u64,
    /// Objects of the reference group that have it.
    pub reference: u64,
}

/// One member and what it tells.
#[derive(Clone, PartialEq, Debug)]
pub struct FieldMember {
    /// What [`Study`] knows it by.
    pub id: usize,
    /// Its path; `None` where nothing names it.
    pub name: Option<String>,
    /// Bytes from the beginning of the object.
    pub offset: u64,
    /// Its type as declared, or what its values look like: `u32 (5 values)`.
    pub type_name: String,
    /// Bytes that it takes.
    pub width: u64,
    /// Its values in the order of the assessment's counts.
    pub values: Vec<FieldValue>,
    /// What best tells the suspects from the others.
    pub claim: Option<FieldValue>,
    /// What it tells; its categories are those of `values`.
    pub assessment: Assessment,
    /// Which kind of member it is where one group stands alone.
    pub kind: MemberKind,
    /// How much of the objects one value of such a member has as a rule.
    pub usual: f64,
    /// From how many members of this process that was measured.
    pub usual_of: u64,
    /// Of two dumps: it is another in each process whatever the objects do, as a process number or an address is.
    pub of_process: bool,
    /// Its bytes are its value, and each value stands alone: a search for words counts the same.
    pub raw: bool,
    /// How many different values the sampled objects have.
    pub distinct: usize,
    /// Most sampled objects have a value of their own.
    pub unique: bool,
    /// The least and the greatest value, of numbers.
    pub extent: Option<(String, String)>,
    /// Members that tell the same, this one first; empty for one that tells nothing or stands with an earlier one.
    pub same: Vec<usize>,
    /// The member it tells the same as, where that one stands for both.
    pub same_as: Option<usize>,
}

/// Objects and what is known of their type.
#[derive(Clone, Copy, Debug)]
pub struct FieldsQuestion<'a> {
    /// The dump.
    pub image: &'a Image,
    /// Its heap.
    pub heap: &'a Heap,
    /// The objects, by address.
    pub objects: &'a [AllocId],
    /// For each object whether it is a suspect; the others are the reference group.
    pub suspect: &'a [bool],
    /// What the allocations are that objects point at.
    pub known: &'a Objects,
    /// Where their members are.
    pub places: &'a MemberPlaces,
    /// The types by which the members are read; `None` where they were inferred.
    pub types: Option<&'a Types>,
    /// Some of the objects are known by their likeness alone. What such a one points at may have no type for want of a typed
    /// pointer: allocations count as one kind of target.
    pub alike: bool,
    /// Names for what members point to.
    pub names: Names<'a>,
}

/// What is learnt of the members of one type's objects.
#[derive(Debug)]
pub struct Study<'a> {
    parts: Vec<Part<'a>>,
    columns: Vec<Column>,
    runs: Vec<Vec<Range<usize>>>,
    /// The sampled objects: whether each is a suspect.
    sample_suspect: Vec<bool>,
    /// The sample holds all objects.
    whole: bool,
    age_like: Vec<bool>,
    strata: Strata,
    usual: Usual,
}

impl<'a> Study<'a> {
    /// Learns from a sample of the objects of one dump, or of two: then only members that both have count, and only
    /// what a name tells of their pointers. `only` are the paths of members that are asked for; without any, all are, but for
    /// those of the paths `but` and what lies in their bytes. Numbers with many values are ranges unless they are to be `exact`.
    pub fn new(
        questions: &[FieldsQuestion<'a>],
        only: &[&str],
        but: &[&str],
        exact: bool,
        usual: Usual,
        task: &Task,
    ) -> Study<'a> {
        let parts: Vec<Part<'a>> = questions.iter().map(Part::new).collect();
        let names: Vec<Names<'a>> = questions.iter().map(|question| question.names).collect();
        let most_values = |sources: &[Source]| match sources.first().map(Source::class) {
            _ if only.is_empty() => MOST_VALUES,
            Some(Class::Ordered(_)) if !exact => MOST_NUMBERS_ALONE,
            _ => MOST_VALUES_ALONE,
        };
        let mut by_part: Vec<Vec<Source>> =
            questions.iter().map(|question| question.places.sources().to_vec()).collect();
        let first = if by_part.is_empty() { Vec::new() } else { by_part.remove(0) };
        let left_out: Vec<Source> =
            first.iter().filter(|source| but.contains(&path_of(source).as_str())).cloned().collect();
        let wanted = |source: &Source| match only.is_empty() {
            true => !left_out.iter().any(|out| out.shares_bytes(source)),
            false => only.contains(&path_of(source).as_str()),
        };
        let sources: Vec<Vec<Source>> = (first.into_iter().filter(wanted))
            .filter_map(|source| {
                let others = by_part.iter().map(|others| others.iter().find(|other| source.is_like(other)).cloned());
                let others: Option<Vec<Source>> = others.collect();
                Some(std::iter::once(source.clone()).chain(others?).collect())
            })
            .collect();
        let most = (MOST_SAMPLED_CELLS / sources.len().max(1)).min(MOST_SAMPLED);
        let positions: Vec<Vec<usize>> =
            parts.iter().map(|part| sample_positions(part.suspect, most / parts.len().max(1))).collect();
        let sample_suspect: Vec<bool> = (parts.iter().zip(&positions))
            .flat_map(|(part, positions)| positions.iter().map(|at| part.suspect.get(*at).copied().unwrap_or(false)))
            .collect();
        let whole = parts.iter().zip(&positions).all(|(part, positions)| part.objects.len() == positions.len());
        let next = AtomicUsize::new(0);
        let read = task.on_all(|| {
            let mut found = Vec::new();
            while let Some(sources) = sources.get(next.fetch_add(1, Ordering::Relaxed)) {
                let most = most_values(sources);
                let sampled: Vec<_> = (parts.iter().zip(sources).zip(&positions))
                    .map(|((part, source), positions)| read_sample(part, source, positions, most))
                    .collect();
                found.push((sources.clone(), sampled));
            }
            found
        });
        let mut read: Vec<_> = read.into_iter().flatten().collect();
        read.sort_by_key(|(sources, _)| {
            sources.first().map(|source| (source.offset(), source.bit_offset(), path_of(source)))
        });
        let mut columns: Vec<Column> = (read.into_iter())
            .map(|(sources, sampled)| {
                let most = most_values(&sources);
                Column::new(sources, sampled, &sample_suspect, &parts, &names, most)
            })
            .collect();
        let runs: Vec<Vec<Range<usize>>> = parts.iter().map(Part::runs).collect();
        let sample_runs = age::runs_of_sample(&runs, &positions);
        let ages = age::find(&columns, &sample_runs);
        let mut age_like: Vec<bool> = ages.iter().map(Option::is_some).collect();
        if !is_one_group(&parts) && only.is_empty() {
            let found: Vec<(Vec<Source>, u32)> = (columns.iter().zip(&age_like))
                .filter(|(_, age_like)| !**age_like)
                .filter_map(|(column, _)| Some((column.sources.clone(), bits::best_bit(column, &sample_suspect)?)))
                .collect();
            for (numbers, bit) in found {
                let sources: Vec<Source> =
                    numbers.into_iter().map(|number| Source::Bit { number: Box::new(number), bit }).collect();
                let sampled = (parts.iter().zip(&sources).zip(&positions))
                    .map(|((part, source), positions)| read_sample(part, source, positions, MOST_VALUES))
                    .collect();
                let mut column = Column::new(sources, sampled, &sample_suspect, &parts, &names, MOST_VALUES);
                column.tried = 64;
                columns.push(column);
                age_like.push(false);
            }
        }
        let strata = match () {
            () if is_one_group(&parts) => age::place(&parts, &runs),
            () if parts.len() > 1 => Strata::One,
            () => age::strata(&columns, &ages, &sample_suspect, &parts, &runs),
        };
        Study { parts, columns, runs, sample_suspect, whole, age_like, strata, usual }
    }

    /// Whether there is but one group, so that nothing can be compared.
    pub fn is_one_group(&self) -> bool {
        is_one_group(&self.parts)
    }

    /// Reads all members of all objects and ranks them: what tells the groups apart first. Of one group alone, by what
    /// most objects share beyond the usual; members with one value for all last. O(members x objects).
    pub fn members(&self, task: &Task) -> Vec<FieldMember> {
        let counted = sweep::count(&self.parts, &self.columns, &self.runs, &self.strata, task);
        let mut assessments: Vec<Assessment> = counted.iter().map(|counted| counted.table.assess()).collect();
        for (assessment, age_like) in assessments.iter_mut().zip(&self.age_like) {
            assessment.age_like = *age_like;
        }
        let order = rank(&mut assessments);
        let mut members: Vec<FieldMember> = Vec::new();
        for id in order {
            let (Some(column), Some(counted), Some(assessment)) =
                (self.columns.get(id), counted.get(id), assessments.get(id))
            else {
                continue;
            };
            members.extend(self.member(id, column, counted, assessment.clone()));
        }
        if self.is_one_group() {
            for member in &mut members {
                let constant = member.assessment.is_constant();
                member.assessment.score = if constant { 0.0 } else { member.assessment.concentration(member.usual) };
            }
            members.sort_by(|a, b| {
                let last = |member: &FieldMember| (member.assessment.is_constant(), member.assessment.age_like);
                last(a).cmp(&last(b)).then(b.assessment.score.total_cmp(&a.assessment.score))
            });
        }
        members.sort_by_key(|member| member.of_process && member.assessment.significant);
        self.join_the_same(&mut members);
        lead_their_groups(&mut members);
        members
    }

    fn member(
        &self,
        id: usize,
        column: &Column,
        counted: &sweep::Counted,
        assessment: Assessment,
    ) -> Option<FieldMember> {
        let source = column.sources.first()?;
        let values = (assessment.counts.iter())
            .map(|count| FieldValue {
                meaning: column.meaning(count.category, &self.parts),
                suspects: count.suspects,
                reference: count.reference,
            })
            .collect();
        let types = self.parts.first().and_then(|part| part.types);
        let alone = |count: &super::contrast::CategoryCount| matches!(count.category, Category::Value(_));
        let few = assessment.counts.iter().all(alone).then_some(assessment.counts.len());
        let (name, type_name) = match (source, types) {
            (Source::Leaf(leaf), Some(types)) => (Some(leaf.path.clone()), types.type_name(leaf.ty)),
            (Source::Bit { .. }, _) => (Some(path_of(source)), "bit".to_owned()),
            (source, _) => (None, source.inferred_name(few)),
        };
        let kind = MemberKind::of(source, column.binning.distinct());
        let written = |code| source.written(code, types);
        let sampled = self.sample_suspect.len();
        Some(FieldMember {
            id,
            name,
            offset: source.offset(),
            type_name,
            width: source.width(),
            values,
            claim: assessment.claim.as_ref().map(|claim| FieldValue {
                meaning: claimed(claim, |category| column.meaning(category, &self.parts)),
                suspects: claim.suspects,
                reference: claim.reference,
            }),
            usual: self.usual.of(kind),
            usual_of: self.usual.measured(kind),
            of_process: self.is_of_process(column, counted, &assessment),
            raw: source.is_raw() && !column.times && assessment.counts.iter().all(alone),
            kind,
            distinct: column.binning.distinct(),
            unique: sampled > 20 && column.binning.distinct() * 10 > sampled * 9,
            extent: counted.extent.map(|(least, greatest)| (written(least), written(greatest))),
            assessment,
            same: Vec::new(),
            same_as: None,
        })
    }

    /// Of two dumps: whether a number has no value in both and is no small one, or one for each object: it would tell
    /// any two processes apart.
    fn is_of_process(&self, column: &Column, counted: &sweep::Counted, assessment: &Assessment) -> bool {
        let apart = assessment.counts.iter().all(|count| count.suspects == 0 || count.reference == 0);
        let large =
            counted.extent.is_some_and(|(_, greatest)| column.sources.first().is_some_and(|of| of.is_large(greatest)));
        let unique = column.binning.distinct() * 10 > self.sample_suspect.len() * 9;
        self.parts.len() > 1 && matches!(column.class, Class::Ordered(_)) && (apart && large || unique)
    }

    /// Joins members that say the same: among those that tell, or of one group alone, among those that are remarkable. The
    /// one with names stands first.
    fn join_the_same(&self, members: &mut [FieldMember]) {
        let one_group = self.is_one_group();
        let tells = |member: &FieldMember| match one_group {
            true => member.assessment.score > 0.0 && !member.assessment.age_like,
            false => member.assessment.tells() && !member.of_process,
        };
        let is_named = |member: &FieldMember| {
            self.columns.get(member.id).and_then(|column| column.sources.first()).is_some_and(Source::is_named)
        };
        let codes = |member: &FieldMember| self.columns.get(member.id).map(|column| self.told_codes(column, member));
        let telling: Vec<(usize, Vec<u16>)> = (members.iter().enumerate().filter(|(_, member)| tells(member)))
            .take(MOST_JOINED)
            .filter_map(|(at, member)| Some((at, codes(member)?)))
            .collect();
        let mut taken = vec![false; telling.len()];
        for first in 0..telling.len() {
            let Some((_, told)) = telling.get(first).filter(|_| !taken.get(first).copied().unwrap_or(true)) else {
                continue;
            };
            let alike = |(at, (_, other)): &(usize, &(usize, Vec<u16>))| {
                *at >= first && !taken.get(*at).copied().unwrap_or(true) && (*at == first || tell_the_same(told, other))
            };
            let group: Vec<usize> = telling.iter().enumerate().filter(alike).map(|(at, _)| at).collect();
            for at in &group {
                if let Some(taken) = taken.get_mut(*at) {
                    *taken = true;
                }
            }
            let mut places: Vec<usize> = group.iter().filter_map(|at| Some(telling.get(*at)?.0)).collect();
            // The one with names says more; the order stays otherwise.
            places.sort_by_key(|at| members.get(*at).is_none_or(|member| !is_named(member)));
            let ids: Vec<usize> = places.iter().filter_map(|at| Some(members.get(*at)?.id)).collect();
            for (at, place) in places.iter().enumerate() {
                let Some(member) = members.get_mut(*place) else { continue };
                match at {
                    0 => member.same.clone_from(&ids),
                    _ => member.same_as = ids.first().copied(),
                }
            }
        }
    }

    /// A sample's codes with all that say less than the telling value put together.
    fn told_codes(&self, column: &Column, member: &FieldMember) -> Vec<u16> {
        // The outermost ranges were widened after the sample: told by their lower or upper end.
        let same = |a: &Category, b: &Category| match (a, b) {
            (Category::Range(low, high), Category::Range(lower, higher)) => low == lower || high == higher,
            (a, b) => a == b,
        };
        let assessment = &member.assessment;
        let most = assessment.most_frequent().map(|(category, _)| category);
        let holds = |category: &Category| match (self.is_one_group(), &assessment.claim) {
            (false, Some(claim)) => {
                let named = claim.categories.iter().any(|named| same(named, category));
                named != (claim.kind == ClaimKind::IsNot)
            }
            _ => most.is_some_and(|most| same(&most, category)),
        };
        let of_codes: Vec<u16> =
            column.binning.categories().iter().map(|category| u16::from(holds(category))).collect();
        let told = |of: &u16| of_codes.get(usize::from(*of)).copied().unwrap_or(super::contrast::NO_CODE);
        column.sample_codes.iter().map(told).collect()
    }

    /// Whether the sample that values were learnt from holds all objects.
    pub fn is_whole(&self) -> bool {
        self.whole
    }
}

/// What a claim says, by what its categories mean.
fn claimed(claim: &Claim, meaning: impl Fn(Category) -> Meaning) -> Meaning {
    let end = |category: Option<&Category>, upper: bool| match category.map(|category| meaning(*category)) {
        Some(Meaning::Range(low, high)) => {
            if upper {
                high
            } else {
                low
            }
        }
        Some(Meaning::Text(text)) => text,
        _ => String::new(),
    };
    let (first, last) = (claim.categories.first(), claim.categories.last());
    match (claim.kind, first) {
        (ClaimKind::Is, Some(category)) => meaning(*category),
        (ClaimKind::IsNot, Some(category)) => Meaning::Not(Box::new(meaning(*category))),
        (ClaimKind::AtMost, _) => Meaning::AtMost(end(last, true)),
        (ClaimKind::AtLeast, _) => Meaning::AtLeast(end(first, false)),
        (ClaimKind::Between, _) => Meaning::Range(end(first, false), end(last, true)),
        (_, None) => Meaning::Other,
    }
}

/// Moves each member that stands for several to the place of the first of them.
fn lead_their_groups(members: &mut Vec<FieldMember>) {
    let leaders: Vec<(usize, Vec<usize>)> = (members.iter())
        .filter(|member| member.same.len() > 1)
        .map(|member| (member.id, member.same.clone()))
        .collect();
    for (leader, same) in leaders {
        let first = members.iter().position(|member| same.contains(&member.id));
        let from = members.iter().position(|member| member.id == leader);
        if let (Some(first), Some(from)) = (first, from) {
            let member = members.remove(from);
            members.insert(first, member);
        }
    }
}

/// Members that are held against each other.
const MOST_JOINED: usize = 64;

fn is_one_group(parts: &[Part<'_>]) -> bool {
    let mut all = parts.iter().flat_map(|part| part.suspect);
    let Some(first) = all.next() else { return true };
    all.all(|suspect| suspect == first)
}

/// Places of a sample: half of it from each group where both are large, evenly spread, by address.
fn sample_positions(suspect: &[bool], most: usize) -> Vec<usize> {
    let suspects = suspect.iter().filter(|suspect| **suspect).count();
    let reference = suspect.len() - suspects;
    // What one group does not need is the other's.
    let of_suspects = suspects.min((most / 2).max(most.saturating_sub(reference)));
    let of_reference = reference.min(most - of_suspects.min(most));
    let (mut seen, mut positions) = ([0usize; 2], Vec::with_capacity(of_suspects + of_reference));
    for (at, suspect) in suspect.iter().enumerate() {
        let (group, wanted, all) = if *suspect { (0, of_suspects, suspects) } else { (1, of_reference, reference) };
        // The n-th of a group is taken where n * wanted / all moves on.
        let before = seen[group] as u64 * wanted as u64 / all.max(1) as u64;
        let after = (seen[group] as u64 + 1) * wanted as u64 / all.max(1) as u64;
        if after > before {
            positions.push(at);
        }
        seen[group] += 1;
    }
    positions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_holds_few_suspects_among_many_objects() {
        let suspect: Vec<bool> = (0..10_000).map(|at| at % 1000 == 0).collect();
        let positions = sample_positions(&suspect, 100);
        assert_eq!(positions.len(), 100);
        assert_eq!(positions.iter().filter(|at| suspect[**at]).count(), 10);
        assert!(positions.is_sorted());
        assert_eq!(sample_positions(&suspect, 1 << 17).len(), 10_000);
        assert_eq!(sample_positions(&[true; 500], 100).len(), 100);
    }
}
