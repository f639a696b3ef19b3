//! How the cleaner is made: labels for sampled behaviours, a RoBERTa trained on them, its export as ONNX (the paper's section
//! 4.2 and appendix B).
//!
//! [`annotate::Annotate`] is the stage that writes `labels`. [`TrainCleaner`] is the artifact: a model's folder.

pub mod annotate;
mod export;
mod folder;
mod folds;
mod initial;
#[cfg(test)]
mod laws;
pub mod metrics;
mod optimizer;
pub mod quality;
#[cfg(test)]
mod races;
pub mod roberta;
mod saved;
mod train;
mod train_cleaner;
mod trained;
mod vocabulary;

pub use export::{Ranges, to_onnx};
pub use initial::{Initial, from_folder, from_scratch};
pub use metrics::{CrossValidation, Metrics};
pub use train::{Epoch, Example, Watch, fit, logits, score};
pub use train_cleaner::{LabelRow, TrainCleaner, TrainCleanerInputs};

/// A computation that failed.
pub(crate) fn candle(e: candle_core::Error) -> dataset::Error {
    let what = format!("training: {}", first_line(&e));
    dataset::Error::retry(what, "this is a bug, unless memory ran out; nothing was written").because(e)
}

/// Messages of candle end with a backtrace where one is asked for.
pub(crate) fn first_line(e: &candle_core::Error) -> String {
    e.to_string().lines().next().unwrap_or_default().to_owned()
}

/// The tokenizer could not be made.
pub(crate) fn tokenizer(e: impl std::fmt::Display) -> dataset::Error {
    let hint = "labels of at least a few hundred different texts are needed";
    dataset::Error::new(dataset::Exit::Data, format!("training the tokenizer: {e}"), hint)
}
