//! glibc's malloc (ptmalloc), 2.12 to 2.43, 32- and 64-bit, both byte orders.

mod arena;
mod caches;
mod chunks;
mod mapped;
mod pieces;

use std::collections::HashSet;

use crate::addr::{Addr, Span};
use crate::image::Image;
use crate::task::{Diagnostic, Task};

use super::damage::DamageLog;
use super::memory::{Reader, Words, with_words};
use super::run::{Run, Runs};
use super::table::{AllocationTable, AllocatorId};
use super::{Allocator, AllocatorReport, ArenaKind, ArenaReport, MappedReport, Rounding, Tally, Walk};

use arena::Copy;
use caches::Settled;
use mapped::{Mapped, MappedCount, Wanted};
use pieces::Harvest;

/// The row of glibc in the table of allocators.
pub(super) struct Glibc;

impl Allocator for Glibc {
    fn name(&self) -> &'static str {
        "glibc"
    }

    fn detect<'a>(&self, image: &'a Image) -> Option<Box<dyn Walk + 'a>> {
        let copies = arena::find_copies(Reader::new(image.space()), image.regions());
        let used: Vec<CopyWalk> = copies
            .into_iter()
            .filter(|copy| !copy.main.is_unused || !copy.secondary.is_empty())
            .map(|copy| CopyWalk {
                copy,
                harvest: Harvest::default(),
                mapped: Mapped::default(),
                counted: None,
                settled: Settled::default(),
                first_chunks: HashSet::new(),
            })
            .collect();
        (!used.is_empty()).then(|| Box::new(GlibcWalk { image, copies: used }) as Box<dyn Walk + 'a>)
    }
}

/// The walk through the heaps of all copies of glibc in a process.
struct GlibcWalk<'a> {
    image: &'a Image,
    copies: Vec<CopyWalk>,
}

struct CopyWalk {
    copy: Copy,
    harvest: Harvest,
    mapped: Mapped,
    counted: Option<MappedCount>,
    settled: Settled,
    /// Where the memory of each arena's first chunk begins: a thread's cache is allocated before anything else.
    first_chunks: HashSet<u64>,
}

impl Walk for GlibcWalk<'_> {
    fn copies(&self) -> usize {
        self.copies.len()
    }

    fn rounding(&self) -> Rounding {
        Rounding::Chunks { width: self.image.target().width.bytes() as u8 }
    }

    fn walk(&mut self, first: AllocatorId, task: &Task) -> Vec<Run> {
        let reader = Reader::new(self.image.space());
        let image = self.image;
        with_words!(reader.target, walk_copies(reader, image, &mut self.copies, first, task))
    }

    fn settle(&mut self, table: &mut AllocationTable) {
        let reader = Reader::new(self.image.space());
        for walk in &mut self.copies {
            for arena in std::iter::once(&walk.copy.main).chain(&walk.copy.secondary) {
                caches::settle_fastbins(reader, table, arena, &mut walk.settled);
            }
        }
        // A cache may hold chunks of any copy's arenas; all are looked for at once.
        let first_chunks = self.copies.iter().flat_map(|walk| walk.first_chunks.iter().copied()).collect();
        if let Some(walk) = self.copies.first_mut() {
            caches::settle_caches(reader, table, self.image.threads(), &first_chunks, &mut walk.settled);
        }
    }

    fn finish(self: Box<Self>, first: AllocatorId, table: &AllocationTable) -> Vec<AllocatorReport> {
        let image = self.image;
        let known: Option<Vec<MappedCount>> = self.copies.iter().map(|walk| walk.counted).collect();
        let found = self.copies.iter().map(|walk| walk.mapped.count());
        let agree = known.is_some_and(|known| known.into_iter().sum::<MappedCount>() == found.sum());
        let copies = self.copies.into_iter().zip(first.0..);
        copies.map(|(walk, id)| walk.report(image, AllocatorId(id), table, agree)).collect()
    }
}

fn walk_copies<W: Words>(
    reader: Reader<'_>,
    image: &Image,
    copies: &mut [CopyWalk],
    first: AllocatorId,
    task: &Task,
) -> Vec<Run> {
    let regions = image.regions();
    let heaps = pieces::find_heaps(reader, regions);
    if let Some(open) = copies.iter().position(|walk| !walk.copy.ring_closes) {
        let known = copies.iter().flat_map(|walk| walk.copy.secondary.iter().map(|arena| arena.address)).collect();
        let behind = arena::arenas_of_heaps(reader, known, &heaps);
        copies[open].copy.add_behind_break(reader, behind);
    }
    let mut runs = Vec::new();
    let mut claimed: Vec<Span> = Vec::new();
    for (walk, id) in copies.iter_mut().zip(first.0..) {
        let (mut pieces, base_words) = pieces::plan_main::<W>(reader, &walk.copy, regions);
        for (index, arena) in walk.copy.secondary.iter().enumerate() {
            pieces.extend(pieces::plan_secondary::<W>(reader, index + 1, arena, &heaps, &mut walk.settled.log));
        }
        walk.first_chunks = pieces.iter().map(|piece| piece.from + 2 * W::WIDTH).collect();
        walk.harvest = pieces::walk::<W>(reader, &pieces, AllocatorId(id), task);
        walk.counted = base_words.into_iter().find_map(|place| MappedCount::read(reader, place));
        runs.append(&mut walk.harvest.runs);
        claimed.extend(walk.harvest.pieces.iter().flat_map(|piece| piece.claims.iter().copied()));
    }
    // Mapped chunks say nothing of the copy they belong to; pieces of a main arena do where they end with its top.
    let tops: Vec<Option<u64>> = copies.iter().map(|walk| walk.copy.main.top).collect();
    for ((walk, id), own) in copies.iter_mut().zip(first.0..).zip(0..) {
        let mut mapped_runs = Runs::new(AllocatorId(id));
        let others = tops.iter().enumerate().filter(|(at, _)| *at != own).filter_map(|(_, top)| *top);
        let wanted = Wanted { copy: &walk.copy, expected: walk.counted, other_tops: &others.collect::<Vec<_>>() };
        walk.mapped = mapped::find::<W>(reader, &wanted, regions, &claimed, &mut mapped_runs);
        runs.extend(mapped_runs.finish());
        runs.append(&mut walk.mapped.harvest.runs);
        claimed.extend(walk.mapped.spans.iter().copied());
        claimed.extend(walk.mapped.harvest.pieces.iter().flat_map(|piece| piece.claims.iter().copied()));
    }
    runs
}

impl CopyWalk {
    /// `agree` says that all copies together have as many mapped chunks as they count: which copy's a chunk is nothing
    /// tells, so that the first copies may have been given those of others.
    fn report(self, image: &Image, id: AllocatorId, table: &AllocationTable, agree: bool) -> AllocatorReport {
        let CopyWalk { copy, harvest, mapped, counted, settled, .. } = self;
        let found = mapped.count();
        let mut diagnostics = Vec::new();
        let mut arenas: Vec<ArenaReport> = std::iter::once(&copy.main)
            .chain(&copy.secondary)
            .enumerate()
            .map(|(index, arena)| ArenaReport {
                address: Addr(arena.address),
                kind: match (index, arena.is_contiguous) {
                    (0, true) => ArenaKind::Main,
                    (0, false) => ArenaKind::MainInPieces,
                    _ => ArenaKind::Thread,
                },
                spans: Vec::new(),
                system_bytes: arena.system_bytes,
                missing_bytes: 0,
                tally: Tally::default(),
                highest_used: None,
                trimmable_bytes: 0,
            })
            .collect();
        for piece in harvest.pieces.into_iter().chain(mapped.harvest.pieces) {
            if let Some(arena) = arenas.get_mut(piece.arena) {
                arena.spans.extend(piece.claims);
                arena.missing_bytes += piece.missing_bytes;
            }
        }
        for arena in &mut arenas {
            arena.spans.sort_unstable();
            arena.count(table, id);
            if arena.missing_bytes > 0 {
                diagnostics.push(Diagnostic {
                    code: "heap-missing",
                    at: format!("arena {}", arena.address),
                    effect: format!(
                        "{} bytes of it are not in the dump: its allocations are not all known",
                        arena.missing_bytes
                    ),
                });
            }
        }
        if let Some(counted) = counted.filter(|counted| *counted != found && !agree) {
            diagnostics.push(Diagnostic {
                code: "mapped-chunks-differ",
                at: format!("arena {}", copy.main.span().start()),
                effect: format!(
                    "glibc counts {} mapped chunks of {} bytes, {} of {} were found: some may be missed or mistaken",
                    counted.chunks, counted.bytes, found.chunks, found.bytes
                ),
            });
        }
        if !copy.ring_closes {
            diagnostics.push(Diagnostic {
                code: "arenas-missing",
                at: format!("arena {}", copy.main.span().start()),
                effect: format!(
                    "the ring of arenas does not close; {} beside the main one are known: the allocations of others are missing",
                    copy.secondary.len()
                ),
            });
        }
        let evidence = evidence(&copy, image, &settled);
        let mut log = DamageLog::default();
        for part in [harvest.log, mapped.harvest.log] {
            log.append(DamageLog { damage: part.damage, count: part.damage_count });
        }
        log.append(settled.log);
        log.damage.sort_by_key(|damage| damage.at);
        if settled.undecoded > 0 {
            diagnostics.push(Diagnostic {
                code: "caches-undecoded",
                at: "heap".to_string(),
                effect: format!(
                    "the lists of {} allocations that look like threads' caches were not followed, since those before hold more chunks than there are: free chunks may count as used",
                    settled.undecoded
                ),
            });
        }
        let mut metadata: Vec<Span> =
            std::iter::once(&copy.main).chain(&copy.secondary).map(arena::Arena::span).collect();
        metadata.extend(settled.caches.iter().copied());
        let mut mapped_report = MappedReport { spans: mapped.spans, tally: Tally::default() };
        mapped_report.count(table, id);
        AllocatorReport {
            name: "glibc",
            id,
            versions: versions(&copy, settled.cache_versions),
            module: copy.module,
            evidence,
            arenas,
            mapped: mapped_report,
            thread_caches: settled.caches.len() as u64,
            damage: log.damage,
            damage_count: log.count,
            metadata,
            diagnostics,
        }
    }
}

/// The versions that fit: the cache narrows the arena's down.
fn versions(copy: &Copy, cache: Option<&'static str>) -> String {
    cache.filter(|_| copy.main.layout.fastbins).unwrap_or(copy.main.layout.versions).to_string()
}

fn evidence(copy: &Copy, image: &Image, settled: &Settled) -> Vec<String> {
    let module = copy.module.and_then(|id| image.module(id)).map(|module| module.name().to_vec());
    let place = module.map_or(String::new(), |name| format!(" in {}", String::from_utf8_lossy(&name)));
    let mut evidence = vec![format!("main arena at {}{place}", Addr(copy.main.address))];
    evidence.push(match (copy.ring_closes, copy.secondary.len()) {
        (true, 0) => "the ring of arenas closes on it".to_string(),
        (true, others) => format!("the ring of arenas closes over {} arenas", others + 1),
        (false, _) => "the ring of arenas does not close".to_string(),
    });
    evidence.push(format!(
        "of 127 bins {} are empty and point at themselves, {} hold chunks that point back, {} are broken",
        copy.empty_bins, copy.filled_bins, copy.broken_bins
    ));
    if !settled.caches.is_empty() {
        let caches = match settled.caches.len() {
            1 => "one thread's cache holds".to_owned(),
            caches => format!("{caches} threads' caches hold"),
        };
        evidence.push(format!("{caches} {} chunks", settled.cached));
    }
    evidence
}
