//! Where pointers stand in the objects of a type, and to what they lead: the map by which types spread over a heap.
//!
//! Members of standard containers say less than they know: a tree's header points to bare nodes, a table's control bytes are
//! bytes. Such types are known by name and read for what they hold: libstdc++ (GCC 5 to 15: `bits/stl_tree.h`,
//! `bits/hashtable.h`, `bits/stl_list.h`, `bits/forward_list.h`, `bits/stl_vector.h`), libc++'s vector, and Rust's
//! `RawVec`, `RawTable` (hashbrown 0.14 and 0.15, `src/raw/mod.rs`) and `LeafNode` (`alloc/src/collections/btree/node.rs`).

use std::collections::HashMap;

use crate::task::Task;

use super::arena::Types;
use super::dwarf::TypeName;
use super::flatten::Guard;
use super::layout::{Completeness, Layout, MemberPlace, MemberRole, TypeId, TypeKind};
use super::shapes::{Field, Shape};

/// Pointers of one type; further ones are left out.
const MOST_SLOTS: usize = 1 << 14;
/// Elements of an array whose pointers are listed one by one; longer ones are one slot.
const MOST_ELEMENTS: u64 = 16;
/// Levels of structs in structs.
const MOST_DEPTH: usize = 24;
/// Types that are looked at for the alignment of one; few enough to be nested in each other.
const MOST_ALIGNED: usize = 256;
/// Members that are looked at for one type.
const MOST_STEPS: usize = 1 << 16;

/// What memory that a pointer leads to holds, once or several times in a row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PointerTarget {
    /// Objects of a type.
    Type(TypeId),
    /// Pointers to objects of a type.
    Pointers(TypeId),
    /// Nodes of a container, each with a value of a type.
    Nodes(NodeKind, TypeId),
    /// Pointers to such nodes.
    NodePointers(NodeKind, TypeId),
}

/// A container whose nodes are known by their place in it alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum NodeKind {
    /// `std::map`, `std::set` and their like of libstdc++.
    Tree,
    /// `std::unordered_map` and its like of libstdc++.
    Hash,
    /// `std::list` of libstdc++.
    List,
    /// `std::forward_list` of libstdc++.
    Forward,
}

/// How a slot leads to its target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lead {
    /// A pointer to the first of one or more.
    Pointer,
    /// A pointer to the first; behind the last ends another pointer.
    Until(Field),
    /// A pointer to the first, and how many.
    Counted(Field),
    /// hashbrown: a pointer to control bytes, in front of which the elements lie backwards, and one less than their number.
    ControlBytes(Field),
    /// No pointer: so many lie here.
    Here(u64),
}

/// One pointer of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PointerSlot {
    /// Bytes from the beginning of the object.
    pub offset: u64,
    /// How it leads to its target.
    pub lead: Lead,
    /// What is there.
    pub target: PointerTarget,
    /// All have to hold for the slot to be a pointer.
    pub guards: Vec<Guard>,
    /// Other members share its bytes, and nothing tells which of them is meant.
    pub shared: bool,
    /// It may never have been set: what stands there need be no pointer.
    pub unset: bool,
}

/// All pointers of a type's objects.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PointerMap {
    /// Bytes of one object; `None` where that is not known.
    pub size_bytes: Option<u64>,
    /// Its pointers with a known target, by offset as far as the source has it.
    pub slots: Vec<PointerSlot>,
    /// Elements may follow up to the end of the allocation, from this offset: `char data[]`.
    pub tail: Option<(u64, PointerTarget)>,
    /// There are more pointers than are listed.
    pub truncated: bool,
}

/// Where the walk is.
#[derive(Clone)]
struct Here {
    at: u64,
    guards: Vec<Guard>,
    shared: bool,
    unset: bool,
    depth: usize,
}

impl Types {
    /// Where pointers, of `word` bytes each, stand in the objects that a pointer of this target leads to. Reads the layouts
    /// that it needs.
    pub fn pointer_map(&mut self, target: PointerTarget, word: u8) -> PointerMap {
        let row = |slot| PointerMap { size_bytes: Some(u64::from(word)), slots: vec![slot], ..PointerMap::default() };
        match target {
            PointerTarget::Type(ty) => {
                self.load(ty);
                let mut walk = Walk { types: self, word, map: PointerMap::default(), steps: 0 };
                walk.map.size_bytes = walk.types.size_bytes(ty);
                walk.value(ty, &Here { at: 0, guards: Vec::new(), shared: false, unset: false, depth: 0 }, true);
                walk.map
            }
            PointerTarget::Pointers(ty) => row(plain(0, PointerTarget::Type(ty))),
            PointerTarget::NodePointers(kind, ty) => row(plain(0, PointerTarget::Nodes(kind, ty))),
            PointerTarget::Nodes(kind, ty) => {
                self.load(ty);
                self.node_map(kind, ty, word)
            }
        }
    }

    /// A node: links, then the value at its alignment, which is no more than the largest scalar's.
    fn node_map(&mut self, kind: NodeKind, value: TypeId, width: u8) -> PointerMap {
        let word = u64::from(width);
        let links: &[u64] = match kind {
            NodeKind::Tree => &[1, 2, 3],
            NodeKind::List => &[0, 1],
            NodeKind::Hash | NodeKind::Forward => &[0],
        };
        let head = word
            * match kind {
                NodeKind::Tree => 4,
                NodeKind::List => 2,
                NodeKind::Hash | NodeKind::Forward => 1,
            };
        let mut steps = MOST_ALIGNED;
        let at = head.next_multiple_of(self.alignment(value, &mut steps).clamp(1, 64));
        let inside = self.pointer_map(PointerTarget::Type(value), width);
        let own = PointerTarget::Nodes(kind, value);
        let mut slots: Vec<PointerSlot> = links.iter().map(|link| plain(link * word, own)).collect();
        slots.extend(inside.slots.into_iter().filter_map(|slot| moved(slot, at)));
        let size = inside.size_bytes.and_then(|size| at.checked_add(size)?.checked_next_multiple_of(word));
        PointerMap { size_bytes: size, slots, tail: None, truncated: inside.truncated }
    }

    /// The alignment that a loaded type has for its members. `steps` are types that may still be looked at.
    fn alignment(&self, ty: TypeId, steps: &mut usize) -> u64 {
        let layout = self.resolved(ty);
        let Some(left) = steps.checked_sub(1) else { return 8 };
        *steps = left;
        if let Some(align) = layout.align {
            return align;
        }
        match &layout.kind {
            TypeKind::Struct | TypeKind::Class | TypeKind::Union => {
                layout.members.iter().map(|member| self.alignment(member.ty, steps)).max().unwrap_or(1)
            }
            TypeKind::Array { element, .. } => self.alignment(*element, steps),
            _ => layout.size_bytes.filter(|size| size.is_power_of_two()).unwrap_or(8).min(16),
        }
    }

    /// The one target that all which mean the same stand for.
    pub fn canonical_target(&mut self, target: PointerTarget) -> PointerTarget {
        let (ty, like): (TypeId, fn(TypeId) -> PointerTarget) = match target {
            PointerTarget::Type(ty) => (self.resolve(ty), PointerTarget::Type),
            PointerTarget::Pointers(ty) => (self.resolve(ty), PointerTarget::Pointers),
            other => return other,
        };
        // A node of a BTreeMap with edges begins with one without, as which it is known elsewhere.
        if is_inner_node(self.get(ty)) {
            self.load(ty);
            let leaf = self.offset_of_path(ty, &["data"]).filter(|offset| *offset == 0);
            if let Some((_, leaf)) = leaf.and_then(|_| self.place_of_path(ty, &["data"])) {
                return like(self.resolve(leaf));
            }
        }
        like(ty)
    }

    /// What a target is called.
    pub fn target_name(&self, target: PointerTarget) -> String {
        let node = |kind, ty| {
            let value = self.type_name(ty);
            match kind {
                NodeKind::Tree => format!("std::_Rb_tree_node<{value}>"),
                NodeKind::Hash => format!("std::__detail::_Hash_node<{value}>"),
                NodeKind::List => format!("std::_List_node<{value}>"),
                NodeKind::Forward => format!("std::_Fwd_list_node<{value}>"),
            }
        };
        match target {
            PointerTarget::Type(ty) => self.type_name(ty),
            PointerTarget::Pointers(ty) => format!("{} *", self.type_name(ty)),
            PointerTarget::Nodes(kind, ty) => node(kind, ty),
            PointerTarget::NodePointers(kind, ty) => format!("{} *", node(kind, ty)),
        }
    }

    /// Whether a type is declared, and not defined where it was met.
    pub fn is_declared(&self, id: TypeId) -> bool {
        self.get(id).completeness == Completeness::Declared
    }

    /// For each of some types, the definition where it is only declared, by one search over the debug information; the type
    /// itself where it is defined already or nothing defines it.
    pub fn definitions(&mut self, ids: &[TypeId], task: &Task) -> HashMap<TypeId, TypeId> {
        let (asked, names): (Vec<TypeId>, Vec<TypeName>) = (ids.iter().copied().filter(|id| self.is_declared(*id)))
            .filter_map(|id| Some((id, TypeName::parse(self.get(id).name.as_deref()?)?)))
            .unzip();
        let mut known = HashMap::new();
        if names.is_empty() {
            return known;
        }
        let found = self.debug_info().find_types(&names, task);
        for ((id, name), found) in asked.into_iter().zip(&names).zip(found) {
            let same = found.names.iter().find(|found| found.name == name.text());
            // Where one name has several layouts, nothing says which of them is meant.
            if let Some([layout]) = same.map(|found| found.layouts.as_slice()) {
                let layout = layout.clone();
                known.insert(id, self.add(&layout));
            }
        }
        known
    }
}

fn plain(offset: u64, target: PointerTarget) -> PointerSlot {
    PointerSlot { offset, lead: Lead::Pointer, target, guards: Vec::new(), shared: false, unset: false }
}

/// The slot of a type that lies `by` bytes into another.
fn moved(slot: PointerSlot, by: u64) -> Option<PointerSlot> {
    let field = |field: Field| Some(Field { offset: field.offset.checked_add(by)?, ..field });
    let lead = match slot.lead {
        Lead::Pointer | Lead::Here(_) => slot.lead,
        Lead::Until(end) => Lead::Until(field(end)?),
        Lead::Counted(length) => Lead::Counted(field(length)?),
        Lead::ControlBytes(mask) => Lead::ControlBytes(field(mask)?),
    };
    let guards: Option<Vec<Guard>> =
        slot.guards.into_iter().map(|guard| Some(Guard { field: field(guard.field)?, ..guard })).collect();
    Some(PointerSlot { offset: slot.offset.checked_add(by)?, lead, guards: guards?, ..slot })
}

/// A node of Rust's `BTreeMap` with edges.
fn is_inner_node(layout: &Layout) -> bool {
    layout.name.as_deref().is_some_and(|name| name.starts_with("alloc::collections::btree::node::InternalNode<"))
}

struct Walk<'t> {
    types: &'t Types,
    /// Bytes of a pointer.
    word: u8,
    map: PointerMap,
    steps: usize,
}

impl Walk<'_> {
    fn push(&mut self, here: &Here, lead: Lead, target: PointerTarget) {
        if self.map.slots.len() >= MOST_SLOTS {
            self.map.truncated = true;
            return;
        }
        let (guards, shared, unset) = (here.guards.clone(), here.shared, here.unset);
        self.map.slots.push(PointerSlot { offset: here.at, lead, target, guards, shared, unset });
    }

    /// `last` where nothing of the object comes behind.
    fn value(&mut self, ty: TypeId, here: &Here, last: bool) {
        self.steps += 1;
        if here.depth > MOST_DEPTH || self.steps > MOST_STEPS {
            self.map.truncated = true;
            return;
        }
        let types = self.types;
        let resolved = types.resolve(ty);
        let layout = types.get(resolved);
        match &layout.kind {
            TypeKind::Pointer(target) | TypeKind::Reference(target) | TypeKind::RvalueReference(target) => {
                if let Some(target) = self.target(*target) {
                    self.push(here, Lead::Pointer, target);
                }
            }
            TypeKind::Array { element, counts } => self.array(*element, counts, here, last),
            TypeKind::Struct | TypeKind::Class | TypeKind::Union => self.record(resolved, layout, here, last),
            _ => {}
        }
    }

    /// What a pointer to this type leads to; `None` where that says nothing of memory.
    fn target(&self, target: TypeId) -> Option<PointerTarget> {
        let resolved = self.types.resolve(target);
        match &self.types.get(resolved).kind {
            TypeKind::Void | TypeKind::Function { .. } | TypeKind::Unspecified => None,
            TypeKind::Pointer(inner) => {
                let inner = self.types.resolve(*inner);
                let says = !matches!(
                    self.types.get(inner).kind,
                    TypeKind::Void | TypeKind::Function { .. } | TypeKind::Unspecified | TypeKind::Pointer(_)
                );
                Some(if says { PointerTarget::Pointers(inner) } else { PointerTarget::Type(resolved) })
            }
            _ => Some(PointerTarget::Type(resolved)),
        }
    }

    fn array(&mut self, element: TypeId, counts: &[Option<u64>], here: &Here, last: bool) {
        let total = counts.iter().try_fold(1u64, |all, count| all.checked_mul((*count)?));
        let resolved = self.types.resolve(element);
        let target = self.element(element);
        match total {
            // As many as were allocated.
            None | Some(0) if last && counts.len() == 1 && here.guards.is_empty() && !here.shared => {
                self.map.tail = target.map(|target| (here.at, target));
            }
            None | Some(0) => {}
            Some(total) if total > MOST_ELEMENTS => {
                let holds = !matches!(self.types.get(resolved).kind, TypeKind::Base(_) | TypeKind::Enum(_));
                if let Some(target) = target.filter(|_| holds) {
                    self.push(here, Lead::Here(total), target);
                }
            }
            Some(total) => {
                let Some(size) = self.types.size_bytes(element).filter(|size| *size > 0) else { return };
                for index in 0..total {
                    let inside = Here {
                        at: here.at.saturating_add(index.saturating_mul(size)),
                        depth: here.depth + 1,
                        ..here.clone()
                    };
                    self.value(element, &inside, false);
                }
            }
        }
    }

    fn record(&mut self, ty: TypeId, layout: &Layout, here: &Here, last: bool) {
        if self.library(ty, layout, here) {
            return;
        }
        let name = layout.name.as_deref().unwrap_or_default();
        // Rust's wrappers of values that may not be there yet, or are dropped by hand.
        let unset = name.starts_with("core::mem::maybe_uninit::");
        let transparent = unset || name.starts_with("core::mem::manually_drop::");
        let union = layout.kind == TypeKind::Union && !transparent;
        let count = layout.members.len();
        for (at, member) in layout.members.iter().enumerate() {
            if self.steps > MOST_STEPS {
                return;
            }
            let fixed = member.role != MemberRole::VirtualBase && member.bits.is_none();
            // The vtable says more than its pointer's type.
            let vtable = member.artificial && member.role == MemberRole::Field;
            let MemberPlace::Offset(offset) = member.place else { continue };
            if !fixed || vtable {
                continue;
            }
            let Some(at_byte) = here.at.checked_add(offset) else { continue };
            let inside = Here {
                at: at_byte,
                guards: here.guards.clone(),
                shared: here.shared || union,
                unset: here.unset || unset,
                depth: here.depth + 1,
            };
            self.value(member.ty, &inside, last && at + 1 == count);
        }
        let Some(variants) = &layout.variants else { return };
        let field = variants.discriminant.as_ref().and_then(|member| {
            let width = self.types.size_bytes(member.ty).filter(|size| matches!(size, 1 | 2 | 4 | 8))? as u8;
            Some(Field { offset: here.at.checked_add(member.place.offset()?)?, width })
        });
        let named: Vec<(u64, u64)> = variants.list.iter().flat_map(|variant| variant.values.iter().copied()).collect();
        for variant in &variants.list {
            let Some(member) = &variant.member else { continue };
            let Some(at) = member.place.offset().and_then(|offset| here.at.checked_add(offset)) else { continue };
            let mut inside = Here { at, depth: here.depth + 1, ..here.clone() };
            if let Some(field) = field {
                let negated = variant.values.is_empty();
                let values = if negated { named.clone() } else { variant.values.clone() };
                inside.guards.push(Guard { field, values, negated });
            }
            self.value(member.ty, &inside, false);
        }
    }

    /// Reads a type of a standard library for what it holds; `false` where it is none that needs it.
    fn library(&mut self, ty: TypeId, layout: &Layout, here: &Here) -> bool {
        let Some(name) = layout.name.as_deref() else { return false };
        let scopes = ["std::", "__gnu_cxx::", "alloc::", "hashbrown::", "&", "*"];
        if !scopes.iter().any(|scope| name.starts_with(scope)) {
            return false;
        }
        self.node_container(ty, name, layout, here)
            || self.row(ty, name, layout, here)
            || self.alternative(ty, here)
            || self.rust(ty, name, layout, here)
    }

    /// A slot at the end of a path of members.
    fn push_path(&mut self, ty: TypeId, path: &[&str], here: &Here, lead: Lead, target: PointerTarget) -> bool {
        let Some(offset) = self.types.offset_of_path(ty, path) else { return false };
        let Some(at) = here.at.checked_add(offset) else { return false };
        self.push(&Here { at, ..here.clone() }, lead, target);
        true
    }

    fn node_container(&mut self, ty: TypeId, name: &str, layout: &Layout, here: &Here) -> bool {
        let starts = |names: &[&str]| names.iter().any(|start| name.starts_with(start));
        let (kind, argument, paths): (NodeKind, usize, &[&[&str]]) = if starts(&["std::_Rb_tree<"]) {
            let paths: &[&[&str]] = &[
                &["_M_impl", "_M_header", "_M_parent"],
                &["_M_impl", "_M_header", "_M_left"],
                &["_M_impl", "_M_header", "_M_right"],
            ];
            (NodeKind::Tree, 1, paths)
        } else if starts(&["std::_Hashtable<"]) {
            (NodeKind::Hash, 1, &[&["_M_before_begin", "_M_nxt"]])
        } else if starts(&["std::__cxx11::_List_base<", "std::_List_base<"]) {
            (NodeKind::List, 0, &[&["_M_impl", "_M_node", "_M_next"], &["_M_impl", "_M_node", "_M_prev"]])
        } else if starts(&["std::_Fwd_list_base<"]) {
            (NodeKind::Forward, 0, &[&["_M_impl", "_M_head", "_M_next"]])
        } else {
            return false;
        };
        let Some(value) = layout.type_argument(argument) else { return false };
        let value = self.types.resolve(value);
        let nodes = PointerTarget::Nodes(kind, value);
        let mut found = false;
        for path in paths {
            found |= self.push_path(ty, path, here, Lead::Pointer, nodes);
        }
        if found && kind == NodeKind::Hash {
            let buckets = PointerTarget::NodePointers(kind, value);
            self.push_path(ty, &["_M_buckets"], here, Lead::Pointer, buckets);
        }
        found
    }

    /// Containers that keep their elements in one row.
    fn row(&mut self, ty: TypeId, name: &str, layout: &Layout, here: &Here) -> bool {
        let (types, width) = (self.types, self.word);
        let field =
            |path: &[&str]| Some(Field { offset: here.at.checked_add(types.offset_of_path(ty, path)?)?, width });
        let argument = |at: usize| layout.type_argument(at).and_then(|ty| self.element(ty));
        if name.starts_with("std::_Vector_base<") {
            let (Some(end), Some(element)) = (field(&["_M_impl", "_M_finish"]), argument(0)) else { return false };
            return self.push_path(ty, &["_M_impl", "_M_start"], here, Lead::Until(end), element);
        }
        if name.starts_with("std::__1::vector<") || name.starts_with("std::__ndk1::vector<") {
            let (Some(end), Some(element)) = (field(&["__end_"]), argument(0)) else { return false };
            return self.push_path(ty, &["__begin_"], here, Lead::Until(end), element);
        }
        // Where a value will be built: its bytes are declared as bytes.
        if name.starts_with("__gnu_cxx::__aligned_buffer<") || name.starts_with("__gnu_cxx::__aligned_membuf<") {
            let Some(value) = layout.type_argument(0) else { return false };
            let inside = Here { depth: here.depth + 1, ..here.clone() };
            self.value(value, &inside, false);
            return true;
        }
        false
    }

    /// What a row of a type's objects leads to.
    fn element(&self, ty: TypeId) -> Option<PointerTarget> {
        let resolved = self.types.resolve(ty);
        match &self.types.get(resolved).kind {
            TypeKind::Pointer(inner) => match self.target(*inner) {
                Some(PointerTarget::Type(inner)) => Some(PointerTarget::Pointers(inner)),
                _ => Some(PointerTarget::Type(resolved)),
            },
            TypeKind::Void | TypeKind::Function { .. } | TypeKind::Unspecified => None,
            _ => Some(PointerTarget::Type(resolved)),
        }
    }

    /// `std::optional` and `std::variant`: which member of the union is there is told.
    fn alternative(&mut self, ty: TypeId, here: &Here) -> bool {
        let at = here.at;
        let field = |field: Field| Field { offset: at.saturating_add(field.offset), ..field };
        match self.types.shape(ty) {
            Some(Shape::Optional { engaged, value: (offset, value) }) => {
                let mut inside = Here { at: at.saturating_add(offset), depth: here.depth + 1, ..here.clone() };
                inside.guards.push(Guard { field: field(engaged), values: vec![(0, 0)], negated: true });
                self.value(value, &inside, false);
                true
            }
            Some(Shape::Variant { index, alternatives }) => {
                let Some(offset) = self.types.offset_of_path(ty, &["_M_u"]) else { return false };
                for (which, alternative) in (0u64..).zip(alternatives) {
                    let mut inside = Here { at: at.saturating_add(offset), depth: here.depth + 1, ..here.clone() };
                    inside.guards.push(Guard { field: field(index), values: vec![(which, which)], negated: false });
                    self.value(alternative, &inside, false);
                }
                true
            }
            _ => false,
        }
    }

    fn rust(&mut self, ty: TypeId, name: &str, layout: &Layout, here: &Here) -> bool {
        let types = self.types;
        let number = |path: &[&str]| {
            let (offset, ty) = types.place_of_path(ty, path)?;
            let width = types.size_bytes(ty).filter(|size| matches!(size, 4 | 8))? as u8;
            Some(Field { offset: here.at.checked_add(offset)?, width })
        };
        let place = |path: &[&str]| types.pointer_below(ty, path).and_then(|offset| here.at.checked_add(offset));
        let argument = layout.type_argument(0).and_then(|ty| self.element(ty));
        if name.starts_with("alloc::vec::Vec<") {
            let (Some(at), Some(length), Some(element)) = (place(&["buf"]), number(&["len"]), argument) else {
                return false;
            };
            self.push(&Here { at, ..here.clone() }, Lead::Counted(length), element);
            return true;
        }
        if name.starts_with("alloc::raw_vec::RawVec<") {
            let (Some(at), Some(element)) = (place(&[]), argument) else { return false };
            self.push(&Here { at, ..here.clone() }, Lead::Pointer, element);
            return true;
        }
        if name.starts_with("hashbrown::raw::RawTable<") {
            let at = place(&["table", "ctrl"]);
            let (Some(at), Some(mask), Some(element)) = (at, number(&["table", "bucket_mask"]), argument) else {
                return false;
            };
            self.push(&Here { at, ..here.clone() }, Lead::ControlBytes(mask), element);
            return true;
        }
        // A slice: its target is what the pointer in it says.
        if name.starts_with(['&', '*']) || name.starts_with("alloc::boxed::Box<") {
            if let (Some(at), Some(length), Some((_, pointer))) =
                (place(&["data_ptr"]), number(&["length"]), types.place_of_path(ty, &["data_ptr"]))
                && let Some(element) = types.pointee(pointer).and_then(|ty| self.element(ty))
            {
                self.push(&Here { at, ..here.clone() }, Lead::Counted(length), element);
                return true;
            }
            // A trait object's type is in its vtable.
            return types.offset_of_path(ty, &["vtable"]).is_some();
        }
        // A node is as large as it has to be: one with edges has them behind what a leaf has.
        if name.starts_with("alloc::collections::btree::node::LeafNode<")
            && let Some(size) = layout.size_bytes
            && here.at == 0
        {
            self.map.tail = Some((size, PointerTarget::Pointers(ty)));
        }
        false
    }
}
