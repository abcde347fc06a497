//! Who points at one place: a scan over all memory that may hold a pointer, instead of an index of all references.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::addr::{Addr, Span};
use crate::heap::{AllocId, Heap};
use crate::task::Task;

use super::form::{Form, FormVisitor, words};
use super::reference::Ground;
use super::roots::{Root, RootMemory, RootRegister, Roots};

/// Memory scanned at once by one thread; hits are kept in order of these pieces.
const PIECE_BYTES: u64 = 4 << 20;

/// Where a word that refers to something is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holder {
    /// In a used allocation, so many bytes behind its start.
    Allocation(AllocId, u64),
    /// In memory that is a root, at this address.
    Memory(RootMemory, Addr),
    /// In a register.
    Register(RootRegister),
}

/// A word that points at what was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Incoming {
    /// Where the word is.
    pub holder: Holder,
    /// Where it points.
    pub to: Addr,
}

/// All words that point at one place.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IncomingReferences {
    /// The first of them: registers, then by address.
    pub examples: Vec<Incoming>,
    /// How many there are in all.
    pub total: u64,
    /// How many of them are in used allocations.
    pub from_allocations: u64,
}

/// Scans roots and used allocations for words that point into `target`, and keeps the first `most` of them.
/// Words inside `target` do not count.
pub(super) struct FindIncoming<'a, 'g> {
    pub(super) ground: &'a Ground<'g>,
    pub(super) heap: &'a Heap,
    pub(super) roots: &'a Roots,
    pub(super) target: Span,
    pub(super) most: usize,
    pub(super) task: &'a Task,
}

impl FormVisitor for FindIncoming<'_, '_> {
    type Output = IncomingReferences;

    fn visit<F: Form>(self) -> IncomingReferences {
        let mut found = IncomingReferences::default();
        for root in self.roots.iter() {
            if let Root::Register(register) = root
                && self.target.contains(Addr(self.ground.address(register.value)))
            {
                found.total += 1;
                found.examples.push(Incoming {
                    holder: Holder::Register(register),
                    to: Addr(self.ground.address(register.value)),
                });
            }
        }
        let pieces = self.pieces();
        let next = AtomicU64::new(0);
        self.task.progress.start("looking for references", pieces.iter().map(|piece| piece.size_bytes()).sum());
        let mut by_piece: Vec<(u64, PieceHits)> = self
            .task
            .on_all(|| {
                let mut all = Vec::new();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(piece) = pieces.get(at as usize) else { return all };
                    if self.task.progress.is_cancelled() {
                        return all;
                    }
                    let hits = self.scan::<F>(*piece);
                    if hits.total > 0 {
                        all.push((at, hits));
                    }
                    self.task.progress.advance(piece.size_bytes());
                }
            })
            .into_iter()
            .flatten()
            .collect();
        by_piece.sort_unstable_by_key(|(at, _)| *at);
        for (_, hits) in by_piece {
            found.total += hits.total;
            found.from_allocations += hits.from_allocations;
            found.examples.extend(hits.first);
        }
        found.examples.truncate(self.most);
        found
    }
}

#[derive(Default)]
struct PieceHits {
    first: Vec<Incoming>,
    total: u64,
    from_allocations: u64,
}

impl FindIncoming<'_, '_> {
    /// What has to be scanned, by address.
    fn pieces(&self) -> Vec<Span> {
        let mut spans: Vec<Span> = self.roots.memory().iter().map(|root| root.span).collect();
        spans.extend_from_slice(&self.heap.claimed);
        spans.sort_unstable();
        let mut pieces = Vec::new();
        for span in spans {
            let mut from = span.start();
            while from < span.end() {
                let to = from.checked_add(PIECE_BYTES).map_or(span.end(), |to| to.min(span.end()));
                pieces.extend(Span::new(from, to));
                from = to;
            }
        }
        pieces
    }

    fn scan<F: Form>(&self, piece: Span) -> PieceHits {
        let mut hits = PieceHits::default();
        let (low, range) = (self.target.start().0, self.target.size_bytes());
        for (start, bytes) in self.ground.memory.runs(piece) {
            let skip = (start.0.wrapping_neg() as usize) & (F::WIDTH - 1);
            let bytes = bytes.get(skip..).unwrap_or_default();
            // Blocks without a hit, nearly all of them, cost no branch a word.
            for (block, chunk) in bytes.chunks(64 * F::WIDTH).enumerate() {
                let any = words::<F>(chunk)
                    .fold(false, |any, (_, word)| any | (self.ground.address(word).wrapping_sub(low) < range));
                if !any {
                    continue;
                }
                for (at, word) in words::<F>(chunk) {
                    let to = self.ground.address(word);
                    if to.wrapping_sub(low) < range {
                        let at = start.0 + (skip + block * 64 * F::WIDTH + at) as u64;
                        self.hit(&mut hits, Addr(at), Addr(to));
                    }
                }
            }
        }
        hits
    }

    #[cold]
    fn hit(&self, hits: &mut PieceHits, at: Addr, to: Addr) {
        if self.target.contains(at) {
            return;
        }
        let holder = match self.ground.table.find(at) {
            Some((id, offset)) if self.ground.table.state(id).is_used() => Holder::Allocation(id, offset),
            // In a damaged run, or in what is free: only a root counts.
            _ => match self.roots.memory_at(at) {
                Some(root) => Holder::Memory(*root, at),
                None => return,
            },
        };
        hits.total += 1;
        hits.from_allocations += u64::from(matches!(holder, Holder::Allocation(..)));
        if hits.first.len() < self.most {
            hits.first.push(Incoming { holder, to });
        }
    }
}
