//! The members of one type's objects: their values, sorted for comparison.

mod infer;
mod read;

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::addr::Addr;
use crate::heap::{AllocId, Heap};
use crate::image::Image;
use crate::objects::{IdentityId, Objects};
use crate::task::Task;
use crate::types::{LeafKind, TypeId, Types};

use super::contrast::{Assessment, rank};
use infer::infer_members;
use read::{Source, read_column};

/// What objects have in common in one member.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Meaning {
    /// A value as a person would write it. Text from the dump: not yet safe for a terminal.
    Text(String),
    /// A value with a name: an enumerator, and its number.
    Named(String, String),
    /// The null pointer.
    Null,
    /// Pointers to this one place.
    Place(Addr),
    /// Pointers to objects of this type.
    Object(IdentityId),
    /// Pointers to allocations of no known type that have so many usable bytes.
    Allocation(u64),
    /// Pointers to somewhere else.
    Elsewhere,
    /// Numbers from the first to the last, both included.
    Range(String, String),
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
    /// How much of the objects one value of such a member has as a rule: a rough yardstick for one group alone.
    pub usual: f64,
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
}

impl FieldsQuestion<'_> {
    /// Reads all members of all objects and ranks them: what tells the groups apart first. Of one group alone, by what
    /// most objects share beyond the usual; members with one value for all last. O(members x objects).
    pub fn answer(&self, task: &Task) -> Vec<FieldMember> {
        let sources = self.sources();
        let next = AtomicUsize::new(0);
        let parts = task.on_all(|| {
            let mut found = Vec::new();
            while !task.progress.is_cancelled() {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(source) = sources.get(at) else { break };
                found.push((at, self.assess(source)));
            }
            found
        });
        let mut members: Vec<(usize, FieldMember)> = parts.into_iter().flatten().collect();
        members.sort_by_key(|(at, _)| *at);
        let mut members: Vec<FieldMember> = members.into_iter().map(|(_, member)| member).collect();
        let mut assessments: Vec<Assessment> = members.iter().map(|member| member.assessment.clone()).collect();
        let order = rank(&mut assessments);
        for (member, assessment) in members.iter_mut().zip(assessments) {
            member.assessment = assessment;
        }
        let mut members: Vec<FieldMember> = order.iter().filter_map(|at| members.get(*at)).cloned().collect();
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
        members
    }

    fn is_one_group(&self) -> bool {
        self.suspect.iter().all(|suspect| *suspect) || !self.suspect.contains(&true)
    }

    fn sources(&self) -> Vec<Source> {
        let Some((types, id)) = self.layout else { return infer_members(self) };
        let Some(first) = self.objects.first() else { return Vec::new() };
        let (object, space) = (self.heap.table.address(*first), self.image.space());
        let leaves = types.leaves(id, &|_, place| types.virtual_base_offset(place, object, space));
        (leaves.list.into_iter()).filter(|leaf| !matches!(leaf.kind, LeafKind::Vtable)).map(Source::Leaf).collect()
    }

    fn assess(&self, source: &Source) -> FieldMember {
        let read = read_column(self, source);
        let assessment = read.column.assess(self.suspect);
        let values = (assessment.counts.iter())
            .map(|count| FieldValue {
                meaning: read.meaning(self, source, count.category),
                suspects: count.suspects,
                reference: count.reference,
            })
            .collect();
        let (name, offset, type_name, width) = match (source, self.layout) {
            (Source::Leaf(leaf), Some((types, _))) => {
                (Some(leaf.path.clone()), leaf.offset, types.type_name(leaf.ty), leaf.size_bytes)
            }
            (source, _) => {
                let type_name = match source {
                    Source::Pointer { .. } => "pointer".to_owned(),
                    Source::Text { .. } => "text".to_owned(),
                    _ => format!("u{}", source.width() * 8),
                };
                let shown = assessment.counts.len();
                let values = match assessment
                    .counts
                    .iter()
                    .any(|count| !matches!(count.category, super::contrast::Category::Value(_)))
                {
                    true => "many values".to_owned(),
                    false if shown == 1 => "1 value".to_owned(),
                    false => format!("{shown} values"),
                };
                (None, source.offset(), format!("{type_name} ({values})"), source.width())
            }
        };
        FieldMember { name, offset, type_name, width, values, assessment, usual: source.usual() }
    }
}
