//! The files that debug information was spread over: `.dwo` and `.dwp` (split), and `dwz`'s alternate file.
//!
//! Their names stand in the debug information, and are a stranger's: regular files alone are opened, and a file
//! is used only where its identity (`DW_AT_dwo_id`, build id) is the one asked for.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gimli::IndexSectionId;
use object::read::Object;

use crate::image::{Backing, open_regular};

use super::DebugInfo;
use super::sections::{Section, Sections};

/// Split files that are opened for one module.
const MOST_FILES: usize = 1 << 16;
/// A path in debug information that is longer is no path, in bytes.
const LONGEST_PATH: usize = 4096;
/// Where distributions put what several debug files share.
const SYSTEM_DEBUG: &str = "/usr/lib/debug";

/// A unit that says which file has the rest.
struct Skeleton {
    unit: u32,
    id: u64,
    name: Vec<u8>,
    folder: Option<Vec<u8>>,
}

fn map(path: &Path) -> Option<Arc<Backing>> {
    Backing::map(open_regular(path).ok()?).ok().map(Arc::new)
}

/// Finds the file that `.gnu_debugaltlink` names: by its path, absolute or from the file's own folder, and by build id.
pub(super) fn find_alternate(own: &Path, link: &[u8], build_id: &[u8]) -> Option<Arc<Backing>> {
    if link.len() > LONGEST_PATH {
        return None;
    }
    let link = Path::new(OsStr::from_bytes(link));
    // A relative path counts from where the file really is.
    let real = fs::canonicalize(own).unwrap_or_else(|_| own.to_path_buf());
    let folder = real.parent().unwrap_or(Path::new("."));
    let mut places = vec![folder.join(link)];
    places.extend(link.file_name().map(|name| folder.join(name)));
    let hex: String = build_id.iter().map(|byte| format!("{byte:02x}")).collect();
    if let Some((head, tail)) = hex.split_at_checked(2) {
        let inside = Path::new(".build-id").join(head).join(format!("{tail}.debug"));
        places.push(Path::new(SYSTEM_DEBUG).join(inside));
        places.extend(link.file_name().map(|name| Path::new(SYSTEM_DEBUG).join(".dwz").join(name)));
    }
    places.iter().find_map(|place| {
        let file = map(place)?;
        let same = object::File::parse(file.bytes()).ok()?.build_id().ok()?.is_some_and(|id| id == build_id);
        same.then_some(file)
    })
}

/// Adds the split files of a container's skeleton units: a package beside it, else each file.
pub(super) fn add_split(info: &mut DebugInfo, container: u32, path: &Path, label: &str) {
    let skeletons = skeletons(info, container);
    if skeletons.is_empty() {
        return;
    }
    let by_id: HashMap<u64, u32> = skeletons.iter().map(|skeleton| (skeleton.id, skeleton.unit)).collect();
    let mut joined = 0;
    for place in package_places(path) {
        if let Some(file) = map(&place)
            && let Ok((sections, _)) = Sections::read(file, true)
        {
            joined = add_package(info, container, sections, &by_id, label);
            break;
        }
    }
    if joined == 0 {
        for skeleton in skeletons.iter().take(MOST_FILES) {
            joined += usize::from(add_file(info, container, path, skeleton, label));
        }
    }
    if joined < skeletons.len() {
        let missing = skeletons.len() - joined;
        let at = format!("{label}: {missing} of {} .dwo files", skeletons.len());
        info.diagnose("split-debug-missing", at, "types that only these files describe are missing");
    }
}

/// The units that only name a split file. Costs O(units) where the file has any.
fn skeletons(info: &DebugInfo, container: u32) -> Vec<Skeleton> {
    let Some(of) = info.container(container) else { return Vec::new() };
    // Before DWARF 5 the root entry alone tells; a file without an address table was not split.
    let maybe_gnu = !of.sections.bytes(Section::Addr).is_empty();
    let mut found = Vec::new();
    for id in of.units.clone() {
        let Some(unit) = info.unit(id).filter(|unit| unit.is_skeleton || (maybe_gnu && !unit.in_types)) else {
            continue;
        };
        let is_skeleton = unit.is_skeleton;
        let Some(reader) = info.open_unit(id) else { continue };
        if !is_skeleton && reader.header.version() >= 5 {
            continue;
        }
        if let (Some(name), Some(dwo)) = (&reader.root.dwo_name, reader.root.dwo_id)
            && name.len() <= LONGEST_PATH
        {
            let folder = reader.root.comp_dir.clone();
            found.push(Skeleton { unit: id, id: dwo, name: name.clone(), folder });
        }
    }
    found
}

fn package_places(path: &Path) -> Vec<PathBuf> {
    let with = |path: &Path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".dwp");
        PathBuf::from(name)
    };
    let mut places = vec![with(path)];
    if path.extension().is_some_and(|extension| extension == "debug") {
        places.push(with(&path.with_extension("")));
    }
    places
}

fn add_file(info: &mut DebugInfo, parent: u32, own: &Path, skeleton: &Skeleton, label: &str) -> bool {
    let name = Path::new(OsStr::from_bytes(&skeleton.name));
    let beside = own.parent().unwrap_or(Path::new("."));
    let mut places = Vec::new();
    match &skeleton.folder {
        Some(folder) if folder.len() <= LONGEST_PATH => places.push(Path::new(OsStr::from_bytes(folder)).join(name)),
        _ if name.is_absolute() => places.push(name.to_path_buf()),
        _ => {}
    }
    if name.is_relative() {
        places.push(beside.join(name));
    }
    places.extend(name.file_name().map(|name| beside.join(name)));
    for place in places {
        let Some(file) = map(&place) else { continue };
        let Ok((sections, _)) = Sections::read(file, true) else { continue };
        if !sections.has_units() || !holds(&sections, skeleton.id) {
            continue;
        }
        let Some(module) = info.container(parent).map(|container| container.module) else { return false };
        let id = info.add_container(module, sections, None, Some(parent), true, label);
        for unit in info.container(id).map_or(0..0, |container| container.units.clone()) {
            join(info, unit, skeleton.unit);
        }
        return true;
    }
    false
}

/// Whether a split file is the one with this id.
fn holds(sections: &Sections, id: u64) -> bool {
    let mut units = gimli::DebugInfo::from(sections.slice(Section::Info)).units();
    while let Ok(Some(header)) = units.next() {
        match header.type_() {
            gimli::UnitType::SplitCompilation(dwo) => return dwo.0 == id,
            gimli::UnitType::Compilation => {
                let section = gimli::DebugAbbrev::from(sections.slice(Section::Abbrev));
                let Ok(table) = header.abbreviations(&section) else { return false };
                let Ok(root) = header.entry(&table, header.root_offset()) else { return false };
                let found = root.attr_value(gimli::DW_AT_GNU_dwo_id);
                return matches!(found, Some(gimli::AttributeValue::DwoId(dwo)) if dwo.0 == id);
            }
            _ => {}
        }
    }
    false
}

/// Notes that `skeleton` is what `unit` was split from, and that it says nothing itself.
fn join(info: &mut DebugInfo, unit: u32, skeleton: u32) {
    if let Some(unit) = info.units.get_mut(unit as usize) {
        unit.skeleton = Some(skeleton);
    }
    if let Some(skeleton) = info.units.get_mut(skeleton as usize) {
        skeleton.is_skeleton = true;
    }
}

/// Adds a package, and returns how many skeletons found their unit in it.
fn add_package(
    info: &mut DebugInfo,
    parent: u32,
    sections: Sections,
    skeletons: &HashMap<u64, u32>,
    label: &str,
) -> usize {
    let Some(module) = info.container(parent).map(|container| container.module) else { return 0 };
    let id = info.add_container(module, sections, None, Some(parent), true, label);
    let Some(container) = info.container(id) else { return 0 };
    let range = container.units.clone();
    let cu_index = gimli::DebugCuIndex::from(container.sections.slice(Section::CuIndex)).index();
    let tu_index = gimli::DebugTuIndex::from(container.sections.slice(Section::TuIndex)).index();
    // What each row says of one unit: its place, and where its parts of the shared sections begin.
    let mut places: Vec<(bool, u64, u64, Option<u64>)> = Vec::new();
    for index in [&cu_index, &tu_index].into_iter().flatten() {
        for row in 1..=index.unit_count() {
            let Ok(parts) = index.sections(row) else { break };
            let (mut unit, mut abbrev, mut strings) = (None, 0, None);
            for part in parts {
                match part.section {
                    IndexSectionId::DebugInfo => unit = Some((false, u64::from(part.offset))),
                    IndexSectionId::DebugTypes => unit = Some((true, u64::from(part.offset))),
                    IndexSectionId::DebugAbbrev => abbrev = u64::from(part.offset),
                    IndexSectionId::DebugStrOffsets => strings = Some(u64::from(part.offset)),
                    _ => {}
                }
            }
            if let Some((in_types, offset)) = unit {
                places.push((in_types, offset, abbrev, strings));
            }
        }
    }
    for (in_types, offset, abbrev, strings) in places {
        let Some(units) = info.units.get_mut(range.start as usize..range.end as usize) else { break };
        let Ok(at) = units.binary_search_by_key(&(in_types, offset), |unit| (unit.in_types, unit.offset)) else {
            continue;
        };
        let Some(unit) = units.get_mut(at) else { continue };
        unit.abbrev_offset = unit.abbrev_offset.saturating_add(abbrev);
        // From DWARF 5 on each part has a header; the form before has none, and no type unit of it says which it is.
        let header = match info.containers.get(id as usize).and_then(|c| unit.header(&c.sections)) {
            Some(header) if header.version() >= 5 && header.format() == gimli::Format::Dwarf64 => 16,
            Some(header) if header.version() >= 5 => 8,
            _ => 0,
        };
        unit.str_offsets = strings.map(|offset| offset.saturating_add(header));
    }
    let mut joined = 0;
    for unit in range {
        let dwo = info.open_unit(unit).and_then(|reader| reader.root.dwo_id);
        if let Some(skeleton) = dwo.and_then(|dwo| skeletons.get(&dwo)) {
            join(info, unit, *skeleton);
            joined += 1;
        }
    }
    joined
}
