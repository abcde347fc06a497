//! Which members tell leaked objects from live ones.

use std::collections::{BTreeSet, HashSet};
use std::io::{self, Write};

use serde::Serialize;

use crate::graph::Reachability;
use crate::heap::{AllocId, HeapError};
use crate::insight::{FieldMember, FieldsQuestion, Meaning};
use crate::objects::{IdentityId, Objects};
use crate::session::Session;
use crate::task::Diagnostic;
use crate::types::{DebugInfo, TypeName as AskedName, Types};

use super::{Answer, Grouped, Look, SafeText, Share};

/// Members that are shown as telling, or as remarkable where there is but one group.
const SHOWN: usize = 12;
/// Names that are listed where the one asked for could be any of them.
const MOST_NAMES: usize = 20;
/// A share that one value of one group alone has beyond the usual, from which it is shown.
const REMARKABLE: f64 = 0.2;

/// Why there are no members to show.
#[derive(Debug, thiserror::Error)]
pub enum FieldsError {
    /// The heap cannot be walked.
    #[error(transparent)]
    Heap(#[from] HeapError),
    /// No object is of the type.
    #[error("no object of type {name} is found in the heap; `topleaked types --all` shows the types that are")]
    NoObjects {
        /// The type asked for.
        name: String,
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
    #[error("no member {member} of {name}; there are: {}", members.join(", "))]
    NoMember {
        /// The member asked for.
        member: String,
        /// The type.
        name: String,
        /// Its members.
        members: Vec<String>,
    },
}

/// The answer of `fields`.
#[derive(Debug, Serialize)]
pub struct Fields {
    #[serde(rename = "type")]
    type_name: String,
    layout: &'static str,
    suspects: GroupRow,
    reference: GroupRow,
    /// Objects in neither group: whether they leaked is not sure.
    possibly_leaked: u64,
    members: Vec<MemberRow>,
    /// Combinations of members; none are looked for.
    rules: [(); 0],
    #[serde(skip)]
    only: bool,
    #[serde(skip)]
    diagnostics: Vec<Diagnostic>,
}

#[derive(Debug, Serialize)]
struct GroupRow {
    group: &'static str,
    count: u64,
}

#[derive(Debug, Serialize)]
struct MemberRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    offset: u64,
    #[serde(rename = "type")]
    type_name: String,
    width: u64,
    score: f64,
    significant: bool,
    age_like: bool,
    across_age_only: bool,
    constant: bool,
    /// How much the first and the last half of the objects differ.
    drift: f64,
    suspects: Vec<CountRow>,
    reference: Vec<CountRow>,
    #[serde(skip)]
    telling: Option<usize>,
    #[serde(skip)]
    most_frequent: Option<usize>,
    #[serde(skip)]
    pairs: Vec<(String, u64, u64)>,
    #[serde(skip)]
    known: (u64, u64),
}

#[derive(Debug, Serialize)]
struct CountRow {
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    count: u64,
    share: f64,
}

impl Fields {
    /// Finds the objects of a type by the vtable or table of functions that they begin with, and holds the leaked ones
    /// against the live ones, member by member. A type may leave out its scopes. `member` asks for one member's values.
    ///
    /// # Errors
    /// Where the heap cannot be walked, or there is no such type or member.
    pub fn new(session: &Session<'_>, type_name: &str, member: Option<&str>) -> Result<Fields, FieldsError> {
        let (image, task) = (session.image(), session.task());
        let (heap, graph) = (session.heap()?, session.graph()?);
        let known = session.objects()?;
        let in_use: HashSet<IdentityId> = heap.table.ids().filter_map(|id| known.of(id)).collect();
        let name = find_name(known, &in_use, type_name)?;
        let wanted: HashSet<IdentityId> =
            in_use.iter().copied().filter(|id| known.identity(*id).name == name).collect();

        let (mut objects, mut suspect): (Vec<AllocId>, Vec<bool>) = (Vec::new(), Vec::new());
        let mut possibly_leaked = 0;
        for id in heap.table.ids() {
            let Some(reachability) = graph.marks.reachability(id) else { continue };
            if known.of(id).is_none_or(|identity| !wanted.contains(&identity)) {
                continue;
            }
            match reachability {
                Reachability::Leaked | Reachability::Anchored => {
                    objects.push(id);
                    suspect.push(reachability == Reachability::Leaked);
                }
                Reachability::PossiblyInterior | Reachability::PossiblyStale => possibly_leaked += 1,
            }
        }
        let leaked = suspect.iter().filter(|suspect| **suspect).count() as u64;
        let live = objects.len() as u64 - leaked;
        // One group alone is the one asked about.
        let (suspects, reference) = if leaked == 0 {
            suspect.fill(true);
            (GroupRow { group: "live", count: live }, GroupRow { group: "leaked", count: 0 })
        } else {
            (GroupRow { group: "leaked", count: leaked }, GroupRow { group: "live", count: live })
        };
        let mut diagnostics = Vec::new();
        let smallest = objects.iter().map(|id| heap.table.usable_size(*id)).min().unwrap_or(0);
        let layout = find_layout(session, &name, smallest, &mut diagnostics);
        let question = FieldsQuestion {
            image,
            heap,
            objects: &objects,
            suspect: &suspect,
            known,
            layout: layout.as_ref().map(|(types, id)| (types, *id)),
        };
        let show = |meaning: &Meaning| meant(session, known, meaning);
        let mut members: Vec<MemberRow> =
            question.answer(task).into_iter().map(|found| MemberRow::new(found, &show)).collect();
        if let Some(member) = member {
            let known = members.iter().map(MemberRow::label).collect();
            members.retain(|row| row.label() == member || row.path() == member);
            if members.is_empty() {
                return Err(FieldsError::NoMember { member: safe(member), name: safe(&name), members: known });
            }
        }
        Ok(Fields {
            type_name: name,
            layout: if layout.is_some() { "debug-info" } else { "inferred" },
            suspects,
            reference,
            possibly_leaked,
            members,
            rules: [],
            only: member.is_some(),
            diagnostics,
        })
    }

    /// What weakens the answer beyond what the session knows.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }
}

fn safe(text: &str) -> String {
    SafeText::from(text).to_string()
}

/// The full name of a type that has objects.
fn find_name(known: &Objects, in_use: &HashSet<IdentityId>, asked: &str) -> Result<String, FieldsError> {
    let plain = |text: &str| text.chars().filter(|c| *c != ' ').collect::<String>();
    let wanted = plain(asked);
    let all: BTreeSet<String> = in_use.iter().map(|id| known.identity(*id).name.clone()).collect();
    if let Some(exact) = all.iter().find(|name| plain(name) == wanted) {
        return Ok(exact.clone());
    }
    let within = format!("::{wanted}");
    let mut found: Vec<&String> = all.iter().filter(|name| plain(name).ends_with(&within)).collect();
    match found.as_slice() {
        [] => Err(FieldsError::NoObjects { name: safe(asked) }),
        [only] => Ok((*only).clone()),
        _ => {
            found.truncate(MOST_NAMES);
            let candidates = found.into_iter().map(|name| safe(name)).collect();
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
) -> Option<(Types, crate::types::TypeId)> {
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

/// A value in words, and its number where it has a name.
fn meant(session: &Session<'_>, known: &Objects, meaning: &Meaning) -> (String, Option<String>) {
    let text = match meaning {
        Meaning::Named(name, value) => return (value.clone(), Some(name.clone())),
        Meaning::Text(text) => text.clone(),
        Meaning::Null => "null".to_owned(),
        Meaning::Place(addr) => {
            let hex = format!("{:#x}", addr.0);
            return match session.symbols().find(*addr) {
                Some(hit) => {
                    let name = hit.demangled().into_owned();
                    (hex, Some(format!("&{name}")))
                }
                None => (hex, None),
            };
        }
        Meaning::Object(identity) => format!("a pointer to {}", known.identity(*identity).name),
        Meaning::Allocation(size) => format!("a pointer to {} bytes", Grouped(*size)),
        Meaning::Elsewhere => "a pointer to elsewhere".to_owned(),
        Meaning::Range(low, high) if low == high => low.clone(),
        Meaning::Range(low, high) => format!("{low} to {high}"),
        Meaning::Other => "other values".to_owned(),
    };
    (text, None)
}

impl MemberRow {
    fn new(found: FieldMember, show: &dyn Fn(&Meaning) -> (String, Option<String>)) -> MemberRow {
        let assessment = &found.assessment;
        let place = |category| assessment.counts.iter().position(|count| count.category == category);
        let telling = assessment.telling().and_then(|count| place(count.category));
        let most_frequent = assessment.most_frequent().and_then(|(category, _)| place(category));
        let known = (assessment.suspects, assessment.reference);
        let shown: Vec<(String, Option<String>)> = found.values.iter().map(|value| show(&value.meaning)).collect();
        let rows = |whole: u64, count: &dyn Fn(usize) -> u64| {
            let counted =
                shown.iter().enumerate().map(|(at, shown)| (shown, count(at))).filter(|(_, count)| *count > 0);
            let row = |((value, name), count): (&(String, Option<String>), u64)| CountRow {
                value: value.clone(),
                name: name.clone(),
                count,
                share: count as f64 / whole.max(1) as f64,
            };
            counted.map(row).collect()
        };
        let of = |at: usize| found.values.get(at).map_or((0, 0), |value| (value.suspects, value.reference));
        let pairs = shown.iter().enumerate().map(|(at, (value, name))| {
            let (suspects, reference) = of(at);
            (name.as_ref().unwrap_or(value).clone(), suspects, reference)
        });
        MemberRow {
            score: assessment.score,
            significant: assessment.significant,
            age_like: assessment.age_like,
            across_age_only: assessment.across_age_only,
            constant: assessment.is_constant(),
            drift: assessment.drift,
            suspects: rows(known.0, &|at| of(at).0),
            reference: rows(known.1, &|at| of(at).1),
            telling,
            most_frequent,
            pairs: pairs.collect(),
            known,
            name: found.name,
            offset: found.offset,
            type_name: found.type_name,
            width: found.width,
        }
    }

    /// What `--member` takes.
    fn path(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("+{:#x}", self.offset))
    }

    /// As it is shown.
    fn label(&self) -> String {
        let label = match &self.name {
            Some(name) => name.clone(),
            None => format!("{} {}", self.path(), self.type_name),
        };
        safe(&label)
    }

    fn pair(&self, at: Option<usize>) -> Option<(String, u64, u64)> {
        let (value, suspects, reference) = self.pairs.get(at?)?;
        let text = safe(value);
        let text = match text.as_str() {
            "other values" => "in none of its frequent values".to_owned(),
            text if text.contains(" to ") && !text.starts_with('"') && !text.starts_with("a pointer") => {
                format!("from {text}")
            }
            text => format!("= {text}"),
        };
        Some((text, *suspects, *reference))
    }
}

impl Answer for Fields {
    fn write_human(&self, out: &mut dyn Write, _: &Look) -> io::Result<()> {
        let name = safe(&self.type_name);
        let members = match self.members.len() {
            1 => "1 member".to_owned(),
            count => format!("{count} members"),
        };
        let source = if self.layout == "debug-info" { "debug information" } else { "their bytes alone" };
        let (asked, others) = (&self.suspects, &self.reference);
        match others.count {
            0 => writeln!(
                out,
                "{} {} objects of {name}, no {}; {members} from {source}",
                Grouped(asked.count),
                asked.group,
                others.group
            )?,
            count => writeln!(
                out,
                "{} {} and {} {} objects of {name}; {members} from {source}",
                Grouped(asked.count),
                asked.group,
                Grouped(count),
                others.group
            )?,
        }
        if self.possibly_leaked > 0 {
            writeln!(out, "left out: {} that are possibly leaked", Grouped(self.possibly_leaked))?;
        }
        writeln!(out)?;
        if self.only {
            return self.members.iter().try_for_each(|member| self.write_distribution(out, member));
        }
        if others.count == 0 { self.write_one_group(out) } else { self.write_contrast(out) }
    }
}

impl Fields {
    fn write_contrast(&self, out: &mut dyn Write) -> io::Result<()> {
        let (asked, others) = (self.suspects.group, self.reference.group);
        let tells = |member: &&MemberRow| member.significant && !member.age_like && !member.across_age_only;
        let telling: Vec<&MemberRow> = self.members.iter().filter(tells).collect();
        for member in telling.iter().take(SHOWN) {
            self.write_sentence(out, member)?;
        }
        if telling.len() > SHOWN {
            writeln!(out, "… {} more members", telling.len() - SHOWN)?;
        }
        if telling.is_empty() {
            let best = self.members.iter().find(|member| !member.constant).map(|member| member.label());
            let best = best.map_or_else(String::new, |best| format!(" (best: {best}, not significant)"));
            let aged = self.members.iter().any(|member| member.significant);
            let but = if aged { " beyond their age" } else { &*best };
            writeln!(out, "No member tells the {asked} from the {others} ones{but}.")?;
        }
        let older: Vec<String> =
            self.members.iter().filter(|m| m.significant && m.age_like).map(MemberRow::label).collect();
        if !older.is_empty() {
            writeln!(out, "\nages, no causes (they follow the order of addresses): {}", older.join(", "))?;
        }
        let across: Vec<&MemberRow> =
            self.members.iter().filter(|m| m.significant && !m.age_like && m.across_age_only).collect();
        if !across.is_empty() {
            writeln!(out, "\nno difference among objects of the same age:")?;
            across.iter().take(SHOWN).try_for_each(|member| self.write_sentence(out, member))?;
        }
        let silent: Vec<String> = self.members.iter().filter(|m| !m.significant).map(MemberRow::label).collect();
        if !silent.is_empty() {
            writeln!(out, "\nthey tell nothing: {}", silent.join(", "))?;
        }
        Ok(())
    }

    fn write_sentence(&self, out: &mut dyn Write, member: &MemberRow) -> io::Result<()> {
        let Some((value, suspects, reference)) = member.pair(member.telling) else { return Ok(()) };
        let (asked, others) = (self.suspects.group, self.reference.group);
        let of = Share { part: suspects, whole: member.known.0 };
        let against = Share { part: reference, whole: member.known.1 };
        let whole = Grouped(member.known.0);
        writeln!(out, "{of} of the {whole} {asked} have {} {value} ({against} of the {others})", member.label())
    }

    fn write_one_group(&self, out: &mut dyn Write) -> io::Result<()> {
        let group = self.suspects.group;
        writeln!(
            out,
            "All are {group}, so there is nothing to compare with. What most of them share, ahead of what is usual:"
        )?;
        let shown = |m: &&MemberRow| !m.constant && !m.age_like && m.score >= REMARKABLE;
        let remarkable: Vec<&MemberRow> = self.members.iter().filter(shown).collect();
        for member in remarkable.iter().take(SHOWN) {
            let Some((value, count, _)) = member.pair(member.most_frequent) else { continue };
            let share = Share { part: count, whole: member.known.0 };
            let of = format!("{} of {}", Grouped(count), Grouped(member.known.0));
            writeln!(out, "  {share} of the {group} ones have {} {value} ({of})", member.label())?;
        }
        if remarkable.is_empty() {
            writeln!(out, "  no value that is remarkable")?;
        }
        if remarkable.len() > SHOWN {
            writeln!(out, "  … {} more members", remarkable.len() - SHOWN)?;
        }
        let list = |wanted: &dyn Fn(&MemberRow) -> bool| {
            self.members.iter().filter(|m| wanted(m)).map(MemberRow::label).collect::<Vec<_>>().join(", ")
        };
        let spread = |m: &MemberRow| !m.constant && !m.age_like && m.score < REMARKABLE;
        for (title, names) in [
            ("they differ between the first and the last half", list(&|m| !m.age_like && !m.constant && m.drift > 0.0)),
            ("they follow the order of addresses, as ages do", list(&|m| !m.constant && m.age_like)),
            ("spread over many values", list(&spread)),
            ("the same in all, or nearly all", list(&|m| m.constant)),
        ] {
            if !names.is_empty() {
                writeln!(out, "\n{title}: {names}")?;
            }
        }
        Ok(())
    }

    fn write_distribution(&self, out: &mut dyn Write, member: &MemberRow) -> io::Result<()> {
        let mut columns = vec![
            super::Column::text("value"),
            super::Column::number(self.suspects.group),
            super::Column::number("share"),
        ];
        if self.reference.count > 0 {
            columns.extend([super::Column::number(self.reference.group), super::Column::number("share")]);
        }
        writeln!(
            out,
            "{} ({}, offset {}, {} bytes)",
            member.label(),
            safe(&member.type_name),
            member.offset,
            member.width
        )?;
        let mut table = super::Table::new(&columns);
        for (value, suspects, reference) in &member.pairs {
            table.row([
                value.clone(),
                Grouped(*suspects).to_string(),
                Share { part: *suspects, whole: member.known.0 }.to_string(),
                Grouped(*reference).to_string(),
                Share { part: *reference, whole: member.known.1 }.to_string(),
            ]);
        }
        table.write(out, &Look::PLAIN)
    }
}
