//! One module: an executable, a library, the vdso.

use std::fmt;

use crate::addr::{Addr, Span};

use super::files::FileSearch;

/// The index of a [`Module`] in its image.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ModuleId(pub u32);

/// What a module is for the process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ModuleRole {
    /// The program itself.
    Executable,
    /// The dynamic linker.
    Interpreter,
    /// A shared library or a plugin.
    Library,
    /// The shared object that the kernel maps into every process; it has no file.
    Vdso,
}

/// What a program header describes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ModuleSegmentKind {
    /// `PT_LOAD`: memory of the module.
    Load,
    /// `PT_DYNAMIC`: what the dynamic linker reads.
    Dynamic,
    /// `PT_INTERP`: the dynamic linker's path.
    Interpreter,
    /// `PT_NOTE`.
    Note,
    /// `PT_PHDR`: the program headers themselves.
    ProgramHeaders,
    /// `PT_TLS`: the first state of the module's thread-local variables.
    Tls,
    /// `PT_GNU_EH_FRAME`: the index of unwind information.
    EhFrame,
    /// `PT_GNU_STACK`: the permissions of stacks; no memory.
    Stack,
    /// `PT_GNU_RELRO`: read-only once relocated.
    Relro,
    /// Another one, by its `p_type`.
    Other(u32),
}

impl ModuleSegmentKind {
    pub(super) fn from_elf(kind: u32) -> ModuleSegmentKind {
        match kind {
            1 => ModuleSegmentKind::Load,
            2 => ModuleSegmentKind::Dynamic,
            3 => ModuleSegmentKind::Interpreter,
            4 => ModuleSegmentKind::Note,
            6 => ModuleSegmentKind::ProgramHeaders,
            7 => ModuleSegmentKind::Tls,
            0x6474_e550 => ModuleSegmentKind::EhFrame,
            0x6474_e551 => ModuleSegmentKind::Stack,
            0x6474_e552 => ModuleSegmentKind::Relro,
            other => ModuleSegmentKind::Other(other),
        }
    }
}

/// One program header of a module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ModuleSegment {
    /// What it describes.
    pub kind: ModuleSegmentKind,
    /// The link-time address; [`Module::bias`] leads to the run-time one.
    pub vaddr: u64,
    /// Bytes in memory.
    pub memsz: u64,
    /// Bytes in the file; the rest of `memsz` is zero at the start.
    pub filesz: u64,
    /// Where in the file they begin.
    pub offset: u64,
    /// `p_align`.
    pub align: u64,
    /// Permissions: 4 read, 2 write, 1 execute.
    pub flags: u32,
}

/// The bytes by which a linker names one build of a module.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuildId(Vec<u8>);

impl BuildId {
    /// Build ids are 20 bytes (SHA-1), sometimes 8 or 16; 2 to 64 are taken, anything else is none.
    pub fn new(bytes: &[u8]) -> Option<BuildId> {
        (2..=64).contains(&bytes.len()).then(|| BuildId(bytes.to_vec()))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for BuildId {
    /// In lower-case hexadecimal, as `file` and `eu-unstrip` print it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The dynamic linker's own record of one module (`struct link_map`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkerRecord {
    /// Its memory: from its start as far as such a record reaches at most.
    pub span: Span,
    /// The module it is about; `None` where none was loaded there.
    pub module: Option<ModuleId>,
}

/// One module of the process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Module {
    /// Its path in the process's mount namespace; bytes of the dump, not to be trusted. `[vdso]` for the vdso.
    /// Empty where nothing names it.
    pub path: Vec<u8>,
    /// What it is for the process.
    pub role: ModuleRole,
    /// What has to be added, wrapping, to a link-time address to get the run-time one.
    pub bias: u64,
    /// From its first mapped byte to its last; other modules' memory may lie in holes of it.
    pub span: Span,
    /// Its build id: from the dump, never from a file that was only found.
    pub build_id: Option<BuildId>,
    /// Its program headers, in their order; empty where neither the dump nor a file has them.
    pub program_headers: Vec<ModuleSegment>,
    /// Its file on this machine, and what was tried to find it.
    pub file: FileSearch,
}

impl Module {
    /// Where it was loaded: the first address of [`Module::span`].
    pub fn base(&self) -> Addr {
        self.span.start()
    }

    /// The last part of its path.
    pub fn name(&self) -> &[u8] {
        self.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }

    /// The run-time address of a link-time address.
    pub fn runtime(&self, vaddr: u64) -> Addr {
        Addr(vaddr.wrapping_add(self.bias))
    }

    /// The link-time address of a run-time address, as symbol tables and debug information have it.
    pub fn link_time(&self, addr: Addr) -> u64 {
        addr.0.wrapping_sub(self.bias)
    }

    /// The program headers of one kind.
    pub fn segments(&self, kind: ModuleSegmentKind) -> impl Iterator<Item = &ModuleSegment> {
        self.program_headers.iter().filter(move |segment| segment.kind == kind)
    }

    /// The memory of a program header at run time, `memsz` bytes; `None` where it leaves the address space.
    pub fn segment_span(&self, segment: &ModuleSegment) -> Option<Span> {
        Span::with_size(self.runtime(segment.vaddr), segment.memsz)
    }
}
