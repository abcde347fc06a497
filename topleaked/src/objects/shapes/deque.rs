//! `std::deque`: a map of pointers to blocks.
//!
//! libstdc++ (bits/stl_deque.h, `_Deque_impl_data`): map, its size, and two iterators of current place, block's first, block's
//! end, place in the map. libc++ (deque): the map as first, begin, end, capacity; then the number of the first element and
//! the number of elements. A block of libc++ is 4096 bytes of elements, or 16 of them where they are large.

use crate::heap::AllocId;

use super::{Code, Confidence, Finder, Library, Row, Window, kind};

const NAMES: &[(&str, Confidence)] =
    &[("std::deque map", Confidence::Certain), ("std::deque block", Confidence::Certain)];

pub(super) static GNU: Row = Row {
    library: Library::Gnu,
    needs: kind::NEXT_COUNT | kind::NEXT_2_POINTER | kind::NEXT_3_POINTER,
    names: NAMES,
    follow: follow_gnu,
};

pub(super) static LLVM: Row = Row {
    library: Library::Llvm,
    needs: kind::NEXT_POINTER | kind::NEXT_2_POINTER | kind::NEXT_3_POINTER | kind::ASCENDING,
    names: NAMES,
    follow: follow_llvm,
};

fn follow_gnu(finder: &Finder<'_, '_, '_>, window: &Window<'_>, codes: &[Code]) {
    let _ = try_gnu(finder, window, codes);
}

fn try_gnu(finder: &Finder<'_, '_, '_>, window: &Window<'_>, codes: &[Code]) -> Option<()> {
    let (map, size) = (window.word(0)?, window.word(1)?);
    let (start, first, last, node) = (window.word(2)?, window.word(3)?, window.word(4)?, window.word(5)?);
    let (end, end_first, end_last, end_node) = (window.word(6)?, window.word(7)?, window.word(8)?, window.word(9)?);
    let block = last.checked_sub(first).filter(|bytes| *bytes > 0)?;
    let map_end = map.checked_add(size.checked_mul(finder.width())?)?;
    let holds = end_last.checked_sub(end_first) == Some(block)
        && (first..last).contains(&start)
        && (end_first..end_last).contains(&end)
        && map <= node
        && node <= end_node
        && end_node < map_end
        && finder.word(node) == Some(first)
        && finder.word(end_node) == Some(end_first);
    if !holds {
        return None;
    }
    let id = finder.made_for(map, map_end - map)?;
    offer_blocks(finder, node, end_node.checked_add(finder.width())?, codes, &|id, usable| {
        finder.ground.table.rounding(id).is_for(block, usable)
    })?;
    finder.offer(id, *codes.first()?);
    Some(())
}

/// Bytes of a block's elements in libc++, where they are small.
const LLVM_BLOCK: u64 = 4096;
/// Elements from this size on are put into blocks by 16.
const LLVM_LARGE: u64 = 256;

fn follow_llvm(finder: &Finder<'_, '_, '_>, window: &Window<'_>, codes: &[Code]) {
    let _ = try_llvm(finder, window, codes);
}

fn try_llvm(finder: &Finder<'_, '_, '_>, window: &Window<'_>, codes: &[Code]) -> Option<()> {
    let (first, begin, end, last) = (window.word(0)?, window.word(1)?, window.word(2)?, window.word(3)?);
    let (start, count) = (window.word(4)?, window.word(5)?);
    let blocks = end.checked_sub(begin)?.checked_div(finder.width())?;
    if end > last || blocks == 0 || start.checked_add(count)? > blocks.checked_mul(LLVM_BLOCK)? {
        return None;
    }
    let id = finder.made_for(first, last.checked_sub(first)?)?;
    let (_, size) = finder.used_at(finder.word(begin)?)?;
    let is_block = |_, usable: u64| usable > LLVM_BLOCK - LLVM_LARGE && usable.abs_diff(size) <= 2 * 16;
    offer_blocks(finder, begin, end, codes, &is_block)?;
    finder.offer(id, *codes.first()?);
    Some(())
}

/// Offers what the places of the map from `from` to before `to` point at, where all of it are blocks.
fn offer_blocks(
    finder: &Finder<'_, '_, '_>,
    from: u64,
    to: u64,
    codes: &[Code],
    is_block: &dyn Fn(AllocId, u64) -> bool,
) -> Option<()> {
    let count = to.checked_sub(from)? / finder.width();
    if !finder.may_walk(count) {
        return None;
    }
    let code = *codes.get(1)?;
    for is_checked in [false, true] {
        for place in 0..count {
            let (id, usable) = finder.used_at(finder.word_at(from, place)?)?;
            match is_checked {
                false if !is_block(id, usable) => return None,
                false => {}
                true => finder.offer(id, code),
            }
        }
        finder.walked(count);
    }
    Some(())
}
