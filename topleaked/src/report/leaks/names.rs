//! Names for groups of allocations.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::addr::Addr;
use crate::insight::GroupKey;
use crate::session::Session;
use crate::types::{Confidence, Evidence, VtableKind, Vtables};

/// What a group of allocations is, and how that is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::report) struct TypeName {
    /// Text from the dump: not yet safe for a terminal.
    pub(in crate::report) name: String,
    pub(in crate::report) evidence: &'static str,
    pub(in crate::report) confidence: &'static str,
}

/// Names objects by the pointer into constant data that they begin with, and remembers them.
pub(in crate::report) struct TypeNames<'s, 'i> {
    vtables: Vtables<'s, 'i>,
    known: RefCell<HashMap<Addr, Option<TypeName>>>,
}

impl<'s, 'i> TypeNames<'s, 'i> {
    pub(in crate::report) fn new(session: &'s Session<'i>) -> TypeNames<'s, 'i> {
        TypeNames { vtables: session.vtables(), known: RefCell::default() }
    }

    /// Whether the marker says what begins with it.
    pub(in crate::report) fn identifies(&self, marker: Addr) -> bool {
        self.at(marker).is_some()
    }

    /// The name of a group; `None` where only the size is known.
    pub(in crate::report) fn of(&self, key: GroupKey) -> Option<TypeName> {
        self.at(key.marker()?)
    }

    fn at(&self, marker: Addr) -> Option<TypeName> {
        if let Some(known) = self.known.borrow().get(&marker) {
            return known.clone();
        }
        let name = self.find(marker);
        self.known.borrow_mut().insert(marker, name.clone());
        name
    }

    fn find(&self, marker: Addr) -> Option<TypeName> {
        match self.vtables.classify(marker) {
            Some(vtable) if vtable.kind == VtableKind::Class => {
                let name = vtable.class.unwrap_or_else(|| format!("class with vtable {marker}"));
                let evidence = match vtable.evidence {
                    Evidence::RttiAndSymbol | Evidence::Rtti => "vtable and type information",
                    Evidence::Symbol => "vtable and symbol",
                    Evidence::DebugInfo => "vtable and debug information",
                    Evidence::ShapeAndSymbols | Evidence::Shape => "vtable",
                };
                return Some(TypeName { name, evidence, confidence: confidence(vtable.confidence) });
            }
            // A pointer to a trait object's vtable is half of a fat pointer: it says nothing of what it stands in.
            Some(_) => return None,
            None => {}
        }
        let table = self.vtables.function_table(marker)?;
        let (name, confidence) = match &table.symbol {
            Some(symbol) => (format!("C object with ops {}", symbol.demangled()), "likely"),
            None => (format!("C object with functions at {marker}"), "possible"),
        };
        Some(TypeName { name, evidence: "function table", confidence })
    }
}

fn confidence(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Possible => "possible",
        Confidence::Likely => "likely",
        Confidence::Certain => "certain",
    }
}
