//! Learnt positions, counted from the first click that a model sees.

use candle_core::{Result, Tensor};
use nn::{Batch, Parameter, Start, Weights};

use crate::Sizes;

const POSITIONS: &str = "positions.weight";

/// `[length, D]`.
pub(crate) fn positions(sizes: &Sizes) -> Parameter {
    Parameter::new(POSITIONS, &[sizes.length, sizes.width], Start::Normal(0.02))
}

/// `x` with each place's position, `[B·T, D]`.
pub(crate) fn positioned(weights: &Weights, x_nd: &Tensor, batch: &Batch) -> Result<Tensor> {
    let (n, width) = x_nd.dims2()?;
    let positions_td = weights.get(POSITIONS).narrow(0, 0, batch.length)?;
    x_nd.reshape((batch.rows, batch.length, width))?.broadcast_add(&positions_td)?.reshape((n, width))
}
