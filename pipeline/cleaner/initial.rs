//! Where training starts: a small model with random weights, or the weights of a Hugging Face folder.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use dataset::bucket::stream;
use dataset::{Error, Result};
use rand::SeedableRng;
use rand_distr::{Distribution, Normal};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::Deserialize;
use serde_json::Value;
use tokenizers::Tokenizer;

use crate::roberta::{Config, POSITIONS, Roberta, TYPES, WORDS};
use crate::vocabulary::{train_bpe, with_roberta_ids};
use crate::{TrainCleaner, candle, first_line};

const HINT: &str =
    "--init takes a Hugging Face folder of a RoBERTa or BERT: config.json, model.safetensors, tokenizer.json";
/// The files of such a folder that are read, and how large they may be.
const FILES: [(&str, u64); 3] =
    [("config.json", 64 << 20), ("model.safetensors", 16 << 30), ("tokenizer.json", 64 << 20)];

/// Standard deviation of random weights, as RoBERTa's.
const SPREAD: f32 = 0.02;

/// A model to train and its tokenizer.
#[derive(Debug)]
pub struct Initial {
    /// The model.
    pub model: Roberta,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
}

/// A small model of random weights, with a vocabulary of its own.
pub fn from_scratch(settings: &TrainCleaner, texts: &[&str], seed: u64) -> Result<Initial> {
    let tokenizer = train_bpe(texts, settings.vocabulary).map_err(crate::tokenizer)?;
    let config = Config {
        vocab_size: tokenizer.get_vocab_size(true),
        hidden_size: settings.width,
        num_hidden_layers: settings.layers,
        num_attention_heads: settings.heads,
        intermediate_size: 4 * settings.width,
        max_position_embeddings: settings.max_tokens + 2,
        layer_norm_eps: 1e-5,
        pad_token_id: 1,
        type_vocab_size: 1,
    };
    let mut random = Xoshiro256PlusPlus::seed_from_u64(stream(seed, "weights", []));
    let mut tensors = BTreeMap::new();
    for (name, shape) in config.parameters() {
        tensors.insert(name.clone(), random_parameter(&name, &shape, &mut random).map_err(candle)?);
    }
    Ok(Initial { model: Roberta::new(config, tensors).map_err(candle)?, tokenizer })
}

/// Weights are normal, biases 0, the scales of layer norms 1.
fn random_parameter(name: &str, shape: &[usize], random: &mut Xoshiro256PlusPlus) -> candle_core::Result<Tensor> {
    let normal = Normal::new(0.0, SPREAD).expect("a positive spread");
    let count = shape.iter().product();
    let values: Vec<f32> = match name {
        _ if name.ends_with(".bias") => vec![0.0; count],
        _ if name.ends_with("LayerNorm.weight") => vec![1.0; count],
        _ => (0..count).map(|_| normal.sample(random)).collect(),
    };
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// The fields of a `config.json` that say what the weights are.
#[derive(Debug, Deserialize)]
struct Folder {
    model_type: String,
    #[serde(default = "absolute")]
    position_embedding_type: String,
    #[serde(default = "gelu")]
    hidden_act: String,
    quantization_config: Option<Value>,
    /// Tokens see only those before them.
    #[serde(default)]
    is_decoder: bool,
    #[serde(flatten)]
    config: Config,
}

fn absolute() -> String {
    "absolute".into()
}

fn gelu() -> String {
    "gelu".into()
}

/// The weights of a Hugging Face folder (`config.json`, `model.safetensors`, `tokenizer.json`): RoBERTa's as they are; BERT's,
/// whose encoder is the same, with its positions moved by 2 and its special tokens' rows at RoBERTa's ids.
///
/// A head that the folder does not have is random.
pub fn from_folder(path: &Path, seed: u64) -> Result<Initial> {
    let [(config_path, config_json), (weights_path, weights), (tokenizer_path, tokenizer_json)] = read(path)?;
    let folder: Folder = serde_json::from_slice(&config_json)
        .map_err(|e| wrong(&config_path, format!("expected a RoBERTa's configuration, got {e}")))?;
    let Folder { model_type, position_embedding_type, hidden_act, quantization_config, is_decoder, mut config } =
        folder;
    let bert = match model_type.as_str() {
        "roberta" => false,
        "bert" => true,
        other => {
            let what = format!("model_type: expected roberta or bert, got {other:?}");
            return Err(wrong(&config_path, what));
        }
    };
    if position_embedding_type != "absolute" || hidden_act != "gelu" {
        let what = format!("expected absolute positions and gelu, got {position_embedding_type:?} and {hidden_act:?}");
        return Err(wrong(&config_path, what));
    }
    if is_decoder {
        let what = "is_decoder: expected false, got true: its tokens see only those before them";
        return Err(Error::unreadable(
            config_path.display(),
            what,
            "take an encoder: a classifier reads texts as a whole",
        ));
    }
    if let Some(quantised) = quantization_config {
        let method = quantised["quant_method"].as_str().unwrap_or("one");
        let what = format!("quantization_config: expected none, got {method}; quantised weights need their scales");
        return Err(Error::unreadable(config_path.display(), what, "take the model's unquantised folder"));
    }
    check(&config, bert).map_err(|what| wrong(&config_path, what))?;
    let (tokenizer, old_ids) = with_roberta_ids(&tokenizer_json).map_err(|e| wrong(&tokenizer_path, e))?;
    let (tokens, rows) = (tokenizer.get_vocab_size(true), config.vocab_size);
    if tokens > rows {
        return Err(wrong(&tokenizer_path, format!("expected at most the model's {rows} tokens, got {tokens}")));
    }
    let tensors = candle_core::safetensors::load_buffer(&weights, &Device::Cpu);
    let tensors = tensors.map_err(|e| wrong(&weights_path, first_line(&e)))?;
    let mut tensors: BTreeMap<String, Tensor> =
        tensors.into_iter().map(|(name, tensor)| (roberta_name(&name), tensor)).collect();
    if bert {
        config.pad_token_id = 1;
        config.max_position_embeddings += 2;
        config.type_vocab_size = 1;
        move_positions(&mut tensors).map_err(candle)?;
        move_rows(&mut tensors, &old_ids).map_err(candle)?;
    }
    let mut random = Xoshiro256PlusPlus::seed_from_u64(stream(seed, "weights", []));
    for (name, shape) in config.parameters() {
        let head = name.starts_with("classifier.");
        if head && tensors.get(&name).is_none_or(|tensor| tensor.dims() != shape) {
            tensors.insert(name.clone(), random_parameter(&name, &shape, &mut random).map_err(candle)?);
        }
    }
    for (name, _) in config.parameters() {
        if let Some(what) = tensors.get(&name).and_then(|tensor| unusable(tensor).map_err(candle).transpose()) {
            let hint = "the weights are damaged, or quantised: copy the model's folder again, or take another one";
            return Err(Error::unreadable(weights_path.display(), format!("{name}: {}", what?), hint));
        }
    }
    let mut model = Roberta::new(config, tensors).map_err(|e| wrong(&weights_path, first_line(&e)))?;
    model.words_frozen = true;
    Ok(Initial { model, tokenizer })
}

/// Whether a model of these sizes can be; a RoBERTa's first positions are its padding's.
fn check(config: &Config, bert: bool) -> Result<(), String> {
    let Config { hidden_size: width, num_attention_heads: heads, max_position_embeddings: positions, .. } = config;
    if *heads == 0 || *width == 0 || width % heads != 0 {
        return Err(format!("expected attention heads that share hidden_size evenly, got {heads} for {width}"));
    }
    let unused = if bert { 0 } else { config.pad_token_id as usize + 1 };
    if *positions <= unused {
        return Err(format!("max_position_embeddings: expected more than {unused}, got {positions}"));
    }
    Ok(())
}

/// The files of a folder that decide what it is, each checked to be a regular one, so that it can be hashed.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let checked = FILES.iter().map(|(name, limit)| {
        let path = folder.join(name);
        dataset::check_file(&path, *limit, HINT).map(|_| path)
    });
    checked.collect()
}

fn read(folder: &Path) -> Result<[(PathBuf, Vec<u8>); 3]> {
    let read = |(name, limit): (&str, u64)| {
        let path = folder.join(name);
        dataset::read_file(&path, limit, HINT).map(|bytes| (path, bytes))
    };
    let [config, weights, tokenizer] = FILES;
    Ok([read(config)?, read(weights)?, read(tokenizer)?])
}

fn wrong(path: &Path, what: impl Display) -> Error {
    Error::unreadable(path.display(), what, HINT)
}

/// What of a tensor nothing can be learnt from; `None` when it is sound.
fn unusable(tensor: &Tensor) -> candle_core::Result<Option<String>> {
    if !matches!(tensor.dtype(), DType::F16 | DType::BF16 | DType::F32 | DType::F64) {
        return Ok(Some(format!("expected F16, BF16, F32 or F64, got {:?}", tensor.dtype())));
    }
    let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let finite = values.iter().all(|value| value.is_finite());
    Ok((!finite).then(|| "expected finite numbers, got NaN or infinity".into()))
}

/// `bert.encoder…`, `encoder…` and `roberta.encoder…` are one, and so are the names that layer norms had in TensorFlow.
fn roberta_name(name: &str) -> String {
    let bare = name.strip_prefix("bert.").or(name.strip_prefix("roberta.")).unwrap_or(name);
    let bare = match bare.rsplit_once('.') {
        Some((norm, "gamma")) => format!("{norm}.weight"),
        Some((norm, "beta")) => format!("{norm}.bias"),
        _ => bare.to_owned(),
    };
    match bare.starts_with("embeddings.") || bare.starts_with("encoder.") {
        true => format!("roberta.{bare}"),
        false => bare,
    }
}

/// RoBERTa's first token has position 2.
fn move_positions(tensors: &mut BTreeMap<String, Tensor>) -> candle_core::Result<()> {
    if let Some(table) = tensors.remove(POSITIONS) {
        let unused = Tensor::zeros((2, table.dim(1)?), table.dtype(), table.device())?;
        tensors.insert(POSITIONS.into(), Tensor::cat(&[&unused, &table], 0)?);
    }
    // A classifier reads one text at a time: only the first type occurs.
    if let Some(table) = tensors.remove(TYPES) {
        tensors.insert(TYPES.into(), table.narrow(0, 0, 1)?);
    }
    Ok(())
}

fn move_rows(tensors: &mut BTreeMap<String, Tensor>, old_ids: &[u32]) -> candle_core::Result<()> {
    if let Some(table) = tensors.remove(WORDS) {
        let rows = table.dim(0)? as u32;
        let mut order = old_ids.to_vec();
        order.extend(order.len() as u32..rows);
        let order = Tensor::from_vec(order, rows as usize, table.device())?;
        tensors.insert(WORDS.into(), table.index_select(&order, 0)?);
    }
    Ok(())
}
