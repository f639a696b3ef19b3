//! Text models under ONNX Runtime: sessions, tokenizers, batches.
//!
//! A model is a *folder*: an ONNX file, `tokenizer.json`, `config.json`. It is checked as a whole when it is opened, so that a
//! wrong file is one clear error before any work starts. Only regular files of bounded sizes are read, and a model that gives a number
//! that is none is an error, never a decision; so is one that gives nothing for a batch within ten minutes.
//!
//! Texts are batched by their exact length in tokens ([`batches`]): nothing is
//! ever padded, so a text's score does not depend on the texts around it.

mod batches;
mod beside;
mod classifier;
mod encoder;
mod folder;
mod graph;
mod languages;
#[cfg(test)]
mod laws;
mod model;
mod runtime;
mod sentence;
mod tokens;

pub use batches::batches;
pub use classifier::{Classifier, ClassifierOptions};
pub use encoder::{Encoder, EncoderOptions};
pub use folder::{LANGUAGES, ModelFolder, THRESHOLDS};
pub use languages::Languages;
pub use model::Timing;
pub use runtime::library;
pub use tokens::Tokens;
