//! Conditions on members, as filters have them, held to the objects of one type.

use crate::addr::Span;
use crate::heap::{AllocId, AllocationTable};
use crate::image::AddressSpace;
use crate::types::{LeafKind, Types, Value};

use super::super::filter::{Comparison, Literal, MemberCondition, MemberTest, Members, Pattern};
use super::FieldsQuestion;
use super::places::path_of;
use super::read::Source;

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
            MemberCondition::Matches(pattern) => (Comparison::Equal, Wanted::Pattern(pattern.clone())),
            MemberCondition::Compare(comparison, literal) => {
                (*comparison, wanted(&test.path, *comparison, literal, source, types)?)
            }
        };
        Ok(ObjectCondition { source: source.clone(), types, comparison, wanted, space: question.image.space() })
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
            (value, Wanted::Pattern(pattern)) => match (&self.source, self.types) {
                (Source::Leaf(leaf), Some(types)) => Some(pattern.holds(&types.describe(leaf, value))),
                _ => Some(pattern.negated),
            },
            (Value::Null, Wanted::Null) => by(std::cmp::Ordering::Equal),
            (Value::Null, Wanted::Int(wanted)) => by(0.cmp(wanted)),
            (_, Wanted::Null) => by(std::cmp::Ordering::Greater),
            (Value::Float(found), Wanted::Int(wanted)) => by(found.partial_cmp(&(*wanted as f64))?),
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
    let text = match literal {
        Literal::Integer(number) => return Ok(Wanted::Int(*number)),
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
    if !plain.contains(" | ") && !names.contains(&plain) {
        let shown: Vec<&str> = names.into_iter().take(MOST_NAMES).collect();
        return Err(no_value(format!("it is one of {}", shown.join(", "))));
    }
    Ok(Wanted::Text(plain.to_owned()))
}
