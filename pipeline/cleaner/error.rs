//! What can go wrong while the cleaner is made.

use std::fmt::Display;
use std::path::Path;

/// Result of the cleaner's making.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong while the cleaner is made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An initial model or a file of labels is not what it should be.
    #[error("{path}: {what}\nhint: {hint}")]
    Input {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
        /// What to do.
        hint: String,
    },
    /// The tokenizer could not be made.
    #[error("training the tokenizer: {0}\nhint: labels of at least a few hundred different texts are needed")]
    Tokenizer(String),
    /// A computation failed.
    #[error("training: {0}\nhint: this is a bug; nothing was written")]
    Candle(#[from] candle_core::Error),
    /// The exported model does not say what the trained one says.
    #[error(
        "model.onnx: its logits differ by {difference}, expected at most {tolerance}\nhint: this is a bug; nothing was written"
    )]
    Export {
        /// Largest difference on the labels held out.
        difference: f32,
        /// What is allowed.
        tolerance: f32,
    },
    /// A text model failed.
    #[error(transparent)]
    Text(#[from] text::Error),
    /// A dataset failed.
    #[error(transparent)]
    Dataset(#[from] dataset::Error),
}

impl Error {
    /// A file of an initial model's folder is not what it should be.
    pub(crate) fn folder(path: &Path, what: impl Display) -> Self {
        let hint =
            "--init takes a Hugging Face folder of a RoBERTa or BERT: config.json, model.safetensors, tokenizer.json";
        Error::Input { path: path.display().to_string(), what: what.to_string(), hint: hint.into() }
    }

    /// A file of a folder that we made is not readable any more.
    pub(crate) fn broken(path: &Path, what: impl Display) -> Self {
        let hint = "delete the folder and train again";
        Error::Input { path: path.display().to_string(), what: what.to_string(), hint: hint.into() }
    }

    pub(crate) fn tokenizer(e: impl Display) -> Self {
        Error::Tokenizer(e.to_string())
    }

    /// 1: failed and worth retrying; 2: wrong usage or configuration; 3: data breaks its contract.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Input { .. } | Error::Tokenizer(_) => 3,
            Error::Candle(_) | Error::Export { .. } => 1,
            Error::Text(e) => e.exit_code(),
            Error::Dataset(e) => e.exit_code(),
        }
    }
}
