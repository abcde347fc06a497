//! Names for addresses, from symbol files and from the dump itself.
//!
//! Knows where a module's symbols may lie (its own file, a debug file by build id or debug link, MiniDebugInfo, the
//! dynamic linker's table in the dump), which of several symbols names an address, and how names are demangled.
//! Refuses to know allocations, and what the bytes of an object mean.
//!
//! A module's symbols are read when the first question touches an address in it, and kept. A file of another build is
//! refused, with a [`Diagnostic`] that names both.
//!
//! ```no_run
//! use std::path::Path;
//! use topleaked::addr::Addr;
//! use topleaked::image::{Image, OpenOptions};
//! use topleaked::symbols::{SymbolOptions, Symbols};
//! use topleaked::task::Task;
//!
//! let image = Image::open(Path::new("core"), &OpenOptions::default(), &Task::default())?;
//! let symbols = Symbols::new(&image, SymbolOptions::default());
//! if let Some(hit) = symbols.find(Addr(0x5555_5555_5139)) {
//!     println!("{}+{}", hit.demangled(), hit.offset);
//! }
//! # Ok::<(), topleaked::image::ImageError>(())
//! ```

mod demangle;
mod elf;
mod memory;
mod sources;
mod table;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;

use crate::addr::Addr;
use crate::image::{Image, Module, ModuleId, SearchPaths};
use crate::task::Diagnostic;

pub use demangle::{demangle, demangle_type};
pub use elf::SectionKind;
use sources::{ModuleSymbols, read_module};
pub use sources::{SourceKind, SymbolSource};
pub use table::SymbolKind;
use table::section_at;

/// Where symbols are looked for; the same places as for the modules' own files.
pub type SymbolOptions = SearchPaths;

/// The symbols of all modules of an image.
#[derive(Debug)]
pub struct Symbols<'i> {
    image: &'i Image,
    options: SymbolOptions,
    modules: Vec<OnceLock<ModuleSymbols>>,
    /// How many more symbols may be read, over all modules.
    room: AtomicUsize,
}

/// Symbols are read up to this many over all modules, some 30 bytes each: a dump may name one large file for each of
/// thousands of modules. A browser with debug information has some two million.
const MOST_SYMBOLS: usize = 32 << 20;

/// The symbol that names an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SymbolHit<'s> {
    /// In which module.
    pub module: ModuleId,
    /// The name as the symbol table has it: bytes from a file or a dump, mangled, up to 64 KiB of it.
    pub name: &'s [u8],
    /// The run-time address that the symbol stands for.
    pub address: Addr,
    /// How far the address asked for lies behind it, in bytes.
    pub offset: u64,
    /// The size the symbol claims, in bytes; 0 where the table does not say.
    pub size: u64,
    /// What it names.
    pub kind: SymbolKind,
    /// The section of the address asked for; `None` where no file tells.
    pub section: Option<SectionHit<'s>>,
}

/// The section that holds an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SectionHit<'s> {
    /// `.data.rel.ro`; empty where only the program headers are known.
    pub name: &'s [u8],
    /// What it holds.
    pub kind: SectionKind,
}

impl<'s> SymbolHit<'s> {
    /// The name as the programmer wrote it; see [`demangle`].
    pub fn demangled(&self) -> Cow<'s, str> {
        demangle(self.name)
    }
}

impl<'i> Symbols<'i> {
    /// Prepares to look for symbols; reads nothing yet.
    pub fn new(image: &'i Image, options: SymbolOptions) -> Symbols<'i> {
        let modules = image.modules().iter().map(|_| OnceLock::new()).collect();
        Symbols { image, options, modules, room: AtomicUsize::new(MOST_SYMBOLS) }
    }

    /// The image whose addresses are named.
    pub fn image(&self) -> &'i Image {
        self.image
    }

    fn module(&self, id: ModuleId) -> Option<(&'i Module, &ModuleSymbols)> {
        let module = self.image.modules().get(id.0 as usize)?;
        let slot = self.modules.get(id.0 as usize)?;
        Some((module, slot.get_or_init(|| read_module(self.image, module, &self.options, &self.room))))
    }

    /// The symbol that names `addr`: the one gdb's `info symbol` would name. `None` where the address is in no
    /// module, or no symbol reaches it. The first question about a module reads its symbols; after that O(log symbols).
    pub fn find(&self, addr: Addr) -> Option<SymbolHit<'_>> {
        let (id, _) = self.image.module_at(addr)?;
        let (module, symbols) = self.module(id)?;
        let index = symbols.table.find(module.link_time(addr), &symbols.sections)?;
        Some(self.hit(id, module, symbols, index, addr))
    }

    /// All symbols at exactly `addr`, the one that [`Symbols::find`] prefers last. Empty where there is none.
    pub fn find_all(&self, addr: Addr) -> Vec<SymbolHit<'_>> {
        let found = self.image.module_at(addr).and_then(|(id, _)| Some((id, self.module(id)?)));
        let Some((id, (module, symbols))) = found else { return Vec::new() };
        let range = symbols.table.find_all(module.link_time(addr));
        range.map(|index| self.hit(id, module, symbols, index, addr)).collect()
    }

    /// All symbols with exactly this raw name: in one module, or in all, by module and address.
    /// Reads the symbols of each module asked, and costs O(symbols).
    pub fn find_by_name(&self, module: Option<ModuleId>, name: &[u8]) -> Vec<SymbolHit<'_>> {
        let ids = match module {
            Some(id) => id.0..id.0.saturating_add(1),
            None => 0..u32::try_from(self.modules.len()).unwrap_or(u32::MAX),
        };
        let mut hits = Vec::new();
        for id in ids.map(ModuleId) {
            let Some((module, symbols)) = self.module(id) else { continue };
            for index in symbols.table.find_name(name) {
                let addr = module.runtime(symbols.table.address(index));
                hits.push(self.hit(id, module, symbols, index, addr));
            }
        }
        hits
    }

    /// The symbols of a module whose raw name begins so, by address, at most `most` of them. Costs O(symbols).
    pub fn find_by_prefix(&self, module: ModuleId, prefix: &[u8], most: usize) -> Vec<SymbolHit<'_>> {
        let Some((loaded, symbols)) = self.module(module) else { return Vec::new() };
        let found = symbols.table.find_prefix(prefix).take(most);
        found
            .map(|index| self.hit(module, loaded, symbols, index, loaded.runtime(symbols.table.address(index))))
            .collect()
    }

    fn hit<'s>(
        &self,
        id: ModuleId,
        module: &Module,
        symbols: &'s ModuleSymbols,
        index: usize,
        addr: Addr,
    ) -> SymbolHit<'s> {
        let address = module.runtime(symbols.table.address(index));
        SymbolHit {
            module: id,
            name: symbols.table.name(index),
            address,
            offset: addr.0.wrapping_sub(address.0),
            size: symbols.table.size(index),
            kind: symbols.table.kind(index),
            section: section_hit(module, symbols, addr),
        }
    }

    /// The section that holds `addr`, whether a symbol names it or not. `None` outside of modules, and where
    /// neither a file nor program headers tell.
    pub fn section(&self, addr: Addr) -> Option<SectionHit<'_>> {
        let (id, _) = self.image.module_at(addr)?;
        let (module, symbols) = self.module(id)?;
        section_hit(module, symbols, addr)
    }

    /// Where the symbols of a module were found; empty where they were not. Reads them if no question has yet.
    pub fn sources(&self, module: ModuleId) -> &[SymbolSource] {
        self.module(module).map_or(&[], |(_, symbols)| &symbols.sources)
    }

    /// How many symbols a module has. Reads them if no question has yet.
    pub fn count(&self, module: ModuleId) -> usize {
        self.module(module).map_or(0, |(_, symbols)| symbols.table.len())
    }

    /// A section with debug information (`.debug_info`), unpacked where it is compressed, from whichever of the module's
    /// files has it. `None` where none has, or it is larger than `most_bytes`.
    pub fn debug_section(&self, module: ModuleId, name: &str, most_bytes: u64) -> Option<Cow<'_, [u8]>> {
        let (_, symbols) = self.module(module)?;
        let file = elf::ElfFile::parse(symbols.debug_file.as_ref()?.bytes())?;
        file.section_data(file.find_section(name.as_bytes())?, most_bytes)
    }

    /// What went wrong with the modules read so far, by module.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        self.modules.iter().filter_map(OnceLock::get).flat_map(|symbols| symbols.diagnostics.iter().cloned()).collect()
    }
}

fn section_hit<'s>(module: &Module, symbols: &'s ModuleSymbols, addr: Addr) -> Option<SectionHit<'s>> {
    let section = symbols.sections.get(section_at(&symbols.sections, module.link_time(addr))?)?;
    Some(SectionHit { name: &section.name, kind: section.kind })
}
