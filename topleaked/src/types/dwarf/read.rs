//! What one entry says of a type, in terms that know nothing of DWARF's forms.

use std::ops::ControlFlow;
use std::sync::Arc;

use gimli::{AttributeValue, Operation, Reader};

use crate::types::layout::{Encoding, Enumerator, MemberRole};

use super::name::Scope;
use super::scan::{fingerprint_of, scope_of};
use super::unit::{Entry, UnitReader, is_scope_tag};
use super::{DebugInfo, DieRef};

/// Members, enumerators or parameters of one type; further ones are left out.
const MOST_CHILDREN: usize = 1 << 16;
/// Parameter packs of one template.
const MOST_PACKS: usize = 16;
/// Scopes around one type.
const MOST_SCOPES: usize = 256;
/// How often "it is declared elsewhere" may lead on.
const MOST_DECLARATIONS: usize = 8;
/// Scopes of one unit that are remembered.
const MOST_UNIT_SCOPES: usize = 1 << 24;
/// Operations of a member's location that are looked at.
const MOST_OPERATIONS: usize = 16;

/// What kind of type an entry describes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum KindRead {
    Base(Encoding),
    Struct,
    Class,
    Union,
    Enum,
    Pointer,
    Reference,
    RvalueReference,
    Array,
    Typedef,
    Const,
    Volatile,
    Restrict,
    Atomic,
    Function,
    MemberPointer,
    Unspecified,
}

/// Where a member is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PlaceRead {
    /// Bytes from the beginning of the type.
    Fixed(u64),
    /// The offset is in the vtable, this many bytes from its address point.
    Virtual(i64),
    /// An expression that is not understood.
    Unknown,
}

/// A member or a base class.
#[derive(Clone, Debug)]
pub(crate) struct MemberRead {
    pub(crate) name: Option<String>,
    pub(crate) target: Option<DieRef>,
    pub(crate) place: PlaceRead,
    /// Bits from the beginning of the type, and how many.
    pub(crate) bits: Option<(u64, u64)>,
    pub(crate) role: MemberRole,
    pub(crate) artificial: bool,
}

/// One variant of a Rust enum.
#[derive(Clone, Debug, Default)]
pub(crate) struct VariantRead {
    /// Values of the discriminant; none for the variant that all others stand for.
    pub(crate) values: Vec<(u64, u64)>,
    pub(crate) members: Vec<MemberRead>,
}

/// A template argument.
#[derive(Clone, Debug)]
pub(crate) struct ArgumentRead {
    pub(crate) name: Option<String>,
    pub(crate) target: Option<DieRef>,
    pub(crate) value: Option<i64>,
}

/// What an entry says at first sight.
#[derive(Clone, Debug)]
pub(crate) struct HeadRead {
    pub(crate) kind: KindRead,
    pub(crate) name: Option<String>,
    pub(crate) size: Option<u64>,
    pub(crate) align: Option<u64>,
    pub(crate) target: Option<DieRef>,
    /// Of a pointer to a member, the class.
    pub(crate) class: Option<DieRef>,
    pub(crate) declared: bool,
    /// The full description, where this entry only stands for it.
    pub(crate) signature: Option<DieRef>,
}

/// What its children say.
#[derive(Clone, Debug, Default)]
pub(crate) struct BodyRead {
    pub(crate) members: Vec<MemberRead>,
    pub(crate) enumerators: Vec<Enumerator>,
    /// Elements in each dimension; `None` where that is not known.
    pub(crate) counts: Vec<Option<u64>>,
    pub(crate) parameters: Vec<Option<DieRef>>,
    /// Whether a function takes more than it names.
    pub(crate) variadic: bool,
    pub(crate) arguments: Vec<ArgumentRead>,
    pub(crate) discriminant: Option<MemberRead>,
    pub(crate) variants: Vec<VariantRead>,
    /// More children than are read.
    pub(crate) truncated: bool,
}

/// The scopes of one unit: where each begins and ends.
#[derive(Debug, Default)]
pub(super) struct ScopeMap {
    /// By beginning: the entry, the end of its children, and its parent.
    scopes: Vec<(u32, u32, u32)>,
}

const NO_PARENT: u32 = u32::MAX;

impl ScopeMap {
    fn build(reader: &UnitReader<'_>) -> ScopeMap {
        let mut map = ScopeMap::default();
        // The open entries: the index of a scope, or none for an entry that is not one.
        let mut open: Vec<Option<u32>> = Vec::new();
        let mut parent = NO_PARENT;
        let Some(mut raw) = reader.raw(reader.root_offset() as usize) else { return map };
        while !raw.is_empty() && map.scopes.len() < MOST_UNIT_SCOPES {
            let at = raw.next_offset().0;
            match raw.read_abbreviation() {
                Err(_) => break,
                Ok(None) => {
                    if let Some(Some(closed)) = open.pop()
                        && let Some(scope) = map.scopes.get_mut(closed as usize)
                    {
                        scope.1 = at as u32;
                        parent = scope.2;
                    }
                }
                Ok(Some(abbreviation)) => {
                    if raw.skip_attributes(abbreviation.attributes()).is_err() {
                        break;
                    }
                    if abbreviation.has_children() {
                        if is_scope_tag(abbreviation.tag()) {
                            let index = map.scopes.len() as u32;
                            map.scopes.push((at as u32, u32::MAX, parent));
                            open.push(Some(index));
                            parent = index;
                        } else {
                            open.push(None);
                        }
                    }
                }
            }
        }
        map
    }

    /// The innermost scope around an entry.
    fn around(&self, offset: u32, info: &DebugInfo) -> Option<(u32, u32)> {
        let mut at = self.scopes.partition_point(|(start, ..)| *start < offset).checked_sub(1)? as u32;
        for _ in 0..=self.scopes.len() {
            let (start, end, parent) = *self.scopes.get(at as usize)?;
            if end > offset {
                return Some((start, parent));
            }
            at = parent;
            if !info.charge(1) {
                return None;
            }
        }
        None
    }
}

impl DebugInfo {
    fn scope_map(&self, unit: u32) -> Option<Arc<ScopeMap>> {
        let lock = || self.scope_maps.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(map) = lock().get(&unit) {
            return Some(map.clone());
        }
        let map = Arc::new(ScopeMap::build(&self.open_unit(unit)?));
        lock().insert(unit, map.clone());
        Some(map)
    }

    /// The name of an entry, its own or that of its declaration.
    pub(super) fn die_name(&self, die: DieRef) -> Option<&[u8]> {
        let mut die = die;
        for _ in 0..MOST_DECLARATIONS {
            let reader = self.open_unit(die.unit)?;
            let entry = reader.entry(die.offset)?;
            if let Some(name) = reader.name(&entry) {
                return Some(name);
            }
            die = reader
                .referred(&entry, gimli::DW_AT_specification)
                .or_else(|| reader.referred(&entry, gimli::DW_AT_abstract_origin))
                .or_else(|| reader.referred(&entry, gimli::DW_AT_signature))?;
        }
        None
    }

    /// The scopes around an entry, outermost first, and the entry itself last.
    pub(super) fn path_of(&self, die: DieRef) -> Vec<Scope> {
        let mut die = die;
        // The declaration stands in the scope that the definition belongs to.
        for _ in 0..MOST_DECLARATIONS {
            let declaration = self.open_unit(die.unit).and_then(|reader| {
                let entry = reader.entry(die.offset)?;
                reader
                    .referred(&entry, gimli::DW_AT_specification)
                    .or_else(|| reader.referred(&entry, gimli::DW_AT_abstract_origin))
            });
            match declaration {
                Some(declaration) if declaration != die => die = declaration,
                _ => break,
            }
        }
        let mut path = Vec::new();
        let (Some(reader), Some(map)) = (self.open_unit(die.unit), self.scope_map(die.unit)) else { return path };
        let mut at = Some(die.offset);
        while let Some(offset) = at
            && path.len() < MOST_SCOPES
            && self.charge(16)
        {
            let Some(entry) = reader.entry(offset) else { break };
            let name = self.die_name(DieRef { unit: die.unit, offset });
            let inline = reader.flag(&entry, gimli::DW_AT_export_symbols);
            let scope = scope_of(entry.tag(), name, inline);
            if !self.charge(scope.part.spelled.len() as u64) {
                break;
            }
            path.push(scope);
            at = map.around(offset, self).map(|(start, _)| start);
        }
        path.reverse();
        path
    }

    /// The name of an entry with its scopes; empty where it has none of its own.
    pub(super) fn qualified_name(&self, die: DieRef) -> String {
        let path = self.path_of(die);
        let mut full = String::new();
        for (at, scope) in path.iter().enumerate() {
            if at > 0 {
                full.push_str("::");
            }
            full.push_str(
                scope.part.spelled.strip_suffix("()").filter(|_| at + 1 == path.len()).unwrap_or(&scope.part.spelled),
            );
        }
        full
    }

    /// What an entry says of its type at first sight. Costs O(scopes of its unit) the first time a name is asked for in it.
    pub(crate) fn read_head(&self, die: DieRef) -> Option<HeadRead> {
        let reader = self.open_unit(die.unit)?;
        let entry = reader.entry(die.offset)?;
        let kind = kind_of(&entry)?;
        let named = self.die_name(die);
        let name = match kind {
            KindRead::Struct | KindRead::Class | KindRead::Union | KindRead::Enum | KindRead::Typedef => {
                named.map(|_| self.qualified_name(die))
            }
            _ => named.map(|name| String::from_utf8_lossy(name).into_owned()),
        };
        let size = match kind {
            KindRead::Pointer | KindRead::Reference | KindRead::RvalueReference => {
                reader.unsigned(&entry, gimli::DW_AT_byte_size).or(Some(u64::from(reader.header.address_size())))
            }
            _ => reader.unsigned(&entry, gimli::DW_AT_byte_size),
        };
        Some(HeadRead {
            kind,
            name: name.filter(|name| !name.is_empty()),
            size,
            align: reader.unsigned(&entry, gimli::DW_AT_alignment),
            target: reader.referred(&entry, gimli::DW_AT_type),
            class: reader.referred(&entry, gimli::DW_AT_containing_type),
            declared: reader.flag(&entry, gimli::DW_AT_declaration),
            signature: reader.referred(&entry, gimli::DW_AT_signature).filter(|other| *other != die),
        })
    }

    /// What the children of an entry say.
    pub(crate) fn read_body(&self, die: DieRef) -> Option<BodyRead> {
        let reader = self.open_unit(die.unit)?;
        let own = reader.entry(die.offset)?;
        let mut body = BodyRead::default();
        let mut part = None;
        let mut packs = Vec::new();
        let mut seen = 0usize;
        reader.for_each_child(die.offset, |at, entry| {
            seen += 1;
            if seen > MOST_CHILDREN {
                body.truncated = true;
                return ControlFlow::Break(());
            }
            match entry.tag() {
                gimli::DW_TAG_member | gimli::DW_TAG_inheritance => body.members.extend(member(&reader, entry)),
                gimli::DW_TAG_enumerator => body.enumerators.extend(enumerator(&reader, entry)),
                gimli::DW_TAG_subrange_type => body.counts.push(count(&reader, entry)),
                gimli::DW_TAG_formal_parameter => {
                    body.parameters.push(reader.referred(entry, gimli::DW_AT_type));
                }
                gimli::DW_TAG_unspecified_parameters => body.variadic = true,
                gimli::DW_TAG_template_type_parameter | gimli::DW_TAG_template_value_parameter => {
                    body.arguments.push(argument(&reader, entry));
                }
                gimli::DW_TAG_GNU_template_parameter_pack => packs.push(at),
                gimli::DW_TAG_variant_part => part = Some((at, reader.referred(entry, gimli::DW_AT_discr))),
                _ => {}
            }
            ControlFlow::Continue(())
        });
        for pack in packs.into_iter().take(MOST_PACKS) {
            reader.for_each_child(pack, |_, entry| {
                let is_argument = matches!(
                    entry.tag(),
                    gimli::DW_TAG_template_type_parameter | gimli::DW_TAG_template_value_parameter
                );
                body.arguments.extend(is_argument.then(|| argument(&reader, entry)));
                if body.arguments.len() < MOST_CHILDREN { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
        }
        if let Some((at, discriminant)) = part {
            read_variants(&reader, at, discriminant, &mut body);
        }
        if own.tag() == gimli::DW_TAG_array_type && body.counts.is_empty() {
            body.counts.push(None);
        }
        Some(body)
    }

    /// Equal for types of equal size with equal members at equal places.
    pub(crate) fn fingerprint(&self, die: DieRef, size: Option<u64>) -> u64 {
        self.open_unit(die.unit).map_or(0, |reader| fingerprint_of(&reader, die.offset, size))
    }

    /// The type of a variable, by its own entry or its declaration's.
    pub(super) fn variable_type(&self, die: DieRef) -> Option<DieRef> {
        let mut die = die;
        for _ in 0..MOST_DECLARATIONS {
            let reader = self.open_unit(die.unit)?;
            let entry = reader.entry(die.offset)?;
            if let Some(target) = reader.referred(&entry, gimli::DW_AT_type) {
                return Some(target);
            }
            die = reader
                .referred(&entry, gimli::DW_AT_specification)
                .or_else(|| reader.referred(&entry, gimli::DW_AT_abstract_origin))?;
        }
        None
    }

    /// What has to be added to addresses in a unit.
    pub(super) fn bias_of(&self, unit: u32) -> u64 {
        self.modules.get(self.module_of(unit) as usize).map_or(0, |module| module.bias)
    }

    /// Bytes of a pointer in an entry's unit.
    pub(crate) fn address_size(&self, die: DieRef) -> u64 {
        self.open_unit(die.unit).map_or(8, |reader| u64::from(reader.header.address_size()))
    }
}

fn text<'a>(reader: &UnitReader<'a>, entry: &Entry<'a>) -> Option<String> {
    reader.name(entry).map(|name| String::from_utf8_lossy(name).into_owned())
}

fn argument<'a>(reader: &UnitReader<'a>, entry: &Entry<'a>) -> ArgumentRead {
    ArgumentRead {
        name: text(reader, entry),
        target: reader.referred(entry, gimli::DW_AT_type),
        value: entry.attr_value(gimli::DW_AT_const_value).and_then(|value| value.sdata_value()),
    }
}

fn kind_of(entry: &Entry<'_>) -> Option<KindRead> {
    Some(match entry.tag() {
        gimli::DW_TAG_base_type => KindRead::Base(encoding(entry)),
        gimli::DW_TAG_structure_type | gimli::DW_TAG_interface_type => KindRead::Struct,
        gimli::DW_TAG_class_type => KindRead::Class,
        gimli::DW_TAG_union_type => KindRead::Union,
        gimli::DW_TAG_enumeration_type => KindRead::Enum,
        gimli::DW_TAG_pointer_type => KindRead::Pointer,
        gimli::DW_TAG_reference_type => KindRead::Reference,
        gimli::DW_TAG_rvalue_reference_type => KindRead::RvalueReference,
        gimli::DW_TAG_array_type => KindRead::Array,
        gimli::DW_TAG_typedef | gimli::DW_TAG_template_alias => KindRead::Typedef,
        gimli::DW_TAG_const_type | gimli::DW_TAG_immutable_type => KindRead::Const,
        gimli::DW_TAG_volatile_type => KindRead::Volatile,
        gimli::DW_TAG_restrict_type => KindRead::Restrict,
        gimli::DW_TAG_atomic_type => KindRead::Atomic,
        gimli::DW_TAG_subroutine_type => KindRead::Function,
        gimli::DW_TAG_ptr_to_member_type => KindRead::MemberPointer,
        gimli::DW_TAG_unspecified_type => KindRead::Unspecified,
        // A subrange as a type of its own is a number.
        gimli::DW_TAG_subrange_type => KindRead::Base(Encoding::Unsigned),
        _ => return None,
    })
}

fn encoding(entry: &Entry<'_>) -> Encoding {
    let Some(AttributeValue::Encoding(encoding)) = entry.attr_value(gimli::DW_AT_encoding) else {
        return Encoding::Unsigned;
    };
    match encoding {
        gimli::DW_ATE_boolean => Encoding::Bool,
        gimli::DW_ATE_address => Encoding::Address,
        gimli::DW_ATE_signed => Encoding::Signed,
        gimli::DW_ATE_signed_char => Encoding::SignedChar,
        gimli::DW_ATE_unsigned_char => Encoding::UnsignedChar,
        gimli::DW_ATE_float | gimli::DW_ATE_imaginary_float => Encoding::Float,
        gimli::DW_ATE_complex_float => Encoding::Complex,
        gimli::DW_ATE_UTF | gimli::DW_ATE_UCS | gimli::DW_ATE_ASCII => Encoding::Character,
        _ => Encoding::Unsigned,
    }
}

fn enumerator<'a>(reader: &UnitReader<'a>, entry: &Entry<'a>) -> Option<Enumerator> {
    let value = constant(entry.attr_value(gimli::DW_AT_const_value)?)?;
    Some(Enumerator { name: text(reader, entry)?, value })
}

/// A number by its bits: sign-extended where its form has a sign.
fn constant<R: Reader>(value: AttributeValue<R>) -> Option<u64> {
    match value {
        AttributeValue::Sdata(value) => Some(value as u64),
        other => other.udata_value(),
    }
}

fn count<'a>(reader: &UnitReader<'a>, entry: &Entry<'a>) -> Option<u64> {
    if let Some(count) = entry.attr_value(gimli::DW_AT_count) {
        return constant(count);
    }
    let upper = constant(entry.attr_value(gimli::DW_AT_upper_bound)?)?;
    let lower = reader.unsigned(entry, gimli::DW_AT_lower_bound).unwrap_or(0);
    // `int none[0]` has the upper bound -1, in whatever form.
    if upper == u64::MAX || upper == u64::from(u32::MAX) {
        return Some(0);
    }
    upper.checked_sub(lower)?.checked_add(1)
}

fn member<'a>(reader: &UnitReader<'a>, entry: &Entry<'a>) -> Option<MemberRead> {
    // A static member has no place in the object.
    if reader.flag(entry, gimli::DW_AT_declaration) || reader.flag(entry, gimli::DW_AT_external) {
        return None;
    }
    let base = entry.tag() == gimli::DW_TAG_inheritance;
    let place = place(reader, entry);
    let is_virtual = matches!(place, PlaceRead::Virtual(_))
        || matches!(
            entry.attr_value(gimli::DW_AT_virtuality),
            Some(AttributeValue::Virtuality(gimli::DW_VIRTUALITY_virtual))
        );
    let role = match (base, is_virtual) {
        (true, true) => MemberRole::VirtualBase,
        (true, false) => MemberRole::Base,
        _ => MemberRole::Field,
    };
    Some(MemberRead {
        name: text(reader, entry),
        target: reader.referred(entry, gimli::DW_AT_type),
        bits: bits(reader, entry, place),
        place,
        role,
        artificial: reader.flag(entry, gimli::DW_AT_artificial),
    })
}

/// Where a member lies, after DW_AT_data_member_location: a number, or one of the expressions that compilers write.
fn place<'a>(reader: &UnitReader<'a>, entry: &Entry<'a>) -> PlaceRead {
    let Some(value) = entry.attr_value(gimli::DW_AT_data_member_location) else {
        // Members of a union, and bit fields that count from the beginning.
        return PlaceRead::Fixed(reader.unsigned(entry, gimli::DW_AT_data_bit_offset).unwrap_or(0) / 8);
    };
    if let Some(offset) = value.udata_value() {
        return PlaceRead::Fixed(offset);
    }
    if let AttributeValue::Sdata(offset) = value {
        return u64::try_from(offset).map_or(PlaceRead::Unknown, PlaceRead::Fixed);
    }
    let Some(expression) = value.exprloc_value() else { return PlaceRead::Unknown };
    let mut operations = expression.operations(reader.header.encoding());
    let mut seen = Vec::new();
    while let Ok(Some(operation)) = operations.next() {
        if seen.len() >= MOST_OPERATIONS {
            return PlaceRead::Unknown;
        }
        seen.push(operation);
    }
    let number = |operation: &Operation<_>| match operation {
        Operation::UnsignedConstant { value } => i64::try_from(*value).ok(),
        Operation::SignedConstant { value } => Some(*value),
        _ => None,
    };
    match seen.as_slice() {
        [Operation::PlusConstant { value }] => PlaceRead::Fixed(*value),
        [constant, Operation::Plus] => {
            number(constant).and_then(|value| u64::try_from(value).ok()).map_or(PlaceRead::Unknown, PlaceRead::Fixed)
        }
        // `this + *(vtable - n)`
        [
            Operation::Pick { index: 0 },
            Operation::Deref { .. },
            constant,
            Operation::Minus,
            Operation::Deref { .. },
            Operation::Plus,
        ] => number(constant).and_then(i64::checked_neg).map_or(PlaceRead::Unknown, PlaceRead::Virtual),
        [
            Operation::Pick { index: 0 },
            Operation::Deref { .. },
            constant,
            Operation::Plus,
            Operation::Deref { .. },
            Operation::Plus,
        ] => number(constant).map_or(PlaceRead::Unknown, PlaceRead::Virtual),
        _ => PlaceRead::Unknown,
    }
}

/// Where a bit field's bits are: from the beginning of the type, and how many. Bits count from the least significant one
/// of the first byte on little-endian machines, from the most significant on the others.
fn bits<'a>(reader: &UnitReader<'a>, entry: &Entry<'a>, place: PlaceRead) -> Option<(u64, u64)> {
    let size = reader.unsigned(entry, gimli::DW_AT_bit_size)?;
    let at = match place {
        PlaceRead::Fixed(offset) => offset,
        _ => return None,
    };
    if let Some(offset) = reader.unsigned(entry, gimli::DW_AT_data_bit_offset) {
        let whole = match entry.attr_value(gimli::DW_AT_data_member_location) {
            Some(_) => at.checked_mul(8)?,
            None => 0,
        };
        return Some((whole.checked_add(offset)?, size));
    }
    let start = at.checked_mul(8)?;
    // DWARF 2 and 3: bits from the most significant one of a unit of storage.
    let from_top = match entry.attr_value(gimli::DW_AT_bit_offset) {
        Some(AttributeValue::Sdata(offset)) => offset,
        Some(value) => i64::try_from(value.udata_value()?).ok()?,
        None => return Some((start, size)),
    };
    if reader.sections.order == gimli::RunTimeEndian::Big {
        return Some((start.checked_add_signed(from_top)?, size));
    }
    let storage = match reader.unsigned(entry, gimli::DW_AT_byte_size) {
        Some(size) => size,
        None => reader.info.size_of(reader.referred(entry, gimli::DW_AT_type)?)?,
    };
    let end = start.checked_add(storage.checked_mul(8)?)?.checked_add_signed(from_top.checked_neg()?)?;
    Some((end.checked_sub(size)?, size))
}

impl DebugInfo {
    /// The size of a type, through typedefs and qualifiers.
    pub(super) fn size_of(&self, die: DieRef) -> Option<u64> {
        let mut die = die;
        for _ in 0..64 {
            let reader = self.open_unit(die.unit)?;
            let entry = reader.entry(die.offset)?;
            if let Some(size) = reader.unsigned(&entry, gimli::DW_AT_byte_size) {
                return Some(size);
            }
            die = reader.referred(&entry, gimli::DW_AT_type)?;
        }
        None
    }
}

fn read_variants(reader: &UnitReader<'_>, at: u32, discriminant: Option<DieRef>, body: &mut BodyRead) {
    if let Some(die) = discriminant
        && die.unit == reader.id
        && let Some(entry) = reader.entry(die.offset)
    {
        body.discriminant = member(reader, &entry);
    }
    let mut variants = Vec::new();
    reader.for_each_child(at, |offset, entry| {
        if entry.tag() == gimli::DW_TAG_variant {
            let value = entry.attr_value(gimli::DW_AT_discr_value).and_then(constant);
            let values = match (value, entry.attr_value(gimli::DW_AT_discr_list)) {
                (Some(value), _) => vec![(value, value)],
                (None, Some(AttributeValue::Block(block))) => discriminant_list(block),
                _ => Vec::new(),
            };
            variants.push((offset, values));
        }
        if variants.len() < MOST_CHILDREN { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    for (offset, values) in variants {
        let mut variant = VariantRead { values, members: Vec::new() };
        reader.for_each_child(offset, |_, entry| {
            if entry.tag() == gimli::DW_TAG_member {
                variant.members.extend(member(reader, entry));
            }
            if variant.members.len() < MOST_CHILDREN { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        body.variants.push(variant);
    }
}

/// The ranges of a DW_AT_discr_list.
fn discriminant_list<R: Reader>(block: R) -> Vec<(u64, u64)> {
    let mut block = block;
    let mut values = Vec::new();
    while !block.is_empty() && values.len() < MOST_CHILDREN {
        let Ok(kind) = block.read_u8() else { break };
        let Ok(low) = block.read_uleb128() else { break };
        let high = if kind == gimli::DW_DSC_range.0 { block.read_uleb128() } else { Ok(low) };
        let Ok(high) = high else { break };
        values.push((low, high));
    }
    values
}
