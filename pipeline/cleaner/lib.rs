//! How the cleaner is made: labels for sampled behaviours, a RoBERTa trained on them, its export as ONNX (the paper's section
//! 4.2 and appendix B).

pub mod annotate;
mod error;
mod export;
mod folder;
mod initial;
#[cfg(test)]
mod laws;
mod make;
pub mod quality;
pub mod roberta;
mod settings;
mod train;
mod vocabulary;

pub use error::{Error, Result};
pub use export::{Ranges, to_onnx};
pub use initial::{Initial, from_folder, from_scratch};
pub use make::{CrossValidation, LabelRow, Made, Metrics, make};
pub use settings::TrainCleaner;
pub use train::{Epoch, Example, Watch, fit, logits, score};
