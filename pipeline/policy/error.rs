//! What can go wrong with a policy.

use std::fmt::Display;
use std::path::Path;

/// Result of the policy.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a policy: which file or setting, what is wrong with it, what to do.
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
    /// A setting makes no sense, perhaps only with this model.
    #[error("{setting}: {what}\nhint: {hint}")]
    Setting {
        /// The setting.
        setting: String,
        /// What was expected and what it is.
        what: String,
        /// What to do.
        hint: String,
    },
    /// Candle refused.
    #[error("{0}\nhint: this is a bug, or memory ran out")]
    Candle(#[from] candle_core::Error),
    /// A checkpoint could not be read or written, or a folder not.
    #[error(transparent)]
    Dataset(#[from] dataset::Error),
}

impl Error {
    /// A file of the model is not what it should be.
    pub fn model(path: &Path, what: impl Display, hint: impl Display) -> Self {
        Error::Model { path: path.display().to_string(), what: what.to_string(), hint: hint.to_string() }
    }

    /// A setting makes no sense.
    pub fn setting(setting: &str, what: impl Display, hint: impl Display) -> Self {
        Error::Setting { setting: setting.into(), what: what.to_string(), hint: hint.to_string() }
    }

    /// 1: failed and worth retrying; 2: wrong configuration; 3: the model breaks its contract.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Model { .. } => 3,
            Error::Setting { .. } => 2,
            Error::Candle(_) => 1,
            Error::Dataset(e) => e.exit_code(),
        }
    }
}
