//! Objects that nothing typed points to, by the variable that their first word points at: C programs give objects
//! tables of functions, which are variables of a type, and few types have a pointer to that type in front.

use std::collections::HashMap;

use crate::addr::Addr;
use crate::heap::AllocId;
use crate::types::Lead;

use super::Proposal;
use super::plan::Plan;
use super::scan::{Scan, word};

/// Variables, and the types whose objects may begin with a pointer to them.
pub(super) struct Owners {
    /// By address: the variable's plan.
    variables: Vec<(u64, u32)>,
    /// By that plan, the plans of types that begin with such a pointer.
    holders: HashMap<u32, Vec<u32>>,
}

impl Owners {
    pub(super) fn new(variables: &[(Addr, u32)], plans: &[Plan]) -> Owners {
        let same = |at: u32| plans.get(at as usize).and_then(|plan| plan.same).unwrap_or(at);
        let mut holders: HashMap<u32, Vec<u32>> = HashMap::new();
        for (at, plan) in (0u32..).zip(plans).filter(|(_, plan)| plan.size > 0 && plan.same.is_none() && !plan.is_row) {
            let first = plan.slots.iter().find(|slot| slot.offset == 0);
            if let Some(first) = first.filter(|slot| slot.lead == Lead::Pointer && !slot.shared) {
                holders.entry(same(first.plan)).or_default().push(at);
            }
        }
        let mut variables: Vec<(u64, u32)> = (variables.iter())
            .map(|(addr, plan)| (addr.0, same(*plan)))
            .filter(|(_, plan)| holders.contains_key(plan))
            .collect();
        variables.sort_unstable();
        Owners { variables, holders }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.variables.is_empty()
    }

    /// Proposes the only type that begins with a pointer to what the allocation's first word points at, and has its size.
    pub(super) fn propose(&self, scan: &Scan<'_>, id: AllocId, out: &mut Vec<Proposal>) {
        let table = scan.ground.table;
        if !scan.is_unknown(id) || !table.state(id).is_used() {
            return;
        }
        let (Some((first, _)), Some((last, _))) = (self.variables.first(), self.variables.last()) else { return };
        let bytes = scan.ground.space.bytes_from(table.address(id));
        let Some(to) = word(bytes, 0, scan.ground.space.target()) else { return };
        if !(*first..=*last).contains(&to) {
            return;
        }
        let at = self.variables.partition_point(|(addr, _)| *addr < to);
        let Some((_, plan)) = self.variables.get(at).filter(|(addr, _)| *addr == to) else { return };
        let usable = table.usable_size(id);
        let fits = |at: &&u32| {
            let size = scan.plans.get(**at as usize).map_or(0, |plan| plan.size);
            size > 0 && table.rounding(id).is_for(size, usable)
        };
        let mut holders = self.holders.get(plan).into_iter().flatten().filter(fits);
        if let (Some(only), None) = (holders.next(), holders.next()) {
            out.push(Proposal { alloc: id.0, plan: *only, doubtful: false, counted: false });
        }
    }
}
