//! A sentence encoder: texts in, vectors of unit length out.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::folder::{Digests, MAX_JSON, ModelFolder, read};
use crate::model::{Expected, Model, Timing};
use crate::{Error, Result};

/// How texts are put to an encoder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EncoderOptions {
    /// Texts of more tokens are clipped (and always at the model's positions).
    pub max_tokens: usize,
    /// Tokens in a batch.
    pub batch_tokens: usize,
    /// What some models want before a query, such as `query: `.
    pub query_prefix: String,
    /// What some models want before a document, such as `passage: `.
    pub document_prefix: String,
}

impl Default for EncoderOptions {
    fn default() -> Self {
        EncoderOptions {
            max_tokens: 256,
            batch_tokens: 512,
            query_prefix: String::new(),
            document_prefix: String::new(),
        }
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
    digests: Digests,
}

impl Encoder {
    /// Opens a checked folder and tries the model.
    ///
    /// # Errors
    /// Also when the folder says (in `1_Pooling/config.json`) that its vectors are pooled in another way than by the mean.
    pub fn open(folder: ModelFolder, options: EncoderOptions) -> Result<Self> {
        check_pooling(&folder)?;
        let digests = folder.digests()?;
        let recipe = (&digests, options.max_tokens, &options.query_prefix, &options.document_prefix);
        let recipe = serde_json::to_string(&recipe).expect("texts and numbers can be written as JSON");
        let name = Sha256::digest(recipe).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let expected = Expected { rank: 3, about: "token vectors (last_hidden_state)" };
        let model = Model::open(folder, options.max_tokens, options.batch_tokens, expected)?;
        Ok(Encoder { model, options, name, digests })
    }

    /// The encoder's name: a digest of its files and of the options that decide its vectors. Vectors of encoders of different
    /// names are never compared.
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

    /// SHA-256 of the model's files.
    pub fn digests(&self) -> &Digests {
        &self.digests
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
        match vectors.iter().any(|vector| vector.iter().any(|x| !x.is_finite())) {
            true => Err(Error::model(
                &self.model.folder.onnx,
                "it gave a vector that is not finite",
                "the model's weights are damaged, or its number format overflows",
            )),
            false => Ok(vectors),
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
        .map_err(|e| Error::model(&path, format!("expected how vectors are pooled, got {e}"), hint))?;
    match pooling.pooling_mode_mean_tokens {
        true => Ok(()),
        false => Err(Error::model(&path, "expected pooling_mode_mean_tokens, got another way of pooling", hint)),
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
