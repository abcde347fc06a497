//! `std::list`: a ring of nodes that begin with two links, closed by the list itself, which knows their number
//! (bits/stl_list.h since GCC 5: next, previous, size; libc++ list: previous, next, size). Read the other way round a
//! ring is one as well, so both libraries are one row.
//!
//! What this gets wrong: an element whose value happens to be the number of elements looks like the list; where the list
//! is an allocation of its own, it is then taken for a node.

use super::{Code, Confidence, Finder, Library, Row, Window, kind};

pub(super) static LIST: Row =
    Row { library: Library::Both, needs: kind::NEXT_POINTER | kind::NEXT_2_COUNT, names: &[], follow };

fn follow(finder: &Finder<'_, '_, '_>, window: &Window<'_>, _codes: &[Code]) {
    let own = window.address(0);
    let (Some(first), Some(last), Some(count)) = (window.word(0), window.word(1), window.word(2)) else { return };
    // The nearest links first: they fail for nearly all that is no list.
    if finder.word_at(first, 1) != Some(own) || finder.word(last) != Some(own) || !finder.may_walk(count) {
        return;
    }
    let Some(least) = ring(finder, own, first, count, &mut |_| {}) else { return };
    let confidence = if count > 1 { Confidence::Certain } else { Confidence::Likely };
    let code = finder.node_code("std::list node", least, &[2], first, confidence);
    let _ = ring(finder, own, first, count, &mut |id| finder.offer(id, code));
}

/// Follows the ring; the least of the nodes' sizes where it closes after `count` of them.
fn ring(
    finder: &Finder<'_, '_, '_>,
    own: u64,
    first: u64,
    count: u64,
    found: &mut dyn FnMut(crate::heap::AllocId),
) -> Option<u64> {
    let (mut before, mut node, mut least) = (own, first, u64::MAX);
    for step in 0..count {
        let linked = finder.used_at(node).filter(|_| finder.word_at(node, 1) == Some(before));
        let Some(((id, usable), next)) = linked.zip(finder.word(node)) else {
            finder.walked(step + 1);
            return None;
        };
        found(id);
        least = least.min(usable);
        (before, node) = (node, next);
    }
    finder.walked(count);
    (node == own && finder.word_at(own, 1) == Some(before)).then_some(least)
}
