//! Softmax over items: all of them, or the target and some negatives.

use candle_core::{D, Device, Result, Tensor};

/// What hides a negative that is the target itself.
const HIDDEN: f32 = -1e9;

/// The items that targets are told from, shared by all targets: all other items for a full softmax.
#[derive(Debug, Clone, PartialEq)]
pub struct Negatives {
    /// Their numbers.
    pub items: Vec<u32>,
    /// For each, what is taken from its logit: the logarithm of how often it is drawn, for negatives that are not drawn uniformly
    /// (Bengio and Senécal 2008); empty: nothing. Targets come as often as in the data, which is no draw, so that nothing is taken from
    /// theirs.
    pub log_q: Vec<f32>,
}

/// `Σ −log(e^{s(u,t)/τ} / (e^{s(u,t)/τ} + Σ_n e^{s(u,n)/τ − log q_n}))` over the rows of `users`, `s` being the product.
/// A negative that is a row's target is hidden from it.
pub fn softmax_loss(
    users_nd: &Tensor,
    targets_nd: &Tensor,
    targets: &[u32],
    negatives_sd: &Tensor,
    negatives: &Negatives,
    temperature: f64,
) -> Result<Tensor> {
    let scale = 1.0 / temperature;
    let hit_n1 = ((users_nd * targets_nd)?.sum_keepdim(D::Minus1)? * scale)?;
    let bias: Vec<f32> = targets
        .iter()
        .flat_map(|target| {
            let of = move |(at, item): (usize, &u32)| match item == target {
                true => HIDDEN,
                false => -negatives.log_q.get(at).copied().unwrap_or(0.0),
            };
            negatives.items.iter().enumerate().map(of)
        })
        .collect();
    let bias_ns = Tensor::from_vec(bias, (targets.len(), negatives.items.len()), &Device::Cpu)?;
    let others_ns = ((users_nd.matmul(&negatives_sd.t()?)? * scale)? + bias_ns)?;
    let logits = Tensor::cat(&[&hit_n1, &others_ns], 1)?;
    let largest = logits.max_keepdim(D::Minus1)?.detach();
    let log_sum_n1 = (logits.broadcast_sub(&largest)?.exp()?.sum_keepdim(D::Minus1)?.log()? + largest)?;
    (log_sum_n1 - hit_n1)?.sum_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_formula() -> Result<()> {
        let tensor = |values: &[f32]| Tensor::from_slice(values, (values.len() / 2, 2), &Device::Cpu);
        let (users, items) = ([[1.0, 0.0], [0.6, 0.8]], [[1.0, 0.0], [0.0, 1.0], [0.8, -0.6]]);
        let targets = [0_u32, 1];
        let of = |negatives: Negatives| {
            let flat = items.concat();
            softmax_loss(&tensor(&users.concat())?, &tensor(&flat[..4])?, &targets, &tensor(&flat)?, &negatives, 0.5)?
                .to_scalar::<f32>()
        };
        for log_q in [vec![], vec![-1.0, -2.0, -0.5]] {
            let expected: f32 = (0..2)
                .map(|row| {
                    let score = |item: usize| (users[row][0] * items[item][0] + users[row][1] * items[item][1]) / 0.5;
                    let others = (0..3).filter(|item| *item != targets[row] as usize);
                    let rest: f32 = others.map(|n| (score(n) - log_q.get(n).unwrap_or(&0.0)).exp()).sum();
                    let hit = score(targets[row] as usize).exp();
                    -(hit / (hit + rest)).ln()
                })
                .sum();
            let got = of(Negatives { items: vec![0, 1, 2], log_q })?;
            assert!((got - expected).abs() < 1e-5, "{got} {expected}");
        }
        Ok(())
    }
}
