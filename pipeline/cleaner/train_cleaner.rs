//! `train-cleaner`: labels to a cleaner's folder.

use std::path::{Path, PathBuf};

use clap::Args;
use dataset::{Artifact, Draft, Error, Inputs, Progress, Resources, Result, Whole};
use schemas::Labels;
use serde::{Deserialize, Serialize};

use crate::folds::{cross_validation, out_of_fold, to_parquet};
use crate::metrics::METRICS;
use crate::trained::Recipe;
use crate::{folder, initial};

/// Where a draft keeps the states of its trainings.
const TRAINING: &str = "training";
/// Labels of each kind that it takes.
const FEWEST: usize = 10;

/// Settings of `train-cleaner`, and the artifact that it makes: a folder with `model.onnx`, `model.int8.onnx`, `thresholds.json`,
/// `languages.json` (of the labelled texts), `metrics.json` ([`crate::Metrics`]), and the model in Hugging Face's form (`config.json`, `tokenizer.json`, `model.safetensors`);
/// with folds also `predictions.parquet` (`cleaner_predictions`).
///
/// Deterministic: the same labels and settings give the same bytes. A killed training goes on after the last epoch that it ended.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainCleaner {
    /// The folder to write
    #[arg(long, value_name = "FOLDER", default_value = "models/cleaner")]
    #[serde(skip_serializing)]
    pub output: PathBuf,
    /// A Hugging Face folder of a RoBERTa or BERT to start from, such as models/minilm; without it, from scratch
    #[arg(long, value_name = "FOLDER")]
    #[serde(skip_serializing)]
    pub init: Option<PathBuf>,
    /// From scratch: encoder layers
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub layers: usize,
    /// From scratch: width, a multiple of the heads
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub width: usize,
    /// From scratch: attention heads
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub heads: usize,
    /// From scratch: tokens of the vocabulary, at most
    #[arg(long, value_name = "N", default_value_t = 4000)]
    pub vocabulary: usize,
    /// Tokens of a text, at most
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub max_tokens: usize,
    /// Passes over the labels, at most
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub epochs: usize,
    /// Texts per step
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub batch: usize,
    /// Learning rate of the encoder at its peak
    #[arg(long, value_name = "RATE", default_value_t = 5e-5)]
    pub learning_rate: f64,
    /// The head's rate, as a multiple of it: a new head on a pretrained encoder learns faster
    #[arg(long, value_name = "FACTOR", default_value_t = 10.0)]
    pub head_rate: f64,
    /// Share of the steps over which the rate rises; it falls to 0 over the others
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    pub warm_up: f64,
    /// AdamW's weight decay, of matrices: biases and layer norms have none
    #[arg(long, value_name = "RATE", default_value_t = 0.01)]
    pub weight_decay: f64,
    /// Share of the values dropped out
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    pub dropout: f32,
    /// Share of the labels held out for early stopping, calibration and the threshold
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    pub held_out: f64,
    /// Epochs without improvement on the held-out labels after which training stops
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub patience: usize,
    /// Weight both classes as if they were equally frequent
    #[arg(long)]
    pub class_weights: bool,
    /// From 2 on: also train as many models, each without its share of the labels, and score these
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub folds: u32,
    /// Another seed, another model
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

impl Default for TrainCleaner {
    fn default() -> Self {
        dataset::defaults()
    }
}

impl TrainCleaner {
    /// Errs when a setting makes no sense.
    pub fn check(&self) -> Result<()> {
        let wrong = |key: &str, expected: &str, got: &dyn std::fmt::Display| {
            Err(Error::setting(&format!("train-cleaner.{key}"), expected, got, "see `querent train-cleaner --help`"))
        };
        let counts = [
            ("layers", self.layers, 1, 100),
            ("heads", self.heads, 1, 1_000),
            ("vocabulary", self.vocabulary, 300, 1_000_000),
            ("max_tokens", self.max_tokens, 4, 4_096),
            ("epochs", self.epochs, 1, 10_000),
            ("batch", self.batch, 1, 100_000),
            ("patience", self.patience, 1, 10_000),
            ("folds", self.folds as usize, 0, 1_000),
        ];
        for (key, value, least, most) in counts {
            if !(least..=most).contains(&value) {
                return wrong(key, &format!("{least} to {most}"), &value);
            }
        }
        for (key, value) in [("learning_rate", self.learning_rate), ("head_rate", self.head_rate)] {
            if !(value > 0.0 && value.is_finite()) {
                return wrong(key, "a number above 0", &value);
            }
        }
        match self {
            _ if self.output.as_os_str().is_empty() => wrong("output", "a folder", &"nothing"),
            _ if !self.width.is_multiple_of(self.heads) || !(1..=10_000).contains(&self.width) => {
                wrong("width", "a multiple of heads, at most 10000", &self.width)
            }
            _ if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) => {
                wrong("weight_decay", "a number from 0", &self.weight_decay)
            }
            _ if !(0.0..1.0).contains(&self.warm_up) => wrong("warm_up", "from 0, below 1", &self.warm_up),
            _ if !(self.held_out > 0.0 && self.held_out <= 0.5) => {
                wrong("held_out", "above 0, at most 0.5", &self.held_out)
            }
            _ if !(0.0..1.0).contains(&self.dropout) => wrong("dropout", "from 0, below 1", &self.dropout),
            _ if i64::try_from(self.seed).is_err() => wrong("seed", "at most 2^63 - 1", &self.seed),
            _ => Ok(()),
        }
    }
}

/// A row of `labels`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelRow {
    /// The behaviour.
    pub text: String,
    /// Its domain.
    pub domain: String,
    /// True: keep.
    pub keep: bool,
}

/// What `train-cleaner` reads.
#[derive(Debug)]
pub struct TrainCleanerInputs {
    labels: Whole<Labels>,
    init: Option<PathBuf>,
}

impl TrainCleanerInputs {
    /// All labels, by text.
    fn rows(&self) -> Result<Vec<LabelRow>> {
        let mut rows = Vec::new();
        for part in self.labels.parts() {
            for batch in part?.batches() {
                let (texts, domains) = (Labels::text.of(batch)?, Labels::domain.of(batch)?);
                let labels = Labels::label.of(batch)?;
                rows.extend((0..batch.num_rows()).map(|row| LabelRow {
                    text: texts.value(row).into(),
                    domain: domains.value(row).into(),
                    keep: labels.value(row),
                }));
            }
        }
        rows.sort_by(|a, b| a.text.cmp(&b.text));
        let kept = rows.iter().filter(|row| row.keep).count();
        let noise = rows.len() - kept;
        if kept < FEWEST || noise < FEWEST {
            let got = format!("{kept} of keep and {noise} of noise");
            return Err(Error::setting("labels", "at least 10 of each label", got, "annotate more behaviours"));
        }
        Ok(rows)
    }
}

impl Artifact for TrainCleaner {
    const NAME: &'static str = "train-cleaner";
    const VERSION: u32 = 5;
    type Inputs = TrainCleanerInputs;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<Self::Inputs> {
        self.check()?;
        let init = self.init.clone().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = &init {
            declare.files("init", &initial::files(folder)?)?;
        }
        let columns = [Labels::text.name(), Labels::domain.name(), Labels::label.name()];
        Ok(TrainCleanerInputs { labels: declare.whole::<Labels>("labels")?.columns(&columns), init })
    }

    fn make(&self, inputs: &Self::Inputs, draft: &Draft, resources: &Resources) -> Result<()> {
        let rows = inputs.rows()?;
        let recipe = Recipe { settings: self, init: inputs.init.as_deref() };
        let folds = if self.folds > 1 { self.folds } else { 0 };
        let models = folds as usize + 1;
        let mut shown = Shown { progress: None, done: 0 };
        let mut watch = |model: usize, step: usize, steps: usize| {
            let progress = || Progress::new(Self::NAME, "texts", (models * steps) as u64, resources.progress);
            shown.reach(model * steps + step, self.batch, progress);
        };
        let states = draft.path.join(TRAINING);
        let state = |model: usize| states.join(format!("{model}.safetensors"));
        let trained = recipe.train(&rows, &state(0), &mut |step, steps| watch(0, step, steps))?;
        let mut predictions = Vec::new();
        for (fold, model) in (0..folds).zip(1..) {
            let mut watch = |step: usize, steps: usize| watch(model, step, steps);
            predictions.extend(out_of_fold(&recipe, &rows, fold, &state(model), &mut watch)?);
        }
        let cross_validation = (folds > 0).then(|| cross_validation(folds, &predictions));
        if folds > 0 {
            draft.write("predictions.parquet", &to_parquet(predictions)?)?;
        }
        let metrics = folder::write(draft, self, &trained, cross_validation)?;
        draft.write_json(METRICS, &metrics)?;
        remove(&states)
    }
}

fn remove(folder: &Path) -> Result<()> {
    std::fs::remove_dir_all(folder).map_err(Error::at(folder))
}

/// How far all trainings together are.
struct Shown {
    progress: Option<Progress>,
    done: usize,
}

impl Shown {
    fn reach(&mut self, step: usize, batch: usize, start: impl FnOnce() -> Progress) {
        let more = step.saturating_sub(self.done);
        self.progress.get_or_insert_with(start).advance(more as u64, (more * batch) as u64);
        self.done += more;
    }
}
