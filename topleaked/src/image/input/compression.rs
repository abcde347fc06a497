//! Which compression a stream has, by its first bytes.

use std::{fmt, io};

use super::Stream;

/// A compressed form in which dumps are found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Compression {
    /// Zstandard (RFC 8878): systemd-coredump since version 246, `zstd`.
    Zstd,
    /// LZ4 frames, also the legacy format of `lz4 -l`: systemd-coredump before that, `lz4`.
    Lz4,
    /// The .xz format 1.0.4: systemd-coredump's oldest, `xz`.
    Xz,
    /// gzip (RFC 1952): apport, `gzip`.
    Gzip,
    /// bzip2.
    Bzip2,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compression::Zstd => "zstd",
            Compression::Lz4 => "lz4",
            Compression::Xz => "xz",
            Compression::Gzip => "gzip",
            Compression::Bzip2 => "bzip2",
        })
    }
}

pub(super) const LZ4_MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
pub(super) const LZ4_LEGACY_MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const XZ_MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];

/// The size of a skippable frame, header included, where `head` begins with one. Zstandard and LZ4 share them; parallel
/// compressors put their tables there.
pub(super) fn skippable_bytes(head: &[u8]) -> Option<u64> {
    let [magic, 0x2a, 0x4d, 0x18] = *head.first_chunk()? else { return None };
    let size = u32::from_le_bytes(*head.get(4..)?.first_chunk()?);
    (magic & 0xf0 == 0x50).then_some(8 + u64::from(size))
}

/// Looks at the first bytes, and leaves them to be read.
pub(super) fn detect(stream: &mut Stream) -> io::Result<Option<Compression>> {
    // Skippable frames say nothing of what they belong to: the first other frame does.
    let mut at = 0;
    loop {
        let head = stream.head(at + 16)?.get(at..).unwrap_or_default();
        let Some(size) = skippable_bytes(head) else { return Ok(detect_frame(head)) };
        at = at.saturating_add(usize::try_from(size).unwrap_or(usize::MAX));
        if at > Stream::MAX_HEAD_BYTES - 16 {
            return Ok(None);
        }
    }
}

fn detect_frame(head: &[u8]) -> Option<Compression> {
    if head.starts_with(&ZSTD_MAGIC) {
        Some(Compression::Zstd)
    } else if head.starts_with(&LZ4_MAGIC) || head.starts_with(&LZ4_LEGACY_MAGIC) {
        Some(Compression::Lz4)
    } else if head.starts_with(&XZ_MAGIC) {
        Some(Compression::Xz)
    } else if is_gzip(head) {
        Some(Compression::Gzip)
    } else {
        is_bzip2(head).then_some(Compression::Bzip2)
    }
}

/// Three bytes of magic and method are few; the reserved flags are zero, too.
fn is_gzip(head: &[u8]) -> bool {
    matches!(head, [0x1f, 0x8b, 8, flags, ..] if flags & 0xe0 == 0)
}

/// `BZh`, the level, and the mark of a block or, where the stream holds nothing, of the end.
fn is_bzip2(head: &[u8]) -> bool {
    const BLOCK: &[u8] = &[0x31, 0x41, 0x59, 0x26, 0x53, 0x59];
    const END: &[u8] = &[0x17, 0x72, 0x45, 0x38, 0x50, 0x90];
    matches!(head, [b'B', b'Z', b'h', b'1'..=b'9', rest @ ..] if rest.starts_with(BLOCK) || rest.starts_with(END))
}
