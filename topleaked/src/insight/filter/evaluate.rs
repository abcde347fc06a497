//! Holding allocations to a filter.

use std::cmp::Ordering;

use crate::addr::Addr;
use crate::graph::Graph;
use crate::heap::{AllocId, Heap};
use crate::image::Image;
use crate::objects::{Evidence, Objects};

use super::{Comparison, Filter, MemberTest, Pattern, Reach, Test};

/// What a filter looks at.
#[derive(Clone, Copy, Debug)]
pub struct Tables<'a> {
    /// The dump.
    pub image: &'a Image,
    /// Its allocations.
    pub heap: &'a Heap,
    /// What reaches them.
    pub graph: &'a Graph,
    /// What they are.
    pub objects: &'a Objects,
}

/// Knows members of objects.
pub trait Members: Sync {
    /// Whether an object fulfils a condition; `None` where it has no such member, or the member cannot be read.
    fn holds(&self, id: AllocId, test: &MemberTest) -> Option<bool>;
}

/// A filter made ready for one dump: what is the same for all allocations of a type is decided once.
pub struct Prepared<'a> {
    tables: Tables<'a>,
    root: Node<'a>,
    members: Option<&'a dyn Members>,
}

enum Node<'a> {
    And(Vec<Node<'a>>),
    Or(Vec<Node<'a>>),
    Not(Box<Node<'a>>),
    Reach(Reach),
    Size(Comparison, u64),
    /// By identity whether it is meant; the last place is for allocations of no known type.
    Type(Vec<bool>),
    Module(&'a Pattern),
    Address(Comparison, Addr),
    AddressIn(Addr, Addr),
    Member(&'a MemberTest),
}

impl<'a> Prepared<'a> {
    /// Makes a filter ready. Without `members` no object fulfils a condition on members.
    pub fn new(filter: &'a Filter, tables: Tables<'a>, members: Option<&'a dyn Members>) -> Prepared<'a> {
        Prepared { tables, root: prepare(filter, tables.objects), members }
    }

    /// Whether an allocation is meant. A condition on a member that the object does not have is neither fulfilled nor
    /// not, and so is its negation.
    pub fn selects(&self, id: AllocId) -> bool {
        self.node(&self.root, id) == Some(true)
    }

    fn node(&self, node: &Node<'_>, id: AllocId) -> Option<bool> {
        let Tables { heap, graph, objects, .. } = self.tables;
        match node {
            Node::And(parts) => self.several(parts, id, false),
            Node::Or(parts) => self.several(parts, id, true),
            Node::Not(part) => self.node(part, id).map(|holds| !holds),
            Node::Reach(reach) => Some(match reach {
                Reach::Leaked => graph.marks.leaked.contains(id),
                Reach::Anchored => graph.marks.anchored.contains(id),
                Reach::PossiblyLeaked => graph.marks.interior.contains(id) || graph.marks.stale.contains(id),
                Reach::Unreferenced => graph.clusters.unreferenced().contains(id),
            }),
            Node::Size(comparison, size) => Some(comparison.holds(Some(heap.table.usable_size(id).cmp(size)))),
            Node::Type(meant) => {
                let place = objects.of(id).map_or(meant.len().wrapping_sub(1), |identity| identity.0 as usize);
                meant.get(place).copied()
            }
            Node::Module(pattern) => Some(self.module(id).map_or(pattern.negated, |name| pattern.holds(&name))),
            Node::Address(comparison, addr) => Some(comparison.holds(Some(heap.table.address(id).cmp(addr)))),
            Node::AddressIn(from, to) => Some((*from..=*to).contains(&heap.table.address(id))),
            Node::Member(test) => self.members?.holds(id, test),
        }
    }

    /// Any (`wanted`) or all (not `wanted`) of several; unknown where what is known does not decide.
    fn several(&self, parts: &[Node<'_>], id: AllocId, wanted: bool) -> Option<bool> {
        let mut all = Some(!wanted);
        for part in parts {
            match self.node(part, id) {
                Some(holds) if holds == wanted => return Some(wanted),
                Some(_) => {}
                None => all = None,
            }
        }
        all
    }

    /// The file name of the module that the allocation's first word leads into, where that word is its evidence.
    fn module(&self, id: AllocId) -> Option<String> {
        let Tables { image, heap, objects, .. } = self.tables;
        let identity = objects.identity(objects.of(id)?);
        let by_first_word = matches!(
            identity.evidence,
            Evidence::FunctionTable
                | Evidence::Vtable
                | Evidence::VtableAndSymbol
                | Evidence::VtableAndDebugInfo
                | Evidence::VtableAndTypeInfo
        );
        if !by_first_word {
            return None;
        }
        let word = image.space().word(heap.table.address(id))?;
        image.module_at(Addr(word)).map(|(_, module)| String::from_utf8_lossy(module.name()).into_owned())
    }
}

fn prepare<'a>(filter: &'a Filter, objects: &Objects) -> Node<'a> {
    let several = |parts: &'a [Filter]| parts.iter().map(|part| prepare(part, objects)).collect();
    match filter {
        Filter::And(parts) => Node::And(several(parts)),
        Filter::Or(parts) => Node::Or(several(parts)),
        Filter::Not(part) => Node::Not(Box::new(prepare(part, objects))),
        Filter::Test(test) => match test {
            Test::Reach(reach) => Node::Reach(*reach),
            Test::Size(comparison, size) => Node::Size(*comparison, *size),
            Test::Type(pattern) => {
                let names = objects.identities().iter().map(|identity| pattern.holds_of_type(&identity.name));
                // What has no type has no name: only a negation holds of it.
                Node::Type(names.chain([pattern.negated]).collect())
            }
            Test::Module(pattern) => Node::Module(pattern),
            Test::Address(comparison, addr) => Node::Address(*comparison, *addr),
            Test::AddressIn(from, to) => Node::AddressIn(*from, *to),
            Test::Member(test) => Node::Member(test),
        },
    }
}

impl Comparison {
    /// Whether two numbers fulfil it.
    pub fn holds_for(self, left: i128, right: i128) -> bool {
        self.holds(Some(if left < right {
            Ordering::Less
        } else if left > right {
            Ordering::Greater
        } else {
            Ordering::Equal
        }))
    }
}
