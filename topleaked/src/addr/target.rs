/// How many bytes a pointer of the process has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Width {
    /// 4 bytes: a 32-bit process.
    W4,
    /// 8 bytes: a 64-bit process.
    W8,
}

impl Width {
    /// The width in bytes: 4 or 8.
    pub const fn bytes(self) -> usize {
        match self {
            Width::W4 => 4,
            Width::W8 => 8,
        }
    }

    /// The largest word of this width.
    pub const fn max_word(self) -> u64 {
        match self {
            Width::W4 => u32::MAX as u64,
            Width::W8 => u64::MAX,
        }
    }
}

/// In which order the bytes of a word lie.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ByteOrder {
    /// The least significant byte first.
    Little,
    /// The most significant byte first.
    Big,
}

/// How the process in the dump laid out its words; it need not be how this machine does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Target {
    /// The size of a pointer.
    pub width: Width,
    /// The order of bytes in a word.
    pub order: ByteOrder,
}

impl Target {
    /// The target of most dumps: 8-byte little-endian words. The classic form takes every file so.
    pub const LITTLE_8: Target = Target { width: Width::W8, order: ByteOrder::Little };

    /// The word at the start of `bytes`, zero-extended, or `None` where they are too few.
    pub fn word(self, bytes: &[u8]) -> Option<u64> {
        match self.width {
            Width::W4 => self.u32(bytes).map(u64::from),
            Width::W8 => self.u64(bytes),
        }
    }

    /// The 2-byte integer at the start of `bytes`, or `None` where they are too few.
    pub fn u16(self, bytes: &[u8]) -> Option<u16> {
        let raw = *bytes.first_chunk()?;
        Some(match self.order {
            ByteOrder::Little => u16::from_le_bytes(raw),
            ByteOrder::Big => u16::from_be_bytes(raw),
        })
    }

    /// The 4-byte integer at the start of `bytes`, or `None` where they are too few.
    pub fn u32(self, bytes: &[u8]) -> Option<u32> {
        let raw = *bytes.first_chunk()?;
        Some(match self.order {
            ByteOrder::Little => u32::from_le_bytes(raw),
            ByteOrder::Big => u32::from_be_bytes(raw),
        })
    }

    /// The 8-byte integer at the start of `bytes`, or `None` where they are too few.
    pub fn u64(self, bytes: &[u8]) -> Option<u64> {
        let raw = *bytes.first_chunk()?;
        Some(match self.order {
            ByteOrder::Little => u64::from_le_bytes(raw),
            ByteOrder::Big => u64::from_be_bytes(raw),
        })
    }

    /// The integer of `width` bytes at the start of `bytes`, zero-extended. `None` where they are too few, or the width is not
    /// 1, 2, 4 or 8.
    #[inline]
    pub fn number(self, bytes: &[u8], width: u64) -> Option<u64> {
        match width {
            1 => bytes.first().map(|byte| u64::from(*byte)),
            2 => self.u16(bytes).map(u64::from),
            4 => self.u32(bytes).map(u64::from),
            8 => self.u64(bytes),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_by_width_and_order() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        let read = |width, order| Target { width, order }.word(&bytes);
        assert_eq!(read(Width::W8, ByteOrder::Little), Some(0x0807_0605_0403_0201));
        assert_eq!(read(Width::W8, ByteOrder::Big), Some(0x0102_0304_0506_0708));
        assert_eq!(read(Width::W4, ByteOrder::Little), Some(0x0403_0201));
        assert_eq!(read(Width::W4, ByteOrder::Big), Some(0x0102_0304));
        assert_eq!(Target::LITTLE_8.word(&bytes[..7]), None);
    }

    #[test]
    fn a_number_is_read_by_its_own_width() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        let read = |order, width| Target { width: Width::W4, order }.number(&bytes, width);
        let little = [(1, 1), (2, 0x0201), (4, 0x0403_0201), (8, 0x0807_0605_0403_0201)];
        let big = [(1, 1), (2, 0x0102), (4, 0x0102_0304), (8, 0x0102_0304_0506_0708)];
        for (order, numbers) in [(ByteOrder::Little, little), (ByteOrder::Big, big)] {
            for (width, number) in numbers {
                assert_eq!(read(order, width), Some(number), "{order:?} {width}");
            }
            assert_eq!((read(order, 0), read(order, 3), read(order, 16)), (None, None, None));
        }
        assert_eq!(Target::LITTLE_8.number(&bytes[..3], 4), None);
    }
}
