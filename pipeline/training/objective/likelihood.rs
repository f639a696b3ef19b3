//! Cross-entropy on given lists: what supervised training and warm starts minimise.

use engine::{Objective, Prediction, softmax};

/// `−1/tokens Σ ln π(token)` over all lists of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Likelihood {
    /// Tokens of all lists of the batch.
    pub tokens: usize,
}

/// What the policy says of a list.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fitted {
    /// Sum of `−ln π(token)`, in nats.
    pub loss: f64,
    /// Tokens that were the likeliest ones.
    pub likeliest: usize,
    /// Tokens.
    pub tokens: usize,
}

impl Objective for Likelihood {
    type Said = Fitted;

    fn list(&self, prediction: Prediction<'_>) -> Fitted {
        let Prediction { tokens, logits, .. } = prediction;
        let width = logits.len() / tokens.len();
        let weight = 1.0 / self.tokens as f32;
        let mut fitted = Fitted { loss: 0.0, likeliest: 0, tokens: tokens.len() };
        for (row, token) in logits.chunks_exact_mut(width).zip(tokens) {
            let token = *token as usize;
            let logit = row[token];
            fitted.likeliest += usize::from(row.iter().all(|other| *other <= logit));
            fitted.loss -= f64::from(softmax(row, 1.0).of(logit));
            row.iter_mut().for_each(|p| *p *= weight);
            row[token] -= weight;
        }
        fitted
    }
}
