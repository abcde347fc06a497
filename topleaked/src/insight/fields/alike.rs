//! Allocations of no known type that look like objects of one: what no pointer leads to any more has no type by pointers.

use std::collections::HashSet;

use crate::heap::AllocId;
use crate::types::{LeafKind, Value};

use super::FieldsQuestion;
use super::keys::Key;
use super::part::Part;
use super::read::Source;

/// Objects from which it is learnt what their members look like.
const MOST_SAMPLED: usize = 4096;
/// Fewer objects say too little.
const FEWEST_SAMPLED: usize = 4;
/// Allocations that are looked at.
const MOST_CANDIDATES: usize = 1 << 22;
/// Letters of a text that is none by chance.
const LEAST_TEXT: usize = 4;

/// What a value looks like.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Look {
    /// Says nothing.
    Any,
    Null,
    InModule,
    InHeap,
    InOther,
    Nowhere,
    Text,
    Implausible,
    NoEnumerator,
}

/// What one member of objects that are known looks like.
#[derive(Default)]
struct Known {
    looks: HashSet<Look>,
    /// Places and types that it leads to.
    exact: HashSet<Key>,
}

fn look(part: &Part<'_>, source: &Source, value: &Value) -> (Look, Option<Key>) {
    match value {
        Value::Null => (Look::Null, None),
        Value::Implausible => (Look::Implausible, None),
        Value::Text { bytes, .. } if bytes.len() >= LEAST_TEXT => {
            let plain = bytes.iter().all(|byte| (0x20..0x7f).contains(byte));
            (if plain { Look::Text } else { Look::Implausible }, None)
        }
        Value::Pointer(addr) | Value::Code(addr) => {
            if part.image.module_at(*addr).is_some() {
                return (Look::InModule, Some(Key::Place(addr.0)));
            }
            match part.target_of(*addr) {
                key @ Key::Typed(_) => (Look::InHeap, Some(key)),
                Key::Sized(_) => (Look::InHeap, None),
                Key::Nowhere => (Look::Nowhere, None),
                _ => (Look::InOther, None),
            }
        }
        Value::Enum(value) => match (source, part.types) {
            (Source::Leaf(leaf), Some(types)) if leaf.kind == LeafKind::Enum => {
                let named = types.enumerator_name(leaf, *value).is_some();
                (if named { Look::Any } else { Look::NoEnumerator }, None)
            }
            _ => (Look::Any, None),
        },
        _ => (Look::Any, None),
    }
}

/// The candidates that could be objects of the type: no member holds what it never holds in the known ones, and one at least
/// leads to a place or to a type to which it leads there, or is text. O((4096 + candidates) x members).
pub fn alike(question: &FieldsQuestion<'_>, candidates: &[AllocId]) -> Vec<AllocId> {
    let (part, sources, space) = (Part::new(question), question.places.sources(), question.image.space());
    let step = question.objects.len().div_ceil(MOST_SAMPLED).max(1);
    let sample: Vec<&[u8]> =
        (question.objects.iter().step_by(step)).filter_map(|id| space.bytes(part.table.span(*id))).collect();
    if sample.len() < FEWEST_SAMPLED {
        return Vec::new();
    }
    let known: Vec<Known> = (sources.iter())
        .map(|source| {
            let mut known = Known::default();
            for bytes in &sample {
                let (look, exact) = look(&part, source, &source.read(bytes, space));
                known.looks.insert(look);
                known.exact.extend(exact);
            }
            known
        })
        .collect();
    let is_alike = |id: &&AllocId| {
        let Some(bytes) = space.bytes(part.table.span(**id)) else { return false };
        let mut shown = false;
        for (source, known) in sources.iter().zip(&known) {
            let (look, exact) = look(&part, source, &source.read(bytes, space));
            if !matches!(look, Look::Any | Look::Null) && !known.looks.contains(&look) {
                return false;
            }
            shown |= look == Look::Text || exact.is_some_and(|exact| known.exact.contains(&exact));
        }
        shown
    };
    candidates.iter().take(MOST_CANDIDATES).filter(is_alike).copied().collect()
}
