//! From labels to a cleaner's folder: train, calibrate, export, check, cross-validate.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float32Array, StringArray, UInt32Array};
use candle_core::Var;
use dataset::plan::{Digest, digest};
use dataset::{Draft, encode, from_columns};
use schemas::{CleanerPredictions, Table};
use serde::{Deserialize, Serialize};
use serde_json::json;
use text::{Classifier, ClassifierOptions, ModelFolder, THRESHOLDS, Tokens};

use crate::export::to_onnx;
use crate::folder::{Lineage, TRAINING, lineage, write_model};
use crate::initial::{Initial, from_folder, from_scratch};
use crate::quality::{Quality, Scored};
use crate::roberta::{Pass, Roberta};
use crate::train::{Epoch, Example, Watch, fit, logits, score};
use crate::{Error, Result, TrainCleaner};

/// Raised whenever the same labels and settings give another folder.
const VERSION: u32 = 2;
/// Largest difference between candle's logits and ONNX Runtime's.
const TOLERANCE: f32 = 1e-4;
/// The two variants.
const FLOAT32: &str = "model.onnx";
const INT8: &str = "model.int8.onnx";

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

/// What was measured; the folder's `metrics.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Labels trained on.
    pub trained_on: usize,
    /// Divides the logits (already done in the weights).
    pub temperature: f64,
    /// Largest difference between candle's logits and ONNX Runtime's, float32.
    pub onnx_difference: f32,
    /// Share of the labelled texts that the int8 variant decides as the float32 one does.
    pub int8_agreement: f64,
    /// On the labels held out, by ONNX file. Epoch, temperature and threshold were chosen on the same labels.
    pub held_out: BTreeMap<String, Quality>,
    /// Thresholds, by ONNX file.
    pub thresholds: BTreeMap<String, f32>,
    /// The training.
    pub epochs: Vec<Epoch>,
    /// On labels of other folds, when folds were asked for.
    pub cross_validation: Option<CrossValidation>,
}

/// Every label scored by a model that was trained, stopped and calibrated without its fold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrossValidation {
    /// Folds.
    pub folds: u32,
    /// All domains.
    pub all: Quality,
    /// Each domain.
    pub domains: BTreeMap<String, Quality>,
}

/// How [`make`] ended.
#[derive(Debug)]
pub enum Made {
    /// The folder was there already.
    UpToDate(Metrics),
    /// The folder is new.
    Committed(Metrics),
}

/// Makes a cleaner's folder of labels whose content digest is given. Deterministic: the same labels and settings give the same
/// bytes. A folder that was made of the same is left as it is.
pub fn make(settings: &TrainCleaner, rows: &[LabelRow], labels: &Digest, watch: Watch<'_>) -> Result<Made> {
    settings.check()?;
    let target = Path::new(&settings.output);
    let plan = plan(settings, labels)?;
    if lineage(target)?.is_some_and(|made| made.fingerprint == plan.fingerprint) {
        let path = target.join("metrics.json");
        let json = std::fs::read(&path).map_err(|e| dataset::Error::io(path.display(), e))?;
        return Ok(Made::UpToDate(serde_json::from_slice(&json).map_err(|e| Error::broken(&path, e))?));
    }
    let kept = rows.iter().filter(|row| row.keep).count();
    if kept < 10 || rows.len() - kept < 10 {
        let got = format!("{kept} of keep and {} of noise", rows.len() - kept);
        return Err(
            dataset::Error::setting("labels", "at least 10 of each label", got, "annotate more behaviours").into()
        );
    }
    let draft = Draft::new(target)?;
    let models = if settings.folds > 1 { settings.folds as usize + 1 } else { 1 };
    let trained = train(settings, rows, &mut |step, steps, epoch| watch(step, models * steps, epoch))?;
    let mut predictions = Vec::new();
    for fold in 0..models as u32 - 1 {
        let done = fold as usize + 1;
        let mut watch_fold = |step: usize, steps: usize, epoch| watch(done * steps + step, models * steps, epoch);
        predictions.extend(out_of_fold(settings, rows, fold, &mut watch_fold)?);
    }
    let cross_validation = (models > 1).then(|| cross_validation(settings.folds, &predictions));
    if !predictions.is_empty() {
        draft.write("predictions.parquet", &to_parquet(predictions)?)?;
    }
    let metrics = write(&draft, settings, &trained, cross_validation)?;
    draft.write_json("metrics.json", &metrics)?;
    draft.write_json(TRAINING, &plan)?;
    draft.publish()?;
    Ok(Made::Committed(metrics))
}

fn plan(settings: &TrainCleaner, labels: &Digest) -> Result<Lineage> {
    let mut init = BTreeMap::new();
    if !settings.init.is_empty() {
        for name in ["config.json", "model.safetensors", "tokenizer.json"] {
            init.insert(name.to_owned(), text::sha256(&Path::new(&settings.init).join(name))?);
        }
    }
    // Where the initial model lies and where the folder goes does not change what is in it.
    let decides = TrainCleaner { init: String::new(), output: String::new(), ..settings.clone() };
    let fingerprint = digest(&json!([VERSION, decides, labels, init]));
    Ok(Lineage { fingerprint, settings: settings.clone(), labels: labels.clone(), init })
}

/// A model, calibrated, and what it was stopped and calibrated on.
struct Trained {
    initial: Initial,
    train: Vec<Example>,
    held_out: Vec<(String, bool)>,
    held_out_examples: Vec<Example>,
    temperature: f64,
    epochs: Vec<Epoch>,
    texts: Vec<String>,
}

fn train(settings: &TrainCleaner, rows: &[LabelRow], watch: Watch<'_>) -> Result<Trained> {
    let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
    let initial = match settings.init.as_str() {
        "" => from_scratch(settings, &texts, settings.seed)?,
        folder => from_folder(Path::new(folder), settings.seed)?,
    };
    let tokens = Tokens::new(initial.tokenizer.clone(), clip(settings, &initial.model)).map_err(Error::tokenizer)?;
    let examples: Vec<Example> =
        tokens.ids(&texts).into_iter().zip(rows).map(|(ids, row)| Example { ids, keep: row.keep }).collect();
    let held = |row: &LabelRow| share(&row.text, "held out", settings.seed) < settings.held_out;
    let pick = |wanted: bool| -> Vec<Example> {
        rows.iter().zip(&examples).filter(|(row, _)| held(row) == wanted).map(|(_, example)| example.clone()).collect()
    };
    let (train, held_out_examples) = (pick(false), pick(true));
    let held_out = rows.iter().filter(|row| held(row)).map(|row| (row.text.clone(), row.keep)).collect();
    let epochs = fit(&initial.model, &train, &held_out_examples, settings, settings.seed, watch)?;
    let temperature = score(&initial.model, &held_out_examples)?.best_temperature();
    cool(&initial.model, temperature)?;
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

fn clip(settings: &TrainCleaner, model: &Roberta) -> usize {
    settings.max_tokens.min(model.config.max_position_embeddings - model.config.pad_token_id as usize - 1)
}

/// A number in 0..1 that depends on a text, a purpose and the seed alone.
fn share(text: &str, purpose: &str, seed: u64) -> f64 {
    let hash = blake3::hash(format!("{purpose} {seed} {text}").as_bytes());
    let first = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
    u64::from_le_bytes(*first) as f64 / 2.0_f64.powi(64)
}

/// Puts the temperature into the head's weights, so that every reader of the model sees calibrated probabilities.
fn cool(model: &Roberta, temperature: f64) -> Result<()> {
    for name in ["classifier.out_proj.weight", "classifier.out_proj.bias"] {
        let var: &Var = &model.parameters()[name];
        var.set(&(var.as_tensor() / temperature)?)?;
    }
    Ok(())
}

/// A label scored by a model that never saw its fold.
struct Prediction {
    row: LabelRow,
    fold: u32,
    score: f32,
    kept: bool,
}

fn out_of_fold(settings: &TrainCleaner, rows: &[LabelRow], fold: u32, watch: Watch<'_>) -> Result<Vec<Prediction>> {
    let of = |row: &LabelRow| (share(&row.text, "fold", settings.seed) * f64::from(settings.folds)) as u32;
    let (left_out, others): (Vec<LabelRow>, Vec<LabelRow>) = rows.iter().cloned().partition(|row| of(row) == fold);
    let trained = train(settings, &others, watch)?;
    let model = &trained.initial.model;
    let threshold = score(model, &trained.held_out_examples)?.best_threshold(0.5);
    let tokens = Tokens::new(trained.initial.tokenizer.clone(), clip(settings, model)).map_err(Error::tokenizer)?;
    let texts: Vec<&str> = left_out.iter().map(|row| row.text.as_str()).collect();
    let examples: Vec<Example> =
        tokens.ids(&texts).into_iter().zip(&left_out).map(|(ids, row)| Example { ids, keep: row.keep }).collect();
    let scored = score(model, &examples)?;
    let predictions = left_out.into_iter().zip(scored.scores);
    Ok(predictions.map(|(row, score)| Prediction { row, fold, score, kept: score >= threshold }).collect())
}

fn cross_validation(folds: u32, predictions: &[Prediction]) -> CrossValidation {
    // Each fold has its own threshold: decisions are put where ½ divides them.
    let quality = |chosen: &dyn Fn(&Prediction) -> bool| {
        let chosen: Vec<&Prediction> = predictions.iter().filter(|p| chosen(p)).collect();
        let mut by_score = Scored::default();
        let mut by_decision = Scored::default();
        for p in chosen {
            by_score.push(p.score, p.row.keep);
            by_decision.push(if p.kept { 1.0 } else { 0.0 }, p.row.keep);
        }
        let (scores, decisions) = (by_score.quality(0.5), by_decision.quality(0.5));
        Quality { average_precision: scores.average_precision, log_loss: scores.log_loss, ..decisions }
    };
    let mut domains: Vec<&str> = predictions.iter().map(|p| p.row.domain.as_str()).collect();
    domains.sort_unstable();
    domains.dedup();
    CrossValidation {
        folds,
        all: quality(&|_| true),
        domains: domains.into_iter().map(|domain| (domain.to_owned(), quality(&|p| p.row.domain == domain))).collect(),
    }
}

fn to_parquet(mut predictions: Vec<Prediction>) -> Result<Vec<u8>> {
    predictions.sort_by(|a, b| a.row.text.cmp(&b.row.text));
    let strings = |f: fn(&Prediction) -> &str| -> ArrayRef {
        Arc::new(predictions.iter().map(|p| Some(f(p))).collect::<StringArray>())
    };
    let columns: Vec<ArrayRef> = vec![
        strings(|p| &p.row.text),
        strings(|p| &p.row.domain),
        Arc::new(predictions.iter().map(|p| p.fold).collect::<UInt32Array>()),
        Arc::new(predictions.iter().map(|p| Some(p.row.keep)).collect::<BooleanArray>()),
        Arc::new(predictions.iter().map(|p| p.score).collect::<Float32Array>()),
        Arc::new(predictions.iter().map(|p| Some(p.kept)).collect::<BooleanArray>()),
    ];
    Ok(encode(&CleanerPredictions::contract(), &[from_columns::<CleanerPredictions>(columns)?])?)
}

/// Writes the model in all its forms, each tried on the held-out labels.
fn write(
    draft: &Draft,
    settings: &TrainCleaner,
    trained: &Trained,
    cross_validation: Option<CrossValidation>,
) -> Result<Metrics> {
    let model = &trained.initial.model;
    let max_tokens = clip(settings, model);
    write_model(draft, model, &trained.initial.tokenizer, max_tokens)?;
    let mut pass = Pass { ranges: Some(BTreeMap::new()), ..Pass::default() };
    logits(model, &trained.train, &mut pass)?;
    draft.write(FLOAT32, &to_onnx(model, None)?)?;
    draft.write(INT8, &to_onnx(model, pass.ranges.as_ref())?)?;

    let texts: Vec<&str> = trained.held_out.iter().map(|(text, _)| text.as_str()).collect();
    let open = |onnx: &str| -> Result<Classifier> {
        let options = ClassifierOptions { max_tokens, ..ClassifierOptions::default() };
        Ok(Classifier::open(ModelFolder::open(&draft.path, onnx)?, options)?)
    };
    let (order, ours) = logits(model, &trained.held_out_examples, &mut Pass::default())?;
    let theirs = open(FLOAT32)?.logits(&texts)?;
    let differences =
        order.iter().zip(&ours).flat_map(|(&text, ours)| ours.iter().zip(&theirs[text]).map(|(a, b)| (a - b).abs()));
    // A number that is none is the largest.
    let onnx_difference =
        differences.fold(0.0_f32, |most, next| if next > most || next.is_nan() { next } else { most });
    if onnx_difference.is_nan() || onnx_difference > TOLERANCE {
        return Err(Error::Export { difference: onnx_difference, tolerance: TOLERANCE });
    }
    let labels: Vec<bool> = trained.held_out.iter().map(|(_, keep)| *keep).collect();
    let on_held_out =
        |onnx: &str| -> Result<Scored> { Ok(Scored { scores: open(onnx)?.scores(&texts)?, labels: labels.clone() }) };
    let (float32, int8) = (on_held_out(FLOAT32)?, on_held_out(INT8)?);
    let threshold = float32.best_threshold(0.5);
    // The int8 variant is to decide as the float32 one does, and there are more texts to tell this by than labels held out.
    let all: Vec<&str> = trained.texts.iter().map(String::as_str).collect();
    let decisions = open(FLOAT32)?.scores(&all)?.into_iter().map(|score| score >= threshold).collect();
    let alike = Scored { scores: open(INT8)?.scores(&all)?, labels: decisions };
    let int8_threshold = alike.best_threshold(threshold);
    let thresholds = BTreeMap::from([(FLOAT32.to_owned(), threshold), (INT8.to_owned(), int8_threshold)]);
    let held_out = BTreeMap::from([
        (FLOAT32.to_owned(), float32.quality(threshold)),
        (INT8.to_owned(), int8.quality(int8_threshold)),
    ]);
    draft.write_json(THRESHOLDS, &thresholds)?;
    Ok(Metrics {
        trained_on: trained.train.len(),
        temperature: trained.temperature,
        onnx_difference,
        int8_agreement: alike.hits(int8_threshold),
        held_out,
        thresholds,
        epochs: trained.epochs.clone(),
        cross_validation,
    })
}
