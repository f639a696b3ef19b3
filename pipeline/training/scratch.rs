//! Small policies from scratch: a Llama-type decoder of random weights, with a vocabulary of its own.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use clap::Args;
use dataset::bucket::stream;
use dataset::{Error, Result};
use policy::{Config, Family, Model, Policy, Tokenizer};
use rand::SeedableRng;
use rand_distr::{Distribution, Normal};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, NormalizerWrapper, PostProcessorWrapper, TokenizerBuilder};

use crate::induction;

/// Control tokens: those of ChatML, in the order of their ids.
const CONTROL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
/// Standard deviation of random weights but embeddings.
const SPREAD: f32 = 0.02;

/// Sizes of a policy from scratch.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct Scratch {
    /// From scratch: layers; pruned: layers that stay
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub layers: usize,
    /// From scratch: width, an even multiple of the heads
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub width: usize,
    /// From scratch: attention heads
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub heads: usize,
    /// From scratch: tokens of the vocabulary, at most
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub vocabulary: usize,
}

impl Default for Scratch {
    fn default() -> Self {
        dataset::defaults()
    }
}

impl Scratch {
    /// Errs when a size makes no sense.
    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |key: &str, expected: &str, got: usize| {
            Err(Error::setting(&format!("sft.{key}"), expected, got, "see `querent sft --help`"))
        };
        match *self {
            Scratch { layers, .. } if !(1..=100).contains(&layers) => wrong("layers", "1 to 100", layers),
            Scratch { heads, .. } if !(1..=1000).contains(&heads) => wrong("heads", "1 to 1000", heads),
            Scratch { width, heads, .. } if width == 0 || width % (2 * heads) != 0 || width > 10_000 => {
                wrong("width", "a multiple of twice the heads, at most 10000", width)
            }
            Scratch { vocabulary, .. } if !(512..=1_000_000).contains(&vocabulary) => {
                wrong("vocabulary", "512 to 1000000", vocabulary)
            }
            _ => Ok(()),
        }
    }

    /// A vocabulary learnt from texts.
    pub(crate) fn tokenizer(&self, texts: &[String]) -> Result<Tokenizer> {
        tokenizer(texts, self.vocabulary).map_err(|e| Error::bug(format!("a vocabulary: {e}")))
    }

    /// A policy of random weights.
    pub(crate) fn model(&self, tokenizer: Tokenizer, seed: u64) -> Result<Model> {
        let end = tokenizer.control("<|im_end|>").ok_or_else(|| Error::bug("a vocabulary without control tokens"))?;
        let config = Config {
            family: Family::Llama,
            vocab_size: tokenizer.vocabulary().next_multiple_of(engine::WIDTH),
            hidden_size: self.width,
            intermediate_size: (self.width * 8 / 3).next_multiple_of(engine::WIDTH),
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            num_key_value_heads: self.heads,
            head_dim: self.width / self.heads,
            max_position_embeddings: 4096,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            tie_word_embeddings: true,
            eos_token_ids: vec![end],
            bos_token_id: None,
            pad_token_id: None,
        };
        let mut random = Xoshiro256PlusPlus::seed_from_u64(stream(seed, "weights", []));
        let mut tensors = BTreeMap::new();
        // The random part of an embedding has length 1: at SPREAD a small width's would be too short for the tied head to say anything by them.
        let embeddings = 1.0 / (self.width as f32).sqrt();
        for (name, shape) in config.tensors() {
            let scale = match name.as_str() {
                name if name.contains("embed_tokens") => embeddings,
                // What is added to the residual stream is smaller, the more layers add to it (GPT-2).
                name if name.contains("o_proj") || name.contains("down_proj") => {
                    SPREAD / (2.0 * self.layers as f32).sqrt()
                }
                _ => SPREAD,
            };
            let normal = Normal::new(0.0, scale).map_err(|e| Error::bug(format!("random weights: {e}")))?;
            let mut values: Vec<f32> = match name.ends_with("norm.weight") {
                true => vec![1.0; shape.iter().product()],
                false => (0..shape.iter().product()).map(|_| normal.sample(&mut random)).collect(),
            };
            for (row, column, value) in induction::numbers(&config, &name, embeddings) {
                values[row * self.width + column] += value;
            }
            let tensor =
                Tensor::from_vec(values, shape, &Device::Cpu).map_err(|e| Error::bug(format!("tensors: {e}")))?;
            tensors.insert(name, tensor);
        }
        Ok(Model { policy: Policy::new(config, tensors, Path::new("from scratch"))?, tokenizer })
    }
}

/// A byte-level BPE of at most `size` tokens.
fn tokenizer(
    texts: &[String],
    size: usize,
) -> std::result::Result<Tokenizer, Box<dyn std::error::Error + Send + Sync>> {
    let control = CONTROL.iter().map(|content| AddedToken::from(*content, true)).collect();
    let mut trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(size)
        .min_frequency(2)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(control)
        .build();
    let mut tokenizer = TokenizerBuilder::<_, NormalizerWrapper, _, PostProcessorWrapper, _>::new()
        .with_model(BPE::default())
        .with_pre_tokenizer(Some(ByteLevel::new(false, true, true)))
        .with_decoder(Some(ByteLevel::default()))
        .build()?;
    tokenizer.train(&mut trainer, texts.iter())?;
    Ok(Tokenizer::from_json(Path::new("from scratch"), &serde_json::to_vec(&tokenizer)?)?)
}
