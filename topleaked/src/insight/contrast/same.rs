//! Members that say the same.

use std::collections::BTreeMap;

use super::bins::NO_CODE;

/// Two members tell the same where what they share is so much of what the richer one holds.
const SAME: f64 = 0.95;

/// Whether two columns of codes determine each other: their mutual information is close to both entropies
/// (Cover and Thomas, "Elements of Information Theory", chapter 2). Objects without either value are left out;
/// where they are a tenth or more, the two are not the same. Constants are the same as nothing.
pub fn tell_the_same(a: &[u16], b: &[u16]) -> bool {
    let mut joint: BTreeMap<(u16, u16), f64> = BTreeMap::new();
    let mut all = 0.0;
    for (a, b) in a.iter().zip(b) {
        if *a != NO_CODE && *b != NO_CODE {
            *joint.entry((*a, *b)).or_default() += 1.0;
            all += 1.0;
        }
    }
    let (mut of_a, mut of_b): (BTreeMap<u16, f64>, BTreeMap<u16, f64>) = (BTreeMap::new(), BTreeMap::new());
    for ((a, b), count) in &joint {
        *of_a.entry(*a).or_default() += count;
        *of_b.entry(*b).or_default() += count;
    }
    fn entropy<'c>(counts: impl Iterator<Item = &'c f64>, all: f64) -> f64 {
        -counts.map(|count| count / all * (count / all).ln()).sum::<f64>()
    }
    let (a_alone, b_alone) = (entropy(of_a.values(), all), entropy(of_b.values(), all));
    let shared = a_alone + b_alone - entropy(joint.values(), all);
    all * 10.0 >= a.len() as f64 * 9.0 && a_alone.max(b_alone) > 0.0 && shared >= SAME * a_alone.max(b_alone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_determine_each_other_tell_the_same() {
        let a: Vec<u16> = (0..1000).map(|at| at % 4).collect();
        let renamed: Vec<u16> = a.iter().map(|code| 9 - code).collect();
        let coarse: Vec<u16> = a.iter().map(|code| code / 2).collect();
        let mostly: Vec<u16> = (0..1000).map(|at| if at % 500 == 0 { 3 } else { at % 4 }).collect();
        assert!(tell_the_same(&a, &renamed) && tell_the_same(&a, &mostly));
        assert!(!tell_the_same(&a, &coarse) && !tell_the_same(&coarse, &a));
        assert!(!tell_the_same(&[1; 100], &[2; 100]), "constants");
        let missing: Vec<u16> = (0..1000).map(|at| if at % 4 == 0 { NO_CODE } else { at % 4 }).collect();
        assert!(!tell_the_same(&a, &missing));
    }
}
