//! The names that rustc's debug information gives to vtables.
//!
//! rustc describes each vtable as a variable `<Circle as Shape>::{vtable}` right under its compilation unit, whose
//! location is an address (rustc 1.95, `compiler/rustc_codegen_llvm/src/debuginfo/metadata.rs`,
//! `create_vtable_di_node`).

use std::collections::HashMap;
use std::rc::Rc;

use gimli::{AttributeValue, EndianRcSlice, Operation, Reader, RunTimeEndian};

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

type Slice = EndianRcSlice<RunTimeEndian>;

/// Reads the names of all vtables that a module's debug information describes; costs one pass over it.
pub(super) fn read_vtable_names(symbols: &Symbols<'_>, module: ModuleId) -> VtableNames {
    let mut names = VtableNames::default();
    if let Err(error) = read_units(symbols, module, &mut names.by_address) {
        let path = symbols.image().module(module).map(|module| module.path.clone()).unwrap_or_default();
        names.diagnostics.push(Diagnostic {
            code: "debug-info-damaged",
            at: String::from_utf8_lossy(&path).into_owned(),
            effect: format!("names of Rust types come from symbols from there on: {error}"),
        });
    }
    names
}

fn read_units(symbols: &Symbols<'_>, module: ModuleId, names: &mut HashMap<u64, String>) -> gimli::Result<()> {
    let endian = match symbols.image().target().order {
        ByteOrder::Little => RunTimeEndian::Little,
        ByteOrder::Big => RunTimeEndian::Big,
    };
    let load = |id: gimli::SectionId| -> gimli::Result<Slice> {
        let bytes = match id {
            gimli::SectionId::DebugInfo
            | gimli::SectionId::DebugAbbrev
            | gimli::SectionId::DebugStr
            | gimli::SectionId::DebugAddr
            | gimli::SectionId::DebugStrOffsets
            | gimli::SectionId::DebugLineStr => symbols.debug_section(module, id.name(), MOST_SECTION_BYTES),
            _ => None,
        };
        Ok(EndianRcSlice::new(Rc::from(bytes.as_deref().unwrap_or_default()), endian))
    };
    let dwarf = gimli::Dwarf::load(load)?;
    let mut units = dwarf.units();
    while let Some(header) = units.next()? {
        let unit = dwarf.unit(header)?;
        let mut entries = unit.entries();
        while let Some(entry) = entries.next_dfs()? {
            if entry.tag() != gimli::DW_TAG_variable {
                continue;
            }
            let Some(AttributeValue::Exprloc(expression)) = entry.attr_value(gimli::DW_AT_location) else { continue };
            let Some(name) = entry.attr_value(gimli::DW_AT_name) else { continue };
            let Ok(name) = dwarf.attr_string(&unit, name) else { continue };
            if name.len() > LONGEST_NAME || !name.to_slice()?.ends_with(b"::{vtable}") {
                continue;
            }
            let mut operations = expression.operations(unit.encoding());
            let address = match operations.next()? {
                Some(Operation::Address { address }) => address,
                Some(Operation::AddressIndex { index }) => dwarf.address(&unit, index)?,
                _ => continue,
            };
            if names.len() >= MOST_VTABLES {
                return Ok(());
            }
            names.insert(address, name.to_string_lossy()?.into_owned());
        }
    }
    Ok(())
}
