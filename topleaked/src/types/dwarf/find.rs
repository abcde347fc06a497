//! Types by name: the entries that match, grouped by what they say.

use std::collections::BTreeMap;

use gimli::DwTag;

use crate::task::Task;

use super::name::{Likeness, TypeName};
use super::scan::{Match, find_matches};
use super::{DebugInfo, DieRef};

/// What was found for one name.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Each full name that answers to the one asked for, with its layouts: as a rule one name with one layout. By name.
    pub names: Vec<FoundName>,
}

/// One full name.
#[derive(Clone, Debug)]
pub struct FoundName {
    /// With its scopes and template arguments, as the debug information spells it.
    pub name: String,
    /// Its layouts, the most frequent first; several where modules or units disagree. Empty where it is only
    /// declared: somewhere it is used, and nowhere does it say what it is.
    pub layouts: Vec<FoundLayout>,
}

/// One layout of a name.
#[derive(Clone, Debug)]
pub struct FoundLayout {
    pub(crate) die: DieRef,
    /// Its size in bytes, where it has one.
    pub size_bytes: Option<u64>,
    /// The modules that have it, by label, each once.
    pub modules: Vec<String>,
    /// How many units say so.
    pub units: usize,
}

/// What two entries of one name have to agree in: tag, size and fingerprint.
type Said = (u16, Option<u64>, u64);

impl DebugInfo {
    /// Looks for types by name, all at once, on all threads of the task; answers in the order of `names`.
    ///
    /// A name may leave out scopes on the left, and template arguments. Only the names that answer best are given:
    /// with `net::Client` and `Client`, `Client` finds the second alone. Costs O(bytes of debug information)
    /// at some gigabytes a second, and more for each unit that has such a type.
    pub fn find_types(&self, names: &[TypeName], task: &Task) -> Vec<Found> {
        let mut by_query: Vec<Vec<Match>> = names.iter().map(|_| Vec::new()).collect();
        for found in find_matches(self, names, task) {
            if let Some(matches) = by_query.get_mut(found.query as usize) {
                matches.push(found);
            }
        }
        by_query.into_iter().map(|matches| self.group(matches)).collect()
    }

    /// Looks for one type; as [`DebugInfo::find_types`].
    pub fn find_type(&self, name: &TypeName, task: &Task) -> Found {
        self.find_types(std::slice::from_ref(name), task).pop().unwrap_or_default()
    }

    fn group(&self, matches: Vec<Match>) -> Found {
        let defined = |found: &&Match| !found.declared;
        let best: Option<Likeness> = matches
            .iter()
            .filter(defined)
            .map(|found| found.likeness)
            .max()
            .or_else(|| matches.iter().map(|found| found.likeness).max());
        let mut names: BTreeMap<String, Vec<Match>> = BTreeMap::new();
        for found in matches {
            if Some(found.likeness) == best {
                names.entry(found.name.clone()).or_default().push(found);
            }
        }
        let names = names.into_iter().map(|(name, matches)| FoundName { layouts: self.layouts(matches), name });
        Found { names: names.collect() }
    }

    fn layouts(&self, matches: Vec<Match>) -> Vec<FoundLayout> {
        // `typedef struct client { … } client;`: the struct says it all.
        let structs = matches.iter().any(|found| !found.declared && found.tag != gimli::DW_TAG_typedef);
        let mut layouts: BTreeMap<Said, (FoundLayout, Vec<u32>)> = BTreeMap::new();
        for found in matches {
            if found.declared || (structs && found.tag == gimli::DW_TAG_typedef) {
                continue;
            }
            // A class in one unit may be declared a struct in another.
            let DwTag(tag) = match found.tag {
                gimli::DW_TAG_class_type => gimli::DW_TAG_structure_type,
                tag => tag,
            };
            let (layout, modules) = layouts.entry((tag, found.size, found.fingerprint)).or_insert_with(|| {
                (FoundLayout { die: found.die, size_bytes: found.size, modules: Vec::new(), units: 0 }, Vec::new())
            });
            layout.units += 1;
            let module = self.module_of(found.die.unit);
            if !modules.contains(&module) {
                modules.push(module);
                layout.modules.push(self.module_label(module).to_owned());
            }
        }
        let mut layouts: Vec<FoundLayout> = layouts.into_values().map(|(layout, _)| layout).collect();
        layouts.sort_by_key(|layout| (std::cmp::Reverse(layout.units), layout.die));
        layouts
    }
}
