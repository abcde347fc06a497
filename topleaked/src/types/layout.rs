//! What a type looks like in memory: sizes, members, offsets.

use std::fmt;

/// The index of a [`Layout`] in its [`Types`](super::Types).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TypeId(pub(super) u32);

impl TypeId {
    /// `void`, `()`: nothing.
    pub const VOID: TypeId = TypeId(0);
}

/// How the bits of a base type are meant.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Encoding {
    /// True or false.
    Bool,
    /// A number with a sign.
    Signed,
    /// A number without.
    Unsigned,
    /// `char` where it has a sign.
    SignedChar,
    /// `unsigned char`, and `char` where it has none; Rust's `u8` is one.
    UnsignedChar,
    /// A character of text: `char16_t`, `char32_t`, Rust's `char`.
    Character,
    /// IEEE 754, or x87's 80 bits.
    Float,
    /// Two floats.
    Complex,
    /// An address.
    Address,
}

/// What is said before a type without changing its layout.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Qualifier {
    /// `const`
    Const,
    /// `volatile`
    Volatile,
    /// `restrict`
    Restrict,
    /// `_Atomic`
    Atomic,
}

/// Which kind of type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TypeKind {
    /// `void`
    Void,
    /// A number, a character, a truth value.
    Base(Encoding),
    /// `struct`; also tuples, closures and enums with data of Rust.
    Struct,
    /// `class`
    Class,
    /// `union`
    Union,
    /// An enumeration; with the type of its values where it is told.
    Enum(Option<TypeId>),
    /// A pointer to a type.
    Pointer(TypeId),
    /// `T &`
    Reference(TypeId),
    /// `T &&`
    RvalueReference(TypeId),
    /// So many elements in each dimension, the outermost first; `None` where that is not known.
    Array {
        /// The type of one element.
        element: TypeId,
        /// Elements in each dimension.
        counts: Vec<Option<u64>>,
    },
    /// Another name for a type.
    Typedef(TypeId),
    /// A qualified type.
    Qualified(Qualifier, TypeId),
    /// Code that takes parameters and returns a value.
    Function {
        /// What it returns.
        returns: TypeId,
        /// What it takes.
        parameters: Vec<TypeId>,
        /// Whether it takes more than it names: `...`.
        variadic: bool,
    },
    /// `T C::*`
    MemberPointer {
        /// The type of the member.
        target: TypeId,
        /// The class; `void` where that is not known.
        class: TypeId,
    },
    /// `decltype(nullptr)`, and what the debug information has no word for.
    Unspecified,
}

/// How much of a layout is known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Completeness {
    /// All of it.
    Whole,
    /// Its name and size; its members have not been read yet ([`Types::load`](super::Types::load) does).
    Head,
    /// It was declared, and nowhere defined as far as has been looked ([`Types::complete`](super::Types::complete)
    /// looks in all units).
    Declared,
    /// The debug information is damaged there.
    Damaged,
}

/// What a member is for its type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MemberRole {
    /// An ordinary member.
    Field,
    /// A base class.
    Base,
    /// A virtual base class: where it lies depends on the class of the whole object.
    VirtualBase,
}

/// Where a member lies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MemberPlace {
    /// Bytes from the beginning of the type.
    Offset(u64),
    /// A virtual base: its offset stands in the vtable, so many bytes from the address point.
    InVtable(i64),
    /// The debug information does not tell it in a way that is understood.
    Unknown,
}

impl MemberPlace {
    /// Bytes from the beginning of the type, where that is the same for all objects.
    pub fn offset(self) -> Option<u64> {
        match self {
            MemberPlace::Offset(offset) => Some(offset),
            _ => None,
        }
    }
}

/// The bits of a bit field.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Bits {
    /// Bits from the beginning of the type. On little-endian machines they count from the least significant bit of
    /// the first byte, on big-endian ones from the most significant.
    pub offset: u64,
    /// How many bits.
    pub size: u64,
}

/// A member or a base class.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// `None` for base classes and for anonymous structs and unions.
    pub name: Option<String>,
    /// Its type.
    pub ty: TypeId,
    /// Where it is; for a bit field the byte in which its unit of storage begins.
    pub place: MemberPlace,
    /// Its bits, where it is a bit field.
    pub bits: Option<Bits>,
    /// What it is for its type.
    pub role: MemberRole,
    /// The compiler added it: a pointer to the vtable.
    pub artificial: bool,
}

/// One name of a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Enumerator {
    /// Without the enumeration's name.
    pub name: String,
    /// Its bits, sign-extended where it is negative.
    pub value: u64,
}

/// A type or a value that a template was given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TemplateArgument {
    /// The parameter's name.
    pub name: Option<String>,
    /// The type; of a value, its type.
    pub ty: TypeId,
    /// The value, where it is one and a number.
    pub value: Option<i64>,
}

/// One alternative of a Rust enum.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// Ranges of the discriminant's values that mean this variant, ends included. Empty for the variant that all
    /// other values stand for.
    pub values: Vec<(u64, u64)>,
    /// What it holds, as one member at an offset of the enum.
    pub member: Option<Member>,
}

/// The alternatives of a Rust enum with data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Variants {
    /// Where the value is that tells which; `None` where there is but one.
    pub discriminant: Option<Member>,
    /// The alternatives, in the order of the source.
    pub list: Vec<Variant>,
}

/// One type's layout.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// With its scopes and template arguments; `None` for what has no name.
    pub name: Option<String>,
    /// Bytes; `None` where it is not known.
    pub size_bytes: Option<u64>,
    /// The alignment that the source asks for, in bytes.
    pub align: Option<u64>,
    /// Which kind.
    pub kind: TypeKind,
    /// How much of it is known.
    pub completeness: Completeness,
    /// Base classes and members, by offset as the debug information has them.
    pub members: Vec<Member>,
    /// The names of an enumeration's values.
    pub enumerators: Vec<Enumerator>,
    /// The alternatives of a Rust enum with data.
    pub variants: Option<Variants>,
    /// What the template was given.
    pub arguments: Vec<TemplateArgument>,
}

impl Layout {
    pub(super) fn empty(kind: TypeKind) -> Layout {
        Layout {
            name: None,
            size_bytes: None,
            align: None,
            kind,
            completeness: Completeness::Whole,
            members: Vec::new(),
            enumerators: Vec::new(),
            variants: None,
            arguments: Vec::new(),
        }
    }

    /// The member of this name, among the type's own.
    pub fn find_member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name.as_deref() == Some(name))
    }

    /// The type argument at a place of a template.
    pub fn type_argument(&self, at: usize) -> Option<TypeId> {
        self.arguments.get(at).filter(|argument| argument.value.is_none()).map(|argument| argument.ty)
    }

    /// Whether it has members: a struct, a class, a union.
    pub fn is_record(&self) -> bool {
        matches!(self.kind, TypeKind::Struct | TypeKind::Class | TypeKind::Union)
    }

    /// The name of the enumerator with this value, of which the lowest `size_bytes` count.
    pub fn enumerator(&self, value: u64) -> Option<&str> {
        let mask = match self.size_bytes {
            Some(size @ 0..=7) => (1u64 << (size * 8)) - 1,
            _ => u64::MAX,
        };
        self.enumerators.iter().find(|known| (known.value ^ value) & mask == 0).map(|known| known.name.as_str())
    }
}

impl fmt::Display for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Qualifier::Const => "const",
            Qualifier::Volatile => "volatile",
            Qualifier::Restrict => "restrict",
            Qualifier::Atomic => "_Atomic",
        })
    }
}
