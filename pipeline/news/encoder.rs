//! The sentence encoder's settings, which embed, retrieve and `index --verify` share: articles and queries need one encoder.

use std::path::PathBuf;

use clap::Args;
use dataset::{Error, Inputs, Result};
use serde::{Deserialize, Serialize};
use text::{Encoder, EncoderOptions, ModelFolder};

/// Which encoder, and how texts are put to it.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct EncoderSettings {
    /// The encoder's folder, a Hugging Face folder of a sentence-transformers model with mean pooling. What its files hold decides,
    /// not where it lies
    #[arg(long, value_name = "FOLDER", default_value = "models/minilm")]
    #[serde(skip_serializing)]
    pub model: PathBuf,
    /// The ONNX file in it, such as onnx/model.onnx [default: model.int8.onnx, else model.onnx]
    #[arg(long, value_name = "FILE", default_value = "", hide_default_value = true)]
    #[serde(skip_serializing)]
    pub onnx: String,
    /// How texts are put to it
    #[command(flatten)]
    #[serde(flatten)]
    pub options: EncoderOptions,
}

impl Default for EncoderSettings {
    fn default() -> Self {
        dataset::defaults()
    }
}

impl EncoderSettings {
    /// Declares the encoder: its files, and its name as the value `encoder`.
    pub(crate) fn declare(&self, declare: &mut Inputs<'_>) -> Result<Declared> {
        let declared = self.find()?;
        declare.files("encoder", &declared.folder.files())?;
        declare.value("encoder", &declared.name)?;
        Ok(declared)
    }

    /// The encoder as it lies there now.
    pub(crate) fn find(&self) -> Result<Declared> {
        self.options.check()?;
        let folder = ModelFolder::open(&self.model, &self.onnx)?;
        let name = self.options.name(&folder)?;
        Ok(Declared { folder, options: self.options.clone(), name })
    }

    /// Opens the encoder.
    pub fn open(&self) -> Result<Encoder> {
        self.find()?.open()
    }
}

/// An encoder that is declared, and not open yet.
#[derive(Debug)]
pub(crate) struct Declared {
    folder: ModelFolder,
    options: EncoderOptions,
    /// [`EncoderOptions::name`].
    pub(crate) name: String,
}

impl Declared {
    /// Opens it.
    pub(crate) fn open(&self) -> Result<Encoder> {
        let encoder = Encoder::open(self.folder.clone(), self.options.clone())?;
        match encoder.name() == self.name {
            true => Ok(encoder),
            false => {
                let what = format!("{}: its files have changed since they were hashed", self.folder.path.display());
                Err(Error::retry(what, "run again"))
            }
        }
    }
}

/// Refuses vectors of another encoder than the queries'.
pub(crate) fn check_encoder(what: &str, got: &str, expected: &str) -> Result<()> {
    match got == expected {
        true => Ok(()),
        false => {
            let expected = format!("vectors of the query encoder, {expected}");
            let got = if got.is_empty() { "none".into() } else { format!("those of {got}") };
            let hint = "queries and articles need one encoder (model, max_tokens, prefixes): give the same, or run embed and index again";
            Err(Error::setting(what, expected, got, hint))
        }
    }
}
