//! All objects, once, for any number of members: counts by category, group and stratum.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::task::Task;

use super::super::contrast::{Category, Cell, NO_CODE, STRATA, Table};
use super::super::groups::WordHasher;
use super::column::Column;
use super::part::Part;
use super::read::{Class, ordered_cell};

/// Objects that are read at once: their bytes stay in the processor's cache from the first member to the last.
const BATCH: usize = 4096;
/// Values of one batch that the sample did not hold; further ones go to the others.
const MOST_UNSEEN: usize = 64;

/// Objects in a row, of one dump, with what was read of them.
pub(super) struct Batch<'b> {
    pub(super) part: usize,
    pub(super) range: Range<usize>,
    pub(super) suspect: &'b [bool],
    pub(super) bytes: &'b [Option<&'b [u8]>],
}

/// Visits all objects in batches, on all threads; hands back what each thread has gathered.
pub(super) fn sweep<S: Send>(
    parts: &[Part<'_>],
    task: &Task,
    begin: impl Fn() -> S + Sync,
    visit: impl Fn(&mut S, &Batch<'_>) + Sync,
) -> Vec<S> {
    let mut batches: Vec<(usize, Range<usize>)> = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let count = part.objects.len();
        batches.extend((0..count).step_by(BATCH).map(|from| (at, from..count.min(from + BATCH))));
    }
    task.progress.start("reading members", batches.len() as u64);
    let next = AtomicUsize::new(0);
    task.on_all(|| {
        let mut state = begin();
        let mut bytes = Vec::with_capacity(BATCH);
        while !task.progress.is_cancelled() {
            let Some((at, range)) = batches.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            let Some(part) = parts.get(*at) else { continue };
            part.fill_bytes(range.clone(), &mut bytes);
            let suspect = part.suspect.get(range.clone()).unwrap_or_default();
            visit(&mut state, &Batch { part: *at, range: range.clone(), suspect, bytes: &bytes });
            task.progress.advance(1);
        }
        state
    })
}

/// What objects of like age are.
#[derive(Clone, Debug)]
pub(super) enum Strata {
    /// Their age is not known.
    One,
    /// Their place among the objects of their run, within the places that suspects have: by dump and run, from the first suspect
    /// to behind the last.
    Place(Vec<Vec<Range<usize>>>),
    /// What this column holds, cut at these order codes.
    Column(usize, Vec<u64>),
}

impl Strata {
    fn count(&self) -> usize {
        if matches!(self, Strata::One) { 1 } else { STRATA }
    }

    fn fill(
        &self,
        columns: &[Column],
        part: &Part<'_>,
        runs: &[Range<usize>],
        batch: &Batch<'_>,
        strata: &mut Vec<u8>,
    ) {
        strata.clear();
        match self {
            Strata::One => strata.resize(batch.range.len(), 0),
            Strata::Place(suspects) => {
                let suspects = suspects.get(batch.part).map(Vec::as_slice).unwrap_or_default();
                let first = runs.partition_point(|run| run.end <= batch.range.start);
                for (run, place) in runs.iter().zip(suspects).skip(first) {
                    let within = run.start.max(batch.range.start)..run.end.min(batch.range.end);
                    if within.is_empty() {
                        break;
                    }
                    strata.extend(within.map(|at| stratum_of(at, place)));
                }
            }
            Strata::Column(at, ends) => {
                let space = part.image.space();
                let source = columns.get(*at).and_then(|column| column.sources.get(batch.part));
                strata.extend(batch.bytes.iter().map(|bytes| {
                    let (Some(source), Some(bytes)) = (source, bytes) else { return 0 };
                    match ordered_cell(&source.read(bytes, space)) {
                        Cell::Value(code) | Cell::Apart(code) => ends.iter().map(|end| u8::from(*end < code)).sum(),
                        Cell::Missing => 0,
                    }
                }));
            }
        }
    }
}

/// The first and the last stratum are for what lies before and behind all suspects.
fn stratum_of(at: usize, suspects: &Range<usize>) -> u8 {
    match () {
        () if at < suspects.start => 0,
        () if at >= suspects.end => STRATA as u8 - 1,
        () => (1 + (at - suspects.start) * (STRATA - 2) / suspects.len()) as u8,
    }
}

type Unseen = HashMap<u64, [u64; 2], BuildHasherDefault<WordHasher>>;

/// What one thread counted of one member.
struct Tally {
    counts: Vec<[u64; 2]>,
    unseen: Unseen,
    /// Least and greatest order code.
    extent: Option<(u64, u64)>,
}

/// One member in all objects.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    pub(super) table: Table,
    pub(super) extent: Option<(u64, u64)>,
}

/// Counts all columns.
pub(super) fn count(
    parts: &[Part<'_>],
    columns: &[Column],
    runs: &[Vec<Range<usize>>],
    strata: &Strata,
    task: &Task,
) -> Vec<Counted> {
    let widths: Vec<usize> = columns.iter().map(|column| column.binning.categories().len()).collect();
    let begin = || {
        let tallies = widths.iter().map(|width| Tally {
            counts: vec![[0; 2]; width * strata.count()],
            unseen: Unseen::default(),
            extent: None,
        });
        (tallies.collect::<Vec<Tally>>(), Vec::new(), Vec::new())
    };
    let visit = |(tallies, of_strata, codes): &mut (Vec<Tally>, Vec<u8>, Vec<u16>), batch: &Batch<'_>| {
        let (Some(part), Some(runs)) = (parts.get(batch.part), runs.get(batch.part)) else { return };
        strata.fill(columns, part, runs, batch, of_strata);
        for ((column, tally), width) in columns.iter().zip(tallies).zip(&widths) {
            let Tally { counts, unseen, extent } = tally;
            let (mut least, mut greatest) = extent.unwrap_or((u64::MAX, 0));
            let mut rare = Unseen::default();
            column.encode(
                batch.part,
                part,
                batch.bytes,
                codes,
                |at, value| {
                    if rare.len() < MOST_UNSEEN || rare.contains_key(&value) {
                        let count = rare.entry(value).or_default();
                        count[usize::from(!batch.suspect.get(at).copied().unwrap_or(false))] += 1;
                    }
                },
                |value| (least, greatest) = (least.min(value), greatest.max(value)),
            );
            if least <= greatest {
                *extent = Some((least, greatest));
            }
            for (value, [a, b]) in rare {
                let count = unseen.entry(value).or_default();
                *count = [count[0] + a, count[1] + b];
            }
            for ((code, suspect), stratum) in codes.iter().zip(batch.suspect).zip(of_strata.iter()) {
                if *code != NO_CODE
                    && let Some(count) = counts.get_mut(usize::from(*stratum) * width + usize::from(*code))
                {
                    count[usize::from(!suspect)] += 1;
                }
            }
        }
    };
    let mut threads = sweep(parts, task, begin, visit).into_iter().map(|(tallies, ..)| tallies);
    let Some(mut sums) = threads.next() else { return Vec::new() };
    for tallies in threads {
        for (sum, part) in sums.iter_mut().zip(tallies) {
            for (a, b) in sum.counts.iter_mut().zip(part.counts) {
                *a = [a[0] + b[0], a[1] + b[1]];
            }
            for (value, [a, b]) in part.unseen {
                let count = sum.unseen.entry(value).or_default();
                *count = [count[0] + a, count[1] + b];
            }
            sum.extent = match (sum.extent, part.extent) {
                (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
                (a, b) => a.or(b),
            };
        }
    }
    sums.into_iter().zip(columns).zip(widths).map(|((tally, column), width)| finish(tally, column, width)).collect()
}

/// Gives values that the sample did not hold categories of their own, the most frequent first.
fn finish(tally: Tally, column: &Column, width: usize) -> Counted {
    let (least, greatest) = tally.extent.unwrap_or((0, u64::MAX));
    let mut table = Table {
        categories: column.binning.categories_within(least, greatest),
        ordered: matches!(column.class, Class::Ordered(_)),
        folds: column.binning.folds().to_vec(),
        choices: column.binning.choices(),
        tried: column.tried,
        strata: tally.counts.chunks(width.max(1)).map(<[_]>::to_vec).collect(),
    };
    let mut unseen: Vec<(u64, [u64; 2])> = tally.unseen.into_iter().collect();
    unseen.sort_by_key(|(value, [a, b])| (std::cmp::Reverse(a + b), *value));
    unseen.truncate(column.most_values.saturating_sub(width.saturating_sub(1)));
    let other = usize::from(column.binning.other());
    for (value, [a, b]) in unseen {
        let at = table.categories.len();
        table.categories.push(Category::Value(value));
        // Which stratum they are of is not known; they are too rare to matter there.
        let (mut left, mut counts) = ([a, b], Vec::new());
        for stratum in &mut table.strata {
            let Some(others) = stratum.get_mut(other) else { continue };
            let taken = [left[0].min(others[0]), left[1].min(others[1])];
            *others = [others[0] - taken[0], others[1] - taken[1]];
            left = [left[0] - taken[0], left[1] - taken[1]];
            counts.push(taken);
        }
        for (stratum, taken) in table.strata.iter_mut().zip(counts) {
            stratum.resize(at, [0; 2]);
            stratum.push(taken);
        }
    }
    Counted { table, extent: tally.extent }
}
