//! `std::string` whose characters do not fit into it.
//!
//! libstdc++ (bits/basic_string.h, the ABI of GCC 5): pointer, length, capacity; the capacity does not count the final
//! NUL. libc++ (string, `__rep::__long`, little-endian ABI 1): capacity with the lowest bit set, length, pointer; the
//! capacity counts the final NUL and is a multiple of eight.
//!
//! Strings of wider characters (`std::wstring`, `std::u16string`, `std::u32string`) count in characters, which have two or
//! four bytes.
//!
//! A length that is known by a NUL at the right place is a weak proof where many bytes are zero, so the characters
//! before it have to be none.

use crate::heap::AllocId;

use super::{Code, Confidence, Finder, Library, Row, Window, kind};

const NAMES: &[(&str, Confidence)] = &[
    ("std::string body", Confidence::Certain),
    ("std::string body, binary", Confidence::Possible),
    ("std::wstring body", Confidence::Likely),
    ("std::u16string body", Confidence::Likely),
];

/// Bytes of a character, and the place of its strings in [`NAMES`].
const WIDER: [(u64, usize); 2] = [(4, 2), (2, 3)];

pub(super) static GNU: Row =
    Row { library: Library::Gnu, needs: kind::NEXT_NUMBER | kind::NEXT_2_COUNT, names: NAMES, follow: follow_gnu };

pub(super) static LLVM: Row =
    Row { library: Library::Llvm, needs: kind::BEFORE_NUMBER | kind::BEFORE_2_ODD, names: NAMES, follow: follow_llvm };

/// Bytes of the buffer in the object itself, in libstdc++.
const GNU_LOCAL: u64 = 16;

fn follow_gnu(finder: &Finder<'_, '_, '_>, window: &Window<'_>, codes: &[Code]) {
    let (Some(body), Some(length), Some(capacity)) = (window.word(0), window.word(1), window.word(2)) else { return };
    if length > capacity || capacity < GNU_LOCAL / 4 {
        return;
    }
    let Some((id, usable)) = finder.used_at(body) else { return };
    let rounding = finder.ground.table.rounding(id);
    let requested = |size: u64| capacity.checked_add(1)?.checked_mul(size);
    let fits =
        |size: u64| capacity >= GNU_LOCAL / size && requested(size).is_some_and(|bytes| rounding.is_for(bytes, usable));
    if fits(1) {
        if !follows_rust(finder, window, length, |room| rounding.is_for(room, usable)) {
            offer_body(finder, id, (body, length), codes);
        }
    } else if let Some((size, place)) = WIDER.into_iter().find(|(size, _)| fits(*size)) {
        offer_wide(finder, id, (body, length), size, codes.get(place));
    }
}

/// Whether the words are those of Rust's `String`s in a row: capacity, pointer, length of one, whose capacity fits, and
/// then of the next, whose capacity passes for this one's.
fn follows_rust(finder: &Finder<'_, '_, '_>, window: &Window<'_>, length: u64, fits: impl Fn(u64) -> bool) -> bool {
    let own = window.word(-1).is_some_and(|room| room >= length && fits(room));
    let next = || finder.made_for(window.word(3)?, window.word(2)?);
    own && next().is_some()
}

fn follow_llvm(finder: &Finder<'_, '_, '_>, window: &Window<'_>, codes: &[Code]) {
    let (Some(body), Some(length), Some(capacity)) = (window.word(0), window.word(-1), window.word(-2)) else { return };
    let capacity = capacity & !1;
    // What fits into the object: three words, less one byte for the length and one for the final zero.
    let local = 3 * finder.width();
    if length >= capacity || capacity < local / 4 {
        return;
    }
    let Some((id, usable)) = finder.used_at(body) else { return };
    let rounding = finder.ground.table.rounding(id);
    let fits = |size: u64| {
        let bytes = capacity.checked_mul(size);
        bytes.is_some_and(|bytes| bytes % 8 == 0 && bytes >= local && rounding.is_for(bytes, usable))
    };
    if fits(1) {
        offer_body(finder, id, (body, length), codes);
    } else if let Some((size, place)) = WIDER.into_iter().find(|(size, _)| fits(*size)) {
        offer_wide(finder, id, (body, length), size, codes.get(place));
    }
}

fn offer_body(finder: &Finder<'_, '_, '_>, id: AllocId, (body, length): (u64, u64), codes: &[Code]) {
    let bytes = finder.ground.memory.bytes(body, length.saturating_add(1));
    if bytes.last() != Some(&0) || bytes.len() as u64 != length + 1 {
        return;
    }
    let is_text = length > 0 && memchr::memchr(0, bytes) == Some(bytes.len() - 1);
    let code = if is_text { codes.first() } else { codes.get(1) };
    finder.offer(id, code.copied().unwrap_or_default());
}

/// Numbers in a row look like wide characters: all of them have to be some that there are, and the zero alone at the end.
fn offer_wide(finder: &Finder<'_, '_, '_>, id: AllocId, (body, length): (u64, u64), size: u64, code: Option<&Code>) {
    let Some(total) = length.checked_add(1).and_then(|count| count.checked_mul(size)) else { return };
    let bytes = finder.ground.memory.bytes(body, total);
    if length == 0 || bytes.len() as u64 != total {
        return;
    }
    let target = finder.ground.target;
    let mut units = bytes.chunks_exact(size as usize);
    let read = |raw: &[u8]| if size == 4 { target.u32(raw) } else { target.u16(raw).map(u32::from) };
    let ends = units.next_back().and_then(read) == Some(0);
    // Halves of surrogate pairs are no characters by themselves.
    let is_character =
        |unit: u32| unit >= 0x20 && (size == 2 || char::from_u32(unit).is_some()) || unit == 0x9 || unit == 0xa;
    if ends && units.all(|raw| read(raw).is_some_and(is_character)) {
        finder.offer(id, code.copied().unwrap_or_default());
    }
}
