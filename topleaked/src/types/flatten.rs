//! A type as the values that it holds, each with a path: `conn.tls.state`.

use std::collections::HashMap;

use crate::image::Machine;

use super::arena::Types;
use super::layout::{Bits, Encoding, Layout, Member, MemberPlace, MemberRole, TypeId, TypeKind, Variants};
use super::shapes::{Field, LengthShape, Shape, TextShape};

/// Leaves of one type; further ones are left out.
const MOST_LEAVES: usize = 4096;
/// Levels of structs in structs.
const MOST_DEPTH: usize = 16;
/// Members that are looked at for the leaves of one type.
const MOST_STEPS: usize = 1 << 17;
/// Elements of an array that are leaves of their own; fewer where a type has so many arrays that its leaves do not suffice.
const MOST_ELEMENTS: [u64; 3] = [256, 64, 16];
/// Bytes in a row that are numbers each, and no buffer.
const MOST_BYTES: u64 = 16;
/// A path is cut off there, in bytes.
const LONGEST_PATH: usize = 512;

/// A condition under which a leaf means something: the variant it belongs to is the present one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guard {
    /// Where the value is that tells.
    pub field: Field,
    /// Ranges of values, ends included, for which the leaf is there.
    pub values: Vec<(u64, u64)>,
    /// The ranges say for which values it is absent instead.
    pub negated: bool,
}

/// How floating-point numbers of more than 8 bytes are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WideFloat {
    /// The 80 bits of x86's own unit.
    X87,
    /// IEEE 754's 128 bits.
    Quad,
    /// Two numbers of 8 bytes, the second added to the first: POWER's `long double`.
    Pair,
}

/// How a leaf's bytes are meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LeafKind {
    /// True or false.
    Bool,
    /// A number with a sign.
    Signed,
    /// A number without.
    Unsigned,
    /// A character.
    Character,
    /// A floating-point number of 4 or 8 bytes.
    Float,
    /// A floating-point number of 10 to 16 bytes.
    WideFloat(WideFloat),
    /// One of the names of the leaf's type.
    Enum,
    /// A pointer to a type.
    Pointer(TypeId),
    /// A pointer to code.
    Function,
    /// The pointer to the vtable.
    Vtable,
    /// A text.
    Text(TextShape),
    /// A container, told by its number of elements.
    Container(LengthShape),
    /// A value that may be absent: true where it is there.
    Optional(Field),
    /// Which of several alternatives; by index into the names, given the discriminant's values.
    Variant {
        /// Where the value is that tells.
        field: Option<Field>,
        /// The names, each with the ranges of values that mean it; none for the one that all others mean.
        names: Vec<(String, Vec<(u64, u64)>)>,
    },
    /// A moment.
    Time {
        /// The count.
        count: Field,
        /// Counts in one second.
        per_second: u64,
        /// Nanoseconds to be added.
        nanoseconds: Option<Field>,
    },
    /// Bytes that no type explains.
    Bytes,
}

/// One value that an object holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// Member names from the outside in, with dots: `conn.tls.state`, `slots[3]`.
    pub path: String,
    /// Bytes from the beginning of the object.
    pub offset: u64,
    /// Bytes that it takes; of a bit field those of its type.
    pub size_bytes: u64,
    /// Of a bit field, its bits from the beginning of the object.
    pub bits: Option<Bits>,
    /// Its type as declared.
    pub ty: TypeId,
    /// How its bytes are meant.
    pub kind: LeafKind,
    /// All have to hold for the leaf to mean anything.
    pub guards: Vec<Guard>,
    /// Other leaves share its bytes: it is in a union.
    pub shared: bool,
    /// The compiler added it.
    pub artificial: bool,
}

/// The leaves of a type.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Leaves {
    /// In the order of memory, as far as the source has it.
    pub list: Vec<Leaf>,
    /// More leaves than are listed: a long array, deep nesting.
    pub truncated: bool,
    /// Arrays of which some elements are not listed, and how many.
    pub unlisted: Vec<(String, u64)>,
}

/// Where the walk is.
#[derive(Clone)]
struct Here<'a> {
    path: String,
    /// The class whose base is being walked, for names that two bases share.
    owner: Option<&'a str>,
    at: u64,
    guards: Vec<Guard>,
    shared: bool,
    depth: usize,
}

impl Types {
    /// The leaves of a loaded type: of the whole object, with base classes at their offsets. `virtual_base` says where a
    /// virtual base lies from the beginning of the object, given its type and place; it can tell from an object's vtable
    /// ([`Types::virtual_base_offset`]). Virtual bases it does not know are left out.
    pub fn leaves(&self, id: TypeId, virtual_base: &dyn Fn(TypeId, MemberPlace) -> Option<u64>) -> Leaves {
        let mut leaves = Leaves::default();
        for most_elements in MOST_ELEMENTS {
            let mut walk = Walk {
                types: self,
                virtual_base,
                leaves: Leaves::default(),
                owners: Vec::new(),
                bases: Vec::new(),
                shapes: HashMap::new(),
                steps: 0,
                most_elements,
                is_full: false,
            };
            let here = Here { path: String::new(), owner: None, at: 0, guards: Vec::new(), shared: false, depth: 0 };
            walk.value(id, &here, None, false);
            let is_full = walk.is_full;
            leaves = walk.finish();
            if !is_full {
                break;
            }
        }
        leaves
    }
}

struct Walk<'a> {
    types: &'a Types,
    virtual_base: &'a dyn Fn(TypeId, MemberPlace) -> Option<u64>,
    leaves: Leaves,
    /// For each leaf the base class it came from.
    owners: Vec<Option<&'a str>>,
    /// Virtual bases that were walked: each is in the object once.
    bases: Vec<u64>,
    shapes: HashMap<TypeId, Option<Shape>>,
    steps: usize,
    most_elements: u64,
    /// Some leaves found no room.
    is_full: bool,
}

impl<'a> Walk<'a> {
    /// Names that two base classes share get the class in front.
    fn finish(self) -> Leaves {
        let mut leaves = self.leaves;
        let mut counts: HashMap<String, usize> = HashMap::new();
        for leaf in &leaves.list {
            *counts.entry(leaf.path.clone()).or_default() += 1;
        }
        for (leaf, owner) in leaves.list.iter_mut().zip(&self.owners) {
            if let (Some(owner), Some(2..)) = (owner, counts.get(&leaf.path)) {
                leaf.path = format!("{owner}::{}", leaf.path);
            }
        }
        leaves
    }

    fn push(&mut self, id: TypeId, here: &Here<'a>, bits: Option<Bits>, artificial: bool, kind: LeafKind) {
        if self.leaves.list.len() >= MOST_LEAVES || here.path.len() > LONGEST_PATH {
            self.is_full |= self.leaves.list.len() >= MOST_LEAVES;
            self.leaves.truncated = true;
            return;
        }
        self.owners.push(here.owner);
        self.leaves.list.push(Leaf {
            path: here.path.clone(),
            offset: here.at,
            size_bytes: self.types.size_bytes(id).unwrap_or(0),
            bits,
            ty: id,
            kind,
            guards: here.guards.clone(),
            shared: here.shared,
            artificial,
        });
    }

    fn value(&mut self, id: TypeId, here: &Here<'a>, bits: Option<Bits>, artificial: bool) {
        let types = self.types;
        self.steps += 1;
        if here.depth > MOST_DEPTH || self.steps > MOST_STEPS || self.leaves.list.len() >= MOST_LEAVES {
            self.is_full |= here.depth <= MOST_DEPTH;
            self.leaves.truncated = true;
            return;
        }
        if bits.is_none()
            && let Some(shape) = self.shapes.entry(id).or_insert_with(|| types.shape(id)).clone()
        {
            return self.shape(id, here, shape);
        }
        let resolved = types.resolve(id);
        let layout = types.get(resolved);
        let kind = match &layout.kind {
            TypeKind::Base(encoding) => match encoding {
                Encoding::Bool => LeafKind::Bool,
                Encoding::Signed => LeafKind::Signed,
                Encoding::Unsigned => LeafKind::Unsigned,
                Encoding::SignedChar | Encoding::UnsignedChar | Encoding::Character => {
                    // `uint8_t` and `u8` are numbers that happen to be characters; `char` is meant as one.
                    match layout.name.as_deref() {
                        Some("char" | "char8_t" | "char16_t" | "char32_t" | "wchar_t") => LeafKind::Character,
                        _ if *encoding == Encoding::Character => LeafKind::Character,
                        _ if *encoding == Encoding::SignedChar => LeafKind::Signed,
                        _ => LeafKind::Unsigned,
                    }
                }
                Encoding::Float => match layout.size_bytes {
                    Some(4 | 8) => LeafKind::Float,
                    Some(10..=16) => {
                        wide_float(types.debug_info().machine(), layout).map_or(LeafKind::Bytes, LeafKind::WideFloat)
                    }
                    _ => LeafKind::Bytes,
                },
                Encoding::Complex => LeafKind::Bytes,
                Encoding::Address => LeafKind::Pointer(TypeId::VOID),
            },
            TypeKind::Enum(_) => LeafKind::Enum,
            TypeKind::Pointer(target) | TypeKind::Reference(target) | TypeKind::RvalueReference(target) => {
                let target = types.resolve(*target);
                let pointed = types.get(target);
                if artificial && here.path.ends_with(|c: char| c.is_alphanumeric()) && here.path.contains("_vptr") {
                    LeafKind::Vtable
                } else if matches!(pointed.kind, TypeKind::Function { .. }) {
                    LeafKind::Function
                } else if is_text(types, target) {
                    let width = types.size_bytes(resolved).unwrap_or(8).min(8) as u8;
                    LeafKind::Text(TextShape::Terminated { pointer: Field { offset: here.at, width } })
                } else {
                    LeafKind::Pointer(target)
                }
            }
            TypeKind::Array { element, counts } => return self.array(id, *element, counts, here),
            TypeKind::Struct | TypeKind::Class | TypeKind::Union => {
                return self.record(resolved, here);
            }
            TypeKind::MemberPointer { target, .. } => {
                // A member's place is a number, -1 for null; a function's a pointer, with what is added to the object beside it.
                let function = matches!(types.resolved(*target).kind, TypeKind::Function { .. });
                let size = types.size_bytes(resolved).unwrap_or(0);
                if function {
                    self.push(id, here, None, artificial, LeafKind::Function);
                    if let Some(leaf) = self.leaves.list.last_mut().filter(|leaf| leaf.offset == here.at) {
                        leaf.size_bytes = size / 2;
                    }
                    return;
                }
                if matches!(size, 4 | 8) { LeafKind::Signed } else { LeafKind::Bytes }
            }
            TypeKind::Unspecified => LeafKind::Bytes,
            TypeKind::Void | TypeKind::Function { .. } => return,
            // Resolved away.
            TypeKind::Typedef(_) | TypeKind::Qualified(..) => return,
        };
        self.push(id, here, bits, artificial, kind);
    }

    fn shape(&mut self, id: TypeId, here: &Here<'a>, shape: Shape) {
        let at = here.at;
        let field = |field: Field| Field { offset: at.saturating_add(field.offset), ..field };
        let kind = match shape {
            Shape::Text(text) => LeafKind::Text(match text {
                TextShape::Inline { .. } => text,
                TextShape::Counted { pointer, length } => {
                    TextShape::Counted { pointer: field(pointer), length: field(length) }
                }
                TextShape::Terminated { pointer } => TextShape::Terminated { pointer: field(pointer) },
                TextShape::TwoForms { pointer, length, data, short } => TextShape::TwoForms {
                    pointer: field(pointer),
                    length: field(length),
                    data: at.saturating_add(data),
                    short: at.saturating_add(short),
                },
            }),
            Shape::Container(length) => LeafKind::Container(match length {
                LengthShape::Stored(count) => LengthShape::Stored(field(count)),
                LengthShape::Between { begin, end, element } => {
                    LengthShape::Between { begin: field(begin), end: field(end), element }
                }
                LengthShape::Deque { start, finish, element } => {
                    LengthShape::Deque { start: field(start), finish: field(finish), element }
                }
            }),
            Shape::SmartPointer { pointer, target } => {
                let here = Here { at: at.saturating_add(pointer.offset), ..here.clone() };
                self.push(id, &here, None, false, LeafKind::Pointer(target));
                if let Some(leaf) = self.leaves.list.last_mut().filter(|leaf| leaf.offset == here.at) {
                    leaf.size_bytes = u64::from(pointer.width);
                }
                return;
            }
            Shape::Optional { engaged, value: (offset, ty) } => {
                let engaged = field(engaged);
                self.push(id, here, None, false, LeafKind::Optional(engaged));
                let mut inside = here.clone();
                inside.path.push_str(".value");
                inside.at = at.saturating_add(offset);
                inside.depth += 1;
                inside.guards.push(Guard { field: engaged, values: vec![(0, 0)], negated: true });
                return self.value(ty, &inside, None, false);
            }
            Shape::Variant { index, alternatives } => {
                let names = (0u64..)
                    .zip(alternatives)
                    .map(|(at, ty)| (short_name(self.types.type_name(ty)), vec![(at, at)]))
                    .chain([("valueless".to_owned(), Vec::new())])
                    .collect();
                LeafKind::Variant { field: Some(field(index)), names }
            }
            Shape::Time { count, per_second, nanoseconds } => {
                LeafKind::Time { count: field(count), per_second, nanoseconds: nanoseconds.map(field) }
            }
        };
        self.push(id, here, None, false, kind);
    }

    fn array(&mut self, id: TypeId, element: TypeId, counts: &[Option<u64>], here: &Here<'a>) {
        let types = self.types;
        let total = counts.iter().try_fold(1u64, |all, count| all.checked_mul((*count)?));
        let resolved = types.resolve(element);
        if is_text(types, resolved) && counts.len() == 1 {
            let size = total.unwrap_or(0);
            return self.push(id, here, None, false, LeafKind::Text(TextShape::Inline { size }));
        }
        let (Some(total), Some(size)) = (total, types.size_bytes(element)) else {
            return self.push(id, here, None, false, LeafKind::Bytes);
        };
        // Bytes without a meaning of their own: buffers, keys.
        let is_number = matches!(
            types.get(resolved).kind,
            TypeKind::Base(
                Encoding::Unsigned
                    | Encoding::Signed
                    | Encoding::UnsignedChar
                    | Encoding::SignedChar
                    | Encoding::Character
            )
        );
        if size == 1 && is_number && total > MOST_BYTES {
            return self.push(id, here, None, false, LeafKind::Bytes);
        }
        let listed = total.min(self.most_elements);
        if listed < total {
            self.leaves.truncated = true;
            if self.leaves.unlisted.len() < MOST_LEAVES {
                self.leaves.unlisted.push((here.path.clone(), total - listed));
            }
        }
        for index in 0..listed {
            let mut inside = here.clone();
            inside.path.push_str(&subscripts(index, counts));
            inside.at = here.at.saturating_add(index.saturating_mul(size));
            inside.depth += 1;
            self.value(element, &inside, None, false);
        }
    }

    fn record(&mut self, id: TypeId, here: &Here<'a>) {
        let types = self.types;
        let layout = types.get(id);
        let union = layout.kind == TypeKind::Union;
        for member in &layout.members {
            if self.steps > MOST_STEPS {
                return;
            }
            self.member(member, here, id, union);
        }
        if let Some(variants) = &layout.variants {
            self.variants(id, variants, here);
        }
    }

    fn member(&mut self, member: &'a Member, here: &Here<'a>, owner: TypeId, union: bool) {
        let types = self.types;
        let class = types.get(owner).name.as_deref();
        let offset = match (member.role, member.place) {
            (MemberRole::VirtualBase, place) => {
                // From the beginning of the object, and once for all that derive from it.
                let Some(at) = (self.virtual_base)(member.ty, place) else { return };
                if self.bases.contains(&at) {
                    return;
                }
                self.bases.push(at);
                Some(at)
            }
            (_, place) => place.offset().and_then(|offset| here.at.checked_add(offset)),
        };
        let Some(at) = offset else { return };
        let mut inside = here.clone();
        inside.at = at;
        inside.depth += 1;
        inside.shared |= union;
        if member.role == MemberRole::Field {
            if let Some(name) = &member.name
                && (here.path.is_empty() || !is_wrapper(types.get(owner)))
            {
                if !inside.path.is_empty() {
                    inside.path.push('.');
                }
                inside.path.push_str(name);
            }
        } else {
            // A base class with nothing in it takes no room.
            if self.types.is_empty_record(member.ty) {
                return;
            }
            inside.owner = self.types.resolved(member.ty).name.as_deref().or(class);
        }
        let bits =
            member.bits.map(|bits| Bits { offset: here.at.saturating_mul(8).saturating_add(bits.offset), ..bits });
        self.value(member.ty, &inside, bits, member.artificial);
    }

    fn variants(&mut self, id: TypeId, variants: &'a Variants, here: &Here<'a>) {
        let types = self.types;
        let field = variants.discriminant.as_ref().and_then(|member| {
            let width = types.size_bytes(member.ty).filter(|size| matches!(size, 1 | 2 | 4 | 8))? as u8;
            Some(Field { offset: here.at.checked_add(member.place.offset()?)?, width })
        });
        let names = variants.list.iter().map(|variant| (variant.name.clone(), variant.values.clone())).collect();
        self.push(id, here, None, false, LeafKind::Variant { field, names });
        let named: Vec<(u64, u64)> = variants.list.iter().flat_map(|variant| variant.values.iter().copied()).collect();
        for variant in &variants.list {
            let Some(member) = &variant.member else { continue };
            let Some(at) = member.place.offset().and_then(|offset| here.at.checked_add(offset)) else { continue };
            let mut inside = here.clone();
            if !inside.path.is_empty() {
                inside.path.push('.');
            }
            inside.path.push_str(&variant.name);
            inside.at = at;
            inside.depth += 1;
            if let Some(field) = field {
                let negated = variant.values.is_empty();
                let values = if negated { named.clone() } else { variant.values.clone() };
                inside.guards.push(Guard { field, values, negated });
            }
            self.value(member.ty, &inside, None, false);
        }
    }
}

/// How a machine writes a wide number: compilers name the types that are the same everywhere, the others are `long double`.
fn wide_float(machine: Option<Machine>, layout: &Layout) -> Option<WideFloat> {
    let name = layout.name.as_deref().unwrap_or_default();
    let is_quad =
        ["float128", "Float128", "ieee128", "kind=16"].iter().any(|part| name.contains(part)) || name == "f128";
    match machine {
        _ if is_quad => Some(WideFloat::Quad),
        _ if name == "__ibm128" => Some(WideFloat::Pair),
        None | Some(Machine::X86_64 | Machine::X86) => Some(WideFloat::X87),
        Some(Machine::Ppc64 | Machine::Ppc) => Some(WideFloat::Pair),
        Some(Machine::Aarch64 | Machine::Arm | Machine::S390 | Machine::Mips | Machine::RiscV | Machine::LoongArch) => {
            Some(WideFloat::Quad)
        }
        Some(Machine::Other(_)) => None,
    }
}

/// Whether a type of a standard library does no more than hold one value, which has the holder's name then.
fn is_wrapper(layout: &Layout) -> bool {
    const WRAPPERS: [&str; 13] = [
        "std::atomic<",
        "std::__atomic_base<",
        "std::__1::atomic<",
        "std::__1::__atomic_base<",
        "std::__1::__cxx_atomic_impl<",
        "std::__1::__cxx_atomic_base_impl<",
        "std::chrono::time_point<",
        "std::chrono::duration<",
        "std::__1::chrono::time_point<",
        "std::__1::chrono::duration<",
        "core::sync::atomic::Atomic",
        "core::cell::UnsafeCell<",
        "core::cell::Cell<",
    ];
    let name = layout.name.as_deref().unwrap_or_default();
    let fields = layout.members.iter().filter(|member| member.role == MemberRole::Field);
    WRAPPERS.iter().any(|wrapper| name.starts_with(wrapper)) && fields.count() == 1
}

/// A type's name with `std::string` for what it stands for.
fn short_name(name: String) -> String {
    const STRINGS: [&str; 2] = [
        "std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >",
        "std::__1::basic_string<char, std::__1::char_traits<char>, std::__1::allocator<char> >",
    ];
    STRINGS.iter().fold(name, |name, long| if name.contains(long) { name.replace(long, "std::string") } else { name })
}

/// Whether values of the type are pieces of text.
fn is_text(types: &Types, id: TypeId) -> bool {
    let layout = types.get(id);
    let TypeKind::Base(encoding) = layout.kind else { return false };
    matches!(encoding, Encoding::SignedChar | Encoding::UnsignedChar | Encoding::Character)
        && layout.size_bytes == Some(1)
        && matches!(layout.name.as_deref(), Some("char" | "char8_t"))
}

/// `[1][2]` for an index into an array of several dimensions.
fn subscripts(index: u64, counts: &[Option<u64>]) -> String {
    let mut rest = index;
    let mut parts = Vec::new();
    for count in counts.iter().rev() {
        let count = count.unwrap_or(1).max(1);
        parts.push(rest % count);
        rest /= count;
    }
    parts.iter().rev().map(|part| format!("[{part}]")).collect()
}
