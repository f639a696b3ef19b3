//! Models on disk: a Hugging Face folder, a GGUF file, or a checkpoint of ours.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::safetensors::MmapedSafetensors;
use candle_core::{Device, Tensor};
use dataset::{Error, Kind, Result};
use serde_json::Value as Json;

use crate::Family;
use crate::{Config, Policy, Tokenizer, checkpoint};

const FOLDER: &str =
    "a model's folder holds config.json, tokenizer.json and model.safetensors, in one file or with an index";
const GGUF: &str =
    "download the file again; quantisations read are those that candle knows, Q4_0, Q4_1, Q8_0 and F16 among them";
const OTHER: &str = "take a model of the Llama or Qwen2 family without scaled positions";
const MISSING: &str =
    "a policy is a Hugging Face folder, a .gguf file or a checkpoint's folder; `make setup` fetches the default one";

/// A policy with what is needed to talk to it.
#[derive(Debug)]
pub struct Model {
    /// The weights.
    pub policy: Policy,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
}

/// What a path holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Folder,
    Gguf,
    Checkpoint,
}

impl Form {
    fn of(path: &Path) -> Result<Self> {
        let gguf = path.extension().is_some_and(|extension| extension == "gguf");
        match path {
            _ if !path.exists() => Err(wrong(path, "no such folder or .gguf file", MISSING).of_kind(Kind::Missing)),
            _ if path.is_dir() && path.join(checkpoint::STATE).exists() => Ok(Form::Checkpoint),
            _ if path.is_dir() => Ok(Form::Folder),
            _ if path.is_file() && gguf => Ok(Form::Gguf),
            _ => Err(wrong(path, "expected a folder or a .gguf file", MISSING)),
        }
    }
}

impl Model {
    /// Opens a Hugging Face folder, a `.gguf` file, or a checkpoint's folder (`…/step=000120`).
    pub fn open(path: &Path) -> Result<Self> {
        let model = match Form::of(path)? {
            Form::Gguf => gguf(path)?,
            Form::Checkpoint => checkpoint::open(path)?,
            Form::Folder => folder(path)?,
        };
        let (rows, tokens) = (model.policy.config.vocab_size, model.tokenizer.vocabulary());
        if tokens > rows {
            let what = format!("vocab_size: expected at least the tokenizer's {tokens} tokens, got {rows}");
            return Err(wrong(path, what, "take the tokenizer that the model was trained with"));
        }
        Ok(model)
    }

    /// The files that decide what a model says. Its weights are not read.
    ///
    /// # Errors
    /// When there is no model, one of its files is missing, or it is of a family that the decoder does not cover.
    pub fn files(path: &Path) -> Result<Vec<PathBuf>> {
        let files = match Form::of(path)? {
            Form::Gguf => vec![path.to_owned()],
            // It names the digests of the others.
            Form::Checkpoint => vec![path.join(checkpoint::STATE)],
            Form::Folder => {
                config(path)?;
                [path.join(CONFIG), path.join(TOKENIZER)].into_iter().chain(weights(path)?).collect()
            }
        };
        match files.iter().find(|file| !file.is_file()) {
            Some(missing) => Err(wrong(missing, "expected a file, got none", FOLDER)),
            None => Ok(files),
        }
    }

    /// Whether a model was trained here, to write lists: a checkpoint was.
    pub fn is_trained(path: &Path) -> Result<bool> {
        Ok(Form::of(path)? == Form::Checkpoint)
    }

    /// What `interests.policy` calls a model: its file's or folder's name, a checkpoint's with the run's.
    pub fn name(path: &Path) -> String {
        let path = &path.canonicalize().unwrap_or_else(|_| path.into());
        let last = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match path.parent() {
            Some(parent) if last(path).starts_with("step=") => format!("{}/{}", last(parent), last(path)),
            _ => last(path),
        }
    }
}

/// A file of a model is missing or is not what it should be.
pub(crate) fn wrong(path: &Path, what: impl Display, hint: impl Display) -> Error {
    Error::unreadable(path.display(), what, hint)
}

/// Candle refused what our own code asked for.
pub(crate) fn candle(e: candle_core::Error) -> Error {
    Error::retry(first_line(&e), "this is a bug, unless memory ran out; nothing was committed").because(e)
}

/// Messages of candle end with a backtrace where one is asked for.
fn first_line(e: &candle_core::Error) -> String {
    e.to_string().lines().next().unwrap_or_default().to_owned()
}

/// A whole regular file: a pipe would hang its reader.
pub(crate) fn read(path: &Path, hint: &str) -> Result<Vec<u8>> {
    let read = || match path.metadata()?.is_file() {
        true => std::fs::read(path),
        false => Err(std::io::Error::other("expected a regular file")),
    };
    read().map_err(|e| wrong(path, e, hint))
}

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";

fn config(folder: &Path) -> Result<Config> {
    let path = folder.join(CONFIG);
    Config::from_json(&read(&path, FOLDER)?).map_err(|what| wrong(&path, what, OTHER))
}

/// The files of a folder's weights.
fn weights(folder: &Path) -> Result<Vec<PathBuf>> {
    let index = folder.join("model.safetensors.index.json");
    if !index.exists() {
        return Ok(vec![folder.join("model.safetensors")]);
    }
    let json: Json = serde_json::from_slice(&read(&index, FOLDER)?)
        .map_err(|e| wrong(&index, format!("expected an index of tensors, got {e}"), FOLDER))?;
    let names = json["weight_map"].as_object().into_iter().flat_map(|map| map.values()).filter_map(Json::as_str);
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    if let Some(outside) = names.iter().find(|name| Path::new(name).file_name().is_none_or(|file| file != **name)) {
        return Err(wrong(&index, format!("expected files of the folder, got {outside}"), FOLDER));
    }
    Ok(names.iter().map(|name| folder.join(name)).collect())
}

fn folder(path: &Path) -> Result<Model> {
    let config = config(path)?;
    let tokenizer_path = path.join(TOKENIZER);
    let tokenizer = Tokenizer::from_json(&tokenizer_path, &read(&tokenizer_path, FOLDER)?)?;
    let mut tensors = BTreeMap::new();
    for file in &weights(path)? {
        let failed = |e| wrong(file, format!("expected safetensors, got {}", first_line(&e)), FOLDER);
        // SAFETY: the file is a model's, which nobody writes to while it is read; everything is copied before the map goes.
        #[expect(unsafe_code, reason = "memory maps")]
        let map = unsafe { MmapedSafetensors::new(file) }.map_err(failed)?;
        for (name, view) in map.tensors() {
            tensors.insert(name, candle_core::safetensors::Load::load(&view, &Device::Cpu).map_err(failed)?);
        }
    }
    let policy = Policy::new(config, tensors, path)?;
    Ok(Model { policy, tokenizer })
}

fn gguf(path: &Path) -> Result<Model> {
    let failed = |e| wrong(path, format!("expected a whole GGUF file, got {}", first_line(&e)), GGUF);
    let mut file = File::open(path).map_err(|e| wrong(path, e, GGUF))?;
    let mut content = Content::read(&mut file).map_err(failed)?;
    let config = gguf_config(&content).map_err(|what| wrong(path, what, OTHER))?;
    let tokenizer = Tokenizer::from_gguf(path, &mut content)?;
    let mut tensors = BTreeMap::new();
    for (name, _) in config.tensors() {
        let stored = gguf_name(&name);
        if !content.tensor_infos.contains_key(&stored) {
            return Err(wrong(path, format!("expected a tensor {stored}, got none"), GGUF));
        }
        let tensor = content
            .tensor(&mut file, &stored, &Device::Cpu)
            .map_err(failed)?
            .dequantize(&Device::Cpu)
            .map_err(candle)?;
        let heads = match (config.family, name.rsplit('.').nth(1)) {
            (Family::Llama, Some("q_proj")) => Some(config.num_attention_heads),
            (Family::Llama, Some("k_proj")) => Some(config.num_key_value_heads),
            _ => None,
        };
        let tensor = match heads {
            Some(heads) if tensor.dims() == [heads * config.head_dim, config.hidden_size] => {
                halves(&tensor, heads, config.head_dim).map_err(candle)?
            }
            _ => tensor,
        };
        tensors.insert(name, tensor);
    }
    let policy = Policy::new(config, tensors, path)?;
    Ok(Model { policy, tokenizer })
}

/// GGUF files of the Llama family have the rows of each query and key head in pairs `(i, i + d/2)`; we have them in halves, as Hugging
/// Face does.
fn halves(tensor: &Tensor, heads: usize, head_dim: usize) -> candle_core::Result<Tensor> {
    let columns = tensor.dim(1)?;
    let pairs = tensor.reshape((heads, head_dim / 2, 2, columns))?;
    pairs.transpose(1, 2)?.reshape((heads * head_dim, columns))
}

fn gguf_name(name: &str) -> String {
    match name {
        "model.embed_tokens.weight" => return "token_embd.weight".into(),
        "model.norm.weight" => return "output_norm.weight".into(),
        "lm_head.weight" => return "output.weight".into(),
        _ => {}
    }
    let mut stored = name.replacen("model.layers.", "blk.", 1);
    for (ours, theirs) in [
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
    ] {
        stored = stored.replacen(ours, theirs, 1);
    }
    stored
}

fn gguf_config(content: &Content) -> Result<Config, String> {
    let text = |key: &str| content.metadata.get(key).and_then(|value| value.to_string().ok()).map(String::as_str);
    let family = match text("general.architecture") {
        Some("llama") => Family::Llama,
        Some("qwen2") => Family::Qwen2,
        other => return Err(format!("general.architecture: expected llama or qwen2, got {}", other.unwrap_or("none"))),
    };
    let prefix = if family == Family::Llama { "llama" } else { "qwen2" };
    let get = |key: &str| content.metadata.get(&format!("{prefix}.{key}"));
    let size = |key: &str| get(key).and_then(|value| value.to_u64().ok()).map(|n| n as usize);
    let need = |key: &str| {
        size(key).filter(|n| *n > 0).ok_or_else(|| format!("{prefix}.{key}: expected a number above 0, got none"))
    };
    let real = |key: &str| get(key).and_then(|value| value.to_f32().ok());
    if let Some(kind) = text(&format!("{prefix}.rope.scaling.type")).filter(|kind| *kind != "none") {
        return Err(format!(
            "{prefix}.rope.scaling.type: expected none, got {kind}; scaled positions are not supported"
        ));
    }
    if content.tensor_infos.contains_key("rope_freqs.weight") {
        return Err("rope_freqs.weight: expected none; scaled positions are not supported".into());
    }
    let heads = need("attention.head_count")?;
    let hidden_size = need("embedding_length")?;
    let embedding = content.tensor_infos.get("token_embd.weight").and_then(|info| info.shape.dims().first().copied());
    let token = |key: &str| content.metadata.get(key).and_then(|value| value.to_u32().ok());
    let config = Config {
        family,
        vocab_size: embedding.ok_or("expected a tensor token_embd.weight, got none")?,
        hidden_size,
        intermediate_size: need("feed_forward_length")?,
        num_hidden_layers: need("block_count")?,
        num_attention_heads: heads,
        num_key_value_heads: size("attention.head_count_kv").unwrap_or(heads),
        head_dim: size("attention.key_length").unwrap_or(hidden_size / heads),
        max_position_embeddings: need("context_length")?,
        rms_norm_eps: real("attention.layer_norm_rms_epsilon").unwrap_or(1e-5),
        rope_theta: real("rope.freq_base").map_or(10_000.0, f64::from),
        tie_word_embeddings: !content.tensor_infos.contains_key("output.weight"),
        eos_token_ids: token("tokenizer.ggml.eos_token_id").into_iter().collect(),
        bos_token_id: match content.metadata.get("tokenizer.ggml.add_bos_token") {
            Some(Value::Bool(false)) => None,
            _ => token("tokenizer.ggml.bos_token_id"),
        },
    };
    config.check()?;
    Ok(config)
}
