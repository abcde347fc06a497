//! The value of one leaf of one object, read as a person would.

use std::borrow::Cow;

use crate::addr::{Addr, ByteOrder, Target};
use crate::image::AddressSpace;

use super::arena::Types;
use super::flatten::{Guard, Leaf, LeafKind, WideFloat};
use super::layout::{Bits, MemberPlace, TypeId};
use super::shapes::{Field, LengthShape, TextShape};

/// Texts are read up to this many bytes.
pub const MOST_TEXT_BYTES: usize = 256;
/// A container with more elements than this is no container but other bytes.
const MOST_ELEMENTS: u64 = 1 << 40;
/// A string with more bytes than this is no string.
const LONGEST_STRING: u64 = 1 << 40;
/// Seconds since 1970 that are taken for a date: 1980 to 2100.
const PLAUSIBLE: std::ops::Range<i64> = 315_532_800..4_102_444_800;

/// What a leaf holds.
#[derive(Clone, PartialEq, PartialOrd, Debug)]
pub enum Value {
    /// True or false; whether an optional value is there.
    Bool(bool),
    /// A number with a sign.
    Int(i64),
    /// A number without.
    UInt(u64),
    /// A floating-point number.
    Float(f64),
    /// A character, by its code.
    Character(u32),
    /// A value of an enumeration, of which the names are with the type ([`Types::enumerator_name`]).
    Enum(u64),
    /// The null pointer.
    Null,
    /// A pointer to data.
    Pointer(Addr),
    /// A pointer to code, or to a vtable.
    Code(Addr),
    /// A text, as far as it was read.
    Text {
        /// Its bytes, at most [`MOST_TEXT_BYTES`].
        bytes: Vec<u8>,
        /// How long it is, where that is known.
        length: Option<u64>,
    },
    /// The number of elements of a container.
    Size(u64),
    /// Which alternative: an index into the leaf's names.
    Variant(u32),
    /// A moment.
    Time {
        /// Seconds since 1970, negative before.
        seconds: i64,
        /// Nanoseconds after that second.
        nanoseconds: u32,
    },
    /// Bytes without a meaning.
    Bytes(Vec<u8>),
    /// The leaf's variant is not the present one, or the optional value is absent.
    Absent,
    /// The memory is not in the dump.
    Missing,
    /// Impossible for its type: an engaged flag of 77, a string longer than the address space.
    Implausible,
}

impl Leaf {
    /// Whether the leaf means anything in this object; `None` where its bytes end too early to tell.
    pub fn is_present(&self, object: &[u8], target: Target) -> Option<bool> {
        for guard in &self.guards {
            if !guard.holds(read_field(object, guard.field, target)?) {
                return Some(false);
            }
        }
        Some(true)
    }

    /// The leaf's bits as a number, not sign-extended: what makes values of one leaf equal or different. For a bit field its bits
    /// alone; at most 8 bytes. `None` where the object ends before, or the leaf is larger.
    pub fn raw(&self, object: &[u8], target: Target) -> Option<u64> {
        match self.bits {
            Some(bits) => read_bits(object, bits, target.order),
            None => read_uint(object, self.offset, self.size_bytes, target),
        }
    }

    /// Reads the leaf out of an object's bytes; texts and what is behind pointers out of the dump.
    pub fn read(&self, object: &[u8], space: &AddressSpace) -> Value {
        let target = space.target();
        match self.is_present(object, target) {
            None => return Value::Missing,
            Some(false) => return Value::Absent,
            Some(true) => {}
        }
        self.read_present(object, space, target).unwrap_or(Value::Missing)
    }

    fn read_present(&self, object: &[u8], space: &AddressSpace, target: Target) -> Option<Value> {
        let raw = || self.raw(object, target);
        Some(match &self.kind {
            LeafKind::Bool => match raw()? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                _ => Value::Implausible,
            },
            LeafKind::Signed | LeafKind::Unsigned if self.size_bytes == 16 && self.bits.is_none() => {
                let number = read_u128(object, self.offset, target)?;
                let fits = match self.kind {
                    LeafKind::Signed => i64::try_from(number as i128).ok().map(Value::Int),
                    _ => u64::try_from(number).ok().map(Value::UInt),
                };
                fits.unwrap_or_else(|| Value::Bytes(number.to_be_bytes().to_vec()))
            }
            LeafKind::Signed => Value::Int(sign_extended(raw()?, self.width_bits())),
            LeafKind::Unsigned => Value::UInt(raw()?),
            LeafKind::Character => Value::Character(u32::try_from(raw()?).ok()?),
            LeafKind::Float => match self.size_bytes {
                4 => Value::Float(f64::from(f32::from_bits(raw()? as u32))),
                8 => Value::Float(f64::from_bits(raw()?)),
                _ => return self.bytes(object),
            },
            LeafKind::WideFloat(format) => Value::Float(match format {
                WideFloat::X87 => extended(object.get(usize::try_from(self.offset).ok()?..)?.first_chunk()?),
                WideFloat::Quad => quad(read_u128(object, self.offset, target)?),
                WideFloat::Pair => {
                    let part = |at| Some(f64::from_bits(read_uint(object, self.offset.checked_add(at)?, 8, target)?));
                    part(0)? + part(8)?
                }
            }),
            LeafKind::Enum => Value::Enum(raw()?),
            LeafKind::Pointer(_) => pointer(raw()?, Value::Pointer),
            LeafKind::Function | LeafKind::Vtable => pointer(raw()?, Value::Code),
            LeafKind::Text(shape) => return read_text(*shape, self.offset, object, space, target),
            LeafKind::Container(shape) => return read_length(*shape, object, target),
            LeafKind::Optional(engaged) => match read_field(object, *engaged, target)? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                _ => Value::Implausible,
            },
            LeafKind::Variant { field, names } => {
                let raw = match field {
                    Some(field) => read_field(object, *field, target)?,
                    None => 0,
                };
                let within = |values: &[(u64, u64)]| values.iter().any(|(low, high)| (*low..=*high).contains(&raw));
                let named = names.iter().position(|(_, values)| within(values));
                match named.or_else(|| names.iter().position(|(_, values)| values.is_empty())) {
                    Some(at) => Value::Variant(u32::try_from(at).ok()?),
                    None => Value::Implausible,
                }
            }
            LeafKind::Time { count, per_second, nanoseconds } => {
                let count = sign_extended(read_field(object, *count, target)?, u32::from(count.width) * 8);
                let per_second = i64::try_from(*per_second).ok().filter(|rate| *rate > 0)?;
                let seconds = count.div_euclid(per_second);
                let rest = count.rem_euclid(per_second);
                let nanoseconds = match nanoseconds {
                    Some(field) => u32::try_from(read_field(object, *field, target)?).unwrap_or(0),
                    None => (i128::from(rest) * 1_000_000_000 / i128::from(per_second)) as u32,
                };
                Value::Time { seconds, nanoseconds }
            }
            LeafKind::Bytes => return self.bytes(object),
        })
    }

    fn bytes(&self, object: &[u8]) -> Option<Value> {
        let start = usize::try_from(self.offset).ok()?;
        let size = usize::try_from(self.size_bytes).ok()?.min(MOST_TEXT_BYTES);
        Some(Value::Bytes(object.get(start..start.checked_add(size)?)?.to_vec()))
    }

    fn width_bits(&self) -> u32 {
        match self.bits {
            Some(bits) => u32::try_from(bits.size).unwrap_or(64).min(64),
            None => u32::try_from(self.size_bytes.saturating_mul(8)).unwrap_or(64).min(64),
        }
    }
}

impl Guard {
    /// Whether a value satisfies the condition.
    pub fn holds(&self, value: u64) -> bool {
        self.values.iter().any(|(low, high)| (*low..=*high).contains(&value)) != self.negated
    }
}

fn pointer(word: u64, some: fn(Addr) -> Value) -> Value {
    if word == 0 { Value::Null } else { some(Addr(word)) }
}

/// `raw` as a number of `bits` bits with a sign.
fn sign_extended(raw: u64, bits: u32) -> i64 {
    let shift = 64 - bits.clamp(1, 64);
    ((raw << shift) as i64) >> shift
}

/// An x87 number of 80 bits as the nearest one of 64.
fn extended(bytes: &[u8; 10]) -> f64 {
    let [a, b, c, d, e, f, g, h, low, high] = *bytes;
    let mantissa = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let head = u16::from_le_bytes([low, high]);
    let sign = if head & 0x8000 != 0 { -1.0 } else { 1.0 };
    let exponent = i32::from(head & 0x7fff);
    match exponent {
        0x7fff if mantissa << 1 == 0 => sign * f64::INFINITY,
        0x7fff => f64::NAN,
        _ => sign * scaled(mantissa as f64, exponent - 16383 - 63),
    }
}

/// An IEEE number of 128 bits as the nearest one of 64.
fn quad(bits: u128) -> f64 {
    let sign = if bits >> 127 != 0 { -1.0 } else { 1.0 };
    let exponent = (bits >> 112) as i32 & 0x7fff;
    let fraction = bits & ((1 << 112) - 1);
    match exponent {
        0x7fff if fraction == 0 => sign * f64::INFINITY,
        0x7fff => f64::NAN,
        // The least of them are nothing in 64 bits.
        0 => sign * 0.0,
        _ => sign * scaled((fraction | 1 << 112) as f64, exponent - 16383 - 112),
    }
}

/// `number * 2^exponent`, in two steps: 2^exponent alone may be too small or too large.
fn scaled(number: f64, exponent: i32) -> f64 {
    let half = exponent / 2;
    number * 2f64.powi(half) * 2f64.powi(exponent - half)
}

fn read_u128(object: &[u8], offset: u64, target: Target) -> Option<u128> {
    let bytes = object.get(usize::try_from(offset).ok()?..)?.first_chunk()?;
    Some(match target.order {
        ByteOrder::Little => u128::from_le_bytes(*bytes),
        ByteOrder::Big => u128::from_be_bytes(*bytes),
    })
}

fn read_uint(object: &[u8], offset: u64, size: u64, target: Target) -> Option<u64> {
    let bytes = object.get(usize::try_from(offset).ok()?..)?;
    match size {
        1 | 2 | 4 | 8 => target.number(bytes, size),
        3 | 5..=7 => {
            let bytes = bytes.get(..size as usize)?;
            let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
            Some(match target.order {
                ByteOrder::Little => bytes.iter().rev().fold(0, fold),
                ByteOrder::Big => bytes.iter().fold(0, fold),
            })
        }
        _ => None,
    }
}

fn read_field(object: &[u8], field: Field, target: Target) -> Option<u64> {
    read_uint(object, field.offset, u64::from(field.width), target)
}

/// Up to 64 bits that may begin anywhere in a byte.
fn read_bits(object: &[u8], bits: Bits, order: ByteOrder) -> Option<u64> {
    let size = u32::try_from(bits.size).ok().filter(|size| (1..=64).contains(size))?;
    let first = usize::try_from(bits.offset / 8).ok()?;
    let into = (bits.offset % 8) as u32;
    let count = (into + size).div_ceil(8) as usize;
    let bytes = object.get(first..first.checked_add(count)?)?;
    let fold = |value: u128, byte: &u8| value << 8 | u128::from(*byte);
    let shifted = match order {
        ByteOrder::Little => bytes.iter().rev().fold(0, fold) >> into,
        ByteOrder::Big => bytes.iter().fold(0, fold) >> (count as u32 * 8 - into - size),
    };
    Some((shifted & ((1u128 << size) - 1)) as u64)
}

fn read_text(shape: TextShape, at: u64, object: &[u8], space: &AddressSpace, target: Target) -> Option<Value> {
    let inside = |offset: u64, length: u64| {
        let start = usize::try_from(offset).ok()?;
        let size = usize::try_from(length).ok()?.min(MOST_TEXT_BYTES);
        Some(object.get(start..start.checked_add(size)?)?.to_vec())
    };
    let behind = |pointer: u64, length: u64| {
        if length > LONGEST_STRING {
            return Some(Value::Implausible);
        }
        let mut bytes = vec![0; usize::try_from(length).ok()?.min(MOST_TEXT_BYTES)];
        let read = space.read_into(Addr(pointer), &mut bytes);
        if read < bytes.len() {
            return Some(Value::Missing);
        }
        Some(Value::Text { bytes, length: Some(length) })
    };
    match shape {
        TextShape::Inline { size } => {
            let bytes = inside(at, size)?;
            let end = bytes.iter().position(|byte| *byte == 0);
            let length = end.map(|end| end as u64);
            Some(Value::Text { bytes: bytes.get(..end.unwrap_or(bytes.len()))?.to_vec(), length })
        }
        TextShape::Counted { pointer, length } => {
            let (pointer, length) = (read_field(object, pointer, target)?, read_field(object, length, target)?);
            behind(pointer, length)
        }
        TextShape::Terminated { pointer } => {
            let pointer = read_field(object, pointer, target)?;
            if pointer == 0 {
                return Some(Value::Null);
            }
            let mut bytes = vec![0; MOST_TEXT_BYTES];
            let read = space.read_into(Addr(pointer), &mut bytes);
            bytes.truncate(read);
            match bytes.iter().position(|byte| *byte == 0) {
                Some(end) => {
                    bytes.truncate(end);
                    Some(Value::Text { bytes, length: Some(end as u64) })
                }
                None if read == 0 => Some(Value::Missing),
                None => Some(Value::Text { bytes, length: None }),
            }
        }
        TextShape::TwoForms { pointer, length, data, short } => {
            let mark = read_uint(object, short, 1, target)?;
            // The first byte of both forms; on big-endian machines the mark is its highest bit.
            let (long, size) = match target.order {
                ByteOrder::Little => (mark & 1 == 1, mark >> 1),
                ByteOrder::Big => (mark & 0x80 != 0, mark & 0x7f),
            };
            if long {
                return behind(read_field(object, pointer, target)?, read_field(object, length, target)?);
            }
            if size > 22 {
                return Some(Value::Implausible);
            }
            Some(Value::Text { bytes: inside(data, size)?, length: Some(size) })
        }
    }
}

fn read_length(shape: LengthShape, object: &[u8], target: Target) -> Option<Value> {
    let distance = |from: u64, to: u64, element: u64| {
        let bytes = to.checked_sub(from)?;
        (element > 0 && bytes % element == 0).then(|| bytes / element)
    };
    let elements = match shape {
        LengthShape::Stored(count) => Some(read_field(object, count, target)?),
        LengthShape::Between { begin, end, element } => {
            distance(read_field(object, begin, target)?, read_field(object, end, target)?, element)
        }
        LengthShape::Deque { start, finish, element } => {
            let word = |field: Field, at: u64| {
                let offset = field.offset.checked_add(at.checked_mul(u64::from(field.width))?)?;
                read_field(object, Field { offset, ..field }, target)
            };
            // Current, first, last, node.
            let (sc, sf, sl, sn) = (word(start, 0)?, word(start, 1)?, word(start, 2)?, word(start, 3)?);
            let (fc, ff, fnode) = (word(finish, 0)?, word(finish, 1)?, word(finish, 3)?);
            let count = || {
                let nodes = distance(sn, fnode, u64::from(start.width))?;
                let block = distance(sf, sl, element)?;
                match nodes {
                    0 => distance(sc, fc, element),
                    _ => (nodes - 1)
                        .checked_mul(block)?
                        .checked_add(distance(ff, fc, element)?)?
                        .checked_add(distance(sc, sl, element)?),
                }
            };
            count()
        }
    };
    Some(match elements.filter(|count| *count < MOST_ELEMENTS) {
        Some(count) => Value::Size(count),
        None => Value::Implausible,
    })
}

impl Types {
    /// The name of an enumerator of the leaf's type.
    pub fn enumerator_name(&self, leaf: &Leaf, value: u64) -> Option<&str> {
        let layout = self.resolved(leaf.ty);
        match leaf.bits {
            // A bit field holds the lowest bits alone.
            Some(bits) if bits.size < 64 => {
                let mask = (1u64 << bits.size) - 1;
                let known = layout.enumerators.iter().find(|known| (known.value ^ value) & mask == 0);
                known.map(|known| known.name.as_str())
            }
            _ => layout.enumerator(value),
        }
    }

    /// A value as a person would write it. Text from the dump is in it as it is, with bytes that are no UTF-8 replaced.
    pub fn describe<'v>(&'v self, leaf: &'v Leaf, value: &Value) -> Cow<'v, str> {
        match value {
            Value::Bool(value) if matches!(leaf.kind, LeafKind::Optional(_)) => {
                Cow::Borrowed(if *value { "present" } else { "none" })
            }
            Value::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            Value::Int(value) => Cow::Owned(value.to_string()),
            Value::UInt(value) => Cow::Owned(value.to_string()),
            Value::Float(value) => Cow::Owned(float_text(*value, leaf.size_bytes)),
            Value::Character(code) => match char::from_u32(*code).filter(|c| !c.is_control()) {
                Some(c) => Cow::Owned(format!("'{c}'")),
                None => Cow::Owned(format!("{code:#x}")),
            },
            Value::Enum(value) => match self.enumerator_name(leaf, *value) {
                Some(name) => Cow::Borrowed(name),
                None => self.flags(leaf, *value).map_or_else(|| Cow::Owned(value.to_string()), Cow::Owned),
            },
            Value::Null => Cow::Borrowed("null"),
            Value::Pointer(addr) | Value::Code(addr) => Cow::Owned(format!("{:#x}", addr.0)),
            Value::Text { bytes, length } => {
                let text = String::from_utf8_lossy(bytes);
                let cut = length.is_none_or(|length| length > bytes.len() as u64) && bytes.len() >= MOST_TEXT_BYTES;
                Cow::Owned(format!("\"{text}\"{}", if cut { "…" } else { "" }))
            }
            Value::Size(size) => Cow::Owned(format!("size {size}")),
            Value::Variant(at) => match &leaf.kind {
                LeafKind::Variant { names, .. } => {
                    names.get(*at as usize).map_or(Cow::Borrowed("?"), |(name, _)| Cow::Borrowed(name))
                }
                _ => Cow::Borrowed("?"),
            },
            Value::Time { seconds, .. } if PLAUSIBLE.contains(seconds) => Cow::Owned(date(*seconds)),
            Value::Time { seconds, .. } => Cow::Owned(format!("{seconds} s")),
            Value::Bytes(bytes) if matches!(leaf.kind, LeafKind::Signed | LeafKind::Unsigned) => {
                Cow::Owned(bytes.iter().take(16).fold("0x".to_owned(), |text, byte| text + &format!("{byte:02x}")))
            }
            Value::Bytes(bytes) => Cow::Owned(bytes.iter().take(16).map(|byte| format!("{byte:02x}")).collect()),
            Value::Absent => Cow::Borrowed("absent"),
            Value::Missing => Cow::Borrowed("not in the dump"),
            Value::Implausible => Cow::Borrowed("implausible"),
        }
    }

    /// A set of flags: enumerators of single bits, joined.
    fn flags(&self, leaf: &Leaf, value: u64) -> Option<String> {
        let layout = self.resolved(leaf.ty);
        let mut rest = value;
        let mut names = Vec::new();
        for known in layout.enumerators.iter().filter(|known| known.value.is_power_of_two()) {
            if rest & known.value != 0 {
                rest &= !known.value;
                names.push(known.name.as_str());
            }
        }
        (rest == 0 && names.len() > 1).then(|| names.join(" | "))
    }

    /// Where a virtual base lies in an object, from the object's beginning: its vtable tells. `None` where the place is no virtual
    /// one, or the memory is missing.
    pub fn virtual_base_offset(&self, place: MemberPlace, object: Addr, space: &AddressSpace) -> Option<u64> {
        let MemberPlace::InVtable(slot) = place else { return place.offset() };
        let vtable = Addr(space.word(object)?);
        let word = space.word(vtable.checked_offset(slot)?)?;
        let width = space.target().width.bytes() as u32 * 8;
        u64::try_from(sign_extended(word, width)).ok()
    }
}

/// `2026-02-01 12:00:00Z` for seconds since 1970, after 0 and before the year 10000.
pub fn date(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years that begin in March, so that the leap day is their last ("Euclidean affine functions", Neri and Schneider).
    let day = days + 719_468;
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day_of_month:02} {:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// A floating-point number of 4 or more bytes with the digits that tell it from others: very large and very small ones with their
/// exponent.
pub fn float_text(value: f64, width: u64) -> String {
    let plain = value == 0.0 || !value.is_finite() || (1e-5..1e15).contains(&value.abs());
    match (width, plain) {
        (4, true) => (value as f32).to_string(),
        (4, false) => format!("{:e}", value as f32),
        (_, true) => value.to_string(),
        (_, false) => format!("{value:e}"),
    }
}

/// Seconds since 1970 of a date as [`Types::describe`] writes it, or the day alone.
pub fn seconds_of_date(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (day, time) = text.split_once([' ', 'T']).unwrap_or((text, "00:00:00"));
    let number = |part: &str, width: usize, range: std::ops::RangeInclusive<i64>| {
        let is_plain = part.len() == width && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<i64>().ok().filter(|number| is_plain && range.contains(number))
    };
    let mut parts = day.split('-');
    let year = number(parts.next()?, 4, 0..=9999)?;
    let (month, day) = (number(parts.next()?, 2, 1..=12)?, number(parts.next()?, 2, 1..=31)?);
    let mut clock = time.split(':');
    let (hour, minute) = (number(clock.next()?, 2, 0..=23)?, number(clock.next()?, 2, 0..=59)?);
    let second = clock.next().map_or(Some(0), |part| number(part, 2, 0..=60))?;
    if parts.next().is_some() || clock.next().is_some() {
        return None;
    }
    // The same years from March on as above.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Whether two types hold the same: for values that came from two dumps.
pub fn same_type(types: &Types, a: TypeId, other: &Types, b: TypeId) -> bool {
    let (a, b) = (types.resolved(a), other.resolved(b));
    a.name == b.name
        && a.size_bytes == b.size_bytes
        && a.members.len() == b.members.len()
        && a.members.iter().zip(&b.members).all(|(a, b)| a.name == b.name && a.place == b.place && a.bits == b.bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_taken_from_either_end() {
        let object = [0b1011_0110, 0b0000_0001];
        let read = |offset, size, order| read_bits(&object, Bits { offset, size }, order);
        assert_eq!(read(1, 3, ByteOrder::Little), Some(0b011));
        assert_eq!(read(7, 2, ByteOrder::Little), Some(0b11));
        assert_eq!(read(1, 3, ByteOrder::Big), Some(0b011));
        assert_eq!(read(6, 10, ByteOrder::Big), Some(0b10_0000_0001));
        assert_eq!(read(9, 8, ByteOrder::Little), None);
    }

    #[test]
    fn numbers_are_no_longer_than_their_digits() {
        let texts = [
            (0.0, "0"),
            (-0.5, "-0.5"),
            (1e14, "100000000000000"),
            (1e15, "1e15"),
            (5e-324, "5e-324"),
            (-2.5e-6, "-2.5e-6"),
        ];
        for (value, text) in texts {
            assert_eq!(float_text(value, 8), text);
        }
        assert_eq!(float_text(f64::from(0.8242_f32), 4), "0.8242");
        assert_eq!(float_text(f64::from(f32::MAX), 4), "3.4028235e38");
        assert_eq!([float_text(f64::NAN, 8), float_text(f64::NEG_INFINITY, 4)], ["NaN", "-inf"]);
    }

    #[test]
    fn dates_are_written_as_people_do() {
        assert_eq!(date(951_782_400), "2000-02-29 00:00:00Z");
        assert_eq!(date(1_735_689_599), "2024-12-31 23:59:59Z");
        for seconds in (-2_000_000_000..5_000_000_000).step_by(86_400 * 13 + 4_321) {
            assert_eq!(seconds_of_date(&date(seconds)), Some(seconds), "{}", date(seconds));
        }
        assert_eq!(seconds_of_date("2000-02-29"), Some(951_782_400));
        assert_eq!(seconds_of_date("2000-02-29T00:01"), Some(951_782_460));
        for text in ["", "2000", "2000-13-01", "2000-01-01-01", "12:00:00", "20-1-1", "+200-01-01", "2000-01-01 99:00"]
        {
            assert_eq!(seconds_of_date(text), None, "{text}");
        }
    }

    #[test]
    fn a_long_double_keeps_its_value() {
        assert_eq!(extended(&[0, 0, 0, 0, 0, 0, 0, 0xc0, 0x00, 0x40]), 3.0);
        assert_eq!(extended(&[0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0xbf]), -1.0);
        // 2^-1020, whose scale alone is less than the least number.
        assert_eq!(extended(&[0, 0, 0, 0, 0, 0, 0, 0x80, 0x03, 0x3c]), 2f64.powi(-1020));
        assert_eq!(quad(0x3fff_8000 << 96), 1.5);
        assert_eq!(quad(0xc000_4000 << 96), -2.5);
        assert_eq!(quad(0x3c03 << 112), 2f64.powi(-1020));
        assert_eq!(quad(0x4001_8fff_ffff_ffff_ffff_ffff_ffff_ffff), 6.25);
        assert_eq!([quad(0), quad(0x7fff << 112), quad(1)], [0.0, f64::INFINITY, 0.0]);
        assert!(quad(0x7fff_8000 << 96).is_nan());
    }

    #[test]
    fn numbers_get_their_sign_back() {
        assert_eq!(sign_extended(0b111, 3), -1);
        assert_eq!(sign_extended(0xff, 8), -1);
        assert_eq!(sign_extended(0x7f, 8), 127);
        assert_eq!(sign_extended(u64::MAX, 64), -1);
    }
}
