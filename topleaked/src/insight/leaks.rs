//! What leaked, by group, and by what was let go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::graph::{Graph, Reachability};
use crate::heap::{AllocId, Count, Heap};
use crate::task::Task;

use super::groups::{ByKey, GroupKey, Grouping, Identify, RawKey};

/// Ids handed to a thread at once.
const BATCH: u32 = 1 << 15;
/// How many of the largest clusters are kept.
const LARGEST: usize = 20;
/// How many different sizes of clusters are told apart in one group.
const MOST_COUNTS: usize = 256;

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
        for part in [self.possibly_leaked, self.anchored] {
            all.count += part.count;
            all.bytes = all.bytes.saturating_add(part.bytes);
        }
        all
    }

    fn merge(&mut self, other: &TypeCounts) {
        merge(&mut self.leaked, other.leaked);
        merge(&mut self.possibly_leaked, other.possibly_leaked);
        merge(&mut self.anchored, other.anchored);
    }
}

/// The leaked clusters whose heads are alike.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClusterGroup {
    /// How many clusters.
    pub clusters: u64,
    /// How many of them hang together in a cycle, and have no other head.
    pub cycles: u64,
    /// What belongs to them, heads included.
    pub total: Count,
    /// A head whose cluster has as many allocations as most of the group have; of these, the lowest address.
    pub typical: Option<AllocId>,
    /// What belongs to the largest of them.
    pub largest: Count,
}

/// One leaked cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LargeCluster {
    /// Its head.
    pub head: AllocId,
    /// What its head is.
    pub key: GroupKey,
    /// What belongs to it.
    pub total: Count,
    /// Whether its head stands for a cycle.
    pub is_cycle: bool,
}

/// What of a heap leaked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LeakSummary {
    /// All used allocations.
    pub total: TypeCounts,
    /// Of the possibly leaked ones those that only pointers into the middle of some allocation lead to.
    pub interior: Count,
    /// Of the possibly leaked ones those that only stale places lead to.
    pub stale: Count,
    /// Leaked allocations to which no other leaked one points.
    pub unreferenced: Count,
    /// Clusters that hang together in a cycle, and what belongs to them.
    pub cycles: Count,
    /// Every group of used allocations; most leaked bytes first, then most bytes, then the key.
    pub groups: Vec<(GroupKey, TypeCounts)>,
    /// Leaked clusters by what their heads are; most bytes first.
    pub clusters: Vec<(GroupKey, ClusterGroup)>,
    /// The largest clusters; most bytes first, then by address.
    pub largest: Vec<LargeCluster>,
}

impl LeakSummary {
    /// Adds everything up. Reads the first word of each used allocation; `identify` says which of these words tell
    /// what an allocation is.
    pub fn build(
        heap: &Heap,
        graph: &Graph,
        grouping: &Grouping<'_>,
        identify: Identify<'_>,
        task: &Task,
    ) -> LeakSummary {
        let mut summary = LeakSummary::default();
        let counts = count_groups(heap, graph, grouping, task);
        let mut groups: BTreeMap<GroupKey, TypeCounts> = BTreeMap::new();
        for (key, part) in &counts.groups {
            summary.total.merge(part);
            groups.entry(key.settle(identify)).or_default().merge(part);
        }
        summary.interior = counts.interior;
        summary.stale = counts.stale;
        summary.groups = groups.into_iter().collect();
        summary.groups.sort_unstable_by_key(|(key, counts)| {
            (std::cmp::Reverse(counts.leaked.bytes), std::cmp::Reverse(counts.used().bytes), *key)
        });
        summary.add_clusters(heap, graph, grouping, identify, task);
        summary
    }

    fn add_clusters(
        &mut self,
        heap: &Heap,
        graph: &Graph,
        grouping: &Grouping<'_>,
        identify: Identify<'_>,
        task: &Task,
    ) {
        let sizes = graph.clusters.build_sizes(&heap.table, task);
        let heads = graph.clusters.heads();
        let parts = in_batches(heap, task, |batch, found: &mut Clusters| {
            for head in heads.iter_in(batch) {
                let total = sizes.get(&heap.table, head);
                let is_cycle = graph.clusters.cycles().contains(head);
                if !is_cycle {
                    add(&mut found.unreferenced, heap.table.usable_size(head));
                }
                let key = grouping.raw(head);
                found.by_key.entry(key).or_default().add(head, total, is_cycle);
                found.keep(RawCluster { head, key, total, is_cycle });
            }
        });
        let mut all = Clusters::default();
        let mut groups: BTreeMap<GroupKey, GrowingGroup> = BTreeMap::new();
        for part in parts {
            merge(&mut self.unreferenced, part.unreferenced);
            for (key, group) in part.by_key {
                groups.entry(key.settle(identify)).or_default().merge(group);
            }
            part.largest.into_iter().for_each(|cluster| all.keep(cluster));
        }
        let settled = |cluster: RawCluster| LargeCluster {
            head: cluster.head,
            key: cluster.key.settle(identify),
            total: cluster.total,
            is_cycle: cluster.is_cycle,
        };
        self.largest = all.largest.into_iter().map(settled).collect();
        self.clusters = groups.into_iter().map(|(key, group)| (key, group.finish())).collect();
        self.clusters.sort_unstable_by_key(|(key, group)| (std::cmp::Reverse(group.total.bytes), *key));
        for cluster in graph.clusters.cycles().iter() {
            let total = sizes.get(&heap.table, cluster);
            self.cycles.count += 1;
            self.cycles.bytes = self.cycles.bytes.saturating_add(total.bytes);
        }
    }
}

fn add(count: &mut Count, bytes: u64) {
    merge(count, Count { count: 1, bytes });
}

fn merge(count: &mut Count, other: Count) {
    count.count += other.count;
    count.bytes = count.bytes.saturating_add(other.bytes);
}

/// Runs `work` over all ids in batches on all threads; hands back what each thread gathered.
fn in_batches<T: Default + Send>(
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

#[derive(Default)]
struct GroupCounts {
    groups: ByKey<TypeCounts>,
    interior: Count,
    stale: Count,
}

fn count_groups(heap: &Heap, graph: &Graph, grouping: &Grouping<'_>, task: &Task) -> GroupCounts {
    let parts = in_batches(heap, task, |batch, found: &mut GroupCounts| {
        // Neighbours are often alike: the last group is kept at hand.
        let mut last: Option<(RawKey, TypeCounts)> = None;
        for id in batch.map(AllocId) {
            let Some(reachability) = graph.marks.reachability(id) else { continue };
            let bytes = heap.table.usable_size(id);
            let key = grouping.raw(id);
            let counts = match &mut last {
                Some((known, counts)) if *known == key => counts,
                _ => {
                    if let Some((known, counts)) = last.take() {
                        found.groups.entry(known).or_default().merge(&counts);
                    }
                    &mut last.insert((key, TypeCounts::default())).1
                }
            };
            match reachability {
                Reachability::Anchored => add(&mut counts.anchored, bytes),
                Reachability::Leaked => add(&mut counts.leaked, bytes),
                Reachability::PossiblyInterior => {
                    add(&mut counts.possibly_leaked, bytes);
                    add(&mut found.interior, bytes);
                }
                Reachability::PossiblyStale => {
                    add(&mut counts.possibly_leaked, bytes);
                    add(&mut found.stale, bytes);
                }
            }
        }
        if let Some((known, counts)) = last {
            found.groups.entry(known).or_default().merge(&counts);
        }
    });
    let mut all = GroupCounts::default();
    for part in parts {
        merge(&mut all.interior, part.interior);
        merge(&mut all.stale, part.stale);
        for (key, counts) in part.groups {
            all.groups.entry(key).or_default().merge(&counts);
        }
    }
    all
}

#[derive(Default)]
struct Clusters {
    by_key: ByKey<GrowingGroup>,
    unreferenced: Count,
    /// Most bytes first; never more than [`LARGEST`].
    largest: Vec<RawCluster>,
}

struct RawCluster {
    head: AllocId,
    key: RawKey,
    total: Count,
    is_cycle: bool,
}

impl Clusters {
    fn keep(&mut self, cluster: RawCluster) {
        let rank = |cluster: &RawCluster| (std::cmp::Reverse(cluster.total.bytes), cluster.head);
        if self.largest.len() == LARGEST && self.largest.last().is_some_and(|last| rank(last) <= rank(&cluster)) {
            return;
        }
        let at = self.largest.partition_point(|other| rank(other) < rank(&cluster));
        self.largest.insert(at, cluster);
        self.largest.truncate(LARGEST);
    }
}

#[derive(Default)]
struct GrowingGroup {
    group: ClusterGroup,
    /// For each number of allocations how many clusters have it, and the first of them.
    counts: BTreeMap<u64, (u64, AllocId)>,
}

impl GrowingGroup {
    fn add(&mut self, head: AllocId, total: Count, is_cycle: bool) {
        self.group.clusters += 1;
        self.group.cycles += u64::from(is_cycle);
        merge(&mut self.group.total, total);
        self.group.largest = self.group.largest.max_by_bytes(total);
        self.note(total.count, 1, head);
    }

    fn note(&mut self, count: u64, clusters: u64, head: AllocId) {
        let known = self.counts.entry(count).or_insert((0, head));
        known.0 += clusters;
        known.1 = known.1.min(head);
        if self.counts.len() > MOST_COUNTS {
            // The largest are the rarest, as a rule.
            self.counts.pop_last();
        }
    }

    fn merge(&mut self, other: GrowingGroup) {
        self.group.clusters += other.group.clusters;
        self.group.cycles += other.group.cycles;
        merge(&mut self.group.total, other.group.total);
        self.group.largest = self.group.largest.max_by_bytes(other.group.largest);
        for (count, (clusters, head)) in other.counts {
            self.note(count, clusters, head);
        }
    }

    fn finish(mut self) -> ClusterGroup {
        let typical =
            self.counts.into_iter().max_by_key(|(count, (clusters, _))| (*clusters, std::cmp::Reverse(*count)));
        self.group.typical = typical.map(|(_, (_, head))| head);
        self.group
    }
}

trait MaxByBytes {
    fn max_by_bytes(self, other: Self) -> Self;
}

impl MaxByBytes for Count {
    fn max_by_bytes(self, other: Count) -> Count {
        if (other.bytes, other.count) > (self.bytes, self.count) { other } else { self }
    }
}
