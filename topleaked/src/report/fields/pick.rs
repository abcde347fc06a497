//! The objects of one type, their layout, and which of them are suspects.

use std::collections::{BTreeMap, BTreeSet};

use crate::addr::Addr;
use crate::graph::Reachability;
use crate::heap::AllocId;
use crate::image::ModuleId;
use crate::insight::filter::{Pattern, Prepared};
use crate::insight::{FieldsQuestion, MemberPlaces, Names, ObjectConditions, alike};
use crate::objects::{Evidence, Identity, IdentityId, Objects};
use crate::session::Session;
use crate::task::Diagnostic;
use crate::types::{DebugInfo, FoundLayout, TypeId, TypeName as AskedName, Types};

use super::{FieldsError, read_filter, safe};

/// Names that are listed where the one asked for could be any of them.
const MOST_NAMES: usize = 20;
/// Names that the one asked for may have meant.
const MOST_NEAR: usize = 3;
/// Letters of a name that are compared with another.
const LONGEST_COMPARED: usize = 64;
/// How the libraries spell `std::string`, without blanks.
const STRINGS: [&str; 3] = [
    "std::__cxx11::basic_string<char,std::char_traits<char>,std::allocator<char>>",
    "std::__1::basic_string<char,std::__1::char_traits<char>,std::__1::allocator<char>>",
    "std::basic_string<char,std::char_traits<char>,std::allocator<char>>",
];
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
        module: Option<&Pattern>,
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
        let (info, layouts) = find_layouts(session, &name).unzip();
        let mut layouts: Vec<FoundLayout> = layouts.unwrap_or_default();
        if layouts.len() > 1
            && let Some((layout, kept)) = of_one_layout(session, &name, &objects, &layouts, module, diagnostics)?
        {
            let mut keep = kept.iter().copied();
            objects.retain(|_| keep.next().unwrap_or(true));
            let mut keep = kept.iter().copied();
            reachability.retain(|_| keep.next().unwrap_or(true));
            layouts = vec![layout];
        }
        let smallest = objects.iter().map(|id| heap.table.usable_size(*id)).min().unwrap_or(0);
        let layout = info.and_then(|info| fitting_layout(session, info, &name, &layouts, smallest, diagnostics));
        let mut picked =
            Picked { name, objects, reachability, layout, places: MemberPlaces::default(), by_likeness: 0 };
        picked.find_places(session)?;
        for (path, count) in picked.places.unlisted().iter().take(MOST_NAMES) {
            let effect = format!("{count} elements of {} are not looked at", safe(path));
            diagnostics.push(Diagnostic { code: "elements-left-out", at: picked.name.clone(), effect });
        }
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
            alike: self.by_likeness > 0,
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
    let plain = |text: &str| {
        let text: String = text.chars().filter(|c| *c != ' ').collect();
        STRINGS.iter().fold(text, |text, long| text.replace(long, "std::string"))
    };
    let wanted = plain(asked);
    let names = known.identities().iter().zip(in_use).filter(|(_, in_use)| **in_use);
    let all: BTreeSet<&str> = names.map(|(identity, _)| identity.name.as_str()).collect();
    if let Some(exact) = all.iter().find(|name| plain(name) == wanted) {
        return Ok((*exact).to_owned());
    }
    let within = format!("::{wanted}");
    let mut found: Vec<&str> = all.into_iter().filter(|name| plain(name).ends_with(&within)).collect();
    match found.as_slice() {
        [] => {
            let near = nearest(
                asked,
                known.identities().iter().zip(in_use).filter(|(_, in_use)| **in_use).map(|(i, _)| &*i.name),
            );
            Err(FieldsError::NoObjects { name: safe(asked), near: near.into_iter().map(safe).collect() })
        }
        [only] => Ok((*only).to_owned()),
        _ => {
            found.truncate(MOST_NAMES);
            let candidates = found.into_iter().map(safe).collect();
            Err(FieldsError::Ambiguous { name: safe(asked), candidates })
        }
    }
}

/// Names that the one asked for may have meant, the nearest first: its last part, with a few other letters.
pub(super) fn nearest<'n>(asked: &str, names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let last = |name: &str| {
        let end = name.find('<').unwrap_or(name.len());
        let name = name.get(..end).unwrap_or(name);
        let part = name.rsplit(['.', ':', ' ']).next().unwrap_or(name);
        part.chars().take(LONGEST_COMPARED).collect::<String>().to_ascii_lowercase()
    };
    let wanted = last(asked);
    let most = 1 + wanted.chars().count() / 4;
    let far = |name: &str| {
        let name = last(name);
        // A part of it is nearer than other letters.
        if !wanted.is_empty() && name == wanted { 0 } else { 1 + distance(&wanted, &name) }
    };
    let mut found: Vec<(usize, &str)> =
        names.map(|name| (far(name), name)).filter(|(far, _)| *far <= most + 1).collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(MOST_NEAR).map(|(_, name)| name).collect()
}

/// How many letters have to be put in, taken out or changed (Wagner and Fischer, "The string-to-string correction problem", 1974).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (at, letter) in a.chars().enumerate() {
        let mut before = at;
        let mut left = at + 1;
        for (place, other) in row.iter_mut().skip(1).zip(&b) {
            let changed = before + usize::from(letter != *other);
            before = *place;
            left = changed.min(before + 1).min(left + 1);
            *place = left;
        }
        if let Some(first) = row.first_mut() {
            *first = at + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

/// The layouts that debug information has for a name.
fn find_layouts(session: &Session<'_>, name: &str) -> Option<(DebugInfo, Vec<FoundLayout>)> {
    let asked = AskedName::parse(name)?;
    let info = DebugInfo::of_image(session.image());
    let found = info.find_type(&asked, session.task());
    let layouts = match found.names.as_slice() {
        [only] => only.layouts.clone(),
        several => several.iter().find(|found| found.name == name)?.layouts.clone(),
    };
    Some((info, layouts))
}

/// Where modules differ in a class's layout, the objects tell by their vtables whose theirs is: the layout that most of them
/// have, or most of those of the module that is asked for, and for each object whether it has that one. `None` where the
/// vtables do not tell.
fn of_one_layout(
    session: &Session<'_>,
    name: &str,
    objects: &[AllocId],
    layouts: &[FoundLayout],
    module: Option<&Pattern>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Result<Option<(FoundLayout, Vec<bool>)>, FieldsError> {
    let (image, table, known) = (session.image(), &session.heap()?.table, session.objects()?);
    let module_of = |id: &AllocId| {
        let evidence = known.identity(known.of(*id)?).evidence;
        let word = image.space().word(table.address(*id)).filter(|_| evidence >= Evidence::VtableArray)?;
        image.module_at(Addr(word)).map(|(at, _)| at)
    };
    let of_objects: Vec<Option<ModuleId>> = objects.iter().map(module_of).collect();
    let modules: BTreeSet<ModuleId> = of_objects.iter().flatten().copied().collect();
    // With each module its name, and its layout; two layouts in one module are told apart by nothing.
    let modules: BTreeMap<ModuleId, (String, Option<usize>)> = modules
        .into_iter()
        .filter_map(|id| Some((id, String::from_utf8_lossy(image.module(id)?.name()).into_owned())))
        .map(|(id, label)| {
            let mut having = layouts.iter().enumerate().filter(|(_, layout)| layout.modules.contains(&label));
            let only = having.next().filter(|_| having.next().is_none()).map(|(at, _)| at);
            (id, (label, only))
        })
        .collect();
    let mut counts = vec![0u64; layouts.len()];
    for (label, layout) in of_objects.iter().flatten().filter_map(|id| modules.get(id)) {
        if module.is_none_or(|pattern| pattern.holds(label))
            && let Some(count) = layout.and_then(|at| counts.get_mut(at))
        {
            *count += 1;
        }
    }
    let most = counts.iter().copied().max().filter(|most| *most > 0);
    let chosen = most.and_then(|most| counts.iter().position(|count| *count == most));
    let Some((chosen, layout)) = chosen.and_then(|at| Some((at, layouts.get(at)?))) else { return Ok(None) };
    let is_it = |of: &Option<ModuleId>| of.and_then(|id| modules.get(&id)?.1) == Some(chosen);
    let kept: Vec<bool> = of_objects.iter().map(is_it).collect();
    let left = kept.iter().filter(|kept| !**kept).count();
    if left > 0 {
        let other = modules.values().find(|(_, layout)| *layout != Some(chosen));
        let hint = other.map_or_else(String::new, |(other, _)| {
            format!("; --where 'module == {}' takes those of {}", safe(other), safe(other))
        });
        let effect = format!(
            "{left} objects of another layout than that of {} are left out{hint}",
            safe(&layout.modules.join(", "))
        );
        diagnostics.push(Diagnostic { code: "other-layout", at: name.to_owned(), effect });
    }
    Ok(Some((layout.clone(), kept)))
}

/// The layout of a class, where one of those found fits into its objects.
fn fitting_layout(
    session: &Session<'_>,
    info: DebugInfo,
    name: &str,
    layouts: &[FoundLayout],
    usable_size: u64,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<(Types, TypeId)> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_offered() {
        let names = ["net::Client", "net::Clients", "Server", "Box<Client>", "net::Server"];
        assert_eq!(nearest("Clint", names.into_iter()), ["net::Client", "net::Clients"]);
        assert_eq!(nearest("client", names.into_iter()), ["net::Client", "net::Clients"]);
        assert_eq!(nearest("other::Server", names.into_iter()), ["Server", "net::Server"]);
        assert_eq!(nearest("Socket", names.into_iter()), [""; 0]);
        assert_eq!(nearest("", names.into_iter()), [""; 0]);
        assert_eq!([distance("kitten", "sitting"), distance("", "abc"), distance("abc", "abc")], [3, 3, 0]);
    }
}
