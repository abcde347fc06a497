//! The names that rustc's debug information gives to vtables.
//!
//! rustc describes each vtable as a variable `<Circle as Shape>::{vtable}` right under its compilation unit, whose
//! location is an address (rustc 1.95, `compiler/rustc_codegen_llvm/src/debuginfo/metadata.rs`,
//! `create_vtable_di_node`).

use std::borrow::Cow;
use std::collections::HashMap;

use gimli::{AttributeValue, Dwarf, DwarfSections, EndianSlice, Operation, RunTimeEndian, SectionId, UnitHeader};

use crate::addr::ByteOrder;
use crate::image::ModuleId;
use crate::symbols::Symbols;
use crate::task::Diagnostic;

/// A larger section of debug information is not read, in bytes.
const MOST_SECTION_BYTES: u64 = 512 << 20;
/// More vtables of one module are not remembered.
const MOST_VTABLES: usize = 1 << 20;
/// A longer name is not one, in bytes.
const LONGEST_NAME: usize = 16 << 10;

/// The names of one module's vtables.
#[derive(Debug, Default)]
pub(super) struct VtableNames {
    /// By link-time address: `<Circle as Shape>::{vtable}`.
    pub(super) by_address: HashMap<u64, String>,
    pub(super) diagnostics: Vec<Diagnostic>,
}

type Slice<'a> = EndianSlice<'a, RunTimeEndian>;

/// Reads the names of all vtables that a module's debug information describes; costs one pass over it.
pub(super) fn read_vtable_names(symbols: &Symbols<'_>, module: ModuleId) -> VtableNames {
    let mut names = VtableNames::default();
    if let Err(error) = read_units(symbols, module, &mut names.by_address) {
        let path = symbols.image().module(module).map(|module| module.path.clone()).unwrap_or_default();
        names.diagnostics.push(Diagnostic {
            code: "debug-info-damaged",
            at: String::from_utf8_lossy(&path).into_owned(),
            effect: format!("some names of Rust types come from symbols instead: {error}"),
        });
    }
    names
}

/// One unit after the other; a damaged unit is left out, and the first error handed back in the end.
fn read_units(symbols: &Symbols<'_>, module: ModuleId, names: &mut HashMap<u64, String>) -> gimli::Result<()> {
    let endian = match symbols.image().target().order {
        ByteOrder::Little => RunTimeEndian::Little,
        ByteOrder::Big => RunTimeEndian::Big,
    };
    // The line table is here because opening a unit reads the header of its own.
    const NEEDED: [SectionId; 7] = [
        SectionId::DebugInfo,
        SectionId::DebugAbbrev,
        SectionId::DebugStr,
        SectionId::DebugAddr,
        SectionId::DebugStrOffsets,
        SectionId::DebugLineStr,
        SectionId::DebugLine,
    ];
    let sections = DwarfSections::load(|id| -> gimli::Result<Cow<'_, [u8]>> {
        let wanted = NEEDED.contains(&id);
        let bytes = if wanted { symbols.debug_section(module, id.name(), MOST_SECTION_BYTES) } else { None };
        Ok(bytes.unwrap_or_default())
    })?;
    let dwarf = sections.borrow(|bytes| EndianSlice::new(bytes, endian));
    let mut units = dwarf.units();
    let mut damage = Ok(());
    while let Some(header) = units.next()? {
        if let Err(error) = read_unit(&dwarf, header, names) {
            damage = damage.and(Err(error));
        }
    }
    damage
}

fn read_unit(
    dwarf: &Dwarf<Slice<'_>>,
    header: UnitHeader<Slice<'_>>,
    names: &mut HashMap<u64, String>,
) -> gimli::Result<()> {
    let unit = dwarf.unit(header)?;
    let mut entries = unit.entries();
    while let Some(entry) = entries.next_dfs()? {
        if entry.tag() != gimli::DW_TAG_variable {
            continue;
        }
        let Some(AttributeValue::Exprloc(expression)) = entry.attr_value(gimli::DW_AT_location) else { continue };
        let Some(name) = entry.attr_value(gimli::DW_AT_name) else { continue };
        let Ok(name) = dwarf.attr_string(&unit, name) else { continue };
        if name.len() > LONGEST_NAME || !name.slice().ends_with(b"::{vtable}") {
            continue;
        }
        let address = match expression.operations(unit.encoding()).next()? {
            Some(Operation::Address { address }) => address,
            Some(Operation::AddressIndex { index }) => dwarf.address(&unit, index)?,
            _ => continue,
        };
        if names.len() < MOST_VTABLES {
            names.insert(address, name.to_string_lossy().into_owned());
        }
    }
    Ok(())
}
