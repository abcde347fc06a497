//! Tails of the distributions that the tests need.

/// Terms of a series or a continued fraction at most; both end far earlier for what is asked here.
const MOST_TERMS: usize = 20_000;

/// ln Γ(x) for x > 0, by Lanczos' approximation (g = 7, nine coefficients); relative error about 1e-14.
pub(super) fn ln_gamma(x: f64) -> f64 {
    const COEFFICIENTS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let series =
        (COEFFICIENTS.iter().zip(1u32..)).fold(0.999_999_999_999_809_9, |sum, (c, i)| sum + c / (x + f64::from(i)));
    let t = x + 7.5;
    0.5 * std::f64::consts::TAU.ln() + (x + 0.5) * t.ln() - t + series.ln()
}

/// Q(a, x), the regularised upper incomplete gamma function, for a > 0 and x >= 0: by the series of P below a + 1
/// (DLMF 8.7.1), by the continued fraction above (DLMF 8.9.2, evaluated by Lentz' method).
fn gamma_q(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    let front = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum) = (1.0 / a, 1.0 / a);
        for n in (1..MOST_TERMS).map(|n| n as f64) {
            term *= x / (a + n);
            sum += term;
            if term < sum * 1e-16 {
                break;
            }
        }
        return (1.0 - front * sum).clamp(0.0, 1.0);
    }
    const TINY: f64 = 1e-300;
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut b = x + 1.0 - a;
    let (mut c, mut d) = (1.0 / TINY, 1.0 / away(b));
    let mut fraction = d;
    for n in (1..MOST_TERMS).map(|n| n as f64) {
        let numerator = -n * (n - a);
        b += 2.0;
        d = 1.0 / away(numerator * d + b);
        c = away(b + numerator / c);
        fraction *= d * c;
        if (d * c - 1.0).abs() < 1e-15 {
            break;
        }
    }
    (front * fraction).clamp(0.0, 1.0)
}

/// The chance that chi-square with so many degrees of freedom is `statistic` or more.
pub(super) fn chi_square_tail(statistic: f64, degrees: u64) -> f64 {
    if degrees == 0 { 1.0 } else { gamma_q(degrees as f64 / 2.0, statistic / 2.0) }
}

/// The chance that of `drawn` out of `all`, of which `marked` are marked, `found` or more are marked (`upper`), or
/// `found` or fewer: Fisher's exact test, one-sided.
pub(super) fn fisher_tail(all: u64, marked: u64, drawn: u64, found: u64, upper: bool) -> f64 {
    let ln_choose =
        |n: u64, k: u64| ln_gamma(n as f64 + 1.0) - ln_gamma(k as f64 + 1.0) - ln_gamma((n - k) as f64 + 1.0);
    let (least, most) = ((marked + drawn).saturating_sub(all), marked.min(drawn));
    if marked > all || drawn > all || !(least..=most).contains(&found) {
        return 1.0;
    }
    let chance = |k: u64| (ln_choose(marked, k) + ln_choose(all - marked, drawn - k) - ln_choose(all, drawn)).exp();
    let mut sum = 0.0;
    let mut k = found;
    for _ in 0..MOST_TERMS {
        let term = chance(k);
        sum += term;
        let end = if upper { k == most } else { k == least };
        // Past the peak the terms only shrink.
        let past = (k as f64 - marked as f64 * drawn as f64 / all as f64) * if upper { 1.0 } else { -1.0 } > 0.0;
        if end || (past && term < sum * 1e-12) {
            return sum.min(1.0);
        }
        k = if upper { k + 1 } else { k - 1 };
    }
    // Too many terms to add up: nothing is claimed.
    1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, known: f64) {
        assert!((found - known).abs() <= known.abs() * 1e-9 + 1e-300, "{found} is not {known}");
    }

    #[test]
    fn ln_gamma_is_that_of_factorials() {
        close(ln_gamma(1.0) + 1.0, 1.0);
        close(ln_gamma(5.0), 24f64.ln());
        close(ln_gamma(0.5), std::f64::consts::PI.sqrt().ln());
        close(ln_gamma(101.0), 363.739_375_555_563_5);
    }

    #[test]
    fn chi_square_tails_are_those_of_the_tables() {
        // Two degrees of freedom: exp(-x / 2); four: exp(-x / 2) (1 + x / 2).
        for x in [0.1f64, 1.0, 3.0, 10.0, 100.0, 900.0] {
            close(chi_square_tail(x, 2), (-x / 2.0).exp());
            close(chi_square_tail(x, 4), (-x / 2.0).exp() * (1.0 + x / 2.0));
        }
        // The usual critical values.
        for (x, degrees, p) in
            [(3.841_458_820_694_124, 1, 0.05), (18.307_038_053_275_146, 10, 0.05), (6.634_896_601_021_214, 1, 0.01)]
        {
            close(chi_square_tail(x, degrees), p);
        }
        assert_eq!(chi_square_tail(0.0, 3), 1.0);
        assert_eq!(chi_square_tail(7.0, 0), 1.0);
        assert_eq!(chi_square_tail(1e6, 3), 0.0);
    }

    #[test]
    fn fishers_tail_is_that_of_the_tea() {
        // Eight cups, four with milk first, four named, all right: one in 70; three or more right: 17 in 70.
        close(fisher_tail(8, 4, 4, 4, true), 1.0 / 70.0);
        close(fisher_tail(8, 4, 4, 3, true), 17.0 / 70.0);
        close(fisher_tail(8, 4, 4, 1, false), 17.0 / 70.0);
        assert_eq!(fisher_tail(8, 9, 4, 3, true), 1.0);
    }
}
