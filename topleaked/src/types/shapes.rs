//! Types of the standard libraries, known by their members: texts, containers, smart pointers, optionals, variants.
//!
//! Members are probed, never versions or names of types: libstdc++ (GCC 5 to 15), libc++ (LLVM 3.9 to 20) and Rust's
//! standard library spell them as their public headers do. Where a release renames a member, the type is shown by
//! its members, no more.

use std::collections::VecDeque;

use super::arena::Types;
use super::layout::{Encoding, Layout, MemberRole, TypeId, TypeKind};

/// Classes in which a member is looked for, and members of one that are looked at.
const MOST_PROBED: usize = 64;
/// Typedefs in a row that are looked at for `time_t`.
const MOST_STEPS: usize = 8;

/// Where a number stands in an object: bytes from its beginning, and how many.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Field {
    /// Bytes from the beginning.
    pub offset: u64,
    /// 1, 2, 4 or 8 bytes.
    pub width: u8,
}

/// Where a text is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TextShape {
    /// In the object itself, up to the first NUL or so many bytes.
    Inline {
        /// Bytes.
        size: u64,
    },
    /// Behind a pointer, with its length beside it.
    Counted {
        /// The pointer.
        pointer: Field,
        /// The length in bytes.
        length: Field,
    },
    /// Behind a pointer, up to the first NUL.
    Terminated {
        /// The pointer.
        pointer: Field,
    },
    /// libc++'s string: short ones in the object, told by the lowest bit of the first byte, which otherwise is twice the length.
    TwoForms {
        /// Of a long one, the pointer.
        pointer: Field,
        /// Of a long one, the length.
        length: Field,
        /// Of a short one, where its bytes begin.
        data: u64,
        /// Of a short one, the byte with its length, and whether it stands above the mark (from LLVM 3.9 on it does).
        short: u64,
    },
}

/// Where the number of elements of a container is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LengthShape {
    /// It is stored.
    Stored(Field),
    /// The distance of two pointers, in elements.
    Between {
        /// The first element.
        begin: Field,
        /// Behind the last one.
        end: Field,
        /// Bytes of one element.
        element: u64,
    },
    /// libstdc++'s deque: two iterators, each with four pointers (current, first, last, node).
    Deque {
        /// The first iterator.
        start: Field,
        /// The last one.
        finish: Field,
        /// Bytes of one element.
        element: u64,
    },
}

/// What a type of a standard library is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shape {
    /// A text.
    Text(TextShape),
    /// A container; its size is what counts.
    Container(LengthShape),
    /// A pointer with an owner's manners.
    SmartPointer {
        /// The pointer.
        pointer: Field,
        /// What it points to.
        target: TypeId,
    },
    /// A value that may be absent.
    Optional {
        /// 1 where it is there.
        engaged: Field,
        /// The value's place, from the beginning, and its type.
        value: (u64, TypeId),
    },
    /// One of several types, by index.
    Variant {
        /// Which; all bits set where there is none.
        index: Field,
        /// Their types.
        alternatives: Vec<TypeId>,
    },
    /// A moment: a signed count of `1 / per_second` seconds since 1970.
    Time {
        /// The count.
        count: Field,
        /// Counts in one second.
        per_second: u64,
        /// A count of nanoseconds to be added.
        nanoseconds: Option<Field>,
    },
}

/// A member that was found below a type.
#[derive(Clone, Copy)]
struct Probe {
    offset: u64,
    ty: TypeId,
}

impl Types {
    /// What a loaded type of a standard library is for; `None` for all others.
    pub fn shape(&self, id: TypeId) -> Option<Shape> {
        if let Some(shape) = self.time_by_name(id) {
            return Some(shape);
        }
        let ty = self.resolve(id);
        let layout = self.get(ty);
        if !matches!(layout.kind, TypeKind::Struct | TypeKind::Class) || layout.variants.is_some() {
            return None;
        }
        self.text(ty, layout)
            .or_else(|| self.smart_pointer(ty))
            .or_else(|| self.optional(ty))
            .or_else(|| self.variant(ty, layout))
            .or_else(|| self.container(ty))
            .or_else(|| self.time(ty, layout))
    }

    /// Looks for a member by name: among the type's own, then in base classes and anonymous members, the nearest first.
    fn probe(&self, at: Probe, name: &str, wanted: fn(&Types, TypeId) -> bool) -> Option<Probe> {
        let mut open = VecDeque::from([at]);
        for _ in 0..MOST_PROBED {
            let at = open.pop_front()?;
            let layout = self.resolved(at.ty);
            let members = layout.members.get(..layout.members.len().min(MOST_PROBED)).unwrap_or_default();
            for member in members {
                let place = member.place.offset().and_then(|offset| at.offset.checked_add(offset));
                let Some(offset) = place else { continue };
                let inside = Probe { offset, ty: member.ty };
                if member.name.as_deref() == Some(name) && wanted(self, member.ty) {
                    return Some(inside);
                }
                if member.role == MemberRole::Base || member.name.is_none() {
                    open.push_back(inside);
                }
            }
        }
        None
    }

    /// Follows a path of member names.
    fn path(&self, ty: TypeId, names: &[&str]) -> Option<Probe> {
        let any: fn(&Types, TypeId) -> bool = |_, _| true;
        names.iter().try_fold(Probe { offset: 0, ty }, |at, name| self.probe(at, name, any))
    }

    /// Where the member at the end of a path of names lies, through base classes and anonymous members.
    pub(super) fn place_of_path(&self, ty: TypeId, names: &[&str]) -> Option<(u64, TypeId)> {
        self.path(ty, names).map(|at| (at.offset, at.ty))
    }

    /// The offset of the member at the end of a path of names.
    pub(super) fn offset_of_path(&self, ty: TypeId, names: &[&str]) -> Option<u64> {
        self.path(ty, names).map(|at| at.offset)
    }

    /// The offset of the first pointer in the member at the end of a path: itself, or inside a wrapper.
    pub(super) fn pointer_below(&self, ty: TypeId, names: &[&str]) -> Option<u64> {
        self.pointer_in(self.path(ty, names)?).map(|at| at.offset)
    }

    fn first_path(&self, ty: TypeId, paths: &[&[&str]]) -> Option<Probe> {
        paths.iter().find_map(|path| self.path(ty, path))
    }

    /// A member as a number.
    fn field(&self, at: Probe) -> Option<Field> {
        let width = self.size_bytes(at.ty).filter(|size| matches!(size, 1 | 2 | 4 | 8))?;
        let scalar = matches!(
            self.resolved(at.ty).kind,
            TypeKind::Base(_)
                | TypeKind::Pointer(_)
                | TypeKind::Reference(_)
                | TypeKind::Enum(_)
                | TypeKind::Struct
                | TypeKind::Class
        );
        scalar.then_some(Field { offset: at.offset, width: width as u8 })
    }

    /// A member as a pointer: itself, or the first thing in a wrapper such as `NonNull<T>`.
    fn pointer_in(&self, at: Probe) -> Option<Probe> {
        let mut open = vec![at];
        for _ in 0..MOST_PROBED {
            let at = open.pop()?;
            let layout = self.resolved(at.ty);
            if matches!(layout.kind, TypeKind::Pointer(_)) {
                return Some(at);
            }
            for member in layout.members.iter().take(MOST_PROBED).rev() {
                let offset = member.place.offset().and_then(|offset| at.offset.checked_add(offset));
                open.extend(offset.map(|offset| Probe { offset, ty: member.ty }));
            }
        }
        None
    }

    fn text(&self, ty: TypeId, layout: &Layout) -> Option<Shape> {
        let counted = |pointer: Probe, length: Probe| {
            let pointed = self.pointee(pointer.ty)?;
            (self.size_bytes(pointed) == Some(1)).then_some(())?;
            let (pointer, length) = (self.field(pointer)?, self.field(length)?);
            Some(Shape::Text(TextShape::Counted { pointer, length }))
        };
        // libstdc++: string, string_view.
        if let (Some(pointer), Some(length)) =
            (self.path(ty, &["_M_dataplus", "_M_p"]), self.path(ty, &["_M_string_length"]))
        {
            return counted(pointer, length);
        }
        if let (Some(pointer), Some(length)) = (self.path(ty, &["_M_str"]), self.path(ty, &["_M_len"])) {
            return counted(pointer, length);
        }
        // The string before the new ABI: its length stands in front of the text, which ends with NUL.
        if layout.find_member("_M_string_length").is_none()
            && let Some(pointer) = self.path(ty, &["_M_dataplus", "_M_p"])
        {
            return Some(Shape::Text(TextShape::Terminated { pointer: self.field(pointer)? }));
        }
        // libc++.
        if let Some(shape) = self.libcxx_string(ty) {
            return Some(shape);
        }
        let view =
            (self.first_path(ty, &[&["__data_"], &["__data"]]), self.first_path(ty, &[&["__size_"], &["__size"]]));
        if let (Some(pointer), Some(length)) = view {
            return counted(pointer, length);
        }
        // Rust: &str, String.
        let name = layout.name.as_deref().unwrap_or_default();
        if let (Some(pointer), Some(length)) = (self.path(ty, &["data_ptr"]), self.path(ty, &["length"]))
            && (name.ends_with("str") || name.contains("str>"))
        {
            return counted(pointer, length);
        }
        let (vec, length) = (self.path(ty, &["vec", "buf"])?, self.path(ty, &["vec", "len"])?);
        let pointer = self.field(self.pointer_in(vec)?)?;
        name.starts_with("alloc::string::String")
            .then_some(Shape::Text(TextShape::Counted { pointer, length: self.field(length)? }))
    }

    fn libcxx_string(&self, ty: TypeId) -> Option<Shape> {
        let union = self.first_path(ty, &[&["__rep_"], &["__r_", "__value_"], &["__r_", "__first_"]])?;
        let any: fn(&Types, TypeId) -> bool = |_, _| true;
        let long = self.probe(union, "__l", any)?;
        let short = self.probe(union, "__s", any)?;
        let member = |at: Probe, name: &str| self.probe(at, name, any);
        let (pointer, length) = (member(long, "__data_")?, member(long, "__size_")?);
        let (data, size) = (member(short, "__data_")?, member(short, "__size_")?);
        (self.size_bytes(self.pointee(pointer.ty)?) == Some(1)).then_some(())?;
        Some(Shape::Text(TextShape::TwoForms {
            pointer: self.field(pointer)?,
            length: self.field(length)?,
            data: data.offset,
            short: size.offset,
        }))
    }

    fn smart_pointer(&self, ty: TypeId) -> Option<Shape> {
        let is_pointer: fn(&Types, TypeId) -> bool = |types, ty| types.pointee(ty).is_some();
        let whole = Probe { offset: 0, ty };
        // libstdc++: unique_ptr keeps a tuple, shared_ptr and weak_ptr a pointer and a count.
        let unique = self.path(ty, &["_M_t", "_M_t"]).and_then(|at| self.probe(at, "_M_head_impl", is_pointer));
        let shared = self.path(ty, &["_M_refcount", "_M_pi"]).and_then(|_| self.probe(whole, "_M_ptr", is_pointer));
        // libc++.
        let other = self
            .path(ty, &["__cntrl_"])
            .and_then(|_| self.probe(whole, "__ptr_", is_pointer))
            .or_else(|| self.path(ty, &["__ptr_", "__value_"]).filter(|at| is_pointer(self, at.ty)))
            .or_else(|| {
                let plain = self.probe(whole, "__ptr_", is_pointer)?;
                self.path(ty, &["__deleter_"]).map(|_| plain)
            });
        // Rust: Rc and Arc.
        let counted = || {
            let name = self.get(ty).name.as_deref().unwrap_or_default();
            let is = ["::Rc<", "::Arc<", "::NonNull<", "::Unique<"].iter().any(|part| name.contains(part));
            let at = self.first_path(ty, &[&["ptr"], &["pointer"]]).filter(|_| is)?;
            let pointer = self.pointer_in(at)?;
            (self.size_bytes(ty) == self.size_bytes(pointer.ty)).then_some(pointer)
        };
        let found = unique.or(shared).or(other).or_else(counted)?;
        Some(Shape::SmartPointer { pointer: self.field(found)?, target: self.pointee(found.ty)? })
    }

    fn optional(&self, ty: TypeId) -> Option<Shape> {
        let (engaged, value) = match self.path(ty, &["_M_payload", "_M_engaged"]) {
            Some(engaged) => (engaged, self.path(ty, &["_M_payload", "_M_payload", "_M_value"])?),
            None => (self.path(ty, &["__engaged_"])?, self.path(ty, &["__val_"])?),
        };
        Some(Shape::Optional { engaged: self.field(engaged)?, value: (value.offset, value.ty) })
    }

    fn variant(&self, ty: TypeId, layout: &Layout) -> Option<Shape> {
        let index = self.path(ty, &["_M_index"]).filter(|_| self.path(ty, &["_M_u"]).is_some());
        let index = index.or_else(|| {
            self.first_path(ty, &[&["__impl_", "__index"], &["__impl", "__index"], &["__impl_", "__index_"]])
        })?;
        let alternatives =
            layout.arguments.iter().filter(|argument| argument.value.is_none()).map(|argument| argument.ty);
        Some(Shape::Variant { index: self.field(index)?, alternatives: alternatives.collect() })
    }

    fn container(&self, ty: TypeId) -> Option<Shape> {
        const COUNTS: &[&[&str]] = &[
            // libstdc++: map and set, unordered ones, list.
            &["_M_t", "_M_impl", "_M_node_count"],
            &["_M_h", "_M_element_count"],
            &["_M_impl", "_M_node", "_M_size"],
            // libc++.
            &["__tree_", "__size_"],
            &["__tree_", "__pair3_", "__value_"],
            &["__table_", "__size_"],
            &["__table_", "__p2_", "__value_"],
            &["__size_alloc_", "__value_"],
        ];
        // Rust: HashMap and HashSet, BTreeSet, BTreeMap, Vec and VecDeque. These names are anybody's.
        const RUST: &[&[&str]] = &[
            &["base", "table", "table", "items"],
            &["base", "map", "table", "table", "items"],
            &["table", "table", "items"],
            &["map", "length"],
            &["length"],
            &["len"],
        ];
        if let Some(count) = self.first_path(ty, COUNTS).and_then(|at| self.field(at)) {
            return Some(Shape::Container(LengthShape::Stored(count)));
        }
        let name = self.get(ty).name.as_deref().unwrap_or_default();
        let collection = ["alloc::vec::", "alloc::collections::", "std::collections::", "hashbrown::"];
        if collection.iter().any(|scope| name.starts_with(scope)) {
            let count = self.first_path(ty, RUST).and_then(|at| self.field(at));
            return count.map(|count| Shape::Container(LengthShape::Stored(count)));
        }
        if (name.starts_with(['&', '*']) || name.starts_with("alloc::boxed::Box<"))
            && let (Some(_), Some(length)) = (self.path(ty, &["data_ptr"]), self.path(ty, &["length"]))
        {
            return Some(Shape::Container(LengthShape::Stored(self.field(length)?)));
        }
        let (begin, end) = match self.path(ty, &["_M_impl", "_M_start"]) {
            Some(begin) => (begin, self.path(ty, &["_M_impl", "_M_finish"])?),
            None => (self.path(ty, &["__begin_"])?, self.path(ty, &["__end_"])?),
        };
        if let (Some(current), Some(last)) = (self.path(begin.ty, &["_M_cur"]), self.path(end.ty, &["_M_cur"])) {
            let element = self.size_bytes(self.pointee(current.ty)?).filter(|size| *size > 0)?;
            let width = self.field(current)?.width;
            let start = Field { offset: begin.offset.checked_add(current.offset)?, width };
            let finish = Field { offset: end.offset.checked_add(last.offset)?, width };
            return Some(Shape::Container(LengthShape::Deque { start, finish, element }));
        }
        let element = self.size_bytes(self.pointee(begin.ty)?).filter(|size| *size > 0)?;
        Some(Shape::Container(LengthShape::Between { begin: self.field(begin)?, end: self.field(end)?, element }))
    }

    /// `time_t` is a number that only its name tells from others.
    fn time_by_name(&self, id: TypeId) -> Option<Shape> {
        let mut at = id;
        for _ in 0..MOST_STEPS {
            let layout = self.get(at);
            let (TypeKind::Typedef(target) | TypeKind::Qualified(_, target)) = layout.kind else { return None };
            if matches!(layout.name.as_deref(), Some("time_t" | "__time_t" | "__time64_t" | "std::time_t")) {
                let is_number = matches!(self.resolved(at).kind, TypeKind::Base(Encoding::Signed | Encoding::Unsigned));
                let count = self.field(Probe { offset: 0, ty: at }).filter(|_| is_number)?;
                return Some(Shape::Time { count, per_second: 1, nanoseconds: None });
            }
            at = target;
        }
        None
    }

    fn time(&self, ty: TypeId, layout: &Layout) -> Option<Shape> {
        let name = layout.name.as_deref()?;
        if matches!(name, "timespec" | "timespec64") {
            let (count, rest) = (self.path(ty, &["tv_sec"])?, self.path(ty, &["tv_nsec"])?);
            let (count, nanoseconds) = (self.field(count)?, Some(self.field(rest)?));
            return Some(Shape::Time { count, per_second: 1, nanoseconds });
        }
        // std::time::SystemTime is a timespec in a wrapper.
        if name == "std::time::SystemTime" {
            let (count, rest) = (self.path(ty, &["__0", "t", "tv_sec"])?, self.path(ty, &["__0", "t", "tv_nsec"])?);
            let (count, nanoseconds) = (self.field(count)?, Some(self.field(rest)?));
            return Some(Shape::Time { count, per_second: 1, nanoseconds });
        }
        // Only the system's clock counts from 1970.
        if !(name.contains("time_point<") && name.contains("system_clock")) {
            return None;
        }
        let count = self.first_path(ty, &[&["__d", "__r"], &["__d_", "__rep_"]])?;
        let per_second = match name.split("ratio<1").nth(1).and_then(|rest| rest.split('>').next()) {
            Some(rest) => rest.trim_matches([',', ' ', 'l', 'L']).parse().unwrap_or(1),
            None => 1_000_000_000,
        };
        Some(Shape::Time { count: self.field(count)?, per_second, nanoseconds: None })
    }
}
