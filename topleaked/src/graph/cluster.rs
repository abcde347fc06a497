//! Leaked clusters: which leaked allocation was let go, and what went with it.
//!
//! Among leaked allocations every reference counts, also one into the middle. A leaked allocation to which no other
//! leaked one points is a head; so is one allocation of each cycle that nothing outside points into. Everything else
//! that is leaked is reached from a head, and belongs to exactly one:
//!
//! - where unreferenced heads reach it, to the one with the lowest address;
//! - where only cycles reach it, to one of those cycles, the same in every run.
//!
//! Most leaked allocations have one referrer, as a string has its object: these are settled by following referrers up,
//! without reading memory again. Only where an allocation has several is memory scanned a second time, and only that
//! of the referrers. Strongly connected components are never built: a search that starts at each unvisited allocation
//! in turn starts, in every component without an entry, exactly once and there first; and of all starts, those that no
//! later start reaches are just these (the first half of Kosaraju's algorithm, with searches in any order).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::addr::Span;
use crate::heap::{AllocId, AllocationTable, Count};
use crate::task::{Task, with_large_pages};

use super::bits::{AllocSet, GrowingSet, Rank};
use super::form::{Form, FormVisitor, with_form};
use super::mark::Marks;
use super::reference::Ground;

/// Stands for "no allocation".
const NONE: u32 = u32::MAX;
/// Ids handed to a thread at once.
const BATCH: u32 = 1 << 14;
/// Larger leaked allocations are scanned in pieces by all threads.
const LARGE_BYTES: u64 = 1 << 20;

/// The leaked allocations by cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Clusters {
    /// For each allocation of the table the head of its cluster; [`NONE`] where it is not leaked.
    owner: Vec<u32>,
    unreferenced: AllocSet,
    cycles: AllocSet,
    referring: AllocSet,
}

impl Clusters {
    /// The head of the cluster that `id` belongs to, itself where it is one; `None` where it is not leaked.
    #[inline]
    pub fn head(&self, id: AllocId) -> Option<AllocId> {
        self.owner.get(id.0 as usize).filter(|head| **head != NONE).map(|head| AllocId(*head))
    }

    /// The heads to which no other leaked allocation points.
    pub fn unreferenced(&self) -> &AllocSet {
        &self.unreferenced
    }

    /// The heads that stand for a cycle: of its members one, the same in every run.
    pub fn cycles(&self) -> &AllocSet {
        &self.cycles
    }

    /// The leaked allocations that point at another leaked one.
    pub fn referring(&self) -> &AllocSet {
        &self.referring
    }

    /// Whether `id` is a head.
    pub fn is_head(&self, id: AllocId) -> bool {
        self.unreferenced.contains(id) || self.cycles.contains(id)
    }

    /// All heads, ascending.
    pub fn heads(&self) -> AllocSet {
        self.unreferenced.union(&self.cycles)
    }

    /// Adds up what belongs to each head. Takes 12 bytes for each head that points at other leaked allocations.
    pub fn build_sizes(&self, table: &AllocationTable, task: &Task) -> ClusterSizes {
        let large = Rank::new(self.heads().intersection(&self.referring));
        let count: Vec<AtomicU32> = (0..large.len()).map(|_| AtomicU32::new(0)).collect();
        let bytes: Vec<AtomicU64> = (0..large.len()).map(|_| AtomicU64::new(0)).collect();
        let next = AtomicU64::new(0);
        task.on_all(|| {
            loop {
                let from = next.fetch_add(BATCH.into(), Ordering::Relaxed) as usize;
                let Some(rest) = self.owner.get(from..) else { return };
                if rest.is_empty() {
                    return;
                }
                for (id, head) in (from as u32..).zip(rest.iter().take(BATCH as usize)) {
                    if let Some(place) = large.place(AllocId(*head)) {
                        count[place].fetch_add(1, Ordering::Relaxed);
                        bytes[place].fetch_add(table.usable_size(AllocId(id)), Ordering::Relaxed);
                    }
                }
            }
        });
        ClusterSizes {
            large,
            count: count.into_iter().map(AtomicU32::into_inner).collect(),
            bytes: bytes.into_iter().map(AtomicU64::into_inner).collect(),
        }
    }
}

/// How much belongs to each head of a leaked cluster.
#[derive(Debug)]
pub struct ClusterSizes {
    /// Heads that point at other leaked allocations; all others stand alone.
    large: Rank,
    count: Vec<u32>,
    bytes: Vec<u64>,
}

impl ClusterSizes {
    /// The allocations of the cluster, its head among them, and their usable bytes.
    pub fn get(&self, table: &AllocationTable, head: AllocId) -> Count {
        let known = self.large.place(head).and_then(|place| Some((self.count.get(place)?, self.bytes.get(place)?)));
        match known {
            Some((count, bytes)) => Count { count: u64::from(*count), bytes: *bytes },
            None => Count { count: 1, bytes: table.usable_size(head) },
        }
    }
}

/// Sorts what `marks` found leaked into clusters.
pub(super) fn build_clusters(ground: &Ground<'_>, marks: &Marks, target: crate::addr::Target, task: &Task) -> Clusters {
    with_form(target, Build { ground, leaked: &marks.leaked, task })
}

struct Build<'a, 'g> {
    ground: &'a Ground<'g>,
    leaked: &'a AllocSet,
    task: &'a Task,
}

impl FormVisitor for Build<'_, '_> {
    type Output = Clusters;

    fn visit<F: Form>(self) -> Clusters {
        let links = self.link::<F>();
        let up: Vec<u32> = links.up.into_iter().map(AtomicU32::into_inner).collect();
        let leaked = self.leaked;
        let unreferenced = AllocSet::build(up.len(), self.task, |id| {
            leaked.contains(id) && up.get(id.0 as usize).is_none_or(|up| *up == NONE)
        });
        let cycles = AllocSet::empty(up.len());
        let mut forest = Forest { ground: self.ground, leaked, up, shared: links.shared.finish(), cycles };
        forest.climb();
        let touching = links.touching.finish();
        if touching.iter().next().is_some() {
            forest.settle_shared::<F>(&touching, &unreferenced);
        }
        forest.crown(self.task);
        Clusters { owner: forest.up, unreferenced, cycles: forest.cycles, referring: links.referring.finish() }
    }
}

/// What one scan over all leaked memory tells.
struct Links {
    /// A referrer of each allocation: the only one unless it is in `shared`.
    up: Vec<AtomicU32>,
    /// Allocations with several referrers.
    shared: GrowingSet,
    /// Allocations that refer to one in `shared`.
    touching: GrowingSet,
    /// Allocations that refer to any.
    referring: GrowingSet,
}

impl Build<'_, '_> {
    fn link<F: Form>(&self) -> Links {
        let length = self.ground.table.len();
        let links = Links {
            up: {
                let mut up = with_large_pages(length);
                up.extend((0..length).map(|_| AtomicU32::new(NONE)));
                up
            },
            shared: GrowingSet::empty(length),
            touching: GrowingSet::empty(length),
            referring: GrowingSet::empty(length),
        };
        let next = AtomicU64::new(0);
        let large: Vec<Vec<AllocId>> = self.task.on_all(|| {
            let mut large = Vec::new();
            loop {
                let from = next.fetch_add(BATCH.into(), Ordering::Relaxed);
                if from >= length as u64 || self.task.progress.is_cancelled() {
                    return large;
                }
                let from = from as u32;
                let mut scanned = 0;
                for id in self.leaked.iter_in(from..from.saturating_add(BATCH)) {
                    let span = self.ground.table.span(id);
                    if span.size_bytes() > LARGE_BYTES {
                        large.push(id);
                        continue;
                    }
                    scanned += span.size_bytes();
                    self.link_span::<F>(&links, id, span);
                }
                self.task.progress.advance(scanned);
            }
        });
        let pieces: Vec<(AllocId, Span)> = large
            .into_iter()
            .flatten()
            .flat_map(|id| pieces(self.ground.table.span(id)).map(move |piece| (id, piece)))
            .collect();
        let next = AtomicU64::new(0);
        self.task.on_all(|| {
            while let Some((id, piece)) = pieces.get(next.fetch_add(1, Ordering::Relaxed) as usize)
                && !self.task.progress.is_cancelled()
            {
                self.link_span::<F>(&links, *id, *piece);
                self.task.progress.advance(piece.size_bytes());
            }
        });
        links
    }

    /// Notes what the words of `span`, which lies in `id`, refer to.
    #[inline(always)]
    fn link_span<F: Form>(&self, links: &Links, id: AllocId, span: Span) {
        let bytes = self.ground.memory.bytes(span.start().0, span.size_bytes());
        if bytes.len() as u64 == span.size_bytes() {
            self.link_bytes::<F>(links, id, bytes);
        } else {
            for (_, bytes) in self.ground.memory.runs(span) {
                self.link_bytes::<F>(links, id, bytes);
            }
        }
    }

    #[inline(always)]
    fn link_bytes<F: Form>(&self, links: &Links, id: AllocId, bytes: &[u8]) {
        let own = self.ground.table.span(id);
        self.ground.candidates::<F>(bytes, |_, to| {
            // A short string points into its own object.
            if to.wrapping_sub(own.start().0) < own.size_bytes() {
                return;
            }
            let Some((found, _)) = self.ground.find(to) else { return };
            if found == id || !self.leaked.contains(found) {
                return;
            }
            links.referring.insert(id);
            let up = &links.up[found.0 as usize];
            let mut known = up.load(Ordering::Relaxed);
            if known == NONE {
                known = match up.compare_exchange(NONE, id.0, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => id.0,
                    Err(other) => other,
                };
            }
            if known != id.0 {
                links.shared.insert(found);
                // The first referrer could not know that there would be more.
                links.touching.insert(AllocId(known));
                links.touching.insert(id);
            }
        });
    }
}

fn pieces(span: Span) -> impl Iterator<Item = Span> {
    let count = span.size_bytes().div_ceil(LARGE_BYTES);
    (0..count).filter_map(move |at| {
        let start = span.start().checked_add(at * LARGE_BYTES)?;
        Span::with_size(start, LARGE_BYTES)?.intersection(span)
    })
}

/// Leaked allocations, each under the one it was reached from, and in the end under its head.
struct Forest<'a, 'g> {
    ground: &'a Ground<'g>,
    leaked: &'a AllocSet,
    /// At first the referrer; after [`Forest::climb`] a head or a shared allocation; in the end a head.
    up: Vec<u32>,
    shared: AllocSet,
    cycles: AllocSet,
}

impl Forest<'_, '_> {
    /// Puts each head under itself.
    fn crown(&mut self, task: &Task) {
        let leaked = self.leaked;
        let part = self.up.len().div_ceil(task.threads.get()).max(1 << 16);
        std::thread::scope(|scope| {
            for (at, ups) in self.up.chunks_mut(part).enumerate() {
                scope.spawn(move || {
                    for (id, up) in ((at * part) as u32..).zip(ups) {
                        if *up == NONE && leaked.contains(AllocId(id)) {
                            *up = id;
                        }
                    }
                });
            }
        });
    }

    fn up_of(&self, id: AllocId) -> u32 {
        self.up.get(id.0 as usize).copied().unwrap_or(NONE)
    }

    fn set_up(&mut self, id: AllocId, up: u32) {
        if let Some(place) = self.up.get_mut(id.0 as usize) {
            *place = up;
        }
    }

    /// Puts each allocation with one referrer directly under the head or the shared allocation that its line of
    /// referrers ends at. A line that ends nowhere is a cycle without another entry: its lowest member becomes a head.
    fn climb(&mut self) {
        let mut settled = AllocSet::empty(self.up.len());
        let mut passed = AllocSet::empty(self.up.len());
        for id in self.leaked.iter() {
            // Most are heads, or hang on one directly: nothing to do.
            let up = self.up_of(id);
            if up == NONE || self.is_top(AllocId(up)) || self.shared.contains(id) {
                continue;
            }
            let top = loop_free_top(self, id, &settled, &mut passed);
            let top = match top {
                Top::Found(top) => top,
                Top::Cycle(member) => {
                    let lowest = self.lowest_of_cycle(member);
                    let mut at = member;
                    loop {
                        let next = self.up_of(at);
                        settled.insert(at);
                        self.set_up(at, lowest.0);
                        at = AllocId(next);
                        if at == member || next == NONE {
                            break;
                        }
                    }
                    self.set_up(lowest, NONE);
                    self.cycles.insert(lowest);
                    lowest.0
                }
            };
            let mut at = id;
            while !settled.contains(at) && !self.is_top(at) {
                settled.insert(at);
                let next = self.up_of(at);
                self.set_up(at, top);
                at = AllocId(next);
            }
        }
    }

    /// Whether a line of referrers ends at `id`.
    fn is_top(&self, id: AllocId) -> bool {
        self.up_of(id) == NONE || self.shared.contains(id)
    }

    fn lowest_of_cycle(&self, member: AllocId) -> AllocId {
        let mut lowest = member;
        let mut at = AllocId(self.up_of(member));
        while at != member {
            lowest = lowest.min(at);
            at = AllocId(self.up_of(at));
        }
        lowest
    }

    /// Gives each shared allocation its head, and then everything that hangs under one.
    fn settle_shared<F: Form>(&mut self, touching: &AllocSet, unreferenced: &AllocSet) {
        for id in self.shared.clone().iter() {
            self.set_up(id, NONE);
        }
        let referrers = Referrers::new(self, touching);
        let mut list = Vec::new();
        for head in unreferenced.iter().filter(|head| referrers.any(*head)) {
            self.claim::<F>(&referrers, head, head, &mut list);
        }
        for head in self.cycles.clone().iter().filter(|head| referrers.any(*head)) {
            self.claim::<F>(&referrers, head, head, &mut list);
        }
        // What is left hangs on cycles that have shared members.
        let mut visited = AllocSet::empty(self.up.len());
        let mut starts = Vec::new();
        for id in self.shared.clone().iter() {
            if self.up_of(id) == NONE && !visited.contains(id) {
                starts.push(id);
                visited.insert(id);
                list.push(id);
                while let Some(at) = list.pop() {
                    referrers.for_each_shared::<F>(self, at, |found| {
                        if self.up_of(found) == NONE && !visited.contains(found) {
                            visited.insert(found);
                            list.push(found);
                        }
                    });
                }
            }
        }
        for start in starts.into_iter().rev() {
            if self.up_of(start) == NONE {
                self.cycles.insert(start);
                self.set_up(start, start.0);
                self.claim::<F>(&referrers, start, start, &mut list);
            }
        }
        for id in self.leaked.iter() {
            let up = self.up_of(id);
            if up != NONE && !self.shared.contains(id) && self.shared.contains(AllocId(up)) {
                self.set_up(id, self.up_of(AllocId(up)));
            }
        }
    }

    /// Puts all shared allocations that `from` reaches, and that have no head yet, under `head`.
    fn claim<F: Form>(&mut self, referrers: &Referrers, from: AllocId, head: AllocId, list: &mut Vec<AllocId>) {
        list.push(from);
        let mut found = Vec::new();
        while let Some(at) = list.pop() {
            referrers.for_each_shared::<F>(self, at, |id| found.push(id));
            for id in found.drain(..) {
                if self.up_of(id) == NONE {
                    self.set_up(id, head.0);
                    list.push(id);
                }
            }
        }
    }
}

enum Top {
    Found(u32),
    Cycle(AllocId),
}

/// Follows referrers from `id` up to a head, a shared allocation or one that is settled; or round a cycle.
fn loop_free_top(forest: &Forest<'_, '_>, id: AllocId, settled: &AllocSet, passed: &mut AllocSet) -> Top {
    let mut at = id;
    loop {
        if forest.is_top(at) {
            return Top::Found(at.0);
        }
        if settled.contains(at) {
            return Top::Found(forest.up_of(at));
        }
        if passed.contains(at) {
            return Top::Cycle(at);
        }
        passed.insert(at);
        at = AllocId(forest.up_of(at));
    }
}

/// For each head and shared allocation the allocations under it that refer to shared ones, itself among them.
struct Referrers {
    tops: Rank,
    /// For each top the place in `members` where its own begin; one more at the end.
    first: Vec<u32>,
    members: Vec<u32>,
}

impl Referrers {
    fn new(forest: &Forest<'_, '_>, touching: &AllocSet) -> Referrers {
        let top = |id: AllocId| if forest.is_top(id) { id } else { AllocId(forest.up_of(id)) };
        let mut tops = AllocSet::empty(forest.up.len());
        touching.iter().for_each(|id| tops.insert(top(id)));
        let tops = Rank::new(tops);
        let mut first = vec![0_u32; tops.len() + 2];
        for id in touching.iter() {
            if let Some(place) = tops.place(top(id)) {
                first[place + 2] += 1;
            }
        }
        for at in 2..first.len() {
            first[at] += first[at - 1];
        }
        let mut members = vec![0_u32; first.last().copied().unwrap_or(0) as usize];
        for id in touching.iter() {
            if let Some(place) = tops.place(top(id)) {
                let at = first[place + 1];
                first[place + 1] += 1;
                members[at as usize] = id.0;
            }
        }
        first.pop();
        Referrers { tops, first, members }
    }

    fn any(&self, top: AllocId) -> bool {
        self.tops.place(top).is_some()
    }

    /// Calls `found` for each shared allocation that one of `top`'s members refers to, again for each reference.
    fn for_each_shared<F: Form>(&self, forest: &Forest<'_, '_>, top: AllocId, mut found: impl FnMut(AllocId)) {
        let Some(place) = self.tops.place(top) else { return };
        let members = self.members.get(self.first[place] as usize..self.first[place + 1] as usize);
        for id in members.unwrap_or_default() {
            for (_, bytes) in forest.ground.memory.runs(forest.ground.table.span(AllocId(*id))) {
                forest.ground.candidates::<F>(bytes, |_, to| {
                    if let Some((to, _)) = forest.ground.find(to)
                        && to.0 != *id
                        && forest.shared.contains(to)
                    {
                        found(to);
                    }
                });
            }
        }
    }
}
