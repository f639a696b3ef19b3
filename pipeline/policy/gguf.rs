//! GGUF files, as llama.cpp has them.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{Device, Tensor};
use dataset::Result;

use crate::Family;
use crate::files::{OTHER, candle, check_template, first_line, refuse_unused, wrong};
use crate::{Config, Model, Policy, Tokenizer};

const GGUF: &str = "download the file again";
const TYPES: &str =
    "take a file in F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, or Q2_K to Q6_K (also named Q4_K_M and the like)";

/// ggml's numbers of types that are not read.
const NOT_READ: [(u32, &str); 16] = [
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
];

/// Candle could not read a file. It names a type that it does not know by its number.
fn unreadable(path: &Path, e: &candle_core::Error) -> dataset::Error {
    let what = first_line(e);
    let number =
        what.rsplit_once("unknown dtype for tensor ").and_then(|(_, number)| number.trim().parse::<u32>().ok());
    match number {
        Some(number) => {
            let name = NOT_READ.iter().find(|(of, _)| *of == number);
            let name = name.map_or_else(|| format!("type {number}"), |(_, name)| (*name).to_owned());
            wrong(path, format!("expected a quantisation that is read, got {name}"), TYPES)
        }
        None => wrong(path, format!("expected a whole GGUF file, got {what}"), GGUF),
    }
}

/// Reads a model from a file.
pub(crate) fn open(path: &Path) -> Result<Model> {
    let failed = |e| unreadable(path, &e);
    let mut file = dataset::open_file(path, u64::MAX, GGUF)?;
    let mut content = Content::read(&mut file).map_err(failed)?;
    let parts = content.metadata.get("split.count").and_then(|value| value.to_u64().ok()).unwrap_or(1);
    if parts > 1 {
        let hint = "join them: llama-gguf-split --merge FIRST-PART WHOLE.gguf";
        return Err(wrong(path, format!("expected a whole model, got one part of {parts}"), hint));
    }
    let config = config_of(&content).map_err(|what| wrong(path, what, OTHER))?;
    refuse_unused(path, &config, content.tensor_infos.keys().map(String::as_str), gguf_name)?;
    let tokenizer = Tokenizer::from_gguf(path, &mut content)?;
    // The default one, and others with names.
    for (key, template) in &content.metadata {
        if key.starts_with("tokenizer.chat_template")
            && let Ok(template) = template.to_string()
        {
            check_template(path, key, template, &tokenizer)?;
        }
    }
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

pub(crate) fn gguf_name(name: &str) -> String {
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

fn config_of(content: &Content) -> Result<Config, String> {
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
    let scale = real("rope.scale_linear").or_else(|| real("rope.scaling.factor")).unwrap_or(1.0);
    if scale != 1.0 && scale != 0.0 {
        return Err(format!(
            "{prefix}.rope.scaling.factor: expected none, got {scale}; scaled positions are not supported"
        ));
    }
    if content.tensor_infos.contains_key("rope_freqs.weight") {
        return Err("rope_freqs.weight: expected none; scaled positions are not supported".into());
    }
    let heads = need("attention.head_count")?;
    let hidden_size = need("embedding_length")?;
    let head_dim = size("attention.key_length").unwrap_or(hidden_size / heads);
    for key in ["rope.dimension_count", "attention.value_length"] {
        if let Some(got) = size(key).filter(|got| *got != head_dim) {
            return Err(format!("{prefix}.{key}: expected {head_dim}, the width of a head, got {got}"));
        }
    }
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
        head_dim,
        max_position_embeddings: need("context_length")?,
        rms_norm_eps: real("attention.layer_norm_rms_epsilon").unwrap_or(1e-5),
        rope_theta: real("rope.freq_base").map_or(10_000.0, f64::from),
        tie_word_embeddings: !content.tensor_infos.contains_key("output.weight"),
        eos_token_ids: token("tokenizer.ggml.eos_token_id").into_iter().collect(),
        pad_token_id: token("tokenizer.ggml.padding_token_id"),
        bos_token_id: match content.metadata.get("tokenizer.ggml.add_bos_token") {
            Some(Value::Bool(false)) => None,
            _ => token("tokenizer.ggml.bos_token_id"),
        },
    };
    config.check()?;
    Ok(config)
}
