//! `querent clean`: events to clean events.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use dataset::{Dataset, Input, Origin, Outcome, Summary};
use events::{Clean, DistinctTexts, Score, ScoredEvents};
use metrics::LookAt;
use schemas::{Events, TextScores};
use serde::{Deserialize, Serialize};
use text::{Classifier, ClassifierOptions, ModelFolder};

use crate::context::{ConfigError, Context, Shared};
use crate::output;

/// Leave out behaviours that say nothing about interests, by a classifier's score.
///
/// Reads events and a model's folder: train-cleaner's, or any with a RoBERTa- or BERT-type ONNX classifier, tokenizer.json and
/// config.json. Every distinct text is scored once, and never again by the same model. Writes text_scores, clean_events and
/// clean_events.dropped, and the behaviours nearest to the threshold as borderline, for a human to look at. With --shard, the
/// scores come first: seal them with `querent commit text_scores`, then run the same shards again.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

#[derive(Debug, Default, Args, Serialize)]
pub(crate) struct Settings {
    /// The model's folder, or none to keep everything
    #[arg(long, value_name = "FOLDER")]
    model: Option<String>,
    /// The ONNX file in it [default: model.int8.onnx where there is one, else model.onnx]
    #[arg(long, value_name = "FILE")]
    onnx: Option<String>,
    /// The score from which on a behaviour is kept [default: what the folder's thresholds.json says, else 0.5]
    #[arg(long, value_name = "SCORE")]
    threshold: Option<f32>,
    /// The label, of those in the model's config.json, that means keep [default: keep]
    #[arg(long, value_name = "LABEL")]
    keep_label: Option<String>,
    /// Tokens of a text, at most [default: 64]
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Tokens of a batch, at most [default: 1024]
    #[arg(long, value_name = "N")]
    batch_tokens: Option<usize>,
    /// Behaviours near the threshold to write out [default: 200]
    #[arg(long, value_name = "N")]
    borderline: Option<u32>,
}

/// `[clean]`, resolved.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Resolved {
    model: String,
    onnx: String,
    threshold: Option<f32>,
    keep_label: String,
    max_tokens: usize,
    batch_tokens: usize,
    borderline: u32,
}

impl Default for Resolved {
    fn default() -> Self {
        let ClassifierOptions { max_tokens, batch_tokens, label } = ClassifierOptions::default();
        Resolved {
            model: String::new(),
            onnx: String::new(),
            threshold: None,
            keep_label: label,
            max_tokens,
            batch_tokens,
            borderline: 200,
        }
    }
}

pub(crate) fn main(flags: Flags) -> Result<()> {
    let Flags { shared, settings } = flags;
    output::print_all(&job(&Context::new(&shared)?, &settings)?)
}

pub(crate) fn job(context: &Context, flags: &Settings) -> Result<Vec<Summary>> {
    let settings: Resolved = context.settings("clean", flags)?;
    let runner = &context.runner;
    let events = || Input::<Events>::open(&runner.store, "events");
    let outputs = ["clean_events", "clean_events.dropped"];
    match settings.model.as_str() {
        "" => {
            let hint = "give --model, a folder of train-cleaner's or another classifier's; or --model none, to keep everything";
            Err(ConfigError::new("[clean]: model: expected a model's folder", hint).into())
        }
        "none" => {
            let origin = Origin { remark: Some(Clean::PASS_THROUGH.into()), ..Origin::default() };
            let source = ScoredEvents::new(events()?, None);
            Ok(vec![runner.run(&Clean { threshold: None }, &source, &outputs, origin)?])
        }
        folder => {
            let folder = ModelFolder::open(Path::new(folder), &settings.onnx)?;
            let threshold = settings.threshold.map_or_else(|| folder.threshold(), |t| Ok(Some(t)))?.unwrap_or(0.5);
            let origin = Origin { models: folder.digests()?, ..Origin::default() };
            let Resolved { keep_label, max_tokens, batch_tokens, borderline, .. } = settings;
            let options = ClassifierOptions { max_tokens, batch_tokens, label: keep_label };
            let classifier = Classifier::open(folder, options.clone())?;

            let scores = Dataset::new(&runner.store, "text_scores");
            let texts = DistinctTexts::new(events()?, &scores, &origin.models, &options)?;
            let started = Instant::now();
            let scored =
                runner.run(&Score { options, classifier: &classifier }, &texts, &["text_scores"], origin.clone())?;
            drop(texts);
            if matches!(scored.outcome, Outcome::ShardDone | Outcome::WouldRun(_)) {
                return Ok(vec![scored]);
            }
            output::inference("clean", "scored", &classifier.timing(), started)?;
            let source = ScoredEvents::new(events()?, Some(Input::<TextScores>::open(&runner.store, "text_scores")?));
            let cleaned = runner.run(&Clean { threshold: Some(threshold) }, &source, &outputs, origin)?;
            if !matches!(cleaned.outcome, Outcome::UpToDate | Outcome::Committed) {
                return Ok(vec![scored, cleaned]);
            }
            let look_at = LookAt { threshold, texts: borderline };
            let query = look_at.query(&runner.store, runner.threads, runner.memory_limit)?;
            let unsharded = dataset::Runner { shard: None, ..runner.clone() };
            Ok(vec![scored, cleaned, unsharded.run(&look_at, &query, &["borderline"], Origin::default())?])
        }
    }
}
