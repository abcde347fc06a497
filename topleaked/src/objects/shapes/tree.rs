//! `std::map`, `std::set` and their multi-variants: red-black trees whose owner knows the number of nodes.
//!
//! libstdc++ (bits/stl_tree.h): a node is colour, parent, left, right; the owner has one without content, red, whose parent
//! is the root, whose left and right are the first and the last node; the number follows. libc++ (__tree): a node
//! is left, right, parent, colour; the owner is the first node, an end node whose left is the root, and the number.
//!
//! All nodes are visited in their order. Each step follows links that have to lead back, the way ends at the owner, and
//! the number of nodes is the owner's.

use crate::heap::AllocId;

use super::{Code, Confidence, Finder, Library, Row, Window, kind};

const NAME: &str = "std::map or std::set node";

pub(super) static GNU: Row = Row {
    library: Library::Gnu,
    needs: kind::BEFORE_ZERO | kind::NEXT_POINTER | kind::NEXT_2_POINTER | kind::NEXT_3_COUNT,
    names: &[],
    follow: follow_gnu,
};

pub(super) static LLVM: Row =
    Row { library: Library::Llvm, needs: kind::BEFORE_POINTER | kind::NEXT_COUNT, names: &[], follow: follow_llvm };

/// Where a node's links are, in words.
#[derive(Clone, Copy)]
struct Links {
    parent: u64,
    left: u64,
    right: u64,
    /// Words before the content.
    all: u64,
}

const GNU_LINKS: Links = Links { parent: 1, left: 2, right: 3, all: 4 };
const LLVM_LINKS: Links = Links { parent: 2, left: 0, right: 1, all: 4 };

/// A tree as its owner tells of it.
struct Tree {
    links: Links,
    /// The owner's own node.
    end: u64,
    root: u64,
    first: u64,
    count: u64,
}

fn follow_gnu(finder: &Finder<'_, '_, '_>, window: &Window<'_>, _codes: &[Code]) {
    if let (Some(root), Some(first), Some(count)) = (window.word(0), window.word(1), window.word(3)) {
        let tree = Tree { links: GNU_LINKS, end: window.address(-1), root, first, count };
        tree.follow(finder);
    }
}

fn follow_llvm(finder: &Finder<'_, '_, '_>, window: &Window<'_>, _codes: &[Code]) {
    if let (Some(root), Some(first), Some(count)) = (window.word(0), window.word(-1), window.word(1)) {
        let tree = Tree { links: LLVM_LINKS, end: window.address(0), root, first, count };
        tree.follow(finder);
    }
}

impl Tree {
    fn follow(&self, finder: &Finder<'_, '_, '_>) {
        let back = finder.word_at(self.root, self.links.parent);
        if back != Some(self.end) || !finder.may_walk(self.count) {
            return;
        }
        let Some(least) = self.visit(finder, &mut |_| {}) else { return };
        let confidence = if self.count > 1 { Confidence::Certain } else { Confidence::Likely };
        let code = finder.node_code(NAME, least, &[self.links.all], self.first, confidence);
        let _ = self.visit(finder, &mut |id| finder.offer(id, code));
    }

    /// Visits all nodes in their order; the least of their sizes where they are as many as the owner says.
    fn visit(&self, finder: &Finder<'_, '_, '_>, found: &mut dyn FnMut(AllocId)) -> Option<u64> {
        // Each link is followed down once and up once.
        let mut left = 2 * self.count + 2;
        let visited = self.visit_within(finder, found, &mut left);
        finder.walked(2 * self.count + 2 - left);
        visited
    }

    fn visit_within(
        &self,
        finder: &Finder<'_, '_, '_>,
        found: &mut dyn FnMut(AllocId),
        steps: &mut u64,
    ) -> Option<u64> {
        let link = |node: u64, place: u64| finder.word_at(node, place);
        let (mut node, mut least) = (self.first, u64::MAX);
        // Nothing is on the left of the first.
        if link(node, self.links.left) != Some(0) {
            return None;
        }
        for _ in 0..self.count {
            let (id, usable) = finder.used_at(node)?;
            found(id);
            least = least.min(usable);
            let right = link(node, self.links.right)?;
            if right != 0 {
                let (mut above, mut below) = (node, right);
                loop {
                    *steps = steps.checked_sub(1)?;
                    if link(below, self.links.parent)? != above {
                        return None;
                    }
                    match link(below, self.links.left)? {
                        0 => break,
                        further => (above, below) = (below, further),
                    }
                }
                node = below;
                continue;
            }
            loop {
                *steps = steps.checked_sub(1)?;
                let parent = link(node, self.links.parent)?;
                if parent == self.end {
                    // The owner is above the root alone.
                    if node != self.root {
                        return None;
                    }
                    node = parent;
                    break;
                }
                let was_right = link(parent, self.links.right)? == node;
                if !was_right && link(parent, self.links.left)? != node {
                    return None;
                }
                node = parent;
                if !was_right {
                    break;
                }
            }
        }
        (node == self.end).then_some(least)
    }
}
