//! A model's folder: which files belong to it, what its configuration says, and that nothing outside it is read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::graph::external_data;
use crate::{Error, Result, Tokens};

/// Largest JSON file that is read.
pub(crate) const MAX_JSON: u64 = 64 << 20;
/// Largest ONNX file: what protobuf allows. Larger models keep their weights beside it, in external data.
const MAX_ONNX: u64 = 2 << 30;

/// The file of a model's folder that has a threshold for each of its ONNX files.
pub const THRESHOLDS: &str = "thresholds.json";

const NAMES: &str = "a model's folder holds the ONNX file, tokenizer.json and config.json";

/// SHA-256 of a model's files, by name.
pub type Digests = BTreeMap<String, String>;

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
}

/// The fields of `config.json` that are used here.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Config {
    #[serde(default)]
    model_type: String,
    vocab_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    pad_token_id: Option<usize>,
    /// Names of the logits.
    #[serde(default)]
    pub(crate) id2label: BTreeMap<usize, String>,
}

impl ModelFolder {
    /// Checks a folder: its ONNX file is whole, its weights lie inside the folder, its configuration can be read. Without a name
    /// the file is `model.int8.onnx` where there is one, else `model.onnx`.
    pub fn open(path: &Path, onnx: &str) -> Result<Self> {
        const INT8: &str = "model.int8.onnx";
        let file = path.join(match onnx {
            "" if path.join(INT8).exists() => INT8,
            "" => "model.onnx",
            named => named,
        });
        if !path.is_dir() {
            return Err(Error::model(path, "no such folder", NAMES));
        }
        let external = external_data(&file, &read(&file, MAX_ONNX)?)?;
        let external = external.iter().map(|location| inside(path, &file, location)).collect::<Result<_>>()?;
        let config_path = path.join("config.json");
        let config = serde_json::from_slice(&read(&config_path, MAX_JSON)?)
            .map_err(|e| Error::model(&config_path, format!("expected a model's configuration, got {e}"), NAMES))?;
        Ok(ModelFolder { path: path.into(), onnx: file, config, external })
    }

    /// The tokenizer, which must not have more tokens than the model. Texts are clipped to `max_tokens` or the model's
    /// positions, whichever is less.
    pub fn tokens(&self, max_tokens: usize) -> Result<Tokens> {
        let path = self.path.join("tokenizer.json");
        let tokens = Tokens::open(&path, max_tokens.min(self.positions().unwrap_or(usize::MAX)))?;
        match self.config.vocab_size {
            Some(rows) if tokens.vocabulary() > rows => {
                let what = format!("expected at most the model's {rows} tokens, got {}", tokens.vocabulary());
                Err(Error::model(&path, what, "take the tokenizer that the model was trained with"))
            }
            _ => Ok(tokens),
        }
    }

    /// The score from which on a text is kept: what the folder's `thresholds.json` says of the ONNX file; `None` when the
    /// folder has no such file.
    pub fn threshold(&self) -> Result<Option<f32>> {
        let path = self.path.join(THRESHOLDS);
        if !path.exists() {
            return Ok(None);
        }
        let thresholds: BTreeMap<String, f32> = serde_json::from_slice(&read(&path, MAX_JSON)?)
            .map_err(|e| Error::model(&path, format!("expected a threshold per ONNX file, got {e}"), NAMES))?;
        Ok(thresholds.get(&name(&self.onnx)).copied())
    }

    /// Tokens that the model has positions for.
    fn positions(&self) -> Option<usize> {
        let Config { model_type, max_position_embeddings, pad_token_id, .. } = &self.config;
        // RoBERTa counts its positions from the one after padding.
        let offset = if model_type.contains("roberta") { pad_token_id.unwrap_or(1) + 1 } else { 0 };
        max_position_embeddings.map(|positions| positions.saturating_sub(offset))
    }

    /// SHA-256 of the files that decide what the model says.
    pub fn digests(&self) -> Result<Digests> {
        let named = ["config.json", "tokenizer.json"].map(|name| self.path.join(name));
        let files = named.iter().chain([&self.onnx]).chain(&self.external);
        files.map(|file| Ok((name(file), sha256(file)?))).collect()
    }
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A file's SHA-256, in hex.
pub fn sha256(file: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut reader = File::open(file).map_err(|e| Error::model(file, e, NAMES))?;
    std::io::copy(&mut reader, &mut hasher).map_err(|e| Error::model(file, e, NAMES))?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A regular file's size.
fn regular(file: &Path) -> Result<u64> {
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(metadata.len()),
        Ok(_) => Err(Error::model(file, "expected a file", NAMES)),
        Err(e) => Err(Error::model(file, e, NAMES)),
    }
}

/// A whole file of at most `limit` bytes.
pub(crate) fn read(file: &Path, limit: u64) -> Result<Vec<u8>> {
    let size = regular(file)?;
    if size > limit {
        return Err(Error::model(
            file,
            format!("expected at most {limit} bytes, got {size}"),
            "larger weights lie beside it, in external data",
        ));
    }
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    read.map_err(|e| Error::model(file, e, NAMES))?;
    Ok(bytes)
}

/// Where external data lies: inside the folder, links followed.
fn inside(folder: &Path, onnx: &Path, location: &str) -> Result<PathBuf> {
    let hint = "external data is read from inside the model's folder only";
    let plain = Path::new(location).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let file = folder.join(location);
    let lies_inside = || Some(file.canonicalize().ok()?.starts_with(folder.canonicalize().ok()?));
    if !plain || (file.exists() && lies_inside() != Some(true)) {
        return Err(Error::model(onnx, "its weights lie outside the model's folder", hint));
    }
    regular(&file)?;
    Ok(file)
}
