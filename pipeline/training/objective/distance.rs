//! Distillation's objective (equation 10 of the paper): how far a student is from its teacher, token by token, over the whole vocabulary.
//!
//! With the student's distribution `p` and the teacher's `q` after the same prefix, the loss is the mean over the batch's tokens of
//!
//! ```text
//! reverse   Σ_v p(v)·(ln p(v) − ln q(v))
//! forward   Σ_v q(v)·(ln q(v) − ln p(v))
//! jsd       ½ Σ_v p(v)·(ln p(v) − ln m(v)) + ½ Σ_v q(v)·(ln q(v) − ln m(v)),  m = (p + q)/2
//! sampled   ln p(token) − ln q(token), as the cost of the token that was sampled: its expected gradient is that of `reverse`
//! ```
//!
//! Which tokens are drawn is not differentiated through (Gu et al., 2024; Agarwal et al., 2024).

use clap::ValueEnum;
use engine::{Objective, Prediction, log_sum, softmax};
use serde::{Deserialize, Serialize};

use super::dot;

/// How the distance is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Divergence {
    /// From the student's side: what the student says, the teacher should find likely (equation 10).
    #[default]
    Reverse,
    /// From the teacher's side: what the teacher would say, the student should find likely.
    Forward,
    /// From both sides to the middle (Jensen and Shannon).
    Jsd,
    /// Of the sampled token alone.
    Sampled,
}

/// How many of the likeliest tokens are compared.
const LIKELIEST: usize = 10;

/// The objective of a batch. The teacher is the pass's reference.
#[derive(Debug, Clone, Copy)]
pub struct Distance {
    /// How it is measured.
    pub divergence: Divergence,
    /// Tokens of all lists of the batch.
    pub tokens: usize,
    /// Tokens that both know. Rows of logits may have more, which stand for no token; probabilities are of these alone.
    pub vocabulary: usize,
}

/// How far apart student and teacher are on a list. Sums over its tokens, in nats.
#[derive(Debug, Clone, PartialEq)]
pub struct Apart {
    /// What is minimised, before the mean.
    pub loss: f64,
    /// `Σ_v p(v)·(ln p(v) − ln q(v))`, whatever is minimised; its estimate by the sampled tokens, where the teacher says no more ([`Told`]).
    pub reverse: f64,
    /// Entropy of the student's distributions.
    pub entropy: f64,
    /// What takes all of the teacher's distribution to know.
    pub whole: Option<Whole>,
    /// The student's log-probability of each token.
    pub log_probabilities: Vec<f32>,
    /// The teacher's.
    pub teacher: Vec<f32>,
}

/// More of how far apart they are. Sums over a list's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Whole {
    /// `Σ_v q(v)·(ln q(v) − ln p(v))`.
    pub forward: f64,
    /// Share of the teacher's ten likeliest tokens that are among the student's.
    pub overlap: f64,
}

/// The objective of a batch, by [`Divergence::Sampled`], whose teacher said how likely it finds the lists' tokens, and no more.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// By tree and list, as they are put to the pass, the teacher's log-probability of each token; not finite where it was not asked.
    pub teacher: &'a [Vec<Vec<f32>>],
    /// Tokens of all lists of the batch.
    pub tokens: usize,
    /// As [`Distance::vocabulary`].
    pub vocabulary: usize,
}

impl Apart {
    /// Of a list's rows of logits, in whose place gradients are left. `token`: a row's known part, its place, and its token.
    fn of(
        tokens: &[u32],
        logits: &mut [f32],
        vocabulary: usize,
        whole: Option<Whole>,
        mut token: impl FnMut(&mut [f32], usize, usize, &mut Apart),
    ) -> Self {
        let room = || Vec::with_capacity(tokens.len());
        let (log_probabilities, teacher) = (room(), room());
        let mut apart = Apart { loss: 0.0, reverse: 0.0, entropy: 0.0, whole, log_probabilities, teacher };
        let width = logits.len() / tokens.len();
        for (at, (row, said)) in logits.chunks_exact_mut(width).zip(tokens).enumerate() {
            let (row, beyond) = row.split_at_mut(vocabulary);
            beyond.fill(0.0);
            match (*said as usize) < vocabulary {
                true => token(row, at, *said as usize, &mut apart),
                // What stands for no token teaches nothing.
                false => apart.skip(row),
            }
        }
        apart
    }

    /// Nothing is learnt of a token.
    fn skip(&mut self, row: &mut [f32]) {
        row.fill(0.0);
        self.log_probabilities.push(f32::NEG_INFINITY);
        self.teacher.push(f32::NEG_INFINITY);
    }
}

impl Objective for Told<'_> {
    type Said = Apart;

    fn list(&self, prediction: Prediction<'_>) -> Apart {
        let Prediction { tree, list, tokens, logits, .. } = prediction;
        let teacher = &self.teacher[tree][list];
        Apart::of(tokens, logits, self.vocabulary, None, |row, at, token, apart| {
            if !teacher[at].is_finite() {
                return apart.skip(row);
            }
            let log_p = logs(row);
            softmax(row, 1.0);
            let cost = log_p[token] - teacher[at];
            apart.entropy -= dot(row, &log_p);
            apart.log_probabilities.push(log_p[token]);
            apart.teacher.push(teacher[at]);
            apart.reverse += f64::from(cost);
            apart.loss += sampled(row, token, cost, 1.0 / self.tokens as f32);
        })
    }
}

impl Objective for Distance {
    type Said = Apart;

    fn list(&self, prediction: Prediction<'_>) -> Apart {
        let Prediction { tokens, logits, reference, .. } = prediction;
        let width = reference.len() / tokens.len();
        Apart::of(tokens, logits, self.vocabulary, Some(Whole::default()), |row, at, token, apart| {
            self.token(row, &reference[at * width..][..self.vocabulary], token, apart);
        })
    }
}

impl Distance {
    /// A row of the student's logits, in whose place the loss's gradient is left, and the teacher's.
    fn token(&self, row: &mut [f32], reference: &[f32], token: usize, apart: &mut Apart) {
        let overlap = overlap(row, reference);
        let (log_p, log_q) = (logs(row), logs(reference));
        let mut teacher = reference.to_vec();
        softmax(row, 1.0);
        softmax(&mut teacher, 1.0);
        let (p, q) = (row, teacher);
        let further: Vec<f32> = log_p.iter().zip(&log_q).map(|(p, q)| p - q).collect();
        let (reverse, forward) = (dot(p, &further), -dot(&q, &further));
        apart.reverse += reverse;
        if let Some(whole) = &mut apart.whole {
            whole.forward += forward;
            whole.overlap += overlap;
        }
        apart.entropy -= dot(p, &log_p);
        apart.log_probabilities.push(log_p[token]);
        apart.teacher.push(log_q[token]);
        let weight = 1.0 / self.tokens as f32;
        apart.loss += match self.divergence {
            Divergence::Reverse => {
                let mean = reverse as f32;
                p.iter_mut().zip(&further).for_each(|(p, further)| *p *= weight * (further - mean));
                reverse
            }
            Divergence::Forward => {
                p.iter_mut().zip(&q).for_each(|(p, q)| *p = weight * (*p - q));
                forward
            }
            Divergence::Jsd => {
                let middle: Vec<f32> = log_p.iter().zip(&log_q).map(|(p, q)| between(*p, *q)).collect();
                let from = |logs: &[f32]| -> Vec<f32> { logs.iter().zip(&middle).map(|(log, m)| log - m).collect() };
                let (from_p, from_q) = (from(&log_p), from(&log_q));
                let (of_p, of_q) = (dot(p, &from_p), dot(&q, &from_q));
                let mean = of_p as f32;
                p.iter_mut().zip(&from_p).for_each(|(p, from)| *p *= 0.5 * weight * (from - mean));
                0.5 * (of_p + of_q)
            }
            Divergence::Sampled => sampled(p, token, further[token], weight),
        };
    }
}

/// Leaves the gradient of a sampled token's cost in the place of the probabilities `p`. Returns the cost.
fn sampled(p: &mut [f32], token: usize, cost: f32, weight: f32) -> f64 {
    p.iter_mut().for_each(|p| *p *= -cost * weight);
    p[token] += cost * weight;
    f64::from(cost)
}

/// Logits as log-probabilities.
fn logs(logits: &[f32]) -> Vec<f32> {
    let sum = log_sum(logits, 1.0);
    logits.iter().map(|logit| sum.of(*logit)).collect()
}

/// `ln ((e^a + e^b)/2)`.
fn between(a: f32, b: f32) -> f32 {
    let (most, least) = (a.max(b), a.min(b));
    most + (least - most).exp().ln_1p() - std::f32::consts::LN_2
}

/// Share of the likeliest tokens that two rows of logits have in common.
fn overlap(a: &[f32], b: &[f32]) -> f64 {
    let (a, b) = (likeliest(a), likeliest(b));
    b.iter().filter(|token| a.contains(token)).count() as f64 / b.len().max(1) as f64
}

/// The likeliest tokens, of equals the first.
fn likeliest(logits: &[f32]) -> Vec<usize> {
    let mut best: Vec<usize> = Vec::with_capacity(LIKELIEST + 1);
    for (token, logit) in logits.iter().enumerate() {
        if best.len() < LIKELIEST || *logit > logits[best[LIKELIEST - 1]] {
            let at = best.partition_point(|other| logits[*other] >= *logit);
            best.insert(at, token);
            best.truncate(LIKELIEST);
        }
    }
    best
}
