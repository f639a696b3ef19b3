//! The head: hidden states to logits, and back from what an objective makes of them.

use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use crate::Adapters;
use crate::cache::Piece;
use crate::forward::{Block, Rows};
use crate::gradients::HeadGradient;
use crate::kernel::outer;
use crate::ops::{LANES, exp, exponentials, highest, rms_norm, rms_norm_back, total};
use crate::pass::Predicted;
use crate::weights::Snapshot;

/// What the policy says of each token of a list, given those before it.
#[derive(Debug)]
pub struct Prediction<'a> {
    /// Number of the tree among all that were put to the pass.
    pub tree: usize,
    /// Number of the list in its tree.
    pub list: usize,
    /// The list.
    pub tokens: &'a [u32],
    /// `[tokens, vocab_size]`.
    pub logits: &'a mut [f32],
    /// The reference's logits, `[tokens, its own vocab_size]`; empty without one.
    pub reference: &'a [f32],
}

/// A loss over lists: what is to be learnt.
pub trait Objective: Sync {
    /// What it says of a list.
    type Said: Send;

    /// Looks at a list's logits and leaves the loss's gradient in their place. Lists come in any order, several at once.
    fn list(&self, prediction: Prediction<'_>) -> Self::Said;
}

/// What turns a row of logits into log-probabilities: `(logit - highest) / temperature - ln Σ e^((logit - highest) / temperature)`.
#[derive(Debug, Clone, Copy)]
pub struct LogSum {
    highest: f32,
    scale: f32,
    log: f32,
}

impl LogSum {
    /// The log-probability of a logit of the row.
    pub fn of(self, logit: f32) -> f32 {
        (logit - self.highest) * self.scale - self.log
    }
}

/// Of a row's logits. Sampler and trainer both ask here.
pub fn log_sum(logits: &[f32], temperature: f32) -> LogSum {
    struct Sum<'a>(&'a [f32], f32, f32);
    impl NullaryFnOnce for Sum<'_> {
        type Output = f32;
        #[inline(always)]
        fn call(self) -> f32 {
            let Sum(x, highest, scale) = self;
            let mut lanes = [0.0; LANES];
            let (chunks, rest) = x.as_chunks::<LANES>();
            for chunk in chunks {
                for lane in 0..LANES {
                    lanes[lane] += exp((chunk[lane] - highest) * scale);
                }
            }
            for (lane, x) in lanes.iter_mut().zip(rest) {
                *lane += exp((*x - highest) * scale);
            }
            total(lanes)
        }
    }
    let (arch, scale) = (Arch::new(), 1.0 / temperature);
    let highest = highest(arch, logits);
    LogSum { highest, scale, log: arch.dispatch(Sum(logits, highest, scale)).ln() }
}

/// Probabilities in the place of logits, and what makes log-probabilities of these.
pub fn softmax(logits: &mut [f32], temperature: f32) -> LogSum {
    let (arch, scale) = (Arch::new(), 1.0 / temperature);
    let highest = highest(arch, logits);
    let sum = exponentials(arch, logits, highest, scale);
    let norm = 1.0 / sum;
    logits.iter_mut().for_each(|x| *x *= norm);
    LogSum { highest, scale, log: sum.ln() }
}

impl Snapshot {
    /// Hidden states `[rows, hidden_size]` to logits `[rows, vocab_size]`.
    pub fn logits(&self, hidden: &[f32]) -> Vec<f32> {
        self.head.multiply_new(self.arch, &self.normed(hidden))
    }

    fn normed(&self, hidden: &[f32]) -> Vec<f32> {
        let mut normed = vec![0.0; hidden.len()];
        rms_norm(self.arch, hidden, &self.norm, self.config.rms_norm_eps, &mut normed);
        normed
    }

    /// Puts lists to an objective: each with its tokens' hidden states, `[tokens, hidden_size]`, and the reference's logits, if any. Returns what it says
    /// and, with a gradient to add to, the gradient of each list's hidden states.
    pub(crate) fn put<O: Objective>(
        &self,
        lists: &[Predicted<'_>],
        hidden: &[f32],
        reference: &[f32],
        objective: &O,
        gradient: Option<&mut HeadGradient>,
    ) -> (Vec<O::Said>, Vec<f32>) {
        let vocabulary = self.config.vocab_size;
        let of_reference = reference.len() / lists.iter().map(|list| list.tokens.len()).sum::<usize>().max(1);
        let normed = self.normed(hidden);
        let mut logits = self.head.multiply_new(self.arch, &normed);
        let mut predictions = Vec::with_capacity(lists.len());
        let (mut logits_left, mut reference_left) = (logits.as_mut_slice(), reference);
        for Predicted { tree, list, tokens, .. } in lists {
            let (logits, rest) = logits_left.split_at_mut(tokens.len() * vocabulary);
            let (reference, reference_rest) = reference_left.split_at(tokens.len() * of_reference);
            (logits_left, reference_left) = (rest, reference_rest);
            predictions.push(Prediction { tree: *tree, list: *list, tokens, logits, reference });
        }
        let said = predictions.into_par_iter().map(|prediction| objective.list(prediction)).collect();
        let Some(gradient) = gradient else { return (said, Vec::new()) };
        if !gradient.head.is_empty() {
            outer(self.arch, &logits, vocabulary, &normed, self.config.hidden_size, &mut gradient.head);
        }
        let mut d_normed = vec![0.0; hidden.len()];
        self.head.multiply_back(self.arch, &logits, &mut d_normed);
        let mut d = vec![0.0; hidden.len()];
        let epsilon = self.config.rms_norm_eps;
        rms_norm_back(self.arch, hidden, &self.norm, epsilon, &d_normed, &mut d, &mut gradient.norm);
        (said, d)
    }
}

impl Snapshot {
    /// Logits `[tokens, vocab_size]` of a sequence `prefix + tokens`, the prefix being a piece of its own, as in rollouts.
    pub fn logits_of(&self, prefix: &[u32], tokens: &[u32]) -> Vec<f32> {
        let rotary = self.rotary(prefix.len() + tokens.len());
        let mut pieces = [prefix, tokens].map(|part| Piece::new(self.shape(), part.len()));
        let [before, own] = &mut pieces;
        if !prefix.is_empty() {
            let rows = Rows::Prompt(before, prefix.len());
            self.forward(&rotary, prefix, &mut [Block { shared: Vec::new(), rows }], Adapters::On);
        }
        let rows = Rows::Prompt(own, tokens.len());
        let hidden = self.forward(&rotary, tokens, &mut [Block { shared: vec![before], rows }], Adapters::On);
        self.logits(&hidden)
    }
}
