//! What can go wrong with a text model.

use std::fmt::Display;
use std::path::Path;

/// Result of the text models.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a text model: which file, what is wrong with it, what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the model is missing or is not what it should be.
    #[error("{path}: {what}\nhint: {hint}")]
    Model {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
        /// What to do.
        hint: String,
    },
    /// ONNX Runtime itself is not there or is not usable.
    #[error("{path}: {what}\nhint: `make setup` fetches ONNX Runtime; ORT_DYLIB_PATH names another copy")]
    Runtime {
        /// The library.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// A model that was opened failed on a batch.
    #[error(
        "{path}: a batch of {texts} texts of {tokens} tokens failed: {what}\nhint: less memory is needed with a smaller batch_tokens"
    )]
    Inference {
        /// The model.
        path: String,
        /// Texts in the batch.
        texts: usize,
        /// Tokens per text.
        tokens: usize,
        /// What ONNX Runtime said.
        what: String,
    },
}

impl Error {
    /// A file of the model is not what it should be.
    pub fn model(path: &Path, what: impl Display, hint: impl Display) -> Self {
        Error::Model { path: path.display().to_string(), what: what.to_string(), hint: hint.to_string() }
    }

    /// 1: failed and worth retrying; 2: wrong set-up; 3: the model breaks its contract.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Model { .. } => 3,
            Error::Runtime { .. } => 2,
            Error::Inference { .. } => 1,
        }
    }
}
