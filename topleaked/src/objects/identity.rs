//! What an allocation is, how that is known, and the list of all that were met.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, RwLock};

use crate::addr::Addr;
pub use crate::types::Confidence;

/// What shows the type of an allocation. A later one outweighs an earlier one of the same confidence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Evidence {
    /// Its bytes are text.
    Text,
    /// A vtable of a class in its middle, where an object of that class is embedded.
    InnerVtable,
    /// A pointer to a table of functions at its start.
    FunctionTable,
    /// The shape of a container of the standard library: nodes that lead to each other, an owner that knows the size.
    Container,
    /// A pointer whose type debug information tells, in a variable or a member of a known object.
    TypedPointer,
    /// The control block of a shared pointer owns it.
    SharedPointer,
    /// A Rust pointer to it with a vtable beside, whose size and alignment fit.
    FatPointer,
    /// Vtables of one class at equal distances.
    VtableArray,
    /// A vtable at its start, recognised by its shape alone.
    Vtable,
    /// A vtable at its start that debug information names.
    VtableAndDebugInfo,
    /// A vtable at its start that a symbol names.
    VtableAndSymbol,
    /// A vtable at its start with run-time type information.
    VtableAndTypeInfo,
}

impl Evidence {
    /// In words, the same in all output.
    pub fn words(self) -> &'static str {
        match self {
            Evidence::Text => "text",
            Evidence::InnerVtable => "vtable inside",
            Evidence::FunctionTable => "function table",
            Evidence::Container => "container shape",
            Evidence::TypedPointer => "typed pointer",
            Evidence::SharedPointer => "shared pointer",
            Evidence::FatPointer => "fat pointer",
            Evidence::VtableArray => "vtables at equal distances",
            Evidence::Vtable => "vtable",
            Evidence::VtableAndDebugInfo => "vtable and debug information",
            Evidence::VtableAndSymbol => "vtable and symbol",
            Evidence::VtableAndTypeInfo => "vtable and type information",
        }
    }
}

/// How sure an identity is, in one word of all output.
pub fn confidence_word(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Possible => "possible",
        Confidence::Likely => "likely",
        Confidence::Certain => "certain",
    }
}

/// The type of allocations, and how it is known.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Identity {
    /// The type as the programmer wrote it, or a description of it. Text from the dump: not yet safe for a terminal.
    pub name: String,
    /// What shows it.
    pub evidence: Evidence,
    /// How sure it is.
    pub confidence: Confidence,
    /// What lies in the middle of the allocation and is a type of its own: a node's or a control block's object.
    pub content: Option<Content>,
    /// The vtable or table of functions, where the name alone does not tell the type from others: a class without a
    /// name, or of an anonymous namespace.
    pub origin: Option<Addr>,
}

/// An object in the middle of an allocation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Content {
    /// Its type.
    pub name: String,
    /// Where it lies, in bytes.
    pub offset: u64,
}

impl Identity {
    /// An identity known by name alone.
    pub(super) fn new(name: impl Into<String>, evidence: Evidence, confidence: Confidence) -> Identity {
        Identity { name: name.into(), evidence, confidence, content: None, origin: None }
    }

    /// How much it outweighs others: 1 to 36.
    pub(super) fn rank(&self) -> u32 {
        let confidence = match self.confidence {
            Confidence::Possible => 0,
            Confidence::Likely => 1,
            Confidence::Certain => 2,
        };
        1 + confidence * 12 + self.evidence as u32
    }
}

/// The place of an identity in [`Objects::identities`](super::Objects::identities): ascending by name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct IdentityId(pub u32);

/// An identity while they are gathered: its rank in the high bits, its place in the catalogue in the low ones.
/// Zero is none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(super) struct Code(pub(super) u32);

const PLACE_BITS: u32 = 26;
/// More types than any program has: a dump made to have more leaves the rest unidentified.
const MOST_IDENTITIES: usize = 1 << 20;

impl Code {
    pub(super) const NONE: Code = Code(0);

    /// `None` where there are more places than a code can tell apart.
    pub(super) fn new(rank: u32, place: usize) -> Option<Code> {
        let place = u32::try_from(place).ok().filter(|place| *place < 1 << PLACE_BITS)?;
        Some(Code(rank << PLACE_BITS | place))
    }

    pub(super) fn is_some(self) -> bool {
        self != Code::NONE
    }

    pub(super) fn rank(self) -> u32 {
        self.0 >> PLACE_BITS
    }

    pub(super) fn place(self) -> usize {
        (self.0 & ((1 << PLACE_BITS) - 1)) as usize
    }
}

/// All identities met so far, each once.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    known: Mutex<HashMap<Identity, Code>>,
    list: RwLock<Vec<Identity>>,
}

impl Catalogue {
    /// The code of an identity; [`Code::NONE`] where there are too many.
    pub(super) fn code(&self, identity: Identity) -> Code {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(code) = known.get(&identity) {
            return *code;
        }
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        if list.len() >= MOST_IDENTITIES {
            return Code::NONE;
        }
        let code = Code(identity.rank() << PLACE_BITS | list.len() as u32);
        list.push(identity.clone());
        known.insert(identity, code);
        code
    }

    pub(super) fn get(&self, code: Code) -> Option<Identity> {
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        if code.is_some() { list.get(code.place()).cloned() } else { None }
    }

    /// The one of two that outweighs the other; between equals the one that comes first by name, so that the order in
    /// which threads came by does not show.
    pub(super) fn stronger(&self, a: Code, b: Code) -> Code {
        if a == b || a.rank() != b.rank() {
            return a.max(b);
        }
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        if list.get(a.place()) <= list.get(b.place()) { a } else { b }
    }

    /// All identities by name, and for each code's place where it is now.
    pub(super) fn into_sorted(self) -> (Vec<Identity>, Vec<u32>) {
        let list = self.list.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut order: Vec<usize> = (0..list.len()).collect();
        order.sort_unstable_by(|a, b| list[*a].cmp(&list[*b]));
        let mut places = vec![0_u32; list.len()];
        for (now, before) in order.iter().enumerate() {
            places[*before] = now as u32;
        }
        let mut sorted = list;
        sorted.sort_unstable();
        (sorted, places)
    }
}
