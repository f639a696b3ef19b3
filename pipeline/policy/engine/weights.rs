//! A policy's weights as the engine reads them.

use candle_core::Result;
use pulp::Arch;

use super::cache::Shape;
use super::kernel::Panels;
use super::linear::{Linear, Source};
use super::ops::Rotary;
use crate::{Adapters, Config, Policy};

/// A policy's weights, packed for products of whole batches. Adapters stay apart from the weights that they change.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) config: Config,
    pub(super) arch: Arch,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Vec<f32>,
    /// The embedding, where the head is another matrix.
    pub(super) embedding: Option<Panels>,
    pub(super) head: Panels,
    pub(super) has_adapters: bool,
}

/// One layer of the decoder.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) input_norm: Vec<f32>,
    pub(super) query_key_value: Linear,
    pub(super) output: Linear,
    pub(super) post_norm: Vec<f32>,
    pub(super) gate_up: Linear,
    pub(super) down: Linear,
}

pub(super) const EMBEDDING: &str = "model.embed_tokens.weight";
pub(super) const HEAD: &str = "lm_head.weight";
pub(super) const NORM: &str = "model.norm.weight";

/// The norm's name before attention, or after it.
pub(super) fn norm_name(layer: usize, post: bool) -> String {
    format!("model.layers.{layer}.{}_layernorm.weight", if post { "post_attention" } else { "input" })
}

impl Snapshot {
    /// Packs a policy's weights, with its adapters or without.
    pub fn new(policy: &Policy, adapters: Adapters) -> Result<Self> {
        let config = policy.config.clone();
        let lora = policy.lora().filter(|_| adapters == Adapters::On);
        let low_rank = lora.map(|lora| (lora.rank, (lora.alpha / lora.rank as f64) as f32));
        let linear = |layer: usize, names: &[&str], k: usize, bias: bool| -> Result<Linear> {
            let source = |name: &&str| -> Result<Source> {
                let name = format!("model.layers.{layer}.{name}");
                let weight = format!("{name}.weight");
                Ok(Source {
                    bias: if bias { Some(policy.flat(&format!("{name}.bias"))?) } else { None },
                    adapter: if low_rank.is_some() { policy.adapter(&weight)? } else { None },
                    weight: policy.flat(&weight)?,
                    name,
                })
            };
            Ok(Linear::new(names.iter().map(source).collect::<Result<_>>()?, k, low_rank))
        };
        let Config { hidden_size: width, intermediate_size: inner, num_attention_heads: heads, head_dim, .. } = config;
        let qkv = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
        let layers = (0..config.num_hidden_layers).map(|layer| {
            Ok(Layer {
                input_norm: policy.flat(&norm_name(layer, false))?,
                query_key_value: linear(layer, &qkv, width, config.attention_bias())?,
                output: linear(layer, &["self_attn.o_proj"], heads * head_dim, false)?,
                post_norm: policy.flat(&norm_name(layer, true))?,
                gate_up: linear(layer, &["mlp.gate_proj", "mlp.up_proj"], width, false)?,
                down: linear(layer, &["mlp.down_proj"], inner, false)?,
            })
        });
        let layers = layers.collect::<Result<_>>()?;
        let pack = |name: &str| -> Result<Panels> { Ok(Panels::pack(&[&policy.flat(name)?], width)) };
        let (embedding, head) = match config.tie_word_embeddings {
            true => (None, pack(EMBEDDING)?),
            false => (Some(pack(EMBEDDING)?), pack(HEAD)?),
        };
        let (norm, has_adapters) = (policy.flat(NORM)?, low_rank.is_some());
        Ok(Snapshot { norm, config, arch: Arch::new(), layers, embedding, head, has_adapters })
    }

    /// Overwrites a tensor, whose name is one of [`Policy::trainable`], with row-major values.
    ///
    /// # Panics
    /// When there is no such tensor, or the number of values is another.
    pub fn set(&mut self, name: &str, values: &[f32]) {
        match name {
            NORM => self.norm.copy_from_slice(values),
            HEAD => self.head.set_rows(0, values),
            EMBEDDING => self.embedding.as_mut().unwrap_or(&mut self.head).set_rows(0, values),
            _ => {
                let found = self.layers.iter_mut().enumerate().any(|(number, layer)| {
                    let Layer { input_norm, query_key_value, output, post_norm, gate_up, down } = layer;
                    for (norm, post) in [(input_norm, false), (post_norm, true)] {
                        if name == norm_name(number, post) {
                            norm.copy_from_slice(values);
                            return true;
                        }
                    }
                    [query_key_value, output, gate_up, down].into_iter().any(|linear| linear.set(name, values))
                });
                assert!(found, "{name} is a tensor of the policy");
            }
        }
    }

    pub(crate) fn shape(&self) -> Shape {
        let Config { num_hidden_layers: layers, num_key_value_heads: kv_heads, head_dim, .. } = self.config;
        Shape { layers, kv_heads, head_dim }
    }

    pub(crate) fn rotary(&self, positions: usize) -> Rotary {
        Rotary::new(self.config.rope_theta, self.config.head_dim, positions)
    }
}
