//! `std::vector`: first, last, end of the storage, in both libraries (bits/stl_vector.h, `_Vector_impl_data`;
//! libc++ __vector/vector.h).
//!
//! A stack of C's that keeps the same three pointers passes for one.

use super::{Code, Confidence, Finder, Library, Row, Window, kind};

pub(super) static VECTOR: Row = Row {
    library: Library::Both,
    needs: kind::NEXT_POINTER | kind::NEXT_2_POINTER | kind::ASCENDING,
    names: &[("std::vector body", Confidence::Likely)],
    follow,
};

fn follow(finder: &Finder<'_, '_, '_>, window: &Window<'_>, codes: &[Code]) {
    let found = || {
        let (first, end) = (window.word(0)?, window.word(2)?);
        let capacity = end.checked_sub(first).filter(|bytes| *bytes > 0)?;
        finder.offer(finder.made_for(first, capacity)?, *codes.first()?);
        Some(())
    };
    let _ = found();
}
