//! Reading objects of known types for what their pointers lead to.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::addr::{Addr, Span, Target};
use crate::heap::AllocId;
use crate::types::{Guard, Lead};

use super::plan::Plan;
use super::{Codes, Form, Proposal, SpreadGround};

/// Containers in containers that are read with their owner.
const MOST_DEPTH: usize = 6;
/// hashbrown aligns its control bytes to one group (16 bytes with SSE2 and elsewhere 8; both put the elements' end there).
const GROUPS: [u64; 2] = [16, 8];
/// Bytes of a variable that are put together from several places of the dump.
const MOST_COPIED: usize = 1 << 24;

pub(super) struct Scan<'s> {
    pub(super) ground: &'s SpreadGround<'s>,
    pub(super) plans: &'s [Plan],
    pub(super) codes: &'s [AtomicU32],
    pub(super) form: Codes,
    pub(super) seeds: &'s [Option<u32>],
    pub(super) wanted: &'s [AtomicBool],
    pub(super) budget: &'s AtomicU64,
}

/// A number of 1, 2, 4 or 8 bytes.
#[inline]
pub(super) fn number(bytes: &[u8], offset: usize, width: u8, target: Target) -> Option<u64> {
    target.number(bytes.get(offset..)?, u64::from(width))
}

/// A pointer.
#[inline]
pub(super) fn word(bytes: &[u8], offset: usize, target: Target) -> Option<u64> {
    target.word(bytes.get(offset..)?)
}

pub(super) fn holds(guards: &[Guard], bytes: &[u8], target: Target) -> bool {
    guards.iter().all(|guard| {
        let value = usize::try_from(guard.field.offset)
            .ok()
            .and_then(|offset| number(bytes, offset, guard.field.width, target));
        value.is_some_and(|value| guard.holds(value))
    })
}

impl Scan<'_> {
    /// A variable's own bytes.
    pub(super) fn variable(&self, addr: Addr, plan: u32, out: &mut Vec<Proposal>) {
        let Some(plan) = self.plan(plan) else { return };
        if plan.slots.is_empty() {
            return;
        }
        let Some(span) = Span::with_size(addr, plan.size) else { return };
        if let Some(bytes) = self.ground.space.bytes(span) {
            if self.pay(bytes.len()) {
                self.object(bytes, plan, false, 0, out);
            }
            return;
        }
        // The segments of a large one may lie apart in the dump; what of it is missing leads nowhere.
        let size = usize::try_from(plan.size).unwrap_or(usize::MAX).min(MOST_COPIED);
        if self.ground.space.bytes_from(addr).is_empty() || !self.pay(size) {
            return;
        }
        let mut bytes = vec![0; size];
        let read = self.ground.space.read_into(addr, &mut bytes);
        bytes.truncate(read);
        self.object(&bytes, plan, false, 0, out);
    }

    /// An allocation that may be a seed.
    pub(super) fn seed(&self, id: AllocId, out: &mut Vec<Proposal>) {
        let code = self.codes.get(id.0 as usize).map_or(0, |code| code.load(Ordering::Relaxed));
        let seed = (code as usize).checked_sub(1).and_then(|at| self.seeds.get(at).copied().flatten());
        let Some(plan) = seed.and_then(|plan| self.plan(plan)) else { return };
        if plan.slots.is_empty() {
            return;
        }
        let Some(bytes) = self.bytes(id) else { return };
        self.object(bytes, plan, false, 0, out);
    }

    /// Whether an allocation has no type yet.
    pub(super) fn is_unknown(&self, id: AllocId) -> bool {
        self.codes.get(id.0 as usize).is_some_and(|code| self.ground.is_open(code.load(Ordering::Relaxed)))
    }

    /// An allocation that has a type by spreading.
    pub(super) fn allocation(&self, id: AllocId, out: &mut Vec<Proposal>) {
        let code = self.codes.get(id.0 as usize).map_or(0, |code| code.load(Ordering::Relaxed));
        let Some((plan, form, doubtful)) = self.form.parts(code) else { return };
        let Some(plan) = self.plan(plan) else { return };
        if plan.slots.is_empty() && plan.tail.is_none() {
            return;
        }
        let Some(bytes) = self.bytes(id) else { return };
        match form {
            Form::One => {
                self.object(bytes, plan, doubtful, 0, out);
                if let Some((offset, element)) = plan.tail
                    && let Some(element) = self.plan(element)
                    && let Some(rest) = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..))
                {
                    self.row(rest, element, doubtful, 0, out);
                }
            }
            Form::Many => self.row(bytes, plan, doubtful, 0, out),
            Form::Counted => {}
        }
    }

    fn bytes(&self, id: AllocId) -> Option<&[u8]> {
        let span = self.ground.table.span(id);
        let bytes = match self.ground.space.bytes(span) {
            Some(bytes) => bytes,
            None => self.ground.space.bytes_from(span.start()),
        };
        self.pay(bytes.len()).then_some(bytes)
    }

    /// Takes bytes off the budget; false where none is left: the dump makes one thing count for many.
    fn pay(&self, bytes: usize) -> bool {
        let took = self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            if left == 0 { None } else { Some(left.saturating_sub(bytes as u64)) }
        });
        took.is_ok()
    }

    /// The plan of this number, or that of its definition.
    fn plan(&self, at: u32) -> Option<&Plan> {
        let plan = self.plans.get(at as usize)?;
        match plan.same {
            Some(same) => self.plans.get(same as usize),
            None => Some(plan),
        }
    }

    fn row(&self, bytes: &[u8], plan: &Plan, doubtful: bool, depth: usize, out: &mut Vec<Proposal>) {
        let size = usize::try_from(plan.size).unwrap_or(usize::MAX);
        if size == 0 || plan.slots.is_empty() {
            return;
        }
        for element in bytes.chunks_exact(size) {
            self.object(element, plan, doubtful, depth, out);
        }
    }

    fn object(&self, bytes: &[u8], plan: &Plan, doubtful: bool, depth: usize, out: &mut Vec<Proposal>) {
        let target = self.ground.space.target();
        for slot in &plan.slots {
            if !slot.guards.is_empty() && !holds(&slot.guards, bytes, target) {
                continue;
            }
            if let Lead::Here(count) = slot.lead {
                let Some(element) = self.plan(slot.plan).filter(|_| depth < MOST_DEPTH) else { continue };
                let size = count.checked_mul(element.size).and_then(|size| usize::try_from(size).ok());
                let rest = bytes.get(slot.offset..).unwrap_or_default();
                let row = size.and_then(|size| rest.get(..size)).unwrap_or(rest);
                self.row(row, element, doubtful || slot.shared, depth + 1, out);
                continue;
            }
            let Some(to) = word(bytes, slot.offset, target).filter(|to| *to != 0) else { continue };
            let doubtful = doubtful || slot.shared;
            match slot.lead {
                Lead::Pointer => self.propose(to, slot.plan, doubtful, false, out),
                Lead::Until(end) => {
                    let end = usize::try_from(end.offset).ok().and_then(|offset| word(bytes, offset, target));
                    let size = end.and_then(|end| end.checked_sub(to));
                    self.counted(to, size, slot.plan, doubtful, depth, out);
                }
                Lead::Counted(length) => {
                    let offset = usize::try_from(length.offset).ok();
                    let count = offset.and_then(|offset| number(bytes, offset, length.width, target));
                    let element = self.plan(slot.plan).map_or(0, |plan| plan.size);
                    let size = count.and_then(|count| count.checked_mul(element));
                    self.counted(to, size, slot.plan, doubtful, depth, out);
                }
                Lead::ControlBytes(mask) => {
                    let offset = usize::try_from(mask.offset).ok();
                    let mask = offset.and_then(|offset| number(bytes, offset, mask.width, target));
                    if let Some(mask) = mask {
                        self.table(to, mask, slot.plan, doubtful, depth, out);
                    }
                }
                Lead::Here(_) => {}
            }
        }
    }

    /// The used allocation that begins at an address, and has no identity but perhaps one by spreading.
    #[inline]
    fn open(&self, to: u64) -> Option<(AllocId, u32)> {
        let (id, 0) = self.ground.table.find(Addr(to))? else { return None };
        let code = self.codes.get(id.0 as usize)?.load(Ordering::Relaxed);
        let is_seed = !self.ground.is_open(code) && code <= self.form.seeds;
        (!is_seed && self.ground.table.state(id).is_used()).then_some((id, code))
    }

    fn propose(&self, to: u64, plan: u32, doubtful: bool, counted: bool, out: &mut Vec<Proposal>) {
        let Some((id, code)) = self.open(to) else { return };
        if code == self.ground.guarded && code != 0 {
            // Numbers and characters in a row are never sure.
            let never = |plan: &Plan| plan.is_row && plan.slots.is_empty();
            if doubtful || (!counted && self.plan(plan).is_none_or(never)) {
                return;
            }
        } else if code != 0 {
            // Another type for what has one is worth a look where both are sure.
            let settled = self.form.parts(code).is_none_or(|(known, _, sure)| {
                let own = self.plans.get(plan as usize).and_then(|plan| plan.same).unwrap_or(plan);
                sure || doubtful || known == own
            });
            if settled {
                return;
            }
        }
        if let Some(known) = self.plans.get(plan as usize)
            && !known.is_built
            && let Some(wanted) = self.wanted.get(plan as usize)
        {
            wanted.store(true, Ordering::Relaxed);
        }
        out.push(Proposal { alloc: id.0, plan, doubtful, counted });
    }

    /// Elements that an owner has counted, in bytes: they are read at once, and no others of that allocation.
    fn counted(&self, to: u64, size: Option<u64>, plan: u32, doubtful: bool, depth: usize, out: &mut Vec<Proposal>) {
        let (Some(size), Some(element)) = (size, self.plan(plan)) else { return };
        let Some((id, code)) = self.open(to) else { return };
        let usable = self.ground.table.usable_size(id);
        if size > usable || element.size == 0 || !size.is_multiple_of(element.size) {
            return;
        }
        if depth >= MOST_DEPTH {
            return self.propose(to, plan, doubtful, false, out);
        }
        self.propose(to, plan, doubtful, true, out);
        if self.ground.is_open(code) && !element.slots.is_empty() {
            let bytes = Span::with_size(Addr(to), size).and_then(|span| self.ground.space.bytes(span));
            if let Some(bytes) = bytes.filter(|bytes| self.pay(bytes.len())) {
                self.row(bytes, element, doubtful, depth + 1, out);
            }
        }
    }

    /// A table of hashbrown: elements in front of `control`, the first nearest.
    fn table(&self, control: u64, mask: u64, plan: u32, doubtful: bool, depth: usize, out: &mut Vec<Proposal>) {
        let Some(element) = self.plan(plan).filter(|plan| plan.size > 0) else { return };
        let Some(size) = mask.checked_add(1).and_then(|buckets| buckets.checked_mul(element.size)) else { return };
        let found = GROUPS.iter().find_map(|group| {
            let start = control.checked_sub(size.checked_next_multiple_of(*group)?)?;
            let (id, code) = self.open(start)?;
            // The control bytes and one group more follow.
            let end = control.checked_add(mask)?.checked_add(1 + group)?;
            (end - start <= self.ground.table.usable_size(id)).then_some((start, code))
        });
        let Some((start, code)) = found else { return };
        self.propose(start, plan, doubtful, true, out);
        if !self.ground.is_open(code) || element.slots.is_empty() || depth >= MOST_DEPTH {
            return;
        }
        let span =
            |from: u64, size: u64| Span::with_size(Addr(from), size).and_then(|span| self.ground.space.bytes(span));
        let (Some(elements), Some(control)) = (span(control - size, size), span(control, mask + 1)) else { return };
        let Ok(width) = usize::try_from(element.size) else { return };
        if !self.pay(elements.len()) {
            return;
        }
        for (bytes, control) in elements.rchunks_exact(width).zip(control) {
            // The highest bit says empty or deleted.
            if *control < 0x80 {
                self.object(bytes, element, doubtful, depth + 1, out);
            }
        }
    }
}
