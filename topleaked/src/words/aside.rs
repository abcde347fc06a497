//! Words that are set aside while others are counted.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::source::{Parts, Place, Sink};
use super::spill::Spill;
use super::{Error, Extent};

/// Words that may have to be counted later: in memory while they are few, else in a temporary file.
pub(super) struct Aside {
    most_bytes: u64,
    held: Mutex<Held>,
    peak_bytes: AtomicU64,
}

struct Held {
    chunks: Vec<Vec<u8>>,
    bytes: u64,
    spill: Option<Spill>,
}

impl Aside {
    /// Holds up to `most_bytes` in memory.
    pub(super) fn new(most_bytes: u64) -> Aside {
        let held = Held { chunks: Vec::new(), bytes: 0, spill: None };
        Aside { most_bytes, held: Mutex::new(held), peak_bytes: AtomicU64::new(0) }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Takes whole words.
    pub(super) fn take(&self, words: &[u8]) -> Result<(), Error> {
        if words.is_empty() {
            return Ok(());
        }
        let mut held = self.held();
        let held = &mut *held;
        if held.spill.is_none() && held.bytes + words.len() as u64 > self.most_bytes {
            let mut spill = Spill::create()?;
            // Each is freed as soon as it is written.
            std::mem::take(&mut held.chunks).into_iter().try_for_each(|chunk| spill.append(&chunk))?;
            held.bytes = 0;
            held.spill = Some(spill);
        }
        match &mut held.spill {
            Some(spill) => spill.append(words)?,
            None => {
                held.bytes += words.len() as u64;
                held.chunks.push(words.to_vec());
                self.peak_bytes.fetch_max(held.bytes, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        let held = self.held();
        held.chunks.is_empty() && held.spill.is_none()
    }

    /// What is in memory.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.held().bytes
    }

    /// The most that ever was in memory.
    pub(super) fn peak_bytes(&self) -> u64 {
        self.peak_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn spilled_bytes(&self) -> u64 {
        self.held().spill.as_ref().map_or(0, Spill::size_bytes)
    }

    pub(super) fn with_parts<T>(&self, work: impl FnOnce(Parts<'_>) -> T) -> T {
        let held = self.held();
        match &held.spill {
            Some(spill) => {
                work(Parts::Extents(&[Extent { file: spill.file(), offset: 0, size_bytes: spill.size_bytes() }]))
            }
            None => {
                let slices: Vec<&[u8]> = held.chunks.iter().map(Vec::as_slice).collect();
                work(Parts::Slices(&slices))
            }
        }
    }
}

/// Sets aside every word that it is given, of 8 bytes.
pub(super) struct Gather<'a> {
    aside: &'a Aside,
    words: Vec<u8>,
    most_bytes: usize,
}

impl<'a> Gather<'a> {
    /// Hands over some `most_bytes` at once.
    pub(super) fn new(aside: &'a Aside, most_bytes: usize) -> Gather<'a> {
        Gather { aside, words: Vec::new(), most_bytes }
    }

    /// Hands over the rest.
    pub(super) fn finish(self) -> Result<(), Error> {
        self.aside.take(&self.words)
    }
}

impl Sink for Gather<'_> {
    fn words(&mut self, _: Place, bytes: &[u8]) -> Result<(), Error> {
        if self.words.len() + bytes.len() > self.most_bytes {
            self.aside.take(&self.words)?;
            self.words.clear();
        }
        self.words.extend_from_slice(bytes);
        Ok(())
    }

    fn zeros(&mut self, _: Place, count: u64) -> Result<(), Error> {
        (0..count).for_each(|_| self.words.extend_from_slice(&[0; 8]));
        Ok(())
    }
}
