//! The sections of one ELF file that hold debug information, in place or decompressed.
//!
//! After the System V ABI (compressed sections: `Elf64_Chdr`, zlib and zstd) and the older `.zdebug_*` form of GNU.

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use gimli::{EndianSlice, RunTimeEndian};
use object::read::{CompressionFormat, Object, ObjectSection};

use crate::image::Backing;

/// A slice of a section, read in the file's byte order.
pub(super) type Slice<'a> = EndianSlice<'a, RunTimeEndian>;

/// All decompressed sections of one file may take so many bytes.
const MOST_DECOMPRESSED_BYTES: u64 = 4 << 30;
/// A section that claims to be more than this many times as large as in the file is a bomb: DEFLATE reaches 1032, zstd
/// more, but on nothing that a compiler writes.
const MOST_RATIO: u64 = 8192;

/// The sections that are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Section {
    Info,
    Types,
    Abbrev,
    Str,
    LineStr,
    StrOffsets,
    Addr,
    CuIndex,
    TuIndex,
}

const SECTIONS: [(Section, &str); 9] = [
    (Section::Info, "info"),
    (Section::Types, "types"),
    (Section::Abbrev, "abbrev"),
    (Section::Str, "str"),
    (Section::LineStr, "line_str"),
    (Section::StrOffsets, "str_offsets"),
    (Section::Addr, "addr"),
    (Section::CuIndex, "cu_index"),
    (Section::TuIndex, "tu_index"),
];

/// Where a section's bytes are.
#[derive(Debug, Default)]
enum Place {
    #[default]
    Nowhere,
    InFile(Range<usize>),
    Decompressed(Vec<u8>),
}

/// The debug sections of one file.
#[derive(Debug)]
pub(super) struct Sections {
    file: Arc<Backing>,
    pub(super) order: RunTimeEndian,
    places: [Place; SECTIONS.len()],
}

/// Why the debug sections of a file cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum SectionError {
    #[error("is no ELF file: {0}")]
    NotElf(String),
    #[error("section {0} cannot be decompressed: {1}")]
    Compressed(&'static str, String),
}

/// What links one debug file to another.
#[derive(Clone, Debug, Default)]
pub(super) struct Links {
    /// The `dwz` file that holds what several files share: its path and build id.
    pub(super) alternate: Option<(Vec<u8>, Vec<u8>)>,
}

impl Sections {
    /// Finds the debug sections of an ELF file; with `split`, those of a `.dwo` or `.dwp` file.
    pub(super) fn read(file: Arc<Backing>, split: bool) -> Result<(Sections, Links), SectionError> {
        let bytes = file.bytes();
        let elf = object::File::parse(bytes).map_err(|error| SectionError::NotElf(error.to_string()))?;
        if elf.format() != object::BinaryFormat::Elf {
            return Err(SectionError::NotElf("another format".to_owned()));
        }
        let order = if elf.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
        let mut places = <[Place; SECTIONS.len()]>::default();
        let mut decompressed = 0u64;
        // One walk over the headers; what comes first wins, as in other readers.
        for section in elf.sections() {
            let Ok(name) = section.name_bytes() else { continue };
            let Some(at) = section_named(name, split) else { continue };
            let Some(place) = places.get_mut(at) else { continue };
            // A compiler gives each type unit of a split file a section of its own; they are put in a row.
            let more = !matches!(place, Place::Nowhere);
            let units = SECTIONS.get(at).is_some_and(|(kind, _)| matches!(kind, Section::Info | Section::Types));
            if more && !(split && units) {
                continue;
            }
            let name = SECTIONS.get(at).map_or("", |(_, name)| name);
            let refuse = |why: &str| SectionError::Compressed(name, why.to_owned());
            let Ok(range) = section.compressed_file_range() else { continue };
            let start = usize::try_from(range.offset).unwrap_or(usize::MAX);
            let size = usize::try_from(range.compressed_size).unwrap_or(usize::MAX);
            let Some(end) = start.checked_add(size).filter(|end| *end <= bytes.len()) else { continue };
            let found = if range.format == CompressionFormat::None {
                Place::InFile(start..end)
            } else {
                decompressed = decompressed.saturating_add(range.uncompressed_size);
                let allowed = range.compressed_size.saturating_mul(MOST_RATIO).saturating_add(1 << 16);
                if decompressed > MOST_DECOMPRESSED_BYTES || range.uncompressed_size > allowed {
                    return Err(refuse("it claims to be too large"));
                }
                let raw = bytes.get(start..end).unwrap_or_default();
                Place::Decompressed(decompress(raw, range.format, range.uncompressed_size).map_err(|e| refuse(&e))?)
            };
            if more {
                let mut joined = match std::mem::take(place) {
                    Place::Decompressed(bytes) => bytes,
                    Place::InFile(range) => bytes.get(range).unwrap_or_default().to_vec(),
                    Place::Nowhere => Vec::new(),
                };
                match &found {
                    Place::Decompressed(next) => joined.extend_from_slice(next),
                    Place::InFile(range) => joined.extend_from_slice(bytes.get(range.clone()).unwrap_or_default()),
                    Place::Nowhere => {}
                }
                // Sections may share bytes of the file: no more of them than the file is long, some times over.
                if joined.len() > bytes.len().saturating_mul(16) {
                    return Err(refuse("it claims to be too large"));
                }
                *place = Place::Decompressed(joined);
            } else {
                *place = found;
            }
        }
        let alternate = elf.gnu_debugaltlink().ok().flatten().map(|(path, id)| (path.to_vec(), id.to_vec()));
        Ok((Sections { file: file.clone(), order, places }, Links { alternate }))
    }

    /// Sections that are bytes in memory, by name: `.debug_info`, `.debug_abbrev`.
    pub(super) fn from_parts(parts: &[(&str, &[u8])], order: RunTimeEndian) -> Sections {
        let mut places = <[Place; SECTIONS.len()]>::default();
        for (name, bytes) in parts {
            if let Some(place) = section_named(name.as_bytes(), false).and_then(|at| places.get_mut(at)) {
                *place = Place::Decompressed(bytes.to_vec());
            }
        }
        Sections { file: Arc::new(Backing::memory(Vec::new())), order, places }
    }

    /// The bytes of a section; empty where the file has none.
    pub(super) fn bytes(&self, section: Section) -> &[u8] {
        match self.places.get(section as usize) {
            Some(Place::InFile(range)) => self.file.bytes().get(range.clone()).unwrap_or_default(),
            Some(Place::Decompressed(bytes)) => bytes,
            _ => &[],
        }
    }

    /// A reader of a section.
    pub(super) fn slice(&self, section: Section) -> Slice<'_> {
        EndianSlice::new(self.bytes(section), self.order)
    }

    /// Whether there is any description of types.
    pub(super) fn has_units(&self) -> bool {
        !self.bytes(Section::Info).is_empty() || !self.bytes(Section::Types).is_empty()
    }
}

fn section_named(name: &[u8], split: bool) -> Option<usize> {
    let rest = name.strip_prefix(b".debug_").or_else(|| name.strip_prefix(b".zdebug_"))?;
    // The index sections of a package have no suffix.
    let rest = match rest.strip_suffix(b".dwo") {
        Some(stem) if split => stem,
        None if !split || rest == b"cu_index" || rest == b"tu_index" => rest,
        _ => return None,
    };
    SECTIONS.iter().position(|(_, stem)| stem.as_bytes() == rest)
}

fn decompress(raw: &[u8], format: CompressionFormat, size: u64) -> Result<Vec<u8>, String> {
    // The claimed size is a stranger's: the buffer grows with what really comes out.
    let mut out = Vec::with_capacity(usize::try_from(size.min(64 << 20)).unwrap_or(0));
    let read = match format {
        CompressionFormat::Zlib => flate2::read::ZlibDecoder::new(raw).take(size).read_to_end(&mut out),
        CompressionFormat::Zstandard => {
            zstd::stream::read::Decoder::with_buffer(raw).and_then(|decoder| decoder.take(size).read_to_end(&mut out))
        }
        _ => return Err("an unknown method".to_owned()),
    };
    match read {
        Ok(_) if out.len() as u64 == size => Ok(out),
        Ok(_) => Err("it ends early".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
