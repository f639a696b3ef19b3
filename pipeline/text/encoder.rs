//! A sentence encoder: texts in, vectors of unit length out.

use std::collections::BTreeMap;

use clap::Args;
use dataset::Result;
use dataset::plan::{digest, file_digest};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::classifier::check_tokens;
use crate::folder::{ModelFolder, wrong};
use crate::model::{Expected, Model, Timing};
use crate::sentence::Sentence;

/// How texts are put to an encoder.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct EncoderOptions {
    /// Tokens of a text, at most (and always at the model's positions, and at its folder's max_seq_length)
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub max_tokens: usize,
    /// Tokens of a batch, at most
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub batch_tokens: usize,
    /// What the model wants before a query, such as "query: " [default: the folder's prompt of that name, else its default prompt]
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub query_prefix: String,
    /// What the model wants before an article, such as "passage: " [default: the folder's prompt for documents, else its default prompt]
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
/// What its folder says of its modules, its longest text, its case and its prompts is followed, or refused by name. A prefix that is given
/// stands in a prompt's place.
///
/// Batches hold texts of one length, so a text's vector does not depend on the texts around it.
#[derive(Debug)]
pub struct Encoder {
    model: Model,
    name: String,
    lower_case: bool,
    query_prefix: String,
    document_prefix: String,
}

impl Encoder {
    /// Opens a checked folder and tries the model.
    ///
    /// # Errors
    /// Also when the folder says that its vectors are made in another way than by the mean of its tokens'.
    pub fn open(folder: ModelFolder, options: EncoderOptions) -> Result<Self> {
        options.check()?;
        let Sentence { longest, lower_case, query_prompt, document_prompt, without_prompt } =
            Sentence::read(&folder.path)?;
        let name = options.name(&folder)?;
        let EncoderOptions { max_tokens, batch_tokens, query_prefix, document_prefix } = options;
        let given = |prefix: String, prompt| if prefix.is_empty() { prompt } else { prefix };
        let (query_prefix, document_prefix) =
            (given(query_prefix, query_prompt), given(document_prefix, document_prompt));
        if let Some(file) = without_prompt.filter(|_| !query_prefix.is_empty() || !document_prefix.is_empty()) {
            let what = "include_prompt: expected true, for there are prompts or prefixes, got false";
            return Err(wrong(&file, what, "take a model that means its prompt's tokens too"));
        }
        let max_tokens = max_tokens.min(longest.unwrap_or(usize::MAX));
        let expected = Expected { rank: 3, about: "token vectors (last_hidden_state)" };
        let model = Model::open(folder, max_tokens, batch_tokens, expected)?;
        check_width(&model)?;
        Ok(Encoder { model, name, lower_case, query_prefix, document_prefix })
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
        self.encode(&self.document_prefix, texts)
    }

    /// The vectors of queries.
    pub fn queries(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        self.encode(&self.query_prefix, texts)
    }

    /// What the encoder has done so far, over all workers.
    pub fn timing(&self) -> Timing {
        self.model.timing()
    }

    fn encode(&self, prefix: &str, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let dimensions = self.dimensions();
        let put: Vec<String>;
        let texts: Vec<&str> = if prefix.is_empty() && !self.lower_case {
            texts.to_vec()
        } else {
            let prefixed = texts.iter().map(|text| format!("{prefix}{text}"));
            put = prefixed.map(|text| if self.lower_case { text.to_lowercase() } else { text }).collect();
            put.iter().map(String::as_str).collect()
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

/// Checks that what comes out are token vectors, and no logits over all tokens: a masked language model's are of the same rank.
fn check_width(model: &Model) -> Result<()> {
    let got = model.width();
    let expected = match model.folder.widths() {
        [Some(width), _] if width != got => format!("{width}, its hidden_size,"),
        [None, Some(tokens)] if tokens == got => "other than its vocab_size".to_owned(),
        _ => return Ok(()),
    };
    let what = format!("expected token vectors (last_hidden_state) of {expected} dimensions first, got {got}");
    let hint = "export the model without its head (optimum: --task feature-extraction), and with the config.json that belongs to it";
    Err(wrong(&model.folder.onnx, what, hint))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_have_unit_length_and_the_mean_direction() {
        let mean = unit_mean(&[3.0, 0.0, 3.0, 8.0], 2);
        assert!((mean[0] - 0.6).abs() < 1e-6 && (mean[1] - 0.8).abs() < 1e-6, "{mean:?}");
    }
}
