//! Cross-validation: every label scored by a model that was trained, stopped and calibrated without its fold.

use std::path::Path;

use dataset::{Result, Rows, encode};
use schemas::{CleanerPredictions, CleanerPredictionsColumns, Table};
use text::Tokens;

use crate::metrics::CrossValidation;
use crate::quality::{Quality, Scored};
use crate::train::{Example, Watch, score};
use crate::train_cleaner::LabelRow;
use crate::trained::{Recipe, clip, share};

/// A label scored by a model that never saw its fold.
pub(crate) struct Prediction {
    row: LabelRow,
    fold: u32,
    score: f32,
    kept: bool,
}

/// Trains a model without a fold, and scores the fold with it.
pub(crate) fn out_of_fold(
    recipe: &Recipe<'_>,
    rows: &[LabelRow],
    fold: u32,
    save: &Path,
    watch: Watch<'_>,
) -> Result<Vec<Prediction>> {
    let settings = recipe.settings;
    let of = |row: &LabelRow| (share(&row.text, "fold", settings.seed) * f64::from(settings.folds)) as u32;
    let (left_out, others): (Vec<LabelRow>, Vec<LabelRow>) = rows.iter().cloned().partition(|row| of(row) == fold);
    let trained = recipe.train(&others, save, watch)?;
    let model = &trained.initial.model;
    let threshold = score(model, &trained.held_out_examples)?.best_threshold(0.5);
    let tokens = Tokens::new(trained.initial.tokenizer.clone(), clip(settings, model))?;
    let texts: Vec<&str> = left_out.iter().map(|row| row.text.as_str()).collect();
    let examples: Vec<Example> =
        tokens.ids(&texts)?.into_iter().zip(&left_out).map(|(ids, row)| Example { ids, keep: row.keep }).collect();
    let scored = score(model, &examples)?;
    let predictions = left_out.into_iter().zip(scored.scores);
    Ok(predictions.map(|(row, score)| Prediction { row, fold, score, kept: score >= threshold }).collect())
}

/// How good such models are on labels that they have not seen.
pub(crate) fn cross_validation(folds: u32, predictions: &[Prediction]) -> CrossValidation {
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

/// The predictions as a file of `cleaner_predictions`.
pub(crate) fn to_parquet(mut predictions: Vec<Prediction>) -> Result<Vec<u8>> {
    predictions.sort_by(|a, b| a.row.text.cmp(&b.row.text));
    let texts = |f: &dyn Fn(&Prediction) -> &str| predictions.iter().map(|p| Some(f(p).to_owned())).collect();
    let rows = Rows::<CleanerPredictions>::of(CleanerPredictionsColumns {
        text: texts(&|p| &p.row.text),
        domain: texts(&|p| &p.row.domain),
        fold: predictions.iter().map(|p| Some(p.fold as i32)).collect(),
        label: predictions.iter().map(|p| Some(p.row.keep)).collect(),
        keep_score: predictions.iter().map(|p| Some(p.score)).collect(),
        kept: predictions.iter().map(|p| Some(p.kept)).collect(),
    })?;
    encode(&CleanerPredictions::contract(), rows.batches())
}
