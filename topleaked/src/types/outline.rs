//! A type's members in the order of memory, with what lies between them.

use super::arena::Types;
use super::layout::{Bits, Completeness, Member, MemberPlace, MemberRole, TypeId, TypeKind};

/// Rows of one outline; what goes past that is left out.
const MOST_ROWS: usize = 1 << 16;
/// Levels of base classes and of structs in structs.
const MOST_DEPTH: usize = 24;
/// Classes that are looked at to tell whether one is empty.
const MOST_BASES: usize = 64;

/// What a row stands for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RowKind {
    /// A member.
    Field,
    /// A base class; its members follow, one level down.
    Base,
    /// A virtual base class.
    VirtualBase,
    /// Bytes that no member has, between two.
    Hole,
    /// Bytes that no member has, at the end.
    Padding,
    /// An alternative of a Rust enum; what it holds follows.
    Variant,
}

/// One line of an outline.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// How deep it is nested: 0 for the type's own members.
    pub depth: usize,
    /// What it stands for.
    pub kind: RowKind,
    /// The member's name, the variant's; `None` for what has none.
    pub name: Option<String>,
    /// Its type; `void` for holes and padding.
    pub ty: TypeId,
    /// Bytes from the beginning of the whole type; `None` where that is not the same for all objects.
    pub offset: Option<u64>,
    /// Bytes; of a hole those that are wholly unused. `None` where it is not known.
    pub size_bytes: Option<u64>,
    /// Of a bit field, its bits from the beginning of the whole type; of a hole, those that are no whole byte.
    pub bits: Option<Bits>,
    /// The compiler added it.
    pub artificial: bool,
}

/// A type laid out row by row.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outline {
    /// By offset, what is nested after what it is nested in.
    pub rows: Vec<Row>,
    /// How many holes the type and its bases have.
    pub holes: usize,
    /// How many bytes are in them.
    pub hole_bytes: u64,
    /// Bytes at the end that no member has.
    pub padding_bytes: u64,
    /// More rows than are listed.
    pub truncated: bool,
}

impl Types {
    /// Lays out a loaded struct, class or union: base classes and anonymous members with their members, others in one row
    /// each, or with `expand` all that are structs in turn.
    pub fn outline(&self, id: TypeId, expand: bool) -> Outline {
        let mut outline = Outline::default();
        self.add_rows(self.resolve(id), 0, Some(0), expand, true, &mut outline);
        outline
    }

    /// Whether a type has nothing in it: as a base class it takes no room, whatever its size.
    pub fn is_empty_record(&self, id: TypeId) -> bool {
        self.is_hollow(id, &mut 0)
    }

    /// `char data[]`: as many as were allocated.
    fn is_flexible(&self, id: TypeId) -> bool {
        matches!(&self.resolved(id).kind, TypeKind::Array { counts, .. } if counts.first() == Some(&None))
    }

    fn is_hollow(&self, id: TypeId, looked_at: &mut usize) -> bool {
        let layout = self.resolved(id);
        *looked_at += 1;
        *looked_at < MOST_BASES
            && layout.is_record()
            && layout.variants.is_none()
            && layout.completeness == Completeness::Whole
            && layout.size_bytes.is_none_or(|size| size <= 1)
            && layout
                .members
                .iter()
                .all(|member| member.role == MemberRole::Base && self.is_hollow(member.ty, looked_at))
    }

    /// Whether a class, or one of its bases, has a base whose place the vtable tells.
    fn has_virtual_base(&self, id: TypeId, looked_at: &mut usize) -> bool {
        *looked_at += 1;
        *looked_at < MOST_BASES
            && self.resolved(id).members.iter().any(|member| match member.role {
                MemberRole::VirtualBase => true,
                MemberRole::Base => self.has_virtual_base(member.ty, looked_at),
                MemberRole::Field => false,
            })
    }

    /// Where a class ends without its virtual bases, in bits: as a base it takes no more.
    fn own_bits(&self, id: TypeId, depth: usize) -> u64 {
        let end = |member: &Member| match (member.bits, member.place) {
            (Some(bits), _) => bits.offset.saturating_add(bits.size),
            (None, MemberPlace::Offset(offset)) => {
                let is_base = member.role == MemberRole::Base;
                let bits = match is_base && depth < MOST_DEPTH && self.has_virtual_base(member.ty, &mut 0) {
                    true => self.own_bits(member.ty, depth + 1),
                    false if is_base && self.is_empty_record(member.ty) => 0,
                    false => self.size_bytes(member.ty).unwrap_or(0).saturating_mul(8),
                };
                offset.saturating_mul(8).saturating_add(bits)
            }
            _ => 0,
        };
        self.resolved(id).members.iter().map(end).max().unwrap_or(0)
    }

    fn add_rows(&self, id: TypeId, depth: usize, at: Option<u64>, expand: bool, whole: bool, outline: &mut Outline) {
        let layout = self.get(id);
        if depth >= MOST_DEPTH || outline.rows.len() >= MOST_ROWS {
            outline.truncated = true;
            return;
        }
        let union = layout.kind == TypeKind::Union;
        let mut members: Vec<&Member> = layout.members.iter().collect();
        members.sort_by_key(|member| match (member.bits, member.place) {
            (Some(bits), _) => (0, bits.offset),
            (None, MemberPlace::Offset(offset)) => (0, offset.saturating_mul(8)),
            _ => (1, 0),
        });
        // Where the members so far end, in bits from the beginning of this type.
        let mut end = 0u64;
        for member in members {
            let size = self.size_bytes(member.ty);
            let taken = match (member.bits, member.place) {
                (Some(bits), _) => Some((bits.offset, bits.size)),
                (None, MemberPlace::Offset(offset)) => {
                    // Empty members that are no bases have a byte of their own.
                    let is_base = member.role != MemberRole::Field;
                    let bits = match is_base && self.is_empty_record(member.ty) {
                        true => 0,
                        false if is_base && self.has_virtual_base(member.ty, &mut 0) => self.own_bits(member.ty, 0),
                        false => size.unwrap_or(0).saturating_mul(8),
                    };
                    Some((offset.saturating_mul(8), bits))
                }
                _ => None,
            };
            if let Some((start, bits)) = taken {
                if !union && start > end && bits > 0 {
                    self.add_gap(depth, at, end, start, RowKind::Hole, outline);
                }
                end = end.max(start.saturating_add(bits));
            }
            self.add_member(member, depth, at, expand, outline);
        }
        if let Some(variants) = &layout.variants {
            let tag = variants.discriminant.iter().filter(|tag| tag.artificial || tag.name.is_none());
            for tag in tag {
                self.add_member(tag, depth, at, expand, outline);
            }
            for variant in &variants.list {
                self.add_variant(variant, depth, at, expand, outline);
            }
            return;
        }
        let Some(size) = layout.size_bytes.map(|size| size.saturating_mul(8)) else { return };
        // What follows a class with virtual bases is where they are; what follows a base belongs to the derived class.
        if whole && size > end && !self.is_empty_record(id) && !self.has_virtual_base(id, &mut 0) {
            self.add_gap(depth, at, end, size, RowKind::Padding, outline);
        }
    }

    fn add_gap(&self, depth: usize, at: Option<u64>, from: u64, to: u64, kind: RowKind, outline: &mut Outline) {
        let bytes = (to / 8).saturating_sub(from.div_ceil(8));
        let bits = (to - from).saturating_sub(bytes * 8);
        if kind == RowKind::Hole {
            outline.holes += 1;
            outline.hole_bytes = outline.hole_bytes.saturating_add(bytes);
        } else if depth == 0 {
            outline.padding_bytes = bytes;
        }
        let base = at.map(|at| at.saturating_mul(8));
        push(
            outline,
            Row {
                depth,
                kind,
                name: None,
                ty: TypeId::VOID,
                offset: at.and_then(|at| at.checked_add(from.div_ceil(8))),
                size_bytes: Some(bytes),
                bits: base.filter(|_| bits > 0).map(|base| Bits { offset: base.saturating_add(from), size: bits }),
                artificial: false,
            },
        );
    }

    fn add_member(&self, member: &Member, depth: usize, at: Option<u64>, expand: bool, outline: &mut Outline) {
        let offset = at.zip(member.place.offset()).and_then(|(at, offset)| at.checked_add(offset));
        let base = at.unwrap_or(0).saturating_mul(8);
        let kind = match member.role {
            MemberRole::Field => RowKind::Field,
            MemberRole::Base => RowKind::Base,
            MemberRole::VirtualBase => RowKind::VirtualBase,
        };
        push(
            outline,
            Row {
                depth,
                kind,
                name: member.name.clone(),
                ty: member.ty,
                offset,
                size_bytes: self.size_bytes(member.ty).or(self.is_flexible(member.ty).then_some(0)),
                bits: member.bits.map(|bits| Bits { offset: base.saturating_add(bits.offset), ..bits }),
                artificial: member.artificial,
            },
        );
        let inside = match &self.resolved(member.ty).kind {
            // Of an array the first element.
            TypeKind::Array { element, .. } => self.resolve(*element),
            _ => self.resolve(member.ty),
        };
        let anonymous = member.role == MemberRole::Field && self.get(inside).name.is_none();
        if self.get(inside).is_record() && (member.role == MemberRole::Base || anonymous || expand) {
            self.add_rows(inside, depth + 1, offset, expand, false, outline);
        }
    }

    fn add_variant(
        &self,
        variant: &super::layout::Variant,
        depth: usize,
        at: Option<u64>,
        expand: bool,
        outline: &mut Outline,
    ) {
        let Some(member) = &variant.member else { return };
        let offset = at.zip(member.place.offset()).and_then(|(at, offset)| at.checked_add(offset));
        push(
            outline,
            Row {
                depth,
                kind: RowKind::Variant,
                name: Some(variant.name.clone()),
                ty: member.ty,
                offset,
                size_bytes: self.size_bytes(member.ty),
                bits: None,
                artificial: false,
            },
        );
        let inside = self.resolve(member.ty);
        if self.get(inside).is_record() && outline.rows.len() < MOST_ROWS {
            // Each variant is as large as the whole: what it leaves unused is the others' room.
            let before = (outline.holes, outline.hole_bytes);
            let mut own = Outline::default();
            self.add_rows(inside, depth + 1, offset, expand, false, &mut own);
            own.rows.retain(|row| !(row.depth == depth + 1 && row.kind == RowKind::Hole));
            outline.rows.append(&mut own.rows);
            outline.truncated |= own.truncated;
            (outline.holes, outline.hole_bytes) = before;
        }
    }
}

fn push(outline: &mut Outline, row: Row) {
    if outline.rows.len() < MOST_ROWS {
        outline.rows.push(row);
    } else {
        outline.truncated = true;
    }
}
