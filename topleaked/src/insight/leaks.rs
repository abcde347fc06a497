//! What leaked, by group, and by what was let go.

use std::collections::BTreeMap;

use crate::graph::Graph;
use crate::heap::{AllocId, Count, Heap};
use crate::task::Task;

use super::groups::{ByKey, GroupKey, Grouping};
use super::usage::{Selection, Usage, add, in_batches, merge};

/// How many of the largest clusters are kept.
const LARGEST: usize = 20;
/// How many different sizes of clusters are told apart in one group.
const MOST_COUNTS: usize = 256;

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
    /// All used allocations that were selected.
    pub usage: Usage,
    /// Leaked allocations to which no other leaked one points.
    pub unreferenced: Count,
    /// Clusters that hang together in a cycle, and what belongs to them.
    pub cycles: Count,
    /// Leaked clusters by what their heads are; most bytes first.
    pub clusters: Vec<(GroupKey, ClusterGroup)>,
    /// The largest clusters; most bytes first, then by address.
    pub largest: Vec<LargeCluster>,
}

impl LeakSummary {
    /// Adds everything up. A selection takes out allocations, and clusters by their heads; what belongs to a cluster
    /// that stays counts in whole.
    pub fn build(
        heap: &Heap,
        graph: &Graph,
        grouping: &Grouping<'_>,
        selection: Option<Selection<'_>>,
        task: &Task,
    ) -> LeakSummary {
        let usage = Usage::build(heap, graph, grouping, selection, task);
        let mut summary = LeakSummary { usage, ..LeakSummary::default() };
        summary.add_clusters(heap, graph, grouping, selection, task);
        summary
    }

    fn add_clusters(
        &mut self,
        heap: &Heap,
        graph: &Graph,
        grouping: &Grouping<'_>,
        selection: Option<Selection<'_>>,
        task: &Task,
    ) {
        let sizes = graph.clusters.build_sizes(&heap.table, task);
        let heads = graph.clusters.heads();
        let parts = in_batches(heap, task, |batch, found: &mut Clusters| {
            for head in heads.iter_in(batch) {
                if selection.is_some_and(|selected| !selected(head)) {
                    continue;
                }
                let total = sizes.get(&heap.table, head);
                let is_cycle = graph.clusters.cycles().contains(head);
                match is_cycle {
                    false => add(&mut found.unreferenced, heap.table.usable_size(head)),
                    true => add(&mut found.cycles, total.bytes),
                }
                let key = grouping.key(head);
                found.by_key.entry(key).or_default().add(head, total, is_cycle);
                found.keep(LargeCluster { head, key, total, is_cycle });
            }
        });
        let mut all = Clusters::default();
        for part in parts {
            merge(&mut self.unreferenced, part.unreferenced);
            merge(&mut self.cycles, part.cycles);
            for (key, group) in part.by_key {
                all.by_key.entry(key).or_default().merge(group);
            }
            part.largest.into_iter().for_each(|cluster| all.keep(cluster));
        }
        self.largest = all.largest;
        self.clusters = all.by_key.into_iter().map(|(key, group)| (key, group.finish())).collect();
        self.clusters.sort_unstable_by_key(|(key, group)| (std::cmp::Reverse(group.total.bytes), *key));
    }
}

#[derive(Default)]
struct Clusters {
    by_key: ByKey<GrowingGroup>,
    unreferenced: Count,
    cycles: Count,
    /// Most bytes first; never more than [`LARGEST`].
    largest: Vec<LargeCluster>,
}

impl Clusters {
    fn keep(&mut self, cluster: LargeCluster) {
        let rank = |cluster: &LargeCluster| (std::cmp::Reverse(cluster.total.bytes), cluster.head);
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
