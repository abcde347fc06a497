//! Where the members of a type's objects are: as debug information says, or found from the objects themselves.

use crate::addr::Addr;
use crate::heap::{AllocId, Heap};
use crate::image::Image;
use crate::types::{LeafKind, TypeId, Types};

use super::super::inferred::{Pointed, PointsTo, Role, infer_layout};
use super::read::{NumberKind, Source};

/// Objects that are looked at where nothing but their bytes tells, evenly spread.
const MOST_OBJECTS: usize = 4096;

/// The members of one type's objects. Found once, from all objects, so that a part of them has the same members.
#[derive(Clone, Default, Debug)]
pub struct MemberPlaces {
    sources: Vec<Source>,
    unlisted: Vec<(String, u64)>,
}

impl MemberPlaces {
    /// The members that debug information names. `first` is one of the objects: it tells where virtual bases lie.
    pub fn of_type(types: &Types, id: TypeId, image: &Image, first: Addr) -> MemberPlaces {
        let leaves = types.leaves(id, &|_, place| types.virtual_base_offset(place, first, image.space()));
        let members = leaves.list.into_iter().filter(|leaf| !matches!(leaf.kind, LeafKind::Vtable));
        MemberPlaces { sources: members.map(Source::Leaf).collect(), unlisted: leaves.unlisted }
    }

    /// The members that the bytes of the objects, in the order of addresses, let guess. O(4096 objects x bytes).
    pub fn inferred(image: &Image, heap: &Heap, objects: &[AllocId]) -> MemberPlaces {
        let step = objects.len().div_ceil(MOST_OBJECTS).max(1);
        let (space, table) = (image.space(), &heap.table);
        let bytes: Vec<&[u8]> = objects.iter().step_by(step).filter_map(|id| space.bytes(table.span(*id))).collect();
        let look = |addr: u64| {
            let addr = Addr(addr);
            let room = table.find(addr).map(|(id, into)| table.usable_size(id).saturating_sub(into));
            (room.is_some() || space.find_segment(addr).is_some())
                .then_some(Pointed { what: PointsTo::Elsewhere, usable_size: room })
        };
        let found = infer_layout(&bytes, image.target(), &look);
        let member = |member: super::super::inferred::InferredMember| {
            let (offset, width) = (member.offset, member.width);
            Some(match member.role {
                // What the objects are known by.
                Role::Pointer | Role::Constant(_) if offset == 0 => return None,
                Role::Pointer => Source::Pointer { offset, width },
                Role::Text => Source::Text { offset, width },
                role => Source::Number { offset, width, kind: NumberKind::of(role) },
            })
        };
        MemberPlaces { sources: found.into_iter().filter_map(member).collect(), unlisted: Vec::new() }
    }

    /// The paths of all members, in the order of the layout.
    pub fn paths(&self) -> Vec<String> {
        self.sources.iter().map(path_of).collect()
    }

    /// Arrays of which some elements are no members, and how many.
    pub fn unlisted(&self) -> &[(String, u64)] {
        &self.unlisted
    }

    pub(super) fn sources(&self) -> &[Source] {
        &self.sources
    }
}

/// The path of a member, or its offset.
pub(super) fn path_of(source: &Source) -> String {
    match source {
        Source::Leaf(leaf) => leaf.path.clone(),
        Source::Bit { number, bit } => format!("{} & {:#x}", path_of(number), 1u64 << bit.min(&63)),
        source => format!("+{:#x}", source.offset()),
    }
}
