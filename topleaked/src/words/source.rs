//! Where the words come from, and how all threads together walk over them.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::task::Task;

use super::Error;

/// What is counted. Each extent and each slice is a sequence of words of its own, from its first byte on.
pub enum Source<'a> {
    /// Parts of files, read with `pread` in small pieces: a file that shrinks gives an error, never a signal.
    Extents(&'a [Extent<'a>]),
    /// Bytes that are in memory or mapped.
    Slices(&'a [&'a [u8]]),
    /// Parts of files that are mapped while they are counted, which is faster. Where such a file shrinks meanwhile, the
    /// system sends SIGBUS: for programs that end on it in their own way.
    Mapped(&'a [Extent<'a>]),
    /// Bytes that can be read once, to the end: a pipe, a decompressor.
    Stream(&'a mut (dyn Read + Send)),
}

/// A part of a file. Holes in it are counted as zeros without being read; the file's cursor may move.
#[derive(Clone, Copy, Debug)]
pub struct Extent<'a> {
    /// The file; it must support `pread`.
    pub file: &'a File,
    /// Where the part starts, in bytes from the start of the file; any value.
    pub offset: u64,
    /// How many bytes it has. It ends inside the file as it is now.
    pub size_bytes: u64,
}

/// How much a worker takes at once; a multiple of every width.
pub(super) const UNIT_BYTES: u64 = 2 << 20;
/// How much is read at once where the budget allows: it stays in the second-level cache with the counters.
pub(super) const PIECE_BYTES: usize = 128 << 10;
/// The smallest piece that is worth a system call.
pub(super) const MIN_PIECE_BYTES: usize = 4 << 10;

/// A source that can be walked over again.
#[derive(Clone, Copy, Debug)]
pub enum Parts<'a> {
    /// Parts of files.
    Extents(&'a [Extent<'a>]),
    /// Bytes that are in memory or mapped.
    Slices(&'a [&'a [u8]]),
    /// Parts of files that are mapped while they are walked over; see [`Source::Mapped`].
    Mapped(&'a [Extent<'a>]),
}

impl Parts<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Parts::Extents(extents) | Parts::Mapped(extents) => extents.len(),
            Parts::Slices(slices) => slices.len(),
        }
    }

    pub(super) fn size_bytes(&self, part: usize) -> u64 {
        match self {
            Parts::Extents(extents) | Parts::Mapped(extents) => extents.get(part).map_or(0, |extent| extent.size_bytes),
            Parts::Slices(slices) => slices.get(part).map_or(0, |slice| slice.len() as u64),
        }
    }

    pub(super) fn total_bytes(&self) -> u64 {
        (0..self.len()).fold(0, |sum: u64, part| sum.saturating_add(self.size_bytes(part)))
    }

    /// Words in all, the leftover bytes of a part as one word where `tail_counts`.
    pub(super) fn total_words(&self, width: u64, tail_counts: bool) -> u64 {
        (0..self.len()).fold(0, |sum: u64, part| {
            let size = self.size_bytes(part);
            sum.saturating_add(if tail_counts { size.div_ceil(width) } else { size / width })
        })
    }

    /// The bytes of `part` from `offset` on, all of `buffer`.
    pub(super) fn read(&self, part: usize, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        match self {
            Parts::Extents(extents) | Parts::Mapped(extents) => {
                let extent = extents.get(part).ok_or(Error::Shrunk { offset })?;
                let at = extent.offset.checked_add(offset).ok_or(Error::Shrunk { offset })?;
                read_exact_at(extent.file, at, buffer)
            }
            Parts::Slices(slices) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let bytes = slices
                    .get(part)
                    .and_then(|slice| slice.get(start..)?.get(..buffer.len()))
                    .ok_or(Error::Shrunk { offset })?;
                buffer.copy_from_slice(bytes);
                Ok(())
            }
        }
    }
}

/// Fills `buffer` from `offset` of the file; a file that ends before is one that shrank.
pub(super) fn read_exact_at(file: &File, mut offset: u64, mut buffer: &mut [u8]) -> Result<(), Error> {
    while !buffer.is_empty() {
        match file.read_at(buffer, offset) {
            Ok(0) => return Err(Error::Shrunk { offset }),
            Ok(read) => {
                buffer = buffer.get_mut(read..).unwrap_or_default();
                offset = offset.saturating_add(read as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(Error::Read { offset, source }),
        }
    }
    Ok(())
}

/// Fills `buffer` from a stream as far as the stream goes.
pub(super) fn read_full(stream: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Where a run of words lies: the part, and the byte offset in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) part: usize,
    pub(super) offset: u64,
}

/// What a worker does with the words that it is given.
pub(super) trait Sink: Send {
    /// Whole words, at their place.
    fn words(&mut self, place: Place, bytes: &[u8]) -> Result<(), Error>;
    /// That many words of value 0 from `place` on that are not in the bytes: leftover bytes, or a hole.
    fn zeros(&mut self, place: Place, count: u64) -> Result<(), Error>;
}

/// One walk over all parts.
#[derive(Clone, Copy)]
pub(super) struct Walk<'a> {
    pub(super) parts: Parts<'a>,
    /// Bytes of a word.
    pub(super) width: u64,
    /// Whether 1 to 7 leftover bytes are a word of value 0.
    pub(super) tail_counts: bool,
    /// Whether holes come as [`Sink::zeros`]; else they are read.
    pub(super) skip_holes: bool,
    /// Bytes of each worker's buffer.
    pub(super) piece_bytes: usize,
    /// Looks at only one of so many units, at irregular distances; 1 for all.
    pub(super) every: u64,
}

impl Walk<'_> {
    /// Gives every word to one of the workers, each on a thread of its own.
    pub(super) fn run<S: Sink>(&self, task: &Task, sinks: &mut [S]) -> Result<(), Error> {
        self.run_all(task, sinks)?;
        if let Parts::Mapped(extents) = self.parts {
            // A file that lost only a part of its last page gives zeros there, and no signal.
            extents.iter().try_for_each(Mapping::check_size)?;
        }
        Ok(())
    }

    fn run_all<S: Sink>(&self, task: &Task, sinks: &mut [S]) -> Result<(), Error> {
        let mut first_units = Vec::with_capacity(self.parts.len() + 1);
        let mut units: u64 = 0;
        for part in 0..self.parts.len() {
            first_units.push(units);
            units = units.saturating_add(self.parts.size_bytes(part).div_ceil(UNIT_BYTES));
        }
        let maps = self.map()?;
        let cursor = AtomicU64::new(0);
        let failed = AtomicBool::new(false);
        let work = |sink: &mut S| -> Result<(), Error> {
            let mut buffer = match self.parts {
                Parts::Extents(_) => vec![0; self.piece_bytes],
                Parts::Mapped(_) | Parts::Slices(_) => Vec::new(),
            };
            loop {
                let unit = cursor.fetch_add(1, Ordering::Relaxed);
                if unit >= units || failed.load(Ordering::Relaxed) {
                    return Ok(());
                }
                if self.every > 1 && !super::table::mix(unit).is_multiple_of(self.every) {
                    continue;
                }
                if task.progress.is_cancelled() {
                    return Err(Error::Cancelled);
                }
                let part = first_units.partition_point(|first| *first <= unit).saturating_sub(1);
                let start = (unit - first_units.get(part).copied().unwrap_or(0)) * UNIT_BYTES;
                let end = self.parts.size_bytes(part).min(start + UNIT_BYTES);
                self.unit(part, start, end, &mut buffer, maps.get(part), sink)?;
                if self.every == 1 {
                    task.progress.advance(end - start);
                }
            }
        };
        let guarded = |sink: &mut S| work(sink).inspect_err(|_| failed.store(true, Ordering::Relaxed));
        match sinks {
            [] => Ok(()),
            [only] => work(only),
            [first, rest @ ..] => std::thread::scope(|scope| {
                let guarded = &guarded;
                let workers: Vec<_> = rest.iter_mut().map(|sink| scope.spawn(move || guarded(sink))).collect();
                let mut outcome = guarded(first);
                for worker in workers {
                    let result = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                    outcome = outcome.and(result);
                }
                outcome
            }),
        }
    }

    /// The extents as mappings, where the source is mapped.
    fn map(&self) -> Result<Vec<Mapping>, Error> {
        let Parts::Mapped(extents) = self.parts else { return Ok(Vec::new()) };
        extents.iter().map(Mapping::new).collect()
    }

    fn unit<S: Sink>(
        &self,
        part: usize,
        start: u64,
        end: u64,
        buffer: &mut [u8],
        map: Option<&Mapping>,
        sink: &mut S,
    ) -> Result<(), Error> {
        let whole = end - end % self.width;
        if end > whole && self.tail_counts {
            sink.zeros(Place { part, offset: whole }, 1)?;
        }
        if start >= whole {
            return Ok(());
        }
        match self.parts {
            Parts::Slices(slices) => {
                let bytes = slices.get(part).and_then(|slice| slice.get(start as usize..whole as usize));
                sink.words(Place { part, offset: start }, bytes.ok_or(Error::Shrunk { offset: start })?)
            }
            Parts::Extents(extents) | Parts::Mapped(extents) => {
                let Some(extent) = extents.get(part) else { return Ok(()) };
                let sparse = self.skip_holes && is_sparse(extent.file);
                let mut at = start;
                while at < whole {
                    let mut run_end = whole;
                    if sparse {
                        let (hole_end, data_end) = data_run(extent, at, whole)?;
                        // Only whole words of a hole are skipped.
                        let hole_end = hole_end - (hole_end - at) % self.width;
                        if hole_end > at {
                            sink.zeros(Place { part, offset: at }, (hole_end - at) / self.width)?;
                            at = hole_end;
                        }
                        run_end = data_end.next_multiple_of(self.width).clamp(at, whole);
                    }
                    if let Some(map) = map {
                        if at < run_end {
                            sink.words(Place { part, offset: at }, map.bytes(at, run_end)?)?;
                            map.release(at, run_end);
                        }
                        at = run_end;
                    }
                    while at < run_end {
                        let size = (run_end - at).min(buffer.len() as u64) as usize;
                        let Some(piece) = buffer.get_mut(..size) else { return Ok(()) };
                        let offset = extent.offset.checked_add(at).ok_or(Error::Shrunk { offset: at })?;
                        read_exact_at(extent.file, offset, piece)?;
                        sink.words(Place { part, offset: at }, piece)?;
                        at += size as u64;
                    }
                }
                Ok(())
            }
        }
    }
}

/// An extent in memory.
struct Mapping {
    map: Option<memmap2::Mmap>,
}

impl Mapping {
    fn new(extent: &Extent<'_>) -> Result<Mapping, Error> {
        Mapping::check_size(extent)?;
        let Some(size) = usize::try_from(extent.size_bytes).ok().filter(|size| *size > 0) else {
            return Ok(Mapping { map: None });
        };
        // SAFETY: "mapped by consent": only `Source::Mapped` leads here, whose caller answers for a file that shrinks;
        // the bytes are only read as numbers, any of which will do.
        #[allow(unsafe_code)]
        let map = unsafe { memmap2::MmapOptions::new().offset(extent.offset).len(size).map(extent.file) };
        let map = map.map_err(|source| Error::Read { offset: extent.offset, source })?;
        Ok(Mapping { map: Some(map) })
    }

    fn check_size(extent: &Extent<'_>) -> Result<(), Error> {
        let metadata = extent.file.metadata().map_err(|source| Error::Read { offset: extent.offset, source })?;
        // Nothing is asked of an extent without bytes, wherever it starts.
        let inside = extent.offset.checked_add(extent.size_bytes).is_some_and(|end| end <= metadata.len());
        if inside || extent.size_bytes == 0 { Ok(()) } else { Err(Error::Shrunk { offset: metadata.len() }) }
    }

    fn bytes(&self, start: u64, end: u64) -> Result<&[u8], Error> {
        let all = self.map.as_deref().unwrap_or_default();
        // All pages in one call, and not a fault for every few of them. Where the system does not know how, faults do.
        #[cfg(target_os = "linux")]
        if let (Some(map), true) = (&self.map, end <= all.len() as u64) {
            let _ = map.advise_range(memmap2::Advice::PopulateRead, start as usize, (end - start) as usize);
        }
        all.get(start as usize..end as usize).ok_or(Error::Shrunk { offset: start })
    }

    /// Lets go of pages that were walked over, so that the file does not count as this process's memory; what is
    /// needed again comes back from the page cache.
    fn release(&self, start: u64, end: u64) {
        #[cfg(target_os = "linux")]
        if let Some(map) = &self.map {
            let size = (end - start) as usize;
            // SAFETY: "backed by the file": a shared mapping that is only read; dropped pages read the same again.
            #[allow(unsafe_code)]
            let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start as usize, size) };
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (start, end);
    }
}

fn is_sparse(file: &File) -> bool {
    file.metadata().is_ok_and(|data| data.is_file() && data.blocks().saturating_mul(512) < data.len())
}

/// The next run of data at or after `at`: where the hole before it ends, and where the run ends; both at most `end`.
fn data_run(extent: &Extent<'_>, at: u64, end: u64) -> Result<(u64, u64), Error> {
    let inside = |absolute: u64| absolute.saturating_sub(extent.offset).clamp(at, end);
    let from = extent.offset.saturating_add(at);
    match seek(extent.file, SeekFrom::Data(from)) {
        Ok(data) => {
            let hole = seek(extent.file, SeekFrom::Hole(data)).unwrap_or(u64::MAX);
            Ok((inside(data), inside(hole)))
        }
        // No data from here on: a hole up to the end of the file, if the file still reaches that far.
        Err(Errno::NXIO) => {
            let size = extent.file.metadata().map_err(|source| Error::Read { offset: from, source })?.len();
            if size < extent.offset.saturating_add(end) {
                return Err(Error::Shrunk { offset: size });
            }
            Ok((end, end))
        }
        // The file system does not know its holes.
        Err(_) => Ok((at, end)),
    }
}
