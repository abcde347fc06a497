//! `std::string` whose characters do not fit into it.
//!
//! libstdc++ (bits/basic_string.h, the ABI of GCC 5): pointer, length, capacity; the capacity does not count the final
//! NUL. libc++ (string, `__rep::__long`, little-endian ABI 1): capacity with the lowest bit set, length, pointer; the
//! capacity counts the final NUL and is a multiple of eight.
//!
//! A length that is known by a NUL at the right place is a weak proof where many bytes are zero, so the characters
//! before it have to be none.

use super::{Code, Confidence, Finder, Library, Row, Window, kind};

const NAMES: &[(&str, Confidence)] =
    &[("std::string body", Confidence::Certain), ("std::string body, binary", Confidence::Possible)];

pub(super) static GNU: Row =
    Row { library: Library::Gnu, needs: kind::NEXT_NUMBER | kind::NEXT_2_COUNT, names: NAMES, follow: follow_gnu };

pub(super) static LLVM: Row =
    Row { library: Library::Llvm, needs: kind::BEFORE_NUMBER | kind::BEFORE_2_ODD, names: NAMES, follow: follow_llvm };

/// What fits into the object itself, in libstdc++.
const GNU_LOCAL: u64 = 15;

fn follow_gnu(finder: &Finder<'_, '_, '_>, window: &Window<'_>, codes: &[Code]) {
    if let (Some(body), Some(length), Some(capacity)) = (window.word(0), window.word(1), window.word(2))
        && length <= capacity
        && capacity > GNU_LOCAL
    {
        offer_body(finder, body, length, capacity + 1, codes);
    }
}

fn follow_llvm(finder: &Finder<'_, '_, '_>, window: &Window<'_>, codes: &[Code]) {
    if let (Some(body), Some(length), Some(capacity)) = (window.word(0), window.word(-1), window.word(-2)) {
        let capacity = capacity & !1;
        // Shorter ones fit into the object: three words, less one byte for the length and one for the NUL.
        if capacity.is_multiple_of(8) && length < capacity && capacity >= 3 * finder.width() {
            offer_body(finder, body, length, capacity, codes);
        }
    }
}

fn offer_body(finder: &Finder<'_, '_, '_>, body: u64, length: u64, requested: u64, codes: &[Code]) {
    let Some(id) = finder.made_for(body, requested) else { return };
    let bytes = finder.ground.memory.bytes(body, length.saturating_add(1));
    if bytes.last() != Some(&0) || bytes.len() as u64 != length + 1 {
        return;
    }
    let is_text = length > 0 && memchr::memchr(0, bytes) == Some(bytes.len() - 1);
    let code = if is_text { codes.first() } else { codes.get(1) };
    finder.offer(id, code.copied().unwrap_or_default());
}
