//! What a dump says about one process: its memory, modules and threads.
//!
//! Knows how any input becomes an [`Image`]. Refuses to know heaps, types and
//! what a word means. Memory is read by virtual address through [`AddressSpace`].
//!
//! ```no_run
//! use std::path::Path;
//! use topleaked::image::{Image, OpenOptions};
//! use topleaked::task::Task;
//!
//! let image = Image::open(Path::new("core"), &OpenOptions::default(), &Task::default())?;
//! for thread in image.threads() {
//!     let module = thread.pc.and_then(|pc| image.module_at(pc));
//!     println!("{} in {:?}", thread.tid, module.map(|(_, module)| module.name()));
//! }
//! # Ok::<(), topleaked::image::ImageError>(())
//! ```

mod arguments;
mod backing;
mod elf;
mod elf_core;
mod elf_header;
mod files;
#[cfg(test)]
mod hostile;
mod input;
mod layout;
mod machine;
mod module;
mod modules;
mod notes;
mod process;
mod region;
mod space;
mod stacks;
mod thread;
mod unpack;

use std::io;
use std::path::{Path, PathBuf};

use crate::addr::{Addr, Target};
use crate::task::{Diagnostic, Task};

pub use backing::{Backing, BackingId};
pub use elf_header::{core_head_bytes, core_target, word_alignment};
pub use files::{Evidence, FileSearch, FoundFile, MAX_FILE_BYTES, Refusal, SearchPaths, open_regular};
pub use input::{Compression, Input, InputError, RegularFile, Stream};
pub use machine::{Machine, Registers};
pub use module::{BuildId, LinkerRecord, Module, ModuleId, ModuleRole, ModuleSegment, ModuleSegmentKind};
pub use notes::MappedFile;
pub use process::{AuxiliaryVector, Process, Signal};
pub use region::{MemoryKind, Region};
pub use space::{AddressSpace, Content, MissingReason, Permissions, Segment, SegmentError};
pub use thread::{Thread, ThreadId};

/// How an image is opened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OpenOptions {
    /// Where the files of modules are looked for.
    pub search: SearchPaths,
}

/// Why an input did not become an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It cannot be opened.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The file cannot be mapped.
    #[error("cannot map {}: {source}", path.display())]
    Map {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A dump that comes compressed or through a pipe cannot be held.
    #[error("cannot unpack {name} (large dumps go to the folder that TMPDIR names): {source}")]
    Unpack {
        /// The input.
        name: String,
        /// What the system or the decompressor says.
        source: io::Error,
    },
    /// It does not start as an ELF file does.
    #[error("not a core dump: it does not start as an ELF file; `topleaked FILE` counts the words of any file")]
    NotACore,
    /// Its ELF header is cut off or contradicts itself.
    #[error("not a core dump: its ELF header is cut off or damaged")]
    BrokenHeader,
    /// It is a program or a library.
    #[error("not a core dump but a program or a library; give it with --exe, and the dump as the file")]
    NotADump,
    /// It is another kind of ELF file, by its `e_type`.
    #[error("not a core dump but an ELF file of type {0}")]
    OtherElf(u16),
}

/// What a dump says about one process.
#[derive(Debug)]
pub struct Image {
    machine: Machine,
    space: AddressSpace,
    modules: Vec<Module>,
    /// Spans of memory and the module they belong to, by address.
    module_memory: Vec<(crate::addr::Span, ModuleId)>,
    /// The dynamic linker's own records of modules, by address.
    linker_records: Vec<LinkerRecord>,
    threads: Vec<Thread>,
    process: Process,
    auxv: AuxiliaryVector,
    mapped_files: Vec<MappedFile>,
    regions: Vec<Region>,
    diagnostics: Vec<Diagnostic>,
    file_bytes: u64,
    expected_bytes: u64,
}

impl Image {
    /// Opens a dump.
    ///
    /// # Errors
    /// [`ImageError`] where the file cannot be read or is no dump. A damaged or truncated dump is no error:
    /// the image holds what is there, and [`Image::diagnostics`] says what is not.
    pub fn open(path: &Path, options: &OpenOptions, task: &Task) -> Result<Image, ImageError> {
        Image::from_input(Input::open(path, task)?, path, options, task)
    }

    /// Builds an image from an input that `path` names for people. A stream is held whole: in memory where half of the
    /// budget has room for it, else in a temporary file, which a diagnostic then tells.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn from_input(input: Input, path: &Path, options: &OpenOptions, task: &Task) -> Result<Image, ImageError> {
        let (backing, diagnostics) = match input {
            Input::File(regular) => {
                let mapped = Backing::map(regular.file);
                (mapped.map_err(|source| ImageError::Map { path: path.into(), source })?, Vec::new())
            }
            Input::Stream(stream) => {
                let held = unpack::hold(stream, &path.display().to_string(), task)?;
                (held.backing, held.diagnostics)
            }
        };
        let mut image = elf_core::load(backing, &options.search)?;
        image.diagnostics.splice(..0, diagnostics);
        Ok(image)
    }

    /// Builds an image from a dump in memory.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn from_bytes(dump: Vec<u8>, options: &OpenOptions) -> Result<Image, ImageError> {
        elf_core::load(Backing::memory(dump), &options.search)
    }

    fn empty(machine: Machine, space: AddressSpace) -> Image {
        Image {
            machine,
            space,
            modules: Vec::new(),
            module_memory: Vec::new(),
            linker_records: Vec::new(),
            threads: Vec::new(),
            process: Process::default(),
            auxv: AuxiliaryVector::default(),
            mapped_files: Vec::new(),
            regions: Vec::new(),
            diagnostics: Vec::new(),
            file_bytes: 0,
            expected_bytes: 0,
        }
    }

    /// The instruction set of the process.
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// How the process laid out its words.
    pub fn target(&self) -> Target {
        self.space.target()
    }

    /// The process's memory.
    pub fn space(&self) -> &AddressSpace {
        &self.space
    }

    /// The modules, by base address; [`ModuleId`] is the index.
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// The module with this id.
    pub fn module(&self, id: ModuleId) -> Option<&Module> {
        self.modules.get(id.0 as usize)
    }

    /// The module whose memory `addr` is in. O(log modules).
    pub fn module_at(&self, addr: Addr) -> Option<(ModuleId, &Module)> {
        let at = self.module_memory.partition_point(|(span, _)| span.end() <= addr);
        let (_, id) = self.module_memory.get(at).filter(|(span, _)| span.contains(addr))?;
        self.module(*id).map(|module| (*id, module))
    }

    /// The program itself, where the dump tells which module that is.
    pub fn executable(&self) -> Option<(ModuleId, &Module)> {
        let at = self.modules.iter().position(|module| module.role == ModuleRole::Executable)?;
        Some((ModuleId(u32::try_from(at).ok()?), self.modules.get(at)?))
    }

    /// The threads, the one that died first; [`ThreadId`] is the index.
    pub fn threads(&self) -> &[Thread] {
        &self.threads
    }

    /// Who the process was, and why it died.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// What the kernel told the program at its start; empty where the dump does not have it.
    pub fn auxv(&self) -> &AuxiliaryVector {
        &self.auxv
    }

    /// The mapped files as the dump lists them, by address; empty where it has no list.
    pub fn mapped_files(&self) -> &[MappedFile] {
        &self.mapped_files
    }

    /// All memory of the process by kind: by address, without overlap.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The kind of memory that `addr` is in. O(log regions).
    pub fn region(&self, addr: Addr) -> Option<&Region> {
        let at = self.regions.partition_point(|region| region.span.end() <= addr);
        self.regions.get(at).filter(|region| region.span.contains(addr))
    }

    /// The regions from the one that holds `addr`, or the first above it, on.
    pub fn regions_from(&self, addr: Addr) -> &[Region] {
        let at = self.regions.partition_point(|region| region.span.end() <= addr);
        self.regions.get(at..).unwrap_or_default()
    }

    /// The dynamic linker's own record (`struct link_map`) that holds `addr`. O(log records).
    pub fn linker_record(&self, addr: Addr) -> Option<&LinkerRecord> {
        let after = self.linker_records.partition_point(|record| record.span.start() <= addr);
        after.checked_sub(1).and_then(|at| self.linker_records.get(at)).filter(|record| record.span.contains(addr))
    }

    /// What weakens the answers from this image.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// The size of the dump in bytes, unpacked.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The size in bytes that the dump would have if it were whole.
    pub fn expected_bytes(&self) -> u64 {
        self.expected_bytes
    }

    /// Whether the dump ends before what its own headers promise.
    pub fn truncated(&self) -> bool {
        self.file_bytes < self.expected_bytes
    }
}
