//! The gated recurrent unit (Cho et al. 2014), with its gates as PyTorch has them.
//!
//! All places of a layer are one operation with a backward of its own: composed of candle's, a place would be fourteen of them, and the way
//! back would write the gradient of all places' inputs once for each place.

use candle_core::{CpuStorage, CustomOp3, DType, Device, Layout, Result, Shape, Tensor, bail};
use engine::exp;
use pulp::{Arch, NullaryFnOnce};

use crate::{Parameter, Weights, linear, linear_parameters};

/// `name.input` and `name.hidden`, each `[3·D, ..]` in the order reset, update, new.
pub fn gru_parameters(name: &str, width: usize, inner: usize) -> Vec<Parameter> {
    let parts = [("input", inner), ("hidden", width)];
    parts
        .iter()
        .flat_map(|(part, inner)| linear_parameters(&format!("{name}.{part}"), 3 * width, *inner, true))
        .collect()
}

/// What inputs say to the gates, `[N, 3·D]`, from `[N, I]`: `W_r x`, `W_z x`, `W_n x`, with biases.
pub fn gru_gates(weights: &Weights, name: &str, x_ni: &Tensor) -> Result<Tensor> {
    linear(weights, &format!("{name}.input"), x_ni)
}

/// The states after each place, `[B·T, D]`, from what the inputs say to the gates, `[B·T, 3·D]` ([`gru_gates`]); the state before the first is 0.
///
/// `r = σ(W_r x + U_r h)`, `z = σ(W_z x + U_z h)`, `n = tanh(W_n x + r ⊙ U_n h)`, `h' = (1 − z) ⊙ n + z ⊙ h`, with biases.
pub fn gru(weights: &Weights, name: &str, from_x_ng: &Tensor, rows: usize) -> Result<Tensor> {
    let (n, gates) = from_x_ng.dims2()?;
    let from_x_btg = from_x_ng.reshape((rows, n / rows.max(1), gates))?;
    let hidden = |part: &str| weights.get(&format!("{name}.hidden.{part}"));
    from_x_btg.apply_op3(hidden("weight"), hidden("bias"), Recurrence)?.reshape((n, gates / 3))
}

/// `[B, T, 3·D]` gates from the inputs, `[3·D, D]` weights and `[3·D]` bias of the states before, to states `[B, T, D]`.
struct Recurrence;

impl CustomOp3 for Recurrence {
    fn name(&self) -> &'static str {
        "gru"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, length, gates) = x_layout.shape().dims3()?;
        let width = gates / 3;
        let (x, bias) = (contiguous(x, x_layout)?, contiguous(bias, bias_layout)?);
        let weight_gd = Tensor::from_slice(contiguous(weight, weight_layout)?, (gates, width), &Device::Cpu)?;
        let weight_dg = weight_gd.t()?;
        let arch = Arch::new();
        let (mut states, mut new) = (vec![0.0; rows * length * width], vec![0.0; width]);
        let mut state_bd = Tensor::zeros((rows, width), DType::F32, weight_gd.device())?;
        for place in 0..length {
            let mut opened = flat(&state_bd.matmul(&weight_dg)?)?;
            let mut state = flat(&state_bd)?;
            let each = state.chunks_exact_mut(width).zip(opened.chunks_exact_mut(gates));
            for (row, (state, gates)) in each.enumerate() {
                let at = row * length + place;
                let x = &x[at * gates.len()..][..gates.len()];
                arch.dispatch(Forward { x, bias, gates, new: &mut new, state });
                states[at * width..][..width].copy_from_slice(state);
            }
            state_bd = Tensor::from_vec(state, (rows, width), weight_gd.device())?;
        }
        Ok((CpuStorage::F32(states), Shape::from((rows, length, width))))
    }

    /// Through places from the last to the first: `dh` of a place is what comes from above and from the place after it.
    fn bwd(
        &self,
        x_btg: &Tensor,
        weight_gd: &Tensor,
        bias_g: &Tensor,
        states_btd: &Tensor,
        d_states_btd: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (rows, length, gates) = x_btg.dims3()?;
        let (width, device) = (gates / 3, x_btg.device());
        let (arch, weight_gd) = (Arch::new(), weight_gd.detach());
        let (x, bias, d_states) = (flat(x_btg)?, flat(bias_g)?, flat(d_states_btd)?);
        // The states before each place.
        let mut before = vec![0.0; rows * length * width];
        for (before, states) in
            before.chunks_exact_mut(length * width).zip(flat(states_btd)?.chunks_exact(length * width))
        {
            before[width..].copy_from_slice(&states[..(length - 1) * width]);
        }
        let before_nd = Tensor::from_slice(&before, (rows * length, width), device)?;
        let mut opened = flat(&before_nd.matmul(&weight_gd.t()?)?)?;
        let (mut d_x, mut d_from_states) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        let (mut d_state, mut new) = (vec![0.0; rows * width], vec![0.0; width]);
        for place in (0..length).rev() {
            let mut d_gates = Vec::with_capacity(rows * gates);
            for (row, d_state) in d_state.chunks_exact_mut(width).enumerate() {
                let at = row * length + place;
                let (of_gates, of_state) = (at * gates..(at + 1) * gates, at * width..(at + 1) * width);
                arch.dispatch(Backward {
                    x: &x[of_gates.clone()],
                    bias: &bias,
                    gates: &mut opened[of_gates.clone()],
                    new: &mut new,
                    before: &before[of_state.clone()],
                    from_above: &d_states[of_state],
                    d_state,
                    d_x: &mut d_x[of_gates.clone()],
                    d_h: &mut d_from_states[of_gates.clone()],
                });
                d_gates.extend_from_slice(&d_from_states[of_gates]);
            }
            let through_weight = flat(&Tensor::from_vec(d_gates, (rows, gates), device)?.matmul(&weight_gd)?)?;
            d_state.iter_mut().zip(through_weight).for_each(|(to, more)| *to += more);
        }
        let d_from_states_ng = Tensor::from_vec(d_from_states, (rows * length, gates), device)?;
        let d_weight_gd = d_from_states_ng.t()?.matmul(&before_nd)?;
        let d_x_btg = Tensor::from_vec(d_x, (rows, length, gates), device)?;
        Ok((Some(d_x_btg), Some(d_weight_gd), Some(d_from_states_ng.sum(0)?)))
    }
}

/// One row at one place: `state` becomes the state after it. Scratch for the gates, `gates [3·D]` and `new [D]`, the former as they come from
/// the state before.
struct Forward<'a> {
    x: &'a [f32],
    bias: &'a [f32],
    gates: &'a mut [f32],
    new: &'a mut [f32],
    state: &'a mut [f32],
}

impl NullaryFnOnce for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Forward { x, bias, gates, new, state } = self;
        open(x, bias, gates, new);
        let [_, update, _] = thirds(gates);
        for ((state, update), new) in state.iter_mut().zip(update).zip(new) {
            *state = *new + update * (*state - *new);
        }
    }
}

/// One row at one place: `d_state`, the gradient of the state after it but for what comes from above, becomes that of the state before it but
/// for what comes through the gates. Scratch as in [`Forward`].
struct Backward<'a> {
    x: &'a [f32],
    bias: &'a [f32],
    gates: &'a mut [f32],
    new: &'a mut [f32],
    before: &'a [f32],
    from_above: &'a [f32],
    d_state: &'a mut [f32],
    d_x: &'a mut [f32],
    d_h: &'a mut [f32],
}

impl NullaryFnOnce for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Backward { x, bias, gates, new, before, from_above, d_state, d_x, d_h } = self;
        open(x, bias, gates, new);
        let [reset, update, to_new] = thirds(gates);
        let [d_reset, d_update, d_new] = thirds_mut(d_x);
        for (d, above) in d_state.iter_mut().zip(from_above) {
            *d += above;
        }
        for (((to, d), update), new) in d_new.iter_mut().zip(&*d_state).zip(update).zip(&*new) {
            *to = d * (1.0 - update) * (1.0 - new * new);
        }
        for ((((to, d), before), new), update) in d_update.iter_mut().zip(&*d_state).zip(before).zip(&*new).zip(update)
        {
            *to = d * (before - new) * update * (1.0 - update);
        }
        for (((to, d_new), to_new), reset) in d_reset.iter_mut().zip(&*d_new).zip(to_new).zip(reset) {
            *to = d_new * to_new * reset * (1.0 - reset);
        }
        for (d, update) in d_state.iter_mut().zip(update) {
            *d *= update;
        }
        d_h.copy_from_slice(d_x);
        let [_, _, d_h_new] = thirds_mut(d_h);
        for (d, reset) in d_h_new.iter_mut().zip(reset) {
            *d *= reset;
        }
    }
}

/// Opens the gates: `gates`, which come from the state before, become reset, update and what the state says to the new one.
#[inline(always)]
fn open(x: &[f32], bias: &[f32], gates: &mut [f32], new: &mut [f32]) {
    let both = 2 * new.len();
    for ((gate, x), bias) in gates[..both].iter_mut().zip(x).zip(bias) {
        *gate = sigmoid(x + (*gate + bias));
    }
    let [reset, _, to_new] = thirds_mut(gates);
    for ((((new, to_new), reset), x), bias) in new.iter_mut().zip(to_new).zip(reset).zip(&x[both..]).zip(&bias[both..])
    {
        *to_new += bias;
        // tanh
        *new = 2.0 * sigmoid(2.0 * (x + *reset * *to_new)) - 1.0;
    }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
fn thirds(gates: &[f32]) -> [&[f32]; 3] {
    let width = gates.len() / 3;
    [&gates[..width], &gates[width..2 * width], &gates[2 * width..]]
}

#[inline(always)]
fn thirds_mut(gates: &mut [f32]) -> [&mut [f32]; 3] {
    let (reset, rest) = gates.split_at_mut(gates.len() / 3);
    let (update, new) = rest.split_at_mut(rest.len() / 2);
    [reset, update, new]
}

fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&storage.as_slice::<f32>()?[from..to]),
        None => bail!("gru: {layout:?} is not contiguous"),
    }
}

fn flat(x: &Tensor) -> Result<Vec<f32>> {
    x.flatten_all()?.to_vec1()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Start;

    /// The same of candle's operations.
    fn composed(x_btg: &Tensor, weight_gd: &Tensor, bias_g: &Tensor) -> Result<Tensor> {
        let (rows, length, gates) = x_btg.dims3()?;
        let width = gates / 3;
        let sigmoid = |x: Tensor| (x.neg()?.exp()? + 1.0)?.recip();
        let mut state = Tensor::zeros((rows, width), x_btg.dtype(), x_btg.device())?;
        let mut states = Vec::new();
        for place in 0..length {
            let x = x_btg.narrow(1, place, 1)?.squeeze(1)?;
            let h = state.matmul(&weight_gd.t()?)?.broadcast_add(bias_g)?;
            let third = |of: &Tensor, part: usize| of.narrow(1, part * width, width);
            let reset = sigmoid((third(&x, 0)? + third(&h, 0)?)?)?;
            let update = sigmoid((third(&x, 1)? + third(&h, 1)?)?)?;
            let new = (third(&x, 2)? + (reset * third(&h, 2)?)?)?.tanh()?;
            state = (&new + (update * (&state - &new)?)?)?;
            states.push(state.clone());
        }
        Tensor::stack(&states, 1)
    }

    #[test]
    fn it_is_the_composed_one_forwards_and_backwards() -> Result<()> {
        for (rows, length, width) in [(1, 1, 1), (3, 1, 5), (2, 7, 16), (5, 12, 21)] {
            let parameter = |name: &str, shape: &[usize]| Parameter::new(name, shape, Start::Normal(1.0));
            let parameters = [
                parameter("x", &[rows, length, 3 * width]),
                parameter("weight", &[3 * width, width]),
                parameter("bias", &[3 * width]),
                parameter("above", &[rows, length, width]),
            ];
            let random = Weights::random(&parameters, width as u64)?;
            let [x, weight, bias, above] = ["x", "weight", "bias", "above"].map(|name| random.get(name));
            let gradients = |states: &Tensor| -> Result<_> {
                let store = (states * above)?.sum_all()?.backward()?;
                let of = |tensor: &Tensor| flat(store.get(tensor).expect("a gradient"));
                Ok([flat(states)?, of(x)?, of(weight)?, of(bias)?])
            };
            let ours = gradients(&x.apply_op3(weight, bias, Recurrence)?)?;
            for (ours, theirs) in ours.iter().zip(gradients(&composed(x, weight, bias)?)?) {
                let largest = theirs.iter().fold(1.0_f32, |most, x| most.max(x.abs()));
                let apart = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(ours.len() == theirs.len() && apart < 1e-5 * largest, "{apart} of {largest}");
            }
        }
        Ok(())
    }
}
