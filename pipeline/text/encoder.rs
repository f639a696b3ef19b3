//! A sentence encoder: texts in, vectors of unit length out.

use std::collections::BTreeMap;

use clap::Args;
use dataset::Result;
use dataset::plan::{digest, file_digest};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::classifier::check_tokens;
use crate::folder::{MAX_JSON, ModelFolder, read, wrong};
use crate::model::{Expected, Model, Timing};

/// How texts are put to an encoder.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct EncoderOptions {
    /// Tokens of a text, at most (and always at the model's positions)
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub max_tokens: usize,
    /// Tokens of a batch, at most
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub batch_tokens: usize,
    /// What the model wants before a query, such as "query: "
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub query_prefix: String,
    /// What the model wants before an article, such as "passage: "
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub document_prefix: String,
}

impl Default for EncoderOptions {
    fn default() -> Self {
        dataset::defaults()
    }
}

impl EncoderOptions {
    /// Errs when a setting makes no sense.
    pub fn check(&self) -> Result<()> {
        check_tokens(self.max_tokens, self.batch_tokens)
    }

    /// The name of the encoder that a folder and these options are: a digest of the files and of the options that decide its vectors.
    /// Vectors of encoders of different names are never compared. No model is opened.
    pub fn name(&self, folder: &ModelFolder) -> Result<String> {
        let EncoderOptions { max_tokens, batch_tokens: _, query_prefix, document_prefix } = self;
        let mut files = BTreeMap::new();
        for file in folder.files() {
            let name = file.strip_prefix(&folder.path).unwrap_or(&file).to_string_lossy().into_owned();
            files.insert(name, file_digest(&file)?.0);
        }
        Ok(digest(&json!([files, max_tokens, query_prefix, document_prefix])))
    }
}

/// A sentence-transformers model that means its tokens' vectors: `v = m / ‖m‖`, `m` the mean over all tokens, special ones included.
///
/// Batches hold texts of one length, so a text's vector does not depend on the texts around it.
#[derive(Debug)]
pub struct Encoder {
    model: Model,
    options: EncoderOptions,
    name: String,
}

impl Encoder {
    /// Opens a checked folder and tries the model.
    ///
    /// # Errors
    /// Also when the folder says (in `1_Pooling/config.json`) that its vectors are pooled in another way than by the mean.
    pub fn open(folder: ModelFolder, options: EncoderOptions) -> Result<Self> {
        options.check()?;
        check_pooling(&folder)?;
        let name = options.name(&folder)?;
        let expected = Expected { rank: 3, about: "token vectors (last_hidden_state)" };
        let model = Model::open(folder, options.max_tokens, options.batch_tokens, expected)?;
        Ok(Encoder { model, options, name })
    }

    /// The encoder's name: [`EncoderOptions::name`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Dimensions of a vector.
    pub fn dimensions(&self) -> usize {
        self.model.width()
    }

    /// The vectors of documents.
    pub fn documents(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        self.encode(&self.options.document_prefix, texts)
    }

    /// The vectors of queries.
    pub fn queries(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        self.encode(&self.options.query_prefix, texts)
    }

    /// What the encoder has done so far, over all workers.
    pub fn timing(&self) -> Timing {
        self.model.timing()
    }

    fn encode(&self, prefix: &str, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let dimensions = self.dimensions();
        let prefixed: Vec<String>;
        let texts: Vec<&str> = if prefix.is_empty() {
            texts.to_vec()
        } else {
            prefixed = texts.iter().map(|text| format!("{prefix}{text}")).collect();
            prefixed.iter().map(String::as_str).collect()
        };
        let vectors = self.model.map(&texts, &|tokens| unit_mean(tokens, dimensions))?;
        let of_unit_length = |vector: &Vec<f32>| (vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-3;
        match vectors.iter().all(of_unit_length) {
            true => Ok(vectors),
            false => Err(wrong(
                &self.model.folder.onnx,
                "it gave token vectors without a mean of unit length: too large, or all 0",
                "the model's weights are damaged, or its number format overflows",
            )),
        }
    }
}

/// The mean of token vectors `[tokens · dimensions]`, at unit length.
fn unit_mean(tokens: &[f32], dimensions: usize) -> Vec<f32> {
    let mut sum = vec![0.0_f32; dimensions];
    for token in tokens.chunks_exact(dimensions) {
        sum.iter_mut().zip(token).for_each(|(sum, x)| *sum += x);
    }
    // The length makes up for not dividing by the number of tokens.
    let length = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
    sum.iter_mut().for_each(|x| *x /= length);
    sum
}

fn check_pooling(folder: &ModelFolder) -> Result<()> {
    let path = folder.path.join("1_Pooling/config.json");
    if !path.exists() {
        return Ok(());
    }
    #[derive(Deserialize)]
    struct Pooling {
        #[serde(default)]
        pooling_mode_mean_tokens: bool,
    }
    let hint = "take a sentence-transformers model with mean pooling, such as all-MiniLM-L6-v2";
    let pooling: Pooling = serde_json::from_slice(&read(&path, MAX_JSON)?)
        .map_err(|e| wrong(&path, format!("expected how vectors are pooled, got {e}"), hint))?;
    match pooling.pooling_mode_mean_tokens {
        true => Ok(()),
        false => Err(wrong(&path, "expected pooling_mode_mean_tokens, got another way of pooling", hint)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_have_unit_length_and_the_mean_direction() {
        let mean = unit_mean(&[3.0, 0.0, 3.0, 8.0], 2);
        assert!((mean[0] - 0.6).abs() < 1e-6 && (mean[1] - 0.8).abs() < 1e-6, "{mean:?}");
    }
}
