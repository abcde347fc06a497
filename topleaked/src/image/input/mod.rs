//! Opening any input: a file, a pipe, or a compressed form of either.
//!
//! What an input is, its first bytes say, not its name. A plain regular file is handed out as a file, so that it can
//! be read in any order and by several threads; everything else is a [`Stream`] that is read once.
//!
//! A compressed stream that ends early or is damaged ends with an error ([`InputError`], inside the [`io::Error`]),
//! never like one that is complete.

mod ahead;
mod compression;
mod decoders;
mod stream;

use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::task::Task;

pub use compression::Compression;
pub use stream::Stream;

/// An input that was opened.
#[derive(Debug)]
pub enum Input {
    /// A regular file that is not compressed.
    File(RegularFile),
    /// Bytes that come once and in order: a pipe, a device, a decompressor.
    Stream(Stream),
}

/// A regular file.
#[derive(Debug)]
pub struct RegularFile {
    /// Open for reading; its cursor may stand anywhere.
    pub file: File,
    /// How many bytes it had when it was opened; more than none.
    pub size_bytes: u64,
}

/// Why an input cannot be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The system refused to open it.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// What was to be opened.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It cannot be read at its beginning.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// What the system or the decompressor said.
        source: io::Error,
    },
    /// It is a folder.
    #[error("{} is a folder, not a dump", path.display())]
    Folder {
        /// What was to be opened.
        path: PathBuf,
    },
    /// A compressed stream ends before its end mark.
    #[error("the {compression} stream ends early: the dump is truncated")]
    Truncated {
        /// How it is compressed.
        compression: Compression,
    },
    /// A compressed stream contradicts itself or its checksum.
    #[error("the {compression} stream is damaged: {source}")]
    Damaged {
        /// How it is compressed.
        compression: Compression,
        /// What the decompressor said.
        source: io::Error,
    },
    /// Unpacking takes more memory than is allowed.
    #[error(
        "the {compression} stream needs more memory to unpack than the {given_bytes} bytes it may have, \
         which is half of the memory budget: raise that"
    )]
    DecoderMemory {
        /// How it is compressed.
        compression: Compression,
        /// The most that the decompressor may take.
        given_bytes: u64,
    },
}

/// How far ahead of its reader a stream is read, at most.
const MAX_AHEAD_BYTES: u64 = 4 << 20;

impl Input {
    /// Opens what `path` names, whatever it is: a FIFO and a device are read as streams.
    ///
    /// Of the task's memory budget, what [`Input::reserved_bytes`] says is used by the input itself, and at most as many
    /// threads as the task has.
    ///
    /// # Errors
    /// [`InputError`] where it cannot be opened, or its first bytes cannot be read.
    pub fn open(path: &Path, task: &Task) -> Result<Input, InputError> {
        let file = File::open(path).map_err(|source| InputError::Open { path: path.into(), source })?;
        Input::from_file(file, path, task)
    }

    /// Opens the standard input; where that is a regular file, from where its cursor stands.
    ///
    /// # Errors
    /// As [`Input::open`].
    pub fn open_stdin(task: &Task) -> Result<Input, InputError> {
        let path = Path::new("standard input");
        let fd = io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .map_err(|source| InputError::Open { path: path.into(), source })?;
        Input::from_file(File::from(fd), path, task)
    }

    fn from_file(mut file: File, path: &Path, task: &Task) -> Result<Input, InputError> {
        let refused = |source| InputError::Read { path: path.into(), source };
        let metadata = file.metadata().map_err(refused)?;
        if metadata.is_dir() {
            return Err(InputError::Folder { path: path.into() });
        }
        if metadata.file_type().is_fifo() {
            // A larger pipe means fewer switches between the two processes; a smaller one works as well.
            let _ = rustix::pipe::fcntl_setpipe_size(&file, 1 << 20);
        }
        // Files of the kernel's own (`/proc/PID/maps`) say that they are empty and are not: a stream finds out.
        let size_bytes = metadata.len();
        let is_whole = metadata.is_file() && size_bytes > 0 && file.stream_position().is_ok_and(|at| at == 0);
        let copy = file.try_clone().map_err(refused)?;
        let mut stream = Stream::new(copy);
        match compression::detect(&mut stream).map_err(refused)? {
            Some(compression) => Ok(Input::Stream(unpack(stream, compression, task))),
            None if is_whole => Ok(Input::File(RegularFile { file, size_bytes })),
            None => Ok(Input::Stream(read_ahead(stream, task))),
        }
    }

    /// Takes what `reader` gives, compressed or not, as an input.
    ///
    /// # Errors
    /// What `reader` says when its first bytes are read.
    pub fn from_reader(reader: impl io::Read + Send + 'static, task: &Task) -> io::Result<Input> {
        let mut stream = Stream::new(reader);
        Ok(Input::Stream(match compression::detect(&mut stream)? {
            Some(compression) => unpack(stream, compression, task),
            None => read_ahead(stream, task),
        }))
    }

    /// The first bytes, `count` of them where there are so many, at most [`Stream::MAX_HEAD_BYTES`]. They are read again
    /// afterwards.
    ///
    /// # Errors
    /// What the system or the decompressor says.
    pub fn head(&mut self, count: usize) -> io::Result<Vec<u8>> {
        match self {
            Input::Stream(stream) => stream.head(count).map(<[u8]>::to_vec),
            Input::File(RegularFile { file, .. }) => {
                let mut bytes = vec![0; count.min(Stream::MAX_HEAD_BYTES)];
                let mut filled = 0;
                while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                    match std::os::unix::fs::FileExt::read_at(file, rest, filled as u64) {
                        Ok(0) => break,
                        Ok(read) => filled += read,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
                bytes.truncate(filled);
                Ok(bytes)
            }
        }
    }

    /// How the input is compressed, if it is.
    pub fn compression(&self) -> Option<Compression> {
        match self {
            Input::File(_) => None,
            Input::Stream(stream) => stream.compression,
        }
    }

    /// How many bytes of the memory budget the input keeps for its buffers and its decompressor; at most three quarters.
    pub fn reserved_bytes(&self) -> u64 {
        match self {
            Input::File(_) => 0,
            Input::Stream(stream) => stream.reserved_bytes,
        }
    }
}

/// Reads the stream in a thread of its own, so that waiting for it and working on it overlap.
fn read_ahead(stream: Stream, task: &Task) -> Stream {
    let ahead_bytes = ahead_bytes(task);
    let mut stream = Stream::unbuffered(ahead::Ahead::start(Ok(Box::new(stream)), ahead_bytes));
    stream.reserved_bytes = ahead_bytes;
    stream
}

fn unpack(stream: Stream, compression: Compression, task: &Task) -> Stream {
    let most = task.memory_budget_bytes / 2;
    let decoder_bytes = decoders::memory_bytes(compression).unwrap_or(most).min(most);
    let ahead_bytes = ahead_bytes(task);
    let decoder = decoders::open(stream, compression, decoder_bytes, task.threads);
    let mut stream = Stream::unbuffered(ahead::Ahead::start(decoder, ahead_bytes));
    stream.compression = Some(compression);
    stream.reserved_bytes = decoder_bytes.saturating_add(ahead_bytes);
    stream
}

fn ahead_bytes(task: &Task) -> u64 {
    (task.memory_budget_bytes / 4).min(MAX_AHEAD_BYTES)
}

#[cfg(test)]
mod tests;
