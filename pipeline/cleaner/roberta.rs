//! RoBERTa for sequence classification (Liu et al. 2019), in composed candle operations: candle's fused ones have no backward.
//!
//! Post-norm encoder with learned positions, counted from the one after padding; GELU; the head reads the first token (`<s>`):
//! `out_proj(tanh(dense(h_0)))`. Parameters have the names that Hugging Face gives them.

use std::collections::BTreeMap;

use candle_core::{D, DType, Device, Result, Tensor, Var};
use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

/// What `config.json` says of a RoBERTa.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Rows of the word embedding.
    pub vocab_size: usize,
    /// Width.
    pub hidden_size: usize,
    /// Encoder layers.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Rows of the position embedding; the first `pad_token_id + 1` are never used.
    pub max_position_embeddings: usize,
    /// Added to the variance before its root is taken.
    pub layer_norm_eps: f64,
    /// The padding's token id.
    pub pad_token_id: u32,
    /// Rows of the token type embedding; only the first is used.
    pub type_vocab_size: usize,
}

impl Config {
    /// Every parameter's name and shape.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let (width, inner) = (self.hidden_size, self.intermediate_size);
        let mut all = vec![
            (WORDS.to_owned(), vec![self.vocab_size, width]),
            (POSITIONS.to_owned(), vec![self.max_position_embeddings, width]),
            (TYPES.to_owned(), vec![self.type_vocab_size, width]),
        ];
        let mut linear = |name: String, out: usize, into: usize| {
            all.push((format!("{name}.weight"), vec![out, into]));
            all.push((format!("{name}.bias"), vec![out]));
        };
        for layer in 0..self.num_hidden_layers {
            let name = |part: &str| format!("{ENCODER}.{layer}.{part}");
            for part in ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]
            {
                linear(name(part), width, width);
            }
            linear(name("intermediate.dense"), inner, width);
            linear(name("output.dense"), width, inner);
        }
        linear("classifier.dense".into(), width, width);
        linear("classifier.out_proj".into(), LABELS.len(), width);
        let norms = (0..self.num_hidden_layers)
            .flat_map(|layer| ["attention.output", "output"].map(|part| format!("{ENCODER}.{layer}.{part}.LayerNorm")))
            .chain([EMBEDDING_NORM.to_owned()]);
        for name in norms {
            all.push((format!("{name}.weight"), vec![width]));
            all.push((format!("{name}.bias"), vec![width]));
        }
        all
    }
}

/// The labels, in the order of the logits.
pub const LABELS: [&str; 2] = ["noise", "keep"];

pub(crate) const WORDS: &str = "roberta.embeddings.word_embeddings.weight";
pub(crate) const POSITIONS: &str = "roberta.embeddings.position_embeddings.weight";
pub(crate) const TYPES: &str = "roberta.embeddings.token_type_embeddings.weight";
pub(crate) const EMBEDDING_NORM: &str = "roberta.embeddings.LayerNorm";
pub(crate) const ENCODER: &str = "roberta.encoder.layer";

/// A model: its configuration and parameters.
#[derive(Debug)]
pub struct Roberta {
    /// The architecture.
    pub config: Config,
    /// Word embeddings get no gradient (most of the parameters, and few of the rows occur in a batch).
    pub words_frozen: bool,
    parameters: BTreeMap<String, Var>,
}

/// Texts as token ids, padded to the longest.
#[derive(Debug)]
pub struct Batch {
    /// Token ids, `[texts, tokens]`, u32.
    ids_bt: Tensor,
    /// Position ids, the same shape.
    positions_bt: Tensor,
    /// 0 for tokens, very negative for padding: `[texts, 1, 1, tokens]`, f32.
    mask_b11t: Tensor,
}

impl Batch {
    /// Pads with the model's padding token.
    pub fn new(texts: &[&[u32]], config: &Config) -> Result<Self> {
        let (rows, length) = (texts.len(), texts.iter().map(|ids| ids.len()).max().unwrap_or(0));
        let pad = config.pad_token_id;
        let column = |f: &dyn Fn(&[u32], usize) -> u32| -> Vec<u32> {
            texts.iter().flat_map(|ids| (0..length).map(|t| f(ids, t))).collect()
        };
        let ids = column(&|ids, t| ids.get(t).copied().unwrap_or(pad));
        let positions = column(&|ids, t| if t < ids.len() { pad + 1 + t as u32 } else { pad });
        let mask: Vec<f32> =
            texts.iter().flat_map(|ids| (0..length).map(|t| if t < ids.len() { 0.0 } else { -1e9 })).collect();
        Ok(Batch {
            ids_bt: Tensor::from_vec(ids, (rows, length), &Device::Cpu)?,
            positions_bt: Tensor::from_vec(positions, (rows, length), &Device::Cpu)?,
            mask_b11t: Tensor::from_vec(mask, (rows, 1, 1, length), &Device::Cpu)?,
        })
    }
}

/// What a pass through the model does beside computing logits.
#[derive(Debug, Default)]
pub struct Pass {
    /// Training: values are dropped out.
    pub dropout: Option<Dropout>,
    /// Calibration: the smallest and largest input of each linear layer, by name.
    pub ranges: Option<BTreeMap<String, (f32, f32)>>,
}

/// Dropout with a generator of its own, so that a training run can be repeated.
#[derive(Debug)]
pub struct Dropout {
    /// Share of the values set to 0.
    pub rate: f32,
    /// Where the randomness comes from.
    pub random: Xoshiro256PlusPlus,
}

impl Pass {
    fn drop_out(&mut self, x: Tensor) -> Result<Tensor> {
        let Some(Dropout { rate, random }) = self.dropout.as_mut().filter(|dropout| dropout.rate > 0.0) else {
            return Ok(x);
        };
        let kept = 1.0 / (1.0 - *rate);
        let mask: Vec<f32> =
            (0..x.elem_count()).map(|_| if random.random::<f32>() < *rate { 0.0 } else { kept }).collect();
        &x * Tensor::from_vec(mask, x.shape(), x.device())?
    }

    fn observe(&mut self, name: &str, x: &Tensor) -> Result<()> {
        if let Some(ranges) = &mut self.ranges {
            let flat = x.flatten_all()?;
            let (low, high) = (flat.min(0)?.to_scalar::<f32>()?, flat.max(0)?.to_scalar::<f32>()?);
            let range = ranges.entry(name.to_owned()).or_insert((low, high));
            *range = (range.0.min(low), range.1.max(high));
        }
        Ok(())
    }
}

impl Roberta {
    /// A model of these parameters; errs, naming it, when one is missing or has another shape.
    pub fn new(config: Config, mut tensors: BTreeMap<String, Tensor>) -> Result<Self> {
        let mut parameters = BTreeMap::new();
        for (name, shape) in config.parameters() {
            let Some(tensor) = tensors.remove(&name) else { candle_core::bail!("parameter {name} is missing") };
            if tensor.dims() != shape {
                candle_core::bail!("parameter {name}: expected shape {shape:?}, got {:?}", tensor.dims())
            }
            parameters.insert(name, Var::from_tensor(&tensor.to_dtype(DType::F32)?)?);
        }
        Ok(Roberta { config, words_frozen: false, parameters })
    }

    /// A parameter.
    pub fn get(&self, name: &str) -> &Tensor {
        self.parameters.get(name).expect("the constructor checked every name")
    }

    /// All parameters, by name.
    pub fn parameters(&self) -> &BTreeMap<String, Var> {
        &self.parameters
    }

    /// `[texts, 2]`: the logits, in the order of [`LABELS`].
    pub fn logits(&self, batch: &Batch, pass: &mut Pass) -> Result<Tensor> {
        let hidden_btd = self.encode(batch, pass)?;
        let first_bd = pass.drop_out(hidden_btd.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?)?;
        let pooled_bd = self.linear(&first_bd, "classifier.dense", pass)?.tanh()?;
        self.linear(&pass.drop_out(pooled_bd)?, "classifier.out_proj", pass)
    }

    pub(crate) fn encode(&self, batch: &Batch, pass: &mut Pass) -> Result<Tensor> {
        let (rows, length) = batch.ids_bt.dims2()?;
        let width = self.config.hidden_size;
        let words = if self.words_frozen { self.get(WORDS).detach() } else { self.get(WORDS).clone() };
        let words_nd = words.index_select(&batch.ids_bt.flatten_all()?, 0)?;
        let positions_nd = self.get(POSITIONS).index_select(&batch.positions_bt.flatten_all()?, 0)?;
        let kind_1d = self.get(TYPES).narrow(0, 0, 1)?;
        let summed_nd = (words_nd + positions_nd)?.broadcast_add(&kind_1d)?;
        let mut x_nd = pass.drop_out(self.layer_norm(&summed_nd, EMBEDDING_NORM)?)?;
        for layer in 0..self.config.num_hidden_layers {
            let name = |part: &str| format!("{ENCODER}.{layer}.{part}");
            let attended_nd = self.attention(&x_nd, batch, layer, pass)?;
            let attended_nd = self.linear(&attended_nd, &name("attention.output.dense"), pass)?;
            x_nd = self.layer_norm(&(pass.drop_out(attended_nd)? + &x_nd)?, &name("attention.output.LayerNorm"))?;
            let inner_ni = self.linear(&x_nd, &name("intermediate.dense"), pass)?.gelu_erf()?;
            let fed_nd = self.linear(&inner_ni, &name("output.dense"), pass)?;
            x_nd = self.layer_norm(&(pass.drop_out(fed_nd)? + &x_nd)?, &name("output.LayerNorm"))?;
        }
        x_nd.reshape((rows, length, width))
    }

    fn attention(&self, x_nd: &Tensor, batch: &Batch, layer: usize, pass: &mut Pass) -> Result<Tensor> {
        let (rows, length) = batch.ids_bt.dims2()?;
        let (heads, width) = (self.config.num_attention_heads, self.config.hidden_size);
        let mut split = |part: &str| {
            self.linear(x_nd, &format!("{ENCODER}.{layer}.attention.self.{part}"), pass)?
                .reshape((rows, length, heads, width / heads))?
                .transpose(1, 2)?
                .contiguous()
        };
        let (query_bhtd, key_bhtd, value_bhtd) = (split("query")?, split("key")?, split("value")?);
        let scale = 1.0 / ((width / heads) as f64).sqrt();
        let scores_bhtt = (query_bhtd.matmul(&key_bhtd.t()?)? * scale)?.broadcast_add(&batch.mask_b11t)?;
        let weights_bhtt = pass.drop_out(candle_nn::ops::softmax(&scores_bhtt, D::Minus1)?)?;
        weights_bhtt.matmul(&value_bhtd)?.transpose(1, 2)?.contiguous()?.reshape((rows * length, width))
    }

    fn linear(&self, x_ni: &Tensor, name: &str, pass: &mut Pass) -> Result<Tensor> {
        pass.observe(name, x_ni)?;
        x_ni.matmul(&self.get(&format!("{name}.weight")).t()?)?.broadcast_add(self.get(&format!("{name}.bias")))
    }

    fn layer_norm(&self, x_nd: &Tensor, name: &str) -> Result<Tensor> {
        let centred_nd = x_nd.broadcast_sub(&x_nd.mean_keepdim(D::Minus1)?)?;
        let variance_n1 = centred_nd.sqr()?.mean_keepdim(D::Minus1)?;
        let normed_nd = centred_nd.broadcast_div(&(variance_n1 + self.config.layer_norm_eps)?.sqrt()?)?;
        normed_nd.broadcast_mul(self.get(&format!("{name}.weight")))?.broadcast_add(self.get(&format!("{name}.bias")))
    }
}
