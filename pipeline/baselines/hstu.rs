//! HSTU (Zhai et al. 2024): attention by SiLU instead of softmax, with biases for positions and times, gated.
//!
//! `x = √D·item + position`, then layers: `U, V, Q, K = SiLU(norm(x) W)`; `A = SiLU(Q K' + bias) / length`, causal;
//! `x + W_o (U ⊙ norm(A V))`. The bias of two clicks is a number for the distance of their places, and one for the bucket
//! `⌊ln(max(1, |Δt|)) / 0.301⌋` of the seconds between them. The authors count these from the time of the click that is to be told; here
//! they are counted from the click before it, for when the next click comes is not known when lists are made.

use candle_core::{Device, Result, Tensor};
use nn::{
    Batch, Dropout, Parameter, Start, Weights, heads, linear, linear_parameters, merged, select, silu, standardised,
};

use crate::Sizes;
use crate::positions::{positioned, positions};

/// Buckets of times.
const BUCKETS: usize = 129;
/// Buckets are powers of two, nearly.
const BUCKET: f64 = 0.301;

/// Its tensors, beside the articles'.
pub(crate) fn parameters(sizes: &Sizes) -> Vec<Parameter> {
    let width = sizes.width;
    let mut all = vec![positions(sizes)];
    for layer in 0..sizes.layers {
        let part = |name: &str| format!("layers.{layer}.{name}");
        all.push(Parameter::new(part("positions.bias"), &[sizes.length, 1], Start::Normal(0.02)));
        all.push(Parameter::new(part("times.bias"), &[BUCKETS, 1], Start::Normal(0.02)));
        for name in ["gate", "value", "query", "key"] {
            all.extend(linear_parameters(&part(name), width, width, false));
        }
        all.extend(linear_parameters(&part("output"), width, width, true));
    }
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
    let (rows, length) = (batch.rows, batch.length);
    let (distances, buckets) = (distances(length), buckets(batch));
    // Pointwise attention needs no more than zeros where it must not look, divided as A is.
    let seen: Vec<f32> =
        distances.iter().map(|distance| if distance.is_some() { 1.0 / sizes.length as f32 } else { 0.0 }).collect();
    let seen_tt = Tensor::from_vec(seen, (length, length), &Device::Cpu)?;
    let distances: Vec<u32> = distances.into_iter().map(Option::unwrap_or_default).collect();
    let mut x_nd = dropout.apply(&positioned(weights, x_nd, batch)?)?;
    for layer in 0..sizes.layers {
        let part = |name: &str| format!("layers.{layer}.{name}");
        let mut normed_nd = standardised(&x_nd)?;
        let project = |name: &str, of: &Tensor| silu(&linear(weights, &part(name), of)?);
        let split = |name: &str| heads(&project(name, &normed_nd)?, rows, sizes.heads);
        let (query, key, value) = (split("query")?, split("key")?, split("value")?);
        let positions_tt = select(weights.get(&part("positions.bias")), &distances)?.reshape((1, 1, length, length))?;
        let times_btt = select(weights.get(&part("times.bias")), &buckets)?.reshape((rows, 1, length, length))?;
        let bias_btt = times_btt.broadcast_add(&positions_tt)?;
        let scores_bhtt = query.matmul(&key.t()?.contiguous()?)?.broadcast_add(&bias_btt)?;
        let mut looked_nd = merged(&silu(&scores_bhtt)?.broadcast_mul(&seen_tt)?.matmul(&value)?)?;
        if layer + 1 == sizes.layers {
            for of_all in [&mut x_nd, &mut normed_nd, &mut looked_nd] {
                *of_all = select(of_all, places)?;
            }
        }
        let gated_nd = dropout.apply(&(project("gate", &normed_nd)? * standardised(&looked_nd)?)?)?;
        x_nd = (x_nd + linear(weights, &part("output"), &gated_nd)?)?;
    }
    Ok(x_nd)
}

/// `[T·T]`: how many places a click lies before another; none if it lies after it.
fn distances(length: usize) -> Vec<Option<u32>> {
    (0..length * length).map(|at| (at / length).checked_sub(at % length).map(|distance| distance as u32)).collect()
}

/// `[B·T·T]`: the buckets of the seconds between clicks.
fn buckets(batch: &Batch) -> Vec<u32> {
    let length = batch.length;
    let row = |at_s: &[i64]| -> Vec<u32> {
        let pair = |at: usize| bucket(at_s[at / length] - at_s[at % length]);
        (0..length * length).map(pair).collect()
    };
    batch.at_s.chunks(length.max(1)).flat_map(row).collect()
}

fn bucket(seconds: i64) -> u32 {
    let bucket = (seconds.unsigned_abs().max(1) as f64).ln() / BUCKET;
    (bucket as u32).min(BUCKETS as u32 - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_buckets() {
        assert_eq!([0, 1, 2, -2, 60, 3600, 86_400].map(bucket), [0, 0, 2, 2, 13, 27, 37]);
        assert_eq!(bucket(i64::MIN), 128);
        assert_eq!(distances(2), [Some(0), None, Some(1), Some(0)]);
        let batch = Batch::new(&[(vec![1, 2], vec![0, 60]), (vec![3], vec![5])]);
        assert_eq!(buckets(&batch), [0, 13, 13, 0, 0, 0, 0, 0]);
    }
}
