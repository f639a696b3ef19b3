//! Drawing a token from logits.

use pulp::{Arch, NullaryFnOnce};
use serde::{Deserialize, Serialize};

use engine::exp;

/// How tokens are drawn. Training draws at temperature 1 with everything else off: anything else is off-policy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sampling {
    /// Logits are divided by it; 0 takes the most likely token.
    pub temperature: f32,
    /// Only the most likely tokens that together have this probability; 1: all.
    pub top_p: f32,
    /// Only so many of the most likely tokens; 0: all.
    pub top_k: usize,
    /// Tokens of an output, at most.
    pub max_new_tokens: usize,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling { temperature: 1.0, top_p: 1.0, top_k: 0, max_new_tokens: 64 }
    }
}

/// Draws one token. `uniform` in [0, 1) decides which; tokens that are not allowed have a logit of −∞. Returns `None` when none is allowed.
pub(crate) fn draw(arch: Arch, logits: &mut [f32], sampling: &Sampling, uniform: f64) -> Option<u32> {
    struct Weights<'a>(&'a mut [f32], f32, f32);
    impl NullaryFnOnce for Weights<'_> {
        type Output = ();
        #[inline(always)]
        fn call(self) {
            let Weights(logits, highest, scale) = self;
            for logit in logits {
                let weight = exp((*logit - highest) * scale);
                // The exponential is never quite 0.
                *logit = if weight > 1e-36 { weight } else { 0.0 };
            }
        }
    }
    // The first of several that are equally likely.
    let (best, highest) = logits
        .iter()
        .enumerate()
        .fold((0, f32::NEG_INFINITY), |best, (at, x)| if *x > best.1 { (at, *x) } else { best });
    if highest == f32::NEG_INFINITY {
        return None;
    }
    if sampling.temperature <= 0.0 {
        return Some(best as u32);
    }
    let weights = logits;
    arch.dispatch(Weights(weights, highest, 1.0 / sampling.temperature));
    let sum: f64 = weights.iter().map(|w| f64::from(*w)).sum();
    if sampling.top_p >= 1.0 && sampling.top_k == 0 {
        return Some(pick(weights.iter().copied().enumerate(), sum * uniform).unwrap_or(best) as u32);
    }
    // What lies below this is less than what top_p leaves out, even all together.
    let least = (1.0 - f64::from(sampling.top_p)).max(0.0) * sum / weights.len() as f64;
    let mut kept: Vec<(usize, f32)> =
        weights.iter().copied().enumerate().filter(|(_, w)| *w > 0.0 && f64::from(*w) >= least).collect();
    kept.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    if sampling.top_k > 0 {
        kept.truncate(sampling.top_k);
    }
    let (mut mass, mut count) = (0.0, 0);
    for (_, weight) in &kept {
        (mass, count) = (mass + f64::from(*weight), count + 1);
        if mass >= f64::from(sampling.top_p) * sum {
            break;
        }
    }
    kept.truncate(count);
    Some(pick(kept.into_iter(), mass * uniform).unwrap_or(best) as u32)
}

/// The first whose running sum exceeds `target`.
fn pick(weights: impl Iterator<Item = (usize, f32)>, target: f64) -> Option<usize> {
    let mut sum = 0.0;
    let mut last = None;
    for (at, weight) in weights {
        sum += f64::from(weight);
        if weight > 0.0 {
            last = Some(at);
            if sum > target {
                return last;
            }
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(sampling: Sampling) -> Vec<usize> {
        let mut counts = vec![0; 4];
        for i in 0..1000 {
            let mut logits = [0.5f32.ln(), 0.3f32.ln(), f32::NEG_INFINITY, 0.2f32.ln()];
            counts[draw(Arch::new(), &mut logits, &sampling, (f64::from(i) + 0.5) / 1000.0).unwrap() as usize] += 1;
        }
        counts
    }

    #[test]
    fn tokens_come_as_often_as_they_should() {
        let plain = Sampling::default();
        assert_eq!(counts(plain), [500, 300, 0, 200]);
        assert_eq!(counts(Sampling { temperature: 0.0, ..plain }), [1000, 0, 0, 0]);
        assert_eq!(counts(Sampling { top_k: 2, ..plain }), [625, 375, 0, 0]);
        assert_eq!(counts(Sampling { top_p: 0.79, ..plain }), [625, 375, 0, 0]);
        assert_eq!(counts(Sampling { top_p: 0.4, ..plain }), [1000, 0, 0, 0]);
        let hot = counts(Sampling { temperature: 2.0, ..plain });
        assert!(hot[0] < 450 && hot[3] > 230 && hot[2] == 0, "{hot:?}");
        assert_eq!(draw(Arch::new(), &mut [f32::NEG_INFINITY; 3], &plain, 0.5), None);
    }
}
