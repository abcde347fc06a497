//! Conditions on members, as filters have them, held to the objects of one type.

use std::cmp::Ordering;

use crate::addr::Span;
use crate::heap::{AllocId, AllocationTable};
use crate::image::AddressSpace;
use crate::objects::Objects;
use crate::types::{LeafKind, Types, Value, seconds_of_date};

use super::super::filter::{Comparison, Literal, MemberCondition, MemberTest, Members, Pattern};
use super::FieldsQuestion;
use super::places::path_of;
use super::read::{Class, NumberKind, Source};
use super::target::{Asked, Targets, is_pointer};

/// Names that are listed where the one that was asked for is none.
const MOST_NAMES: usize = 60;

/// Why a condition cannot be asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConditionError {
    /// No member has the path.
    #[error("there is no member `{path}`; there are: {}", members.join(", "))]
    NoMember {
        /// What was asked for.
        path: String,
        /// The members that there are, the first of them.
        members: Vec<String>,
    },
    /// The value cannot be one of the member's.
    #[error("`{value}` is no value of `{path}`: {expected}")]
    NoValue {
        /// The member.
        path: String,
        /// What was written.
        value: String,
        /// What it may be.
        expected: String,
    },
}

#[derive(Clone, PartialEq, Debug)]
enum Wanted {
    Null,
    Int(i128),
    Float(f64),
    Text(String),
    Pattern(Pattern),
    /// What a pointer leads to.
    Target(Targets),
}

/// Conditions on members of one type's objects, made ready.
#[derive(Clone, Debug)]
pub struct ObjectConditions<'a> {
    list: Vec<(MemberTest, ObjectCondition<'a>)>,
    table: &'a AllocationTable,
    space: &'a AddressSpace,
}

impl<'a> ObjectConditions<'a> {
    /// Finds the members among those of a type's objects.
    ///
    /// # Errors
    /// Where there is no such member, or it cannot have such a value.
    pub fn new(tests: &[&MemberTest], question: &FieldsQuestion<'a>) -> Result<ObjectConditions<'a>, ConditionError> {
        let sources = question.places.sources();
        let ready = |test: &&MemberTest| Ok(((*test).clone(), ObjectCondition::new(test, question, sources)?));
        Ok(ObjectConditions {
            list: tests.iter().map(ready).collect::<Result<_, _>>()?,
            table: &question.heap.table,
            space: question.image.space(),
        })
    }
}

impl Members for ObjectConditions<'_> {
    fn holds(&self, id: AllocId, test: &MemberTest) -> Option<bool> {
        let (_, condition) = self.list.iter().find(|(known, _)| known == test)?;
        let span: Span = self.table.span(id);
        condition.holds(self.space.bytes(span)?)
    }
}

/// A condition on the objects of one type.
#[derive(Clone, Debug)]
struct ObjectCondition<'a> {
    source: Source,
    types: Option<&'a Types>,
    comparison: Comparison,
    wanted: Wanted,
    space: &'a AddressSpace,
    known: &'a Objects,
    table: &'a AllocationTable,
}

impl<'a> ObjectCondition<'a> {
    fn new(
        test: &MemberTest,
        question: &FieldsQuestion<'a>,
        sources: &[Source],
    ) -> Result<ObjectCondition<'a>, ConditionError> {
        let Some(source) = sources.iter().find(|source| path_of(source) == test.path) else {
            let members = sources.iter().take(MOST_NAMES).map(path_of).collect();
            return Err(ConditionError::NoMember { path: test.path.clone(), members });
        };
        let types = question.types;
        let (comparison, wanted) = match &test.condition {
            MemberCondition::Matches(pattern) if is_pointer(source) => {
                let meant = Pattern { negated: false, ..pattern.clone() };
                let comparison = if pattern.negated { Comparison::NotEqual } else { Comparison::Equal };
                let targets = Targets::new(question, source, &|name| meant.holds(name));
                (comparison, Wanted::Target(targets))
            }
            MemberCondition::Matches(pattern) => (Comparison::Equal, Wanted::Pattern(pattern.clone())),
            MemberCondition::Compare(comparison, literal) => {
                let wanted = match wanted(&test.path, *comparison, literal, source, types)? {
                    Wanted::Text(name) if is_pointer(source) => {
                        let asked = Asked::new(&name);
                        Wanted::Target(Targets::new(question, source, &|name| asked.is(name)))
                    }
                    wanted => wanted,
                };
                (*comparison, wanted)
            }
        };
        let known = question.known;
        let table = &question.heap.table;
        Ok(ObjectCondition {
            source: source.clone(),
            types,
            comparison,
            wanted,
            space: question.image.space(),
            known,
            table,
        })
    }

    /// Whether it holds of an object of these bytes; `None` where the value is not in the dump, or the member is not there (its
    /// variant is absent).
    fn holds(&self, object: &[u8]) -> Option<bool> {
        let value = self.source.read(object, self.space);
        let by = |order: std::cmp::Ordering| Some(self.comparison.holds(Some(order)));
        let order_of = |found: i128| match self.wanted {
            Wanted::Int(wanted) => Some(found.cmp(&wanted)),
            Wanted::Float(wanted) => (found as f64).partial_cmp(&wanted),
            _ => None,
        };
        match (&value, &self.wanted) {
            (Value::Missing | Value::Absent, _) => None,
            (Value::Implausible, _) => None,
            (Value::Text { bytes, .. }, Wanted::Pattern(pattern)) => {
                Some(pattern.holds(&String::from_utf8_lossy(bytes)))
            }
            (Value::Null, Wanted::Target(_)) => by(Ordering::Less),
            (Value::Pointer(addr) | Value::Code(addr), Wanted::Target(targets)) => {
                by(if targets.hold(*addr, self.table, self.known) { Ordering::Equal } else { Ordering::Less })
            }
            (value, Wanted::Pattern(pattern)) => match (&self.source, self.types) {
                (Source::Leaf(leaf), Some(types)) => Some(pattern.holds(&types.describe(leaf, value))),
                _ => Some(pattern.negated),
            },
            (Value::Null, Wanted::Null) => by(std::cmp::Ordering::Equal),
            (Value::Null, Wanted::Int(wanted)) => by(0.cmp(wanted)),
            (_, Wanted::Null) => by(std::cmp::Ordering::Greater),
            (Value::Float(found), Wanted::Int(wanted)) => by(found.partial_cmp(&(*wanted as f64))?),
            // A number that was written with the digits of 4 bytes is the one that 4 bytes hold.
            (Value::Float(found), Wanted::Float(wanted)) if self.source.width() == 4 => {
                by((*found as f32).partial_cmp(&(*wanted as f32))?)
            }
            (Value::Float(found), Wanted::Float(wanted)) => by(found.partial_cmp(wanted)?),
            (Value::Bool(found), Wanted::Int(_)) => by(order_of(i128::from(*found))?),
            (Value::Int(found), Wanted::Int(_) | Wanted::Float(_)) => by(order_of(i128::from(*found))?),
            (Value::UInt(found) | Value::Size(found), Wanted::Int(_) | Wanted::Float(_)) => {
                by(order_of(i128::from(*found))?)
            }
            (Value::Enum(found), Wanted::Int(wanted)) => by(self.source.enum_value(*found, self.types).cmp(wanted)),
            (Value::Character(found) | Value::Variant(found), Wanted::Int(_)) => by(order_of(i128::from(*found))?),
            (Value::Time { seconds, .. }, Wanted::Int(_) | Wanted::Float(_)) => by(order_of(i128::from(*seconds))?),
            (Value::Pointer(found) | Value::Code(found), Wanted::Int(_)) => by(order_of(i128::from(found.0))?),
            (Value::Text { bytes, .. }, Wanted::Text(wanted)) => by(bytes.as_slice().cmp(wanted.as_bytes())),
            (Value::Text { bytes, .. }, Wanted::Int(wanted)) => {
                by(String::from_utf8_lossy(bytes).as_ref().cmp(wanted.to_string().as_str()))
            }
            (value, Wanted::Text(wanted)) => {
                let shown = match (&self.source, self.types) {
                    (Source::Leaf(leaf), Some(types)) => types.describe(leaf, value).into_owned(),
                    _ => return Some(self.comparison == Comparison::NotEqual),
                };
                by(shown.as_str().cmp(wanted))
            }
            _ => None,
        }
    }
}

/// What a literal means for a member.
fn wanted(
    path: &str,
    comparison: Comparison,
    literal: &Literal,
    source: &Source,
    types: Option<&Types>,
) -> Result<Wanted, ConditionError> {
    let no_value =
        |expected: String| ConditionError::NoValue { path: path.to_owned(), value: literal.to_string(), expected };
    let is_equality = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
    let is_text = matches!(source, Source::Text { .. })
        || matches!(source, Source::Leaf(leaf) if matches!(leaf.kind, LeafKind::Text(_)));
    let text = match literal {
        // `007` is another text than `7`.
        Literal::Digits(digits, _) if is_text => return Ok(Wanted::Text(digits.clone())),
        Literal::Integer(number) | Literal::Digits(_, number) => return Ok(Wanted::Int(*number)),
        Literal::Float(number) => return Ok(Wanted::Float(*number)),
        Literal::Null if is_equality => {
            return match source {
                Source::Pointer { .. } => Ok(Wanted::Null),
                Source::Leaf(leaf) => match leaf.kind {
                    LeafKind::Pointer(_) | LeafKind::Function | LeafKind::Vtable | LeafKind::Text(_) => {
                        Ok(Wanted::Null)
                    }
                    LeafKind::Optional(_) => Ok(Wanted::Text("none".to_owned())),
                    _ => Err(no_value("it is no pointer".to_owned())),
                },
                _ => Err(no_value("it is no pointer".to_owned())),
            };
        }
        Literal::Null => return Err(no_value("null is neither more nor less".to_owned())),
        // Without debug information a flag is a number.
        Literal::Word(text) if matches!(source, Source::Number { .. }) && text == "true" => return Ok(Wanted::Int(1)),
        Literal::Word(text) if matches!(source, Source::Number { .. }) && text == "false" => return Ok(Wanted::Int(0)),
        Literal::Word(text) | Literal::Text(text) => text,
    };
    if let Some(wanted) = number_meant(text, source) {
        return Ok(wanted);
    }
    let is_number = matches!(source.class(), Class::Ordered(_));
    let kind = match source {
        Source::Leaf(leaf) => Some(&leaf.kind),
        _ => None,
    };
    if is_number && !matches!(kind, Some(LeafKind::Container(_))) {
        let hint = if matches!(kind, Some(LeafKind::Time { .. })) { ", or a date such as 2026-02-01" } else { "" };
        return Err(no_value(format!("it is a number{hint}")));
    }
    if is_equality && kind == Some(&LeafKind::Bool) && !matches!(text.as_str(), "true" | "false") {
        return Err(no_value("it is true or false".to_owned()));
    }
    if is_equality && is_pointer(source) {
        return Ok(Wanted::Text(text.clone()));
    }
    let plain = text.rsplit("::").next().unwrap_or(text);
    let enumerators = match (source, types) {
        (Source::Leaf(leaf), Some(types)) => types.resolved(leaf.ty).enumerators.as_slice(),
        _ => &[],
    };
    if !is_equality {
        // An enumerator is a number, too.
        return match enumerators.iter().find(|known| known.name == plain) {
            Some(known) => Ok(Wanted::Int(source.enum_value(known.value, types))),
            None => Err(no_value("only numbers are more or less".to_owned())),
        };
    }
    if matches!(source, Source::Leaf(leaf) if matches!(leaf.kind, LeafKind::Optional(_))) {
        return match plain {
            "none" | "present" => Ok(Wanted::Text(plain.to_owned())),
            _ => Err(no_value("it is none or present".to_owned())),
        };
    }
    let variants = match source {
        Source::Leaf(leaf) => match &leaf.kind {
            LeafKind::Variant { names, .. } => names.as_slice(),
            _ => &[],
        },
        _ => &[],
    };
    let names =
        enumerators.iter().map(|known| known.name.as_str()).chain(variants.iter().map(|(name, _)| name.as_str()));
    let names: Vec<&str> = names.collect();
    if names.is_empty() {
        return Ok(Wanted::Text(text.clone()));
    }
    // A variant's type may have scopes in its name.
    if let Some(whole) = names.iter().find(|name| *name == text) {
        return Ok(Wanted::Text((*whole).to_owned()));
    }
    if !plain.contains(" | ") && !names.contains(&plain) {
        let shown: Vec<&str> = names.into_iter().take(MOST_NAMES).collect();
        return Err(no_value(format!("it is one of {}", shown.join(", "))));
    }
    Ok(Wanted::Text(plain.to_owned()))
}

/// A number that is written as text: a date, a character, or as `fields` shows it, `1700001166 (2023-11-14 22:32:46Z)`.
fn number_meant(text: &str, source: &Source) -> Option<Wanted> {
    let kind = match source {
        Source::Leaf(leaf) => Some(&leaf.kind),
        _ => None,
    };
    if kind == Some(&LeafKind::Character) {
        let mut letters = text.chars();
        return letters
            .next()
            .filter(|_| letters.next().is_none())
            .map(|letter| Wanted::Int(i128::from(u32::from(letter))));
    }
    if !matches!(source.class(), Class::Ordered(_)) {
        return None;
    }
    if let Some(seconds) = seconds_of_date(text) {
        let per_second = match source {
            Source::Number { kind: NumberKind::Time(unit), .. } => unit.per_second(),
            _ => 1,
        };
        return Some(Wanted::Int(i128::from(seconds) * i128::from(per_second)));
    }
    let number = text.split_once(" (").map_or(text, |(number, _)| number);
    number.parse().map(Wanted::Int).or_else(|_| number.parse().map(Wanted::Float)).ok()
}
