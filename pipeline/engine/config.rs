//! A model's configuration: the sizes of the Llama and Qwen2 families, as `config.json` names them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The families that the decoder covers. Qwen2 adds biases to the query, key and value projections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Llama 3 without scaled positions, SmolLM2 and others of their shape.
    Llama,
    /// Qwen2 and Qwen2.5.
    Qwen2,
}

/// A decoder's sizes, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The family.
    pub family: Family,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the feed-forward layers.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads of the queries.
    pub num_attention_heads: usize,
    /// Heads of keys and values.
    pub num_key_value_heads: usize,
    /// Dimensions of a head.
    pub head_dim: usize,
    /// Tokens that the model has positions for.
    pub max_position_embeddings: usize,
    /// ε of RMSNorm.
    pub rms_norm_eps: f32,
    /// Base of the rotary positions.
    pub rope_theta: f64,
    /// The head is the embedding.
    pub tie_word_embeddings: bool,
    /// Tokens that end an output.
    pub eos_token_ids: Vec<u32>,
    /// The token that begins a text, if the model has one.
    pub bos_token_id: Option<u32>,
    /// The token that fills batches, if the model's files name one. It decides nothing here; others need it.
    pub pad_token_id: Option<u32>,
}

impl Config {
    /// Whether queries, keys and values have biases.
    pub fn attention_bias(&self) -> bool {
        self.family == Family::Qwen2
    }

    /// Reads a `config.json`. The error says which field is wrong.
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        let fields: Map<String, Value> = serde_json::from_slice(json).map_err(|e| format!("expected JSON, got {e}"))?;
        let family = match fields.get("model_type").and_then(Value::as_str) {
            Some("llama") => Family::Llama,
            Some("qwen2") => Family::Qwen2,
            other => return Err(format!("model_type: expected llama or qwen2, got {}", other.unwrap_or("none"))),
        };
        let get = |name: &str| fields.get(name).filter(|value| !value.is_null());
        // MLX calls it `quantization`.
        for name in ["quantization_config", "quantization"] {
            if let Some(got) = get(name) {
                let method =
                    got.get("quant_method").and_then(Value::as_str).map_or_else(|| got.to_string(), str::to_owned);
                return Err(format!("{name}: expected none, got {method}; quantised weights need their scales"));
            }
        }
        let size = |name: &str| match get(name) {
            Some(value) => match value.as_u64().filter(|n| (1..1 << 31).contains(n)) {
                Some(n) => Ok(Some(n as usize)),
                None => Err(format!("{name}: expected a whole number above 0, got {value}")),
            },
            None => Ok(None),
        };
        let need = |name: &str| size(name)?.ok_or_else(|| format!("{name}: expected a number, got none"));
        let rope = get("rope_parameters").and_then(Value::as_object);
        let real = |name: &str, otherwise: f64| {
            get(name).or_else(|| rope?.get(name)).map_or(Ok(otherwise), |value| {
                value.as_f64().filter(|x| *x > 0.0).ok_or_else(|| format!("{name}: expected a number, got {value}"))
            })
        };
        for (name, expected) in [
            ("hidden_act", json!("silu")),
            ("use_sliding_window", json!(false)),
            ("attention_bias", json!(family == Family::Qwen2)),
            ("mlp_bias", json!(false)),
            ("partial_rotary_factor", json!(1.0)),
        ] {
            if let Some(got) = get(name).filter(|got| **got != expected) {
                return Err(format!("{name}: expected {expected}, got {got}; other variants are not supported"));
            }
        }
        let layers = get("layer_types").and_then(Value::as_array).into_iter().flatten();
        if let Some(got) = layers.into_iter().find(|kind| **kind != json!("full_attention")) {
            return Err(format!(
                "layer_types: expected \"full_attention\", got {got}; other variants are not supported"
            ));
        }
        let kind = |scaling: &Value| {
            let kind = scaling.get("rope_type").or_else(|| scaling.get("type"));
            kind.and_then(Value::as_str).unwrap_or("default").to_owned()
        };
        if let Some(kind) =
            ["rope_scaling", "rope_parameters"].iter().filter_map(|name| get(name)).map(kind).find(|k| k != "default")
        {
            return Err(format!("rope_scaling: expected none, got {kind}; scaled positions are not supported"));
        }
        let heads = need("num_attention_heads")?;
        let hidden_size = need("hidden_size")?;
        let token = |value: &Value| value.as_u64().map(|id| id as u32);
        let config = Config {
            family,
            vocab_size: need("vocab_size")?,
            hidden_size,
            intermediate_size: need("intermediate_size")?,
            num_hidden_layers: need("num_hidden_layers")?,
            num_attention_heads: heads,
            num_key_value_heads: size("num_key_value_heads")?.unwrap_or(heads),
            head_dim: size("head_dim")?.unwrap_or(hidden_size / heads),
            max_position_embeddings: size("max_position_embeddings")?.unwrap_or(2048),
            rms_norm_eps: real("rms_norm_eps", 1e-6)? as f32,
            rope_theta: real("rope_theta", 10_000.0)?,
            tie_word_embeddings: get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(false),
            eos_token_ids: ends(&fields)?,
            bos_token_id: get("bos_token_id").and_then(token),
            pad_token_id: get("pad_token_id").and_then(token),
        };
        config.check()?;
        Ok(config)
    }

    /// Takes over what a `generation_config.json` says: what ends an output, which goes before, and what fills batches.
    ///
    /// # Errors
    /// Says which field is wrong.
    pub fn add_generation(&mut self, json: &[u8]) -> Result<(), String> {
        let fields: Map<String, Value> = serde_json::from_slice(json).map_err(|e| format!("expected JSON, got {e}"))?;
        let mut all = ends(&fields)?;
        all.extend(self.eos_token_ids.iter().filter(|end| !all.contains(end)).copied().collect::<Vec<_>>());
        self.eos_token_ids = all;
        let pad = fields.get("pad_token_id").and_then(Value::as_u64).map(|id| id as u32);
        self.pad_token_id = pad.or(self.pad_token_id);
        Ok(())
    }

    /// Checks that the sizes go together.
    pub fn check(&self) -> Result<(), String> {
        for (name, size, most) in [
            ("vocab_size", self.vocab_size, 1 << 24),
            ("hidden_size", self.hidden_size, 1 << 20),
            ("intermediate_size", self.intermediate_size, 1 << 22),
            ("num_hidden_layers", self.num_hidden_layers, 1 << 12),
            ("num_attention_heads", self.num_attention_heads, 1 << 12),
            ("num_key_value_heads", self.num_key_value_heads, 1 << 12),
            ("head_dim", self.head_dim, 1 << 14),
        ] {
            if !(1..=most).contains(&size) {
                return Err(format!("{name}: expected 1 to {most}, got {size}"));
            }
        }
        let (heads, kv_heads) = (self.num_attention_heads, self.num_key_value_heads);
        if !heads.is_multiple_of(kv_heads) {
            return Err(format!("num_key_value_heads: expected a divisor of {heads} heads, got {kv_heads}"));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!("head_dim: expected an even number, got {}", self.head_dim));
        }
        Ok(())
    }

    /// The configuration as `transformers` reads it.
    pub fn to_json(&self) -> Value {
        let architecture = match self.family {
            Family::Llama => "LlamaForCausalLM",
            Family::Qwen2 => "Qwen2ForCausalLM",
        };
        json!({
            "architectures": [architecture],
            "model_type": self.family,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": self.tie_word_embeddings,
            "eos_token_id": self.eos_token_ids,
            "bos_token_id": self.bos_token_id,
            "pad_token_id": self.pad_token_id,
            "hidden_act": "silu",
            "torch_dtype": "float32",
        })
    }

    /// Every tensor of such a model, with its shape.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (width, inner) = (self.hidden_size, self.intermediate_size);
        let queries = self.num_attention_heads * self.head_dim;
        let keys = self.num_key_value_heads * self.head_dim;
        let mut all = vec![("model.embed_tokens.weight".to_owned(), vec![self.vocab_size, width])];
        for layer in 0..self.num_hidden_layers {
            let mut add = |name: &str, shape: Vec<usize>| all.push((format!("model.layers.{layer}.{name}"), shape));
            add("input_layernorm.weight", vec![width]);
            for (name, rows) in [("q", queries), ("k", keys), ("v", keys)] {
                add(&format!("self_attn.{name}_proj.weight"), vec![rows, width]);
                if self.attention_bias() {
                    add(&format!("self_attn.{name}_proj.bias"), vec![rows]);
                }
            }
            add("self_attn.o_proj.weight", vec![width, queries]);
            add("post_attention_layernorm.weight", vec![width]);
            add("mlp.gate_proj.weight", vec![inner, width]);
            add("mlp.up_proj.weight", vec![inner, width]);
            add("mlp.down_proj.weight", vec![width, inner]);
        }
        all.push(("model.norm.weight".into(), vec![width]));
        if !self.tie_word_embeddings {
            all.push(("lm_head.weight".into(), vec![self.vocab_size, width]));
        }
        all
    }
}

/// The tokens that end an output, one or several.
fn ends(fields: &Map<String, Value>) -> Result<Vec<u32>, String> {
    let id = |value: &Value| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| format!("eos_token_id: expected the number of a token, got {value}"))
    };
    match fields.get("eos_token_id") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(ids)) => ids.iter().map(id).collect(),
        Some(value) => Ok(vec![id(value)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: &str = r#"{"model_type": "qwen2", "vocab_size": 320, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "eos_token_id": [2, 3]}"#;

    #[test]
    fn a_configuration_survives_being_written() -> Result<(), String> {
        let config = Config::from_json(TINY.as_bytes())?;
        assert_eq!((config.head_dim, config.eos_token_ids.as_slice()), (16, &[2, 3][..]));
        assert_eq!(Config::from_json(config.to_json().to_string().as_bytes())?, config);
        Ok(())
    }

    #[test]
    fn what_the_decoder_cannot_do_is_named() {
        for (from, to, name) in [
            ("\"qwen2\"", "\"mistral\"", "model_type"),
            ("\"vocab_size\": 320", "\"vocab_size\": -1", "vocab_size"),
            ("\"hidden_size\": 64, ", "", "hidden_size"),
            ("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", "num_key_value_heads"),
            ("{", "{\"rope_scaling\": {\"rope_type\": \"yarn\"}, ", "rope_scaling"),
            ("{", "{\"hidden_act\": \"gelu\", ", "hidden_act"),
            ("{", "{\"use_sliding_window\": true, ", "use_sliding_window"),
            ("{", "{\"layer_types\": [\"full_attention\", \"sliding_attention\"], ", "layer_types"),
            ("{", "{\"partial_rotary_factor\": 0.5, ", "partial_rotary_factor"),
            (
                "{",
                "{\"quantization_config\": {\"quant_method\": \"gptq\"}, ",
                "quantization_config: expected none, got gptq",
            ),
            ("{", "{\"quantization\": {\"group_size\": 64, \"bits\": 4}, ", "quantization: expected none"),
            ("[2, 3]", "[2, -3]", "eos_token_id"),
        ] {
            let error = Config::from_json(TINY.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert!(error.starts_with(name), "{error}");
        }
    }
}
