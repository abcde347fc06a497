//! Where a module's symbols come from, and reading them all into one table.
//!
//! Searched as gdb does ("Debugging Information in Separate Files"): the module's own file, MiniDebugInfo in it, a
//! debug file by build id, a debug file by `.gnu_debuglink`; where no file is to be had, the dynamic linker's
//! table in the dump. Paths are strings from a stranger: [`SearchPaths::open`] opens regular files alone, and below
//! the sysroot nothing outside of it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::image::{Backing, BuildId, Image, Module, ModuleRole, ModuleSegmentKind, Refusal, SearchPaths};
use crate::task::Diagnostic;

use super::elf::{ElfFile, Section, SectionKind, unpack_xz};
use super::memory;
use super::table::{RawSymbols, SectionSpan, Strings, SymbolTable, TableBuilder, loaded_sections, section_at};

/// MiniDebugInfo may unpack to this many bytes; it holds the names of functions alone.
const MOST_UNPACKED_BYTES: u64 = 256 << 20;
/// Further symbols of one module are not read.
const MOST_SYMBOL_BYTES: u64 = 4 << 30;
/// The kernel's own module has two pages; what claims to be it and is larger is not copied.
const MOST_VDSO_BYTES: u64 = 16 << 20;
/// A `.gnu_debuglink` name is a file name, never a path.
const LONGEST_LINK: usize = 255;
/// Where distributions put debug files.
const SYSTEM_DEBUG: &str = "/usr/lib/debug";

/// What kind of place symbols were found in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SourceKind {
    /// The module's own file, with all symbols (`.symtab`).
    OwnFile,
    /// The module's own file, stripped down to what the dynamic linker needs (`.dynsym`).
    OwnFileDynamic,
    /// A compressed table of functions inside the module's own file (`.gnu_debugdata`).
    MiniDebugInfo,
    /// A separate debug file.
    DebugFile,
    /// The dynamic linker's table, in the dump itself.
    Dump,
}

/// One place in which symbols of a module were found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SymbolSource {
    /// What kind of place.
    pub kind: SourceKind,
    /// The file; `None` for the dump.
    pub path: Option<PathBuf>,
    /// How many symbols it gave.
    pub symbols: usize,
}

/// All that is known of one module's symbols.
#[derive(Debug, Default)]
pub(super) struct ModuleSymbols {
    pub(super) table: SymbolTable,
    pub(super) sections: Vec<SectionSpan>,
    pub(super) sources: Vec<SymbolSource>,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// The file with debug information, kept for whoever reads it.
    pub(super) debug_file: Option<Arc<Backing>>,
}

struct Reader<'a> {
    image: &'a Image,
    module: &'a Module,
    search: &'a SearchPaths,
    room: &'a AtomicUsize,
    builder: TableBuilder,
    found: ModuleSymbols,
}

/// Reads the symbols of one module from wherever they are, at most `room` of them, which it takes off. Costs
/// O(symbols · log symbols).
pub(super) fn read_module(image: &Image, module: &Module, search: &SearchPaths, room: &AtomicUsize) -> ModuleSymbols {
    let mut reader =
        Reader { image, module, search, room, builder: TableBuilder::default(), found: ModuleSymbols::default() };
    reader.read();
    ModuleSymbols { table: reader.builder.build(), ..reader.found }
}

impl Reader<'_> {
    fn read(&mut self) {
        let mut link = None;
        let own = self.own_file();
        if let Some((bytes, path)) = &own {
            match ElfFile::parse(bytes.bytes()) {
                Some(file) if file.target == self.image.target() => {
                    self.found.sections = self.sections_of(&file);
                    link = file.debug_link().map(|(name, checksum)| (name.to_vec(), checksum));
                    self.read_own(&file, bytes, path.as_deref());
                }
                _ => {}
            }
        }
        let has_all = self.found.sources.iter().any(|source| source.kind == SourceKind::OwnFile);
        if !has_all || self.found.debug_file.is_none() {
            let own_path = own.as_ref().and_then(|(_, path)| path.clone());
            if let Some((bytes, path)) = self.find_debug_file(own_path.as_deref(), link) {
                self.read_debug_file(bytes, path, has_all);
            }
        }
        if self.found.sources.is_empty() {
            self.read_memory();
        }
        if self.found.sections.is_empty() {
            self.found.sections = self.sections_of_segments();
        }
    }

    /// The module's own file, with its path: for the vdso, which has no file, its copy in the dump.
    fn own_file(&mut self) -> Option<(Arc<Backing>, Option<PathBuf>)> {
        if self.module.role == ModuleRole::Vdso {
            // It is copied; the kernel's has a few pages.
            let span = Some(self.module.span).filter(|span| span.size_bytes() <= MOST_VDSO_BYTES)?;
            let bytes = self.image.space().bytes(span)?;
            return Some((Arc::new(Backing::memory(bytes.to_vec())), None));
        }
        if let Some(found) = &self.module.file.found {
            // The bytes that were held to the build id, not what the path may name by now.
            let bytes = self.image.space().backing(found.backing).clone();
            return Some((Arc::new(bytes), Some(found.path.clone())));
        }
        self.own_file_by_layout()
    }

    /// Without a build id in the dump, a file whose loaded segments are the module's, byte for byte of their headers.
    fn own_file_by_layout(&mut self) -> Option<(Arc<Backing>, Option<PathBuf>)> {
        let unknown = |refusal: &Refusal| *refusal == Refusal::ModuleBuildIdUnknown;
        let refused = self.module.file.refused.iter().filter(|(_, refusal)| unknown(refusal));
        let (path, bytes) = refused.take(4).find_map(|(path, _)| {
            let bytes = self.search.open(path).ok().and_then(|file| Backing::map_closed(file).ok())?;
            let file = ElfFile::parse(bytes.bytes())?;
            let loads: Vec<_> = self
                .module
                .segments(ModuleSegmentKind::Load)
                .map(|load| (load.offset, load.vaddr, load.filesz, load.memsz, load.flags))
                .collect();
            (!loads.is_empty() && file.build_id().is_empty() && file.loads == loads).then(|| (path.clone(), bytes))
        })?;
        self.found.diagnostics.push(Diagnostic {
            code: "symbols-without-build-id",
            at: path.display().to_string(),
            effect: "taken because its segments are laid out as the module's; if it is another build, names are wrong"
                .to_owned(),
        });
        Some((Arc::new(bytes), Some(path)))
    }

    fn read_own(&mut self, file: &ElfFile<'_>, bytes: &Arc<Backing>, path: Option<&Path>) {
        if has_debug_info(file) {
            self.found.debug_file = Some(Arc::clone(bytes));
        }
        let kinds =
            [(file.symbol_table(), SourceKind::OwnFile), (file.dynamic_symbol_table(), SourceKind::OwnFileDynamic)];
        let Some((table, kind)) = kinds.into_iter().find_map(|(table, kind)| Some((table?, kind))) else { return };
        let symbols = self.add(file, table, bytes);
        let kind = if path.is_none() { SourceKind::Dump } else { kind };
        self.found.sources.push(SymbolSource { kind, path: path.map(Path::to_path_buf), symbols });
        if kind == SourceKind::OwnFileDynamic {
            self.read_mini_debug_info(file, path);
        }
    }

    fn read_mini_debug_info(&mut self, file: &ElfFile<'_>, path: Option<&Path>) {
        let Some(packed) = file.find_section(b".gnu_debugdata").and_then(|section| file.raw_section(section)) else {
            return;
        };
        let inner = unpack_xz(packed, MOST_UNPACKED_BYTES).map(|bytes| Arc::new(Backing::memory(bytes)));
        let parsed = inner.as_ref().and_then(|bytes| ElfFile::parse(bytes.bytes()));
        match (&inner, &parsed) {
            (Some(bytes), Some(inside)) if inside.target == self.image.target() => {
                let Some(table) = inside.symbol_table() else { return };
                let symbols = self.add(inside, table, bytes);
                let path = path.map(Path::to_path_buf);
                self.found.sources.push(SymbolSource { kind: SourceKind::MiniDebugInfo, path, symbols });
            }
            _ => self.found.diagnostics.push(Diagnostic {
                code: "minidebuginfo-unreadable",
                at: path.map(|path| path.display().to_string()).unwrap_or_default(),
                effect: "its .gnu_debugdata does not unpack to an ELF file; some functions have no name".to_owned(),
            }),
        }
    }

    /// Adds the symbols of one table of a file; `bytes` are the file's.
    fn add(&mut self, file: &ElfFile<'_>, table: &Section, bytes: &Arc<Backing>) -> usize {
        let Some(entries) = file.raw_section(table).filter(|entries| entries.len() as u64 <= MOST_SYMBOL_BYTES) else {
            return 0;
        };
        let names = file.sections().get(table.link as usize).and_then(|strings| file.raw_section(strings));
        let Some(range) = names.and_then(|names| range_in(bytes.bytes(), names)) else { return 0 };
        if self.found.sections.is_empty() {
            self.found.sections = self.sections_of(file);
        }
        let adjust = self.adjust(file);
        let section_map: Vec<_> = file
            .sections()
            .iter()
            .map(|section| {
                let at = section_at(&self.found.sections, section.address.wrapping_add(adjust))?;
                (section.is_loaded() && file.section_kind(section) != SectionKind::Tls).then_some(at as u16)
            })
            .collect();
        let raw = RawSymbols { entries, target: file.target, machine: file.machine, adjust, section_map: &section_map };
        if !self.make_room(&raw) {
            return 0;
        }
        self.builder.add(&raw, Strings::File(Arc::clone(bytes), range), &self.found.sections)
    }

    /// Takes the symbols of a table off what may still be read; `false`, with a diagnostic, where that is too little.
    fn make_room(&mut self, raw: &RawSymbols<'_>) -> bool {
        let wanted = raw.len();
        let taken =
            self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| room.checked_sub(wanted)).is_ok();
        if !taken {
            self.found.diagnostics.push(Diagnostic {
                code: "symbols-left-out",
                at: String::from_utf8_lossy(&self.module.path).into_owned(),
                effect: format!(
                    "its {wanted} symbols were not read: the modules before it have used up what is kept of symbols"
                ),
            });
        }
        taken
    }

    /// What has to be added to a file's link-time addresses to get the module's: nonzero after prelinking.
    fn adjust(&self, file: &ElfFile<'_>) -> u64 {
        let module = self.module.segments(ModuleSegmentKind::Load).next().map(|load| load.vaddr & !0xfff);
        match (module, file.loads.first()) {
            (Some(module), Some(file)) => module.wrapping_sub(file.1 & !0xfff),
            _ => 0,
        }
    }

    fn sections_of(&self, file: &ElfFile<'_>) -> Vec<SectionSpan> {
        let adjust = self.adjust(file);
        let mut sections = loaded_sections(file);
        for section in &mut sections {
            let size = section.end - section.start;
            section.start = section.start.wrapping_add(adjust);
            section.end = section.start.saturating_add(size);
        }
        sections
    }

    /// The loaded segments as sections without names, where no file tells more.
    fn sections_of_segments(&self) -> Vec<SectionSpan> {
        let relro = self.module.segments(ModuleSegmentKind::Relro).next();
        let mut sections = Vec::new();
        for load in self.module.segments(ModuleSegmentKind::Load) {
            let end = load.vaddr.saturating_add(load.memsz);
            let mut add = |start: u64, end: u64, kind| {
                if start < end {
                    sections.push(SectionSpan { name: Vec::new(), start, end, kind });
                }
            };
            match load.flags & 3 {
                0 => add(load.vaddr, end, SectionKind::ReadOnly),
                2 | 3 => {
                    let relro_end = relro
                        .filter(|relro| (load.vaddr..end).contains(&relro.vaddr))
                        .map_or(load.vaddr, |relro| relro.vaddr.saturating_add(relro.memsz).min(end));
                    let data_end = load.vaddr.saturating_add(load.filesz).clamp(relro_end, end);
                    add(load.vaddr, relro_end, SectionKind::RelRo);
                    add(relro_end, data_end, SectionKind::Data);
                    add(data_end, end, SectionKind::Bss);
                }
                _ => add(load.vaddr, end, SectionKind::Text),
            }
        }
        sections.sort_by_key(|section| (section.start, section.end));
        sections
    }

    /// A separate debug file for this build.
    fn find_debug_file(&mut self, own: Option<&Path>, link: Option<(Vec<u8>, u32)>) -> Option<(Arc<Backing>, PathBuf)> {
        let roots: Vec<PathBuf> = self.debug_roots();
        if let Some(build_id) = &self.module.build_id {
            let hex = build_id.to_string();
            let (head, tail) = hex.split_at_checked(2)?;
            let inside = Path::new(".build-id").join(head).join(format!("{tail}.debug"));
            let places: Vec<_> = roots.iter().map(|root| root.join(&inside)).collect();
            for place in places {
                if let Some(bytes) = self.open_debug_file(&place, None) {
                    return Some((bytes, place));
                }
            }
        }
        for (place, checksum) in self.named_places(&roots, own, link) {
            if own.is_some_and(|own| own == place) {
                continue;
            }
            if let Some(bytes) = self.open_debug_file(&place, checksum) {
                return Some((bytes, place));
            }
        }
        None
    }

    /// Folders laid out as `/usr/lib/debug` is.
    fn debug_roots(&self) -> Vec<PathBuf> {
        let mut roots = self.search.symbol_dirs.clone();
        roots.extend(self.search.sysroot.as_ref().map(|root| root.join("usr/lib/debug")));
        roots.push(PathBuf::from(SYSTEM_DEBUG));
        roots
    }

    /// Places named after the module's debug link or after the module, with the checksum that the link demands.
    fn named_places(
        &self,
        roots: &[PathBuf],
        own: Option<&Path>,
        link: Option<(Vec<u8>, u32)>,
    ) -> Vec<(PathBuf, Option<u32>)> {
        let mut places = Vec::new();
        let is_plain = |name: &[u8]| {
            !name.is_empty() && name.len() <= LONGEST_LINK && !name.contains(&b'/') && name != b".." && name != b"."
        };
        if let Some((name, checksum)) = link.filter(|(name, _)| is_plain(name)) {
            let name = OsStr::from_bytes(&name);
            if let Some(folder) = own.and_then(Path::parent) {
                places.push((folder.join(name), Some(checksum)));
                places.push((folder.join(".debug").join(name), Some(checksum)));
                let real = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_path_buf());
                for root in roots {
                    let below = real.strip_prefix("/").unwrap_or(&real);
                    places.push((root.join(below).join(name), Some(checksum)));
                }
            }
            places.extend(self.search.symbol_dirs.iter().map(|folder| (folder.join(name), Some(checksum))));
        }
        // By name alone a file is taken only where its build id shows that it is the right one.
        let name = self.module.name();
        if is_plain(name) && self.module.build_id.is_some() {
            for folder in &self.search.symbol_dirs {
                places.push((folder.join(OsStr::from_bytes(&[name, b".debug"].concat())), None));
                places.push((folder.join(OsStr::from_bytes(name)), None));
            }
        }
        places
    }

    /// Opens a debug file and holds it to the module: the same build id, or where one of both has none, the checksum.
    fn open_debug_file(&mut self, place: &Path, checksum: Option<u32>) -> Option<Arc<Backing>> {
        let bytes = match self.search.open(place) {
            Ok(file) => Backing::map_closed(file).ok()?,
            Err(Refusal::Unreadable(_)) => return None,
            Err(refusal) => {
                let why = match refusal {
                    Refusal::NotRegular => "it is no regular file",
                    _ => "it is too large",
                };
                self.refuse(place, why.to_owned());
                return None;
            }
        };
        let Some(file) = ElfFile::parse(bytes.bytes()).filter(|file| file.target == self.image.target()) else {
            self.refuse(place, "it is no ELF file of the process's kind".to_owned());
            return None;
        };
        let ours = BuildId::new(file.build_id());
        match (&self.module.build_id, &ours) {
            (Some(wanted), Some(found)) if wanted == found => {}
            (Some(wanted), Some(found)) => {
                self.refuse(place, format!("its build id is {found}, the module's is {wanted}"));
                return None;
            }
            _ => match checksum {
                Some(wanted) => {
                    let found = crc32fast::hash(bytes.bytes());
                    if found != wanted {
                        self.refuse(place, format!("its checksum is {found:08x}, the debug link says {wanted:08x}"));
                        return None;
                    }
                }
                None => {
                    self.refuse(place, "it has no build id that would show it to be the module's".to_owned());
                    return None;
                }
            },
        }
        Some(Arc::new(bytes))
    }

    fn refuse(&mut self, place: &Path, why: String) {
        self.found.diagnostics.push(Diagnostic {
            code: "symbol-file-refused",
            at: place.display().to_string(),
            effect: format!("not used for {}: {why}", String::from_utf8_lossy(self.module.name())),
        });
    }

    fn read_debug_file(&mut self, bytes: Arc<Backing>, path: PathBuf, has_all: bool) {
        let Some(file) = ElfFile::parse(bytes.bytes()) else { return };
        if has_debug_info(&file) {
            self.found.debug_file = Some(Arc::clone(&bytes));
        }
        if let Some(table) = file.symbol_table().filter(|_| !has_all) {
            let symbols = self.add(&file, table, &bytes);
            self.found.sources.push(SymbolSource { kind: SourceKind::DebugFile, path: Some(path), symbols });
        }
    }

    fn read_memory(&mut self) {
        let Some(dynamic) = memory::read_dynamic_symbols(self.image, self.module) else { return };
        self.found.sections = self.sections_of_segments();
        let raw = RawSymbols {
            entries: &dynamic.entries,
            target: self.image.target(),
            machine: dynamic.machine,
            adjust: 0,
            section_map: &[],
        };
        if !self.make_room(&raw) {
            return;
        }
        let symbols = self.builder.add(&raw, Strings::Copied(dynamic.names), &self.found.sections);
        self.found.sources.push(SymbolSource { kind: SourceKind::Dump, path: None, symbols });
    }
}

fn has_debug_info(file: &ElfFile<'_>) -> bool {
    file.find_section(b".debug_info").is_some_and(|section| file.raw_section(section).is_some())
}

/// Where `part`, a slice of `whole`, lies in it.
fn range_in(whole: &[u8], part: &[u8]) -> Option<std::ops::Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let end = start.checked_add(part.len())?;
    (end <= whole.len()).then_some(start..end)
}
