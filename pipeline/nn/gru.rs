//! The gated recurrent unit (Cho et al. 2014), with its gates as PyTorch has them.

use candle_core::{Result, Tensor};

use crate::{Parameter, Weights, linear, linear_parameters};

/// `name.input` and `name.hidden`, each `[3·D, ..]` in the order reset, update, new.
pub fn gru_parameters(name: &str, width: usize, inner: usize) -> Vec<Parameter> {
    let parts = [("input", inner), ("hidden", width)];
    parts
        .iter()
        .flat_map(|(part, inner)| linear_parameters(&format!("{name}.{part}"), 3 * width, *inner, true))
        .collect()
}

/// The states after each place, `[B·T, D]`, from `[B·T, I]`; the state before the first is 0.
///
/// `r = σ(W_r x + U_r h)`, `z = σ(W_z x + U_z h)`, `n = tanh(W_n x + r ⊙ U_n h)`, `h' = (1 − z) ⊙ n + z ⊙ h`, with biases.
pub fn gru(weights: &Weights, name: &str, x_ni: &Tensor, rows: usize) -> Result<Tensor> {
    let from_x_ng = linear(weights, &format!("{name}.input"), x_ni)?;
    let (n, gates) = from_x_ng.dims2()?;
    let (length, width) = (n / rows.max(1), gates / 3);
    let from_x_btg = from_x_ng.reshape((rows, length, gates))?;
    let mut state_bd = Tensor::zeros((rows, width), x_ni.dtype(), x_ni.device())?;
    let mut states = Vec::with_capacity(length);
    for place in 0..length {
        let x_bg = from_x_btg.narrow(1, place, 1)?.squeeze(1)?;
        let h_bg = linear(weights, &format!("{name}.hidden"), &state_bd)?;
        let [x_reset, x_update, x_new] = thirds(&x_bg, width)?;
        let [h_reset, h_update, h_new] = thirds(&h_bg, width)?;
        let reset_bd = sigmoid(&(x_reset + h_reset)?)?;
        let update_bd = sigmoid(&(x_update + h_update)?)?;
        let new_bd = (x_new + (reset_bd * h_new)?)?.tanh()?;
        // (1 - z) n + z h
        state_bd = (&new_bd + (update_bd * (&state_bd - &new_bd)?)?)?;
        states.push(state_bd.clone());
    }
    Tensor::stack(&states, 1)?.reshape((n, width))
}

fn thirds(x_bg: &Tensor, width: usize) -> Result<[Tensor; 3]> {
    Ok([x_bg.narrow(1, 0, width)?, x_bg.narrow(1, width, width)?, x_bg.narrow(1, 2 * width, width)?])
}

fn sigmoid(x: &Tensor) -> Result<Tensor> {
    (x.neg()?.exp()? + 1.0)?.recip()
}
