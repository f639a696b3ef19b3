//! Layers: linear, norms, attention, dropout.

use candle_core::{D, Device, Result, Tensor};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::{Parameter, Start, Weights};

/// Added to variances before their roots are taken.
const EPSILON: f64 = 1e-6;
/// What keeps a place from being looked at.
const NEVER: f32 = -1e9;

/// Dropout: values are set to 0, the others scaled up. Which ones follows from the seed alone.
#[derive(Debug)]
pub struct Dropout {
    rate: f32,
    random: Option<Xoshiro256PlusPlus>,
}

impl Dropout {
    /// Of a share of the values.
    pub fn new(rate: f64, seed: u64) -> Self {
        Dropout { rate: rate as f32, random: (rate > 0.0).then(|| Xoshiro256PlusPlus::seed_from_u64(seed)) }
    }

    /// Of none.
    pub fn off() -> Self {
        Dropout { rate: 0.0, random: None }
    }

    /// Drops some of the values.
    pub fn apply(&mut self, x: &Tensor) -> Result<Tensor> {
        let Some(random) = &mut self.random else { return Ok(x.clone()) };
        let (rate, kept) = (self.rate, 1.0 / (1.0 - self.rate));
        let mask: Vec<f32> =
            (0..x.elem_count()).map(|_| if random.random::<f32>() < rate { 0.0 } else { kept }).collect();
        x * Tensor::from_vec(mask, x.shape(), x.device())?
    }
}

/// `name.weight [out, in]`, normal with deviation `1/√in`, and if wanted `name.bias [out]`, 0.
pub fn linear_parameters(name: &str, out: usize, inner: usize, bias: bool) -> Vec<Parameter> {
    let start = Start::Normal(1.0 / (inner as f64).sqrt());
    let weight = Parameter::new(format!("{name}.weight"), &[out, inner], start);
    let bias = bias.then(|| Parameter::new(format!("{name}.bias"), &[out], Start::Zeros));
    std::iter::once(weight).chain(bias).collect()
}

/// `x W' + b`, rows by rows; without a bias if the model has none.
pub fn linear(weights: &Weights, name: &str, x_ni: &Tensor) -> Result<Tensor> {
    let y_no = x_ni.matmul(&weights.get(&format!("{name}.weight")).t()?)?;
    match weights.find(&format!("{name}.bias")) {
        Some(bias) => y_no.broadcast_add(bias),
        None => Ok(y_no),
    }
}

/// `name.weight` and `name.bias` of a layer norm; `name` ends in `norm`.
pub fn norm_parameters(name: &str, width: usize) -> [Parameter; 2] {
    let parameter = |kind: &str, start| Parameter::new(format!("{name}.{kind}"), &[width], start);
    [parameter("weight", Start::Ones), parameter("bias", Start::Zeros)]
}

/// Layer norm (Ba et al. 2016) of each row, with weight and bias.
pub fn layer_norm(weights: &Weights, name: &str, x_nd: &Tensor) -> Result<Tensor> {
    let scaled = standardised(x_nd)?.broadcast_mul(weights.get(&format!("{name}.weight")))?;
    scaled.broadcast_add(weights.get(&format!("{name}.bias")))
}

/// Each row with mean 0 and deviation 1: a layer norm without weights.
pub fn standardised(x_nd: &Tensor) -> Result<Tensor> {
    let centred = x_nd.broadcast_sub(&x_nd.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(variance + EPSILON)?.sqrt()?)
}

/// Each row at length 1.
pub fn unit_length(x_nd: &Tensor) -> Result<Tensor> {
    x_nd.broadcast_div(&(x_nd.sqr()?.sum_keepdim(D::Minus1)? + 1e-12)?.sqrt()?)
}

/// `x σ(x)`.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    x / (x.neg()?.exp()? + 1.0)?
}

/// Softmax over the last dimension.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    let exponentials = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?.exp()?;
    exponentials.broadcast_div(&exponentials.sum_keepdim(D::Minus1)?)
}

/// `[T, T]`: 0 where a place may look, at itself and before, and very negative after it.
pub fn causal(length: usize) -> Result<Tensor> {
    let mask: Vec<f32> = (0..length * length).map(|at| if at % length <= at / length { 0.0 } else { NEVER }).collect();
    Tensor::from_vec(mask, (length, length), &Device::Cpu)
}

/// `[B·T, H·E]` as `[B, H, T, E]`.
pub fn heads(x_nd: &Tensor, rows: usize, heads: usize) -> Result<Tensor> {
    let (n, width) = x_nd.dims2()?;
    x_nd.reshape((rows, n / rows.max(1), heads, width / heads))?.transpose(1, 2)?.contiguous()
}

/// `[B, H, T, E]` as `[B·T, H·E]`.
pub fn merged(x_bhte: &Tensor) -> Result<Tensor> {
    let (rows, heads, length, width) = x_bhte.dims4()?;
    x_bhte.transpose(1, 2)?.contiguous()?.reshape((rows * length, heads * width))
}

/// Attention (Vaswani et al. 2017): `softmax(Q K' / √E + mask) V`, all `[B, H, T, E]`, the weights under dropout.
pub fn attention(
    query_bhte: &Tensor,
    key_bhte: &Tensor,
    value_bhte: &Tensor,
    mask_tt: &Tensor,
    dropout: &mut Dropout,
) -> Result<Tensor> {
    let scale = 1.0 / (query_bhte.dim(D::Minus1)? as f64).sqrt();
    let scores_bhtt = (query_bhte.matmul(&key_bhte.t()?.contiguous()?)? * scale)?.broadcast_add(mask_tt)?;
    dropout.apply(&softmax(&scores_bhtt)?)?.matmul(value_bhte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropout_follows_from_its_seed_and_keeps_the_mean() -> Result<()> {
        let x = Tensor::ones((100, 100), candle_core::DType::F32, &Device::Cpu)?;
        let dropped = |seed| Dropout::new(0.25, seed).apply(&x)?.flatten_all()?.to_vec1::<f32>();
        assert_eq!(dropped(1)?, dropped(1)?);
        assert_ne!(dropped(1)?, dropped(2)?);
        let values = dropped(3)?;
        assert!((values.iter().sum::<f32>() / 10_000.0 - 1.0).abs() < 0.03);
        assert!(values.iter().all(|x| *x == 0.0 || (*x - 4.0 / 3.0).abs() < 1e-6));
        assert_eq!(Dropout::off().apply(&x)?.sum_all()?.to_scalar::<f32>()?, 10_000.0);
        Ok(())
    }

    #[test]
    fn a_place_sees_nothing_after_it() -> Result<()> {
        let random = |shift: f32| {
            let values: Vec<f32> =
                (0..24).map(|at| (at as f32 * 1.7 + if at >= 20 { shift } else { 0.0 }).sin()).collect();
            Tensor::from_vec(values, (6, 4), &Device::Cpu).and_then(|x| heads(&x, 1, 2))
        };
        let seen = |shift| {
            let x = random(shift)?;
            merged(&attention(&x, &x, &x, &causal(6)?, &mut Dropout::off())?)?.to_vec2::<f32>()
        };
        let (a, b) = (seen(0.0)?, seen(1.0)?);
        assert_eq!(a[..5], b[..5]);
        assert_ne!(a[5], b[5]);
        Ok(())
    }
}
