//! Where training starts: a small model with random weights, or the weights of a Hugging Face folder.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use rand::SeedableRng;
use rand_distr::{Distribution, Normal};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::Deserialize;
use tokenizers::Tokenizer;

use crate::roberta::{Config, POSITIONS, Roberta, TYPES, WORDS};
use crate::vocabulary::{train_bpe, with_roberta_ids};
use crate::{Error, Result, TrainCleaner};

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
    let tokenizer = train_bpe(texts, settings.vocabulary).map_err(Error::tokenizer)?;
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
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut tensors = BTreeMap::new();
    for (name, shape) in config.parameters() {
        tensors.insert(name.clone(), random_parameter(&name, &shape, &mut random)?);
    }
    Ok(Initial { model: Roberta::new(config, tensors)?, tokenizer })
}

/// Weights are normal, biases 0, the scales of layer norms 1.
fn random_parameter(name: &str, shape: &[usize], random: &mut Xoshiro256PlusPlus) -> Result<Tensor> {
    let normal = Normal::new(0.0, SPREAD).expect("a positive spread");
    let count = shape.iter().product();
    let values: Vec<f32> = match name {
        _ if name.ends_with(".bias") => vec![0.0; count],
        _ if name.ends_with("LayerNorm.weight") => vec![1.0; count],
        _ => (0..count).map(|_| normal.sample(random)).collect(),
    };
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// The fields of a `config.json` that say what the weights are.
#[derive(Debug, Deserialize)]
struct Folder {
    model_type: String,
    #[serde(default = "absolute")]
    position_embedding_type: String,
    #[serde(default = "gelu")]
    hidden_act: String,
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
    let config_path = path.join("config.json");
    let folder: Folder = serde_json::from_slice(&read(&config_path)?)
        .map_err(|e| Error::folder(&config_path, format!("expected a RoBERTa's configuration, got {e}")))?;
    let Folder { model_type, position_embedding_type, hidden_act, mut config } = folder;
    let bert = match model_type.as_str() {
        "roberta" => false,
        "bert" => true,
        other => {
            let what = format!("model_type: expected roberta or bert, got {other:?}");
            return Err(Error::folder(&config_path, what));
        }
    };
    if position_embedding_type != "absolute" || hidden_act != "gelu" {
        let what = format!("expected absolute positions and gelu, got {position_embedding_type:?} and {hidden_act:?}");
        return Err(Error::folder(&config_path, what));
    }
    let tokenizer_path = path.join("tokenizer.json");
    let (tokenizer, old_ids) =
        with_roberta_ids(&read(&tokenizer_path)?).map_err(|e| Error::folder(&tokenizer_path, e))?;
    let weights_path = path.join("model.safetensors");
    let tensors = candle_core::safetensors::load_buffer(&read(&weights_path)?, &Device::Cpu)
        .map_err(|e| Error::folder(&weights_path, e))?;
    let mut tensors: BTreeMap<String, Tensor> =
        tensors.into_iter().map(|(name, tensor)| (roberta_name(&name), tensor)).collect();
    if bert {
        config.pad_token_id = 1;
        config.max_position_embeddings += 2;
        config.type_vocab_size = 1;
        move_positions(&mut tensors)?;
        move_rows(&mut tensors, &old_ids)?;
    }
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    for (name, shape) in config.parameters() {
        let head = name.starts_with("classifier.");
        if head && tensors.get(&name).is_none_or(|tensor| tensor.dims() != shape) {
            tensors.insert(name.clone(), random_parameter(&name, &shape, &mut random)?);
        }
    }
    let mut model = Roberta::new(config, tensors).map_err(|e| Error::folder(&weights_path, e))?;
    model.words_frozen = true;
    if tokenizer.get_vocab_size(true) > model.config.vocab_size {
        let (tokens, rows) = (tokenizer.get_vocab_size(true), model.config.vocab_size);
        return Err(Error::folder(
            &tokenizer_path,
            format!("expected at most the model's {rows} tokens, got {tokens}"),
        ));
    }
    Ok(Initial { model, tokenizer })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Error::folder(path, e))
}

/// `bert.encoder…`, `encoder…` and `roberta.encoder…` are one.
fn roberta_name(name: &str) -> String {
    let bare = name.strip_prefix("bert.").or(name.strip_prefix("roberta.")).unwrap_or(name);
    if bare.starts_with("embeddings.") || bare.starts_with("encoder.") {
        format!("roberta.{bare}")
    } else {
        bare.into()
    }
}

/// RoBERTa's first token has position 2.
fn move_positions(tensors: &mut BTreeMap<String, Tensor>) -> Result<()> {
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

fn move_rows(tensors: &mut BTreeMap<String, Tensor>, old_ids: &[u32]) -> Result<()> {
    if let Some(table) = tensors.remove(WORDS) {
        let rows = table.dim(0)? as u32;
        let mut order = old_ids.to_vec();
        order.extend(order.len() as u32..rows);
        let order = Tensor::from_vec(order, rows as usize, table.device())?;
        tensors.insert(WORDS.into(), table.index_select(&order, 0)?);
    }
    Ok(())
}
