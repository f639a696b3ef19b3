//! Intervals and tests, which SQL cannot seed: bootstrap, paired randomisation, Holm; normal tails for many users.
//!
//! Every random number comes from (seed, purpose, number of the resample), so results do not depend on threads.

use dataset::bucket::stream;
use rand::{Rng, RngExt, SeedableRng};
use rand_distr::{Binomial, Distribution};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;

/// 97.5% point of the normal distribution.
const Z95: f64 = 1.959_963_984_540_054;

fn random(seed: u64, purpose: &str, number: u32) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(stream(seed, purpose, number.to_le_bytes()))
}

/// 95% percentile bootstrap intervals (Efron 1979) of the means of several columns over the same users.
///
/// `rows` holds `width` values for each user of whom any is not 0; the other users of `users` count by their number alone. How many
/// draws of a resample fall on the former is binomial, so this is the same distribution at a fraction of the draws.
pub fn bootstrap(rows: &[f64], width: usize, users: usize, resamples: u32, seed: u64) -> Vec<(f64, f64)> {
    let nonzero = rows.len() / width.max(1);
    let draws = Binomial::new(users as u64, nonzero as f64 / users.max(1) as f64).expect("a share is a probability");
    let means: Vec<Vec<f64>> = (0..resamples)
        .into_par_iter()
        .map(|number| {
            let mut random = random(seed, "bootstrap", number);
            let mut sums = vec![0.0; width];
            for _ in 0..draws.sample(&mut random) {
                let user = random.random_range(0..nonzero as u64) as usize;
                sums.iter_mut().zip(&rows[user * width..(user + 1) * width]).for_each(|(sum, x)| *sum += x);
            }
            sums.iter_mut().for_each(|sum| *sum /= users as f64);
            sums
        })
        .collect();
    (0..width)
        .map(|column| {
            let mut sorted: Vec<f64> = means.iter().map(|mean| mean[column]).collect();
            sorted.sort_unstable_by(f64::total_cmp);
            (quantile(&sorted, 0.025), quantile(&sorted, 0.975))
        })
        .collect()
}

/// Linear between the two nearest of sorted values.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len().max(1) - 1) as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    match (sorted.get(low), sorted.get(high)) {
        (Some(a), Some(b)) => a + (b - a) * at.fract(),
        _ => f64::NAN,
    }
}

/// The 95% normal interval of a mean from the sum of squares.
pub fn normal_interval(mean: f64, squares: f64, users: u64) -> (f64, f64) {
    let n = users as f64;
    let variance = ((squares - n * mean * mean) / (n - 1.0).max(1.0)).max(0.0);
    let half = Z95 * (variance / n).sqrt();
    (mean - half, mean + half)
}

/// The 95% interval of the mean of values from 0 to 1 that are 0 for all `users`: up to the largest share of users that would be missed so with
/// 2.5% probability (Clopper and Pearson 1934). No resample of zeros says how many others there may be.
pub fn interval_of_nothing(users: u64) -> (f64, f64) {
    (0.0, 1.0 - 0.025_f64.powf(1.0 / users.max(1) as f64))
}

/// Two-sided p-value of the paired randomisation test: how often the sum of differences, each with a random sign, is at least as
/// far from 0 as it is; the identity counts once, so p is never 0. Differences of 0 change nothing and may be left out.
pub fn randomisation(differences: &[f64], resamples: u32, seed: u64) -> f64 {
    let observed = differences.iter().sum::<f64>().abs();
    // Sums that are equal but for rounding count as equal.
    let bar = observed - 1e-9 * differences.iter().map(|d| d.abs()).sum::<f64>();
    let extreme = (0..resamples)
        .into_par_iter()
        .filter(|&number| {
            let mut random = random(seed, "randomisation test", number);
            let mut sum = 0.0;
            for differences in differences.chunks(64) {
                let signs = random.next_u64();
                for (bit, difference) in differences.iter().enumerate() {
                    sum += if signs >> bit & 1 == 1 { *difference } else { -difference };
                }
            }
            sum.abs() >= bar
        })
        .count();
    (extreme + 1) as f64 / (f64::from(resamples) + 1.0)
}

/// Two-sided p-value of a paired z-test on `users` differences, those that are 0 left out of the slice.
pub fn paired_normal(differences: &[f64], users: u64) -> f64 {
    let n = users as f64;
    let mean = differences.iter().sum::<f64>() / n;
    let squares: f64 = differences.iter().map(|d| d * d).sum();
    let variance = (squares - n * mean * mean) / (n - 1.0).max(1.0);
    match variance > 0.0 {
        true => libm::erfc(mean.abs() / (variance / n).sqrt() / std::f64::consts::SQRT_2),
        false if mean == 0.0 => 1.0,
        false => 0.0,
    }
}

/// Holm's step-down adjustment (1979): the family-wise error is kept.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut largest = 0.0_f64;
    for (rank, &at) in order.iter().enumerate() {
        largest = largest.max((p_values[at] * (p_values.len() - rank) as f64).min(1.0));
        adjusted[at] = largest;
    }
    adjusted
}

/// Benjamini and Hochberg's step-up adjustment (1995): the expected share of false discoveries is kept.
pub fn benjamini_hochberg(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[b].total_cmp(&p_values[a]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut smallest = 1.0_f64;
    for (from_above, &at) in order.iter().enumerate() {
        let rank = p_values.len() - from_above;
        smallest = smallest.min(p_values[at] * p_values.len() as f64 / rank as f64);
        adjusted[at] = smallest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bootstrap_agrees_with_the_normal_interval() {
        // 3,000 users, a third of them not 0: mean 1/3, variance 2/9.
        let rows: Vec<f64> = (0..1000).flat_map(|user| [1.0, f64::from(user % 2)]).collect();
        let intervals = bootstrap(&rows, 2, 3000, 4000, 1);
        let normal = normal_interval(1.0 / 3.0, 1000.0, 3000);
        assert!(
            (intervals[0].0 - normal.0).abs() < 1e-3 && (intervals[0].1 - normal.1).abs() < 1e-3,
            "{intervals:?} {normal:?}"
        );
        assert!(intervals[1].0 < 1.0 / 6.0 && 1.0 / 6.0 < intervals[1].1);
        assert_eq!(intervals, bootstrap(&rows, 2, 3000, 4000, 1));
    }

    #[test]
    fn nothing_found_is_no_certainty() {
        // scipy.stats.binomtest(0, n).proportion_ci(method="exact")
        for (users, high) in [(1, 0.975), (5, 0.521_823_750_104_980_5), (200, 0.018_275_340_355_136_227)] {
            let interval = interval_of_nothing(users);
            assert!(interval.0 == 0.0 && (interval.1 - high).abs() < 1e-12, "{users}: {interval:?}");
        }
    }

    #[test]
    fn randomisation_is_exact_in_the_limit() {
        // All of five differences positive: 2 of 32 assignments of signs are as extreme.
        let p = randomisation(&[1.0, 2.0, 3.0, 4.0, 5.0], 100_000, 3);
        assert!((p - 2.0 / 32.0).abs() < 0.003, "{p}");
        assert!((randomisation(&[], 100, 3) - 1.0).abs() < 1e-12);
        assert!((randomisation(&[1.0, -1.0], 1000, 3) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn normal_tails() {
        // Of 100 differences, 55 are +1 and 45 −1: z = 0.1 / sqrt((1 − 0.01) · 100/99 / 100) = 1.
        let differences: Vec<f64> = (0..100).map(|i| if i < 55 { 1.0 } else { -1.0 }).collect();
        assert!((paired_normal(&differences, 100) - 0.3173).abs() < 1e-4);
        assert!((paired_normal(&[], 100) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn holm_steps_down() {
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        let expected = [0.03, 0.06, 0.06, 0.02];
        assert!(adjusted.iter().zip(expected).all(|(a, e)| (a - e).abs() < 1e-12), "{adjusted:?}");
    }
}
