//! A shortest way from a root to one allocation.
//!
//! A search by levels: each thread takes a part of a level, and an allocation keeps the lowest of the ids that led to it
//! from there, so that the way found is the same for any number of threads.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::addr::Addr;
use crate::heap::AllocId;
use crate::task::Task;

use super::bits::GrowingSet;
use super::form::{Form, FormVisitor, words};
use super::incoming::Holder;
use super::mark::Reachability;
use super::reference::{Aim, Ground};
use super::roots::{Root, Roots};

const NONE: u32 = u32::MAX;
/// In the place of a referrer: reached from a root.
const ROOT: u32 = u32::MAX - 1;
/// Smaller levels are not worth a thread.
const SMALL_LEVEL: usize = 4096;
const BATCH: usize = 256;

/// One word on the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// Where the word is.
    pub holder: Holder,
    /// Where it points.
    pub to: Addr,
    /// The allocation that it points into.
    pub reaches: AllocId,
}

/// How the program can reach an allocation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Path {
    /// How sure that is.
    pub reachability: Reachability,
    /// From the root to the allocation; empty where nothing reaches it.
    pub steps: Vec<Step>,
}

/// Finds how `target` is reached: over sure pointers if they lead there, else over any, else from stale places.
pub(super) struct FindPath<'a, 'g> {
    pub(super) ground: &'a Ground<'g>,
    pub(super) roots: &'a Roots,
    pub(super) target: AllocId,
    pub(super) task: &'a Task,
}

impl FormVisitor for FindPath<'_, '_> {
    type Output = Path;

    fn visit<F: Form>(self) -> Path {
        for reachability in [Reachability::Anchored, Reachability::PossiblyInterior, Reachability::PossiblyStale] {
            let search = Search {
                ground: self.ground,
                roots: self.roots,
                task: self.task,
                reachability,
                up: (0..self.ground.table.len()).map(|_| AtomicU32::new(NONE)).collect(),
                closed: GrowingSet::empty(self.ground.table.len()),
            };
            if search.reaches::<F>(self.target) {
                return Path { reachability, steps: search.way::<F>(self.target) };
            }
        }
        Path { reachability: Reachability::Leaked, steps: Vec::new() }
    }
}

struct Search<'a, 'g> {
    ground: &'a Ground<'g>,
    roots: &'a Roots,
    task: &'a Task,
    reachability: Reachability,
    /// For each allocation that was met the lowest id of the level before that refers to it, or [`ROOT`].
    up: Vec<AtomicU32>,
    /// Allocations of earlier levels.
    closed: GrowingSet,
}

impl Search<'_, '_> {
    /// Whether a pointer counts in this search.
    fn counts(&self, id: AllocId, aim: Aim) -> bool {
        match aim {
            Aim::Start => true,
            Aim::Inside(offset) => self.reachability != Reachability::Anchored || self.ground.proves(id, offset),
        }
    }

    fn reaches<F: Form>(&self, target: AllocId) -> bool {
        let mut level = self.first_level::<F>();
        loop {
            if self.up.get(target.0 as usize).is_some_and(|up| up.load(Ordering::Relaxed) != NONE) {
                return true;
            }
            if level.is_empty() || self.task.progress.is_cancelled() {
                return false;
            }
            for id in &level {
                self.closed.insert(*id);
            }
            level = if level.len() < SMALL_LEVEL {
                let mut next = Vec::new();
                level.iter().for_each(|id| self.follow::<F>(*id, &mut next));
                next
            } else {
                let at = AtomicU64::new(0);
                let parts = self.task.on_all(|| {
                    let mut next = Vec::new();
                    loop {
                        let from = at.fetch_add(BATCH as u64, Ordering::Relaxed) as usize;
                        let Some(rest) = level.get(from..).filter(|rest| !rest.is_empty()) else { return next };
                        rest.iter().take(BATCH).for_each(|id| self.follow::<F>(*id, &mut next));
                    }
                });
                parts.into_iter().flatten().collect()
            };
        }
    }

    fn first_level<F: Form>(&self) -> Vec<AllocId> {
        let mut level = Vec::new();
        for_each_root_word::<F>(self.ground, self.roots, self.reachability, |word, _| {
            if let Some((id, aim)) = self.ground.resolve(word)
                && self.up[id.0 as usize].load(Ordering::Relaxed) == NONE
                && self.ground.table.state(id).is_used()
                && self.counts(id, aim)
            {
                self.up[id.0 as usize].store(ROOT, Ordering::Relaxed);
                level.push(id);
            }
            true
        });
        level
    }

    fn follow<F: Form>(&self, from: AllocId, next: &mut Vec<AllocId>) {
        for (_, bytes) in self.ground.memory.runs(self.ground.table.span(from)) {
            self.ground.candidates::<F>(bytes, |_, to| {
                let Some((id, aim)) = self.ground.find(to) else { return };
                if self.closed.contains(id)
                    || self.up[id.0 as usize].load(Ordering::Relaxed) <= from.0
                    || !self.ground.table.state(id).is_used()
                    || !self.counts(id, aim)
                {
                    return;
                }
                if self.up[id.0 as usize].fetch_min(from.0, Ordering::Relaxed) == NONE {
                    next.push(id);
                }
            });
        }
    }

    /// The words that led to `target`.
    fn way<F: Form>(&self, target: AllocId) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut at = target;
        // Referrers are of earlier levels, so that this comes to an end.
        loop {
            let up = self.up.get(at.0 as usize).map_or(NONE, |up| up.load(Ordering::Relaxed));
            let step = match up {
                NONE => None,
                ROOT => self.step_from_root::<F>(at),
                from => self.step_from::<F>(AllocId(from), at),
            };
            steps.extend(step);
            if step.is_none() || up == ROOT {
                break;
            }
            at = AllocId(up);
        }
        steps.reverse();
        steps
    }

    fn step_from_root<F: Form>(&self, reaches: AllocId) -> Option<Step> {
        let mut found = None;
        for_each_root_word::<F>(self.ground, self.roots, self.reachability, |word, holder| {
            match self.ground.resolve(word) {
                Some((id, aim)) if id == reaches && self.counts(id, aim) => {
                    found = Some(Step { holder, to: Addr(self.ground.address(word)), reaches });
                    false
                }
                _ => true,
            }
        });
        found
    }

    fn step_from<F: Form>(&self, from: AllocId, reaches: AllocId) -> Option<Step> {
        let span = self.ground.table.span(from);
        for (start, bytes) in self.ground.memory.runs(span) {
            for (at, word) in words::<F>(bytes) {
                if let Some((id, aim)) = self.ground.resolve(word)
                    && id == reaches
                    && self.counts(id, aim)
                {
                    let offset = start.0 + at as u64 - span.start().0;
                    let to = Addr(self.ground.address(word));
                    return Some(Step { holder: Holder::Allocation(from, offset), to, reaches });
                }
            }
        }
        None
    }
}

/// Calls `visit` for each word of the roots that count for `reachability`, until it says `false`.
fn for_each_root_word<F: Form>(
    ground: &Ground<'_>,
    roots: &Roots,
    reachability: Reachability,
    mut visit: impl FnMut(u64, Holder) -> bool,
) {
    for root in roots.iter() {
        match root {
            Root::Register(register) => {
                if !visit(register.value, Holder::Register(register)) {
                    return;
                }
            }
            Root::Word(word) => {
                let Some(memory) = roots.memory_at(word.at) else { continue };
                if !visit(word.value, Holder::Memory(*memory, word.at)) {
                    return;
                }
            }
            Root::Memory(memory) => {
                if memory.kind.is_stale() && reachability != Reachability::PossiblyStale {
                    continue;
                }
                for (start, bytes) in ground.memory.runs(memory.span) {
                    let skip = (start.0.wrapping_neg() as usize) & (F::WIDTH - 1);
                    for (at, word) in words::<F>(bytes.get(skip..).unwrap_or_default()) {
                        let at = Addr(start.0 + (skip + at) as u64);
                        if !visit(word, Holder::Memory(memory, at)) {
                            return;
                        }
                    }
                }
            }
        }
    }
}
