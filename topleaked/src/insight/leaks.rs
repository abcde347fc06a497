//! What leaked, by group, and by what was let go.

use std::collections::{BTreeMap, HashSet, VecDeque};

use crate::addr::Span;
use crate::graph::{Graph, References};
use crate::heap::{AllocId, Count, Heap};
use crate::objects::Evidence;
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
        references: &References<'_>,
        grouping: &Grouping<'_>,
        selection: Option<Selection<'_>>,
        task: &Task,
    ) -> LeakSummary {
        let usage = Usage::build(heap, graph, grouping, selection, task);
        let mut summary = LeakSummary { usage, ..LeakSummary::default() };
        let crowns = Crowns { heap, graph, references, grouping };
        summary.add_clusters(heap, graph, &crowns, selection, task);
        summary
    }

    fn add_clusters(
        &mut self,
        heap: &Heap,
        graph: &Graph,
        crowns: &Crowns<'_>,
        selection: Option<Selection<'_>>,
        task: &Task,
    ) {
        let grouping = crowns.grouping;
        let sizes = graph.clusters.build_sizes(&heap.table, task);
        let heads = graph.clusters.heads();
        let parts = in_batches(heap, task, |batch, found: &mut Clusters| {
            for head in heads.iter_in(batch) {
                let total = sizes.get(&heap.table, head);
                let is_cycle = graph.clusters.cycles().contains(head);
                let head = if is_cycle { crowns.find(head) } else { head };
                if selection.is_some_and(|selected| !selected(head)) {
                    continue;
                }
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

/// Of the members of a cycle the one that a person would call its head.
struct Crowns<'a> {
    heap: &'a Heap,
    graph: &'a Graph,
    references: &'a References<'a>,
    grouping: &'a Grouping<'a>,
}

/// So many members of a cycle are looked at.
const MOST_MEMBERS: usize = 512;

impl Crowns<'_> {
    /// A container that is let go is a cycle with its own nodes, of which some node is the head by its address. Its owner is
    /// meant: what the nodes lead to, is no part of a container itself, and leads back to such a node.
    fn find(&self, head: AllocId) -> AllocId {
        if !self.is_part(head) {
            return head;
        }
        let mut known = HashSet::from([head]);
        let mut waiting = VecDeque::from([head]);
        while let Some(member) = waiting.pop_front() {
            let (mut owner, mut next) = (None, Vec::new());
            self.each_of(member, head, |to| {
                if self.is_part(to) {
                    next.push(to);
                } else if owner.is_none() && self.leads_to_part(to, head) {
                    owner = Some(to);
                }
            });
            if let Some(owner) = owner {
                return owner;
            }
            for to in next {
                if known.len() < MOST_MEMBERS && known.insert(to) {
                    waiting.push_back(to);
                }
            }
        }
        head
    }

    fn leads_to_part(&self, from: AllocId, head: AllocId) -> bool {
        let mut leads = false;
        self.each_of(from, head, |to| leads |= self.grouping.key(to) == self.grouping.key(head) || self.is_part(to));
        leads
    }

    /// Calls `visit` for each allocation of the cluster that `from` points at.
    fn each_of(&self, from: AllocId, head: AllocId, mut visit: impl FnMut(AllocId)) {
        let span = self.heap.table.span(from);
        // An owner begins with what it owns; a large allocation is none.
        let span = Span::with_size(span.start(), span.size_bytes().min(4096)).unwrap_or(span);
        self.references.for_each_pointer(span, |_, pointer| {
            let to = pointer.allocation;
            if to != from && self.graph.clusters.head(to) == Some(head) {
                visit(to);
            }
        });
    }

    /// Whether it is a node, a table or a body of a container.
    fn is_part(&self, id: AllocId) -> bool {
        self.grouping
            .identity(self.grouping.key(id))
            .is_some_and(|identity| identity.evidence == Evidence::Container || identity.name.starts_with("std::_"))
    }
}
