//! `querent train-cleaner`: labels to a RoBERTa classifier.

use std::time::Instant;

use anyhow::Result;
use arrow::array::{BooleanArray, StringArray};
use clap::Args;
use cleaner::quality::{Interval, Quality};
use cleaner::{Epoch, LabelRow, Made, Metrics, TrainCleaner, make};
use dataset::{Input, Progress, Rows, Source};
use schemas::Labels;
use serde::Serialize;

use crate::context::{Context, Shared};
use crate::output;

/// Train a RoBERTa on labels, and write it as a model's folder.
///
/// Reads labels. Writes a folder: model.onnx, model.int8.onnx, thresholds.json, metrics.json, and the model in Hugging Face's form
/// (config.json, tokenizer.json, model.safetensors). Trains from scratch, or with --init from a RoBERTa's or BERT's folder. With
/// --folds also says how good such a model is on labels that it has not seen, and writes its decisions to predictions.parquet.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

#[derive(Debug, Default, Args, Serialize)]
pub(crate) struct Settings {
    /// The folder to write [default: models/cleaner]
    #[arg(long, value_name = "FOLDER")]
    output: Option<String>,
    /// A Hugging Face folder of a RoBERTa or BERT to start from, such as models/minilm [default: from scratch]
    #[arg(long, value_name = "FOLDER")]
    init: Option<String>,
    /// Passes over the labels, at most [default: 3]
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Learning rate of the encoder at its peak [default: 0.00005]
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Also train as many models, each without its share of the labels, and score these
    #[arg(long, value_name = "N")]
    folds: Option<u32>,
    /// Another seed, another model [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

pub(crate) fn main(flags: Flags) -> Result<()> {
    let Flags { shared, settings } = flags;
    job(&Context::new(&shared)?, &settings)
}

pub(crate) fn job(context: &Context, flags: &Settings) -> Result<()> {
    let settings: TrainCleaner = context.settings("train-cleaner", flags)?;
    let labels = Input::<Labels>::open(&context.runner.store, "labels")?;
    let content = labels.snapshot().reference().content;
    if context.runner.dry_run {
        return output::note(&format!("train-cleaner: would make {} unless it is up to date", settings.output));
    }
    let mut rows = Vec::new();
    for partition in 0..labels.partitions() {
        for batch in labels.read(partition)?.batches() {
            let texts = Rows::<Labels>::column::<StringArray>(batch, "text")?;
            let domains = Rows::<Labels>::column::<StringArray>(batch, "domain")?;
            let kept = Rows::<Labels>::column::<BooleanArray>(batch, "label")?;
            rows.extend((0..batch.num_rows()).map(|i| LabelRow {
                text: texts.value(i).into(),
                domain: domains.value(i).into(),
                keep: kept.value(i),
            }));
        }
    }
    rows.sort_by(|a, b| a.text.cmp(&b.text));
    let started = Instant::now();
    let mut progress = None;
    let style = context.runner.progress;
    let mut shown = 0;
    let mut watch = |step: usize, steps: usize, _: Option<Epoch>| {
        let progress = progress.get_or_insert_with(|| Progress::new("train-cleaner", "texts", steps as u64, style));
        (shown..step).for_each(|_| progress.step(settings.batch as u64));
        shown = step.max(shown);
    };
    let made = make(&settings, &rows, &content, &mut watch)?;
    drop(progress);
    let metrics = match made {
        Made::UpToDate(metrics) => {
            output::note("train-cleaner: up to date")?;
            metrics
        }
        Made::Committed(metrics) => {
            let seconds = started.elapsed().as_secs_f64();
            output::note(&format!("train-cleaner: {} labels, {seconds:.1} s", output::grouped(rows.len() as u64)))?;
            metrics
        }
    };
    print(&settings, &metrics)
}

fn print(settings: &TrainCleaner, metrics: &Metrics) -> Result<()> {
    output::note(&format!(
        "  {}: {} epochs, temperature {:.2}, ONNX within {:.0e} of the trained model, int8 decides {:.2}% alike",
        settings.output,
        metrics.epochs.len(),
        metrics.temperature,
        metrics.onnx_difference,
        100.0 * metrics.int8_agreement
    ))?;
    let held_out = metrics.held_out.iter().map(|(onnx, quality)| (format!("{onnx}, held out"), quality));
    let folds = metrics.cross_validation.iter().flat_map(|cv| {
        let domains = cv.domains.iter().map(|(domain, quality)| (format!("{} folds, {domain}", cv.folds), quality));
        std::iter::once((format!("{} folds, all", cv.folds), &cv.all)).chain(domains)
    });
    let mut table = vec![
        ["", "texts", "keep", "accuracy", "F1", "average precision", "keep recall", "noise recall"]
            .map(str::to_owned)
            .to_vec(),
    ];
    table.extend(held_out.chain(folds).map(|(name, quality)| row(name, quality)));
    output::table(&mut std::io::stdout().lock(), &table)
}

fn row(name: String, quality: &Quality) -> Vec<String> {
    let interval = |i: &Interval| format!("{:.3} ({:.3} to {:.3})", i.value, i.low, i.high);
    vec![
        name,
        output::grouped(quality.texts as u64),
        format!("{:.3}", quality.keep_share),
        interval(&quality.accuracy),
        interval(&quality.f1),
        interval(&quality.average_precision),
        format!("{:.3}", quality.keep_recall),
        format!("{:.3}", quality.noise_recall),
    ]
}
