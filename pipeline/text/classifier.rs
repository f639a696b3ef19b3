//! A sequence classifier: texts in, the probability of one label out.

use serde::{Deserialize, Serialize};

use crate::folder::ModelFolder;
use crate::model::{Expected, Model, Timing};
use crate::{Error, Result};

/// How texts are put to a classifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassifierOptions {
    /// Texts of more tokens are clipped (and always at the model's positions).
    pub max_tokens: usize,
    /// Tokens in a batch.
    pub batch_tokens: usize,
    /// The label, of those that the model's `config.json` names, whose probability is the score.
    pub label: String,
}

impl Default for ClassifierOptions {
    fn default() -> Self {
        ClassifierOptions { max_tokens: 64, batch_tokens: 1024, label: "keep".into() }
    }
}

/// A RoBERTa- or BERT-type classifier.
#[derive(Debug)]
pub struct Classifier {
    model: Model,
    label: usize,
}

impl Classifier {
    /// Opens a checked folder and tries the model: with its tokenizer's last id, and with the longest text.
    pub fn open(folder: ModelFolder, options: ClassifierOptions) -> Result<Self> {
        let ClassifierOptions { max_tokens, batch_tokens, label: wanted } = options;
        let config = folder.path.join("config.json");
        let labels = &folder.config.id2label;
        let label = labels.iter().find(|(_, name)| **name == wanted).map(|(&label, _)| label).ok_or_else(|| {
            let names: Vec<&str> = labels.values().map(String::as_str).collect();
            let what = format!("id2label: expected a label {wanted:?}, got {names:?}");
            Error::model(&config, what, "name the label to keep with keep_label")
        })?;
        let model = Model::open(folder, max_tokens, batch_tokens, Expected { rank: 2, about: "logits" })?;
        if label >= model.width() {
            let what = format!("id2label: expected at most the model's {} labels, got label {label}", model.width());
            return Err(Error::model(&config, what, "copy the model's folder again"));
        }
        Ok(Classifier { model, label })
    }

    /// The probability of the label, for each text.
    pub fn scores(&self, texts: &[&str]) -> Result<Vec<f32>> {
        Ok(self.logits(texts)?.iter().map(|logits| softmax(logits, self.label)).collect())
    }

    /// The logits of each text.
    pub fn logits(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        self.model.map(texts, &|logits| logits.to_vec())
    }

    /// What the classifier has done so far, over all workers.
    pub fn timing(&self) -> Timing {
        self.model.timing()
    }

    /// The model's folder.
    pub fn folder(&self) -> &ModelFolder {
        &self.model.folder
    }
}

fn softmax(logits: &[f32], label: usize) -> f32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    (logits[label] - largest).exp() / sum
}
