//! What leaked: by type, and by what was let go.

mod human;

use serde::Serialize;

use crate::graph::RootKind;
use crate::heap::{AllocId, Heap, HeapError, State};
use crate::insight::{GroupKey, Grouping, LeakSummary, Selection, Shape, Usage};
use crate::session::Session;

use super::Hex;
use super::addresses::Addresses;
use super::type_rows::{CountRow, PossiblyRow, SizeRow, TypeRow, type_rows};
use super::unwalked::{UnwalkedRow, unwalked_rows};

/// A type that fills the heap is told of from this many bytes on.
const MUCH_BYTES: u64 = 1 << 20;
/// Of so many kinds of heads the typical cluster is drawn.
const MOST_SHAPES: usize = 20;

/// The answer of `leaks`.
#[derive(Debug, Serialize)]
pub struct Leaks<'s> {
    used: CountRow,
    /// Nothing reaches these.
    leaked: CountRow,
    /// Leaked, and no other leaked allocation points at them.
    unreferenced: CountRow,
    /// Leaked clusters that hang together in a cycle: how many, and the bytes of all that belongs to them.
    cycles: CountRow,
    anchored: CountRow,
    possibly_leaked: PossiblyRow,
    /// Leaked allocations by type, most leaked bytes first.
    types: Vec<TypeRow>,
    /// Leaked allocations of no known type by usable size.
    unidentified: Vec<SizeRow>,
    /// The largest leaked clusters.
    clusters: Vec<ClusterRow>,
    /// All leaked clusters by the type of their heads.
    cluster_types: Vec<ClusterTypeRow>,
    /// How many words of each kind of root point into used allocations.
    roots: Vec<RootRow>,
    /// Allocators whose blocks are not judged.
    unwalked: Vec<UnwalkedRow>,
    /// What fills the heap where nothing leaked.
    #[serde(skip_serializing_if = "Option::is_none")]
    dominant: Option<DominantRow>,
    /// Free bytes of the heap that do not go back to the system.
    #[serde(skip)]
    stays_free: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    addresses: Option<Addresses<'s>>,
    /// All used allocations, where the answer is about a part of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    heap: Option<CountRow>,
    /// Whether people are shown every row.
    #[serde(skip)]
    all: bool,
}

#[derive(Clone, Debug, Serialize)]
struct ClusterRow {
    head: Hex,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    type_name: Option<String>,
    /// The head's usable size.
    size: u64,
    count: u64,
    bytes: u64,
    cycle: bool,
}

#[derive(Clone, Debug, Serialize)]
struct ClusterTypeRow {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    type_name: Option<String>,
    /// The heads' usable size, where they have no known type.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    clusters: u64,
    cycles: u64,
    count: u64,
    bytes: u64,
    largest: CountRow,
    #[serde(skip_serializing_if = "Option::is_none")]
    typical: Option<TypicalRow>,
}

#[derive(Clone, Debug, Serialize)]
struct TypicalRow {
    head: Hex,
    shape: ShapeRow,
}

#[derive(Clone, Debug, Serialize)]
struct ShapeRow {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    type_name: Option<String>,
    size: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    children: Vec<ShapeChildRow>,
    /// Whether it goes on where the tree ends.
    cut: bool,
}

#[derive(Clone, Debug, Serialize)]
struct ShapeChildRow {
    offset: u64,
    count: u64,
    shape: ShapeRow,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct RootRow {
    kind: &'static str,
    references: u64,
}

#[derive(Clone, Debug, Serialize)]
struct DominantRow {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    type_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    count: u64,
    bytes: u64,
    /// One of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    example: Option<Hex>,
}

impl<'s> Leaks<'s> {
    /// Finds out what leaked: of the allocations that are selected, or of all.
    ///
    /// # Errors
    /// Where the heap cannot be walked, or the process has no allocator that can.
    pub fn new(session: &'s Session<'_>, selection: Option<Selection<'_>>) -> Result<Leaks<'s>, HeapError> {
        let (heap, graph) = (session.heap()?, session.graph()?);
        heap.require_walked()?;
        let grouping = Grouping::new(session.objects()?, &heap.table);
        let references = session.references()?;
        let summary = LeakSummary::build(heap, graph, &references, &grouping, selection, session.task());
        let usage = &summary.usage;
        let mut leaked: Vec<_> = usage.groups.iter().filter(|(_, counts)| counts.leaked.count > 0).collect();
        leaked.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.leaked.bytes));
        let (types, unidentified) = type_rows(leaked, &grouping);
        let name_of = |key| grouping.identity(key).map(|identity| identity.name.clone());
        let clusters = (summary.largest.iter())
            .map(|cluster| ClusterRow {
                head: heap.table.address(cluster.head).into(),
                type_name: name_of(cluster.key),
                size: heap.table.usable_size(cluster.head),
                count: cluster.total.count,
                bytes: cluster.total.bytes,
                cycle: cluster.is_cycle,
            })
            .collect();
        let typical = |head: AllocId| TypicalRow {
            head: heap.table.address(head).into(),
            shape: shape_row(Shape::find(heap, graph, &references, &grouping, head), &grouping),
        };
        let cluster_types = (summary.clusters.iter().enumerate())
            .map(|(at, (key, group))| ClusterTypeRow {
                type_name: name_of(*key),
                size: size_of(*key),
                clusters: group.clusters,
                cycles: group.cycles,
                count: group.total.count,
                bytes: group.total.bytes,
                largest: group.largest.into(),
                typical: group.typical.filter(|_| at < MOST_SHAPES).map(typical),
            })
            .collect();
        let roots = RootKind::ALL.iter().zip(graph.marks.root_references);
        Ok(Leaks {
            used: usage.total.used().into(),
            leaked: usage.total.leaked.into(),
            unreferenced: summary.unreferenced.into(),
            cycles: summary.cycles.into(),
            anchored: usage.total.anchored.into(),
            possibly_leaked: usage.into(),
            types,
            unidentified,
            clusters,
            cluster_types,
            roots: roots.map(|(kind, references)| RootRow { kind: kind.name(), references }).collect(),
            unwalked: unwalked_rows(heap),
            dominant: if usage.total.leaked.count == 0 { dominant(heap, usage, &grouping) } else { None },
            stays_free: stays_free(heap),
            addresses: None,
            heap: selection.map(|_| heap_total(heap)),
            all: false,
        })
    }

    /// The same with the address of each leaked allocation that is selected.
    ///
    /// # Errors
    /// As [`Leaks::new`].
    pub fn with_addresses(
        mut self,
        session: &'s Session<'_>,
        selection: Option<Selection<'s>>,
    ) -> Result<Leaks<'s>, HeapError> {
        self.addresses = Some(Addresses { heap: session.heap()?, leaked_of: Some(session.graph()?), selection });
        Ok(self)
    }

    /// Whether people are shown every type, and not the largest alone.
    #[must_use]
    pub fn show_all(self, all: bool) -> Leaks<'s> {
        Leaks { all, ..self }
    }

    /// Whether the process allocates nothing but what was walked.
    fn judges_all(&self) -> bool {
        self.unwalked.is_empty()
    }

    /// How many allocations leaked.
    pub fn leaked_count(&self) -> u64 {
        self.leaked.count
    }

    /// How many usable bytes leaked.
    pub fn leaked_bytes(&self) -> u64 {
        self.leaked.bytes
    }
}

fn size_of(key: GroupKey) -> Option<u64> {
    match key {
        GroupKey::Size(size) => Some(size),
        GroupKey::Type(_) => None,
    }
}

/// All that is in use.
pub(super) fn heap_total(heap: &Heap) -> CountRow {
    let used = heap.allocators.iter().map(|allocator| allocator.tally().used());
    used.fold(CountRow::default(), |sum, used| CountRow {
        count: sum.count + used.count,
        bytes: sum.bytes.saturating_add(used.bytes),
    })
}

/// The type that fills a third of the heap or more, where that is much.
fn dominant(heap: &Heap, usage: &Usage, grouping: &Grouping<'_>) -> Option<DominantRow> {
    let (key, counts) = usage.groups.first()?;
    let used = counts.used();
    let fills = used.bytes >= MUCH_BYTES && used.bytes >= usage.total.used().bytes / 3;
    (used.count > 1 && fills).then(|| DominantRow {
        type_name: grouping.identity(*key).map(|identity| identity.name.clone()),
        size: size_of(*key),
        count: used.count,
        bytes: used.bytes,
        example: (heap.table.ids())
            .find(|id| heap.table.state(*id).is_used() && grouping.key(*id) == *key)
            .map(|id| heap.table.address(id).into()),
    })
}

/// Free memory that the process keeps, in bytes.
fn stays_free(heap: &Heap) -> u64 {
    let tallies = heap.allocators.iter().map(|allocator| allocator.tally());
    tallies.map(|tally| tally.free().bytes.saturating_sub(tally.state(State::Top).bytes)).sum()
}

fn shape_row(shape: Shape, grouping: &Grouping<'_>) -> ShapeRow {
    // As deep as Shape::find goes, which is a handful of levels.
    ShapeRow {
        type_name: grouping.identity(shape.key).map(|identity| identity.name.clone()),
        size: shape.usable_size,
        children: (shape.children.into_iter())
            .map(|child| ShapeChildRow {
                offset: child.offset,
                count: child.count,
                shape: shape_row(child.shape, grouping),
            })
            .collect(),
        cut: shape.cut,
    }
}
