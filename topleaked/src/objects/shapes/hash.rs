//! `std::unordered_map`, `std::unordered_set` and their multi-variants: a table of buckets, and all nodes in one chain.
//!
//! Both libraries agree on buckets, number of buckets, first node, number of nodes, load factor (bits/hashtable.h,
//! `_Hashtable`; libc++ __hash_table); behind it libstdc++ has more. A node begins with the link to the next one.

use crate::heap::AllocId;

use super::{Code, Confidence, Finder, Library, Row, Window, kind};

pub(super) static TABLE: Row = Row {
    library: Library::Both,
    needs: kind::NEXT_COUNT | kind::NEXT_4_FACTOR,
    names: &[("std::unordered_map or std::unordered_set buckets", Confidence::Certain)],
    follow,
};

fn follow(finder: &Finder<'_, '_, '_>, window: &Window<'_>, codes: &[Code]) {
    let (Some(buckets), Some(bucket_count), Some(first), Some(count)) =
        (window.word(0), window.word(1), window.word(2), window.word(3))
    else {
        return;
    };
    let Some(size) = bucket_count.checked_mul(finder.width()) else { return };
    let Some(table) = finder.made_for(buckets, size) else { return };
    if (first == 0) != (count == 0) || !finder.may_walk(count) {
        return;
    }
    let Some(least) = chain(finder, first, count, &mut |_| {}) else { return };
    finder.offer(table, codes.first().copied().unwrap_or_default());
    if count > 0 {
        // What follows the link is a hash or the content: which of both, no owner tells.
        let code = finder.node_code(
            "std::unordered_map or std::unordered_set node",
            least,
            &[1, 2],
            first,
            if count > 1 { Confidence::Certain } else { Confidence::Likely },
        );
        let _ = chain(finder, first, count, &mut |id| finder.offer(id, code));
    }
}

/// Follows the chain; the least of the nodes' sizes where it ends after `count` of them.
fn chain(finder: &Finder<'_, '_, '_>, first: u64, count: u64, found: &mut dyn FnMut(AllocId)) -> Option<u64> {
    let (mut node, mut least) = (first, u64::MAX);
    for step in 0..count {
        let Some(((id, usable), next)) = finder.used_at(node).zip(finder.word(node)) else {
            finder.walked(step + 1);
            return None;
        };
        found(id);
        least = least.min(usable);
        node = next;
    }
    finder.walked(count);
    (node == 0).then_some(least)
}
