//! Holding a dump that comes as a stream: in memory where it is small, else in a temporary file.
//!
//! An image is read in any order, so all of a compressed dump has to be held. The temporary file has no name: it goes when
//! the process ends, however that ends. Pages of zeros, of which dumps are full, take no room in it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use crate::task::{Diagnostic, Task};

use super::elf::{self, Header};
use super::input::{InputError, Stream};
use super::{Backing, ImageError};

const STEP_BYTES: usize = 1 << 20;
const PAGE_BYTES: usize = 4096;
/// The first bytes in which all headers of a dump are looked for.
const HEAD_BYTES: usize = 4 << 20;

/// A dump that was held.
pub(super) struct Held {
    pub(super) backing: Backing,
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// Reads the stream to its end, or as far as its own headers say it goes.
///
/// # Errors
/// [`ImageError`] where it is no dump, there is no room for it, or nothing of it can be read.
pub(super) fn hold(mut stream: Stream, name: &str, task: &Task) -> Result<Held, ImageError> {
    let unreadable = |source| ImageError::Unpack { name: name.to_owned(), source };
    let mut head_error = None;
    let head = match stream.head(HEAD_BYTES) {
        Ok(head) => head,
        // What came before the damage is still in the stream, and judged below; the reason is told but once.
        Err(error) => {
            head_error = Some(error);
            &[]
        }
    };
    if head.len() >= elf::MAGIC.len() && !head.starts_with(elf::MAGIC) {
        return Err(ImageError::NotACore);
    }
    let most = promised_bytes(head);
    let in_memory = task.memory_budget_bytes.saturating_sub(stream.reserved_bytes) / 2;
    let compression = stream.compression;
    let mut store = Store::Memory(Vec::new());
    let mut diagnostics = Vec::new();
    let mut buffer = vec![0; STEP_BYTES];
    let mut size = 0u64;
    task.progress.start("unpacking", if most == u64::MAX { 0 } else { most });
    while size < most {
        let want = usize::try_from(most - size).unwrap_or(usize::MAX).min(STEP_BYTES);
        let read = match fill(&mut stream, buffer.get_mut(..want).unwrap_or_default()) {
            (read, None) => read,
            (read, Some(error)) => {
                let error = head_error.take().unwrap_or(error);
                let cut = error.get_ref().and_then(|inner| inner.downcast_ref::<InputError>());
                let damaged = matches!(cut, Some(InputError::Truncated { .. } | InputError::Damaged { .. }));
                if !damaged || size + read as u64 == 0 {
                    return Err(unreadable(error));
                }
                diagnostics.push(Diagnostic {
                    code: "compressed-stream-cut",
                    at: name.to_owned(),
                    effect: format!("{error}; what came before that is used"),
                });
                store.push(size, buffer.get(..read).unwrap_or_default(), in_memory).map_err(unreadable)?;
                size += read as u64;
                break;
            }
        };
        if read == 0 {
            break;
        }
        store.push(size, buffer.get(..read).unwrap_or_default(), in_memory).map_err(unreadable)?;
        size += read as u64;
        task.progress.advance(read as u64);
        if task.progress.is_cancelled() {
            return Err(unreadable(io::ErrorKind::Interrupted.into()));
        }
    }
    let backing = match store {
        Store::Memory(bytes) => Backing::memory(bytes),
        Store::Disk(file) => {
            file.set_len(size).map_err(unreadable)?;
            let what = compression.map_or_else(|| "piped".to_owned(), |compression| compression.to_string());
            diagnostics.push(Diagnostic {
                code: "unpacked-to-disk",
                at: name.to_owned(),
                effect: format!(
                    "the {what} dump is held in a temporary file of {size} bytes in {} for this run; unpack it \
                     once, or allow more memory, to avoid that",
                    std::env::temp_dir().display()
                ),
            });
            Backing::map(file).map_err(unreadable)?
        }
    };
    Ok(Held { backing, diagnostics })
}

/// Fills as much of `buffer` as there is; with the error that ended it early.
fn fill(stream: &mut Stream, buffer: &mut [u8]) -> (usize, Option<io::Error>) {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (filled, Some(error)),
        }
    }
    (filled, None)
}

/// Where a dump ends by its own headers, so that what goes on behind that is never unpacked; `u64::MAX` where the
/// first bytes do not tell.
fn promised_bytes(head: &[u8]) -> u64 {
    let Some(header) = Header::parse(head) else { return u64::MAX };
    let count = header.program_header_count(head);
    let mut read = 0;
    let ends = header.program_headers(head, count.count).map(|part| {
        read += 1;
        part.offset.saturating_add(part.filesz)
    });
    let end = ends.max().unwrap_or(u64::MAX);
    if count.guessed || read < count.count || end < head.len() as u64 { u64::MAX } else { end }
}

enum Store {
    Memory(Vec<u8>),
    Disk(File),
}

impl Store {
    /// Adds `bytes` at `at`, the end so far; moves to disk where memory may not take them.
    fn push(&mut self, at: u64, bytes: &[u8], in_memory: u64) -> io::Result<()> {
        if let Store::Memory(held) = self {
            let fits = at.saturating_add(bytes.len() as u64) <= in_memory && held.try_reserve(bytes.len()).is_ok();
            if fits {
                held.extend_from_slice(bytes);
                return Ok(());
            }
            let file = tempfile::tempfile()?;
            write_sparse(&file, 0, held)?;
            *self = Store::Disk(file);
        }
        match self {
            Store::Disk(file) => write_sparse(file, at, bytes),
            Store::Memory(_) => Ok(()),
        }
    }
}

/// Writes what is not zero.
fn write_sparse(file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
    let mut start = 0;
    let mut pages = bytes.chunks(PAGE_BYTES).enumerate().peekable();
    while let Some((index, page)) = pages.next() {
        let zero = page.iter().all(|byte| *byte == 0);
        let end = index * PAGE_BYTES + page.len();
        if zero {
            start = end;
            continue;
        }
        let next_is_zero = pages.peek().is_none_or(|(_, next)| next.iter().all(|byte| *byte == 0));
        if next_is_zero {
            file.write_all_at(bytes.get(start..end).unwrap_or_default(), at + start as u64)?;
            start = end;
        }
    }
    Ok(())
}
