//! Members without debug information: where they are and how wide, from the objects themselves.

use super::super::inferred::{Pointed, PointsTo, Role, infer_layout};
use super::FieldsQuestion;
use super::read::{Source, object_bytes};
use crate::addr::Addr;

/// Objects that are looked at, evenly spread.
const MOST_OBJECTS: usize = 4096;

pub(super) fn infer_members(question: &FieldsQuestion<'_>) -> Vec<Source> {
    let step = question.objects.len().div_ceil(MOST_OBJECTS).max(1);
    let objects: Vec<&[u8]> =
        (0..question.objects.len()).step_by(step).filter_map(|at| object_bytes(question, at)).collect();
    let space = question.image.space();
    let look =
        |addr: u64| space.find_segment(Addr(addr)).map(|_| Pointed { what: PointsTo::Elsewhere, usable_size: None });
    let found = infer_layout(&objects, question.image.target(), &look);
    let word = question.image.target().width.bytes() as u64;
    let mut members = Vec::new();
    for member in found {
        let (offset, width) = (member.offset, member.width);
        match member.role {
            // What the objects are known by.
            Role::Pointer | Role::Constant(_) if offset == 0 => {}
            Role::Pointer => members.push(Source::Pointer { offset, width }),
            Role::Text => {
                let words = (offset..offset + width).step_by(word as usize);
                members.extend(words.map(|offset| Source::Text { offset, width: word }));
            }
            _ => members.push(Source::Number { offset, width }),
        }
    }
    members
}
