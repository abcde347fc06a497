//! One unit of debug information, and its entries.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use gimli::{
    AttributeValue, DebugAbbrevOffset, DebugStrOffset, DebuggingInformationEntry, DwAt, DwTag, EntriesRaw, Reader,
    UnitHeader, UnitOffset,
};

use super::sections::{Section, Sections, Slice};
use super::{DebugInfo, DieRef};

/// An entry with its attributes.
pub(super) type Entry<'a> = DebuggingInformationEntry<Slice<'a>>;

/// Abbreviation tables are kept up to this many abbreviations in all: some 60 MB.
const MOST_CACHED: u64 = 500_000;
/// Bytes of abbreviations parsed in all, for each byte of the file's abbreviation section: past that, units make each
/// other parse the same table again and again.
const MOST_PARSED_PER_BYTE: u64 = 32;

/// The abbreviations of some units.
#[derive(Debug)]
pub(super) struct Abbrevs {
    pub(super) table: gimli::Abbreviations,
    /// Some type is defined away from where it is declared (`DW_AT_specification`), so that its name is elsewhere.
    pub(super) out_of_line: bool,
}

/// Abbreviation tables by container and offset.
#[derive(Debug, Default)]
pub(super) struct AbbrevCache(Mutex<CacheState>);

#[derive(Debug, Default)]
struct CacheState {
    tables: HashMap<(u32, u64), Arc<Abbrevs>>,
    cached: u64,
    parsed: u64,
}

impl AbbrevCache {
    pub(super) fn get(&self, sections: &Sections, container: u32, offset: u64) -> Option<Arc<Abbrevs>> {
        let budget = (sections.bytes(Section::Abbrev).len() as u64).saturating_mul(MOST_PARSED_PER_BYTE);
        if let Some(table) = self.lock().tables.get(&(container, offset)) {
            return Some(table.clone());
        }
        if self.lock().parsed > budget.saturating_add(1 << 20) {
            return None;
        }
        let start = usize::try_from(offset).ok()?;
        let (size, count, out_of_line) = measure(sections.slice(Section::Abbrev), start)?;
        {
            let mut state = self.lock();
            state.parsed = state.parsed.saturating_add(size);
        }
        let section = gimli::DebugAbbrev::from(sections.slice(Section::Abbrev));
        let table = section.abbreviations(DebugAbbrevOffset(start)).ok()?;
        let table = Arc::new(Abbrevs { table, out_of_line });
        let mut state = self.lock();
        if state.cached + count < MOST_CACHED {
            state.cached += count;
            state.tables.insert((container, offset), table.clone());
        }
        Some(table)
    }
}

impl AbbrevCache {
    fn lock(&self) -> std::sync::MutexGuard<'_, CacheState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of one table: its bytes, how many abbreviations it has, and whether one is of a type that is declared elsewhere.
fn measure(section: Slice<'_>, start: usize) -> Option<(u64, u64, bool)> {
    let mut rest = section;
    rest.skip(start).ok()?;
    let whole = rest.len();
    let mut count = 0;
    let mut out_of_line = false;
    // The section may end without the zero that ends a table.
    while !rest.is_empty() && rest.read_uleb128().ok()? != 0 {
        count += 1;
        let tag = DwTag(u16::try_from(rest.read_uleb128().ok()?).ok()?);
        rest.read_u8().ok()?;
        loop {
            let (name, form) = (rest.read_uleb128().ok()?, rest.read_uleb128().ok()?);
            if (name, form) == (0, 0) {
                break;
            }
            if form == u64::from(gimli::DW_FORM_implicit_const.0) {
                rest.read_sleb128().ok()?;
            }
            out_of_line |= name == u64::from(gimli::DW_AT_specification.0) && is_type_tag(tag);
        }
    }
    Some(((whole - rest.len()) as u64, count, out_of_line))
}

/// Whether an entry of this tag describes a type that can be asked for by name.
pub(super) fn is_type_tag(tag: DwTag) -> bool {
    matches!(
        tag,
        gimli::DW_TAG_structure_type
            | gimli::DW_TAG_class_type
            | gimli::DW_TAG_union_type
            | gimli::DW_TAG_interface_type
            | gimli::DW_TAG_enumeration_type
            | gimli::DW_TAG_typedef
            | gimli::DW_TAG_base_type
    )
}

/// Whether an entry of this tag gives its name to what is inside.
pub(super) fn is_scope_tag(tag: DwTag) -> bool {
    matches!(
        tag,
        gimli::DW_TAG_namespace
            | gimli::DW_TAG_module
            | gimli::DW_TAG_structure_type
            | gimli::DW_TAG_class_type
            | gimli::DW_TAG_union_type
            | gimli::DW_TAG_interface_type
            | gimli::DW_TAG_enumeration_type
            | gimli::DW_TAG_subprogram
    )
}

/// What the root entry of a unit says about all of it.
#[derive(Debug, Default)]
pub(super) struct Root {
    pub(super) str_offsets_base: Option<u64>,
    pub(super) addr_base: Option<u64>,
    pub(super) dwo_name: Option<Vec<u8>>,
    pub(super) comp_dir: Option<Vec<u8>>,
    pub(super) dwo_id: Option<u64>,
}

/// A unit opened for reading.
#[derive(Clone, Debug)]
pub(super) struct UnitReader<'a> {
    pub(super) info: &'a DebugInfo,
    pub(super) id: u32,
    pub(super) container: u32,
    pub(super) sections: &'a Sections,
    pub(super) header: UnitHeader<Slice<'a>>,
    pub(super) abbrevs: Arc<Abbrevs>,
    pub(super) root: &'a Root,
}

impl<'a> UnitReader<'a> {
    /// Reads entries from `offset` on; the depth counts from there.
    pub(super) fn raw(&self, offset: usize) -> Option<EntriesRaw<'_, Slice<'a>>> {
        self.header.entries_raw(&self.abbrevs.table, Some(UnitOffset(offset))).ok()
    }

    /// The entry at an offset of this unit.
    pub(super) fn entry(&self, offset: u32) -> Option<Entry<'a>> {
        self.header.entry(&self.abbrevs.table, UnitOffset(offset as usize)).ok()
    }

    /// Where the root entry is.
    pub(super) fn root_offset(&self) -> u32 {
        u32::try_from(self.header.root_offset().0).unwrap_or(u32::MAX)
    }

    /// Calls `visit` for each direct child of the entry at `offset`. Costs O(bytes of the subtree), less where
    /// entries name their sibling.
    pub(super) fn for_each_child(&self, offset: u32, mut visit: impl FnMut(u32, &Entry<'a>) -> ControlFlow<()>) {
        let Some(mut raw) = self.raw(offset as usize) else { return };
        let mut entry = Entry::null();
        if !matches!(raw.read_entry(&mut entry), Ok(true)) || !entry.has_children() {
            return;
        }
        // The depth of the children, once the parent has been read.
        let mut depth: u32 = 1;
        let mut steps = 0u64;
        while depth > 0 && !raw.is_empty() {
            steps += 1;
            if steps % 256 == 1 && !self.info.charge(256) {
                return;
            }
            let at = raw.next_offset().0;
            match raw.read_entry(&mut entry) {
                Err(_) => return,
                Ok(false) => {
                    depth -= 1;
                    continue;
                }
                Ok(true) => {}
            }
            if depth == 1 {
                let Ok(at) = u32::try_from(at) else { return };
                if visit(at, &entry).is_break() {
                    return;
                }
            }
            if entry.has_children() {
                match self.sibling(&entry, raw.next_offset().0).and_then(|sibling| self.raw(sibling)) {
                    Some(after) => raw = after,
                    None => depth = depth.saturating_add(1),
                }
            }
        }
    }

    /// Where the entry's next sibling begins, if it says so and that is past `next`.
    pub(super) fn sibling(&self, entry: &Entry<'a>, next: usize) -> Option<usize> {
        match entry.attr_value(gimli::DW_AT_sibling)? {
            AttributeValue::UnitRef(UnitOffset(offset)) if offset >= next => Some(offset),
            _ => None,
        }
    }

    /// The text of an attribute.
    pub(super) fn string(&self, value: AttributeValue<Slice<'a>>) -> Option<&'a [u8]> {
        let slice = match value {
            AttributeValue::String(slice) => slice,
            AttributeValue::DebugStrRef(DebugStrOffset(offset)) => {
                string_at(self.sections.slice(Section::Str), offset)?
            }
            AttributeValue::DebugStrRefSup(DebugStrOffset(offset)) => {
                let alternate = self.info.alternate_of(self.container)?;
                string_at(self.info.sections(alternate)?.slice(Section::Str), offset)?
            }
            AttributeValue::DebugLineStrRef(gimli::DebugLineStrOffset(offset)) => {
                string_at(self.sections.slice(Section::LineStr), offset)?
            }
            AttributeValue::DebugStrOffsetsIndex(gimli::DebugStrOffsetsIndex(index)) => {
                let offset = self.indexed_string(index as u64)?;
                string_at(self.sections.slice(Section::Str), offset)?
            }
            _ => return None,
        };
        Some(slice.slice())
    }

    /// The offset in `.debug_str` that an index names.
    fn indexed_string(&self, index: u64) -> Option<usize> {
        let width = u64::from(self.header.format().word_size());
        let base = self.str_offsets_base();
        let at = usize::try_from(index.checked_mul(width)?.checked_add(base)?).ok()?;
        let mut slice = self.sections.slice(Section::StrOffsets);
        slice.skip(at).ok()?;
        slice.read_offset(self.header.format()).ok()
    }

    /// Where this unit's part of `.debug_str_offsets` begins.
    pub(super) fn str_offsets_base(&self) -> u64 {
        self.root.str_offsets_base.unwrap_or(0)
    }

    /// The address with an index in `.debug_addr`; split units use the table of the file that they were split from.
    fn indexed_address(&self, index: u64) -> Option<u64> {
        let unit = self.info.unit(self.id)?;
        let (sections, base) = match unit.skeleton.and_then(|skeleton| self.info.open_unit(skeleton)) {
            Some(skeleton) => (skeleton.sections, skeleton.root.addr_base.unwrap_or(0)),
            None => (self.sections, self.root.addr_base.unwrap_or(0)),
        };
        let size = u64::from(self.header.address_size());
        let at = usize::try_from(index.checked_mul(size)?.checked_add(base)?).ok()?;
        let mut slice = sections.slice(Section::Addr);
        slice.skip(at).ok()?;
        slice.read_address(self.header.address_size()).ok()
    }

    /// The name that the entry itself has.
    pub(super) fn name(&self, entry: &Entry<'a>) -> Option<&'a [u8]> {
        self.string(entry.attr_value(gimli::DW_AT_name)?).filter(|name| !name.is_empty())
    }

    /// A number without a sign, whatever its form.
    pub(super) fn unsigned(&self, entry: &Entry<'a>, at: DwAt) -> Option<u64> {
        let value = entry.attr_value(at)?;
        value.udata_value().or_else(|| value.sdata_value().and_then(|value| u64::try_from(value).ok()))
    }

    /// Whether a flag is set.
    pub(super) fn flag(&self, entry: &Entry<'a>, at: DwAt) -> bool {
        matches!(entry.attr_value(at), Some(AttributeValue::Flag(true)))
    }

    /// The entry that a reference leads to, in this unit or another.
    pub(super) fn reference(&self, value: AttributeValue<Slice<'a>>) -> Option<DieRef> {
        match value {
            AttributeValue::UnitRef(UnitOffset(offset)) => {
                Some(DieRef { unit: self.id, offset: u32::try_from(offset).ok()? })
            }
            AttributeValue::DebugInfoRef(offset) => self.info.die_at(self.container, offset.0 as u64),
            AttributeValue::DebugInfoRefSup(offset) => {
                self.info.die_at(self.info.alternate_of(self.container)?, offset.0 as u64)
            }
            AttributeValue::DebugTypesRef(signature) => self.info.die_of_signature(self.container, signature.0),
            _ => None,
        }
    }

    /// What the attribute refers to.
    pub(super) fn referred(&self, entry: &Entry<'a>, at: DwAt) -> Option<DieRef> {
        self.reference(entry.attr_value(at)?)
    }

    /// The link-time address of a variable whose location is one address.
    pub(super) fn address(&self, location: AttributeValue<Slice<'a>>) -> Option<u64> {
        let expression = location.exprloc_value()?;
        let mut operations = expression.operations(self.header.encoding());
        let address = match operations.next().ok()?? {
            gimli::Operation::Address { address } => address,
            gimli::Operation::AddressIndex { index } => self.indexed_address(index.0 as u64)?,
            _ => return None,
        };
        // More than the address: thread-local, or computed.
        matches!(operations.next(), Ok(None)).then_some(address)
    }
}

fn string_at(section: Slice<'_>, offset: usize) -> Option<Slice<'_>> {
    let mut slice = section;
    slice.skip(offset).ok()?;
    slice.read_null_terminated_slice().ok()
}

/// Reads what the root entry of a unit says.
pub(super) fn read_root(
    header: &UnitHeader<Slice<'_>>,
    abbrevs: &Abbrevs,
    sections: &Sections,
    str_offsets_base: Option<u64>,
    split: bool,
) -> Root {
    let mut root = Root { str_offsets_base, ..Root::default() };
    let Ok(entry) = header.entry(&abbrevs.table, header.root_offset()) else { return root };
    for attribute in entry.attrs() {
        match (attribute.name(), attribute.value()) {
            (gimli::DW_AT_str_offsets_base, AttributeValue::DebugStrOffsetsBase(base)) => {
                root.str_offsets_base = Some(base.0 as u64);
            }
            (gimli::DW_AT_addr_base | gimli::DW_AT_GNU_addr_base, AttributeValue::DebugAddrBase(base)) => {
                root.addr_base = Some(base.0 as u64);
            }
            (gimli::DW_AT_GNU_dwo_id, AttributeValue::DwoId(id)) => root.dwo_id = Some(id.0),
            _ => {}
        }
    }
    if let gimli::UnitType::Skeleton(id) | gimli::UnitType::SplitCompilation(id) = header.type_() {
        root.dwo_id = Some(id.0);
    }
    if root.str_offsets_base.is_none() && header.version() >= 5 && split {
        // A split unit's offsets follow the header of its section.
        root.str_offsets_base = Some(if header.format() == gimli::Format::Dwarf64 { 16 } else { 8 });
    }
    let text = |at: DwAt| {
        let bytes = match entry.attr_value(at)? {
            AttributeValue::String(slice) => slice,
            AttributeValue::DebugStrRef(offset) => string_at(sections.slice(Section::Str), offset.0)?,
            AttributeValue::DebugLineStrRef(offset) => string_at(sections.slice(Section::LineStr), offset.0)?,
            AttributeValue::DebugStrOffsetsIndex(index) => {
                let width = usize::from(header.format().word_size());
                let base = usize::try_from(root.str_offsets_base.unwrap_or(0)).ok()?;
                let mut slice = sections.slice(Section::StrOffsets);
                slice.skip(index.0.checked_mul(width)?.checked_add(base)?).ok()?;
                string_at(sections.slice(Section::Str), slice.read_offset(header.format()).ok()?)?
            }
            _ => return None,
        };
        Some(bytes.slice().to_vec())
    };
    root.dwo_name = text(gimli::DW_AT_dwo_name).or_else(|| text(gimli::DW_AT_GNU_dwo_name));
    root.comp_dir = text(gimli::DW_AT_comp_dir);
    root
}
