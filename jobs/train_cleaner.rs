//! `querent train-cleaner`: labels to a RoBERTa classifier.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use cleaner::Metrics;
use cleaner::quality::{Interval, Quality};
use dataset::account::grouped;
use dataset::{Result, Summary};
use serde::{Deserialize, Serialize};

use crate::frame::{Context, Job, output};

/// Train a RoBERTa on labels, and write it as a model's folder.
///
/// Reads labels. Writes a folder: model.onnx, model.int8.onnx, thresholds.json, languages.json (which languages the labelled texts are in:
/// of others it knows nothing, and clean says so), metrics.json, and the model in Hugging Face's form
/// (config.json, tokenizer.json, model.safetensors). Trains from scratch, or with --init from a RoBERTa's or BERT's folder. With
/// --folds also says how good such a model is on labels that it has not seen, and writes its decisions to predictions.parquet.
#[derive(Debug, Args, Serialize, Deserialize)]
#[group(skip)]
pub(crate) struct TrainCleaner {
    #[command(flatten)]
    #[serde(flatten)]
    artifact: cleaner::TrainCleaner,
}

impl Job for TrainCleaner {
    const NAME: &'static str = "train-cleaner";

    fn check(&self) -> Result<()> {
        self.artifact.check()
    }

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        Ok(vec![context.make(&self.artifact, &self.artifact.output)?])
    }

    fn target(&self, _: &Context) -> Result<Option<PathBuf>> {
        Ok(Some(self.artifact.output.clone()))
    }

    fn show(&self, _: &Context, out: &mut dyn Write) -> Result<()> {
        let metrics = Metrics::read(&self.artifact.output)?;
        writeln!(
            out,
            "\n{}: {} labels, {} epochs, temperature {:.2}, ONNX within {:.0e} of the trained model, int8 decides {:.2}% alike",
            self.artifact.output.display(),
            grouped(metrics.trained_on as u64),
            metrics.epochs.len(),
            metrics.temperature,
            metrics.onnx_difference,
            100.0 * metrics.int8_agreement
        )?;
        writeln!(out, "trained on texts in {}", metrics.languages)?;
        let held_out = metrics.held_out.iter().map(|(onnx, quality)| (format!("{onnx}, held out"), quality));
        let folds = metrics.cross_validation.iter().flat_map(|cv| {
            let domains = cv.domains.iter().map(|(domain, quality)| (format!("{} folds, {domain}", cv.folds), quality));
            std::iter::once((format!("{} folds, all", cv.folds), &cv.all)).chain(domains)
        });
        let heading = ["", "texts", "keep", "accuracy", "F1", "average precision", "keep recall", "noise recall"];
        let rows = held_out.chain(folds).map(|(name, quality)| row(name, quality));
        output::table(out, &std::iter::once(output::cells(heading)).chain(rows).collect::<Vec<_>>())
    }
}

fn row(name: String, quality: &Quality) -> Vec<String> {
    let interval = |i: &Interval| format!("{:.3} ({:.3} to {:.3})", i.value, i.low, i.high);
    vec![
        name,
        grouped(quality.texts as u64),
        format!("{:.3}", quality.keep_share),
        interval(&quality.accuracy),
        interval(&quality.f1),
        interval(&quality.average_precision),
        format!("{:.3}", quality.keep_recall),
        format!("{:.3}", quality.noise_recall),
    ]
}
