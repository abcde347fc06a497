//! Walking units for types by name, without reading what cannot matter.
//!
//! A name stands once in `.debug_str`, and an entry that has it holds its 4-byte offset. So the strings are searched
//! first, then each unit's bytes for those offsets, at the speed of memory; only units with a hit are parsed,
//! and of these only the subtrees that hold a hit, where entries name their sibling. A hit by chance costs a look, no more. Indexes
//! such as `.debug_names` and `.gdb_index` are not trusted, and not needed.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use gimli::{AttributeValue, DwTag, Reader, UnitOffset};
use memchr::memchr2;

use crate::task::Task;

use super::name::{Likeness, Part, Scope, TypeName, base_length};
use super::sections::{Section, Slice};
use super::unit::{Entry, UnitReader, is_scope_tag, is_type_tag};
use super::{DebugInfo, DieRef};

/// Entries with a name that was asked for; further ones are left out.
const MOST_MATCHES: usize = 1 << 20;
/// Scopes nested deeper than this are not told apart.
const MOST_SCOPES: usize = 256;
/// With more hits than this in one unit, it is walked whole.
const MOST_HITS: usize = 1 << 16;

/// An entry whose name was asked for.
#[derive(Clone, Debug)]
pub(super) struct Match {
    pub(super) query: u32,
    pub(super) likeness: Likeness,
    pub(super) die: DieRef,
    pub(super) name: String,
    pub(super) tag: DwTag,
    pub(super) size: Option<u64>,
    pub(super) declared: bool,
    /// Equal for equal sizes, members and offsets.
    pub(super) fingerprint: u64,
}

/// Runs `work` for each unit in `units`, on all threads of the task, and hands back what it gave, by unit.
pub(super) fn each_unit<T: Send>(
    units: &[u32],
    task: &Task,
    work: impl Fn(u32, &mut Vec<T>) + Sync,
) -> Vec<(u32, Vec<T>)> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    let worker = || {
        let mut own = Vec::new();
        while !task.progress.is_cancelled() {
            let Some(&unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            let mut out = Vec::new();
            work(unit, &mut out);
            if !out.is_empty() {
                own.push((unit, out));
            }
        }
        found.lock().unwrap_or_else(std::sync::PoisonError::into_inner).append(&mut own);
    };
    std::thread::scope(|scope| {
        for _ in 1..task.threads.get().min(units.len()) {
            scope.spawn(worker);
        }
        worker();
    });
    let mut found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    found.sort_by_key(|(unit, _)| *unit);
    found
}

/// Names to look for, by the type's own name.
pub(super) struct Wanted<'q> {
    queries: &'q [TypeName],
    by_base: HashMap<&'q [u8], Vec<u32>>,
    /// By the last bytes of a name: up to four of them.
    by_end: HashMap<u32, Vec<&'q [u8]>>,
    short: bool,
}

fn end_key(bytes: &[u8]) -> u32 {
    bytes.iter().rev().take(4).fold(0, |key, byte| key << 8 | u32::from(*byte))
}

impl<'q> Wanted<'q> {
    pub(super) fn new(queries: &'q [TypeName]) -> Wanted<'q> {
        let mut by_base: HashMap<&[u8], Vec<u32>> = HashMap::new();
        for (at, query) in (0u32..).zip(queries) {
            by_base.entry(query.base().as_bytes()).or_default().push(at);
        }
        let mut by_end: HashMap<u32, Vec<&[u8]>> = HashMap::new();
        let mut short = false;
        for base in by_base.keys().copied() {
            short |= base.len() < 4;
            by_end.entry(end_key(base)).or_default().push(base);
        }
        Wanted { queries, by_base, by_end, short }
    }

    /// The names that end where `text` ends.
    fn ending(&self, text: &[u8]) -> impl Iterator<Item = &'q [u8]> {
        let shortest = if self.short { 1 } else { 4 };
        (shortest..=4usize.min(text.len())).flat_map(move |length| {
            let key = end_key(text.get(text.len() - length..).unwrap_or_default());
            let text = text.to_owned();
            let exact = length < 4;
            self.by_end
                .get(&key)
                .into_iter()
                .flatten()
                .copied()
                .filter(move |base| if exact { base.len() == length } else { base.len() >= 4 } && text.ends_with(base))
        })
    }

    /// Offsets in a string section at which a wanted name begins and ends, alone or before template arguments. A
    /// linker lets one string be the end of another, so a name may begin anywhere.
    fn offsets_in(&self, strings: &[u8]) -> HashSet<u32> {
        let mut found = HashSet::new();
        let mut start = 0;
        while let Some(length) = strings.get(start..).and_then(|rest| memchr2(0, b'<', rest)) {
            let end = start + length;
            // A name is not cut where an operator or an earlier argument list was met: only the last bytes count.
            let from = end.saturating_sub(MOST_NAME_BYTES);
            let text = strings.get(from..end).unwrap_or_default();
            let longest = text.len().min(4);
            let quick = (1..=longest).rev().any(|length| {
                (length == 4 || self.short)
                    && self.by_end.contains_key(&end_key(text.get(text.len() - length..).unwrap_or_default()))
            });
            if quick {
                found.extend(self.ending(text).map(|base| (end - base.len()) as u32));
            }
            start = end + 1;
        }
        found
    }
}

/// A type's own name, without arguments, is not longer, in bytes.
const MOST_NAME_BYTES: usize = 4096;

/// What 4 bytes of a unit have to be for a wanted name to be there, and a small filter in front.
struct Needles {
    /// Offsets of wanted names in the container's strings.
    offsets: HashSet<u32>,
    /// The last 4 bytes of wanted names that are written out; of 3 bytes and the one that follows.
    texts: HashSet<u32>,
    filter: Vec<u64>,
}

impl Needles {
    const BITS: u32 = 19;

    fn new(offsets: HashSet<u32>, wanted: &Wanted<'_>, big: bool) -> Needles {
        let mut texts = HashSet::new();
        for base in wanted.by_base.keys() {
            let read = |raw: [u8; 4]| if big { u32::from_be_bytes(raw) } else { u32::from_le_bytes(raw) };
            match (base.last_chunk::<4>(), base.first_chunk::<3>()) {
                (Some(raw), _) => texts.extend([read(*raw)]),
                (None, Some([a, b, c])) => texts.extend([read([*a, *b, *c, 0]), read([*a, *b, *c, b'<'])]),
                (None, None) => {}
            }
        }
        let mut filter = vec![0u64; 1 << (Needles::BITS - 6)];
        for value in offsets.iter().chain(&texts) {
            let bit = Needles::bit(*value);
            if let Some(word) = filter.get_mut(bit >> 6) {
                *word |= 1 << (bit & 63);
            }
        }
        Needles { offsets, texts, filter }
    }

    fn bit(value: u32) -> usize {
        (value.wrapping_mul(0x9e37_79b1) >> (32 - Needles::BITS)) as usize
    }

    /// Where in `bytes` a wanted name may be, in order; one more than [`MOST_HITS`] at most.
    fn hits(&self, bytes: &[u8], big: bool) -> Vec<u32> {
        let mut hits = Vec::new();
        for (at, window) in bytes.windows(4).enumerate() {
            let Some(raw) = window.first_chunk::<4>() else { break };
            let value = if big { u32::from_be_bytes(*raw) } else { u32::from_le_bytes(*raw) };
            let bit = Needles::bit(value);
            let passes = self.filter.get(bit >> 6).is_some_and(|word| word >> (bit & 63) & 1 == 1);
            if !passes {
                continue;
            }
            let ends = |end: usize| matches!(bytes.get(end), Some(0 | b'<'));
            let text = || self.texts.contains(&value) && (ends(at + 3) || ends(at + 4));
            if self.offsets.contains(&value) || text() {
                hits.push(at as u32);
                if hits.len() > MOST_HITS {
                    break;
                }
            }
        }
        hits
    }
}

/// Finds the entries of all units that have one of the names asked for, in order. Costs O(bytes of debug information) at
/// some gigabytes a second, and parsing what may hold a match.
pub(super) fn find_matches(info: &DebugInfo, queries: &[TypeName], task: &Task) -> Vec<Match> {
    let wanted = Wanted::new(queries);
    let needles: Vec<Needles> = {
        let own: Vec<HashSet<u32>> =
            info.containers.iter().map(|c| wanted.offsets_in(c.sections.bytes(Section::Str))).collect();
        (0u32..)
            .zip(&own)
            .map(|(id, offsets)| {
                let shared = info.alternate_of(id).and_then(|alternate| own.get(alternate as usize));
                let offsets = offsets.iter().chain(shared.into_iter().flatten()).copied().collect();
                Needles::new(offsets, &wanted, info.is_big(id))
            })
            .collect()
    };
    // One or two letters are everywhere.
    let tiny = wanted.by_base.keys().any(|base| base.len() < 3);
    let units: Vec<u32> = (0u32..).zip(&info.units).filter(|(_, unit)| !unit.is_skeleton).map(|(id, _)| id).collect();
    task.progress.start("looking for types", units.len() as u64);
    let found = each_unit(&units, task, |id, out| {
        task.progress.advance(1);
        let Some(unit) = info.unit(id) else { return };
        let Some(container) = info.container(unit.container) else { return };
        let Some(needles) = needles.get(unit.container as usize) else { return };
        let hits = needles.hits(unit.bytes(&container.sections), info.is_big(unit.container));
        let indexed = !container.sections.bytes(Section::StrOffsets).is_empty();
        if hits.is_empty() && !indexed && !tiny {
            return;
        }
        let Some(reader) = info.open_unit(id) else { return };
        // A name by index leaves no trace in the unit's bytes.
        let blind = tiny || hits.len() > MOST_HITS || (indexed && names_by_index(&reader, needles));
        if hits.is_empty() && !blind {
            return;
        }
        Walk { reader: &reader, wanted: &wanted, hits: (!blind).then_some(&hits), scopes: Vec::new(), out }.run();
    });
    found.into_iter().flat_map(|(_, matches)| matches).take(MOST_MATCHES).collect()
}

/// Whether the unit's own string offsets lead to a wanted name.
fn names_by_index(reader: &UnitReader<'_>, needles: &Needles) -> bool {
    let format = reader.header.format();
    let Ok(base) = usize::try_from(reader.str_offsets_base()) else { return false };
    let section: Slice<'_> = reader.sections.slice(Section::StrOffsets);
    // From DWARF 5 on, the length of the unit's part stands in front of it.
    let mut part = section;
    let header = if format == gimli::Format::Dwarf64 { 16 } else { 8 };
    if reader.header.version() >= 5 && base >= header {
        let mut head = section;
        let length = head.skip(base - header).and_then(|()| head.read_initial_length());
        if let Ok((length, _)) = length
            && part.skip(base).is_ok()
        {
            let size = length.saturating_sub(4).min(part.len());
            if part.truncate(size).is_err() {
                return true;
            }
        } else {
            return true;
        }
    } else if part.skip(base).is_err() {
        return false;
    }
    while !part.is_empty() {
        match part.read_offset(format) {
            Ok(offset) if needles.offsets.contains(&(offset as u32)) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    false
}

/// One walk over one unit.
struct Walk<'a, 'r, 'q> {
    reader: &'r UnitReader<'a>,
    wanted: &'r Wanted<'q>,
    /// Where a wanted name may be referred to, sorted; `None` where that is not known.
    hits: Option<&'r Vec<u32>>,
    /// The depth and name of each scope around.
    scopes: Vec<(u32, Scope)>,
    out: &'r mut Vec<Match>,
}

/// What an entry says of itself.
#[derive(Default)]
struct Facts<'a> {
    name: Option<&'a [u8]>,
    size: Option<u64>,
    declared: bool,
    inline: bool,
    specification: Option<DieRef>,
    /// The name of the class in a type unit that it stands for.
    scope: Option<&'a [u8]>,
    sibling: Option<usize>,
}

impl<'a> Walk<'a, '_, '_> {
    fn has_hit(&self, from: usize, to: usize) -> bool {
        self.hits.is_none_or(|hits| {
            let at = hits.partition_point(|hit| (*hit as usize) < from);
            hits.get(at).is_some_and(|hit| (*hit as usize) < to)
        })
    }

    fn run(&mut self) {
        let reader = self.reader;
        let last_hit = match self.hits {
            Some(hits) if !reader.abbrevs.out_of_line => hits.last().map_or(0, |hit| *hit as usize),
            _ => usize::MAX,
        };
        let Some(mut raw) = reader.raw(reader.root_offset() as usize) else { return };
        let mut depth = 0u32;
        while !raw.is_empty() {
            let at = raw.next_offset().0;
            if at > last_hit {
                return;
            }
            let abbreviation = match raw.read_abbreviation() {
                Ok(Some(abbreviation)) => abbreviation,
                Ok(None) => {
                    depth = depth.saturating_sub(1);
                    while self.scopes.last().is_some_and(|(scope, _)| *scope >= depth) {
                        self.scopes.pop();
                    }
                    continue;
                }
                Err(_) => return,
            };
            let tag = abbreviation.tag();
            let interesting = is_type_tag(tag) || is_scope_tag(tag);
            let mut facts = Facts::default();
            if interesting || abbreviation.has_children() {
                for spec in abbreviation.attributes() {
                    let wanted = match spec.name() {
                        gimli::DW_AT_sibling => true,
                        gimli::DW_AT_name
                        | gimli::DW_AT_byte_size
                        | gimli::DW_AT_declaration
                        | gimli::DW_AT_export_symbols
                        | gimli::DW_AT_specification
                        | gimli::DW_AT_signature => interesting,
                        _ => false,
                    };
                    if !wanted {
                        if raw.skip_attributes(std::slice::from_ref(spec)).is_err() {
                            return;
                        }
                        continue;
                    }
                    let Ok(attribute) = raw.read_attribute(*spec) else { return };
                    let value = attribute.value();
                    match attribute.name() {
                        gimli::DW_AT_sibling => {
                            if let AttributeValue::UnitRef(UnitOffset(offset)) = value {
                                facts.sibling = Some(offset);
                            }
                        }
                        gimli::DW_AT_name => facts.name = reader.string(value),
                        gimli::DW_AT_byte_size => facts.size = value.udata_value(),
                        gimli::DW_AT_declaration => facts.declared = value == AttributeValue::Flag(true),
                        gimli::DW_AT_export_symbols => facts.inline = value == AttributeValue::Flag(true),
                        gimli::DW_AT_specification => facts.specification = reader.reference(value),
                        // A class that stands for the one in a type unit need not repeat its name.
                        gimli::DW_AT_signature if facts.name.is_none() => {
                            let whole = reader.reference(value);
                            facts.scope = whole.and_then(|whole| reader.info.die_name(whole));
                        }
                        _ => {}
                    }
                }
            } else if raw.skip_attributes(abbreviation.attributes()).is_err() {
                return;
            }
            if is_type_tag(tag) {
                self.consider(at, tag, &facts);
            }
            if abbreviation.has_children() {
                let next = raw.next_offset().0;
                let after = facts.sibling.filter(|sibling| *sibling >= next);
                if let Some(after) = after
                    && !self.descends(tag, next, after)
                {
                    match reader.raw(after) {
                        Some(jumped) => raw = jumped,
                        None => return,
                    }
                    continue;
                }
                if is_scope_tag(tag) && self.scopes.len() < MOST_SCOPES {
                    self.scopes.push((depth, scope_of(tag, facts.name.or(facts.scope), facts.inline)));
                }
                depth = depth.saturating_add(1);
            }
        }
    }

    /// Whether a subtree can hold a type that was asked for.
    fn descends(&self, tag: DwTag, from: usize, to: usize) -> bool {
        match tag {
            gimli::DW_TAG_enumeration_type
            | gimli::DW_TAG_array_type
            | gimli::DW_TAG_subroutine_type
            | gimli::DW_TAG_inlined_subroutine
            | gimli::DW_TAG_call_site
            | gimli::DW_TAG_GNU_call_site => false,
            // A type defined away from its declaration has its name there.
            gimli::DW_TAG_namespace if self.reader.abbrevs.out_of_line => true,
            _ => self.has_hit(from, to),
        }
    }

    fn consider(&mut self, at: usize, tag: DwTag, facts: &Facts<'a>) {
        let Ok(offset) = u32::try_from(at) else { return };
        let die = DieRef { unit: self.reader.id, offset };
        // The scopes are those of the declaration; the name may stand in both places, or there alone.
        let elsewhere = facts.specification;
        let name = match (facts.name, elsewhere) {
            (None, Some(specification)) => self.reader.info.die_name(specification),
            (name, _) => name,
        };
        let Some(name) = name.and_then(|name| std::str::from_utf8(name).ok()) else { return };
        let base = name.get(..base_length(name)).unwrap_or(name).trim_end();
        let Some(queries) = self.wanted.by_base.get(base.as_bytes()) else { return };
        let path = match elsewhere {
            Some(specification) => self.reader.info.path_of(specification),
            None => {
                let mut path: Vec<Scope> = self.scopes.iter().map(|(_, scope)| scope.clone()).collect();
                path.push(Scope { part: Part::parse(name), transparent: false });
                path
            }
        };
        // A name costs its length for each entry that has it.
        if !self.reader.info.charge(path.iter().map(|scope| scope.part.spelled.len() as u64).sum()) {
            return;
        }
        let mut fingerprint = None;
        for &query in queries {
            let Some(likeness) = self.wanted.queries.get(query as usize).and_then(|query| query.likeness(&path)) else {
                continue;
            };
            if self.out.len() >= MOST_MATCHES {
                return;
            }
            let fingerprint = *fingerprint.get_or_insert_with(|| match facts.declared {
                true => 0,
                false => fingerprint_of(self.reader, offset, facts.size),
            });
            let name = match elsewhere {
                Some(specification) => self.reader.info.qualified_name(specification),
                None => full_name(&self.scopes, name),
            };
            let (size, declared) = (facts.size, facts.declared);
            self.out.push(Match { query, likeness, die, name, tag, size, declared, fingerprint });
        }
    }
}

/// The name that a scope gives to what is inside.
pub(super) fn scope_of(tag: DwTag, name: Option<&[u8]>, inline: bool) -> Scope {
    let name = name.map(String::from_utf8_lossy);
    let space = tag == gimli::DW_TAG_namespace;
    let hidden = name.as_deref().is_none_or(|name| name.starts_with("__") || name == "_V2");
    let text = match (&name, space, tag == gimli::DW_TAG_subprogram) {
        (Some(name), _, true) => format!("{name}()"),
        (Some(name), ..) => name.to_string(),
        (None, true, _) => "(anonymous namespace)".to_owned(),
        (None, false, _) => "(anonymous)".to_owned(),
    };
    Scope { part: Part::parse(&text), transparent: space && (inline || hidden) }
}

fn full_name(scopes: &[(u32, Scope)], name: &str) -> String {
    let mut full = String::new();
    for (_, scope) in scopes {
        full.push_str(&scope.part.spelled);
        full.push_str("::");
    }
    full.push_str(name);
    full
}

/// Equal for types of equal size with equal members at equal places.
pub(super) fn fingerprint_of(reader: &UnitReader<'_>, offset: u32, size: Option<u64>) -> u64 {
    let mut hasher = DefaultHasher::new();
    size.hash(&mut hasher);
    reader.for_each_child(offset, |_, entry: &Entry<'_>| {
        let relevant = matches!(
            entry.tag(),
            gimli::DW_TAG_member | gimli::DW_TAG_inheritance | gimli::DW_TAG_enumerator | gimli::DW_TAG_variant_part
        );
        if relevant {
            entry.tag().0.hash(&mut hasher);
            reader.name(entry).hash(&mut hasher);
            for at in [
                gimli::DW_AT_data_member_location,
                gimli::DW_AT_data_bit_offset,
                gimli::DW_AT_bit_offset,
                gimli::DW_AT_bit_size,
                gimli::DW_AT_const_value,
            ] {
                reader.unsigned(entry, at).hash(&mut hasher);
            }
        }
        ControlFlow::Continue(())
    });
    hasher.finish()
}
