//! Debug information: DWARF 2 to 5, in whatever files it has been spread over.
//!
//! A *container* is one file: the module itself or its separate debug file, a `.dwo` or `.dwp` file of split
//! debug information, a `dwz` file of what several files share. A *unit* is one compilation or type unit of a
//! container. Files are mapped, units are opened when they are needed, and nothing is kept of those that a question
//! does not touch.
//!
//! After "DWARF Debugging Information Format" versions 2 to 5, the GNU extensions for split debug information, and
//! <https://sourceware.org/dwz/>. Every file is taken as hostile: references may lead in circles, sizes may
//! be any number, and no work is more than a small multiple of the files' size.

mod find;
mod name;
mod read;
mod scan;
mod sections;
mod split;
mod unit;
mod variables;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use crate::addr::ByteOrder;
use crate::image::{Backing, Image, Machine};
use crate::task::Diagnostic;

pub use find::{Found, FoundLayout, FoundName};
pub use name::TypeName;
pub use variables::Variable;

pub(crate) use read::{BodyRead, HeadRead, KindRead, MemberRead, PlaceRead};

use read::ScopeMap;
use sections::{Section, SectionError, Sections, Slice};
use unit::{AbbrevCache, Root, UnitReader, read_root};

/// Units in all files together; more are left out.
const MOST_UNITS: usize = 1 << 22;
/// Entries read again and again, in all, for each byte of debug information: past that, it was made to waste time.
const MOST_WORK_PER_BYTE: u64 = 16;

/// One module's file with debug information.
#[derive(Clone, Debug)]
pub struct DebugInput {
    /// The module, for messages.
    pub label: String,
    /// Where the file is; its companions (`.dwo`, `.dwp`, `dwz` files) are looked for from there. `None` where only
    /// the bytes are known: then companions are not found.
    pub path: Option<PathBuf>,
    /// The bytes of the file that has the debug sections.
    pub file: Arc<Backing>,
    /// What has to be added, wrapping, to its addresses to get those of the process.
    pub bias: u64,
}

impl DebugInput {
    /// Whether a file is a program, a library or a debug file; a core dump is not.
    pub fn is_object_file(file: &Backing) -> bool {
        use object::read::Object;
        object::File::parse(file.bytes()).is_ok_and(|elf| {
            use object::ObjectKind::{Dynamic, Executable, Relocatable};
            matches!(elf.kind(), Executable | Dynamic | Relocatable)
        })
    }
}

/// The place of one entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct DieRef {
    /// The index of its unit.
    pub(crate) unit: u32,
    /// Bytes from the beginning of the unit's header.
    pub(crate) offset: u32,
}

#[derive(Debug)]
struct ModuleInfo {
    label: String,
    bias: u64,
}

/// One file.
#[derive(Debug)]
struct Container {
    module: u32,
    sections: Sections,
    alternate: Option<u32>,
    /// The file that this one was split from.
    parent: Option<u32>,
    split: bool,
    /// Its units, sorted by section and offset.
    units: std::ops::Range<u32>,
}

/// One compilation or type unit.
#[derive(Debug)]
struct Unit {
    container: u32,
    in_types: bool,
    /// Bytes from the beginning of the section.
    offset: u64,
    /// With its header.
    size: u64,
    /// Where its abbreviations are.
    abbrev_offset: u64,
    /// Where a package puts its string offsets.
    str_offsets: Option<u64>,
    type_signature: Option<(u64, u32)>,
    /// It only says which file has the rest.
    is_skeleton: bool,
    /// The unit that this one was split from.
    skeleton: Option<u32>,
    root: OnceLock<Root>,
}

/// The debug information of one or more modules.
#[derive(Debug, Default)]
pub struct DebugInfo {
    modules: Vec<ModuleInfo>,
    machine: Option<Machine>,
    containers: Vec<Container>,
    units: Vec<Unit>,
    /// Bytes of all units.
    size_bytes: u64,
    signatures: HashMap<(u32, u64), u32>,
    abbrevs: AbbrevCache,
    scope_maps: Mutex<HashMap<u32, Arc<ScopeMap>>>,
    diagnostics: Vec<Diagnostic>,
    /// Entries and bytes of names that were read more than once, perhaps.
    work: AtomicU64,
}

impl DebugInfo {
    /// Opens the debug information of modules, with the files that belong to it. Files without any are passed
    /// over; what cannot be read is in [`DebugInfo::diagnostics`]. Costs O(number of units).
    pub fn open(inputs: Vec<DebugInput>) -> DebugInfo {
        let mut info = DebugInfo::default();
        for input in inputs {
            info.add(input);
        }
        info
    }

    /// Takes debug information that is in no file: sections by name (`.debug_info`, `.debug_abbrev`, `.debug_str`, …).
    pub fn from_sections(label: &str, sections: &[(&str, &[u8])], order: ByteOrder) -> DebugInfo {
        let order = match order {
            ByteOrder::Little => gimli::RunTimeEndian::Little,
            ByteOrder::Big => gimli::RunTimeEndian::Big,
        };
        let mut info = DebugInfo::default();
        info.modules.push(ModuleInfo { label: label.to_owned(), bias: 0 });
        info.add_container(0, Sections::from_parts(sections, order), None, None, false, label);
        info
    }

    /// Opens the debug information of a dump's modules, from the files that the image found for them.
    pub fn of_image(image: &Image) -> DebugInfo {
        let mut inputs = Vec::new();
        for module in image.modules() {
            let Some(found) = &module.file.found else { continue };
            let label = String::from_utf8_lossy(module.name()).into_owned();
            // The bytes that the image has held to the module, not what the path may name by now.
            let file = Arc::new(image.space().backing(found.backing).clone());
            inputs.push(DebugInput { label, path: Some(found.path.clone()), file, bias: module.bias });
        }
        DebugInfo { machine: Some(image.machine()), ..DebugInfo::open(inputs) }
    }

    /// The machine that its programs are for, where an image says so.
    pub fn machine(&self) -> Option<Machine> {
        self.machine
    }

    /// What was not to be had, and what that does to the answers.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Whether no module has any debug information.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Counts work that a file could ask for without end; false once that was too much.
    fn charge(&self, units: u64) -> bool {
        let before = self.work.fetch_add(units, Ordering::Relaxed);
        before <= self.size_bytes.saturating_mul(MOST_WORK_PER_BYTE).saturating_add(1 << 22)
    }

    /// Whether reading was cut short, because the debug information makes no end of it.
    pub fn is_exhausted(&self) -> bool {
        !self.charge(0)
    }

    /// How many units there are.
    pub fn unit_count(&self) -> usize {
        self.units.len()
    }

    /// Bytes of units in all files, decompressed.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The label of the module with an index, as given to [`DebugInfo::open`]; modules without debug information
    /// are not counted.
    pub fn module_label(&self, module: u32) -> &str {
        self.modules.get(module as usize).map_or("", |module| &module.label)
    }

    fn diagnose(&mut self, code: &'static str, at: String, effect: &str) {
        self.diagnostics.push(Diagnostic { code, at, effect: effect.to_owned() });
    }

    fn add(&mut self, input: DebugInput) {
        let (sections, links) = match Sections::read(input.file.clone(), false) {
            Ok(read) => read,
            Err(error) => return self.diagnose_sections(&input.label, &error),
        };
        if !sections.has_units() {
            return;
        }
        let module = u32::try_from(self.modules.len()).unwrap_or(u32::MAX);
        self.modules.push(ModuleInfo { label: input.label.clone(), bias: input.bias });
        let alternate = links.alternate.and_then(|(path, id)| {
            let found = input.path.as_deref().and_then(|own| split::find_alternate(own, &path, &id));
            if found.is_none() {
                let at = format!("{}: {}", input.label, String::from_utf8_lossy(&path));
                self.diagnose("debug-alternate-missing", at, "types that only this shared file describes are missing");
            }
            self.add_alternate(module, &input.label, found?)
        });
        let container = self.add_container(module, sections, alternate, None, false, &input.label);
        if let Some(path) = &input.path {
            split::add_split(self, container, path, &input.label);
        }
    }

    fn add_alternate(&mut self, module: u32, label: &str, file: Arc<Backing>) -> Option<u32> {
        match Sections::read(file, false) {
            Ok((sections, _)) => Some(self.add_container(module, sections, None, None, false, label)),
            Err(error) => {
                self.diagnose_sections(label, &error);
                None
            }
        }
    }

    fn diagnose_sections(&mut self, label: &str, error: &SectionError) {
        let at = format!("{label}: {error}");
        self.diagnose("debug-info-unreadable", at, "its types are missing");
    }

    /// Takes a container and lists its units.
    fn add_container(
        &mut self,
        module: u32,
        sections: Sections,
        alternate: Option<u32>,
        parent: Option<u32>,
        split: bool,
        label: &str,
    ) -> u32 {
        let id = u32::try_from(self.containers.len()).unwrap_or(u32::MAX);
        let mut units = Vec::new();
        let mut broken = false;
        let mut header = |header: Result<gimli::UnitHeader<Slice<'_>>, gimli::Error>, in_types: bool, offset: u64| {
            let Ok(header) = header else {
                broken = true;
                return;
            };
            units.push(Unit::new(id, &header, in_types, offset));
        };
        let mut all = gimli::DebugInfo::from(sections.slice(Section::Info)).units();
        let mut offset = 0u64;
        while let Some(next) = all.next().transpose() {
            let size = next.as_ref().map_or(0, |unit| unit.length_including_self() as u64);
            header(next, false, offset);
            offset = offset.saturating_add(size);
        }
        let mut all = gimli::DebugTypes::from(sections.slice(Section::Types)).units();
        let mut offset = 0u64;
        while let Some(next) = all.next().transpose() {
            let size = next.as_ref().map_or(0, |unit| unit.length_including_self() as u64);
            header(next, true, offset);
            offset = offset.saturating_add(size);
        }
        if broken {
            self.diagnose("debug-info-damaged", label.to_owned(), "types after the damage are missing");
        }
        let room = MOST_UNITS.saturating_sub(self.units.len());
        if units.len() > room {
            units.truncate(room);
            self.diagnose("debug-info-too-large", label.to_owned(), "types in further units are missing");
        }
        let first = u32::try_from(self.units.len()).unwrap_or(u32::MAX);
        for (at, unit) in (first..).zip(&units) {
            if let Some((signature, _)) = unit.type_signature {
                // The first of several that are meant to be equal.
                self.signatures.entry((module, signature)).or_insert(at);
            }
        }
        self.size_bytes = units.iter().map(|unit| unit.size).fold(self.size_bytes, u64::saturating_add);
        self.units.append(&mut units);
        let end = u32::try_from(self.units.len()).unwrap_or(u32::MAX);
        self.containers.push(Container { module, sections, alternate, parent, split, units: first..end });
        id
    }

    fn unit(&self, id: u32) -> Option<&Unit> {
        self.units.get(id as usize)
    }

    fn container(&self, id: u32) -> Option<&Container> {
        self.containers.get(id as usize)
    }

    fn sections(&self, container: u32) -> Option<&Sections> {
        self.container(container).map(|container| &container.sections)
    }

    fn is_big(&self, container: u32) -> bool {
        self.sections(container).is_some_and(|sections| sections.order == gimli::RunTimeEndian::Big)
    }

    /// The `dwz` file of a container, or of the one that it was split from.
    fn alternate_of(&self, container: u32) -> Option<u32> {
        let container = self.container(container)?;
        container.alternate.or_else(|| self.container(container.parent?)?.alternate)
    }

    /// The module that a unit belongs to.
    fn module_of(&self, unit: u32) -> u32 {
        self.unit(unit).and_then(|unit| self.container(unit.container)).map_or(0, |container| container.module)
    }

    /// Opens a unit. Costs O(its abbreviations) the first time.
    fn open_unit(&self, id: u32) -> Option<UnitReader<'_>> {
        let unit = self.unit(id)?;
        let container = self.container(unit.container)?;
        let sections = &container.sections;
        let header = unit.header(sections)?;
        let abbrevs = self.abbrevs.get(sections, unit.container, unit.abbrev_offset)?;
        let root = unit.root.get_or_init(|| read_root(&header, &abbrevs, sections, unit.str_offsets, container.split));
        Some(UnitReader { info: self, id, container: unit.container, sections, header, abbrevs, root })
    }

    /// The entry at an offset of a container's `.debug_info`.
    fn die_at(&self, container: u32, offset: u64) -> Option<DieRef> {
        let range = self.container(container)?.units.clone();
        let units = self.units.get(range.start as usize..range.end as usize)?;
        let after = units.partition_point(|unit| !unit.in_types && unit.offset <= offset);
        let at = after.checked_sub(1)?;
        let unit = units.get(at)?;
        let into = offset.checked_sub(unit.offset).filter(|into| *into < unit.size)?;
        Some(DieRef { unit: range.start.checked_add(u32::try_from(at).ok()?)?, offset: u32::try_from(into).ok()? })
    }

    /// The type that a signature names.
    fn die_of_signature(&self, container: u32, signature: u64) -> Option<DieRef> {
        let module = self.container(container)?.module;
        let unit = *self.signatures.get(&(module, signature))?;
        let (_, offset) = self.unit(unit)?.type_signature?;
        Some(DieRef { unit, offset })
    }
}

impl Unit {
    fn new(container: u32, header: &gimli::UnitHeader<Slice<'_>>, in_types: bool, offset: u64) -> Unit {
        let type_signature = match header.type_() {
            gimli::UnitType::Type { type_signature, type_offset }
            | gimli::UnitType::SplitType { type_signature, type_offset } => {
                u32::try_from(type_offset.0).ok().map(|offset| (type_signature.0, offset))
            }
            _ => None,
        };
        Unit {
            container,
            in_types,
            offset,
            size: header.length_including_self() as u64,
            abbrev_offset: header.debug_abbrev_offset().0 as u64,
            str_offsets: None,
            type_signature,
            is_skeleton: matches!(header.type_(), gimli::UnitType::Skeleton(_)),
            skeleton: None,
            root: OnceLock::new(),
        }
    }

    /// Its header, read again: that costs less than keeping it.
    fn header<'a>(&self, sections: &'a Sections) -> Option<gimli::UnitHeader<Slice<'a>>> {
        let section = if self.in_types { Section::Types } else { Section::Info };
        let bytes = sections.bytes(section);
        let start = usize::try_from(self.offset).ok()?;
        let end = start.checked_add(usize::try_from(self.size).ok()?)?;
        let slice = Slice::new(bytes.get(start..end)?, sections.order);
        if self.in_types {
            gimli::DebugTypes::from(slice).units().next().ok()?
        } else {
            gimli::DebugInfo::from(slice).units().next().ok()?
        }
    }

    /// Its bytes, with the header.
    fn bytes<'a>(&self, sections: &'a Sections) -> &'a [u8] {
        let bytes = sections.bytes(if self.in_types { Section::Types } else { Section::Info });
        let start = usize::try_from(self.offset).unwrap_or(usize::MAX);
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        bytes.get(start..).and_then(|rest| rest.get(..size)).unwrap_or_default()
    }
}
