//! A temporary file for what does not fit in memory.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use crate::task::Task;

use super::source::read_full;
use super::{Error, Extent, Parts};

/// A file that has no name from the start, so that nothing is left behind however the process ends.
pub(super) struct Spill {
    file: File,
    size_bytes: u64,
    /// What was written since the free space was looked at.
    unchecked_bytes: u64,
}

/// So many bytes at once are written, or left out where all are zero.
const HOLE_BYTES: usize = 64 << 10;
/// The free space is looked at each time that so much was written.
const CHECKED_BYTES: u64 = 16 << 20;
/// So much of the disk is left to others; of a small one a sixteenth.
const RESERVE_BYTES: u64 = 256 << 20;

fn error(size_bytes: u64, source: io::Error) -> Error {
    Error::Spill { size_bytes, folder: std::env::temp_dir().display().to_string(), source }
}

impl Spill {
    pub(super) fn create() -> Result<Spill, Error> {
        let file = unnamed().map_err(|source| error(0, source))?;
        Ok(Spill { file, size_bytes: 0, unchecked_bytes: 0 })
    }

    /// Adds bytes at the end. Runs of zeros take no room.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let start = self.size_bytes;
        let failed = |source| error(start, source);
        let end = start + bytes.len() as u64;
        self.leave_room(bytes.len() as u64).map_err(failed)?;
        let (mut at, mut written) = (start, start);
        for piece in bytes.chunks(HOLE_BYTES) {
            // A file reads as zeros where nothing was written.
            if piece.iter().any(|byte| *byte != 0) {
                self.file.write_all_at(piece, at).map_err(failed)?;
                written = at + piece.len() as u64;
            }
            at += piece.len() as u64;
        }
        if written < end {
            self.file.set_len(end).map_err(failed)?;
        }
        self.size_bytes = end;
        Ok(())
    }

    /// Fails where the disk would be nearly full: what unpacks to terabytes must not stop the machine's other programs.
    fn leave_room(&mut self, bytes: u64) -> io::Result<()> {
        self.unchecked_bytes += bytes;
        if self.unchecked_bytes >= CHECKED_BYTES {
            let disk = rustix::fs::fstatvfs(&self.file)?;
            let (all, free) =
                (disk.f_blocks.saturating_mul(disk.f_frsize), disk.f_bavail.saturating_mul(disk.f_frsize));
            if free < self.unchecked_bytes + RESERVE_BYTES.min(all / 16) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.unchecked_bytes = 0;
        }
        Ok(())
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

/// A file without a name in the folder for temporary files.
fn unnamed() -> io::Result<File> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    let folder = std::env::temp_dir();
    let owner = Mode::RUSR | Mode::WUSR;
    if let Ok(file) = openat(CWD, &folder, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, owner) {
        return Ok(File::from(file));
    }
    // File systems without O_TMPFILE: a name that lives for a moment.
    for attempt in 0..100u32 {
        let path = folder.join(format!("topleaked-{}-{attempt}", std::process::id()));
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match openat(CWD, &path, flags, owner) {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(File::from(file));
            }
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::from(io::ErrorKind::AlreadyExists))
}

/// All of a stream, so that it can be read again: in memory while it is short, else in a file.
pub(super) enum Spooled {
    Memory(Vec<u8>),
    File(Spill),
}

impl Spooled {
    /// Reads to the end; a quarter of the budget is what it holds in memory.
    pub(super) fn read(stream: &mut dyn Read, piece_bytes: usize, task: &Task) -> Result<Spooled, Error> {
        let most = usize::try_from(task.memory_budget_bytes / 4).unwrap_or(usize::MAX);
        let mut spooled = Spooled::Memory(Vec::new());
        let mut buffer = vec![0; piece_bytes];
        let mut offset = 0;
        task.progress.start("reading", 0);
        loop {
            if task.progress.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let filled = read_full(stream, &mut buffer).map_err(|source| Error::Read { offset, source })?;
            let bytes = buffer.get(..filled).unwrap_or_default();
            offset += filled as u64;
            task.progress.advance(filled as u64);
            match &mut spooled {
                Spooled::Memory(head) if head.len() + filled <= most => {
                    // Doubling would take three times the size for a moment.
                    if head.capacity() < head.len() + filled {
                        head.reserve_exact((head.len() / 2).clamp(filled, most - head.len()));
                    }
                    head.extend_from_slice(bytes);
                }
                Spooled::Memory(head) => {
                    let mut file = Spill::create()?;
                    file.append(head)?;
                    file.append(bytes)?;
                    spooled = Spooled::File(file);
                }
                Spooled::File(file) => file.append(bytes)?,
            }
            if filled < buffer.len() {
                return Ok(spooled);
            }
        }
    }

    pub(super) fn with_parts<T>(&self, work: impl FnOnce(Parts<'_>) -> T) -> T {
        match self {
            Spooled::Memory(bytes) => work(Parts::Slices(&[bytes])),
            Spooled::File(spill) => {
                work(Parts::Extents(&[Extent { file: spill.file(), offset: 0, size_bytes: spill.size_bytes() }]))
            }
        }
    }

    /// What it holds in memory.
    pub(super) fn memory_bytes(&self) -> u64 {
        match self {
            Spooled::Memory(bytes) => bytes.capacity() as u64,
            Spooled::File(_) => 0,
        }
    }

    pub(super) fn spilled_bytes(&self) -> u64 {
        match self {
            Spooled::Memory(_) => 0,
            Spooled::File(spill) => spill.size_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_spill_has_no_name_and_keeps_what_it_is_given() {
        let mut spill = Spill::create().unwrap();
        spill.append(b"first ").unwrap();
        spill.append(b"second").unwrap();
        let mut back = [0; 12];
        spill.file().read_exact_at(&mut back, 0).unwrap();
        assert_eq!((&back, spill.size_bytes()), (b"first second", 12));
        assert_eq!(spill.file().metadata().unwrap().nlink(), 0);
    }

    #[test]
    fn pages_of_zeros_take_no_room() {
        let mut spill = Spill::create().unwrap();
        let mut whole = Vec::new();
        for (size, byte) in [(5, 1), (8 << 20, 0), (4096, 2), (100, 0), (3, 3), (8 << 20, 0)] {
            let piece = vec![byte; size];
            spill.append(&piece).unwrap();
            whole.extend(piece);
        }
        assert_eq!(spill.size_bytes(), whole.len() as u64);
        assert_eq!(spill.file().metadata().unwrap().len(), whole.len() as u64);
        let mut back = vec![9; whole.len()];
        spill.file().read_exact_at(&mut back, 0).unwrap();
        assert!(back == whole);
        assert!(spill.file().metadata().unwrap().blocks() * 512 < 1 << 20);
    }
}
