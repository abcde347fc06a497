//! Global and static variables: where they lie, and of which type they are.

use gimli::AttributeValue;

use crate::addr::Addr;
use crate::task::Task;
use crate::types::arena::Types;
use crate::types::layout::TypeId;

use super::scan::each_unit;
use super::{DebugInfo, DieRef};

/// Variables of all modules; further ones are left out.
const MOST_VARIABLES: usize = 1 << 22;

/// A global or static variable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Variable {
    /// With its scopes: `net::clients`, `accept()::count`.
    pub name: String,
    /// Where it is in the process.
    pub addr: Addr,
    /// Its type.
    pub ty: TypeId,
}

impl DebugInfo {
    /// The entries of all variables with a fixed address, with that address, by unit.
    fn variable_entries(&self, task: &Task) -> Vec<(DieRef, u64)> {
        let units: Vec<u32> = (0u32..)
            .zip(&self.units)
            .filter(|(_, unit)| !unit.is_skeleton && !unit.in_types)
            .map(|(id, _)| id)
            .collect();
        task.progress.start("looking for variables", units.len() as u64);
        let found = each_unit(&units, task, |id, out| {
            task.progress.advance(1);
            let Some(reader) = self.open_unit(id) else { return };
            let Some(mut raw) = reader.raw(reader.root_offset() as usize) else { return };
            while !raw.is_empty() && out.len() < MOST_VARIABLES {
                let at = raw.next_offset().0;
                let abbreviation = match raw.read_abbreviation() {
                    Ok(Some(abbreviation)) => abbreviation,
                    Ok(None) => continue,
                    Err(_) => return,
                };
                if abbreviation.tag() != gimli::DW_TAG_variable {
                    if raw.skip_attributes(abbreviation.attributes()).is_err() {
                        return;
                    }
                    continue;
                }
                let mut address = None;
                for spec in abbreviation.attributes() {
                    if spec.name() != gimli::DW_AT_location {
                        if raw.skip_attributes(std::slice::from_ref(spec)).is_err() {
                            return;
                        }
                        continue;
                    }
                    let Ok(attribute) = raw.read_attribute(*spec) else { return };
                    if let AttributeValue::Exprloc(_) | AttributeValue::Block(_) = attribute.value() {
                        address = reader.address(attribute.value());
                    }
                }
                if let (Some(address), Ok(offset)) = (address, u32::try_from(at)) {
                    out.push((DieRef { unit: id, offset }, address));
                }
            }
        });
        found.into_iter().flat_map(|(_, variables)| variables).take(MOST_VARIABLES).collect()
    }
}

impl Types {
    /// All global and static variables that the debug information gives an address, by address. Their types are known by
    /// name and size; [`Types::load`] reads them. Thread-local ones are left out. Costs O(bytes of debug information).
    pub fn variables(&mut self, task: &Task) -> Vec<Variable> {
        let entries = self.debug_info().variable_entries(task);
        let mut variables = Vec::with_capacity(entries.len());
        for (die, address) in entries {
            let info = self.debug_info();
            let bias = info.bias_of(die.unit);
            let (Some(target), name) = (info.variable_type(die), info.qualified_name(die)) else { continue };
            // What a linker threw away keeps its entry, at address 0.
            if address == 0 {
                continue;
            }
            let ty = self.add_die(target);
            self.load_shallow(ty);
            variables.push(Variable { name, addr: Addr(address.wrapping_add(bias)), ty });
        }
        variables.sort_by(|a, b| (a.addr, &a.name).cmp(&(b.addr, &b.name)));
        variables.dedup_by(|a, b| a.addr == b.addr && a.name == b.name);
        variables
    }
}
