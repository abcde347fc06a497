//! A layout that no debug information tells, from the objects themselves.

use crate::heap::{AllocId, HeapError};
use crate::image::MemoryKind;
use crate::insight::{InferredMember, Pointed, PointsTo, Role, infer_layout, plausible_text};
use crate::session::Session;

use super::layout::{LayoutView, Layouts, MemberView};
use super::{Grouped, Share};

/// Objects that are looked at, evenly spread.
const MOST_OBJECTS: usize = 4096;
/// Fewer objects say too little of what their members are for.
const FEWEST_OBJECTS: usize = 8;
/// Bytes that are looked at to tell a text.
const MOST_TEXT: usize = 256;

impl Layouts {
    /// The layout of the objects in use that are of this type, by its name as `types` shows it, scopes left out or not; or of the
    /// allocations of no known type that have so many usable bytes, where the name is a number. `None` where there are too few.
    ///
    /// # Errors
    /// Where the heap cannot be walked.
    pub fn inferred(session: &Session<'_>, name: &str) -> Result<Option<Layouts>, HeapError> {
        let (heap, objects, image) = (session.heap()?, session.objects()?, session.image());
        let table = &heap.table;
        let size: Option<u64> = name.parse().ok();
        let answers: Vec<bool> = (objects.identities().iter())
            .map(|identity| identity.name == name || identity.name.ends_with(&format!("::{name}")))
            .collect();
        let is_meant = |id: &AllocId| match objects.of(*id) {
            Some(identity) => answers.get(identity.0 as usize).copied().unwrap_or(false),
            None => Some(table.usable_size(*id)) == size && table.state(*id).is_used(),
        };
        let meant: Vec<AllocId> = table.ids().filter(is_meant).collect();
        if meant.len() < FEWEST_OBJECTS {
            return Ok(None);
        }
        let step = meant.len().div_ceil(MOST_OBJECTS).max(1);
        let bytes: Vec<&[u8]> =
            meant.iter().step_by(step).filter_map(|id| image.space().bytes(table.span(*id))).collect();
        let look = |addr: u64| look(session, addr);
        let members = infer_layout(&bytes, image.target(), &look);
        let first = meant.first().and_then(|id| objects.of(*id)).map(|id| objects.identity(id).name.clone());
        let members = members.iter().map(|member| MemberView::inferred(member, bytes.len())).collect();
        let view =
            LayoutView::inferred(first.unwrap_or_else(|| format!("({name} bytes)")), meant.len() as u64, members);
        Ok(Some(Layouts { types: vec![view] }))
    }
}

/// Where an address leads.
fn look(session: &Session<'_>, addr: u64) -> Option<Pointed> {
    let addr = crate::addr::Addr(addr);
    let image = session.image();
    let (heap, objects) = (session.heap().ok()?, session.objects().ok()?);
    if let Some((id, into)) = heap.table.find(addr) {
        let usable = heap.table.usable_size(id);
        let what = match objects.of(id).filter(|_| into == 0) {
            Some(identity) => PointsTo::Type(objects.identity(identity).name.clone()),
            None => PointsTo::Allocation(usable),
        };
        return Some(Pointed { what, usable_size: Some(usable - into) });
    }
    let kind = image.region(addr)?.kind;
    let what = match kind {
        MemoryKind::Text => PointsTo::Function,
        MemoryKind::Rodata | MemoryKind::Relro | MemoryKind::Data | MemoryKind::Bss => {
            let bytes = image.space().bytes_from(addr);
            let text = bytes.get(..bytes.len().min(MOST_TEXT)).and_then(plausible_text);
            if text.is_some_and(|text| text.len() > 1) { PointsTo::Text } else { PointsTo::Data }
        }
        _ => {
            image.space().find_segment(addr)?;
            PointsTo::Elsewhere
        }
    };
    Some(Pointed { what, usable_size: None })
}

/// In words, what a member is for: `state (5 values)`, `to Session (98 %), null in others`.
pub(super) fn says(member: &InferredMember, objects: usize) -> String {
    let values = |what: &str| match member.distinct {
        1 => format!("{what} (1 value)"),
        // Nearly as many as objects: rather as many as there are.
        count if count * 10 > objects * 9 => format!("{what} (all different)"),
        count => format!("{what} ({} values)", Grouped(count as u64)),
    };
    match &member.role {
        Role::Constant(0) => "always 0".to_owned(),
        Role::Constant(value) => format!("always {value:#x}"),
        Role::Pointer => {
            let set: usize = member.targets.iter().map(|(_, count)| count).sum();
            let mut text = match member.targets.first() {
                Some((to, count)) => {
                    let to = match to {
                        PointsTo::Function => "a function".to_owned(),
                        PointsTo::Text => "text".to_owned(),
                        PointsTo::Type(name) => name.clone(),
                        PointsTo::Allocation(size) => format!("an allocation of {} bytes", Grouped(*size)),
                        PointsTo::Data => "data of a module".to_owned(),
                        PointsTo::Elsewhere => "memory".to_owned(),
                    };
                    match *count == set {
                        true => format!("to {to}"),
                        false => format!("to {to} ({})", Share { part: *count as u64, whole: set as u64 }),
                    }
                }
                None => "null".to_owned(),
            };
            if set < objects && set > 0 {
                text.push_str(&format!(", null in {}", Share { part: (objects - set) as u64, whole: objects as u64 }));
            }
            text
        }
        Role::Text => values("text"),
        Role::Flag => "flag".to_owned(),
        Role::State => values("state"),
        Role::Counter => "counter".to_owned(),
        Role::Time(unit) => format!("time in {}", unit.name()),
        Role::Float | Role::Signed => values("number"),
        Role::Size { pointer } => format!("size of what +{pointer:#x} points to"),
        Role::Number => values("number"),
    }
}
