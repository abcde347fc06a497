//! The pointers of each type that matters, flattened once.

use std::collections::HashMap;

use crate::task::Task;
use crate::types::{Guard, Lead, PointerTarget, TypeId, TypeKind, Types};

/// Types that are looked into; what further ones hold stays unknown.
const MOST_PLANS: usize = 1 << 20;
/// Searches for definitions: each reads all debug information.
const MOST_SEARCHES: usize = 24;

/// A pointer of a type.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) offset: usize,
    pub(super) lead: Lead,
    pub(super) plan: u32,
    pub(super) guards: Vec<Guard>,
    pub(super) shared: bool,
    pub(super) unset: bool,
}

/// A type, and where its pointers are.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) target: PointerTarget,
    /// Whether what follows is known.
    pub(super) is_built: bool,
    /// The plan of its definition, where this type is only declared.
    pub(super) same: Option<u32>,
    /// Bytes of one; 0 where that is not known.
    pub(super) size: u64,
    pub(super) slots: Vec<Slot>,
    /// Elements that follow one object up to the end of its allocation.
    pub(super) tail: Option<(u64, u32)>,
    /// It is a row of pointers by nature.
    pub(super) is_row: bool,
}

/// All plans, by number.
pub(super) struct Plans<'t> {
    types: &'t mut Types,
    word: u8,
    task: &'t Task,
    list: Vec<Plan>,
    by_target: HashMap<PointerTarget, u32>,
    searches: usize,
    pub(super) truncated: bool,
}

impl<'t> Plans<'t> {
    pub(super) fn new(types: &'t mut Types, word: u8, task: &'t Task) -> Plans<'t> {
        let mut plans =
            Plans { types, word, task, list: Vec::new(), by_target: HashMap::new(), searches: 0, truncated: false };
        // The first is of no use to anybody: what is one too many becomes that.
        plans.of(PointerTarget::Type(TypeId::VOID));
        plans
    }

    pub(super) fn list(&self) -> &[Plan] {
        &self.list
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn name(&self, plan: &Plan) -> String {
        self.types.target_name(plan.target)
    }

    /// Whether a pointer to it leads to a row as a rule: numbers and characters.
    fn is_scalar(&self, target: PointerTarget) -> bool {
        match target {
            PointerTarget::Type(ty) => matches!(self.types.get(ty).kind, TypeKind::Base(_) | TypeKind::Enum(_)),
            _ => false,
        }
    }

    /// The number of a target's plan, which need not be built yet.
    pub(super) fn of(&mut self, target: PointerTarget) -> u32 {
        let target = self.types.canonical_target(target);
        if let Some(at) = self.by_target.get(&target) {
            return *at;
        }
        if self.list.len() >= MOST_PLANS {
            self.truncated = true;
            return 0;
        }
        let at = self.list.len() as u32;
        let is_row =
            self.is_scalar(target) || matches!(target, PointerTarget::Pointers(_) | PointerTarget::NodePointers(..));
        self.list.push(Plan { target, is_built: false, same: None, size: 0, slots: Vec::new(), tail: None, is_row });
        self.by_target.insert(target, at);
        at
    }

    /// Builds some plans, and what has to be read together with them.
    pub(super) fn build(&mut self, numbers: Vec<u32>) {
        let mut open = numbers;
        while !open.is_empty() {
            self.define(&open);
            let mut next = Vec::new();
            for at in open {
                self.build_one(at, &mut next);
            }
            open = next;
        }
    }

    /// Looks for the definitions of what is only declared.
    fn define(&mut self, numbers: &[u32]) {
        let mut declared: Vec<TypeId> = Vec::new();
        for plan in numbers.iter().filter_map(|at| self.list.get(*at as usize)).filter(|plan| !plan.is_built) {
            if let PointerTarget::Type(ty) | PointerTarget::Nodes(_, ty) = plan.target
                && self.types.is_declared(ty)
            {
                declared.push(ty);
            }
        }
        if declared.is_empty() || self.searches >= MOST_SEARCHES {
            return;
        }
        self.searches += 1;
        let task = self.task;
        let found = self.types.definitions(&declared, task);
        for at in numbers {
            let Some(plan) = self.list.get(*at as usize) else { continue };
            if let PointerTarget::Type(ty) = plan.target
                && let Some(definition) = found.get(&ty)
            {
                let same = self.of(PointerTarget::Type(*definition));
                if let Some(plan) = self.list.get_mut(*at as usize)
                    && same != *at
                {
                    plan.same = Some(same);
                }
            }
        }
    }

    fn build_one(&mut self, at: u32, next: &mut Vec<u32>) {
        let Some(plan) = self.list.get_mut(at as usize) else { return };
        if std::mem::replace(&mut plan.is_built, true) {
            return;
        }
        if let Some(same) = plan.same {
            next.push(same);
            return;
        }
        let target = plan.target;
        let map = self.types.pointer_map(target, self.word);
        let mut slots = Vec::with_capacity(map.slots.len());
        for slot in map.slots {
            let Ok(offset) = usize::try_from(slot.offset) else { continue };
            let plan = self.of(slot.target);
            if slot.lead != Lead::Pointer {
                // Its elements are read together with it.
                next.push(plan);
            }
            let (guards, shared, unset) = (slot.guards, slot.shared, slot.unset);
            slots.push(Slot { offset, lead: slot.lead, plan, guards, shared, unset });
        }
        let tail = map.tail.map(|(offset, target)| (offset, self.of(target)));
        next.extend(tail.map(|(_, plan)| plan));
        if let Some(plan) = self.list.get_mut(at as usize) {
            plan.size = map.size_bytes.unwrap_or(0);
            plan.slots = slots;
            plan.tail = tail;
        }
    }
}
