//! A model's folder: which files belong to it, what its configuration says, and that nothing outside it is read.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Component, Path, PathBuf};

use dataset::{Error, Kind, Result, check_file, is_there, read_file};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::beside::tokenizer_config;
use crate::graph::external_data;
use crate::{Languages, Tokens, sentence};

/// Largest JSON file that is read.
pub(crate) const MAX_JSON: u64 = 64 << 20;
/// Largest ONNX file: what protobuf allows. Larger models keep their weights beside it, in external data.
const MAX_ONNX: u64 = 2 << 30;
/// Largest file of external data.
const MAX_WEIGHTS: u64 = 64 << 30;

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";

/// The file of a model's folder that has a threshold for each of its ONNX files.
pub const THRESHOLDS: &str = "thresholds.json";

/// The file of a model's folder that says which languages it was trained on.
pub const LANGUAGES: &str = "languages.json";

pub(crate) const NAMES: &str = "a model's folder holds the ONNX file, tokenizer.json and config.json";

/// A Hugging Face folder with an ONNX file, checked.
#[derive(Debug, Clone)]
pub struct ModelFolder {
    /// The folder.
    pub path: PathBuf,
    /// The ONNX file in it.
    pub onnx: PathBuf,
    /// What `config.json` says.
    pub(crate) config: Config,
    external: Vec<PathBuf>,
    /// What its tokenizer's settings and, in a sentence-transformers folder, its modules say beside it.
    settings: Vec<PathBuf>,
}

/// The fields of `config.json` that are used here.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Config {
    #[serde(default)]
    model_type: String,
    vocab_size: Option<usize>,
    hidden_size: Option<usize>,
    /// What DistilBERT calls it.
    dim: Option<usize>,
    max_position_embeddings: Option<usize>,
    pad_token_id: Option<usize>,
    /// Names of the logits.
    #[serde(default)]
    pub(crate) id2label: BTreeMap<usize, String>,
    /// Logits, where the file says their number too.
    pub(crate) num_labels: Option<usize>,
    /// What the logits mean.
    pub(crate) problem_type: Option<String>,
}

impl ModelFolder {
    /// Checks a folder: its ONNX file is whole, its weights lie inside the folder, its configuration can be read, and all its files are
    /// regular ones of bounded sizes, so that they can be read and hashed. Without a name the file is `model.int8.onnx` where there
    /// is one, else `model.onnx`.
    pub fn open(path: &Path, onnx: &str) -> Result<Self> {
        const INT8: &str = "model.int8.onnx";
        if !is_there(path, NAMES)? || !path.is_dir() {
            return Err(Error::unreadable(path.display(), "no such folder", NAMES).of_kind(Kind::Missing));
        }
        let file = path.join(match onnx {
            "" if is_there(&path.join(INT8), NAMES)? => INT8,
            "" => "model.onnx",
            named => named,
        });
        let external = external_data(&file, &read(&file, MAX_ONNX)?)?;
        let external = external.iter().map(|location| inside(path, &file, location)).collect::<Result<_>>()?;
        let config_path = path.join(CONFIG);
        let config = serde_json::from_slice(&read(&config_path, MAX_JSON)?)
            .map_err(|e| wrong(&config_path, format!("expected a model's configuration, got {e}"), NAMES))?;
        let tokenizer = path.join(TOKENIZER);
        check_file(&tokenizer, MAX_JSON, NAMES)?;
        let mut settings = sentence::files(path)?;
        let beside = tokenizer_config(&tokenizer);
        if is_there(&beside, NAMES)? {
            check_file(&beside, MAX_JSON, NAMES)?;
            settings.push(beside);
        }
        Ok(ModelFolder { path: path.into(), onnx: file, config, external, settings })
    }

    /// The tokenizer, which must not have more tokens than the model. Texts are clipped to `max_tokens` or the model's
    /// positions, whichever is less.
    pub fn tokens(&self, max_tokens: usize) -> Result<Tokens> {
        let path = self.path.join(TOKENIZER);
        let tokens = Tokens::open(&path, max_tokens.min(self.positions().unwrap_or(usize::MAX)))?;
        match self.config.vocab_size {
            Some(rows) if tokens.vocabulary() > rows => {
                let what = format!("expected at most the model's {rows} tokens, got {}", tokens.vocabulary());
                Err(wrong(&path, what, "take the tokenizer that the model was trained with"))
            }
            _ => Ok(tokens),
        }
    }

    /// What `config.json` says of the width of a token's vector, or of its logits over all tokens.
    pub(crate) fn widths(&self) -> [Option<usize>; 2] {
        let Config { hidden_size, dim, vocab_size, .. } = &self.config;
        [hidden_size.or(*dim), *vocab_size]
    }

    /// The score from which on a text is kept: what the folder's `thresholds.json` says of the ONNX file; `None` when the
    /// folder has no such file.
    pub fn threshold(&self) -> Result<Option<f32>> {
        let Some(thresholds) = self.says::<BTreeMap<String, f32>>(THRESHOLDS, "a threshold per ONNX file")? else {
            return Ok(None);
        };
        let path = self.path.join(THRESHOLDS);
        match thresholds.get(&name(&self.onnx)).copied() {
            Some(threshold) if !(0.0..=1.0).contains(&threshold) => {
                Err(wrong(&path, format!("expected thresholds from 0 to 1, got {threshold}"), NAMES))
            }
            threshold => Ok(threshold),
        }
    }

    /// The languages of the texts that the model was trained on: what the folder's `languages.json` says; `None` when the folder has no such
    /// file.
    pub fn languages(&self) -> Result<Option<Languages>> {
        self.says(LANGUAGES, "numbers of texts by language")
    }

    /// What a JSON file of the folder says; `None` when there is no such file.
    fn says<T: DeserializeOwned>(&self, file: &str, expected: &str) -> Result<Option<T>> {
        says(&self.path.join(file), expected, NAMES)
    }

    /// Tokens that the model has positions for.
    fn positions(&self) -> Option<usize> {
        let Config { model_type, max_position_embeddings, pad_token_id, .. } = &self.config;
        // RoBERTa counts its positions from the one after padding.
        let offset = if model_type.contains("roberta") { pad_token_id.unwrap_or(1) + 1 } else { 0 };
        max_position_embeddings.map(|positions| positions.saturating_sub(offset))
    }

    /// The files that decide what the model says: all but the thresholds.
    pub fn files(&self) -> Vec<PathBuf> {
        let named = [CONFIG, TOKENIZER].map(|name| self.path.join(name));
        let more = self.external.iter().chain(&self.settings).cloned();
        named.into_iter().chain([self.onnx.clone()]).chain(more).collect()
    }
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

pub(crate) fn wrong(file: &Path, what: impl Display, hint: impl Display) -> Error {
    Error::unreadable(file.display(), what, hint)
}

/// What a JSON file says; `None` when there is no such file.
pub(crate) fn says<T: DeserializeOwned>(path: &Path, expected: &str, hint: &str) -> Result<Option<T>> {
    if !is_there(path, NAMES)? {
        return Ok(None);
    }
    serde_json::from_slice(&read_file(path, MAX_JSON, hint)?)
        .map(Some)
        .map_err(|e| wrong(path, format!("expected {expected}, got {e}"), hint))
}

/// A file of a model's folder.
fn read(file: &Path, limit: u64) -> Result<Vec<u8>> {
    read_file(file, limit, NAMES)
}

/// Where external data lies: beside the ONNX file, where ONNX Runtime looks for it, and inside the folder, links followed.
fn inside(folder: &Path, onnx: &Path, location: &str) -> Result<PathBuf> {
    let hint = "external data is read from beside the ONNX file, inside the model's folder only";
    let plain = Path::new(location).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let file = onnx.parent().unwrap_or(folder).join(location);
    let lies_inside = || Some(file.canonicalize().ok()?.starts_with(folder.canonicalize().ok()?));
    if !plain || (is_there(&file, NAMES)? && lies_inside() != Some(true)) {
        return Err(wrong(onnx, "its weights lie outside the model's folder", hint));
    }
    check_file(&file, MAX_WEIGHTS, hint)?;
    Ok(file)
}
