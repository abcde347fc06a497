//! Bytes that come once, of which the first can be looked at beforehand.

use std::fmt;
use std::io::{self, BufRead, Read};

use super::Compression;

/// Bytes that are read once, from front to back.
pub struct Stream {
    inner: Box<dyn Read + Send>,
    /// What was read from `inner` and not yet handed out: `buffer[start..]`.
    buffer: Vec<u8>,
    start: usize,
    /// How much is read from `inner` at once; 0 where the reader's own buffer is filled directly.
    step: usize,
    /// Whether a reader asked for bytes and was told that there are none.
    ran_dry: bool,
    pub(in crate::image) compression: Option<Compression>,
    pub(in crate::image) reserved_bytes: u64,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("compression", &self.compression).finish_non_exhaustive()
    }
}

impl Stream {
    /// The most of its beginning that can be looked at: 4 MiB.
    pub const MAX_HEAD_BYTES: usize = 4 << 20;

    const STEP_BYTES: usize = 128 << 10;

    /// A stream over `inner`, which is read in large steps.
    pub(super) fn new(inner: impl Read + Send + 'static) -> Stream {
        let mut stream = Stream::unbuffered(inner);
        stream.step = Stream::STEP_BYTES;
        stream
    }

    /// A stream over `inner`, which has a buffer of its own.
    pub(super) fn unbuffered(inner: impl Read + Send + 'static) -> Stream {
        Stream {
            inner: Box::new(inner),
            buffer: Vec::new(),
            start: 0,
            step: 0,
            ran_dry: false,
            compression: None,
            reserved_bytes: 0,
        }
    }

    /// The next bytes, `count` of them where there are so many, at most [`Stream::MAX_HEAD_BYTES`]; they are read again
    /// afterwards.
    ///
    /// # Errors
    /// What the system or the decompressor says.
    pub fn head(&mut self, count: usize) -> io::Result<&[u8]> {
        let count = count.min(Stream::MAX_HEAD_BYTES);
        while self.unread().len() < count {
            if self.fill((count - self.unread().len()).max(self.step))? == 0 {
                break;
            }
        }
        let unread = self.unread();
        Ok(unread.get(..count).unwrap_or(unread))
    }

    /// Reads and forgets `count` bytes, or as many as there are.
    ///
    /// # Errors
    /// What the system or the decompressor says.
    pub fn skip(&mut self, count: u64) -> io::Result<()> {
        io::copy(&mut self.take(count), &mut io::sink()).map(drop)
    }

    /// Whether a reader asked for bytes and was told that there are none.
    pub(super) fn ran_dry(&self) -> bool {
        self.ran_dry
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Reads up to `most` bytes more into the buffer; returns how many there were.
    fn fill(&mut self, most: usize) -> io::Result<usize> {
        if self.unread().is_empty() {
            self.buffer.clear();
        } else {
            self.buffer.drain(..self.start);
        }
        self.start = 0;
        let filled = self.buffer.len();
        self.buffer.resize(filled + most, 0);
        let read = loop {
            match self.inner.read(self.buffer.get_mut(filled..).unwrap_or_default()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(filled + read.as_ref().copied().unwrap_or(0));
        read
    }
}

impl Read for Stream {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if self.unread().is_empty() && target.len() >= self.step {
            let read = self.inner.read(target)?;
            self.ran_dry |= read == 0 && !target.is_empty();
            return Ok(read);
        }
        let mut source = self.fill_buf()?;
        let read = source.read(target)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Stream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.unread().is_empty() {
            let read = self.fill(Stream::STEP_BYTES)?;
            self.ran_dry |= read == 0;
        }
        Ok(self.unread())
    }

    fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.buffer.len());
    }
}
