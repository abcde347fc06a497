//! Just enough of an ELF core's headers to tell where its words lie in the file.
//!
//! A word that is aligned in memory need not be in the file: some writers put the memory behind notes of any length. Who
//! counts words by file offset has to know.
//!
//! Source: System V ABI, generic, chapter 4 (`Elf64_Ehdr`) and chapter 5 (`Elf64_Phdr`).

use crate::addr::{ByteOrder, Target, Width};

const ET_CORE: u16 = 4;
const PT_LOAD: u32 = 1;
/// Where fields lie; all sizes and offsets in bytes.
struct Layout {
    header: usize,
    phoff: usize,
    phentsize: usize,
    phnum: usize,
    entry: usize,
    p_offset: usize,
    p_vaddr: usize,
    p_filesz: usize,
}

const ELF32: Layout =
    Layout { header: 52, phoff: 28, phentsize: 42, phnum: 44, entry: 32, p_offset: 4, p_vaddr: 8, p_filesz: 16 };
const ELF64: Layout =
    Layout { header: 64, phoff: 32, phentsize: 54, phnum: 56, entry: 56, p_offset: 8, p_vaddr: 16, p_filesz: 32 };

/// The program headers of a core.
struct Segments {
    target: Target,
    layout: Layout,
    /// Offset of the table in the file.
    offset: usize,
    entry_bytes: usize,
    count: usize,
}

impl Segments {
    /// `None` where `head` is not the beginning of an ELF core.
    fn of(head: &[u8]) -> Option<Segments> {
        let [0x7f, b'E', b'L', b'F', class, data, ..] = *head else { return None };
        let (width, layout) = match class {
            1 => (Width::W4, ELF32),
            2 => (Width::W8, ELF64),
            _ => return None,
        };
        let order = match data {
            1 => ByteOrder::Little,
            2 => ByteOrder::Big,
            _ => return None,
        };
        let target = Target { width, order };
        let header = head.get(..layout.header)?;
        if target.u16(header.get(16..)?)? != ET_CORE {
            return None;
        }
        let offset = usize::try_from(target.word(header.get(layout.phoff..)?)?).ok()?;
        let entry_bytes = usize::from(target.u16(header.get(layout.phentsize..)?)?);
        let count = usize::from(target.u16(header.get(layout.phnum..)?)?);
        (entry_bytes >= layout.entry).then_some(Segments { target, layout, offset, entry_bytes, count })
    }
}

/// How many bytes from its beginning [`word_alignment`] wants of this ELF core, whose first 64 are enough to ask.
/// `None` where it is no ELF core.
pub fn core_head_bytes(head: &[u8]) -> Option<u64> {
    let segments = Segments::of(head)?;
    let table = segments.entry_bytes as u64 * segments.count as u64;
    (segments.offset as u64).checked_add(table)
}

/// What words the process of an ELF core has; `None` where `head` is no beginning of one.
pub fn core_target(head: &[u8]) -> Option<Target> {
    Segments::of(head).map(|segments| segments.target)
}

/// The place of aligned words in the file of an ELF core: the remainder of their file offsets by the
/// width of a word, 4 or 8. Where segments disagree, that of most bytes; where they tie, the smallest.
///
/// `None` where `head` is no beginning of an ELF core, or has no segment with bytes. Segments whose headers lie
/// outside of `head` have no say, nor have those past the 65,535th.
pub fn word_alignment(head: &[u8]) -> Option<(u64, Width)> {
    let segments = Segments::of(head)?;
    let Segments { target, layout, .. } = &segments;
    let width = target.width.bytes() as u64;
    let mut bytes_by_remainder = [0_u64; 8];
    for index in 0..segments.count {
        let Some(entry) = index
            .checked_mul(segments.entry_bytes)
            .and_then(|at| at.checked_add(segments.offset))
            .and_then(|at| head.get(at..))
        else {
            break;
        };
        let field = |at: usize| target.word(entry.get(at..)?);
        let (Some(kind), Some(offset), Some(addr), Some(size)) =
            (target.u32(entry), field(layout.p_offset), field(layout.p_vaddr), field(layout.p_filesz))
        else {
            break;
        };
        let remainder = usize::try_from(offset.wrapping_sub(addr) % width).unwrap_or(0);
        if let Some(sum) = bytes_by_remainder.get_mut(remainder)
            && kind == PT_LOAD
        {
            *sum = sum.saturating_add(size);
        }
    }
    let (remainder, bytes) = (0_u64..).zip(bytes_by_remainder).max_by_key(|(at, bytes)| (*bytes, u64::MAX - at))?;
    (bytes > 0).then_some((remainder, target.width))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF64 core of these segments: type, offset, address, size.
    fn core64(segments: &[(u32, u64, u64, u64)]) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(64, 0);
        bytes[16] = 4;
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56..58].copy_from_slice(&(segments.len() as u16).to_le_bytes());
        for (kind, offset, addr, size) in segments {
            bytes.extend(kind.to_le_bytes());
            bytes.extend([0; 4]);
            for field in [offset, addr, &0, size, size, &1] {
                bytes.extend(field.to_le_bytes());
            }
        }
        bytes
    }

    #[test]
    fn the_remainder_of_most_bytes_wins() {
        let notes = (4, 0x200, 0, 1 << 40);
        let core = core64(&[notes, (1, 0x1004, 0x4000, 10), (1, 0x2004, 0x8000, 20), (1, 0x3000, 0x9000, 29)]);
        assert_eq!(word_alignment(&core), Some((4, Width::W8)));
        assert_eq!(core_head_bytes(&core[..64]), Some(core.len() as u64));
    }

    #[test]
    fn a_segment_that_starts_within_a_word_counts_from_its_address() {
        assert_eq!(word_alignment(&core64(&[(1, 0x1003, 0x4003, 8)])), Some((0, Width::W8)));
        assert_eq!(word_alignment(&core64(&[(1, 0x1000, 0x4003, 8)])), Some((5, Width::W8)));
    }

    #[test]
    fn a_32_bit_big_endian_core_is_read_by_its_own_layout() {
        let mut core = b"\x7fELF\x01\x02\x01".to_vec();
        core.resize(52, 0);
        core[17] = 4;
        core[31] = 52;
        core[43] = 32;
        core[45] = 1;
        for field in [1_u32, 0x102, 0x8000, 0, 16, 16, 7, 1] {
            core.extend(field.to_be_bytes());
        }
        assert_eq!(word_alignment(&core), Some((2, Width::W4)));
        assert_eq!(core_target(&core), Some(Target { width: Width::W4, order: ByteOrder::Big }));
    }

    #[test]
    fn what_is_no_core_has_no_alignment() {
        let core = core64(&[(1, 0x1004, 0x4000, 8)]);
        let mut executable = core.clone();
        executable[16] = 2;
        assert_eq!(word_alignment(&executable), None);
        assert_eq!(word_alignment(b""), None);
        assert_eq!((core_target(&executable), core_target(b"")), (None, None));
        assert_eq!(word_alignment(&core64(&[])), None);
        for end in 0..core.len() {
            let _ = word_alignment(&core[..end]);
        }
        let mut lying = core;
        lying[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(word_alignment(&lying), None);
    }
}
