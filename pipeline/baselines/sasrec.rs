//! SASRec (Kang and McAuley 2018): causal self-attention over a user's clicks.
//!
//! `x = √D·item + position`, then blocks: `q = LN(x)`, `y = q + attention(q, x, x)`; `z = LN(y)`, `x = z + W₂ ReLU(W₁ z)`; a last
//! layer norm. Queries alone are normed, and both residuals add what is normed, as in the authors' code.

use candle_core::Result;
use candle_core::Tensor;
use nn::{
    Batch, Dropout, Parameter, Weights, attention, causal, heads, layer_norm, linear, linear_parameters, merged,
    norm_parameters, select,
};

use crate::Sizes;
use crate::positions::{positioned, positions};

/// Its tensors, beside the articles'.
pub(crate) fn parameters(sizes: &Sizes) -> Vec<Parameter> {
    let width = sizes.width;
    let mut all = vec![positions(sizes)];
    for layer in 0..sizes.layers {
        for norm in ["attention_norm", "feed_forward_norm"] {
            all.extend(norm_parameters(&format!("layers.{layer}.{norm}"), width));
        }
        for part in ["query", "key", "value", "inner", "outer"] {
            all.extend(linear_parameters(&format!("layers.{layer}.{part}"), width, width, true));
        }
    }
    all.extend(norm_parameters("last_norm", width));
    all
}

/// The states after the clicks at some places of `[B·T]`, `[places, D]`. The last layer looks from these alone.
pub(crate) fn states(
    weights: &Weights,
    sizes: &Sizes,
    x_nd: &Tensor,
    batch: &Batch,
    places: &[u32],
    dropout: &mut Dropout,
) -> Result<Tensor> {
    let mask_tt = causal(batch.length)?;
    let mut x_nd = dropout.apply(&positioned(weights, x_nd, batch)?)?;
    for layer in 0..sizes.layers {
        let part = |name: &str| format!("layers.{layer}.{name}");
        let split = |x: &Tensor, name: &str| heads(&linear(weights, &part(name), x)?, batch.rows, sizes.heads);
        let query_nd = layer_norm(weights, &part("attention_norm"), &x_nd)?;
        let (query, key, value) = (split(&query_nd, "query")?, split(&x_nd, "key")?, split(&x_nd, "value")?);
        let seen_nd = merged(&attention(&query, &key, &value, &mask_tt, dropout)?)?;
        let last = layer + 1 == sizes.layers;
        let y_nd = if last { (select(&query_nd, places)? + select(&seen_nd, places)?)? } else { (query_nd + seen_nd)? };
        let z_nd = layer_norm(weights, &part("feed_forward_norm"), &y_nd)?;
        let inner_nd = dropout.apply(&linear(weights, &part("inner"), &z_nd)?.relu()?)?;
        x_nd = (&z_nd + dropout.apply(&linear(weights, &part("outer"), &inner_nd)?)?)?;
    }
    layer_norm(weights, "last_norm", &x_nd)
}
