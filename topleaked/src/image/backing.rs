//! Where the bytes of segments lie: a mapped file, or bytes in memory.

use std::fs::File;
use std::io;
use std::sync::Arc;

/// Bytes that segments refer to by offset. A clone is another handle to the same bytes.
#[derive(Clone, Debug)]
pub struct Backing(Arc<Inner>);

#[derive(Debug)]
enum Inner {
    Mapped { file: Option<File>, map: memmap2::Mmap },
    Memory(Vec<u8>),
}

/// The index of a [`Backing`] in its [`AddressSpace`](super::AddressSpace).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BackingId(pub(super) u32);

impl Backing {
    /// Maps all of a regular file for reading.
    ///
    /// Where the file shrinks while it is mapped, reading past its new end raises
    /// SIGBUS; the binary turns that into a clear end. Code that reads a file once from
    /// front to back uses [`Backing::file`] and `pread` instead.
    ///
    /// # Errors
    /// What the system says of the mapping; an empty file gives an empty backing.
    pub fn map(file: File) -> io::Result<Backing> {
        Backing::map_and(file, Some)
    }

    /// Maps all of a regular file and closes it: a process may have more modules than open files are allowed.
    ///
    /// # Errors
    /// As [`Backing::map`].
    pub fn map_closed(file: File) -> io::Result<Backing> {
        Backing::map_and(file, |_| None)
    }

    fn map_and(file: File, keep: fn(File) -> Option<File>) -> io::Result<Backing> {
        if file.metadata()?.len() == 0 {
            return Ok(Backing::memory(Vec::new()));
        }
        // SAFETY: the mapping is private and read-only. That another process may change the file
        // under it is accepted: every value read from a dump is treated as hostile, whenever it is read.
        #[allow(unsafe_code)]
        let map = unsafe { memmap2::Mmap::map(&file)? };
        Ok(Backing(Arc::new(Inner::Mapped { file: keep(file), map })))
    }

    /// Takes bytes that are in memory already.
    pub fn memory(bytes: Vec<u8>) -> Backing {
        Backing(Arc::new(Inner::Memory(bytes)))
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        match &*self.0 {
            Inner::Mapped { map, .. } => map,
            Inner::Memory(bytes) => bytes,
        }
    }

    /// The file behind the bytes, where it was kept open; `None` also where they are in memory.
    pub fn file(&self) -> Option<&File> {
        match &*self.0 {
            Inner::Mapped { file, .. } => file.as_ref(),
            Inner::Memory(_) => None,
        }
    }
}
