//! Layouts by id, read from debug information when they are asked for.

use std::collections::{HashMap, HashSet};

use crate::task::Task;

use super::dwarf::{BodyRead, DebugInfo, DieRef, FoundLayout, HeadRead, KindRead, MemberRead, PlaceRead, TypeName};
use super::layout::{
    Bits, Completeness, Encoding, Layout, Member, MemberPlace, Qualifier, TemplateArgument, TypeId, TypeKind, Variant,
    Variants,
};

/// Layouts in one arena; what goes past that is `void`.
const MOST_TYPES: usize = 1 << 20;
/// Typedefs and qualifiers in a row.
const MOST_STEPS: usize = 64;
/// How deep the name of a type nests.
const MOST_NESTING: usize = 24;
/// Types that one name is made of.
const MOST_PARTS: usize = 512;
/// A name that is built up from others is cut there, in bytes.
const LONGEST_NAME: usize = 4096;

/// The layouts of one process's types.
///
/// A type that was asked for is read with all that it holds by value. What it only points to is known by name and size
/// until [`Types::load`] is called for it, so that one question does not pull in the whole program. Types that say
/// the same in several units are one.
#[derive(Debug)]
pub struct Types {
    info: DebugInfo,
    layouts: Vec<Layout>,
    dies: Vec<Option<DieRef>>,
    by_die: HashMap<DieRef, TypeId>,
    /// By kind, name, size and what its members are.
    by_shape: HashMap<(u8, String, Option<u64>, u64), TypeId>,
    truncated: bool,
}

impl Types {
    /// No types yet; costs nothing.
    pub fn new(info: DebugInfo) -> Types {
        Types {
            info,
            layouts: vec![Layout { name: Some("void".to_owned()), ..Layout::empty(TypeKind::Void) }],
            dies: vec![None],
            by_die: HashMap::new(),
            by_shape: HashMap::new(),
            truncated: false,
        }
    }

    /// Where the layouts come from.
    pub fn debug_info(&self) -> &DebugInfo {
        &self.info
    }

    /// How many layouts there are by now.
    pub fn len(&self) -> usize {
        self.layouts.len()
    }

    /// Never: `void` is always there.
    pub fn is_empty(&self) -> bool {
        self.layouts.is_empty()
    }

    /// Whether there were more types than fit, so that some became `void`.
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// The layout of a type. An id of another arena gives `void`, or whatever has that number here.
    pub fn get(&self, id: TypeId) -> &Layout {
        self.layouts.get(id.0 as usize).unwrap_or(&self.layouts[0])
    }

    /// The layout that was found, read with all that it holds by value.
    pub fn add(&mut self, found: &FoundLayout) -> TypeId {
        let id = self.intern(found.die);
        self.load(id);
        id
    }

    pub(crate) fn add_die(&mut self, die: DieRef) -> TypeId {
        self.intern(die)
    }

    /// Reads the members of a type, and of all that it holds by value. Nothing happens where they are known.
    pub fn load(&mut self, id: TypeId) {
        self.load_from(id, true);
    }

    /// Reads what leads to a named type, but not its members.
    pub(super) fn load_shallow(&mut self, id: TypeId) {
        self.load_from(id, false);
    }

    fn load_from(&mut self, id: TypeId, members: bool) {
        // With each type whether its members are wanted; behind a pointer its name is enough.
        let mut open = vec![(id, members)];
        let mut seen = HashSet::new();
        while let Some((id, members)) = open.pop() {
            if !seen.insert((id, members)) {
                continue;
            }
            if !members && (self.get(id).is_record() || matches!(self.get(id).kind, TypeKind::Enum(_))) {
                continue;
            }
            self.load_one(id);
            let layout = self.get(id);
            open.extend(layout.members.iter().map(|member| (member.ty, true)));
            open.extend(layout.arguments.iter().map(|argument| (argument.ty, false)));
            if let Some(variants) = &layout.variants {
                let held = variants.list.iter().filter_map(|variant| variant.member.as_ref());
                open.extend(variants.discriminant.iter().chain(held).map(|member| (member.ty, true)));
            }
            match &layout.kind {
                TypeKind::Array { element: target, .. }
                | TypeKind::Typedef(target)
                | TypeKind::Qualified(_, target)
                | TypeKind::Enum(Some(target)) => open.push((*target, members)),
                TypeKind::Pointer(target) | TypeKind::Reference(target) | TypeKind::RvalueReference(target) => {
                    open.push((*target, false))
                }
                TypeKind::MemberPointer { target, class } => open.extend([(*target, false), (*class, false)]),
                TypeKind::Function { returns, parameters, .. } => {
                    open.extend(parameters.iter().chain([returns]).map(|target| (*target, false)));
                }
                _ => {}
            }
        }
    }

    /// Reads what an entry's children say, and what it refers to.
    fn load_one(&mut self, id: TypeId) {
        let die = self.dies.get(id.0 as usize).copied().flatten();
        let (Some(die), Completeness::Head) = (die, self.get(id).completeness) else { return };
        let (Some(head), Some(body)) = (self.info.read_head(die), self.info.read_body(die)) else { return };
        let target = head.target.map_or(TypeId::VOID, |die| self.intern(die));
        let kind = match head.kind {
            KindRead::Pointer => TypeKind::Pointer(target),
            KindRead::Reference => TypeKind::Reference(target),
            KindRead::RvalueReference => TypeKind::RvalueReference(target),
            KindRead::Array => TypeKind::Array { element: target, counts: body.counts.clone() },
            KindRead::Typedef => TypeKind::Typedef(target),
            KindRead::Const => TypeKind::Qualified(Qualifier::Const, target),
            KindRead::Volatile => TypeKind::Qualified(Qualifier::Volatile, target),
            KindRead::Restrict => TypeKind::Qualified(Qualifier::Restrict, target),
            KindRead::Atomic => TypeKind::Qualified(Qualifier::Atomic, target),
            KindRead::MemberPointer => {
                TypeKind::MemberPointer { target, class: head.class.map_or(TypeId::VOID, |die| self.intern(die)) }
            }
            KindRead::Enum => TypeKind::Enum(head.target.map(|_| target)),
            KindRead::Function => {
                let parameters =
                    body.parameters.iter().map(|die| die.map_or(TypeId::VOID, |die| self.intern(die))).collect();
                let variadic = body.variadic && !body.parameters.is_empty();
                TypeKind::Function { returns: target, parameters, variadic }
            }
            _ => self.get(id).kind.clone(),
        };
        let members = body.members.iter().map(|member| self.member(member)).collect();
        let variants = self.variants(&body);
        let arguments = body
            .arguments
            .iter()
            .map(|argument| TemplateArgument {
                name: argument.name.clone(),
                ty: argument.target.map_or(TypeId::VOID, |die| self.intern(die)),
                value: argument.value,
            })
            .collect();
        let size = match head.kind {
            // A pointer to a function takes two words.
            KindRead::MemberPointer if head.size.is_none() => {
                let function = matches!(self.resolved(target).kind, TypeKind::Function { .. });
                Some(self.info.address_size(die) * if function { 2 } else { 1 })
            }
            _ => head.size,
        };
        if let Some(layout) = self.layouts.get_mut(id.0 as usize) {
            layout.kind = kind;
            layout.size_bytes = size;
            layout.members = members;
            layout.enumerators = body.enumerators;
            layout.variants = variants;
            layout.arguments = arguments;
            layout.completeness = if body.truncated { Completeness::Damaged } else { Completeness::Whole };
        }
    }

    fn member(&mut self, read: &MemberRead) -> Member {
        Member {
            name: read.name.clone(),
            ty: read.target.map_or(TypeId::VOID, |die| self.intern(die)),
            place: match read.place {
                PlaceRead::Fixed(offset) => MemberPlace::Offset(offset),
                PlaceRead::Virtual(slot) => MemberPlace::InVtable(slot),
                PlaceRead::Unknown => MemberPlace::Unknown,
            },
            bits: read.bits.map(|(offset, size)| Bits { offset, size }),
            role: read.role,
            artificial: read.artificial,
        }
    }

    fn variants(&mut self, body: &BodyRead) -> Option<Variants> {
        if body.variants.is_empty() {
            return None;
        }
        let discriminant = body.discriminant.as_ref().map(|member| self.member(member));
        let list = body
            .variants
            .iter()
            .map(|variant| {
                let member = variant.members.first().map(|member| self.member(member));
                let name = member.as_ref().and_then(|member| member.name.clone()).unwrap_or_default();
                Variant { name, values: variant.values.clone(), member }
            })
            .collect();
        Some(Variants { discriminant, list })
    }

    /// Looks in all units for the definitions of types that `roots` hold or point to and that are only declared
    /// there, and reads them. Costs one search over the debug information where there are any.
    pub fn complete(&mut self, roots: &[TypeId], task: &Task) {
        let mut asked = HashSet::new();
        // A definition may hold a type that is only declared, in turn.
        for _ in 0..MOST_STEPS {
            let wanted: Vec<(TypeId, String)> = self
                .reachable(roots)
                .into_iter()
                .filter(|id| self.get(*id).completeness == Completeness::Declared && asked.insert(*id))
                .filter_map(|id| Some((id, self.get(id).name.clone()?)))
                .collect();
            let (ids, names): (Vec<TypeId>, Vec<TypeName>) =
                wanted.iter().filter_map(|(id, name)| Some((*id, TypeName::parse(name)?))).unzip();
            if names.is_empty() {
                return;
            }
            let found = self.info.find_types(&names, task);
            for ((id, name), found) in ids.into_iter().zip(&names).zip(found) {
                let same = found.names.iter().find(|found| found.name == name.text());
                if let Some(layout) = same.and_then(|found| found.layouts.first()) {
                    let definition = self.add(layout);
                    let layout = self.get(definition).clone();
                    if let Some(slot) = self.layouts.get_mut(id.0 as usize) {
                        *slot = layout;
                    }
                }
            }
        }
    }

    /// Everything that is held by value, pointed to, or pointed to by what is held.
    fn reachable(&self, roots: &[TypeId]) -> Vec<TypeId> {
        let mut seen: HashSet<TypeId> = roots.iter().copied().collect();
        let mut open: Vec<TypeId> = roots.to_vec();
        let mut all = Vec::new();
        while let Some(id) = open.pop() {
            all.push(id);
            let layout = self.get(id);
            let mut targets: Vec<TypeId> = layout.members.iter().map(|member| member.ty).collect();
            match &layout.kind {
                TypeKind::Array { element: target, .. }
                | TypeKind::Typedef(target)
                | TypeKind::Qualified(_, target)
                | TypeKind::Pointer(target)
                | TypeKind::Reference(target)
                | TypeKind::RvalueReference(target) => targets.push(*target),
                _ => {}
            }
            open.extend(targets.into_iter().filter(|target| seen.insert(*target)));
        }
        all
    }

    /// The type itself, without typedefs and qualifiers.
    pub fn resolve(&self, id: TypeId) -> TypeId {
        let mut id = id;
        for _ in 0..MOST_STEPS {
            match self.get(id).kind {
                TypeKind::Typedef(target) | TypeKind::Qualified(_, target) => id = target,
                _ => return id,
            }
        }
        TypeId::VOID
    }

    /// The layout of the type itself, without typedefs and qualifiers.
    pub fn resolved(&self, id: TypeId) -> &Layout {
        self.get(self.resolve(id))
    }

    /// How many bytes a value of the type takes; `None` where that is not known.
    pub fn size_bytes(&self, id: TypeId) -> Option<u64> {
        let mut id = self.resolve(id);
        let mut factor = 1u64;
        for _ in 0..MOST_STEPS {
            let layout = self.get(id);
            if let Some(size) = layout.size_bytes {
                return size.checked_mul(factor);
            }
            let TypeKind::Array { element, counts } = &layout.kind else { return None };
            for count in counts {
                factor = factor.checked_mul((*count)?)?;
            }
            id = self.resolve(*element);
        }
        None
    }

    /// The target of a pointer or reference, through typedefs and qualifiers on both sides.
    pub fn pointee(&self, id: TypeId) -> Option<TypeId> {
        match self.resolved(id).kind {
            TypeKind::Pointer(target) | TypeKind::Reference(target) | TypeKind::RvalueReference(target) => {
                Some(self.resolve(target))
            }
            _ => None,
        }
    }

    /// The type as it is written in the source: `const char *[4]`.
    pub fn type_name(&self, id: TypeId) -> String {
        let mut name = self.declare(id, "", MOST_NESTING, &mut 0);
        if name.len() > LONGEST_NAME {
            let cut = (0..=LONGEST_NAME).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
            name.truncate(cut);
            name.push('…');
        }
        name
    }

    /// A member's declaration as it is written in the source: `int (*callback)(void *)`.
    pub fn declaration(&self, id: TypeId, name: &str) -> String {
        self.declare(id, name, MOST_NESTING, &mut 0)
    }

    /// Whether numbers of the type have a sign.
    pub fn is_signed(&self, id: TypeId) -> bool {
        match self.resolved(id).kind {
            TypeKind::Base(Encoding::Signed | Encoding::SignedChar) => true,
            TypeKind::Enum(Some(underlying)) => {
                matches!(self.resolved(underlying).kind, TypeKind::Base(Encoding::Signed | Encoding::SignedChar))
            }
            _ => false,
        }
    }

    /// A declaration of `inner` with this type: C's order, from the inside out.
    fn declare(&self, id: TypeId, inner: &str, nesting: usize, parts: &mut usize) -> String {
        let layout = self.get(id);
        *parts += 1;
        if nesting == 0 || *parts > MOST_PARTS || inner.len() > LONGEST_NAME {
            return "…".to_owned();
        }
        let plain = |name: &str| if inner.is_empty() { name.to_owned() } else { format!("{name} {inner}") };
        let through = |target: TypeId, mark: &str, parts: &mut usize| {
            let target_kind = &self.get(target).kind;
            let marked = format!("{mark}{inner}");
            let wrapped = matches!(target_kind, TypeKind::Array { .. } | TypeKind::Function { .. });
            self.declare(target, &if wrapped { format!("({marked})") } else { marked }, nesting - 1, parts)
        };
        match &layout.kind {
            // Rust's pointers have names of their own.
            TypeKind::Pointer(_) | TypeKind::Reference(_) if layout.name.is_some() => {
                plain(layout.name.as_deref().unwrap_or_default())
            }
            TypeKind::Pointer(target) => through(*target, "*", parts),
            TypeKind::Reference(target) => through(*target, "&", parts),
            TypeKind::RvalueReference(target) => through(*target, "&&", parts),
            TypeKind::Qualified(qualifier, target) => {
                let pointer = matches!(
                    self.get(*target).kind,
                    TypeKind::Pointer(_) | TypeKind::Reference(_) | TypeKind::RvalueReference(_)
                );
                if pointer {
                    let text = if inner.is_empty() { qualifier.to_string() } else { format!("{qualifier} {inner}") };
                    // Behind the star that it belongs to.
                    self.declare(*target, &format!(" {text}"), nesting - 1, parts)
                } else {
                    format!("{qualifier} {}", self.declare(*target, inner, nesting - 1, parts))
                }
            }
            TypeKind::Array { element, counts } => {
                let mut suffix = inner.to_owned();
                for count in counts {
                    match count {
                        Some(count) => suffix.push_str(&format!("[{count}]")),
                        None => suffix.push_str("[]"),
                    }
                }
                self.declare(*element, &suffix, nesting - 1, parts)
            }
            TypeKind::Function { returns, parameters, variadic } => {
                let mut parameters: Vec<String> =
                    parameters.iter().map(|parameter| self.declare(*parameter, "", nesting - 1, parts)).collect();
                parameters.extend(variadic.then(|| "...".to_owned()));
                self.declare(*returns, &format!("{inner}({})", parameters.join(", ")), nesting - 1, parts)
            }
            TypeKind::MemberPointer { target, class } => {
                let class = if *class == TypeId::VOID { "" } else { self.get(*class).name.as_deref().unwrap_or("") };
                through(*target, &format!("{class}::*"), parts)
            }
            kind => match &layout.name {
                Some(name) => plain(name),
                None => plain(match kind {
                    TypeKind::Struct | TypeKind::Class => "struct {…}",
                    TypeKind::Union => "union {…}",
                    TypeKind::Enum(_) => "enum {…}",
                    _ => "?",
                }),
            },
        }
    }

    /// The id of what an entry describes; its head is read where it is new.
    fn intern(&mut self, die: DieRef) -> TypeId {
        if let Some(id) = self.by_die.get(&die) {
            return *id;
        }
        let head = self.info.read_head(die);
        let (die_of, head) = match head.as_ref().and_then(|head| head.signature) {
            // The whole of it stands in a type unit.
            Some(whole) => (whole, self.info.read_head(whole).or(head)),
            None => (die, head),
        };
        if let Some(id) = self.by_die.get(&die_of).copied() {
            self.by_die.insert(die, id);
            return id;
        }
        let shape = head.as_ref().and_then(|head| self.said(die_of, head));
        if let Some(id) = shape.as_ref().and_then(|shape| self.by_shape.get(shape)).copied() {
            self.by_die.insert(die, id);
            return id;
        }
        if self.layouts.len() >= MOST_TYPES {
            self.truncated = true;
            return TypeId::VOID;
        }
        let id = TypeId(u32::try_from(self.layouts.len()).unwrap_or(0));
        self.by_die.insert(die, id);
        self.by_die.insert(die_of, id);
        self.by_shape.extend(shape.map(|shape| (shape, id)));
        self.dies.push(Some(die_of));
        let Some(head) = head else {
            let damaged = Layout { completeness: Completeness::Damaged, ..Layout::empty(TypeKind::Unspecified) };
            self.layouts.push(damaged);
            return id;
        };
        // The target is known before its own target is: a circle ends at an id that is there already.
        self.layouts.push(Layout {
            name: head.name,
            size_bytes: head.size,
            align: head.align,
            kind: TypeKind::Unspecified,
            completeness: if head.declared { Completeness::Declared } else { Completeness::Head },
            ..Layout::empty(TypeKind::Unspecified)
        });
        let kind = self.kind_of(head.kind);
        if let Some(layout) = self.layouts.get_mut(id.0 as usize) {
            layout.kind = kind;
        }
        id
    }

    /// What tells a named type from others, so that each unit's copy of it is one type here.
    fn said(&self, die: DieRef, head: &HeadRead) -> Option<(u8, String, Option<u64>, u64)> {
        let kind = match head.kind {
            KindRead::Struct | KindRead::Class => 0,
            KindRead::Union => 1,
            KindRead::Enum => 2,
            KindRead::Base(encoding) => 16 + encoding as u8,
            _ => return None,
        };
        let kind = kind + if head.declared { 128 } else { 0 };
        Some((kind, head.name.clone()?, head.size, self.info.fingerprint(die, head.size)))
    }

    /// The kind without its targets, which are read with the body.
    fn kind_of(&self, kind: KindRead) -> TypeKind {
        let target = TypeId::VOID;
        match kind {
            KindRead::Base(encoding) => TypeKind::Base(encoding),
            KindRead::Struct => TypeKind::Struct,
            KindRead::Class => TypeKind::Class,
            KindRead::Union => TypeKind::Union,
            KindRead::Enum => TypeKind::Enum(None),
            KindRead::Pointer => TypeKind::Pointer(target),
            KindRead::Reference => TypeKind::Reference(target),
            KindRead::RvalueReference => TypeKind::RvalueReference(target),
            KindRead::Array => TypeKind::Array { element: target, counts: Vec::new() },
            KindRead::Typedef => TypeKind::Typedef(target),
            KindRead::Const => TypeKind::Qualified(Qualifier::Const, target),
            KindRead::Volatile => TypeKind::Qualified(Qualifier::Volatile, target),
            KindRead::Restrict => TypeKind::Qualified(Qualifier::Restrict, target),
            KindRead::Atomic => TypeKind::Qualified(Qualifier::Atomic, target),
            KindRead::Function => TypeKind::Function { returns: target, parameters: Vec::new(), variadic: false },
            KindRead::MemberPointer => TypeKind::MemberPointer { target, class: TypeId::VOID },
            KindRead::Unspecified => TypeKind::Unspecified,
        }
    }
}
