//! GRU: a user is the last state of a recurrent network over what they read (Okura et al. 2017; Hidasi et al. 2016 of ids).
//!
//! Okura's articles are a denoising autoencoder's; here they are what they are to every model of this crate, so that models differ in how
//! they see users alone.

use candle_core::{Result, Tensor};
use nn::{Batch, Dropout, Parameter, Weights, gru, gru_gates, gru_parameters, linear, linear_parameters, select};

use crate::Sizes;

/// Its tensors, beside the articles'.
pub(crate) fn parameters(sizes: &Sizes) -> Vec<Parameter> {
    let layer = |layer: usize| gru_parameters(&format!("layers.{layer}"), sizes.width, sizes.width);
    (0..sizes.layers).flat_map(layer).chain(linear_parameters("output", sizes.width, sizes.width, true)).collect()
}

/// `[n, 3·D]`: what articles, `[n, D]`, say to the first layer's gates.
pub(crate) fn gates(weights: &Weights, x_nd: &Tensor) -> Result<Tensor> {
    gru_gates(weights, "layers.0", x_nd)
}

/// The states after the clicks at some places of `[B·T]`, `[places, D]`, from what the clicked articles say to the first layer's gates.
pub(crate) fn states(
    weights: &Weights,
    sizes: &Sizes,
    gates_ng: &Tensor,
    batch: &Batch,
    places: &[u32],
    dropout: &mut Dropout,
) -> Result<Tensor> {
    let mut x_nd = gru(weights, "layers.0", gates_ng, batch.rows)?;
    for layer in (1..sizes.layers).map(|layer| format!("layers.{layer}")) {
        x_nd = gru(weights, &layer, &gru_gates(weights, &layer, &dropout.apply(&x_nd)?)?, batch.rows)?;
    }
    linear(weights, "output", &dropout.apply(&select(&x_nd, places)?)?)
}
