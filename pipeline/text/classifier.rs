//! A sequence classifier: texts in, the probability of one label out.

use clap::Args;
use dataset::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::folder::{Config, ModelFolder, wrong};
use crate::model::{Expected, Model, Timing};

/// How texts are put to a classifier.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct ClassifierOptions {
    /// The label, of those in the model's config.json, that means keep: its probability is the score
    #[arg(long, value_name = "LABEL", default_value = "keep")]
    pub keep_label: String,
    /// Tokens of a text, at most (and always at the model's positions)
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub max_tokens: usize,
    /// Tokens of a batch, at most
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub batch_tokens: usize,
}

impl Default for ClassifierOptions {
    fn default() -> Self {
        dataset::defaults()
    }
}

impl ClassifierOptions {
    /// Errs when a setting makes no sense.
    pub fn check(&self) -> Result<()> {
        check_tokens(self.max_tokens, self.batch_tokens)
    }
}

/// Errs when no text fits, or more would than memory holds.
pub(crate) fn check_tokens(max_tokens: usize, batch_tokens: usize) -> Result<()> {
    for (setting, value, most) in [("max_tokens", max_tokens, 1 << 16), ("batch_tokens", batch_tokens, 1 << 24)] {
        if value == 0 || value > most {
            return Err(Error::setting(setting, format!("1 to {most} tokens"), value, "leave it out for the default"));
        }
    }
    Ok(())
}

/// A RoBERTa- or BERT-type classifier.
#[derive(Debug)]
pub struct Classifier {
    model: Model,
    label: usize,
    meaning: Meaning,
}

/// What logits mean, as transformers' pipelines have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// One of several labels is true.
    OneOfSeveral,
    /// Each label is true or not, whatever the others are; so it is with a single one.
    EachAlone,
}

impl Meaning {
    /// What a configuration says. The error says which field is wrong.
    fn of(config: &Config) -> Result<Self, String> {
        let labels = config.id2label.len();
        if let Some(number) = config.num_labels.filter(|number| *number != labels) {
            return Err(format!("num_labels: expected {labels}, the labels of id2label, got {number}"));
        }
        match config.problem_type.as_deref() {
            None | Some("single_label_classification") if labels > 1 => Ok(Meaning::OneOfSeveral),
            None | Some("single_label_classification" | "multi_label_classification") => Ok(Meaning::EachAlone),
            Some(other) => Err(format!(
                "problem_type: expected single_label_classification or multi_label_classification, got {other:?}"
            )),
        }
    }

    /// The probability of a label.
    fn probability(self, logits: &[f32], label: usize) -> f32 {
        match self {
            Meaning::OneOfSeveral => softmax(logits, label),
            Meaning::EachAlone => 1.0 / (1.0 + (-logits[label]).exp()),
        }
    }
}

impl Classifier {
    /// Opens a checked folder and tries the model: with its tokenizer's last id, and with the longest text.
    ///
    /// # Errors
    /// 2 for a setting or a missing ONNX Runtime, 3 for a model that is not what it should be.
    pub fn open(folder: ModelFolder, options: ClassifierOptions) -> Result<Self> {
        options.check()?;
        let ClassifierOptions { keep_label: wanted, max_tokens, batch_tokens } = options;
        let config = folder.path.join("config.json");
        let labels = &folder.config.id2label;
        let named: Vec<usize> = labels.iter().filter(|(_, name)| **name == wanted).map(|(&label, _)| label).collect();
        let &[label] = named.as_slice() else {
            let names: Vec<&str> = labels.values().map(String::as_str).collect();
            let what = format!("id2label: expected a label {wanted:?}, got {names:?}");
            return Err(wrong(&config, what, "name the label to keep with keep_label"));
        };
        let hint = "take a classifier's folder, whose logits are those of labels; or copy the model's folder again";
        let meaning = Meaning::of(&folder.config).map_err(|what| wrong(&config, what, hint))?;
        let ids: Vec<usize> = labels.keys().copied().collect();
        let model = Model::open(folder, max_tokens, batch_tokens, Expected { rank: 2, about: "logits" })?;
        if !ids.iter().copied().eq(0..model.width()) {
            let what = format!("id2label: expected labels for the model's {} logits, got {ids:?}", model.width());
            return Err(wrong(&config, what, hint));
        }
        Ok(Classifier { model, label, meaning })
    }

    /// The probability of the label, for each text: a number from 0 to 1.
    pub fn scores(&self, texts: &[&str]) -> Result<Vec<f32>> {
        Ok(self.logits(texts)?.iter().map(|logits| self.meaning.probability(logits, self.label)).collect())
    }

    /// The logits of each text, all finite.
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
