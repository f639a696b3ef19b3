//! Dr.GRPO's objective (equations 5 to 8 of the paper; Liu et al., 2025): how much more, or less, likely each sampled list is to become.
//!
//! For a list `g` of `N` with advantage `A`, ratio `ρ` of its probability now and when it was sampled:
//!
//! ```text
//! loss = −1/N Σ_g min(ρ_g·A_g, clip(ρ_g, 1 − ε_low, 1 + ε_high)·A_g) + β/N Σ_g Σ_t KL_t
//! ```

use clap::ValueEnum;
use engine::{LogSum, Objective, Prediction, log_sum, softmax};
use serde::{Deserialize, Serialize};

use super::dot;

/// Largest logarithm of a ratio that is believed.
const FURTHEST: f64 = 20.0;

/// What the ratio is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ratio {
    /// The whole list: the product over its tokens (equation 6).
    #[default]
    Sequence,
    /// Each token; a list's sum is divided by the most tokens that a list may have (Dr.GRPO's own code).
    Token,
    /// The whole list, as the geometric mean over its tokens (GSPO; Zheng et al., 2025).
    Gspo,
}

/// How far policy and reference are apart at a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kl {
    /// `Σ_v π(v)·(ln π(v) − ln π_ref(v))` over the whole vocabulary.
    #[default]
    Exact,
    /// `d²/2` of the token, `d = ln π_ref − ln π`.
    K2,
    /// `e^d − d − 1` of the token (Schulman, 2020). On-policy its gradient is that of the other direction.
    K3,
}

/// The objective's form.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Form {
    /// What the ratio is of.
    pub ratio: Ratio,
    /// How far a ratio may fall below 1 before it counts no more.
    pub clip_low: f64,
    /// How far it may rise above 1.
    pub clip_high: f64,
    /// How the distance from the reference is measured.
    pub kl: Kl,
    /// Its weight; 0: there is no reference.
    pub beta: f64,
    /// Of the policy's logits.
    pub temperature: f32,
    /// Tokens of a list, at most.
    pub longest: usize,
}

/// A list's part in a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    /// Log-probability of each token when it was sampled.
    pub old: Vec<f32>,
    /// How much better than its group's mean it is.
    pub advantage: f32,
}

/// The objective of a batch.
#[derive(Debug)]
pub struct Grpo<'a> {
    /// Its form.
    pub form: Form,
    /// By tree and list, as they are put to the pass.
    pub lists: &'a [Vec<Sampled>],
    /// Lists that the loss is a mean of.
    pub count: usize,
}

/// What became of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// Its term of the mean: `−min(…)`.
    pub policy_loss: f64,
    /// Sum of its tokens' distances from the reference, by the form's measure.
    pub kl: f64,
    /// Log-probabilities of its tokens.
    pub log_probabilities: Vec<f32>,
    /// The reference's.
    pub reference: Vec<f32>,
    /// Mean entropy of its tokens' distributions, in nats.
    pub entropy: f64,
    /// The smallest and the largest ratio.
    pub ratio: (f64, f64),
    /// Ratios that were too low, and too high, to count any more.
    pub clipped: (usize, usize),
}

impl Form {
    /// What one token's weight in the loss is, relative to the others of its list: 1, or for [`Ratio::Token`] a share of the longest list.
    fn scale(&self) -> f64 {
        match self.ratio {
            Ratio::Token => 1.0 / self.longest as f64,
            Ratio::Sequence | Ratio::Gspo => 1.0,
        }
    }

    /// A ratio's term `−min(…)`, and its derivative by the ratio's logarithm; whether it was clipped, below or above.
    fn term(&self, ratio: f64, advantage: f64) -> (f64, f64, (usize, usize)) {
        let (low, high) = (1.0 - self.clip_low, 1.0 + self.clip_high);
        match advantage {
            a if a < 0.0 && ratio < low => (-low * a, 0.0, (1, 0)),
            a if a > 0.0 && ratio > high => (-high * a, 0.0, (0, 1)),
            a => (-ratio * a, -ratio * a, (0, 0)),
        }
    }

    /// A list's loss, and for each token its derivative by the token's log-probability; ratios and what was clipped.
    fn policy(&self, now: &[f32], Sampled { old, advantage }: &Sampled) -> (f64, Vec<f64>, (f64, f64), (usize, usize)) {
        let advantage = f64::from(*advantage);
        let apart: Vec<f64> = now.iter().zip(old).map(|(now, old)| f64::from(*now) - f64::from(*old)).collect();
        let ratio = |log: f64| log.clamp(-FURTHEST, FURTHEST).exp();
        if self.ratio == Ratio::Token {
            let ratios: Vec<f64> = apart.into_iter().map(ratio).collect();
            let terms: Vec<_> = ratios.iter().map(|ratio| self.term(*ratio, advantage)).collect();
            let (least, most) =
                ratios.iter().fold((f64::INFINITY, 0.0_f64), |(a, b), ratio| (a.min(*ratio), b.max(*ratio)));
            let clipped = terms.iter().fold((0, 0), |(low, high), (.., clipped)| (low + clipped.0, high + clipped.1));
            let scale = self.scale();
            let slopes = terms.iter().map(|(_, slope, _)| slope * scale).collect();
            return (terms.iter().map(|(term, ..)| term * scale).sum(), slopes, (least, most), clipped);
        }
        let parts = if self.ratio == Ratio::Gspo { now.len() as f64 } else { 1.0 };
        let ratio = ratio(apart.iter().sum::<f64>() / parts);
        let (loss, slope, clipped) = self.term(ratio, advantage);
        (loss, vec![slope / parts; now.len()], (ratio, ratio), clipped)
    }
}

impl Objective for Grpo<'_> {
    type Said = Said;

    fn list(&self, prediction: Prediction<'_>) -> Said {
        let Prediction { tree, list, tokens, logits, reference } = prediction;
        let (form, sampled) = (&self.form, &self.lists[tree][list]);
        let width = logits.len() / tokens.len();
        let temperature = form.temperature;
        let sums: Vec<LogSum> = logits.chunks_exact(width).map(|row| log_sum(row, temperature)).collect();
        let rows = logits.chunks_exact(width).zip(tokens).zip(&sums);
        let now: Vec<f32> = rows.map(|((row, token), sum)| sum.of(row[*token as usize])).collect();
        let (policy_loss, slopes, ratio, clipped) = form.policy(&now, sampled);
        let per_list = 1.0 / self.count as f64;
        let (mut kl, mut entropy, mut of_reference) = (0.0, 0.0, Vec::new());
        for (at, (row, token)) in logits.chunks_exact_mut(width).zip(tokens).enumerate() {
            let token = *token as usize;
            let reference = reference.get(at * width..(at + 1) * width);
            let other = reference.map(|reference| log_sum(reference, temperature));
            if let (Some(sum), Some(reference)) = (other, reference) {
                of_reference.push(sum.of(reference[token]));
            }
            let weight = per_list * form.scale() * form.beta;
            // Derivative of the loss by the token's log-probability.
            let mut slope = slopes[at] * per_list;
            let apart = of_reference.last().map(|reference| f64::from(*reference) - f64::from(now[at]));
            match (form.kl, apart.map(|d| d.clamp(-FURTHEST, FURTHEST))) {
                (Kl::K2, Some(d)) => {
                    kl += d * d / 2.0;
                    slope -= weight * d;
                }
                (Kl::K3, Some(d)) => {
                    kl += d.exp_m1() - d;
                    slope -= weight * d.exp_m1();
                }
                _ => {}
            }
            let logs: Vec<f32> = row.iter().map(|logit| sums[at].of(*logit)).collect();
            softmax(row, temperature);
            entropy -= dot(row, &logs);
            let scale = 1.0 / f64::from(temperature);
            let (along, exact) = ((slope * scale) as f32, (weight * scale) as f32);
            match (form.kl, other, reference) {
                (Kl::Exact, Some(other), Some(reference)) => {
                    let differences: Vec<f32> = logs.iter().zip(reference).map(|(log, r)| log - other.of(*r)).collect();
                    let distance = dot(row, &differences);
                    kl += distance;
                    let distance = distance as f32;
                    for (p, difference) in row.iter_mut().zip(differences) {
                        *p *= exact * (difference - distance) - along;
                    }
                }
                _ => row.iter_mut().for_each(|p| *p *= -along),
            }
            row[token] += along;
        }
        let entropy = entropy / tokens.len() as f64;
        Said { policy_loss, kl, log_probabilities: now, reference: of_reference, entropy, ratio, clipped }
    }
}
