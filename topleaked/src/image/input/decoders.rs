//! One reader over each compressed form, to the last of its frames, members or streams.
//!
//! The decompressors stop at the end of a frame, and what follows is not their concern. Here it is: another frame,
//! padding that the format allows, or nothing. Anything else is damage, and so is an end within a frame.

use std::io::{self, BufRead, Read};
use std::num::NonZeroUsize;

use super::compression::{LZ4_LEGACY_MAGIC, LZ4_MAGIC, skippable_bytes};
use super::{Compression, InputError, Stream};

/// The least window that every Zstandard decoder has to support (RFC 8878, section 3.1.1.1.2) is 8 MiB; below 2^10 there
/// is none.
const ZSTD_WINDOW_LOGS: std::ops::RangeInclusive<u32> = 10..=31;

/// What a decompressor takes at most; `None` where the stream says.
pub(super) fn memory_bytes(compression: Compression) -> Option<u64> {
    match compression {
        // A dictionary or window of any size up to 4 GiB.
        Compression::Zstd | Compression::Xz => None,
        // Two blocks of 4 MiB, one of input, 64 KiB of history; or input and output of a legacy block of 8 MiB.
        Compression::Lz4 => Some(17 << 20),
        Compression::Gzip => Some(64 << 10),
        // 900,000 bytes of block, four bytes a position.
        Compression::Bzip2 => Some(4 << 20),
    }
}

/// A reader of the bytes that `stream` holds in compressed form. It takes some `memory_bytes` at most, and fails with an
/// [`InputError`] inside the [`io::Error`].
pub(super) fn open(
    stream: Stream,
    compression: Compression,
    memory_bytes: u64,
    threads: NonZeroUsize,
) -> io::Result<Box<dyn Read + Send>> {
    let means = Means { memory_bytes, threads: u32::try_from(threads.get()).unwrap_or(u32::MAX) };
    let reader: Box<dyn Read + Send> = match compression {
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(stream)?;
            let window = memory_bytes.checked_ilog2().unwrap_or(0);
            decoder.window_log_max(window.clamp(*ZSTD_WINDOW_LOGS.start(), *ZSTD_WINDOW_LOGS.end()))?;
            Box::new(decoder)
        }
        _ => Box::new(Members { compression, means, current: Current::Between(stream) }),
    };
    Ok(Box::new(Explained { reader, compression, memory_bytes }))
}

/// What a decompressor may use.
#[derive(Clone, Copy)]
struct Means {
    memory_bytes: u64,
    threads: u32,
}

/// Turns what a decompressor says into what it means for the dump.
struct Explained {
    reader: Box<dyn Read + Send>,
    compression: Compression,
    memory_bytes: u64,
}

impl Read for Explained {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        self.reader.read(target).map_err(|source| {
            let compression = self.compression;
            if source.raw_os_error().is_some() || source.kind() == io::ErrorKind::Interrupted {
                return source;
            }
            let error = if source.kind() == io::ErrorKind::UnexpectedEof {
                InputError::Truncated { compression }
            } else if is_about_memory(&source) {
                InputError::DecoderMemory { compression, given_bytes: self.memory_bytes }
            } else {
                InputError::Damaged { compression, source }
            };
            io::Error::new(io::ErrorKind::InvalidData, error)
        })
    }
}

fn is_about_memory(error: &io::Error) -> bool {
    use liblzma::stream::Error as Xz;
    let xz = error.get_ref().and_then(|inner| inner.downcast_ref::<Xz>());
    // The text is libzstd's own for `ZSTD_error_frameParameter_windowTooLarge`; its binding keeps no number.
    matches!(xz, Some(Xz::MemLimit | Xz::Mem)) || error.to_string().contains("requires too much memory")
}

/// A decompressor of one member, frame or stream, that gives back what it reads from.
trait Member: Read + Send {
    fn into_stream(self: Box<Self>) -> Stream;
}

enum Current {
    Between(Stream),
    Within(Box<dyn Member>),
    /// After the last, or after an error.
    Done,
}

/// All members of a stream, one after the other.
struct Members {
    compression: Compression,
    means: Means,
    current: Current,
}

impl Read for Members {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if target.is_empty() {
            return Ok(0);
        }
        loop {
            match std::mem::replace(&mut self.current, Current::Done) {
                Current::Within(mut member) => {
                    let read = member.read(target)?;
                    self.current = match read {
                        0 => Current::Between(member.into_stream()),
                        _ => Current::Within(member),
                    };
                    if read > 0 {
                        return Ok(read);
                    }
                }
                Current::Between(stream) => match next_member(stream, self.compression, self.means)? {
                    Some(member) => self.current = Current::Within(member),
                    None => return Ok(0),
                },
                Current::Done => return Ok(0),
            }
        }
    }
}

/// The member that begins where the stream stands, after padding; `None` at its end.
fn next_member(mut stream: Stream, compression: Compression, means: Means) -> io::Result<Option<Box<dyn Member>>> {
    match compression {
        Compression::Gzip => {
            skip_zeros(&mut stream)?;
            Ok(match stream.head(1)?.is_empty() {
                true => None,
                false => Some(Box::new(flate2::bufread::GzDecoder::new(stream))),
            })
        }
        Compression::Xz => {
            // The .xz format 1.0.4, section 2.2: stream padding is a multiple of four zero bytes.
            if skip_zeros(&mut stream)? % 4 != 0 {
                return Err(damage("padding between streams is no multiple of four bytes"));
            }
            if stream.head(1)?.is_empty() {
                return Ok(None);
            }
            let decoder = liblzma::stream::MtStreamBuilder::new()
                .threads(means.threads)
                .memlimit_threading(means.memory_bytes)
                .memlimit_stop(means.memory_bytes)
                .decoder()?;
            Ok(Some(Box::new(liblzma::bufread::XzDecoder::new_stream(stream, decoder))))
        }
        Compression::Bzip2 => Ok(match stream.head(1)?.is_empty() {
            true => None,
            false => Some(Box::new(bzip2::bufread::BzDecoder::new(stream))),
        }),
        Compression::Lz4 => next_lz4_frame(stream),
        Compression::Zstd => Err(damage("zstd reads its frames itself")),
    }
}

fn damage(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Skips zero bytes; returns how many there were.
fn skip_zeros(stream: &mut Stream) -> io::Result<u64> {
    let mut skipped = 0;
    loop {
        let bytes = stream.fill_buf()?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        if zeros == 0 {
            return Ok(skipped);
        }
        stream.consume(zeros);
        skipped += zeros as u64;
    }
}

impl Member for flate2::bufread::GzDecoder<Stream> {
    fn into_stream(self: Box<Self>) -> Stream {
        self.into_inner()
    }
}

impl Member for liblzma::bufread::XzDecoder<Stream> {
    fn into_stream(self: Box<Self>) -> Stream {
        self.into_inner()
    }
}

impl Member for bzip2::bufread::BzDecoder<Stream> {
    fn into_stream(self: Box<Self>) -> Stream {
        self.into_inner()
    }
}

fn next_lz4_frame(mut stream: Stream) -> io::Result<Option<Box<dyn Member>>> {
    loop {
        let head = stream.head(8)?;
        if head.is_empty() {
            return Ok(None);
        }
        if let Some(size) = skippable_bytes(head) {
            stream.skip(size - 1)?;
            // The last byte by itself: where it is missing, the frame ends early.
            stream.read_exact(&mut [0])?;
        } else if head.starts_with(&LZ4_MAGIC) {
            return Ok(Some(Box::new(Lz4Frame(lz4_flex::frame::FrameDecoder::new(stream)))));
        } else if head.starts_with(&LZ4_LEGACY_MAGIC) {
            stream.consume(LZ4_LEGACY_MAGIC.len());
            return Ok(Some(Box::new(Lz4Legacy { stream, packed: Vec::new(), block: Vec::new(), at: 0, last: false })));
        } else if head.len() < 4 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        } else {
            return Err(damage("no lz4 frame follows the last one"));
        }
    }
}

/// A frame of the LZ4 frame format 1.6. The decompressor takes the end of its input for the end of the frame; the end
/// mark makes the difference, after which it asks for nothing more.
struct Lz4Frame(lz4_flex::frame::FrameDecoder<Stream>);

impl Read for Lz4Frame {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(target)?;
        if read == 0 && self.0.get_ref().ran_dry() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(read)
    }
}

impl Member for Lz4Frame {
    fn into_stream(self: Box<Self>) -> Stream {
        self.0.into_inner()
    }
}

/// The legacy LZ4 format: blocks of 8 MiB (the last one shorter), each behind its packed size, up to the end of the
/// stream or the magic number of another frame. It has no end mark: where it is cut between blocks nobody can tell.
struct Lz4Legacy {
    stream: Stream,
    packed: Vec<u8>,
    block: Vec<u8>,
    at: usize,
    /// Whether the block is a short one, behind which none may come: else each five bytes of a hostile stream would ask for a
    /// clean block.
    last: bool,
}

impl Lz4Legacy {
    const BLOCK_BYTES: usize = 8 << 20;
    /// The most that a block of that size is packed to: LZ4's own bound for data that does not shrink.
    const PACKED_BYTES: usize = Lz4Legacy::BLOCK_BYTES + Lz4Legacy::BLOCK_BYTES / 255 + 16;

    /// Unpacks the next block; false where there is none.
    fn next_block(&mut self) -> io::Result<bool> {
        let head = self.stream.head(4)?;
        let Some(size) = head.first_chunk().copied() else {
            return if head.is_empty() { Ok(false) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        };
        if size == LZ4_MAGIC || size == LZ4_LEGACY_MAGIC || skippable_bytes(&[&size[..], &[0; 4]].concat()).is_some() {
            return Ok(false);
        }
        if self.last {
            return Err(damage("a block of fewer than 8 MiB is not the last one"));
        }
        let size = usize::try_from(u32::from_le_bytes(size)).unwrap_or(usize::MAX);
        if size > Lz4Legacy::PACKED_BYTES {
            return Err(damage("a block is larger than 8 MiB"));
        }
        self.stream.consume(4);
        self.packed.resize(size, 0);
        self.stream.read_exact(&mut self.packed)?;
        self.block.resize(Lz4Legacy::BLOCK_BYTES, 0);
        let unpacked = lz4_flex::block::decompress_into(&self.packed, &mut self.block)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.block.truncate(unpacked);
        self.at = 0;
        self.last = unpacked < Lz4Legacy::BLOCK_BYTES;
        Ok(true)
    }
}

impl Read for Lz4Legacy {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.block.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let mut rest = self.block.get(self.at..).unwrap_or_default();
        let read = rest.read(target)?;
        self.at += read;
        Ok(read)
    }
}

impl Member for Lz4Legacy {
    fn into_stream(self: Box<Self>) -> Stream {
        self.stream
    }
}
