//! One member of all objects as a column of codes, and back from a code to what it means.

use std::collections::HashMap;

use crate::addr::{Addr, Span, Target};
use crate::types::{Leaf, LeafKind, Value};

use super::super::contrast::{Category, Cell, Column};
use super::super::text::text_in_word;
use super::{FieldsQuestion, Meaning};

/// Texts and other values that are told apart in one member; all further ones are one.
const MOST_MEANINGS: usize = 1 << 12;
/// Targets that are counted one by one.
const MOST_TARGETS: usize = 1 << 16;
/// A place to which one in so many objects points is a value of its own.
const SHARED: u64 = 20;

/// Where a member is, and how it is read.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// As debug information says.
    Leaf(Leaf),
    /// A word that points somewhere or is null.
    Pointer { offset: u64, width: u64 },
    /// A word whose bytes are text.
    Text { offset: u64, width: u64 },
    /// A number of 1, 2, 4 or 8 bytes.
    Number { offset: u64, width: u64 },
}

impl Source {
    pub(super) fn offset(&self) -> u64 {
        match self {
            Source::Leaf(leaf) => leaf.offset,
            Source::Pointer { offset, .. } | Source::Text { offset, .. } | Source::Number { offset, .. } => *offset,
        }
    }

    pub(super) fn width(&self) -> u64 {
        match self {
            Source::Leaf(leaf) => leaf.size_bytes,
            Source::Pointer { width, .. } | Source::Text { width, .. } | Source::Number { width, .. } => *width,
        }
    }

    /// How much of the objects of a class one value has as a rule. Rough: most flags are rarely set, most
    /// optional pointers are null in most objects, while states spread.
    pub(super) fn usual(&self) -> f64 {
        match self {
            Source::Leaf(leaf) if leaf.bits.is_some_and(|bits| bits.size == 1) => 0.85,
            Source::Leaf(leaf) => match leaf.kind {
                LeafKind::Bool | LeafKind::Optional(_) => 0.85,
                LeafKind::Enum | LeafKind::Variant { .. } => 0.5,
                LeafKind::Pointer(_) | LeafKind::Function | LeafKind::Container(_) | LeafKind::Text(_) => 0.75,
                _ => 0.65,
            },
            Source::Pointer { .. } | Source::Text { .. } => 0.75,
            Source::Number { .. } => 0.65,
        }
    }
}

/// How the codes of an ordered column are numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Code {
    Signed,
    Unsigned,
    Float,
    Time,
    Size,
}

const SIGN: u64 = 1 << 63;

fn float_code(bits: u64) -> u64 {
    if bits & SIGN != 0 { !bits } else { bits ^ SIGN }
}

/// A column, and what its codes mean.
pub(super) struct Read {
    pub(super) column: Column,
    code: Option<Code>,
    /// By code, of a column without order.
    meanings: Vec<Meaning>,
}

impl Read {
    pub(super) fn meaning(&self, question: &FieldsQuestion<'_>, source: &Source, category: Category) -> Meaning {
        match (category, self.code) {
            (Category::Other, _) => Meaning::Other,
            (Category::Value(code), None) => {
                usize::try_from(code).ok().and_then(|at| self.meanings.get(at)).cloned().unwrap_or(Meaning::Other)
            }
            (Category::Value(code), Some(how)) => Meaning::Text(written(question, source, how, code)),
            (Category::Range(low, high), how) => {
                let how = how.unwrap_or(Code::Unsigned);
                Meaning::Range(written(question, source, how, low), written(question, source, how, high))
            }
        }
    }
}

fn written(question: &FieldsQuestion<'_>, source: &Source, how: Code, code: u64) -> String {
    let value = match how {
        Code::Signed => Value::Int((code ^ SIGN) as i64),
        Code::Unsigned => Value::UInt(code),
        Code::Float => Value::Float(f64::from_bits(if code & SIGN != 0 { code ^ SIGN } else { !code })),
        Code::Time => Value::Time { seconds: (code ^ SIGN) as i64, nanoseconds: 0 },
        Code::Size => Value::Size(code),
    };
    match (source, question.layout) {
        (Source::Leaf(leaf), Some((types, _))) => types.describe(leaf, &value).into_owned(),
        _ => code.to_string(),
    }
}

/// Gives meanings codes in the order in which they come.
#[derive(Default)]
struct Meanings {
    codes: HashMap<Meaning, u64>,
    list: Vec<Meaning>,
}

impl Meanings {
    fn code(&mut self, meaning: Meaning) -> u64 {
        if let Some(code) = self.codes.get(&meaning) {
            return *code;
        }
        let meaning = if self.list.len() < MOST_MEANINGS { meaning } else { Meaning::Other };
        let next = self.list.len() as u64;
        *self.codes.entry(meaning.clone()).or_insert_with(|| {
            self.list.push(meaning);
            next
        })
    }
}

/// The bytes of an object; `None` where they are not in the dump.
pub(super) fn object_bytes<'a>(question: &FieldsQuestion<'a>, at: usize) -> Option<&'a [u8]> {
    let span: Span = question.heap.table.span(*question.objects.get(at)?);
    question.image.space().bytes(span)
}

/// A number of 1, 2, 4 or 8 bytes.
pub(super) fn number_at(bytes: &[u8], offset: u64, width: u64, target: Target) -> Option<u64> {
    let bytes = bytes.get(usize::try_from(offset).ok()?..)?;
    match width {
        1 => bytes.first().map(|byte| u64::from(*byte)),
        2 => target.u16(bytes).map(u64::from),
        4 => target.u32(bytes).map(u64::from),
        _ => target.u64(bytes),
    }
}

pub(super) fn read_column(question: &FieldsQuestion<'_>, source: &Source) -> Read {
    let space = question.image.space();
    let target = question.image.target();
    let values = (0..question.objects.len()).map(|at| {
        let Some(bytes) = object_bytes(question, at) else { return Value::Missing };
        match source {
            Source::Leaf(leaf) => leaf.read(bytes, space),
            Source::Pointer { offset, width } => match number_at(bytes, *offset, *width, target) {
                None => Value::Missing,
                Some(0) => Value::Null,
                Some(word) => Value::Pointer(Addr(word)),
            },
            Source::Text { offset, width } => match number_at(bytes, *offset, *width, target) {
                None => Value::Missing,
                Some(word) => match text_in_word(word, target) {
                    Some(text) => Value::Text { bytes: text.into_bytes(), length: None },
                    None => Value::UInt(word),
                },
            },
            Source::Number { offset, width } => {
                number_at(bytes, *offset, *width, target).map_or(Value::Missing, Value::UInt)
            }
        }
    });
    match source {
        Source::Number { .. } => numbers(values, Code::Unsigned),
        Source::Leaf(leaf) => match &leaf.kind {
            LeafKind::Signed => numbers(values, Code::Signed),
            LeafKind::Unsigned => numbers(values, Code::Unsigned),
            LeafKind::Float => numbers(values, Code::Float),
            LeafKind::Time { .. } => numbers(values, Code::Time),
            LeafKind::Container(_) => numbers(values, Code::Size),
            LeafKind::Pointer(_) | LeafKind::Function => pointers(question, values.collect()),
            _ => meanings(question, source, values),
        },
        Source::Pointer { .. } => pointers(question, values.collect()),
        Source::Text { .. } => meanings(question, source, values),
    }
}

/// A number that is absent or impossible is left out: the member that says which variant is there tells that.
fn numbers(values: impl Iterator<Item = Value>, code: Code) -> Read {
    let cells = values.map(|value| match value {
        Value::Int(-1) => Cell::Apart(SIGN - 1),
        Value::Int(value) if value == 0 || value == i64::from(i32::MAX) || value == i64::MAX => {
            Cell::Apart(value as u64 ^ SIGN)
        }
        Value::Int(value) => Cell::Value(value as u64 ^ SIGN),
        Value::UInt(value) | Value::Size(value) => match value {
            0 | 0xff | 0xffff | 0xffff_ffff | u64::MAX => Cell::Apart(value),
            value => Cell::Value(value),
        },
        Value::Float(0.0) => Cell::Apart(float_code(0)),
        Value::Float(value) => Cell::Value(float_code(value.to_bits())),
        Value::Time { seconds: 0, .. } => Cell::Apart(SIGN),
        Value::Time { seconds, .. } => Cell::Value(seconds as u64 ^ SIGN),
        _ => Cell::Missing,
    });
    Read { column: Column { cells: cells.collect(), ordered: true }, code: Some(code), meanings: Vec::new() }
}

/// Null, one place that many point to, a type of objects; never just an address.
fn pointers(question: &FieldsQuestion<'_>, values: Vec<Value>) -> Read {
    let mut targets: HashMap<u64, u64> = HashMap::new();
    for value in &values {
        if let Value::Pointer(addr) | Value::Code(addr) = value
            && (targets.len() < MOST_TARGETS || targets.contains_key(&addr.0))
        {
            *targets.entry(addr.0).or_default() += 1;
        }
    }
    let least = (values.len() as u64 / SHARED).max(2);
    let table = &question.heap.table;
    let meaning = |addr: Addr| {
        if targets.get(&addr.0).is_some_and(|count| *count >= least) || question.image.module_at(addr).is_some() {
            return Meaning::Place(addr);
        }
        let Some((id, _)) = table.find(addr) else { return Meaning::Elsewhere };
        match question.known.of(id) {
            Some(identity) => Meaning::Object(identity),
            None => Meaning::Allocation(table.usable_size(id)),
        }
    };
    let mut known = Meanings::default();
    let cells = (values.iter())
        .map(|value| match value {
            Value::Null => Cell::Apart(known.code(Meaning::Null)),
            Value::Pointer(addr) | Value::Code(addr) => Cell::Value(known.code(meaning(*addr))),
            Value::Absent => Cell::Apart(known.code(Meaning::Text("absent".to_owned()))),
            Value::Implausible => Cell::Apart(known.code(Meaning::Text("implausible".to_owned()))),
            _ => Cell::Missing,
        })
        .collect();
    Read { column: Column { cells, ordered: false }, code: None, meanings: known.list }
}

fn meanings(question: &FieldsQuestion<'_>, source: &Source, values: impl Iterator<Item = Value>) -> Read {
    let mut known = Meanings::default();
    // Few raw values of an enumeration have to be named once each.
    let mut enumerators: HashMap<u64, u64> = HashMap::new();
    let cells = values.map(|value| {
        let meaning = match (&value, source, question.layout) {
            (Value::Missing, ..) => return Cell::Missing,
            (Value::Null, ..) => Meaning::Null,
            (Value::Enum(raw), Source::Leaf(leaf), Some((types, _))) => {
                if let Some(code) = enumerators.get(raw) {
                    return Cell::Value(*code);
                }
                let code = known.code(match types.describe(leaf, &value).into_owned() {
                    name if name == raw.to_string() => Meaning::Text(name),
                    name => Meaning::Named(name, raw.to_string()),
                });
                enumerators.insert(*raw, code);
                return Cell::Value(code);
            }
            (_, Source::Leaf(leaf), Some((types, _))) => Meaning::Text(types.describe(leaf, &value).into_owned()),
            (Value::Text { bytes, .. }, ..) => Meaning::Text(format!("\"{}\"", String::from_utf8_lossy(bytes))),
            (Value::UInt(word), ..) => Meaning::Text(word.to_string()),
            _ => return Cell::Missing,
        };
        Cell::Value(known.code(meaning))
    });
    let cells = cells.collect();
    Read { column: Column { cells, ordered: false }, code: None, meanings: known.list }
}
