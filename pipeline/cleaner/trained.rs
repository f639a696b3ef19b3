//! A trained model: split, trained, calibrated.

use std::path::Path;

use candle_core::Var;
use dataset::bucket::stream;
use dataset::{Error, Result};
use text::Tokens;

use crate::initial::{Initial, from_folder, from_scratch};
use crate::roberta::Roberta;
use crate::train::{Epoch, Example, Watch, fit, score};
use crate::train_cleaner::LabelRow;
use crate::{TrainCleaner, candle};

/// A model, calibrated, and what it was stopped and calibrated on.
pub(crate) struct Trained {
    pub(crate) initial: Initial,
    pub(crate) train: Vec<Example>,
    pub(crate) held_out: Vec<(String, bool)>,
    pub(crate) held_out_examples: Vec<Example>,
    pub(crate) temperature: f64,
    pub(crate) epochs: Vec<Epoch>,
    pub(crate) texts: Vec<String>,
}

/// How a model is made: the settings, and the folder to start from, if any.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recipe<'a> {
    pub(crate) settings: &'a TrainCleaner,
    pub(crate) init: Option<&'a Path>,
}

impl Recipe<'_> {
    /// Trains a model on labels, some of which are held out; its state is kept in a file, epoch by epoch.
    pub(crate) fn train(&self, rows: &[LabelRow], save: &Path, watch: Watch<'_>) -> Result<Trained> {
        let Recipe { settings, init } = *self;
        let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
        let initial = match init {
            None => from_scratch(settings, &texts, settings.seed)?,
            Some(folder) => from_folder(folder, settings.seed)?,
        };
        let tokens = Tokens::new(initial.tokenizer.clone(), clip(settings, &initial.model))?;
        let examples: Vec<Example> =
            tokens.ids(&texts)?.into_iter().zip(rows).map(|(ids, row)| Example { ids, keep: row.keep }).collect();
        let held = |row: &LabelRow| share(&row.text, "held out", settings.seed) < settings.held_out;
        let pick = |wanted: bool| -> Vec<Example> {
            rows.iter()
                .zip(&examples)
                .filter(|(row, _)| held(row) == wanted)
                .map(|(_, example)| example.clone())
                .collect()
        };
        let (train, held_out_examples) = (pick(false), pick(true));
        for (examples, which) in [(&train, "left to learn from"), (&held_out_examples, "held out")] {
            let kept = examples.iter().filter(|example| example.keep).count();
            if kept == 0 || kept == examples.len() {
                let got = format!("{kept} of keep and {} of noise", examples.len() - kept);
                let hint = "annotate more behaviours, or give another --held-out or --seed";
                return Err(Error::setting("labels", format!("some of each label {which}"), got, hint));
            }
        }
        let held_out = rows.iter().filter(|row| held(row)).map(|row| (row.text.clone(), row.keep)).collect();
        let epochs = fit(&initial.model, &train, &held_out_examples, settings, settings.seed, Some(save), watch)?;
        let temperature = score(&initial.model, &held_out_examples)?.best_temperature();
        cool(&initial.model, temperature).map_err(candle)?;
        Ok(Trained {
            initial,
            train,
            held_out,
            held_out_examples,
            temperature,
            epochs,
            texts: texts.into_iter().map(str::to_owned).collect(),
        })
    }
}

/// Tokens at which texts are clipped: the model may have fewer positions than the settings ask for.
pub(crate) fn clip(settings: &TrainCleaner, model: &Roberta) -> usize {
    settings.max_tokens.min(model.config.max_position_embeddings - model.config.pad_token_id as usize - 1)
}

/// A number in 0..1 that depends on a text, a purpose and the seed alone.
pub(crate) fn share(text: &str, purpose: &str, seed: u64) -> f64 {
    stream(seed, purpose, text) as f64 / 2.0_f64.powi(64)
}

/// Puts the temperature into the head's weights, so that every reader of the model sees calibrated probabilities.
fn cool(model: &Roberta, temperature: f64) -> candle_core::Result<()> {
    for name in ["classifier.out_proj.weight", "classifier.out_proj.bias"] {
        let var: &Var = &model.parameters()[name];
        var.set(&(var.as_tensor() / temperature)?)?;
    }
    Ok(())
}
