//! `querent clean`: events to clean events.

use std::path::Path;

use clap::Args;
use dataset::{Error, Result, Summary};
use events::{Only, lopsided};
use metrics::{Nearest, Sql};
use schemas::Borderline;
use serde::{Deserialize, Serialize};
use text::{ClassifierOptions, ModelFolder};

use crate::frame::{Context, Job};

/// Leave out behaviours that say nothing about interests, by a classifier's score.
///
/// Reads events and a model's folder: train-cleaner's, or any with a RoBERTa- or BERT-type ONNX classifier, tokenizer.json and
/// config.json. Every distinct text is scored once, and never again by the same model. Writes text_scores, clean_events and
/// clean_events.dropped, and the behaviours nearest to the threshold as borderline, for a human to look at. A model knows the languages
/// that it was trained on: clean warns of a domain that is in others, or that loses far more than the others do; --only leaves one out.
/// With --shard, the scores come first: seal them with `querent commit text_scores`, then run the same shards again.
#[derive(Debug, Args, Serialize, Deserialize)]
pub(crate) struct Clean {
    /// The model's folder; or a step that makes one, such as train-cleaner; or none, to keep everything
    #[arg(long, value_name = "FOLDER")]
    model: Option<String>,
    /// The ONNX file in it [default: model.int8.onnx where there is one, else model.onnx]
    #[arg(long, value_name = "FILE", default_value = "", hide_default_value = true)]
    onnx: String,
    /// The score, from 0 to 1, from which on a behaviour is kept [default: what the folder's thresholds.json says, else 0.5]
    #[arg(long, value_name = "SCORE")]
    threshold: Option<f32>,
    /// Domains to classify, with commas between; the others are kept as they are, without a score [default: all]
    #[arg(long, value_name = "DOMAINS", value_delimiter = ',')]
    #[serde(default)]
    only: Vec<String>,
    /// Behaviours near the threshold to write out
    #[arg(long, value_name = "N", default_value_t = 200)]
    borderline: u32,
    #[command(flatten)]
    #[serde(flatten)]
    options: ClassifierOptions,
}

const OUTPUTS: [&str; 2] = ["clean_events", "clean_events.dropped"];

impl Job for Clean {
    const NAME: &'static str = "clean";

    fn check(&self) -> Result<()> {
        let only = Only::of(&self.only)?;
        if let Some(threshold) = self.threshold.filter(|threshold| !(0.0..=1.0).contains(threshold)) {
            let hint = "a behaviour is kept from this score on: 0 keeps all; leave it out for the model's own";
            return Err(Error::setting("clean.threshold", "a number from 0 to 1", threshold, hint));
        }
        match self.model.as_deref().unwrap_or_default() {
            "" => {
                let hint = "give --model, a folder of train-cleaner's or another classifier's; or --model none, to keep everything";
                Err(Error::setting("clean.model", "a model's folder", "none", hint))
            }
            "none" if !only.is_all() => {
                let hint = "without a model all is kept: leave clean.only out";
                Err(Error::setting("clean.only", "nothing, as nothing is classified", self.only.join(","), hint))
            }
            _ => self.options.check(),
        }
    }

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        self.check()?;
        let only = Only::of(&self.only)?;
        let model = match self.model.as_deref().unwrap_or_default() {
            "none" => return Ok(vec![context.run(&events::Clean { threshold: None, only }, &OUTPUTS)?]),
            model => context.folder(Path::new(model))?,
        };
        let folder = ModelFolder::open(&model, &self.onnx)?;
        let given = self.threshold.map_or_else(|| folder.threshold(), |threshold| Ok(Some(threshold)));
        let threshold = given?.unwrap_or(0.5);
        let score = events::Score { options: self.options.clone(), model, onnx: self.onnx.clone(), only: only.clone() };
        let mut summaries = vec![context.run(&score, &["text_scores"])?];
        let complete = |summaries: &[Summary]| summaries.iter().all(Summary::is_complete);
        if complete(&summaries) {
            summaries.push(context.run(&events::Clean { threshold: Some(threshold), only: only.clone() }, &OUTPUTS)?);
        }
        if complete(&summaries) {
            let mut doubts = summaries.last().map(|cleaned| lopsided(&cleaned.account)).unwrap_or_default();
            if let Some(trained_on) = folder.languages()? {
                doubts.extend(only.foreign(context.store(), &trained_on)?);
            }
            doubts.iter().try_for_each(|doubt| context.note(&format!("warning: {doubt}")))?;
        }
        if complete(&summaries) {
            let nearest = Sql::<Borderline> { parameters: Nearest { threshold, texts: self.borderline } };
            summaries.push(context.unsharded().run(&nearest, &["borderline"])?);
        }
        Ok(summaries)
    }
}
