//! The objects of one type, their layout, and which of them are suspects.

use std::collections::BTreeSet;

use crate::graph::Reachability;
use crate::heap::AllocId;
use crate::insight::{FieldsQuestion, Names};
use crate::objects::{IdentityId, Objects};
use crate::session::Session;
use crate::task::Diagnostic;
use crate::types::{DebugInfo, TypeId, TypeName as AskedName, Types};

use super::{FieldsError, safe};

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
}

impl Picked {
    /// All objects in use that are of the type.
    pub(in crate::report) fn find(
        session: &Session<'_>,
        asked: &str,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<Picked, FieldsError> {
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
        Ok(Picked { name, objects, reachability, layout })
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
            layout: self.layout.as_ref().map(|(types, id)| (types, *id)),
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
