//! One member of one object: where it is, and its value as a number, a key or a text.

use crate::addr::{Addr, ByteOrder, Target};
use crate::image::AddressSpace;
use crate::types::{Leaf, LeafKind, TypeKind, Types, Value, date, float_text};

use super::super::contrast::Cell;
use super::super::inferred::{Role, TimeUnit};

/// Where a member is, and how it is read.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Source {
    /// As debug information says.
    Leaf(Leaf),
    /// A word that points somewhere or is null.
    Pointer { offset: u64, width: u64 },
    /// Bytes that are text up to the first that is 0.
    Text { offset: u64, width: u64 },
    /// A number of 1, 2, 4 or 8 bytes.
    Number { offset: u64, width: u64, kind: NumberKind },
    /// A bit of a number.
    Bit { number: Box<Source>, bit: u32 },
}

/// What a number is for where only its values tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NumberKind {
    Plain,
    Signed,
    Flag,
    Counter,
    Float,
    Time(TimeUnit),
    /// Of what the pointer at this offset leads to.
    Size(u64),
}

impl NumberKind {
    pub(super) fn of(role: Role) -> NumberKind {
        match role {
            Role::Flag => NumberKind::Flag,
            Role::Signed => NumberKind::Signed,
            Role::Counter => NumberKind::Counter,
            Role::Float => NumberKind::Float,
            Role::Time(unit) => NumberKind::Time(unit),
            Role::Size { pointer } => NumberKind::Size(pointer),
            Role::Constant(_) | Role::State | Role::Number | Role::Pointer | Role::Text => NumberKind::Plain,
        }
    }

    fn code(self) -> Code {
        match self {
            NumberKind::Signed => Code::Signed,
            NumberKind::Float => Code::Float,
            _ => Code::Unsigned,
        }
    }
}

/// How a member's values are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// By their order, as codes that have it.
    Ordered(Code),
    /// As one or the other.
    Plain,
    /// By what they point to.
    Pointer,
    /// By their bytes.
    Text,
}

/// How the codes of ordered values are numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Code {
    Signed,
    Unsigned,
    Float,
    Time,
    Size,
}

/// The code of a plain value that is absent, and of one that is impossible. An 8-byte enumeration with
/// these very values would be misread.
pub(super) const ABSENT: u64 = u64::MAX - 1;
pub(super) const IMPLAUSIBLE: u64 = u64::MAX - 2;
const SIGN: u64 = 1 << 63;
/// Numbers from here on are seldom counted one by one.
const LARGE: u64 = 4096;
/// Seconds since 1970 of the years 2000 to 2039.
const TIMES: std::ops::Range<i64> = 946_684_800..2_208_988_800;

impl Source {
    pub(super) fn offset(&self) -> u64 {
        match self {
            Source::Leaf(leaf) => leaf.offset,
            Source::Bit { number, .. } => number.offset(),
            Source::Pointer { offset, .. } | Source::Text { offset, .. } | Source::Number { offset, .. } => *offset,
        }
    }

    pub(super) fn width(&self) -> u64 {
        match self {
            Source::Leaf(leaf) => leaf.size_bytes,
            Source::Bit { number, .. } => number.width(),
            Source::Pointer { width, .. } | Source::Text { width, .. } | Source::Number { width, .. } => *width,
        }
    }

    pub(super) fn class(&self) -> Class {
        match self {
            Source::Number { kind, .. } => Class::Ordered(kind.code()),
            Source::Pointer { .. } => Class::Pointer,
            Source::Text { .. } => Class::Text,
            Source::Bit { .. } => Class::Plain,
            Source::Leaf(leaf) => match &leaf.kind {
                // 128 bits are no code: such numbers are told apart one by one.
                LeafKind::Signed if leaf.size_bytes > 8 => Class::Text,
                LeafKind::Signed => Class::Ordered(Code::Signed),
                LeafKind::Unsigned if leaf.size_bytes <= 8 => Class::Ordered(Code::Unsigned),
                LeafKind::Float | LeafKind::WideFloat(_) => Class::Ordered(Code::Float),
                LeafKind::Time { .. } => Class::Ordered(Code::Time),
                LeafKind::Container(_) => Class::Ordered(Code::Size),
                LeafKind::Pointer(_) | LeafKind::Function | LeafKind::Vtable => Class::Pointer,
                LeafKind::Text(_) | LeafKind::Bytes | LeafKind::Unsigned => Class::Text,
                LeafKind::Bool
                | LeafKind::Character
                | LeafKind::Enum
                | LeafKind::Optional(_)
                | LeafKind::Variant { .. } => Class::Plain,
            },
        }
    }

    /// Whether another dump's member is the same one.
    pub(super) fn is_like(&self, other: &Source) -> bool {
        match (self, other) {
            (Source::Leaf(a), Source::Leaf(b)) => {
                a.path == b.path && a.size_bytes == b.size_bytes && self.class() == other.class()
            }
            (Source::Number { .. }, Source::Number { .. })
            | (Source::Pointer { .. }, Source::Pointer { .. })
            | (Source::Text { .. }, Source::Text { .. }) => {
                (self.offset(), self.width(), self.class()) == (other.offset(), other.width(), other.class())
            }
            _ => false,
        }
    }

    /// The value in an object of these bytes.
    #[inline]
    pub(super) fn read(&self, bytes: &[u8], space: &AddressSpace) -> Value {
        let target = space.target();
        match self {
            Source::Leaf(leaf) => leaf.read(bytes, space),
            Source::Bit { number, bit } => match number.read(bytes, space) {
                Value::UInt(value) | Value::Enum(value) => Value::Bool(value >> bit & 1 == 1),
                Value::Int(value) => Value::Bool(value >> bit & 1 == 1),
                other => other,
            },
            Source::Pointer { offset, width } => match number_at(bytes, *offset, *width, target) {
                None => Value::Missing,
                Some(0) => Value::Null,
                Some(word) => Value::Pointer(Addr(word)),
            },
            Source::Text { offset, width } => {
                let end = offset.checked_add(*width).and_then(|end| usize::try_from(end).ok());
                let start = usize::try_from(*offset).ok();
                let Some(bytes) = start.zip(end).and_then(|(start, end)| bytes.get(start..end)) else {
                    return Value::Missing;
                };
                let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                match text.iter().all(|byte| (0x20..0x7f).contains(byte)) {
                    true => Value::Text { length: Some(text.len() as u64), bytes: text.to_vec() },
                    false => Value::Implausible,
                }
            }
            Source::Number { offset, width, kind } => match number_at(bytes, *offset, *width, target) {
                None => Value::Missing,
                Some(raw) => match kind {
                    NumberKind::Signed => Value::Int(signed(raw, *width as u32 * 8)),
                    NumberKind::Float if *width == 4 => Value::Float(f64::from(f32::from_bits(raw as u32))),
                    NumberKind::Float => Value::Float(f64::from_bits(raw)),
                    _ => Value::UInt(raw),
                },
            },
        }
    }

    /// A code of an ordered or plain member as a person would write it.
    pub(super) fn written(&self, code: u64, types: Option<&Types>) -> String {
        if let Source::Bit { number, .. } = self {
            return match code {
                0 => "not set".to_owned(),
                1 => "set".to_owned(),
                code => number.written(code, types),
            };
        }
        let value = match (self.class(), self) {
            (Class::Ordered(how), _) => ordered_value(how, code),
            (_, Source::Leaf(leaf)) => match (&leaf.kind, code) {
                (_, ABSENT) => Value::Absent,
                (_, IMPLAUSIBLE) => Value::Implausible,
                (LeafKind::Bool | LeafKind::Optional(_), code) => Value::Bool(code != 0),
                (LeafKind::Character, code) => Value::Character(u32::try_from(code).unwrap_or(u32::MAX)),
                (LeafKind::Variant { .. }, code) => Value::Variant(u32::try_from(code).unwrap_or(u32::MAX)),
                (_, code) => Value::Enum(code),
            },
            _ => Value::UInt(code),
        };
        match (self, types) {
            (Source::Leaf(leaf), Some(types)) => types.describe(leaf, &value).into_owned(),
            (Source::Number { kind: NumberKind::Time(unit), .. }, _) => match moment(code, *unit) {
                Some(date) => format!("{code} ({date})"),
                None => code.to_string(),
            },
            (Source::Number { width, .. }, _) => match value {
                Value::Int(value) => value.to_string(),
                Value::Float(value) => float_text(value, *width),
                _ => code.to_string(),
            },
            _ => code.to_string(),
        }
    }

    /// What a member looks like that nothing but its values tells of: `u32 (5 values)`, `u8 (flag)`.
    pub(super) fn inferred_name(&self, values: Option<usize>) -> String {
        let values = match values {
            None => "many values".to_owned(),
            Some(1) => "1 value".to_owned(),
            Some(count) => format!("{count} values"),
        };
        let (name, says) = match self {
            Source::Pointer { .. } => ("pointer".to_owned(), values),
            Source::Text { width, .. } => (format!("char[{width}]"), values),
            Source::Number { width, kind, .. } => {
                let letter = match kind.code() {
                    Code::Signed => 'i',
                    Code::Float => 'f',
                    _ => 'u',
                };
                let says = match kind {
                    NumberKind::Flag => "flag".to_owned(),
                    NumberKind::Counter => "counter".to_owned(),
                    NumberKind::Time(unit) => format!("time in {}", unit.name()),
                    NumberKind::Size(pointer) => format!("size of what +{pointer:#x} points to"),
                    _ => values,
                };
                (format!("{letter}{}", width * 8), says)
            }
            Source::Leaf(_) | Source::Bit { .. } => (format!("u{}", self.width() * 8), values),
        };
        format!("{name} ({says})")
    }

    /// Whether it is a moment by all that its values tell.
    pub(super) fn is_inferred_time(&self) -> bool {
        matches!(self, Source::Number { kind: NumberKind::Time(_), .. })
    }

    /// The bits of a number by its cell; `None` where there are none.
    pub(super) fn raw_bits(&self, cell: &Cell) -> Option<u64> {
        match (cell, self.class()) {
            (Cell::Missing, _) | (Cell::Value(ABSENT | IMPLAUSIBLE), Class::Plain) => None,
            (Cell::Value(code) | Cell::Apart(code), Class::Ordered(Code::Signed)) => Some(code ^ SIGN),
            (Cell::Value(code) | Cell::Apart(code), _) => Some(*code),
        }
    }

    /// Whether a number's name says that it is a moment.
    pub(super) fn may_be_time(&self) -> bool {
        let Source::Leaf(leaf) = self else { return false };
        let path = leaf.path.to_ascii_lowercase();
        let name = path.rsplit('.').next().unwrap_or(&path).trim_end_matches('_');
        let words = ["time", "date", "stamp", "when", "since", "seen", "expire", "deadline", "until"];
        leaf.size_bytes >= 4
            && matches!(leaf.kind, LeafKind::Signed | LeafKind::Unsigned)
            && (name.ends_with("_at") || words.iter().any(|word| name.contains(word)))
    }

    /// Whether a code is a second of the years 2000 to 2039.
    pub(super) fn is_plausible_time(&self, code: u64) -> bool {
        match self.class() {
            Class::Ordered(how @ (Code::Signed | Code::Unsigned)) => match ordered_value(how, code) {
                Value::Int(seconds) => TIMES.contains(&seconds),
                Value::UInt(seconds) => i64::try_from(seconds).is_ok_and(|seconds| TIMES.contains(&seconds)),
                _ => false,
            },
            _ => false,
        }
    }

    /// A code of seconds since 1970, as a date and as the number; special values as the number alone.
    pub(super) fn written_as_time(&self, code: u64, types: Option<&Types>) -> String {
        let number = self.written(code, types);
        match (self, types, number.parse::<i64>()) {
            (Source::Leaf(leaf), Some(types), Ok(seconds)) if TIMES.contains(&seconds) => {
                let date = types.describe(leaf, &Value::Time { seconds, nanoseconds: 0 }).into_owned();
                format!("{number} ({date})")
            }
            _ => number,
        }
    }

    /// Whether a number's name says that it was given out in turn.
    pub(super) fn may_be_serial(&self) -> bool {
        let Source::Leaf(leaf) = self else {
            return matches!(self, Source::Number { kind: NumberKind::Counter, .. });
        };
        let path = leaf.path.to_ascii_lowercase();
        let name = path.rsplit('.').next().unwrap_or(&path).trim_matches('_');
        let words = ["serial", "sequence", "seqno", "generation"];
        matches!(leaf.kind, LeafKind::Signed | LeafKind::Unsigned)
            && (matches!(name, "id" | "seq" | "serial" | "uid" | "no" | "number")
                || name.ends_with("_id")
                || name.ends_with("_seq")
                || words.iter().any(|word| name.contains(word)))
    }

    /// Whether an enumeration has negative values.
    fn enum_bits(leaf: &Leaf, types: &Types) -> Option<u32> {
        let layout = types.resolved(leaf.ty);
        let signed = match layout.kind {
            TypeKind::Enum(Some(underlying)) => types.is_signed(underlying),
            _ => layout.enumerators.iter().any(|known| (known.value as i64) < 0),
        };
        let bits = leaf.bits.map_or(leaf.size_bytes.clamp(1, 8) * 8, |bits| bits.size);
        signed.then(|| u32::try_from(bits).unwrap_or(64).clamp(1, 64))
    }

    /// The number of an enumeration's value, with its sign.
    pub(super) fn enum_value(&self, code: u64, types: Option<&Types>) -> i128 {
        match (self, types) {
            (Source::Leaf(leaf), Some(types)) => match Source::enum_bits(leaf, types) {
                Some(bits) => i128::from(signed(code, bits)),
                None => i128::from(code),
            },
            _ => i128::from(code),
        }
    }

    /// The same as text.
    pub(super) fn enum_number(&self, code: u64, types: Option<&Types>) -> String {
        match code {
            ABSENT | IMPLAUSIBLE => code.to_string(),
            code => self.enum_value(code, types).to_string(),
        }
    }

    /// Whether two members lie in the same bytes, or of bit fields in the same bits.
    pub(super) fn shares_bytes(&self, other: &Source) -> bool {
        let bits = |source: &Source| match source {
            Source::Leaf(leaf) => leaf.bits.map(|bits| bits.offset..bits.offset + bits.size),
            _ => None,
        };
        let place = |source: &Source| {
            bits(source).unwrap_or_else(|| {
                let from = source.offset().saturating_mul(8);
                from..from.saturating_add(source.width().saturating_mul(8))
            })
        };
        let (a, b) = (place(self), place(other));
        self == other || a.start < b.end && b.start < a.end
    }

    /// Whether the bytes of the member are its value.
    pub(super) fn is_raw(&self) -> bool {
        let kind = match self {
            Source::Leaf(leaf) if leaf.bits.is_some() || !leaf.guards.is_empty() => false,
            Source::Leaf(leaf) => matches!(
                leaf.kind,
                LeafKind::Signed | LeafKind::Unsigned | LeafKind::Enum | LeafKind::Bool | LeafKind::Function
            ),
            Source::Number { kind, .. } => *kind != NumberKind::Float,
            _ => false,
        };
        kind && matches!(self.width(), 1 | 2 | 4 | 8)
    }

    /// Whether the least of a number's codes is beyond what programs count.
    pub(super) fn is_large(&self, least: u64) -> bool {
        match ordered_value(if let Class::Ordered(how) = self.class() { how } else { Code::Unsigned }, least) {
            Value::Int(value) => value >= LARGE as i64,
            Value::UInt(value) => value >= LARGE,
            Value::Time { .. } => true,
            _ => false,
        }
    }

    /// Whether values have a name beside their number.
    pub(super) fn is_enumeration(&self) -> bool {
        matches!(self, Source::Leaf(leaf) if leaf.kind == LeafKind::Enum)
    }

    /// Whether the values have names that say more than a number does.
    pub(super) fn is_named(&self) -> bool {
        matches!(self, Source::Leaf(leaf) if matches!(leaf.kind, LeafKind::Enum | LeafKind::Variant { .. }))
    }
}

fn ordered_value(how: Code, code: u64) -> Value {
    match how {
        Code::Signed => Value::Int((code ^ SIGN) as i64),
        Code::Unsigned => Value::UInt(code),
        Code::Float => Value::Float(f64::from_bits(if code & SIGN != 0 { code ^ SIGN } else { !code })),
        Code::Time => Value::Time { seconds: (code ^ SIGN) as i64, nanoseconds: 0 },
        Code::Size => Value::Size(code),
    }
}

fn float_code(bits: u64) -> u64 {
    if bits & SIGN != 0 { !bits } else { bits ^ SIGN }
}

/// The cell of a number. One that is absent or impossible is left out: the member that says which variant is there tells
/// that. 0, −1, all ones and the greatest of its type stand apart.
#[inline]
pub(super) fn ordered_cell(value: &Value) -> Cell {
    match *value {
        Value::Int(-1) => Cell::Apart(SIGN - 1),
        Value::Int(value) if value == 0 || value == i64::from(i32::MAX) || value == i64::MAX => {
            Cell::Apart(value as u64 ^ SIGN)
        }
        Value::Int(value) => Cell::Value(value as u64 ^ SIGN),
        Value::UInt(value) | Value::Size(value) => match value {
            0 | 0xff | 0xffff | 0xffff_ffff | u64::MAX => Cell::Apart(value),
            value => Cell::Value(value),
        },
        Value::Float(value) if value == 0.0 || value.is_nan() => Cell::Apart(float_code(value.to_bits())),
        Value::Float(value) => Cell::Value(float_code(value.to_bits())),
        Value::Time { seconds: 0, .. } => Cell::Apart(SIGN),
        Value::Time { seconds, .. } => Cell::Value(seconds as u64 ^ SIGN),
        _ => Cell::Missing,
    }
}

/// The cell of a value that is one or the other.
#[inline]
pub(super) fn plain_cell(value: &Value) -> Cell {
    match *value {
        Value::Bool(value) => Cell::Value(u64::from(value)),
        Value::Enum(value) => Cell::Value(value),
        Value::Character(code) | Value::Variant(code) => Cell::Value(u64::from(code)),
        Value::Absent => Cell::Value(ABSENT),
        Value::Implausible => Cell::Value(IMPLAUSIBLE),
        _ => Cell::Missing,
    }
}

/// A moment between 2000 and 2039 as a date, with the fraction of its second where it has one.
fn moment(count: u64, unit: TimeUnit) -> Option<String> {
    let per_second = unit.per_second();
    let seconds = i64::try_from(count / per_second).ok().filter(|seconds| TIMES.contains(seconds))?;
    Some(date(seconds))
}

fn signed(raw: u64, bits: u32) -> i64 {
    let left = 64u32.saturating_sub(bits);
    ((raw << left.min(63)) as i64) >> left.min(63)
}

/// A number of 1, 2, 4 or 8 bytes.
#[inline]
pub(super) fn number_at(bytes: &[u8], offset: u64, width: u64, target: Target) -> Option<u64> {
    target.number(bytes.get(usize::try_from(offset).ok()?..)?, width)
}

impl Source {
    /// Bits from the beginning of the object, of a bit field.
    pub(super) fn bit_offset(&self) -> u64 {
        match self {
            Source::Leaf(leaf) => leaf.bits.map_or(0, |bits| bits.offset),
            _ => 0,
        }
    }
}

/// A member whose value is the same bytes of each object: read without a look at its type each time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fixed {
    offset: usize,
    width: usize,
    order: ByteOrder,
    how: Meant,
}

/// How the bits are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Meant {
    /// As they are.
    Bits,
    /// Some of them: so many from the lowest on are left out, and these kept.
    Some(u32, u64),
    /// A number with a sign, in so many bits.
    Signed(u32),
    Bool,
    Float4,
    Float8,
}

impl Source {
    /// How to read an ordered or plain member, or a pointer, at once; `None` where that takes a closer look.
    pub(super) fn fixed(&self, target: Target) -> Option<Fixed> {
        let (offset, width) = (usize::try_from(self.offset()).ok()?, usize::try_from(self.width()).ok()?);
        let fixed =
            |width, how| matches!(width, 1 | 2 | 4 | 8).then_some(Fixed { offset, width, order: target.order, how });
        let Source::Leaf(leaf) = self else {
            return match self {
                Source::Text { .. } => None,
                Source::Bit { number, bit } => {
                    let number =
                        number.fixed(target).filter(|number| matches!(number.how, Meant::Bits | Meant::Signed(_)));
                    number.map(|number| Fixed { how: Meant::Some(*bit, 1), ..number })
                }
                Source::Number { kind: NumberKind::Signed, .. } => fixed(width, Meant::Signed(width as u32 * 8)),
                Source::Number { kind: NumberKind::Float, .. } if width == 4 => fixed(width, Meant::Float4),
                Source::Number { kind: NumberKind::Float, .. } => fixed(width, Meant::Float8),
                _ => fixed(width, Meant::Bits),
            };
        };
        if !leaf.guards.is_empty() {
            return None;
        }
        if let Some(bits) = leaf.bits {
            let shift = (bits.offset % 8) as u32;
            let plain = matches!(leaf.kind, LeafKind::Unsigned | LeafKind::Enum | LeafKind::Bool);
            if !plain || target.order == ByteOrder::Big || u64::from(shift) + bits.size > 8 {
                return None;
            }
            let offset = usize::try_from(bits.offset / 8).ok()?;
            let how = Meant::Some(shift, (1 << bits.size) - 1);
            return Some(Fixed { offset, width: 1, order: target.order, how });
        }
        match leaf.kind {
            LeafKind::Signed => fixed(width, Meant::Signed(width as u32 * 8)),
            LeafKind::Unsigned | LeafKind::Enum => fixed(width, Meant::Bits),
            LeafKind::Bool => fixed(width, Meant::Bool),
            LeafKind::Float if width == 4 => fixed(width, Meant::Float4),
            LeafKind::Float if width == 8 => fixed(width, Meant::Float8),
            LeafKind::Pointer(_) | LeafKind::Function => fixed(width, Meant::Bits),
            _ => None,
        }
    }
}

impl Fixed {
    /// The codes of a batch of objects, of a pointer its bits; `None` where the memory is missing.
    #[inline]
    pub(super) fn for_each(&self, bytes: &[Option<&[u8]>], found: impl FnMut(usize, Option<u64>)) {
        let big = self.order == ByteOrder::Big;
        match (self.width, big) {
            (1, _) => self.each(bytes, |raw: [u8; 1]| u64::from(raw[0]), found),
            (2, false) => self.each(bytes, |raw| u64::from(u16::from_le_bytes(raw)), found),
            (4, false) => self.each(bytes, |raw| u64::from(u32::from_le_bytes(raw)), found),
            (_, false) => self.each(bytes, u64::from_le_bytes, found),
            (2, true) => self.each(bytes, |raw| u64::from(u16::from_be_bytes(raw)), found),
            (4, true) => self.each(bytes, |raw| u64::from(u32::from_be_bytes(raw)), found),
            (_, true) => self.each(bytes, u64::from_be_bytes, found),
        }
    }

    #[inline]
    fn each<const WIDTH: usize>(
        &self,
        bytes: &[Option<&[u8]>],
        number: impl Fn([u8; WIDTH]) -> u64,
        mut found: impl FnMut(usize, Option<u64>),
    ) {
        for (at, bytes) in bytes.iter().enumerate() {
            let raw = bytes.and_then(|bytes| bytes.get(self.offset..)?.first_chunk::<WIDTH>().copied());
            found(at, raw.map(|raw| self.code(number(raw))));
        }
    }

    #[inline]
    fn code(&self, raw: u64) -> u64 {
        match self.how {
            Meant::Bits => raw,
            Meant::Some(shift, mask) => raw >> shift & mask,
            Meant::Signed(bits) => ((raw << (64 - bits)) as i64 >> (64 - bits)) as u64 ^ SIGN,
            Meant::Bool if raw > 1 => IMPLAUSIBLE,
            Meant::Bool => raw,
            Meant::Float4 => float_code(f64::from(f32::from_bits(raw as u32)).to_bits()),
            Meant::Float8 => float_code(raw),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Target;

    #[test]
    fn a_number_is_read_alike_both_ways() {
        let space = AddressSpace::new(Target::LITTLE_8);
        let bytes: Vec<u8> = (0..64u8).map(|at| at.wrapping_mul(37) ^ 0x5a).collect();
        for width in [1, 2, 4, 8] {
            for offset in [0, 3, 17, 56, 60, 63, 64] {
                for kind in [NumberKind::Plain, NumberKind::Signed, NumberKind::Float] {
                    if kind == NumberKind::Float && width < 4 {
                        continue;
                    }
                    let source = Source::Number { offset, width, kind };
                    let slow = match ordered_cell(&source.read(&bytes, &space)) {
                        Cell::Missing => None,
                        Cell::Value(code) | Cell::Apart(code) => Some(code),
                    };
                    let mut fast = Vec::new();
                    source.fixed(Target::LITTLE_8).unwrap().for_each(&[Some(&bytes), None], |_, code| fast.push(code));
                    assert_eq!(fast, [slow, None], "{offset} {width} {kind:?}");
                }
            }
        }
    }

    #[test]
    fn codes_of_numbers_have_their_order() {
        let codes = |values: &[Value]| -> Vec<u64> {
            let code = |value: &Value| match ordered_cell(value) {
                Cell::Value(code) | Cell::Apart(code) => code,
                Cell::Missing => panic!("{value:?}"),
            };
            values.iter().map(code).collect()
        };
        assert!(codes(&[i64::MIN, -7, -1, 0, 3, i64::MAX].map(Value::Int)).is_sorted());
        assert!(
            codes(&[f64::NEG_INFINITY, -2.5, -0.25, 0.0, 1e-300, 3.0, f64::INFINITY].map(Value::Float)).is_sorted()
        );
    }
}
