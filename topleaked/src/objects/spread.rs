//! Types that spread along pointers: what a typed member of a known object points to has the member's type, and so on.
//!
//! It begins at global and static variables and at objects that are known by other evidence, and goes on until nothing
//! changes. Two questions are asked of each proposal: does the type fit the allocation, and are the words that
//! would be its pointers pointers? Sure answers spread first; a doubtful one only names what no sure one has reached,
//! and whatever follows from it is doubtful too. Each allocation gets a type once and is read once.
//!
//! What it gets wrong: memory that a program uses through another type than it declares (an arena behind a `char *`,
//! a handle behind a pointer to its first member), where the declared type fits by chance.

mod fit;
mod owners;
mod plan;
mod scan;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::addr::Addr;
use crate::heap::{AllocId, AllocationTable};
use crate::image::AddressSpace;
use crate::task::Task;
use crate::types::{Confidence, PointerTarget, TypeId, Types, Variable};

use fit::fit;
use owners::Owners;
use plan::{Plan, Plans};
use scan::Scan;

/// Allocations that are looked at between two decisions: few enough for their proposals to be kept.
const BATCH: usize = 1 << 20;
/// A round with fewer allocations is not worth a thread.
const SMALL: usize = 2048;
/// Doubtful proposals that wait for their turn; further ones are forgotten.
const MOST_PENDING: usize = 1 << 24;

/// Times that all allocations are looked at for what they begin with.
const MOST_OWNER_ROUNDS: usize = 4;

/// Where types spread from, and over what.
#[derive(Clone, Copy, Debug)]
pub struct SpreadGround<'a> {
    /// The process's memory.
    pub space: &'a AddressSpace,
    /// Its allocations.
    pub table: &'a AllocationTable,
    /// Variables with a type.
    pub variables: &'a [Variable],
    /// The types of identities that are known before, by number; `None` where debug information has none.
    pub seeds: &'a [Option<TypeId>],
    /// The number, one of the seeds', of what is known well enough for doubt not to matter: only a sure type takes its place.
    /// 0 for none.
    pub guarded: u32,
}

impl SpreadGround<'_> {
    /// Whether an allocation's code leaves room for a type.
    fn is_open(&self, code: u32) -> bool {
        code == 0 || code == self.guarded
    }
}

/// A type that spread to some allocations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpreadType {
    /// As the source writes it; `[]` behind it where an allocation holds several in a row. Text from debug information:
    /// not yet safe for a terminal.
    pub name: String,
    /// The type of one; `None` for nodes that only their container knows.
    pub ty: Option<TypeId>,
    /// An allocation holds as many in a row as fit.
    pub many: bool,
    /// How sure it is.
    pub confidence: Confidence,
}

/// What spreading found.
#[derive(Clone, Debug, Default)]
pub struct Spread {
    /// By number, the first one being that behind the last seed.
    pub types: Vec<SpreadType>,
    /// Something was left out: a heap made to take without end, or more doubt than fits.
    pub truncated: bool,
}

/// How an allocation holds a type.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Form {
    /// One object, perhaps with a tail of elements.
    One,
    /// As many as fit.
    Many,
    /// As its owner counted them; they were read with the owner.
    Counted,
}

/// What an allocation may be.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Proposal {
    alloc: u32,
    plan: u32,
    doubtful: bool,
    counted: bool,
}

/// Codes of the column: 0 for none, then the seeds, then plan, form and doubt.
#[derive(Clone, Copy, Debug)]
struct Codes {
    seeds: u32,
}

impl Codes {
    fn code(self, plan: u32, form: Form, doubtful: bool) -> u32 {
        self.seeds.saturating_add(1).saturating_add(plan * 6 + form as u32 * 2 + u32::from(doubtful))
    }

    /// Plan, form and doubt of a code that spreading gave.
    fn parts(self, code: u32) -> Option<(u32, Form, bool)> {
        let rest = code.checked_sub(self.seeds.saturating_add(1))?;
        let form = match rest % 6 / 2 {
            0 => Form::One,
            1 => Form::Many,
            _ => Form::Counted,
        };
        Some((rest / 6, form, rest % 2 == 1))
    }
}

/// Spreads types over the allocations whose number in `column` is 0, from those whose number `n` is a seed, `seeds[n - 1]`,
/// and from variables. What is found gets the numbers behind the seeds', in the order of the answer.
///
/// Costs O(bytes of what gets a type), on all threads of the task, and no memory beyond the column but what is on its way.
pub fn spread(ground: &SpreadGround<'_>, types: &mut Types, column: &[AtomicU32], task: &Task) -> Spread {
    let word = ground.space.target().width.bytes() as u8;
    let used: u64 = ground.table.iter().map(|allocation| allocation.usable_size).sum();
    let mut work = Work {
        ground,
        task,
        codes: column,
        form: Codes { seeds: u32::try_from(ground.seeds.len()).unwrap_or(u32::MAX / 2) },
        plans: Plans::new(types, word, task),
        seeds: Vec::new(),
        budget: AtomicU64::new(used.saturating_mul(8).saturating_add(1 << 30)),
        wanted: Vec::new(),
        pending: Vec::new(),
        frontier: Vec::new(),
        truncated: false,
    };
    work.run();
    work.finish()
}

/// The allocations of a table in parts of one batch.
fn ranges(count: usize) -> impl Iterator<Item = std::ops::Range<u32>> {
    let end = u32::try_from(count).unwrap_or(u32::MAX);
    (0..end).step_by(BATCH).map(move |at| at..at.saturating_add(BATCH as u32).min(end))
}

/// What is read for proposals.
enum Source<'s> {
    Variables(&'s [(Addr, u32)]),
    /// Allocations by number, all of which may be seeds.
    Range(std::ops::Range<u32>),
    Allocations(&'s [u32]),
    /// Allocations by number, which may begin with a pointer to a variable.
    Owners(std::ops::Range<u32>, &'s Owners),
}

impl Source<'_> {
    fn len(&self) -> usize {
        match self {
            Source::Variables(variables) => variables.len(),
            Source::Range(range) | Source::Owners(range, _) => range.len(),
            Source::Allocations(list) => list.len(),
        }
    }
}

struct Work<'w> {
    ground: &'w SpreadGround<'w>,
    task: &'w Task,
    codes: &'w [AtomicU32],
    form: Codes,
    plans: Plans<'w>,
    /// The plan of each seed.
    seeds: Vec<Option<u32>>,
    /// Bytes that may still be read.
    budget: AtomicU64,
    /// Plans that proposals need.
    wanted: Vec<AtomicBool>,
    pending: Vec<Proposal>,
    frontier: Vec<u32>,
    truncated: bool,
}

impl Work<'_> {
    fn run(&mut self) {
        let variables: Vec<(Addr, u32)> = (self.ground.variables.iter())
            .map(|variable| (variable.addr, self.plans.of(PointerTarget::Type(variable.ty))))
            .collect();
        self.seeds =
            self.ground.seeds.iter().map(|seed| seed.map(|ty| self.plans.of(PointerTarget::Type(ty)))).collect();
        let first: Vec<u32> =
            variables.iter().map(|(_, plan)| *plan).chain(self.seeds.iter().flatten().copied()).collect();
        self.plans.build(first);
        self.task.progress.start("spreading types", self.codes.len() as u64);
        for part in variables.chunks(BATCH) {
            self.round(&Source::Variables(part), false);
        }
        if self.seeds.iter().any(Option::is_some) {
            for range in ranges(self.codes.len()) {
                if self.task.progress.is_cancelled() {
                    break;
                }
                let count = range.len() as u64;
                self.round(&Source::Range(range), false);
                self.task.progress.advance(count);
            }
        }
        self.drain(false);
        // What is found there may bring up types that begin so in turn.
        for _ in 0..MOST_OWNER_ROUNDS {
            let plans = self.plans.len();
            let owners = Owners::new(&variables, self.plans.list());
            if owners.is_empty() || self.task.progress.is_cancelled() {
                break;
            }
            for range in ranges(self.codes.len()) {
                self.round(&Source::Owners(range, &owners), false);
            }
            self.drain(false);
            if self.plans.len() == plans {
                break;
            }
        }
        let mut pending = std::mem::take(&mut self.pending);
        pending.sort_unstable();
        pending.dedup();
        while !pending.is_empty() && !self.task.progress.is_cancelled() {
            self.decide(vec![pending], true);
            self.drain(true);
            pending = std::mem::take(&mut self.pending);
        }
    }

    /// Follows what was found until there is nothing new.
    fn drain(&mut self, doubtful: bool) {
        let mut list = Vec::new();
        while !self.frontier.is_empty() && !self.task.progress.is_cancelled() {
            std::mem::swap(&mut list, &mut self.frontier);
            for part in list.chunks(BATCH) {
                self.round(&Source::Allocations(part), doubtful);
            }
            list.clear();
        }
    }

    /// Reads what is in `source`, then decides what its pointers lead to.
    fn round(&mut self, source: &Source<'_>, doubtful: bool) {
        if self.wanted.len() < self.plans.len() {
            self.wanted.resize_with(self.plans.len(), AtomicBool::default);
        }
        let scan = Scan {
            ground: self.ground,
            plans: self.plans.list(),
            codes: self.codes,
            form: self.form,
            seeds: &self.seeds,
            wanted: &self.wanted,
            budget: &self.budget,
        };
        let count = source.len();
        let pieces = if count < SMALL { 1 } else { self.task.threads.get() };
        let rows = u32::try_from(self.codes.len()).unwrap_or(u32::MAX).max(1);
        let next = AtomicUsize::new(0);
        let read = || {
            let mut parts: Vec<Vec<Proposal>> = vec![Vec::new(); pieces];
            let mut out = Vec::new();
            loop {
                let from = next.fetch_add(SMALL, Ordering::Relaxed);
                if from >= count {
                    return parts;
                }
                let to = from.saturating_add(SMALL).min(count);
                match source {
                    Source::Variables(list) => {
                        for (addr, plan) in list.get(from..to).unwrap_or_default() {
                            scan.variable(*addr, *plan, &mut out);
                        }
                    }
                    Source::Range(range) => {
                        for id in range.start + from as u32..range.start + to as u32 {
                            scan.seed(AllocId(id), &mut out);
                        }
                    }
                    Source::Owners(range, owners) => {
                        for id in range.start + from as u32..range.start + to as u32 {
                            owners.propose(&scan, AllocId(id), &mut out);
                        }
                    }
                    Source::Allocations(list) => {
                        for id in list.get(from..to).unwrap_or_default() {
                            scan.allocation(AllocId(*id), &mut out);
                        }
                    }
                }
                // Each part's allocations are decided by one thread.
                for proposal in out.drain(..) {
                    let part = u64::from(proposal.alloc) * pieces as u64 / u64::from(rows);
                    if let Some(part) = parts.get_mut(part as usize) {
                        part.push(proposal);
                    }
                }
            }
        };
        let by_thread = if pieces == 1 { vec![read()] } else { self.task.on_all(read) };
        let mut parts: Vec<Vec<Proposal>> = vec![Vec::new(); pieces];
        for thread in by_thread {
            for (part, mut own) in parts.iter_mut().zip(thread) {
                if part.is_empty() {
                    *part = own;
                } else {
                    part.append(&mut own);
                }
            }
        }
        if parts.iter().all(Vec::is_empty) {
            return;
        }
        self.decide(parts, doubtful);
    }

    /// Gives types to what the proposals name. Proposals for one allocation are in one part.
    fn decide(&mut self, parts: Vec<Vec<Proposal>>, doubtful: bool) {
        let wanted = |at: &usize| {
            let unbuilt = self.plans.list().get(*at).is_some_and(|plan| !plan.is_built);
            unbuilt && self.wanted.get(*at).is_some_and(|wanted| wanted.load(Ordering::Relaxed))
        };
        let mut missing: Vec<u32> = if parts.iter().map(Vec::len).sum::<usize>() < SMALL {
            let plans = self.plans.list();
            let unbuilt = |plan: &u32| plans.get(*plan as usize).is_some_and(|plan| !plan.is_built);
            parts.iter().flatten().map(|proposal| proposal.plan).filter(unbuilt).collect()
        } else {
            (0..self.wanted.len()).filter(wanted).map(|at| at as u32).collect()
        };
        if !missing.is_empty() {
            missing.sort_unstable();
            missing.dedup();
            self.plans.build(missing);
        }
        let judge =
            Judge { ground: self.ground, plans: self.plans.list(), codes: self.codes, form: self.form, doubtful };
        let outcomes: Vec<Outcome> = match <[Vec<Proposal>; 1]>::try_from(parts) {
            Ok([only]) => vec![judge.decide(only)],
            Err(parts) => {
                let parts: Vec<std::sync::Mutex<Vec<Proposal>>> = parts.into_iter().map(Into::into).collect();
                let next = AtomicUsize::new(0);
                let decided = self.task.on_all(|| {
                    let mut own = Vec::new();
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(part) = parts.get(at) else { return own };
                        let part = std::mem::take(&mut *part.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
                        own.push((at, judge.decide(part)));
                    }
                });
                let mut decided: Vec<(usize, Outcome)> = decided.into_iter().flatten().collect();
                decided.sort_by_key(|(at, _)| *at);
                decided.into_iter().map(|(_, outcome)| outcome).collect()
            }
        };
        for mut outcome in outcomes {
            self.frontier.append(&mut outcome.found);
            let room = MOST_PENDING.saturating_sub(self.pending.len());
            self.truncated |= outcome.doubtful.len() > room;
            outcome.doubtful.truncate(room);
            self.pending.append(&mut outcome.doubtful);
        }
    }

    /// Numbers what was found, without gaps.
    fn finish(self) -> Spread {
        let first = self.form.seeds + 1;
        let mut numbers: HashMap<u32, u32> = HashMap::new();
        // As many codes as plans allow, of which few are used.
        let mut used: Vec<bool> = vec![false; self.plans.len() * 6];
        for code in self.codes {
            if let Some(at) = code.load(Ordering::Relaxed).checked_sub(first)
                && let Some(used) = used.get_mut(at as usize)
            {
                *used = true;
            }
        }
        let mut merged: HashMap<(String, bool, bool), u32> = HashMap::new();
        let mut found = Vec::new();
        for (code, _) in (first..).zip(&used).filter(|(_, used)| **used) {
            let Some((plan, form, doubtful)) = self.form.parts(code) else { continue };
            let Some(plan) = self.plans.list().get(plan as usize) else { continue };
            let many = form != Form::One;
            let name = self.plans.name(plan);
            let next = first.saturating_add(found.len() as u32);
            let number = *merged.entry((name.clone(), many, doubtful)).or_insert_with(|| {
                found.push(SpreadType {
                    name: if many { format!("{name}[]") } else { name },
                    ty: match plan.target {
                        PointerTarget::Type(ty) => Some(ty),
                        _ => None,
                    },
                    many,
                    confidence: if doubtful { Confidence::Possible } else { Confidence::Likely },
                });
                next
            });
            numbers.insert(code - first, number);
        }
        let mut dense = vec![0; used.len()];
        for (at, number) in numbers {
            if let Some(slot) = dense.get_mut(at as usize) {
                *slot = number;
            }
        }
        for code in self.codes {
            if let Some(at) = code.load(Ordering::Relaxed).checked_sub(first) {
                code.store(dense.get(at as usize).copied().unwrap_or(0), Ordering::Relaxed);
            }
        }
        let truncated = self.truncated || self.budget.load(Ordering::Relaxed) == 0 || self.plans.truncated;
        Spread { types: found, truncated }
    }
}

/// What came of proposals.
#[derive(Default)]
struct Outcome {
    /// Allocations that have a type now, ascending.
    found: Vec<u32>,
    /// Proposals that have to wait until nothing sure is left.
    doubtful: Vec<Proposal>,
}

struct Judge<'j> {
    ground: &'j SpreadGround<'j>,
    plans: &'j [Plan],
    codes: &'j [AtomicU32],
    form: Codes,
    /// Whether doubtful proposals have their turn.
    doubtful: bool,
}

/// One type that was proposed for an allocation.
struct Candidate {
    plan: u32,
    form: Form,
    doubtful: bool,
    votes: u32,
    slack: u64,
    shown: bool,
}

impl Judge<'_> {
    fn decide(&self, mut proposals: Vec<Proposal>) -> Outcome {
        for proposal in &mut proposals {
            if let Some(plan) = self.plans.get(proposal.plan as usize) {
                proposal.plan = plan.same.unwrap_or(proposal.plan);
            }
        }
        proposals.sort_unstable();
        let mut outcome = Outcome::default();
        let mut candidates: Vec<Candidate> = Vec::new();
        for group in proposals.chunk_by(|a, b| a.alloc == b.alloc) {
            let Some(id) = group.first().map(|proposal| AllocId(proposal.alloc)) else { continue };
            candidates.clear();
            for of_plan in group.chunk_by(|a, b| a.plan == b.plan) {
                let Some(first) = of_plan.first() else { continue };
                let Some(plan) = self.plans.get(first.plan as usize) else { continue };
                // A counted one knows more; so it counts where any is.
                let counted = of_plan.iter().any(|proposal| proposal.counted);
                let Some(found) = fit(self.ground, self.plans, plan, id, counted) else { continue };
                candidates.push(Candidate {
                    plan: first.plan,
                    form: found.form,
                    // Sorted: the sure ones come first.
                    doubtful: first.doubtful || found.doubtful,
                    votes: of_plan.len() as u32,
                    slack: found.slack,
                    shown: found.shown,
                });
            }
            candidates
                .sort_by_key(|found| (found.doubtful, !found.shown, u32::MAX - found.votes, found.slack, found.plan));
            let Some(best) = candidates.first() else { continue };
            let Some(code) = self.codes.get(id.0 as usize) else { continue };
            let before = code.load(Ordering::Relaxed);
            if !self.ground.is_open(before) {
                // It had a type when this came up: another one that fits as well makes it doubtful.
                if let Some((plan, form, false)) = self.form.parts(before)
                    && !best.doubtful
                    && best.plan != plan
                {
                    code.store(self.form.code(plan, form, true), Ordering::Relaxed);
                }
                continue;
            }
            if before != 0 && best.doubtful {
                continue;
            }
            if best.doubtful && !self.doubtful {
                outcome.doubtful.extend(group.iter().map(|proposal| Proposal { doubtful: true, ..*proposal }));
                continue;
            }
            let contested = candidates.get(1).is_some_and(|next| next.doubtful == best.doubtful);
            let doubtful = best.doubtful || contested;
            if before != 0 && doubtful {
                continue;
            }
            if doubtful && !self.doubtful {
                outcome.doubtful.extend(group.iter().map(|proposal| Proposal { doubtful: true, ..*proposal }));
                continue;
            }
            code.store(self.form.code(best.plan, best.form, doubtful), Ordering::Relaxed);
            if best.form != Form::Counted {
                outcome.found.push(id.0);
            }
        }
        outcome
    }
}
