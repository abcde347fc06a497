//! Which used allocations a root reaches.
//!
//! Marking keeps ids in lists, not addresses on a call stack; each thread marks from a list of its own and gives half
//! of it away when another has none. An allocation's memory is asked for some steps before it is read (a ring between
//! the list and the scan: Cher, Hosking and Vitek, "Software prefetching for mark-sweep garbage collection", 2004).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::addr::Span;
use crate::heap::AllocId;
use crate::task::Task;

use super::bits::{AllocSet, GrowingSet};
use super::crew::Pool;
use super::form::{Form, FormVisitor, with_form};
use super::prefetch::prefetch;
use super::reference::{Aim, Ground};
use super::roots::{Root, RootKind, Roots};

/// How many allocations lie between the request for their memory and the scan of it.
const RING: usize = 16;
/// A list longer than this gives half of itself away while another thread has nothing to do.
const SHARE_FROM: usize = 128;
/// Larger memory is scanned in pieces, by whoever has time.
const PIECE_BYTES: u64 = 256 << 10;

/// How sure it is that the program can still reach an allocation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reachability {
    /// A root reaches it over pointers to the start of each allocation on the way, or pointers that are proved to be
    /// as good.
    Anchored,
    /// A root reaches it, but only over a pointer into the middle of some allocation on the way.
    PossiblyInterior,
    /// Only a place that the program is done with reaches it: a stack's dead part, the stack of a thread that ended.
    PossiblyStale,
    /// Nothing reaches it.
    Leaked,
}

impl Reachability {
    /// Its name, the same in all output: `anchored`, `possibly-leaked`, `leaked`.
    pub fn name(self) -> &'static str {
        match self {
            Reachability::Anchored => "anchored",
            Reachability::PossiblyInterior | Reachability::PossiblyStale => "possibly-leaked",
            Reachability::Leaked => "leaked",
        }
    }
}

/// What marking found. Each used allocation is in exactly one of the four sets; no other allocation is in any.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Marks {
    /// Reached for sure.
    pub anchored: AllocSet,
    /// Reached only over pointers into the middle.
    pub interior: AllocSet,
    /// Reached only from stale places.
    pub stale: AllocSet,
    /// Not reached.
    pub leaked: AllocSet,
    /// How many words of each kind of root point into a used allocation, by [`RootKind::ALL`].
    pub root_references: [u64; RootKind::ALL.len()],
}

impl Marks {
    /// How sure it is that the program can reach `id`; `None` where that is no used allocation.
    pub fn reachability(&self, id: AllocId) -> Option<Reachability> {
        if self.anchored.contains(id) {
            Some(Reachability::Anchored)
        } else if self.leaked.contains(id) {
            Some(Reachability::Leaked)
        } else if self.interior.contains(id) {
            Some(Reachability::PossiblyInterior)
        } else {
            self.stale.contains(id).then_some(Reachability::PossiblyStale)
        }
    }
}

/// Marks everything, in three rounds: over sure pointers from the roots; over any pointer from there on; over any
/// pointer from stale places.
pub(super) fn mark(ground: &Ground<'_>, roots: &Roots, task: &Task) -> Marks {
    with_form(roots.target(), MarkAll { ground, roots, task })
}

struct MarkAll<'a, 'g> {
    ground: &'a Ground<'g>,
    roots: &'a Roots,
    task: &'a Task,
}

impl FormVisitor for MarkAll<'_, '_> {
    type Output = Marks;

    fn visit<F: Form>(self) -> Marks {
        let table = self.ground.table;
        let not_used = AllocSet::build(table.len(), self.task, |id| !table.state(id).is_used());
        let marker = Marker {
            ground: self.ground,
            task: self.task,
            closed: GrowingSet::from_set(&not_used),
            doubtful: GrowingSet::empty(table.len()),
            pool: Pool::new(self.task.threads),
            root_references: Default::default(),
        };
        for root in self.roots.iter() {
            match root {
                Root::Memory(memory) if !memory.kind.is_stale() => marker.give_memory(memory.span, Some(memory.kind)),
                Root::Register(register) => marker.pool.give(Work::Word(register.value, RootKind::Register)),
                Root::Word(word) => marker.pool.give(Work::Word(word.value, word.kind)),
                Root::Memory(_) => {}
            }
        }
        marker.run::<F, true>();
        let reached = marker.closed.snapshot();
        let mut marker = Marker { pool: Pool::new(self.task.threads), ..marker };
        let doubtful = std::mem::replace(&mut marker.doubtful, GrowingSet::empty(0)).finish();
        let seeds: Vec<AllocId> = doubtful.iter().filter(|id| marker.closed.insert(*id)).collect();
        for batch in seeds.chunks(4096) {
            marker.pool.give(Work::Allocations(batch.to_vec()));
        }
        marker.run::<F, false>();
        let possible = marker.closed.snapshot();
        let marker = Marker { pool: Pool::new(self.task.threads), ..marker };
        for root in self.roots.iter() {
            if let Root::Memory(memory) = root
                && memory.kind.is_stale()
            {
                marker.give_memory(memory.span, Some(memory.kind));
            }
        }
        marker.run::<F, false>();
        let root_references = marker.root_references.map(AtomicU64::into_inner);
        let stale = marker.closed.finish();
        let all = AllocSet::build(table.len(), self.task, |_| true);
        Marks {
            anchored: reached.without(&not_used),
            interior: possible.without(&reached),
            leaked: all.without(&stale),
            stale: stale.without(&possible),
            root_references,
        }
    }
}

enum Work {
    /// A word that is a root by itself.
    Word(u64, RootKind),
    /// Memory to scan: of a root of this kind, or of a large allocation.
    Memory(Span, Option<RootKind>),
    /// Marked allocations that were not scanned yet.
    Allocations(Vec<AllocId>),
}

struct Marker<'a, 'g> {
    ground: &'a Ground<'g>,
    task: &'a Task,
    /// What need not be looked at: marked allocations, and those not in use.
    closed: GrowingSet,
    /// What some pointer into the middle points at.
    doubtful: GrowingSet,
    pool: Pool<Work>,
    root_references: [AtomicU64; RootKind::ALL.len()],
}

impl Marker<'_, '_> {
    /// Hands out the memory of `span` in pieces.
    fn give_memory(&self, span: Span, kind: Option<RootKind>) {
        let mut from = span.start();
        while let Some(piece) = Span::new(from, span.end().min(from.checked_add(PIECE_BYTES).unwrap_or(span.end())))
            .filter(|piece| !piece.is_empty())
        {
            self.pool.give(Work::Memory(piece, kind));
            from = piece.end();
        }
    }

    /// Marks until nothing is left. With `SURE`, pointers into the middle count only where they are proved, and what
    /// they point at is doubtful otherwise; without, any pointer counts.
    fn run<F: Form, const SURE: bool>(&self) {
        self.task.on_all(|| {
            let mut list: Vec<AllocId> = Vec::new();
            while let Some(work) = self.pool.take() {
                if self.task.progress.is_cancelled() {
                    self.pool.stop();
                    break;
                }
                match work {
                    Work::Word(word, kind) => {
                        let mut references = 0;
                        if let Some((id, aim)) = self.ground.resolve(word) {
                            references += u64::from(self.ground.table.state(id).is_used());
                            self.meet::<SURE>(id, aim, &mut list);
                        }
                        self.count(kind, references);
                    }
                    Work::Memory(span, None) => self.scan_memory::<F, SURE>(span, &mut list),
                    Work::Memory(span, Some(kind)) => self.scan_root::<F, SURE>(span, kind, &mut list),
                    Work::Allocations(ids) => list.extend(ids),
                }
                self.drain::<F, SURE>(&mut list);
            }
        });
    }

    fn count(&self, kind: RootKind, references: u64) {
        if let Some(counter) = self.root_references.get(kind as usize) {
            counter.fetch_add(references, Ordering::Relaxed);
        }
    }

    fn scan_root<F: Form, const SURE: bool>(&self, span: Span, kind: RootKind, list: &mut Vec<AllocId>) {
        let mut references = 0;
        for (start, bytes) in self.ground.memory.runs(span) {
            let skip = (start.0.wrapping_neg() as usize) & (F::WIDTH - 1);
            self.ground.candidates::<F>(bytes.get(skip..).unwrap_or_default(), |_, to| {
                if let Some((id, aim)) = self.ground.find(to) {
                    references += u64::from(self.ground.table.state(id).is_used());
                    self.meet::<SURE>(id, aim, list);
                }
            });
        }
        self.count(kind, references);
    }

    fn scan_memory<F: Form, const SURE: bool>(&self, span: Span, list: &mut Vec<AllocId>) {
        for (_, bytes) in self.ground.memory.runs(span) {
            self.scan::<F, SURE>(bytes, list);
        }
    }

    #[inline(always)]
    fn scan<F: Form, const SURE: bool>(&self, bytes: &[u8], list: &mut Vec<AllocId>) {
        self.ground.candidates::<F>(bytes, |_, to| {
            if let Some((id, aim)) = self.ground.find(to) {
                self.meet::<SURE>(id, aim, list);
            }
        });
    }

    #[inline(always)]
    fn meet<const SURE: bool>(&self, id: AllocId, aim: Aim, list: &mut Vec<AllocId>) {
        if self.closed.contains(id) {
            return;
        }
        if SURE
            && let Aim::Inside(offset) = aim
            && !self.ground.proves(id, offset)
        {
            self.doubtful.insert(id);
        } else if self.closed.insert(id) {
            list.push(id);
        }
    }

    /// Scans what is on the list, and what that puts there.
    fn drain<F: Form, const SURE: bool>(&self, list: &mut Vec<AllocId>) {
        let mut ring: [&[u8]; RING] = [&[]; RING];
        let mut at = 0;
        let mut scanned = 0_u64;
        // Once the list is empty, the ring still holds RING allocations.
        let mut rest = RING;
        while rest > 0 || !list.is_empty() {
            let next = match list.pop() {
                Some(id) => {
                    rest = RING;
                    self.first_piece(id)
                }
                None => {
                    rest = rest.saturating_sub(1);
                    &[][..]
                }
            };
            prefetch(next);
            prefetch(next.get(64..).unwrap_or_default());
            let bytes = std::mem::replace(&mut ring[at % RING], next);
            at += 1;
            self.scan::<F, SURE>(bytes, list);
            scanned += bytes.len() as u64;
            if list.len() > SHARE_FROM && self.pool.is_hungry() {
                let half = list.len() / 2;
                self.pool.give(Work::Allocations(list.drain(..half).collect()));
            }
        }
        self.task.progress.advance(scanned);
    }

    /// The bytes of an allocation that are scanned at once; the others go to the pool.
    #[inline(always)]
    fn first_piece(&self, id: AllocId) -> &[u8] {
        let span = self.ground.table.span(id);
        let bytes = self.ground.memory.bytes(span.start().0, span.size_bytes());
        if bytes.len() as u64 == span.size_bytes() && span.size_bytes() <= PIECE_BYTES {
            bytes
        } else {
            self.give_large(id)
        }
    }

    #[cold]
    fn give_large(&self, id: AllocId) -> &'static [u8] {
        self.give_memory(self.ground.table.span(id), None);
        &[]
    }
}
