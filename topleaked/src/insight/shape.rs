//! The shape of one leaked cluster: what hangs on its head, as a small tree.

use std::collections::HashSet;

use crate::graph::{Graph, References};
use crate::heap::{AllocId, Heap};

use super::groups::{GroupKey, Grouping};

/// How deep a tree is followed.
const DEEPEST: usize = 5;
/// How many allocations are looked at for one tree.
const MOST_ALLOCATIONS: usize = 4096;

/// An allocation of a cluster, and what hangs on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shape {
    /// What it is.
    pub key: GroupKey,
    /// Its usable size in bytes.
    pub usable_size: u64,
    /// What it leads to, by the offset of the pointer. An allocation appears once, where it is nearest to the head.
    pub children: Vec<ShapeChild>,
    /// Whether it leads further than the tree goes.
    pub cut: bool,
}

/// Allocations of the same shape that one allocation points at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShapeChild {
    /// The offset of the first pointer in the parent, in bytes.
    pub offset: u64,
    /// How many like it follow, itself among them.
    pub count: u64,
    /// What each of them looks like.
    pub shape: Shape,
}

impl Shape {
    /// Follows the cluster that `head` belongs to through memory, from there on.
    pub fn find(
        heap: &Heap,
        graph: &Graph,
        references: &References<'_>,
        grouping: &Grouping<'_>,
        head: AllocId,
    ) -> Shape {
        let owner = graph.clusters.head(head);
        // Level by level, so that each allocation hangs where it is nearest to the head.
        let mut nodes = vec![Node { id: head, children: Vec::new(), cut: false }];
        let mut known = HashSet::from([head]);
        let mut level = 0..1;
        for depth in 0..=DEEPEST {
            let next = nodes.len();
            for parent in level.clone() {
                let Some(id) = nodes.get(parent).map(|node| node.id) else { continue };
                let mut found = Vec::new();
                let mut cut = false;
                let start = heap.table.address(id);
                references.for_each_pointer(heap.table.span(id), |at, pointer| {
                    let to = pointer.allocation;
                    if graph.clusters.head(to) != owner || known.contains(&to) {
                        return;
                    }
                    if depth == DEEPEST || known.len() >= MOST_ALLOCATIONS {
                        cut = true;
                        return;
                    }
                    known.insert(to);
                    found.push((at.0 - start.0, to));
                });
                for (offset, id) in found {
                    let child = nodes.len();
                    nodes.push(Node { id, children: Vec::new(), cut: false });
                    if let Some(parent) = nodes.get_mut(parent) {
                        parent.children.push((offset, child));
                    }
                }
                if let Some(parent) = nodes.get_mut(parent) {
                    parent.cut |= cut;
                }
            }
            level = next..nodes.len();
        }
        // Children come behind their parents: from the end, each is complete before it is asked for.
        let mut shapes: Vec<Option<Shape>> = nodes.iter().map(|_| None).collect();
        for (at, node) in nodes.iter().enumerate().rev() {
            let mut children: Vec<ShapeChild> = Vec::new();
            for (offset, child) in &node.children {
                let Some(shape) = shapes.get_mut(*child).and_then(Option::take) else { continue };
                match children.iter_mut().find(|other| other.shape == shape) {
                    Some(like) => like.count += 1,
                    None => children.push(ShapeChild { offset: *offset, count: 1, shape }),
                }
            }
            let usable_size = heap.table.usable_size(node.id);
            let shape = Shape { key: grouping.key(node.id), usable_size, children, cut: node.cut };
            if let Some(place) = shapes.get_mut(at) {
                *place = Some(shape);
            }
        }
        let lone = Shape { key: grouping.key(head), usable_size: 0, children: Vec::new(), cut: false };
        shapes.into_iter().next().flatten().unwrap_or(lone)
    }
}

struct Node {
    id: AllocId,
    children: Vec<(u64, usize)>,
    cut: bool,
}
