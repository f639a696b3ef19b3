//! A policy's weights as the engine reads them.

use pulp::Arch;

use crate::cache::Shape;
use crate::kernel::Panels;
use crate::linear::{Linear, Source};
use crate::ops::Rotary;
use crate::{Adapters, Config, Lora};

/// A weight's adapter: the weight's update is `α/r · B·A`.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// `[r, in]`.
    pub a: Vec<f32>,
    /// `[out, r]`.
    pub b: Vec<f32>,
}

/// Where weights come from: row-major tensors, by the names of Hugging Face's folders.
pub trait Weights {
    /// What reading one can fail with.
    type Error;

    /// The sizes.
    fn config(&self) -> &Config;

    /// The adapters' sizes, if there are any.
    fn lora(&self) -> Option<Lora>;

    /// A weight.
    fn tensor(&self, name: &str) -> Result<Vec<f32>, Self::Error>;

    /// A weight's adapter, if it has one.
    fn adapter(&self, name: &str) -> Result<Option<Adapter>, Self::Error>;
}

/// A policy's weights, packed for products of whole batches. Adapters stay apart from the weights that they change.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) config: Config,
    pub(crate) arch: Arch,
    pub(crate) layers: Vec<Layer>,
    pub(crate) norm: Vec<f32>,
    /// The embedding, where the head is another matrix.
    pub(crate) embedding: Option<Panels>,
    pub(crate) head: Panels,
    pub(crate) has_adapters: bool,
}

/// One layer of the decoder.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) input_norm: Vec<f32>,
    pub(crate) query_key_value: Linear,
    pub(crate) output: Linear,
    pub(crate) post_norm: Vec<f32>,
    pub(crate) gate_up: Linear,
    pub(crate) down: Linear,
}

pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";
pub(crate) const HEAD: &str = "lm_head.weight";
pub(crate) const NORM: &str = "model.norm.weight";

/// The norm's name before attention, or after it.
pub(crate) fn norm_name(layer: usize, post: bool) -> String {
    format!("model.layers.{layer}.{}_layernorm.weight", if post { "post_attention" } else { "input" })
}

impl Snapshot {
    /// Packs a policy's weights, with its adapters or without.
    ///
    /// # Errors
    /// When a tensor cannot be read.
    pub fn new<W: Weights>(weights: &W, adapters: Adapters) -> Result<Self, W::Error> {
        let config = weights.config().clone();
        let lora = weights.lora().filter(|_| adapters == Adapters::On);
        let low_rank = lora.map(|lora| (lora.rank, (lora.alpha / lora.rank as f64) as f32));
        let linear = |layer: usize, names: &[&str], k: usize, bias: bool| -> Result<Linear, W::Error> {
            let source = |name: &&str| -> Result<Source, W::Error> {
                let name = format!("model.layers.{layer}.{name}");
                let weight = format!("{name}.weight");
                Ok(Source {
                    bias: if bias { Some(weights.tensor(&format!("{name}.bias"))?) } else { None },
                    adapter: if low_rank.is_some() { weights.adapter(&weight)? } else { None },
                    weight: weights.tensor(&weight)?,
                    name,
                })
            };
            Ok(Linear::new(names.iter().map(source).collect::<Result<_, _>>()?, k, low_rank))
        };
        let Config { hidden_size: width, intermediate_size: inner, num_attention_heads: heads, head_dim, .. } = config;
        let qkv = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
        let layers = (0..config.num_hidden_layers).map(|layer| {
            Ok(Layer {
                input_norm: weights.tensor(&norm_name(layer, false))?,
                query_key_value: linear(layer, &qkv, width, config.attention_bias())?,
                output: linear(layer, &["self_attn.o_proj"], heads * head_dim, false)?,
                post_norm: weights.tensor(&norm_name(layer, true))?,
                gate_up: linear(layer, &["mlp.gate_proj", "mlp.up_proj"], width, false)?,
                down: linear(layer, &["mlp.down_proj"], inner, false)?,
            })
        });
        let layers = layers.collect::<Result<_, _>>()?;
        let pack = |name: &str| -> Result<Panels, W::Error> { Ok(Panels::pack(&[&weights.tensor(name)?], width)) };
        let (embedding, head) = match config.tie_word_embeddings {
            true => (None, pack(EMBEDDING)?),
            false => (Some(pack(EMBEDDING)?), pack(HEAD)?),
        };
        let (norm, has_adapters) = (weights.tensor(NORM)?, low_rank.is_some());
        Ok(Snapshot { norm, config, arch: Arch::new(), layers, embedding, head, has_adapters })
    }

    /// Overwrites a tensor, with row-major values.
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

    /// The sizes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What decides the size of keys and values.
    pub fn shape(&self) -> Shape {
        let Config { num_hidden_layers: layers, num_key_value_heads: kv_heads, head_dim, .. } = self.config;
        Shape { layers, kv_heads, head_dim }
    }

    /// Rotary positions up to so many tokens.
    pub fn rotary(&self, positions: usize) -> Rotary {
        Rotary::new(self.config.rope_theta, self.config.head_dim, positions)
    }
}
