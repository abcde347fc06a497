//! The objects of one type, their layout, and which of them are suspects.

use std::collections::BTreeSet;

use crate::addr::Addr;
use crate::graph::Reachability;
use crate::heap::AllocId;
use crate::insight::filter::Prepared;
use crate::insight::{FieldsQuestion, MemberPlaces, Names, ObjectConditions, alike};
use crate::objects::{Evidence, Identity, IdentityId, Objects};
use crate::session::Session;
use crate::task::Diagnostic;
use crate::types::{DebugInfo, TypeId, TypeName as AskedName, Types};

use super::{FieldsError, read_filter, safe};

/// Names that are listed where the one asked for could be any of them.
const MOST_NAMES: usize = 20;
/// Objects of each other type from which it is learnt what is usual.
const MOST_OTHERS: usize = 512;
/// Other types that are looked at.
const MOST_OTHER_TYPES: usize = 64;

/// The objects of one type in one dump.
pub(in crate::report) struct Picked {
    pub(in crate::report) name: String,
    /// By address.
    pub(in crate::report) objects: Vec<AllocId>,
    pub(super) reachability: Vec<Reachability>,
    pub(super) layout: Option<(Types, TypeId)>,
    pub(super) places: MemberPlaces,
    /// Objects that are known by their likeness to the others alone.
    pub(super) by_likeness: u64,
}

impl Picked {
    /// All objects in use that are of the type; where a number is asked for, the allocations of no known type that have so
    /// many usable bytes.
    pub(in crate::report) fn find(
        session: &Session<'_>,
        asked: &str,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<Picked, FieldsError> {
        if let Ok(size) = asked.parse() {
            return Picked::of_size(session, size);
        }
        let (heap, graph, known) = (session.heap()?, session.graph()?, session.objects()?);
        let mut in_use = vec![false; known.identities().len()];
        for identity in heap.table.ids().filter_map(|id| known.of(id)) {
            if let Some(in_use) = in_use.get_mut(identity.0 as usize) {
                *in_use = true;
            }
        }
        let name = find_name(known, &in_use, asked)?;
        let wanted: Vec<bool> = known.identities().iter().map(|identity| identity.name == name).collect();
        let is_it = |id: AllocId| known.of(id).and_then(|IdentityId(at)| wanted.get(at as usize)) == Some(&true);
        let (mut objects, mut reachability) = (Vec::new(), Vec::new());
        for id in heap.table.ids().filter(|id| is_it(*id)) {
            if let Some(how) = graph.marks.reachability(id) {
                objects.push(id);
                reachability.push(how);
            }
        }
        let smallest = objects.iter().map(|id| heap.table.usable_size(*id)).min().unwrap_or(0);
        let layout = find_layout(session, &name, smallest, diagnostics);
        let mut picked =
            Picked { name, objects, reachability, layout, places: MemberPlaces::default(), by_likeness: 0 };
        picked.find_places(session)?;
        picked.add_alike(session)?;
        Ok(picked)
    }

    fn of_size(session: &Session<'_>, size: u64) -> Result<Picked, FieldsError> {
        let (heap, graph, known) = (session.heap()?, session.graph()?, session.objects()?);
        let table = &heap.table;
        let meant = table.ids().filter(|id| table.usable_size(*id) == size && known.of(*id).is_none());
        let (objects, reachability): (Vec<AllocId>, Vec<Reachability>) =
            meant.filter_map(|id| Some((id, graph.marks.reachability(id)?))).unzip();
        if objects.is_empty() {
            return Err(FieldsError::NoSize { size });
        }
        let places = MemberPlaces::inferred(session.image(), heap, &objects);
        Ok(Picked { name: format!("({size} bytes)"), objects, reachability, layout: None, places, by_likeness: 0 })
    }

    /// What leaked has no pointer that leads to it: where objects are known by pointers alone, those that leaked are not. They are
    /// told by their size and by what their members hold.
    fn add_alike(&mut self, session: &Session<'_>) -> Result<(), FieldsError> {
        let (heap, graph, known) = (session.heap()?, session.graph()?, session.objects()?);
        let table = &heap.table;
        let by_pointer = |identity: &Identity| {
            matches!(identity.evidence, Evidence::TypedPointer | Evidence::FatPointer | Evidence::SharedPointer)
                && identity.content.is_none()
        };
        let mut identities: Vec<IdentityId> = self.objects.iter().filter_map(|id| known.of(*id)).collect();
        identities.dedup();
        if self.layout.is_none() || !identities.iter().all(|id| by_pointer(known.identity(*id))) {
            return Ok(());
        }
        let sizes: BTreeSet<u64> = self.objects.iter().map(|id| table.usable_size(*id)).collect();
        let candidates: Vec<AllocId> = table
            .ids()
            .filter(|id| known.of(*id).is_none() && sizes.contains(&table.usable_size(*id)))
            .filter(|id| graph.marks.reachability(*id).is_some())
            .collect();
        let nowhere = |_: Addr| None;
        let found = alike(&self.question(session, &self.objects, &[], Names { place: &nowhere })?, &candidates);
        self.by_likeness = found.len() as u64;
        self.objects.extend(found);
        self.objects.sort_unstable();
        let reachability = self.objects.iter().filter_map(|id| graph.marks.reachability(*id));
        self.reachability = reachability.collect();
        Ok(())
    }

    /// Finds the members, by the layout where there is one.
    pub(super) fn find_places(&mut self, session: &Session<'_>) -> Result<(), FieldsError> {
        let (image, heap) = (session.image(), session.heap()?);
        self.places = match (&self.layout, self.objects.first()) {
            (Some((types, id)), Some(first)) => MemberPlaces::of_type(types, *id, image, heap.table.address(*first)),
            _ => MemberPlaces::inferred(image, heap, &self.objects),
        };
        Ok(())
    }

    /// Keeps only the objects that a filter means.
    pub(super) fn keep(&mut self, session: &Session<'_>, filter: &str, names: Names<'_>) -> Result<(), FieldsError> {
        let read = read_filter(filter)?;
        let kept: Vec<bool> = {
            let question = self.question(session, &self.objects, &[], names)?;
            let members = ObjectConditions::new(&read.member_tests(), &question)?;
            let prepared = Prepared::new(&read, session.tables()?, Some(&members));
            self.objects.iter().map(|id| prepared.selects(*id)).collect()
        };
        let mut keep = kept.iter().copied();
        self.objects.retain(|_| keep.next().unwrap_or(false));
        let mut keep = kept.iter().copied();
        self.reachability.retain(|_| keep.next().unwrap_or(false));
        match self.objects.is_empty() {
            true => Err(FieldsError::EmptyGroup { name: safe(&self.name), filter: safe(filter) }),
            false => Ok(()),
        }
    }

    /// The question about these objects, or some of them.
    pub(in crate::report) fn question<'a>(
        &'a self,
        session: &'a Session<'_>,
        objects: &'a [AllocId],
        suspect: &'a [bool],
        names: Names<'a>,
    ) -> Result<FieldsQuestion<'a>, FieldsError> {
        Ok(FieldsQuestion {
            image: session.image(),
            heap: session.heap()?,
            objects,
            suspect,
            known: session.objects()?,
            places: &self.places,
            types: self.layout.as_ref().map(|(types, _)| types),
            names,
        })
    }
}

/// Objects of other types, the most frequent types first: some of each.
pub(super) fn others(session: &Session<'_>, but: &str) -> Result<Vec<Vec<AllocId>>, FieldsError> {
    let (heap, known) = (session.heap()?, session.objects()?);
    let mut found: Vec<(u64, Vec<AllocId>)> = known.identities().iter().map(|_| (0, Vec::new())).collect();
    for id in heap.table.ids() {
        let Some(place) = known.of(id).and_then(|IdentityId(at)| found.get_mut(at as usize)) else { continue };
        place.0 += 1;
        if place.1.len() < MOST_OTHERS {
            place.1.push(id);
        }
    }
    let mut others: Vec<(u64, Vec<AllocId>)> = (found.into_iter().zip(known.identities()))
        .filter(|((count, _), identity)| *count > 0 && identity.name != but)
        .map(|(found, _)| found)
        .collect();
    others.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    Ok(others.into_iter().take(MOST_OTHER_TYPES).map(|(_, objects)| objects).collect())
}

/// The full name of a type that has objects.
fn find_name(known: &Objects, in_use: &[bool], asked: &str) -> Result<String, FieldsError> {
    let plain = |text: &str| text.chars().filter(|c| *c != ' ').collect::<String>();
    let wanted = plain(asked);
    let names = known.identities().iter().zip(in_use).filter(|(_, in_use)| **in_use);
    let all: BTreeSet<&str> = names.map(|(identity, _)| identity.name.as_str()).collect();
    if let Some(exact) = all.iter().find(|name| plain(name) == wanted) {
        return Ok((*exact).to_owned());
    }
    let within = format!("::{wanted}");
    let mut found: Vec<&str> = all.into_iter().filter(|name| plain(name).ends_with(&within)).collect();
    match found.as_slice() {
        [] => Err(FieldsError::NoObjects { name: safe(asked) }),
        [only] => Ok((*only).to_owned()),
        _ => {
            found.truncate(MOST_NAMES);
            let candidates = found.into_iter().map(safe).collect();
            Err(FieldsError::Ambiguous { name: safe(asked), candidates })
        }
    }
}

/// The layout of a class, where debug information has one that fits into its objects.
fn find_layout(
    session: &Session<'_>,
    name: &str,
    usable_size: u64,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<(Types, TypeId)> {
    let asked = AskedName::parse(name)?;
    let info = DebugInfo::of_image(session.image());
    let found = info.find_type(&asked, session.task());
    let layouts = match found.names.as_slice() {
        [only] => only.layouts.clone(),
        several => several.iter().find(|found| found.name == name)?.layouts.clone(),
    };
    let fits = |size: Option<u64>| size.is_some_and(|size| size > 0 && size <= usable_size);
    let fitting: Vec<_> = layouts.iter().filter(|layout| fits(layout.size_bytes)).collect();
    if layouts.len() > 1 || fitting.is_empty() && !layouts.is_empty() {
        diagnostics.push(Diagnostic {
            code: "layout-doubtful",
            at: name.to_owned(),
            effect: match fitting.is_empty() {
                true => "no layout in the debug information fits into the objects: members are inferred".to_owned(),
                false => format!("debug information has {} layouts: names and offsets may be wrong", layouts.len()),
            },
        });
    }
    let mut types = Types::new(info);
    let id = types.add(fitting.first()?);
    types.complete(&[id], session.task());
    Some((types, id))
}
