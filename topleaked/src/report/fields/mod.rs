//! Which members tell some objects of a type from others: leaked ones from live ones, or whatever groups are asked for.

mod human;
pub(super) mod pick;
mod rows;
mod values;

use serde::Serialize;

use crate::addr::Addr;
use crate::graph::Reachability;
use crate::heap::{AllocId, HeapError};
use crate::insight::filter::{Filter, FilterError, Members as _, Pattern, Prepared, Tables, Test};
use crate::insight::{ConditionError, FieldsQuestion, MemberPlaces, Names, ObjectConditions, Study, Usual};
use crate::session::Session;
use crate::task::Diagnostic;
use crate::types::same_type;

use super::{Hex, SafeText};
use pick::Picked;
pub use values::TypeValues;

use rows::{CrossRow, GroupRow, MemberRow, ObjectRow, RuleRow};

/// Members that are named where there is none as asked for.
const MOST_LISTED: usize = 60;
/// Addresses that are listed.
const MOST_OBJECTS: usize = 100_000;

/// Why there are no members to show.
#[derive(Debug, thiserror::Error)]
pub enum FieldsError {
    /// The heap cannot be walked.
    #[error(transparent)]
    Heap(#[from] HeapError),
    /// No object is of the type.
    #[error(
        "no object of type {name} is found in the heap{}; `topleaked types --all` shows the types that are",
        perhaps(near)
    )]
    NoObjects {
        /// The type asked for.
        name: String,
        /// Types that may be meant.
        near: Vec<String>,
    },
    /// No allocation of no known type is so large.
    #[error("no allocation of no known type has {size} usable bytes; `topleaked types` shows the sizes that there are")]
    NoSize {
        /// The size asked for, in bytes.
        size: u64,
    },
    /// Several types have the name.
    #[error("{name} may be any of: {}", candidates.join(", "))]
    Ambiguous {
        /// The type asked for.
        name: String,
        /// The types it may be.
        candidates: Vec<String>,
    },
    /// No member has the path.
    #[error("no member {member} of {name}; there are: {}", listed(members))]
    NoMember {
        /// The member asked for.
        member: String,
        /// The type.
        name: String,
        /// Its members, those with near names first.
        members: Vec<String>,
    },
    /// A filter is wrong.
    #[error("{}", safe(&.0.to_string()))]
    Condition(#[from] ConditionError),
    /// A filter, or a value, cannot be read.
    #[error("{filter}: {}", safe(&.fault.to_string()))]
    Filter {
        /// What was written.
        filter: String,
        /// What is wrong with it.
        fault: FilterError,
    },
    /// A group that was asked for has no objects.
    #[error("no object of {name} is {filter}")]
    EmptyGroup {
        /// The type.
        name: String,
        /// What was asked for.
        filter: String,
    },
    /// The two groups that were asked for are one.
    #[error("all objects of {name} in the reference group are suspects, too")]
    SameGroups {
        /// The type.
        name: String,
    },
    /// The other dump cannot be read that way.
    #[error("baseline: {0}")]
    Baseline(Box<FieldsError>),
}

/// What is asked of a type's members.
#[derive(Clone, Copy, Default, Debug)]
pub struct FieldsOptions<'a> {
    /// All values of this member alone.
    pub member: Option<&'a str>,
    /// The values of `member` by those of this one.
    pub group_by: Option<&'a str>,
    /// The addresses of the objects in which `member` has this value.
    pub objects: Option<&'a str>,
    /// Look for combinations of members.
    pub rules: bool,
    /// The objects asked about; by default the leaked ones.
    pub suspects: Option<&'a str>,
    /// The objects compared with; by default the live ones, or all that are no suspects.
    pub reference: Option<&'a str>,
    /// Each value of `member` counts alone, of numbers too, as far as there are not thousands.
    pub exact: bool,
    /// The objects that are considered at all, of both groups; by default all.
    pub only: Option<&'a str>,
}

/// The answer of `fields`.
#[derive(Debug, Serialize)]
pub struct Fields {
    #[serde(rename = "type")]
    type_name: String,
    layout: &'static str,
    /// The filter that all objects had to pass.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    filter: Option<String>,
    suspects: GroupRow,
    reference: GroupRow,
    /// Objects in neither group: whether they leaked is not sure.
    possibly_leaked: u64,
    /// Objects that no pointer makes one of the type: their size and what their members hold do.
    by_likeness: u64,
    members: Vec<MemberRow>,
    rules: Vec<RuleRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cross: Option<CrossRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    objects: Option<Vec<ObjectRow>>,
    #[serde(skip)]
    neither: u64,
    #[serde(skip)]
    both: u64,
    #[serde(skip)]
    chosen_by: Vec<String>,
    #[serde(skip)]
    matching: u64,
    #[serde(skip)]
    only: bool,
    #[serde(skip)]
    rules_wanted: bool,
    #[serde(skip)]
    diagnostics: Vec<Diagnostic>,
}

/// Some objects of a type, in two groups.
struct Groups {
    objects: Vec<AllocId>,
    suspect: Vec<bool>,
    suspects: GroupRow,
    reference: GroupRow,
    neither: u64,
    both: u64,
    possibly_leaked: u64,
}

impl Groups {
    fn new(
        picked: &Picked,
        question: &FieldsQuestion<'_>,
        tables: Tables<'_>,
        options: &FieldsOptions<'_>,
        one_group: Option<&str>,
    ) -> Result<Groups, FieldsError> {
        let read = |text: Option<&str>| text.map(read_filter).transpose();
        let (suspects, reference) = (read(options.suspects)?, read(options.reference)?);
        let members = |filter: &Option<Filter>| {
            ObjectConditions::new(&filter.as_ref().map(Filter::member_tests).unwrap_or_default(), question)
        };
        let (of_suspects, of_reference) = (members(&suspects)?, members(&reference)?);
        let suspects = suspects.as_ref().map(|filter| Prepared::new(filter, tables, Some(&of_suspects)));
        let reference = reference.as_ref().map(|filter| Prepared::new(filter, tables, Some(&of_reference)));
        let (mut objects, mut suspect) = (Vec::new(), Vec::new());
        let (mut neither, mut both, mut possibly_leaked) = (0, 0, 0);
        for (id, reachability) in picked.objects.iter().zip(&picked.reachability) {
            let holds = |filter: &Option<Prepared<'_>>| filter.as_ref().map(|filter| filter.selects(*id));
            let is_suspect = match (holds(&suspects), one_group) {
                (Some(holds), _) => holds,
                (None, Some(_)) => true,
                (None, None) => *reachability == Reachability::Leaked,
            };
            let is_reference = || match (holds(&reference), one_group) {
                (Some(holds), _) => holds,
                (None, Some(_)) => false,
                (None, None) => suspects.is_some() || *reachability == Reachability::Anchored,
            };
            both += u64::from(is_suspect && reference.is_some() && is_reference());
            if is_suspect || is_reference() {
                objects.push(*id);
                suspect.push(is_suspect);
            } else {
                neither += 1;
                possibly_leaked += u64::from(!matches!(reachability, Reachability::Anchored | Reachability::Leaked));
            }
        }
        let count = suspect.iter().filter(|suspect| **suspect).count() as u64;
        let row = |group: &str, count| GroupRow { group: group.to_owned(), count };
        let rest = objects.len() as u64 - count;
        let asked = options.suspects.map(|filter| format!("suspected ({filter})"));
        let others = match (options.reference, options.suspects) {
            (Some(filter), _) => format!("reference ({filter})"),
            (None, Some(_)) => "other".to_owned(),
            (None, None) => "live".to_owned(),
        };
        let groups = Groups {
            suspects: row(asked.as_deref().or(one_group).unwrap_or("leaked"), count),
            reference: row(&others, rest),
            objects,
            suspect,
            neither,
            both,
            possibly_leaked,
        };
        if rest == 0 && both > 0 {
            return Err(FieldsError::SameGroups { name: safe(&picked.name) });
        }
        for (filter, count) in [(options.suspects, count), (options.reference, rest)] {
            if let (Some(filter), 0) = (filter, count) {
                return Err(FieldsError::EmptyGroup { name: safe(&picked.name), filter: safe(filter) });
            }
        }
        Ok(groups)
    }

    /// One group alone is the one asked about.
    fn settle(&mut self) {
        if self.suspects.count == 0 {
            self.suspect.fill(true);
            std::mem::swap(&mut self.suspects, &mut self.reference);
        }
    }
}

impl Fields {
    /// Finds the objects of a type and holds one group of them against another, member by member. A type may leave out its
    /// scopes. With a `baseline`, the objects of another dump are the reference group.
    ///
    /// # Errors
    /// Where the heap cannot be walked, or there is no such type or member, or a filter is wrong.
    pub fn new(
        session: &Session<'_>,
        type_name: &str,
        options: &FieldsOptions<'_>,
        baseline: Option<&Session<'_>>,
    ) -> Result<Fields, FieldsError> {
        let task = session.task();
        let mut diagnostics = Vec::new();
        let place = |addr: Addr| symbol(session, addr);
        let names = Names { place: &place };
        // Modules may differ in a type's layout: whose objects are meant.
        let asked =
            [options.only, options.suspects].into_iter().flatten().map(read_filter).collect::<Result<Vec<_>, _>>()?;
        let module = asked.iter().find_map(module_test);
        let mut picked = Picked::find(session, type_name, module, &mut diagnostics)?;
        // A size is asked for again, a type by its full name.
        let again = if type_name.parse::<u64>().is_ok() { type_name } else { &*picked.name };
        let other = baseline.map(|other| Picked::find(other, again, module, &mut diagnostics)).transpose();
        let mut other = other.map_err(|error| FieldsError::Baseline(Box::new(error)))?;
        if let Some(other) = &mut other {
            match_layouts(&mut picked, other, &mut diagnostics);
            if picked.layout.is_none()
                && let Some(session) = baseline
            {
                other.find_places(session)?;
                picked.find_places(session)?;
            }
        }
        if let Some(filter) = options.only {
            picked.keep(session, filter, names)?;
        }
        let all = picked.question(session, &picked.objects, &[], names)?;
        let mut groups = Groups::new(&picked, &all, session.tables()?, options, baseline.map(|_| "suspected"))?;
        let other_place = |addr: Addr| baseline.and_then(|other| symbol(other, addr));
        let other_names = Names { place: &other_place };
        if let (Some(other), Some(session), Some(filter)) = (&mut other, baseline, options.only) {
            let kept = other.keep(session, filter, other_names);
            kept.map_err(|error| FieldsError::Baseline(Box::new(error)))?;
        }
        let other_suspect = vec![false; other.as_ref().map_or(0, |other| other.objects.len())];
        let mut questions = Vec::new();
        if let (Some(other), Some(session)) = (&other, baseline) {
            groups.reference = GroupRow { group: "baseline".to_owned(), count: other.objects.len() as u64 };
            questions.push(other.question(session, &other.objects, &other_suspect, other_names)?);
        } else {
            groups.settle();
        }
        let question = picked.question(session, &groups.objects, &groups.suspect, names)?;
        questions.insert(0, question);

        let paths = question.places.paths();
        let only: Vec<&str> = options.member.into_iter().chain(options.group_by).collect();
        for member in &only {
            if !paths.iter().any(|path| path == member) {
                let near = pick::nearest(member, paths.iter().map(String::as_str));
                let others = paths.iter().map(String::as_str).filter(|path| !near.contains(path));
                let members = near.iter().copied().chain(others).map(safe).collect();
                let (member, name) = (safe(member), safe(&picked.name));
                return Err(FieldsError::NoMember { member, name, members });
            }
        }
        let one_group = groups.reference.count == 0;
        let usual = if one_group && only.is_empty() { usual(session, &picked.name, names)? } else { Usual::default() };
        // What the groups were chosen by tells them apart, of course.
        let mut chosen_by: Vec<String> = Vec::new();
        for filter in [options.suspects, options.reference].into_iter().flatten() {
            chosen_by.extend(read_filter(filter)?.member_tests().iter().map(|test| test.path.clone()));
        }
        chosen_by.sort();
        chosen_by.dedup();
        let but: Vec<&str> = chosen_by.iter().map(String::as_str).collect();
        let study = Study::new(&questions, &only, &but, options.exact, usual, task);
        let found = study.members(task);
        let nothing_tells = !found.iter().any(|member| member.assessment.tells() && !member.of_process);
        let rules = match only.is_empty() && (options.rules || nothing_tells) {
            // What one member tells was said of the members.
            true => study.rules(&found, if options.rules { 1 } else { 2 }, task),
            false => Vec::new(),
        };
        let mut members: Vec<MemberRow> = found.into_iter().map(MemberRow::new).collect();
        name_the_same(&mut members);
        let known = (groups.suspects.count, groups.reference.count);
        let rules = rules.iter().map(|rule| RuleRow::new(rule, &members, known)).collect();
        let mut cross = None;
        if let (Some(member), Some(by)) = (options.member, options.group_by) {
            let id = |path: &str| members.iter().find(|row| row.path() == path).map(|row| row.id);
            let table = id(member).zip(id(by)).and_then(|(member, by)| study.cross(member, by, task));
            cross = table.map(|table| CrossRow::new(member.to_owned(), by.to_owned(), table));
        }
        let (objects, matching) = match (options.member, options.objects) {
            (Some(member), Some(value)) => {
                let (objects, matching) = matching(&question, &groups, member, value)?;
                (Some(objects), matching)
            }
            _ => (None, 0),
        };
        Ok(Fields {
            type_name: picked.name.clone(),
            layout: if picked.layout.is_some() { "debug-info" } else { "inferred" },
            filter: options.only.map(str::to_owned),
            suspects: groups.suspects,
            reference: groups.reference,
            possibly_leaked: groups.possibly_leaked,
            neither: groups.neither,
            both: groups.both,
            chosen_by,
            by_likeness: picked.by_likeness,
            members,
            rules,
            cross,
            objects,
            matching,
            only: options.member.is_some(),
            rules_wanted: options.rules,
            diagnostics,
        })
    }

    /// What weakens the answer beyond what the session knows.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }
}

/// Names that may be meant.
fn perhaps(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(" (perhaps {})", names.join(", ")) }
}

/// The first names of many.
fn listed(names: &[String]) -> String {
    let shown = names.iter().take(MOST_LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST_LISTED) {
        0 => shown,
        left => format!("{shown}, and {left} more"),
    }
}

fn safe(text: &str) -> String {
    SafeText::from(text).to_string()
}

fn symbol(session: &Session<'_>, addr: Addr) -> Option<String> {
    let hit = session.symbols().find(addr)?;
    Some(match hit.offset {
        0 => hit.demangled().into_owned(),
        offset => format!("{}+{offset:#x}", hit.demangled()),
    })
}

/// What is usual among the objects of the other types.
fn usual(session: &Session<'_>, but: &str, names: Names<'_>) -> Result<Usual, FieldsError> {
    let others = pick::others(session, but)?;
    let suspect = vec![true; others.iter().map(Vec::len).max().unwrap_or(0)];
    let (heap, known) = (session.heap()?, session.objects()?);
    let places: Vec<MemberPlaces> =
        others.iter().map(|objects| MemberPlaces::inferred(session.image(), heap, objects)).collect();
    let questions = others.iter().zip(&places).map(|(objects, places)| FieldsQuestion {
        image: session.image(),
        heap,
        objects,
        suspect: suspect.get(..objects.len()).unwrap_or_default(),
        known,
        places,
        types: None,
        alike: false,
        names,
    });
    Ok(Usual::measure(&questions.collect::<Vec<_>>()))
}

/// Two dumps are compared by what both know: where but one has a layout, by bytes; where layouts differ, member by member.
fn match_layouts(picked: &mut Picked, other: &mut Picked, diagnostics: &mut Vec<Diagnostic>) {
    let mut warn = |effect: &str| {
        diagnostics.push(Diagnostic { code: "layouts-differ", at: picked.name.clone(), effect: effect.to_owned() });
    };
    match (&picked.layout, &other.layout) {
        (Some((types, id)), Some((others, of))) if !same_type(types, *id, others, *of) => {
            warn(
                "the type's layout is another one in the baseline: only members of the same path and size are compared",
            );
        }
        (Some(_), None) | (None, Some(_)) => {
            warn("debug information for but one of the two dumps: members are inferred from the objects of both");
            (picked.layout, other.layout) = (None, None);
        }
        _ => {}
    }
}

fn read_filter(text: &str) -> Result<Filter, FieldsError> {
    text.parse().map_err(|fault| FieldsError::Filter { filter: safe(text), fault })
}

/// The module that all objects have to be of.
fn module_test(filter: &Filter) -> Option<&Pattern> {
    match filter {
        Filter::And(parts) => parts.iter().find_map(module_test),
        Filter::Test(Test::Module(pattern)) => Some(pattern).filter(|pattern| !pattern.negated),
        _ => None,
    }
}

/// Each member lists those that tell the same.
fn name_the_same(members: &mut [MemberRow]) {
    let groups: Vec<Vec<usize>> = members.iter().map(|row| row.same_ids.clone()).filter(|ids| ids.len() > 1).collect();
    let path = |id: usize| members.iter().find(|row| row.id == id).map(MemberRow::path);
    let groups: Vec<Vec<(usize, String)>> =
        groups.into_iter().map(|ids| ids.into_iter().filter_map(|id| Some((id, path(id)?))).collect()).collect();
    for row in members {
        if let Some(group) = groups.iter().find(|group| group.iter().any(|(id, _)| *id == row.id)) {
            row.same = group.iter().filter(|(id, _)| *id != row.id).map(|(_, path)| path.clone()).collect();
        }
    }
}

/// The objects in which a member has a value, or satisfies `> 3`.
fn matching(
    question: &FieldsQuestion<'_>,
    groups: &Groups,
    member: &str,
    value: &str,
) -> Result<(Vec<ObjectRow>, u64), FieldsError> {
    // `size` alone is the allocation's.
    let path = if member.starts_with('+') { member.to_owned() } else { format!("this.{member}") };
    let text = match value.trim_start().starts_with(['=', '!', '<', '>', '~']) {
        true => format!("{path} {value}"),
        false => format!("{path} == {value}"),
    };
    // A text with blanks or signs in it may come without quotes.
    let quoted = || format!("{path} == \"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
    let filter = match read_filter(&text) {
        Ok(filter @ Filter::Test(Test::Member(_))) => filter,
        Ok(_) | Err(_) => read_filter(&quoted())?,
    };
    let tests = filter.member_tests();
    let conditions = ObjectConditions::new(&tests, question)?;
    let table = &question.heap.table;
    let (mut found, mut count) = (Vec::new(), 0);
    for (id, suspect) in groups.objects.iter().zip(&groups.suspect) {
        if !tests.iter().all(|test| conditions.holds(*id, test) == Some(true)) {
            continue;
        }
        count += 1;
        if found.len() < MOST_OBJECTS {
            let group = if *suspect { &groups.suspects.group } else { &groups.reference.group };
            found.push(ObjectRow { address: Hex::from(table.address(*id)), group: group.clone() });
        }
    }
    Ok((found, count))
}
