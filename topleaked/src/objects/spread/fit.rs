//! Whether a type fits an allocation, and how well.

use crate::addr::Addr;
use crate::heap::AllocId;
use crate::types::Lead;

use super::plan::Plan;
use super::scan::{holds, word};
use super::{Form, SpreadGround};

/// Elements of a row that are looked at.
const MOST_ELEMENTS: usize = 64;
/// Pointers of one object that are looked at.
const MOST_SLOTS: usize = 32;
/// Smaller numbers are no addresses: a dangling pointer to nothing, a tag.
const LOWEST: u64 = 4096;

/// How a type fits.
#[derive(Debug)]
pub(super) struct Fit {
    pub(super) form: Form,
    pub(super) doubtful: bool,
    /// Bytes that it does not explain.
    pub(super) slack: u64,
    /// Some of its pointers were seen to be pointers.
    pub(super) shown: bool,
}

/// Words that have to be pointers, and are, and are not.
#[derive(Clone, Copy, Default, Debug)]
struct Words {
    good: u32,
    bad: u32,
}

pub(super) fn fit(ground: &SpreadGround<'_>, plans: &[Plan], plan: &Plan, id: AllocId, counted: bool) -> Option<Fit> {
    let usable = ground.table.usable_size(id);
    if counted {
        return Some(Fit { form: Form::Counted, doubtful: false, slack: 0, shown: true });
    }
    if plan.size == 0 {
        // Only declared: the pointer's word is all there is.
        return plan.slots.is_empty().then_some(Fit { form: Form::One, doubtful: true, slack: usable, shown: false });
    }
    let slack = usable.checked_sub(plan.size)?;
    let bytes = ground.space.bytes_from(ground.table.address(id));
    let bytes = bytes.get(..usize::try_from(usable).ok()?).unwrap_or(bytes);
    let size = usize::try_from(plan.size).ok()?;
    let rounding = ground.table.rounding(id);
    let rounded = |rest: u64| rounding.is_for(usable - rest, usable);
    if plan.tail.is_some() || (rounded(slack) && !(plan.is_row && slack >= plan.size)) {
        let words = look(ground, plans, bytes.get(..size)?, plan);
        return match words {
            Words { bad, good } if bad > good => None,
            Words { bad, good } => Some(Fit { form: Form::One, doubtful: bad > 0, slack, shown: good > 0 }),
        };
    }
    let rest = usable % plan.size;
    if rounded(rest) {
        let count = bytes.len() / size;
        let step = count.div_ceil(MOST_ELEMENTS).max(1);
        let mut words = Words::default();
        for element in bytes.chunks_exact(size).step_by(step) {
            let own = look(ground, plans, element, plan);
            words.good += own.good;
            words.bad += own.bad;
        }
        // Bytes and numbers fit anywhere.
        if words.bad == 0 {
            return Some(Fit { form: Form::Many, doubtful: words.good == 0, slack: rest, shown: words.good > 0 });
        }
        if words.bad.saturating_mul(8) <= words.good {
            return Some(Fit { form: Form::Many, doubtful: true, slack: rest, shown: true });
        }
    }
    // The head of something larger.
    let words = look(ground, plans, bytes.get(..size)?, plan);
    (words.bad == 0).then_some(Fit { form: Form::One, doubtful: true, slack, shown: words.good > 0 })
}

/// Looks whether the words that would be pointers are.
fn look(ground: &SpreadGround<'_>, plans: &[Plan], bytes: &[u8], plan: &Plan) -> Words {
    let target = ground.space.target();
    let mut words = Words::default();
    for slot in plan.slots.iter().take(MOST_SLOTS) {
        if slot.shared || slot.unset || matches!(slot.lead, Lead::Here(_)) || !holds(&slot.guards, bytes, target) {
            continue;
        }
        let Some(to) = word(bytes, slot.offset, target).filter(|to| *to >= LOWEST) else { continue };
        // Objects stand at their alignment; text anywhere.
        let aligned = to.is_multiple_of(4) || plans.get(slot.plan as usize).is_none_or(|plan| plan.size % 4 != 0);
        let known = ground.table.find(Addr(to)).is_some() || ground.space.find_segment(Addr(to)).is_some();
        if known && aligned {
            words.good += 1;
        } else {
            words.bad += 1;
        }
    }
    words
}
