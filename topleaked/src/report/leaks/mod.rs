//! What leaked: by type, and by what was let go.

mod human;
mod names;

use serde::{Serialize, Serializer};

use crate::graph::{Graph, RootKind};
use crate::heap::{Count, Heap, HeapError};
use crate::insight::{GroupKey, Grouping, LeakSummary, Shape, TypeCounts};
use crate::session::Session;

use super::Hex;
pub(super) use names::TypeNames;

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
    /// What fills the heap where nothing leaked.
    #[serde(skip_serializing_if = "Option::is_none")]
    dominant: Option<DominantRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    addresses: Option<Addresses<'s>>,
    /// Whether people are shown every row.
    #[serde(skip)]
    all: bool,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct CountRow {
    count: u64,
    bytes: u64,
}

impl From<Count> for CountRow {
    fn from(count: Count) -> CountRow {
        CountRow { count: count.count, bytes: count.bytes }
    }
}

#[derive(Clone, Copy, Debug, Serialize)]
struct PossiblyRow {
    count: u64,
    bytes: u64,
    /// Reached only over a pointer into the middle of some allocation.
    interior: CountRow,
    /// Reached only from a stack's dead part, the stack of a thread that ended, a damaged part of the heap.
    stale: CountRow,
}

#[derive(Clone, Debug, Serialize)]
struct TypeRow {
    name: String,
    evidence: &'static str,
    confidence: &'static str,
    count: u64,
    bytes: u64,
    leaked: CountRow,
    possibly_leaked: CountRow,
    live: CountRow,
}

#[derive(Clone, Debug, Serialize)]
struct SizeRow {
    size: u64,
    count: u64,
    bytes: u64,
    leaked: CountRow,
    possibly_leaked: CountRow,
    live: CountRow,
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
}

/// The addresses of all leaked allocations, read from the tables while they are written.
#[derive(Clone, Copy, Debug)]
struct Addresses<'s> {
    heap: &'s Heap,
    graph: &'s Graph,
}

impl Addresses<'_> {
    fn iter(&self) -> impl Iterator<Item = Hex> + '_ {
        self.graph.marks.leaked.iter().map(|id| Hex::from(self.heap.table.address(id)))
    }
}

impl Serialize for Addresses<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'s> Leaks<'s> {
    /// Finds out what leaked.
    ///
    /// # Errors
    /// Where the heap cannot be walked.
    pub fn new(session: &'s Session<'_>) -> Result<Leaks<'s>, HeapError> {
        let (heap, graph) = (session.heap()?, session.graph()?);
        let names = TypeNames::new(session);
        let identify = |marker| names.identifies(marker);
        let grouping = Grouping::new(session.image(), &heap.table);
        let summary = LeakSummary::build(heap, graph, &grouping, &identify, session.task());
        let references = session.references()?;
        let mut leaks = Leaks {
            used: summary.total.used().into(),
            leaked: summary.total.leaked.into(),
            unreferenced: summary.unreferenced.into(),
            cycles: summary.cycles.into(),
            anchored: summary.total.anchored.into(),
            possibly_leaked: PossiblyRow {
                count: summary.total.possibly_leaked.count,
                bytes: summary.total.possibly_leaked.bytes,
                interior: summary.interior.into(),
                stale: summary.stale.into(),
            },
            types: Vec::new(),
            unidentified: Vec::new(),
            clusters: Vec::new(),
            cluster_types: Vec::new(),
            roots: Vec::new(),
            dominant: None,
            addresses: None,
            all: false,
        };
        leaks.add_types(&summary, &names);
        leaks.clusters = (summary.largest.iter())
            .map(|cluster| ClusterRow {
                head: heap.table.address(cluster.head).into(),
                type_name: names.of(cluster.key).map(|name| name.name),
                size: heap.table.usable_size(cluster.head),
                count: cluster.total.count,
                bytes: cluster.total.bytes,
                cycle: cluster.is_cycle,
            })
            .collect();
        leaks.cluster_types = (summary.clusters.iter().enumerate())
            .map(|(at, (key, group))| {
                let typical = group.typical.filter(|_| at < MOST_SHAPES).map(|head| TypicalRow {
                    head: heap.table.address(head).into(),
                    shape: shape_row(Shape::find(heap, graph, &references, &grouping, &identify, head), &names),
                });
                ClusterTypeRow {
                    type_name: names.of(*key).map(|name| name.name),
                    size: size_of(*key),
                    clusters: group.clusters,
                    cycles: group.cycles,
                    count: group.total.count,
                    bytes: group.total.bytes,
                    largest: group.largest.into(),
                    typical,
                }
            })
            .collect();
        let references = RootKind::ALL.iter().zip(graph.marks.root_references);
        leaks.roots = references.map(|(kind, references)| RootRow { kind: kind.name(), references }).collect();
        if summary.total.leaked.count == 0 {
            leaks.dominant = dominant(&summary, &names);
        }
        Ok(leaks)
    }

    /// The same with the address of each leaked allocation.
    ///
    /// # Errors
    /// As [`Leaks::new`].
    pub fn with_addresses(mut self, session: &'s Session<'_>) -> Result<Leaks<'s>, HeapError> {
        self.addresses = Some(Addresses { heap: session.heap()?, graph: session.graph()? });
        Ok(self)
    }

    /// Whether people are shown every type, and not the largest alone.
    #[must_use]
    pub fn show_all(self, all: bool) -> Leaks<'s> {
        Leaks { all, ..self }
    }

    /// How many allocations leaked.
    pub fn leaked_count(&self) -> u64 {
        self.leaked.count
    }

    /// How many usable bytes leaked.
    pub fn leaked_bytes(&self) -> u64 {
        self.leaked.bytes
    }

    fn add_types(&mut self, summary: &LeakSummary, names: &TypeNames<'_, '_>) {
        for (key, counts) in summary.groups.iter().filter(|(_, counts)| counts.leaked.count > 0) {
            let TypeCounts { leaked, possibly_leaked, anchored } = *counts;
            let used = counts.used();
            match (names.of(*key), key) {
                (Some(name), _) => self.types.push(TypeRow {
                    name: name.name,
                    evidence: name.evidence,
                    confidence: name.confidence,
                    count: used.count,
                    bytes: used.bytes,
                    leaked: leaked.into(),
                    possibly_leaked: possibly_leaked.into(),
                    live: anchored.into(),
                }),
                (None, GroupKey::Size(size)) => self.unidentified.push(SizeRow {
                    size: *size,
                    count: used.count,
                    bytes: used.bytes,
                    leaked: leaked.into(),
                    possibly_leaked: possibly_leaked.into(),
                    live: anchored.into(),
                }),
                (None, GroupKey::Marker(_)) => {}
            }
        }
    }
}

fn size_of(key: GroupKey) -> Option<u64> {
    match key {
        GroupKey::Size(size) => Some(size),
        GroupKey::Marker(_) => None,
    }
}

/// The type that fills a third of the heap or more.
fn dominant(summary: &LeakSummary, names: &TypeNames<'_, '_>) -> Option<DominantRow> {
    let (key, counts) =
        summary.groups.iter().max_by_key(|(key, counts)| (counts.used().bytes, std::cmp::Reverse(*key)))?;
    let used = counts.used();
    (used.count > 1 && used.bytes >= summary.total.used().bytes / 3).then(|| DominantRow {
        type_name: names.of(*key).map(|name| name.name),
        size: size_of(*key),
        count: used.count,
        bytes: used.bytes,
    })
}

fn shape_row(shape: Shape, names: &TypeNames<'_, '_>) -> ShapeRow {
    // As deep as Shape::find goes, which is a handful of levels.
    ShapeRow {
        type_name: names.of(shape.key).map(|name| name.name),
        size: shape.usable_size,
        children: (shape.children.into_iter())
            .map(|child| ShapeChildRow {
                offset: child.offset,
                count: child.count,
                shape: shape_row(child.shape, names),
            })
            .collect(),
        cut: shape.cut,
    }
}
