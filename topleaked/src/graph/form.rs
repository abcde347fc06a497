//! Words in bulk: one type for each width and byte order, chosen once for a scan and not asked for each word.

use crate::addr::{ByteOrder, Target, Width};

/// How a scan reads words.
pub(crate) trait Form: Copy + Send + Sync + 'static {
    /// Bytes of a word.
    const WIDTH: usize;

    /// The word that the first [`Form::WIDTH`] bytes are; 0 where they are too few.
    fn read(bytes: &[u8]) -> u64;
}

macro_rules! form {
    ($name:ident, $doc:literal, $raw:ty, $from:ident) => {
        #[doc = $doc]
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name;

        impl Form for $name {
            const WIDTH: usize = size_of::<$raw>();

            #[inline(always)]
            fn read(bytes: &[u8]) -> u64 {
                bytes.first_chunk().map_or(0, |raw| u64::from(<$raw>::$from(*raw)))
            }
        }
    };
}

form!(Little8, "8-byte words, the least significant byte first.", u64, from_le_bytes);
form!(Big8, "8-byte words, the most significant byte first.", u64, from_be_bytes);
form!(Little4, "4-byte words, the least significant byte first.", u32, from_le_bytes);
form!(Big4, "4-byte words, the most significant byte first.", u32, from_be_bytes);

/// Work that is compiled once for each form.
pub(crate) trait FormVisitor {
    /// What comes out.
    type Output;

    /// Does it.
    fn visit<F: Form>(self) -> Self::Output;
}

/// Does `visitor`'s work with the form of `target`.
pub(crate) fn with_form<V: FormVisitor>(target: Target, visitor: V) -> V::Output {
    match (target.width, target.order) {
        (Width::W8, ByteOrder::Little) => visitor.visit::<Little8>(),
        (Width::W8, ByteOrder::Big) => visitor.visit::<Big8>(),
        (Width::W4, ByteOrder::Little) => visitor.visit::<Little4>(),
        (Width::W4, ByteOrder::Big) => visitor.visit::<Big4>(),
    }
}

/// The aligned words of `bytes`, which begin at a word's border: the offset of each, and the word.
#[inline(always)]
pub(crate) fn words<F: Form>(bytes: &[u8]) -> impl Iterator<Item = (usize, u64)> + '_ {
    bytes.chunks_exact(F::WIDTH).enumerate().map(|(at, raw)| (at * F::WIDTH, F::read(raw)))
}
