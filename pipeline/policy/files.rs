//! Models on disk: a Hugging Face folder, a GGUF file (`gguf.rs`), or a checkpoint of ours.
//!
//! Files of which something would go unused are refused by name: a tensor that the forward does not know, a type that needs scales, a
//! setting that changes what the weights mean.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::{Path, PathBuf};

use candle_core::safetensors::{Load, MmapedSafetensors};
use candle_core::{DType, Device, Tensor};
use dataset::{Error, Kind, Result, is_there, open_file, read_file};
use safetensors::Dtype;
use serde_json::Value as Json;

use crate::chat::Chat;
use crate::{Config, Policy, Prompt, Tokenizer, checkpoint, gguf};

const FOLDER: &str =
    "a model's folder holds config.json, tokenizer.json and model.safetensors, in one file or with an index";
pub(crate) const OTHER: &str = "take a model of the Llama or Qwen2 family without scaled positions";
const QUANTISED: &str = "GPTQ, AWQ, FP8, bitsandbytes and MLX weights are not read: take the model's unquantised folder, or a GGUF file of it";
const SCALED: &str = "Llama 3.1 and later and variants for long contexts scale their positions: take SmolLM2, Llama 3, Qwen2 or \
                      Qwen2.5 as they were published";
const FAMILY: &str = "the decoder covers the families Llama and Qwen2: take SmolLM2, Llama 3, Qwen2 or Qwen2.5";
const NO_WRITER: &str = "a policy writes text: take the model's variant ForCausalLM, such as an instruct or chat one; encoders, \
                         classifiers and reward models do not";
const DAMAGED: &str = "the file is damaged, cut off or was edited: copy the model's folder again";
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
        let gguf = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
        match path {
            _ if !is_there(path, MISSING)? => {
                Err(wrong(path, "no such folder or .gguf file", MISSING).of_kind(Kind::Missing))
            }
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
        Self::open_on(path, None)
    }

    /// The same, where a checkpoint of adapters finds its base at another place than it names.
    pub fn open_on(path: &Path, base: Option<&Path>) -> Result<Self> {
        let mut model = match Form::of(path)? {
            Form::Gguf => gguf::open(path)?,
            Form::Checkpoint => checkpoint::open(path, base)?,
            Form::Folder => folder(path)?,
        };
        // The end of a turn ends an output, whether or not the model's files say so.
        let ends = &mut model.policy.config.eos_token_ids;
        let end = Chat::of(&model.tokenizer).ok().and_then(|chat| chat.end(&model.tokenizer));
        ends.extend(end.filter(|end| !ends.contains(end)));
        let (rows, tokens) = (model.policy.config.vocab_size, model.tokenizer.vocabulary());
        if tokens > rows {
            let what = format!("vocab_size: expected at least the tokenizer's {tokens} tokens, got {rows}");
            return Err(wrong(path, what, "take the tokenizer that the model was trained with"));
        }
        Ok(model)
    }

    /// How a model was asked in training; none if it was not trained here.
    pub fn prompt(path: &Path) -> Result<Option<Prompt>> {
        match Form::of(path)? {
            Form::Checkpoint => Ok(checkpoint::state(path)?.prompt),
            Form::Folder if is_there(&path.join(ASKING), MISSING)? => {
                let path = path.join(ASKING);
                let prompt = serde_json::from_slice(&read(&path, FOLDER)?);
                prompt.map(Some).map_err(|e| wrong(&path, format!("expected how the policy is asked: {e}"), FOLDER))
            }
            Form::Folder | Form::Gguf => Ok(None),
        }
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
                let mut files = vec![path.join(CONFIG), path.join(TOKENIZER)];
                for other in [GENERATION, ASKING].map(|name| path.join(name)) {
                    files.extend(is_there(&other, MISSING)?.then_some(other));
                }
                files.extend(weights(path)?);
                files
            }
        };
        match files.iter().find(|file| !file.is_file()) {
            Some(missing) => Err(wrong(missing, "expected a file, got none", FOLDER)),
            None => Ok(files),
        }
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
    Error::retry(first_line(&e), "this is a bug, unless memory ran out; committed versions are whole").because(e)
}

/// Messages of candle end with a backtrace where one is asked for.
pub(crate) fn first_line(e: &candle_core::Error) -> String {
    e.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Largest file that is read as a whole: a configuration, a tokenizer, a template, a file of a checkpoint.
pub(crate) const MOST_BYTES: u64 = 512 << 20;
/// Largest file of weights.
const MOST_WEIGHTS: u64 = 1 << 40;

/// A whole file of a model. Weights are not read by it.
pub(crate) fn read(path: &Path, hint: &str) -> Result<Vec<u8>> {
    read_file(path, MOST_BYTES, hint)
}

const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";
const TOKENIZER: &str = "tokenizer.json";
/// How a policy of ours was asked in training, beside what others read.
pub(crate) const ASKING: &str = "querent_prompt.json";
const WEIGHTS: &str = "model.safetensors";

/// What would help when a `config.json` is not taken. `what` begins with the field.
fn hint(what: &str) -> &'static str {
    match what.split(':').next().unwrap_or_default() {
        "quantization_config" | "quantization" => QUANTISED,
        "rope_scaling" => SCALED,
        "model_type" => FAMILY,
        "architectures" => NO_WRITER,
        _ if what.contains("not supported") => OTHER,
        _ => DAMAGED,
    }
}

/// Checks that a model has a head that writes, where its configuration says what it is.
fn check_architecture(json: &[u8]) -> Result<(), String> {
    let fields: Json = serde_json::from_slice(json).unwrap_or_default();
    let named: Vec<&str> =
        fields["architectures"].as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect();
    match named.first() {
        Some(first) if !named.iter().any(|name| name.ends_with("ForCausalLM")) => {
            Err(format!("architectures: expected one ForCausalLM, got {first}"))
        }
        _ => Ok(()),
    }
}

/// Reads a folder's configuration, and from the generation's configuration what ends an output.
fn config(folder: &Path) -> Result<Config> {
    if !folder.join(CONFIG).exists() && folder.join("adapter_config.json").exists() {
        let hint = "merge it into its base (peft: merge_and_unload) and save the whole model";
        return Err(wrong(folder, "expected a model, got an adapter", hint));
    }
    let path = folder.join(CONFIG);
    let json = read(&path, FOLDER)?;
    let config = Config::from_json(&json).and_then(|config| check_architecture(&json).map(|()| config));
    let mut config = config.map_err(|what| wrong(&path, &what, hint(&what)))?;
    let path = folder.join(GENERATION);
    if is_there(&path, MISSING)? {
        let hint = "copy the model again, or delete the file: it says what ends an output";
        config.add_generation(&read(&path, hint)?).map_err(|what| wrong(&path, what, hint))?;
    }
    Ok(config)
}

/// The files of a folder's weights.
fn weights(folder: &Path) -> Result<Vec<PathBuf>> {
    let index = folder.join("model.safetensors.index.json");
    if !is_there(&index, MISSING)? {
        let (file, pickled) = (folder.join(WEIGHTS), folder.join("pytorch_model.bin"));
        if !file.exists() && pickled.exists() {
            let hint = "save the model again as safetensors (transformers: save_pretrained)";
            return Err(wrong(&pickled, format!("expected {WEIGHTS}, got pickled tensors"), hint));
        }
        return Ok(vec![file]);
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
    check_templates(path, &tokenizer)?;
    let mut tensors = BTreeMap::new();
    for file in &weights(path)? {
        open_file(file, MOST_WEIGHTS, FOLDER)?;
        let failed = |e| wrong(file, format!("expected safetensors, got {}", first_line(&e)), FOLDER);
        // SAFETY: the file is a model's, which nobody writes to while it is read; everything is copied before the map goes.
        #[expect(unsafe_code, reason = "memory maps")]
        let map = unsafe { MmapedSafetensors::new(file) }.map_err(failed)?;
        for (name, view) in map.tensors() {
            if !matches!(view.dtype(), Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64) {
                let what = format!("{name}: expected F16, BF16, F32 or F64, got {:?}", view.dtype());
                return Err(wrong(file, what, QUANTISED));
            }
            tensors.insert(name, view.load(&Device::Cpu).map_err(failed)?);
        }
    }
    let head = tied_head(&config, &tensors, path)?;
    let unused = |name: &&str| !name.ends_with("rotary_emb.inv_freq") && Some(*name) != head;
    refuse_unused(path, &config, tensors.keys().map(String::as_str).filter(unused), |name| name.to_owned())?;
    let policy = Policy::new(config, tensors, path)?;
    Ok(Model { policy, tokenizer })
}

const TURNS: &str = "prompts would be written in turns that the model does not know: take its plain instruct variant; or delete the \
                     template, if the model was trained with these turns";

/// Checks that a chat template, which lies in `path` under `key`, is the one that we write turns in. It is not run: which control tokens it
/// names is what tells the two apart.
pub(crate) fn check_template(path: &Path, key: &str, template: &str, tokenizer: &Tokenizer) -> Result<()> {
    let opening = match Chat::of(tokenizer) {
        Err(_) => return Ok(()),
        Ok(Chat::ChatMl) => "<|im_start|>",
        Ok(Chat::Llama3) => "<|start_header_id|>",
    };
    match template.contains(opening) {
        true => Ok(()),
        false => {
            let what = format!("{key}: expected turns that open with {opening}, got another template");
            Err(wrong(path, what, TURNS))
        }
    }
}

/// The same for the templates of a folder.
fn check_templates(folder: &Path, tokenizer: &Tokenizer) -> Result<()> {
    for name in ["chat_template.jinja", "tokenizer_config.json"] {
        let path = folder.join(name);
        if !is_there(&path, MISSING)? {
            continue;
        }
        let text = String::from_utf8_lossy(&read(&path, TURNS)?).into_owned();
        let template = match name {
            "chat_template.jinja" => Json::String(text),
            _ => {
                let json = serde_json::from_str::<Json>(&text);
                let mut json = json.map_err(|e| wrong(&path, format!("expected JSON, got {e}"), DAMAGED))?;
                json["chat_template"].take()
            }
        };
        // One template, or a list of them with names.
        if !template.is_null() {
            check_template(&path, "chat_template", &template.to_string(), tokenizer)?;
        }
    }
    Ok(())
}

const HEAD: &str = "lm_head.weight";

/// The head of a model that says it has none of its own; it must be the embedding, bit for bit.
fn tied_head<'a>(config: &Config, tensors: &BTreeMap<String, Tensor>, path: &Path) -> Result<Option<&'a str>> {
    let (Some(head), Some(embedding)) = (tensors.get(HEAD), tensors.get("model.embed_tokens.weight")) else {
        return Ok(None);
    };
    if !config.tie_word_embeddings {
        return Ok(None);
    }
    let bits = |tensor: &Tensor| -> candle_core::Result<Vec<u32>> {
        let values: Vec<f32> = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        Ok(values.into_iter().map(f32::to_bits).collect())
    };
    if head.dims() != embedding.dims() || bits(head).map_err(candle)? != bits(embedding).map_err(candle)? {
        let what = format!("{HEAD}: expected the embedding, for tie_word_embeddings is true, got other numbers");
        let hint = "set tie_word_embeddings to false in config.json if the head is to be used, else delete the tensor";
        return Err(wrong(path, what, hint));
    }
    Ok(Some(HEAD))
}

/// Refuses tensors that the forward would not use. `stored`: what a file calls the configuration's tensors.
pub(crate) fn refuse_unused<'a>(
    path: &Path,
    config: &Config,
    names: impl Iterator<Item = &'a str>,
    stored: impl Fn(&str) -> String,
) -> Result<()> {
    let known: BTreeSet<String> = config.tensors().iter().map(|(name, _)| stored(name)).collect();
    let mut unused: Vec<&str> = names.filter(|name| !known.contains(*name)).collect();
    unused.sort_unstable();
    let Some(first) = unused.first() else { return Ok(()) };
    let what = format!(
        "{first}: expected no such tensor, got it{}",
        match unused.len() {
            1 => String::new(),
            more => format!(" and {} others that would go unused", more - 1),
        }
    );
    let hint = "the model computes with it, and we would not: take a model of the Llama or Qwen2 family in its plain form, unquantised \
                or as GGUF";
    Err(wrong(path, what, hint))
}

#[cfg(test)]
mod tests;
