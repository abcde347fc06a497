//! Whether a member follows the order of the objects, or another member: rank correlation.

use std::ops::Range;

/// Values that the rank correlation is taken over, evenly spread.
const MOST_RANKED: usize = 1 << 15;
/// Fewer objects of one arena say nothing of their order.
const LEAST_RUN: usize = 8;

/// Spearman's rank correlation of two columns within runs of objects, the mean of all runs by size; equal values share
/// their mean rank. Objects without either value count for nothing. `None` where a fifth of them has none, or too few are left.
pub fn correlation(a: &[Option<u64>], b: &[Option<u64>], runs: &[Range<usize>]) -> Option<f64> {
    let all: usize = runs.iter().map(Range::len).sum();
    let step = all.div_ceil(MOST_RANKED).max(1);
    let (mut sum, mut weight, mut asked) = (0.0, 0usize, 0usize);
    for run in runs {
        let (Some(a), Some(b)) = (a.get(run.clone()), b.get(run.clone())) else { continue };
        asked += a.len().div_ceil(step);
        let both = a.iter().zip(b).step_by(step).filter_map(|(a, b)| Some(((*a)?, (*b)?)));
        let (a, b): (Vec<u64>, Vec<u64>) = both.unzip();
        if a.len() >= LEAST_RUN {
            sum += spearman(&a, &b) * a.len() as f64;
            weight += a.len();
        }
    }
    (weight >= LEAST_RUN && weight * 5 >= asked * 4).then(|| sum / weight as f64)
}

fn spearman(a: &[u64], b: &[u64]) -> f64 {
    let (a, b) = (ranks(a), ranks(b));
    let middle = (a.len() as f64 - 1.0) / 2.0;
    let (mut product, mut square_a, mut square_b) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(&b) {
        let (a, b) = (a - middle, b - middle);
        product += a * b;
        square_a += a * a;
        square_b += b * b;
    }
    let scale = (square_a * square_b).sqrt();
    if scale > 0.0 { product / scale } else { 0.0 }
}

fn ranks(values: &[u64]) -> Vec<f64> {
    let mut order: Vec<(u64, usize)> = values.iter().copied().zip(0..).collect();
    order.sort_unstable();
    let mut ranks = vec![0.0; values.len()];
    let mut from = 0;
    for run in order.chunk_by(|a, b| a.0 == b.0) {
        let rank = from as f64 + (run.len() as f64 - 1.0) / 2.0;
        for (_, at) in run {
            if let Some(place) = ranks.get_mut(*at) {
                *place = rank;
            }
        }
        from += run.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(a: &[Option<u64>], b: &[Option<u64>]) -> Option<f64> {
        correlation(a, b, std::slice::from_ref(&(0..a.len())))
    }

    fn some(values: impl Iterator<Item = u64>) -> Vec<Option<u64>> {
        values.map(Some).collect()
    }

    #[test]
    fn order_is_that_of_ranks_not_of_values() {
        let (a, b) = (some(0..20), some((0..20).map(|value| value * value * value)));
        assert_eq!(whole(&a, &b), Some(1.0));
        let b = some((0..20).rev());
        assert_eq!(whole(&a, &b), Some(-1.0));
        // Spearman's own example has ties in neither; by hand: 1 - 6 * 26 / (10 * 99).
        let (a, b) = (some(0..10), some([1, 0, 3, 2, 5, 4, 9, 8, 7, 6].into_iter()));
        assert!((whole(&a, &b).unwrap() - (1.0 - 6.0 * 26.0 / 990.0)).abs() < 1e-12);
    }

    #[test]
    fn each_arena_has_an_order_of_its_own() {
        let order = some(0..40);
        let ids = some((100..120).chain(50..70));
        assert!(whole(&order, &ids).unwrap() < 0.0);
        assert_eq!(correlation(&order, &ids, &[0..20, 20..40]), Some(1.0));
    }

    #[test]
    fn a_member_that_is_rarely_there_has_no_order() {
        let order = some(0..40);
        let rare: Vec<Option<u64>> = (0..40).map(|at| (at % 4 != 0).then_some(at)).collect();
        assert_eq!(whole(&order, &rare), None);
    }
}
