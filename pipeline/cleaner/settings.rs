//! Settings of `train-cleaner`.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How the classifier is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainCleaner {
    /// The folder that is written.
    pub output: String,
    /// A Hugging Face folder of a RoBERTa or BERT to start from; empty: from scratch.
    pub init: String,
    /// From scratch: encoder layers.
    pub layers: usize,
    /// From scratch: width, a multiple of `heads`.
    pub width: usize,
    /// From scratch: attention heads.
    pub heads: usize,
    /// From scratch: tokens of the vocabulary, at most.
    pub vocabulary: usize,
    /// Tokens of a text, at most.
    pub max_tokens: usize,
    /// Passes over the labels, at most.
    pub epochs: usize,
    /// Texts per step.
    pub batch: usize,
    /// Learning rate of the encoder at its peak.
    pub learning_rate: f64,
    /// The head's, as a multiple of it: a new head on a pretrained encoder learns faster.
    pub head_rate: f64,
    /// Share of the steps over which the rate rises; it falls to 0 over the others.
    pub warm_up: f64,
    /// AdamW's weight decay.
    pub weight_decay: f64,
    /// Share of the values dropped out.
    pub dropout: f32,
    /// Share of the labels held out for early stopping, calibration and the threshold.
    pub held_out: f64,
    /// Epochs without improvement on the held-out labels after which training stops.
    pub patience: usize,
    /// Weight both classes as if they were equally frequent.
    pub class_weights: bool,
    /// More than 1: also train as many models, each without its share of the labels, and score these.
    pub folds: u32,
    /// Another seed, another model.
    pub seed: u64,
}

impl Default for TrainCleaner {
    fn default() -> Self {
        TrainCleaner {
            output: "models/cleaner".into(),
            init: String::new(),
            layers: 2,
            width: 128,
            heads: 4,
            vocabulary: 4000,
            max_tokens: 64,
            epochs: 3,
            batch: 32,
            learning_rate: 5e-5,
            head_rate: 10.0,
            warm_up: 0.1,
            weight_decay: 0.01,
            dropout: 0.1,
            held_out: 0.1,
            patience: 2,
            class_weights: false,
            folds: 0,
            seed: 0,
        }
    }
}

impl TrainCleaner {
    /// Errs when a setting makes no sense.
    pub fn check(&self) -> Result<()> {
        let wrong = |key: &str, expected: &str, got: &dyn std::fmt::Display| {
            Err(Error::Dataset(dataset::Error::setting(
                &format!("train-cleaner.{key}"),
                expected,
                got,
                "see `querent train-cleaner --help`",
            )))
        };
        match self {
            _ if self.output.is_empty() => wrong("output", "a folder", &"nothing"),
            _ if self.heads == 0 || !self.width.is_multiple_of(self.heads) || self.width == 0 => {
                wrong("width", "a multiple of heads", &self.width)
            }
            _ if self.layers == 0 => wrong("layers", "at least 1", &self.layers),
            _ if self.vocabulary < 300 => wrong("vocabulary", "at least 300 (256 bytes and some)", &self.vocabulary),
            _ if self.max_tokens < 4 => wrong("max_tokens", "at least 4", &self.max_tokens),
            _ if self.epochs == 0 => wrong("epochs", "at least 1", &self.epochs),
            _ if self.batch == 0 => wrong("batch", "at least 1", &self.batch),
            _ if self.patience == 0 => wrong("patience", "at least 1", &self.patience),
            _ if !(self.held_out > 0.0 && self.held_out <= 0.5) => {
                wrong("held_out", "above 0, at most 0.5", &self.held_out)
            }
            _ if !(0.0..1.0).contains(&self.dropout) => wrong("dropout", "from 0, below 1", &self.dropout),
            _ => Ok(()),
        }
    }
}
