//! The members of one type's objects: their values, sorted for comparison.
//!
//! A [`Study`] learns from a sample what values each member has ([`column`]), then reads all objects once ([`sweep`]) and
//! leaves the rest to the statistics of [`contrast`](super::contrast).

mod age;
mod column;
mod condition;
mod infer;
mod keys;
mod part;
mod read;
mod rules;
mod sweep;
mod usual;

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::addr::Addr;
use crate::heap::{AllocId, Heap};
use crate::image::Image;
use crate::objects::Objects;
use crate::task::Task;
use crate::types::{LeafKind, TypeId, Types};

use super::contrast::{Assessment, Category, MOST_VALUES, rank, tell_the_same};
use column::{Column, read_sample};
use infer::infer_members;
use part::Part;
use read::Source;
use sweep::Strata;

pub use condition::{ConditionError, ObjectConditions};
pub use part::Names;
pub use rules::{FieldRule, RuleCondition, RuleTest};
pub use usual::{MemberKind, Usual};

/// Objects from which it is learnt what values there are; more are read only to count.
const MOST_SAMPLED: usize = 1 << 17;
/// Cells of the sample over all members.
const MOST_SAMPLED_CELLS: usize = 1 << 23;
/// Values beyond which a member that is asked for alone is summed up.
const MOST_VALUES_ALONE: usize = 1000;

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
    /// Pointers to somewhere else.
    Elsewhere,
    /// Numbers from the first to the last, both included.
    Range(String, String),
    /// Texts that begin so.
    Prefix(String),
    /// Texts of so many bytes, from the first to the last.
    Length(u64, u64),
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
    /// What it tells; its categories are those of `values`.
    pub assessment: Assessment,
    /// Which kind of member it is where one group stands alone.
    pub kind: MemberKind,
    /// How much of the objects one value of such a member has as a rule in this process.
    pub usual: f64,
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
    /// The type's layout; without it members are inferred from the objects.
    pub layout: Option<(&'a Types, TypeId)>,
    /// Names for what members point to.
    pub names: Names<'a>,
}

impl<'a> FieldsQuestion<'a> {
    /// The paths of all members, in the order of the layout.
    pub fn paths(&self) -> Vec<String> {
        self.sources().iter().map(path_of).collect()
    }

    /// Where the members are.
    fn sources(&self) -> Vec<Source> {
        let Some((types, id)) = self.layout else { return infer_members(self) };
        let Some(first) = self.objects.first() else { return Vec::new() };
        let (object, space) = (self.heap.table.address(*first), self.image.space());
        let leaves = types.leaves(id, &|_, place| types.virtual_base_offset(place, object, space));
        (leaves.list.into_iter()).filter(|leaf| !matches!(leaf.kind, LeafKind::Vtable)).map(Source::Leaf).collect()
    }
}

/// The path of a member, or its offset.
fn path_of(source: &Source) -> String {
    match source {
        Source::Leaf(leaf) => leaf.path.clone(),
        source => format!("+{:#x}", source.offset()),
    }
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
    most_values: usize,
    usual: Usual,
}

impl<'a> Study<'a> {
    /// Learns from a sample of the objects of one dump, or of two: then only members that both have count, and only
    /// what a name tells of their pointers. `only` are the paths of members that are asked for; without any, all are.
    pub fn new(questions: &[FieldsQuestion<'a>], only: &[&str], usual: Usual, task: &Task) -> Study<'a> {
        let parts: Vec<Part<'a>> = questions.iter().map(Part::new).collect();
        let names: Vec<Names<'a>> = questions.iter().map(|question| question.names).collect();
        let most_values = if only.is_empty() { MOST_VALUES } else { MOST_VALUES_ALONE };
        let mut by_part: Vec<Vec<Source>> = questions.iter().map(FieldsQuestion::sources).collect();
        let first = if by_part.is_empty() { Vec::new() } else { by_part.remove(0) };
        let wanted = |source: &Source| only.is_empty() || only.contains(&path_of(source).as_str());
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
        let sample_suspect = (parts.iter().zip(&positions))
            .flat_map(|(part, positions)| positions.iter().map(|at| part.suspect.get(*at).copied().unwrap_or(false)))
            .collect();
        let whole = parts.iter().zip(&positions).all(|(part, positions)| part.objects.len() == positions.len());
        let next = AtomicUsize::new(0);
        let read = task.on_all(|| {
            let mut found = Vec::new();
            while let Some(sources) = sources.get(next.fetch_add(1, Ordering::Relaxed)) {
                let sampled: Vec<_> = (parts.iter().zip(sources).zip(&positions))
                    .map(|((part, source), positions)| read_sample(part, source, positions, most_values))
                    .collect();
                found.push((sources.clone(), sampled));
            }
            found
        });
        let mut read: Vec<_> = read.into_iter().flatten().collect();
        read.sort_by_key(|(sources, _)| {
            sources.first().map(|source| (source.offset(), source.bit_offset(), path_of(source)))
        });
        let columns: Vec<Column> = (read.into_iter())
            .map(|(sources, sampled)| Column::new(sources, sampled, &parts, &names, most_values))
            .collect();
        let runs: Vec<Vec<Range<usize>>> = parts.iter().map(Part::runs).collect();
        let sample_runs = age::runs_of_sample(&runs, &positions);
        let ages = age::find(&columns, &sample_runs);
        let strata = if parts.len() > 1 { Strata::One } else { age::strata(&columns, &ages) };
        let strata = if is_one_group(&parts) { Strata::Place } else { strata };
        let age_like = ages.iter().map(Option::is_some).collect();
        Study { parts, columns, runs, sample_suspect, whole, age_like, strata, most_values, usual }
    }

    /// Whether there is but one group, so that nothing can be compared.
    pub fn is_one_group(&self) -> bool {
        is_one_group(&self.parts)
    }

    /// Reads all members of all objects and ranks them: what tells the groups apart first. Of one group alone, by what
    /// most objects share beyond the usual; members with one value for all last. O(members x objects).
    pub fn members(&self, task: &Task) -> Vec<FieldMember> {
        let counted = sweep::count(&self.parts, &self.columns, &self.runs, &self.strata, self.most_values, task);
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
        let (name, type_name) = match (source, types) {
            (Source::Leaf(leaf), Some(types)) => (Some(leaf.path.clone()), types.type_name(leaf.ty)),
            (source, _) => {
                let type_name = match source {
                    Source::Pointer { .. } => "pointer".to_owned(),
                    Source::Text { .. } => "text".to_owned(),
                    _ => format!("u{}", source.width() * 8),
                };
                let alone = |count: &super::contrast::CategoryCount| matches!(count.category, Category::Value(_));
                let values = match assessment.counts.len() {
                    _ if !assessment.counts.iter().all(alone) => "many values".to_owned(),
                    1 => "1 value".to_owned(),
                    count => format!("{count} values"),
                };
                (None, format!("{type_name} ({values})"))
            }
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
            usual: self.usual.of(kind),
            kind,
            distinct: column.binning.distinct(),
            unique: sampled > 20 && column.binning.distinct() * 10 > sampled * 9,
            extent: counted.extent.map(|(least, greatest)| (written(least), written(greatest))),
            assessment,
            same: Vec::new(),
            same_as: None,
        })
    }

    /// Joins members that say the same: among those that tell, or of one group alone, among those that are remarkable. The
    /// one with names stands first.
    fn join_the_same(&self, members: &mut [FieldMember]) {
        let one_group = self.is_one_group();
        let tells = |member: &FieldMember| match one_group {
            true => member.assessment.score > 0.0 && !member.assessment.age_like,
            false => member.assessment.significant && !member.assessment.age_like && !member.assessment.across_age_only,
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
        let told = match self.is_one_group() {
            true => member.assessment.most_frequent().map(|(category, _)| category),
            false => member.assessment.telling().map(|count| count.category),
        };
        // The outermost ranges were widened after the sample: told by their lower or upper end.
        let same = |a: &Category, b: &Category| match (a, b) {
            (Category::Range(low, high), Category::Range(lower, higher)) => low == lower || high == higher,
            (a, b) => a == b,
        };
        let code = told.and_then(|told| column.binning.categories().iter().position(|category| same(category, &told)));
        let code = code.and_then(|code| u16::try_from(code).ok());
        let told = |of: &u16| if *of == super::contrast::NO_CODE { *of } else { u16::from(Some(*of) == code) };
        column.sample_codes.iter().map(told).collect()
    }

    /// How often values of two members come together, by both: of the first member's categories a row each, of the second a
    /// column. O(objects).
    pub fn cross(&self, rows: usize, across: usize, task: &Task) -> Option<CrossTable> {
        let (first, second) = (self.columns.get(rows)?, self.columns.get(across)?);
        let (height, width) = (first.binning.categories().len(), second.binning.categories().len());
        let begin = || (vec![[0u64; 2]; height * width], Vec::new(), Vec::new());
        let visit = |(counts, codes, others): &mut (Vec<[u64; 2]>, Vec<u16>, Vec<u16>), batch: &sweep::Batch<'_>| {
            let Some(part) = self.parts.get(batch.part) else { return };
            first.encode(batch.part, part, batch.bytes, codes, |_, _| {}, |_| {});
            second.encode(batch.part, part, batch.bytes, others, |_, _| {}, |_| {});
            for ((a, b), suspect) in codes.iter().zip(others.iter()).zip(batch.suspect) {
                if let (Some(row), true) = (Some(usize::from(*a)), usize::from(*b) < width)
                    && let Some(count) = counts.get_mut(row * width + usize::from(*b))
                {
                    count[usize::from(!suspect)] += 1;
                }
            }
        };
        let mut counts = vec![[0u64; 2]; height * width];
        for (part, ..) in sweep::sweep(&self.parts, task, begin, visit) {
            for (sum, part) in counts.iter_mut().zip(part) {
                *sum = [sum[0] + part[0], sum[1] + part[1]];
            }
        }
        let meanings = |column: &Column| {
            column.binning.categories().iter().map(|category| column.meaning(*category, &self.parts)).collect()
        };
        Some(CrossTable { rows: meanings(first), columns: meanings(second), counts })
    }

    /// Whether the sample that values were learnt from holds all objects.
    pub fn is_whole(&self) -> bool {
        self.whole
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

/// Two members' values together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CrossTable {
    /// The first member's values.
    pub rows: Vec<Meaning>,
    /// The second's.
    pub columns: Vec<Meaning>,
    /// Suspects and reference group, row by row.
    pub counts: Vec<[u64; 2]>,
}

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
