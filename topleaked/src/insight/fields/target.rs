//! What pointers lead to, by name: a type, a function, a variable.

use std::collections::HashMap;

use crate::addr::Addr;
use crate::heap::AllocationTable;
use crate::objects::Objects;
use crate::types::{LeafKind, Value};

use super::FieldsQuestion;
use super::read::Source;

/// Places outside the heap that are named for one condition.
const MOST_PLACES: usize = 1 << 16;

/// Whether a member's values are pointers.
pub(super) fn is_pointer(source: &Source) -> bool {
    match source {
        Source::Pointer { .. } => true,
        Source::Leaf(leaf) => matches!(leaf.kind, LeafKind::Pointer(_) | LeafKind::Function | LeafKind::Vtable),
        _ => false,
    }
}

/// A name as it is asked for: also as answers show it, `a pointer to D1`, `&handler()`, and without its scopes.
pub(super) struct Asked {
    name: String,
    scoped: String,
}

fn bare(text: &str) -> String {
    text.chars().filter(|c| *c != ' ').collect()
}

impl Asked {
    pub(super) fn new(text: &str) -> Asked {
        let text = text.strip_prefix("a pointer to ").unwrap_or(text);
        let name = bare(text.strip_prefix('&').unwrap_or(text));
        Asked { scoped: format!("::{name}"), name }
    }

    /// Whether this is the name. A function may come without its parameters.
    pub(super) fn is(&self, name: &str) -> bool {
        let name = bare(name);
        let ends = |name: &str| name == self.name || name.ends_with(&self.scoped);
        ends(&name) || name.split_once('(').is_some_and(|(function, _)| !function.is_empty() && ends(function))
    }
}

/// What is meant of all that a member's pointers lead to.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Targets {
    /// By identity.
    types: Vec<bool>,
    /// Outside the heap.
    places: HashMap<u64, bool>,
}

impl Targets {
    /// Names what the objects' pointers lead to. O(objects).
    pub(super) fn new(question: &FieldsQuestion<'_>, source: &Source, meant: &dyn Fn(&str) -> bool) -> Targets {
        let (space, table) = (question.image.space(), &question.heap.table);
        let types = question.known.identities().iter().map(|identity| meant(&identity.name)).collect();
        let mut places = HashMap::new();
        for id in question.objects {
            let Some(bytes) = space.bytes(table.span(*id)) else { continue };
            let (Value::Pointer(addr) | Value::Code(addr)) = source.read(bytes, space) else { continue };
            if places.contains_key(&addr.0) || places.len() >= MOST_PLACES || table.find(addr).is_some() {
                continue;
            }
            let name = (question.names.place)(addr);
            places.insert(addr.0, name.is_some_and(|name| meant(&name)));
        }
        Targets { types, places }
    }

    /// Whether a pointer leads to something that is meant.
    pub(super) fn hold(&self, addr: Addr, table: &AllocationTable, known: &Objects) -> bool {
        if let Some(meant) = self.places.get(&addr.0) {
            return *meant;
        }
        let identity = table.find(addr).and_then(|(id, _)| known.of(id));
        identity.is_some_and(|identity| self.types.get(identity.0 as usize) == Some(&true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_asked_for_in_many_ways() {
        for asked in ["D1", "ns::D1", "a pointer to ns::D1", "a pointer to D1"] {
            assert!(Asked::new(asked).is("ns::D1"), "{asked}");
        }
        for asked in ["cb_a", "cb_a()", "&cb_a()", "cb_a ( )"] {
            assert!(Asked::new(asked).is("cb_a()"), "{asked}");
        }
        assert!(Asked::new("Map<int,A>").is("ns::Map<int, A>"));
        assert!(!Asked::new("D1").is("ns::D12"));
        assert!(!Asked::new("1").is("ns::D1"));
        assert!(!Asked::new("").is("(anonymous namespace)::f()"));
    }
}
