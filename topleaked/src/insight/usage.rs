//! The used allocations by group, and by how the program can reach them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::graph::{Graph, Reachability};
use crate::heap::{AllocId, Count, Heap};
use crate::task::Task;

use super::groups::{ByKey, GroupKey, Grouping};

/// Ids handed to a thread at once.
const BATCH: u32 = 1 << 15;

/// Says which allocations an answer is about.
pub type Selection<'f> = &'f (dyn Fn(AllocId) -> bool + Sync);

/// The used allocations of one group, by how the program can reach them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TypeCounts {
    /// Reached by nothing.
    pub leaked: Count,
    /// Reached only over doubtful pointers or from stale places.
    pub possibly_leaked: Count,
    /// Reached for sure.
    pub anchored: Count,
}

impl TypeCounts {
    /// All of them.
    pub fn used(&self) -> Count {
        let mut all = self.leaked;
        merge(&mut all, self.possibly_leaked);
        merge(&mut all, self.anchored);
        all
    }

    fn merge(&mut self, other: &TypeCounts) {
        merge(&mut self.leaked, other.leaked);
        merge(&mut self.possibly_leaked, other.possibly_leaked);
        merge(&mut self.anchored, other.anchored);
    }
}

/// All used allocations that were selected.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// All of them.
    pub total: TypeCounts,
    /// Of the possibly leaked ones those that only pointers into the middle of some allocation lead to.
    pub interior: Count,
    /// Of the possibly leaked ones those that only stale places lead to.
    pub stale: Count,
    /// Every group; most bytes first, then by key.
    pub groups: Vec<(GroupKey, TypeCounts)>,
}

#[derive(Default)]
struct Part {
    groups: ByKey<TypeCounts>,
    interior: Count,
    stale: Count,
}

impl Usage {
    /// Counts the allocations that are selected, or all. Reads tables only, no memory of the process.
    pub fn build(
        heap: &Heap,
        graph: &Graph,
        grouping: &Grouping<'_>,
        selection: Option<Selection<'_>>,
        task: &Task,
    ) -> Usage {
        let parts =
            in_batches(heap, task, |batch, found: &mut Part| found.add(heap, graph, grouping, selection, batch));
        let mut groups = ByKey::<TypeCounts>::default();
        let mut usage = Usage::default();
        for part in parts {
            merge(&mut usage.interior, part.interior);
            merge(&mut usage.stale, part.stale);
            for (key, counts) in part.groups {
                usage.total.merge(&counts);
                groups.entry(key).or_default().merge(&counts);
            }
        }
        usage.groups = groups.into_iter().collect();
        usage.groups.sort_unstable_by_key(|(key, counts)| (std::cmp::Reverse(counts.used().bytes), *key));
        usage
    }
}

impl Part {
    fn add(
        &mut self,
        heap: &Heap,
        graph: &Graph,
        grouping: &Grouping<'_>,
        selection: Option<Selection<'_>>,
        batch: std::ops::Range<u32>,
    ) {
        // Neighbours are often alike: the last group is kept at hand.
        let mut last: Option<(GroupKey, TypeCounts)> = None;
        for id in batch.map(AllocId) {
            let Some(reachability) = graph.marks.reachability(id) else { continue };
            if selection.is_some_and(|selected| !selected(id)) {
                continue;
            }
            let bytes = heap.table.usable_size(id);
            let key = grouping.key(id);
            let counts = match &mut last {
                Some((known, counts)) if *known == key => counts,
                _ => {
                    if let Some((known, counts)) = last.take() {
                        self.groups.entry(known).or_default().merge(&counts);
                    }
                    &mut last.insert((key, TypeCounts::default())).1
                }
            };
            match reachability {
                Reachability::Anchored => add(&mut counts.anchored, bytes),
                Reachability::Leaked => add(&mut counts.leaked, bytes),
                Reachability::PossiblyInterior => {
                    add(&mut counts.possibly_leaked, bytes);
                    add(&mut self.interior, bytes);
                }
                Reachability::PossiblyStale => {
                    add(&mut counts.possibly_leaked, bytes);
                    add(&mut self.stale, bytes);
                }
            }
        }
        if let Some((known, counts)) = last {
            self.groups.entry(known).or_default().merge(&counts);
        }
    }
}

pub(super) fn add(count: &mut Count, bytes: u64) {
    merge(count, Count { count: 1, bytes });
}

pub(super) fn merge(count: &mut Count, other: Count) {
    count.count += other.count;
    count.bytes = count.bytes.saturating_add(other.bytes);
}

/// Runs `work` over all ids in batches on all threads; hands back what each thread gathered.
pub(super) fn in_batches<T: Default + Send>(
    heap: &Heap,
    task: &Task,
    work: impl Fn(std::ops::Range<u32>, &mut T) + Sync,
) -> Vec<T> {
    let next = AtomicU64::new(0);
    let length = heap.table.len() as u64;
    task.on_all(|| {
        let mut gathered = T::default();
        loop {
            let from = next.fetch_add(BATCH.into(), Ordering::Relaxed);
            if from >= length || task.progress.is_cancelled() {
                return gathered;
            }
            let to = (from + u64::from(BATCH)).min(length);
            work(from as u32..to as u32, &mut gathered);
        }
    })
}
