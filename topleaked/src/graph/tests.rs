//! Marking and clustering against plain twins of themselves, on random heaps.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::*;
use crate::addr::{Addr, ByteOrder, Span, Target, Width};
use crate::graph::reference::Ground;
use crate::heap::{AllocId, AllocationTable, State};
use crate::image::{AddressSpace, Backing, Content, Permissions, Segment};
use crate::task::Task;

const HEAP: u64 = 0x5555_0000;
const LIVE: u64 = 0x1000_0000;
const STALE: u64 = 0x7fff_0000;

/// A heap, and words that refer into it, before they are laid out as bytes.
#[derive(Clone, Debug)]
struct Plan {
    target: Target,
    /// Size in words, state, and what its words point at.
    allocations: Vec<(usize, State, Vec<Aimed>)>,
    live: Vec<Aimed>,
    stale: Vec<Aimed>,
}

/// A word that points at an allocation, so many words behind its start; at none where there is no such allocation.
#[derive(Clone, Copy, Debug)]
struct Aimed {
    allocation: usize,
    words_behind: usize,
}

struct World {
    space: AddressSpace,
    table: AllocationTable,
    roots: Roots,
    starts: Vec<u64>,
    width: u64,
}

fn put(target: Target, bytes: &mut Vec<u8>, word: u64) {
    match (target.width, target.order) {
        (Width::W8, ByteOrder::Little) => bytes.extend(word.to_le_bytes()),
        (Width::W8, ByteOrder::Big) => bytes.extend(word.to_be_bytes()),
        (Width::W4, ByteOrder::Little) => bytes.extend((word as u32).to_le_bytes()),
        (Width::W4, ByteOrder::Big) => bytes.extend((word as u32).to_be_bytes()),
    }
}

impl Plan {
    fn build(&self) -> World {
        let width = self.target.width.bytes() as u64;
        let mut at = HEAP;
        let mut starts = Vec::new();
        let mut rows = Vec::new();
        for (words, state, _) in &self.allocations {
            starts.push(at);
            rows.push((Addr(at), *words as u64 * width, *state));
            at = (at + *words as u64 * width + 8).next_multiple_of(8);
        }
        let word = |aimed: &Aimed| {
            starts.get(aimed.allocation).map_or(0x17, |start| start + aimed.words_behind as u64 * width)
        };
        let mut heap = Vec::new();
        for ((_, _, aimed), start) in self.allocations.iter().zip(&starts) {
            heap.resize((start - HEAP) as usize, 0);
            aimed.iter().for_each(|aimed| put(self.target, &mut heap, word(aimed)));
        }
        heap.resize((at - HEAP) as usize, 0);
        let mut space = AddressSpace::new(self.target);
        let mut add = |start: u64, bytes: Vec<u8>| {
            let span = Span::with_size(Addr(start), bytes.len() as u64).unwrap();
            let id = space.add_backing(Backing::memory(bytes));
            let permissions = Permissions { read: true, write: true, execute: false };
            space.add_segment(Segment { span, permissions, content: Content::Present(id, 0) }).unwrap();
            span
        };
        add(HEAP, heap);
        let mut roots = Vec::new();
        for (start, aimed, kind) in
            [(LIVE, &self.live, RootKind::ModuleData), (STALE, &self.stale, RootKind::DeadStack)]
        {
            let mut bytes = Vec::new();
            aimed.iter().for_each(|aimed| put(self.target, &mut bytes, word(aimed)));
            let span = add(start, bytes);
            roots.push(RootMemory { span, kind, thread: None, module: None });
        }
        World {
            space,
            table: AllocationTable::from_allocations(rows).unwrap(),
            roots: Roots::of_memory(self.target, roots),
            starts,
            width,
        }
    }
}

fn target() -> impl Strategy<Value = Target> {
    (any::<bool>(), any::<bool>()).prop_map(|(wide, little)| Target {
        width: if wide { Width::W8 } else { Width::W4 },
        order: if little { ByteOrder::Little } else { ByteOrder::Big },
    })
}

fn plan(most: usize) -> impl Strategy<Value = Plan> {
    let aimed = move || {
        (0..most * 2, prop_oneof![6 => Just(0_usize), 1 => 1_usize..6])
            .prop_map(|(allocation, words_behind)| Aimed { allocation, words_behind })
    };
    let state = prop_oneof![8 => Just(State::Used), 1 => Just(State::Free), 1 => Just(State::Internal)];
    let allocation = (prop_oneof![3_usize..6, Just(1), 6_usize..40], state, prop::collection::vec(aimed(), 0..4));
    let allocations = prop::collection::vec(allocation, 1..most);
    (target(), allocations, prop::collection::vec(aimed(), 0..4), prop::collection::vec(aimed(), 0..3)).prop_map(
        |(target, mut allocations, live, stale)| {
            for (words, _, aimed) in &mut allocations {
                aimed.truncate(*words);
            }
            Plan { target, allocations, live, stale }
        },
    )
}

/// Marking and clustering as plainly as they can be said: sets, and loops until nothing changes.
struct Plain {
    /// For each used allocation what it points at: which, and whether that is a sure pointer.
    edges: BTreeMap<u32, Vec<(u32, bool)>>,
}

impl Plain {
    fn new(world: &World) -> Plain {
        let edges = world.table.iter().filter(|allocation| allocation.state.is_used());
        Plain { edges: edges.map(|allocation| (allocation.id.0, Plain::edges(world, allocation.span()))).collect() }
    }

    fn edges(world: &World, span: Span) -> Vec<(u32, bool)> {
        let words = (span.start().0..span.end().0).step_by(world.width as usize);
        words
            .filter_map(|at| {
                let word = world.space.word(Addr(at))?;
                let hit = world.table.iter().find(|other| other.span().contains(Addr(word)))?;
                if !hit.state.is_used() {
                    return None;
                }
                let offset = word - hit.address.0;
                let ground = Ground::new(&world.space, &[], &world.table, Tags::default());
                Some((hit.id.0, offset == 0 || ground.proves(hit.id, offset)))
            })
            .collect()
    }

    fn reach(&self, from: impl IntoIterator<Item = u32>, sure: bool) -> BTreeSet<u32> {
        let mut reached: BTreeSet<u32> = from.into_iter().collect();
        let mut list: Vec<u32> = reached.iter().copied().collect();
        while let Some(at) = list.pop() {
            for (to, proved) in &self.edges[&at] {
                if (*proved || !sure) && reached.insert(*to) {
                    list.push(*to);
                }
            }
        }
        reached
    }
}

fn ids(set: &AllocSet) -> BTreeSet<u32> {
    set.iter().map(|id| id.0).collect()
}

fn without(set: &BTreeSet<u32>, others: &BTreeSet<u32>) -> BTreeSet<u32> {
    set.difference(others).copied().collect()
}

fn task(threads: usize) -> Task {
    Task { threads: NonZeroUsize::new(threads).unwrap(), ..Task::default() }
}

fn build(world: &World, threads: usize) -> Graph {
    let ground = Ground::new(&world.space, &[], &world.table, Tags::default());
    Graph::of_ground(&ground, &world.roots, &task(threads))
}

fn check(plan: &Plan) -> Result<(), TestCaseError> {
    let world = plan.build();
    let plain = Plain::new(&world);
    let graph = build(&world, 1);
    for threads in [2, 5] {
        prop_assert!(graph == build(&world, threads), "{threads} threads found something else than one");
    }
    let roots: Vec<_> = world.roots.memory().iter().map(|root| Plain::edges(&world, root.span)).collect();
    let sure = plain.reach(roots[0].iter().filter(|(_, proved)| *proved).map(|(to, _)| *to), true);
    let any = plain.reach(roots[0].iter().map(|(to, _)| *to).chain(sure.iter().copied()), false);
    let stale = plain.reach(roots[1].iter().map(|(to, _)| *to).chain(any.iter().copied()), false);
    let used: BTreeSet<u32> = plain.edges.keys().copied().collect();
    let leaked = without(&used, &stale);
    prop_assert_eq!(ids(&graph.marks.anchored), sure.clone());
    prop_assert_eq!(ids(&graph.marks.interior), without(&any, &sure));
    prop_assert_eq!(ids(&graph.marks.stale), without(&stale, &any));
    prop_assert_eq!(ids(&graph.marks.leaked), leaked.clone());
    prop_assert_eq!(graph.marks.root_references[RootKind::ModuleData as usize], roots[0].len() as u64);
    prop_assert_eq!(graph.marks.root_references[RootKind::DeadStack as usize], roots[1].len() as u64);

    let reach: BTreeMap<u32, BTreeSet<u32>> = leaked.iter().map(|id| (*id, plain.reach([*id], false))).collect();
    let referred: BTreeSet<u32> = leaked
        .iter()
        .flat_map(|from| plain.edges[from].iter().map(move |(to, _)| (*from, *to)))
        .filter(|(from, to)| from != to)
        .map(|(_, to)| to)
        .collect();
    let unreferenced = without(&leaked, &referred);
    prop_assert_eq!(ids(graph.clusters.unreferenced()), unreferenced.clone());
    // A cycle is a head where everything that reaches it is reached from it.
    let entered = |id: u32| reach.iter().any(|(from, to)| to.contains(&id) && !reach[&id].contains(from));
    let cyclic: BTreeSet<u32> = referred.intersection(&leaked).copied().filter(|id| !entered(*id)).collect();
    for head in graph.clusters.cycles().iter() {
        prop_assert!(cyclic.contains(&head.0), "{head:?} is in no cycle without an entry");
    }
    for id in &cyclic {
        let standing = graph.clusters.cycles().iter().filter(|head| reach[id].contains(&head.0)).count();
        prop_assert_eq!(standing, 1, "the cycle of {} has {} heads", id, standing);
    }
    for id in &leaked {
        let head = graph.clusters.head(AllocId(*id)).expect("a leaked allocation has a head").0;
        prop_assert!(reach[&head].contains(id), "{head} does not reach {id}");
        match unreferenced.iter().find(|head| reach[head].contains(id)) {
            Some(lowest) => prop_assert_eq!(head, *lowest),
            None => prop_assert!(graph.clusters.cycles().contains(AllocId(head))),
        }
    }
    for id in world.table.ids().filter(|id| !leaked.contains(&id.0)) {
        prop_assert_eq!(graph.clusters.head(id), None);
    }
    prop_assert_eq!(world.starts.len(), world.table.len());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn small_heaps_are_marked_and_clustered_as_the_plain_twin_does(plan in plan(12)) {
        check(&plan)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn larger_heaps_are_marked_and_clustered_as_the_plain_twin_does(plan in plan(90)) {
        check(&plan)?;
    }
}
