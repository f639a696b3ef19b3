//! The differentiable forward, made of operations that have a backward.
//!
//! Sequences that share a prompt are *packed*: `[prompt, list_1 .. list_G]`. Each list starts at position `len(prompt)` and attends
//! to the prompt and to itself, so the prompt is computed once, and gradients are those of the G sequences `prompt + list_g`.

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::ops::softmax;

use crate::{Adapters, Config, Policy};
use engine::Rotary;

/// A prompt and lists that continue it, as one sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The prompt, then the lists.
    pub tokens: Vec<u32>,
    /// Length of the prompt.
    pub prompt: usize,
    /// Length of each list.
    pub lists: Vec<usize>,
}

impl Packed {
    /// Packs lists behind their prompt.
    pub fn new(prompt: &[u32], lists: &[&[u32]]) -> Self {
        Packed {
            tokens: prompt.iter().chain(lists.iter().copied().flatten()).copied().collect(),
            prompt: prompt.len(),
            lists: lists.iter().map(|list| list.len()).collect(),
        }
    }

    /// The row of the packed sequence whose output says what comes at each place of a list: the prompt's last row, then the list's own.
    pub fn predicting(&self, list: usize) -> Vec<u32> {
        let start = self.prompt + self.lists[..list].iter().sum::<usize>();
        let inside = (start..start + self.lists[list].saturating_sub(1)).map(|row| row as u32);
        std::iter::once(self.prompt as u32 - 1).chain(inside).take(self.lists[list]).collect()
    }

    /// Position and list (0: the prompt) of every token.
    fn places(&self) -> Vec<(usize, usize)> {
        let prompt = (0..self.prompt).map(|at| (at, 0));
        let lists = (1..).zip(&self.lists).flat_map(|(list, len)| (0..*len).map(move |at| (self.prompt + at, list)));
        prompt.chain(lists).collect()
    }

    /// `[tokens, tokens]`: 0 where a row may look, −∞ where not.
    fn mask(&self) -> Result<Tensor> {
        let places = self.places();
        let allowed =
            |(row, list): (usize, usize), (column, of): (usize, usize)| (of == 0 || of == list) && column <= row;
        let mask: Vec<f32> = places
            .iter()
            .flat_map(|row| places.iter().map(|column| if allowed(*row, *column) { 0.0 } else { f32::NEG_INFINITY }))
            .collect();
        Tensor::from_vec(mask, (places.len(), places.len()), &Device::Cpu)
    }
}

impl Policy {
    /// Hidden states `[tokens, hidden_size]` after the last norm.
    pub fn forward(&self, packed: &Packed, adapters: Adapters) -> Result<Tensor> {
        let Config { num_attention_heads: heads, num_key_value_heads: kv_heads, head_dim, rms_norm_eps, .. } =
            self.config;
        let rows = packed.tokens.len();
        let ids = Tensor::new(packed.tokens.as_slice(), &Device::Cpu)?;
        let mask = packed.mask()?;
        let (cos, sin) = self.rotary(packed)?;
        let mut x = self.tensor("model.embed_tokens.weight").index_select(&ids, 0)?;
        for layer in 0..self.config.num_hidden_layers {
            let at = |part: &str| format!("model.layers.{layer}.{part}");
            let normed = rms_norm(&x, self.tensor(&at("input_layernorm.weight")), rms_norm_eps)?;
            let project = |name: &str, heads: usize| -> Result<Tensor> {
                let mut y = self.linear(&at(&format!("self_attn.{name}_proj.weight")), &normed, adapters)?;
                if self.config.attention_bias() {
                    y = y.broadcast_add(self.tensor(&at(&format!("self_attn.{name}_proj.bias"))))?;
                }
                y.reshape((rows, heads, head_dim))?.transpose(0, 1)?.contiguous()
            };
            let query = turn(&project("q", heads)?, &cos, &sin)?;
            let key = repeat(&turn(&project("k", kv_heads)?, &cos, &sin)?, heads / kv_heads)?;
            let value = repeat(&project("v", kv_heads)?, heads / kv_heads)?;
            let scores = (query.matmul(&key.transpose(1, 2)?.contiguous()?)? * (head_dim as f64).powf(-0.5))?;
            let weights = softmax(&scores.broadcast_add(&mask)?, D::Minus1)?;
            let attended = weights.matmul(&value)?.transpose(0, 1)?.reshape((rows, heads * head_dim))?;
            x = (x + self.linear(&at("self_attn.o_proj.weight"), &attended, adapters)?)?;
            let normed = rms_norm(&x, self.tensor(&at("post_attention_layernorm.weight")), rms_norm_eps)?;
            let gate = self.linear(&at("mlp.gate_proj.weight"), &normed, adapters)?.silu()?;
            let up = self.linear(&at("mlp.up_proj.weight"), &normed, adapters)?;
            x = (x + self.linear(&at("mlp.down_proj.weight"), &(gate * up)?, adapters)?)?;
        }
        rms_norm(&x, self.tensor("model.norm.weight"), rms_norm_eps)
    }

    /// Hidden states `[rows, hidden_size]` to logits `[rows, vocab_size]`.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        let head = if self.config.tie_word_embeddings { "model.embed_tokens.weight" } else { "lm_head.weight" };
        hidden.matmul(&self.tensor(head).t()?)
    }

    /// Cosines and sines of the tokens' positions, `[tokens, head_dim / 2]`.
    fn rotary(&self, packed: &Packed) -> Result<(Tensor, Tensor)> {
        let places = packed.places();
        let positions = places.iter().map(|(at, _)| at + 1).max().unwrap_or(0);
        let tables = Rotary::new(self.config.rope_theta, self.config.head_dim, positions);
        let half = self.config.head_dim / 2;
        let gather = |table: &[f32]| {
            let rows: Vec<f32> = places.iter().flat_map(|(at, _)| &table[at * half..][..half]).copied().collect();
            Tensor::from_vec(rows, (places.len(), half), &Device::Cpu)
        };
        let (cos, sin) = tables.tables();
        Ok((gather(cos)?, gather(sin)?))
    }
}

/// `x / sqrt(mean(x²) + ε) · weight`.
fn rms_norm(x: &Tensor, weight: &Tensor, epsilon: f32) -> Result<Tensor> {
    let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(epsilon))?.sqrt()?.recip()?;
    x.broadcast_mul(&scale)?.broadcast_mul(weight)
}

/// Rotary positions for `[heads, tokens, head_dim]`.
fn turn(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let half = x.dim(D::Minus1)? / 2;
    let (a, b) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
    let first = (a.broadcast_mul(cos)? - b.broadcast_mul(sin)?)?;
    let second = (b.broadcast_mul(cos)? + a.broadcast_mul(sin)?)?;
    Tensor::cat(&[first, second], D::Minus1)
}

/// Key-value heads `[kv_heads, tokens, head_dim]`, each repeated for its group of queries.
fn repeat(x: &Tensor, times: usize) -> Result<Tensor> {
    let (kv_heads, tokens, head_dim) = x.dims3()?;
    x.unsqueeze(1)?.expand((kv_heads, times, tokens, head_dim))?.reshape((kv_heads * times, tokens, head_dim))
}

/// Log-probabilities `[rows]` of tokens, given the logits `[rows, vocab_size]` that predict them.
pub fn log_probs(logits: &Tensor, tokens: &[u32]) -> Result<Tensor> {
    let ids = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(1)?;
    let highest = logits.max_keepdim(D::Minus1)?.detach();
    let shifted = logits.broadcast_sub(&highest)?;
    let total = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    (shifted.gather(&ids, 1)? - total)?.squeeze(1)?.to_dtype(DType::F32)
}
