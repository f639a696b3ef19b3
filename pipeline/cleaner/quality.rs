//! How good scores are against labels: accuracy, F1 and average precision with intervals, calibration, and the threshold.

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

/// Scores and labels of the same texts.
#[derive(Debug, Clone, Default)]
pub struct Scored {
    /// Probabilities of keep.
    pub scores: Vec<f32>,
    /// True: keep.
    pub labels: Vec<bool>,
}

/// A measure with its 95% interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The measure.
    pub value: f64,
    /// 2.5% of resamples lie below.
    pub low: f64,
    /// 2.5% of resamples lie above.
    pub high: f64,
}

/// What a model reaches on labelled texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Texts.
    pub texts: usize,
    /// Share of them that are labelled keep.
    pub keep_share: f64,
    /// Share decided as labelled.
    pub accuracy: Interval,
    /// Harmonic mean of the precision and recall of keep.
    pub f1: Interval,
    /// Area under precision over recall of keep, without a threshold.
    pub average_precision: Interval,
    /// Share of the texts labelled keep that are kept.
    pub keep_recall: f64,
    /// Share of the texts labelled noise that are dropped.
    pub noise_recall: f64,
    /// Mean negative log likelihood.
    pub log_loss: f64,
}

const RESAMPLES: usize = 1000;

impl Scored {
    /// Adds one text.
    pub fn push(&mut self, score: f32, label: bool) {
        self.scores.push(score);
        self.labels.push(label);
    }

    /// All measures; intervals by resampling the texts (percentile bootstrap, 1,000 resamples).
    pub fn quality(&self, threshold: f32) -> Quality {
        let all: Vec<usize> = (0..self.labels.len()).collect();
        let mut random = Xoshiro256PlusPlus::seed_from_u64(0);
        let resamples: Vec<Vec<usize>> =
            (0..RESAMPLES).map(|_| all.iter().map(|_| random.random_range(0..all.len().max(1))).collect()).collect();
        let interval = |measure: &dyn Fn(&[usize]) -> f64| {
            let mut values: Vec<f64> = resamples.iter().map(|texts| measure(texts)).collect();
            values.sort_by(f64::total_cmp);
            Interval { value: measure(&all), low: values[RESAMPLES / 40], high: values[RESAMPLES - 1 - RESAMPLES / 40] }
        };
        let counts = self.counts(&all, threshold);
        Quality {
            texts: all.len(),
            keep_share: share(counts.keep(), counts.all()),
            accuracy: interval(&|texts| self.counts(texts, threshold).accuracy()),
            f1: interval(&|texts| self.counts(texts, threshold).f1()),
            average_precision: interval(&|texts| self.average_precision(texts)),
            keep_recall: share(counts.kept_keep, counts.keep()),
            noise_recall: share(counts.dropped_noise, counts.dropped_noise + counts.kept_noise),
            log_loss: self.log_loss(1.0),
        }
    }

    /// Share decided as labelled.
    pub fn hits(&self, threshold: f32) -> f64 {
        let all: Vec<usize> = (0..self.labels.len()).collect();
        self.counts(&all, threshold).accuracy()
    }

    /// The threshold with the most correct decisions; of equally good ones, the one nearest to `near`.
    pub fn best_threshold(&self, near: f32) -> f32 {
        let mut scored: Vec<(f32, bool)> = self.scores.iter().copied().zip(self.labels.iter().copied()).collect();
        scored.sort_by(|a, b| a.0.total_cmp(&b.0));
        // Everything is kept at first; each step drops the next text.
        let mut correct = scored.iter().filter(|(_, keep)| *keep).count() as i64;
        let mut best = (correct, f32::INFINITY, 0.0_f32);
        let mut consider = |correct: i64, low: f32, high: f32| {
            // Any threshold in (low, high] does the same.
            let threshold = if low < near && near <= high { near } else { (low + high) / 2.0 };
            if (correct, -(threshold - near).abs()) > (best.0, -best.1) {
                best = (correct, (threshold - near).abs(), threshold);
            }
        };
        consider(correct, 0.0, scored.first().map_or(1.0, |first| first.0));
        for (i, (score, keep)) in scored.iter().enumerate() {
            correct += if *keep { -1 } else { 1 };
            let next = scored.get(i + 1).map_or(1.0, |next| next.0);
            if next > *score || i + 1 == scored.len() {
                consider(correct, *score, next);
            }
        }
        best.2
    }

    /// The temperature that makes the scores' logits most likely (Guo et al. 2017), between ½ and 20: labels that are all hit say
    /// nothing of how sure to be.
    pub fn best_temperature(&self) -> f64 {
        let (mut low, mut high) = (0.5_f64.ln(), 20.0_f64.ln());
        let golden = (5.0_f64.sqrt() - 1.0) / 2.0;
        for _ in 0..60 {
            let (left, right) = (high - golden * (high - low), low + golden * (high - low));
            if self.log_loss(left.exp()) < self.log_loss(right.exp()) { high = right } else { low = left }
        }
        f64::midpoint(low, high).exp()
    }

    /// Mean negative log likelihood of the labels when the scores' logits are divided by a temperature.
    pub fn log_loss(&self, temperature: f64) -> f64 {
        let losses = self.scores.iter().zip(&self.labels).map(|(&score, &keep)| {
            let score = f64::from(score).clamp(1e-7, 1.0 - 1e-7);
            let logit = (score / (1.0 - score)).ln() / temperature;
            let wrong = if keep { -logit } else { logit };
            // ln(1 + e^wrong), without overflow.
            wrong.max(0.0) + (-wrong.abs()).exp().ln_1p()
        });
        losses.sum::<f64>() / self.labels.len().max(1) as f64
    }

    fn counts(&self, texts: &[usize], threshold: f32) -> Counts {
        let mut counts = Counts::default();
        for &text in texts {
            match (self.scores[text] >= threshold, self.labels[text]) {
                (true, true) => counts.kept_keep += 1,
                (true, false) => counts.kept_noise += 1,
                (false, true) => counts.dropped_keep += 1,
                (false, false) => counts.dropped_noise += 1,
            }
        }
        counts
    }

    /// Sum over thresholds of precision times the step in recall; texts of equal scores are one step.
    fn average_precision(&self, texts: &[usize]) -> f64 {
        let mut order = texts.to_vec();
        order.sort_by(|&a, &b| self.scores[b].total_cmp(&self.scores[a]));
        let total = order.iter().filter(|&&text| self.labels[text]).count();
        let (mut found, mut seen, mut sum) = (0, 0, 0.0);
        for step in order.chunk_by(|&a, &b| self.scores[a] == self.scores[b]) {
            let hits = step.iter().filter(|&&text| self.labels[text]).count();
            found += hits;
            seen += step.len();
            sum += hits as f64 * found as f64 / seen as f64;
        }
        if total == 0 { 0.0 } else { sum / total as f64 }
    }
}

#[derive(Default)]
struct Counts {
    kept_keep: usize,
    kept_noise: usize,
    dropped_keep: usize,
    dropped_noise: usize,
}

impl Counts {
    fn keep(&self) -> usize {
        self.kept_keep + self.dropped_keep
    }

    fn all(&self) -> usize {
        self.keep() + self.kept_noise + self.dropped_noise
    }

    fn accuracy(&self) -> f64 {
        share(self.kept_keep + self.dropped_noise, self.all())
    }

    fn f1(&self) -> f64 {
        share(2 * self.kept_keep, 2 * self.kept_keep + self.kept_noise + self.dropped_keep)
    }
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(rows: &[(f32, bool)]) -> Scored {
        let mut scored = Scored::default();
        rows.iter().for_each(|(score, label)| scored.push(*score, *label));
        scored
    }

    #[test]
    fn measures_are_as_counted_by_hand() {
        let scored = scored(&[(0.9, true), (0.8, false), (0.7, true), (0.6, false), (0.2, true)]);
        let quality = scored.quality(0.5);
        assert!((quality.accuracy.value - 0.4).abs() < 1e-12);
        assert!((quality.f1.value - 4.0 / 7.0).abs() < 1e-12);
        assert!((quality.average_precision.value - (1.0 + 2.0 / 3.0 + 3.0 / 5.0) / 3.0).abs() < 1e-12);
        assert!(quality.accuracy.low <= 0.4 && quality.accuracy.high >= 0.4);
        assert_eq!((quality.keep_recall, quality.noise_recall), (2.0 / 3.0, 0.0));
    }

    #[test]
    fn equal_scores_are_one_step() {
        let scored = scored(&[(0.5, true), (0.5, false), (0.5, false), (0.5, true)]);
        assert_eq!(scored.quality(0.5).average_precision.value, 0.5);
    }

    #[test]
    fn the_threshold_separates_what_can_be_separated() {
        let separable = scored(&[(0.1, false), (0.2, false), (0.3, true), (0.9, true)]);
        let threshold = separable.best_threshold(0.5);
        assert!(threshold > 0.2 && threshold <= 0.3, "{threshold}");
        assert_eq!(separable.quality(threshold).accuracy.value, 1.0);
        assert_eq!(scored(&[(0.1, false), (0.9, true)]).best_threshold(0.5), 0.5);
        assert!(scored(&[(0.9, true), (0.8, true)]).best_threshold(0.5) <= 0.8);
        assert!(scored(&[(0.9, false), (0.8, false)]).best_threshold(0.5) > 0.9);
    }

    #[test]
    fn overconfidence_is_cooled() {
        // Scores of 0.99 that are right three times of four: calibrated, they are 0.75.
        let rows: Vec<(f32, bool)> = (0..400).map(|i| (0.99, i % 4 != 0)).collect();
        let temperature = scored(&rows).best_temperature();
        assert!((temperature - (99.0_f64).ln() / 3.0_f64.ln()).abs() < 1e-3, "{temperature}");
    }
}
