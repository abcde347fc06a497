//! Which members grow with time.

use std::ops::Range;

use super::super::contrast::{AGE, FEWEST_AGES, STRATA, correlation};
use super::column::Column;
use super::part::Part;
use super::read::{Class, Code, Source};
use super::sweep::Strata;

/// Members that are held against each other.
const MOST_COMPARED: usize = 64;
/// A number that most objects have for themselves.
const UNIQUE: f64 = 0.9;

/// Runs of all objects as runs of the sampled ones, over all dumps in a row.
pub(super) fn runs_of_sample(runs: &[Vec<Range<usize>>], positions: &[Vec<usize>]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut before = 0;
    for (runs, positions) in runs.iter().zip(positions) {
        let place = |at: usize| before + positions.partition_point(|position| *position < at);
        found.extend(runs.iter().map(|run| place(run.start)..place(run.end)).filter(|run| !run.is_empty()));
        before += positions.len();
    }
    found
}

/// For each member how closely it follows the order of addresses, or another member that does; `None` where it does not. A time and a
/// number that grow together are ages, too, wherever their objects lie: memory that is used again is not in order.
pub(super) fn find(columns: &[Column], runs: &[Range<usize>]) -> Vec<Option<f64>> {
    let size = runs.last().map_or(0, |run| run.end);
    let order: Vec<Option<u64>> = (0..size as u64).map(Some).collect();
    let mut ages: Vec<Option<f64>> = vec![None; columns.len()];
    let candidates: Vec<(usize, Vec<Option<u64>>)> = (columns.iter().enumerate())
        .filter(|(_, column)| matches!(column.class, Class::Ordered(_)) && column.binning.distinct() >= FEWEST_AGES)
        .map(|(at, column)| (at, column.sample_values()))
        .collect();
    for (at, values) in &candidates {
        let follows = correlation(values, &order, runs).map(f64::abs).filter(|rho| *rho > AGE);
        if let (Some(age), Some(rho)) = (ages.get_mut(*at), follows) {
            *age = Some(rho);
        }
    }
    let together = |a: &[Option<u64>], b: &[Option<u64>]| {
        correlation(a, b, std::slice::from_ref(&(0..size))).map(f64::abs).filter(|rho| *rho > AGE)
    };
    let is_time = |at: usize| {
        let is_one = |column: &Column| {
            column.times
                || column.class == Class::Ordered(Code::Time)
                || column.sources.first().is_some_and(Source::is_inferred_time)
        };
        columns.get(at).is_some_and(is_one)
    };
    let is_unique = |at: usize| {
        columns.get(at).is_some_and(|column| column.binning.distinct() as f64 > UNIQUE * column.sample.len() as f64)
    };
    if ages.iter().all(Option::is_none) {
        for (at, values) in candidates.iter().filter(|(at, _)| is_time(*at)).take(MOST_COMPARED) {
            for (other, others) in candidates.iter().filter(|(other, _)| is_unique(*other)).take(MOST_COMPARED) {
                if at != other && together(values, others).is_some() {
                    for at in [at, other] {
                        if let Some(age) = ages.get_mut(*at) {
                            *age = Some(0.0);
                        }
                    }
                }
            }
        }
    }
    // Numbers that were given out in turn are ages wherever their objects lie.
    for (at, _) in &candidates {
        let given = columns.get(*at).is_some_and(|column| {
            is_unique(*at) && column.sources.first().is_some_and(|source| source.may_be_serial())
        });
        if let (Some(age @ None), true) = (ages.get_mut(*at), given) {
            *age = Some(0.0);
        }
    }
    let seeds: Vec<usize> = (0..candidates.len())
        .filter(|at| candidates.get(*at).is_some_and(|(at, _)| ages.get(*at).is_some_and(Option::is_some)))
        .take(MOST_COMPARED)
        .collect();
    for (at, values) in candidates.iter().take(MOST_COMPARED) {
        if ages.get(*at).is_some_and(Option::is_some) {
            continue;
        }
        let rho = seeds.iter().filter_map(|seed| together(values, &candidates.get(*seed)?.1)).max_by(f64::total_cmp);
        if let (Some(age), true) = (ages.get_mut(*at), rho.is_some()) {
            *age = Some(0.0);
        }
    }
    ages
}

/// What objects of like age are: by the member that follows the addresses most closely, else by the addresses themselves. Cut
/// finest where the suspects are: where none is, ages tell nothing.
pub(super) fn strata(
    columns: &[Column],
    ages: &[Option<f64>],
    sample_suspect: &[bool],
    parts: &[Part<'_>],
    runs: &[Vec<Range<usize>>],
) -> Strata {
    let best = (ages.iter().enumerate().filter_map(|(at, age)| Some((at, (*age)?))))
        .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
    if let Some((at, column)) = best.and_then(|(at, _)| Some((at, columns.get(at)?))) {
        let of_suspects = column.sample_values().into_iter().zip(sample_suspect).filter(|(_, suspect)| **suspect);
        let mut values: Vec<u64> = of_suspects.filter_map(|(value, _)| value).collect();
        values.sort_unstable();
        // Before the first, behind the last, and as many suspects in each part between.
        let cut =
            |part: usize| values.get((values.len() * part / (STRATA - 2)).min(values.len().checked_sub(1)?)).copied();
        let before = values.first().map(|first| first.saturating_sub(1));
        let mut ends: Vec<u64> = before.into_iter().chain((1..=STRATA - 2).filter_map(cut)).collect();
        ends.dedup();
        if !ends.is_empty() {
            return Strata::Column(at, ends);
        }
    }
    place(parts, runs)
}

/// Objects of like age by their place.
pub(super) fn place(parts: &[Part<'_>], runs: &[Vec<Range<usize>>]) -> Strata {
    let of_part = |(part, runs): (&Part<'_>, &Vec<Range<usize>>)| {
        let of_run = |run: &Range<usize>| {
            let suspects = part.suspect.get(run.clone()).unwrap_or_default();
            let first = suspects.iter().position(|suspect| *suspect).map_or(run.end, |first| run.start + first);
            let last = suspects.iter().rposition(|suspect| *suspect).map_or(run.end, |last| run.start + last + 1);
            first..last
        };
        runs.iter().map(of_run).collect()
    };
    Strata::Place(parts.iter().zip(runs).map(of_part).collect())
}
