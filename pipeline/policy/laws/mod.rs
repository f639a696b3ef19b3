//! The decoder against float64 PyTorch and against itself; rollouts; files.
//!
//! The references in `fixtures/decoder-*` and `fixtures/smollm2` are transformers' (see `fixtures/README.md`).

mod decoder;
mod files;
mod generate;
mod lists;
mod passes;
mod refusals;
mod rollouts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::Deserialize;

use crate::checkpoint::{self, Moments, State};
use crate::{
    Adapters, Batching, Completion, Config, Lora, Model, Packed, Policy, Request, Rollout, Sampling, Snapshot,
    Tokenizer, log_probs,
};

/// Of whatever failed: candle, files, settings.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const FAMILIES: [&str; 2] = ["decoder-llama", "decoder-qwen2"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn tiny(name: &str) -> Policy {
    let folder = repository().join("fixtures").join(name);
    let json = std::fs::read(folder.join("config.json")).expect("the fixture is part of the repository");
    let config = Config::from_json(&json).expect("a configuration");
    let tensors = candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu).expect("safetensors");
    Policy::new(config, tensors.into_iter().collect(), &folder).expect("a policy")
}

/// A sequence without its padding, its logits, and the greedy tokens that follow.
type Sequence = (Vec<u32>, Vec<Vec<f32>>, Vec<u32>);

/// The sequences of a fixture.
fn sequences(name: &str) -> Vec<Sequence> {
    let path = repository().join("fixtures").join(name).join("io.safetensors");
    let io = candle_core::safetensors::load(path, &Device::Cpu).expect("safetensors");
    let ids: Vec<Vec<i64>> = io["input_ids"].to_vec2().expect("ids");
    let mask: Vec<Vec<i64>> = io["attention_mask"].to_vec2().expect("a mask");
    let logits: Vec<Vec<Vec<f32>>> = io["logits"].to_vec3().expect("logits");
    let greedy: Vec<Vec<i64>> = io["greedy"].to_vec2().expect("tokens");
    let unsigned = |ids: &[i64]| ids.iter().map(|id| *id as u32).collect::<Vec<_>>();
    (0..ids.len())
        .map(|row| {
            let start = mask[row].iter().position(|m| *m == 1).expect("a token");
            (unsigned(&ids[row][start..]), logits[row][start..].to_vec(), unsigned(&greedy[row]))
        })
        .collect()
}

pub(crate) fn smollm2() -> Model {
    let path = repository().join("models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(path.exists(), "{} is missing: run `make setup`", path.display());
    Model::open(&path).expect("the model that `make setup` fetched")
}

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn rollout(snapshot: &Arc<Snapshot>, prefix: &[u32], sampling: Sampling) -> Rollout {
    Rollout::new(snapshot.clone(), prefix, 40, &[], sampling, None).expect("settings that make sense")
}

/// Adapters whose B is not zero, so that both halves have a gradient.
fn with_random_lora(mut policy: Policy) -> Result<Policy> {
    policy.add_lora(Lora { rank: 4, alpha: 8.0 }, 5)?;
    let mut random = Xoshiro256PlusPlus::seed_from_u64(11);
    for (name, var) in policy.trainable() {
        if name.ends_with("lora_b") {
            let values: Vec<f32> = (0..var.elem_count()).map(|_| random.random_range(-0.1..0.1)).collect();
            var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu)?)?;
        }
    }
    Ok(policy)
}

/// A tokenizer of bytes, for models without one.
pub(crate) fn bytes_tokenizer() -> Tokenizer {
    let words =
        serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    tokenizer_of(&[], &words)
}

/// A tokenizer that cuts text as Qwen2.5's does, and has tokens for a mark with the line's end behind it.
pub(crate) fn qwen_like_tokenizer() -> Tokenizer {
    let words = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let split = serde_json::json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": words}, "behavior": "Isolated", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
    ]});
    tokenizer_of(&[("?", "Ċ"), (".", "Ċ"), (":", "Ċ"), ("Ċ", "Ċ"), ("Ġ", "a"), ("-", "Ċ")], &split)
}

/// A byte-level tokenizer with these merges, whose control tokens come last.
fn tokenizer_of(merges: &[(&str, &str)], pre_tokenizer: &serde_json::Value) -> Tokenizer {
    let printable = |b: &u8| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut others = 256u32..;
    let bytes = (0..=255u8).map(|b| {
        let code = if printable(&b) { u32::from(b) } else { others.next().expect("endless") };
        char::from_u32(code).expect("a character").to_string()
    });
    let merged = merges.iter().map(|(a, b)| format!("{a}{b}"));
    let vocabulary: serde_json::Map<String, serde_json::Value> =
        bytes.chain(merged).zip(0u32..).map(|(token, id)| (token, id.into())).collect();
    let first = vocabulary.len()..;
    let added = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].iter().zip(first).map(|(content, id)| {
        serde_json::json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false})
    });
    let json = serde_json::json!({
        "version": "1.0",
        "added_tokens": added.collect::<Vec<_>>(),
        "pre_tokenizer": pre_tokenizer,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges.iter().map(|(a, b)| [a, b]).collect::<Vec<_>>()},
    });
    Tokenizer::from_json(Path::new("bytes"), json.to_string().as_bytes()).expect("a tokenizer")
}
