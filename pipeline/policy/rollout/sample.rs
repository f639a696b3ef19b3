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
    /// Only the most likely tokens that together have this probability, of those that `top_k` leaves; 1: all.
    pub top_p: f32,
    /// Only so many of the most likely tokens, and those as likely as the last of them; 0: all.
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
    let mut kept: Vec<(usize, f32)> = weights.iter().copied().enumerate().filter(|(_, w)| *w > 0.0).collect();
    let mut sum = sum;
    if sampling.top_k > 0 && sampling.top_k < kept.len() {
        let (.., last) = *kept.select_nth_unstable_by(sampling.top_k - 1, |a, b| b.1.total_cmp(&a.1)).1;
        kept.retain(|(_, weight)| *weight >= last);
        kept.sort_unstable_by_key(|(at, _)| *at);
        // As transformers and vLLM have it: what is left is renormalised before top_p.
        sum = kept.iter().map(|(_, weight)| f64::from(*weight)).sum();
    }
    let top_p = f64::from(sampling.top_p);
    // What lies below this is less than what top_p leaves out, even all together.
    let least = (1.0 - top_p).max(0.0) * sum / weights.len() as f64;
    kept.retain(|(_, weight)| f64::from(*weight) >= least);
    kept.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let (mut mass, mut count) = (0.0, 0);
    for (_, weight) in &kept {
        (mass, count) = (mass + f64::from(*weight), count + 1);
        if mass >= top_p * sum {
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

    /// transformers' TopKLogitsWarper and TopPLogitsWarper, one after the other: what is not removed.
    fn kept_by_transformers(logits: &[f32], top_k: usize, top_p: f32) -> Vec<bool> {
        let mut descending = logits.to_vec();
        descending.sort_unstable_by(|a, b| b.total_cmp(a));
        let least = if top_k > 0 { descending[top_k.min(logits.len()) - 1] } else { f32::NEG_INFINITY };
        let weights: Vec<f64> = logits.iter().map(|x| if *x >= least { f64::from(*x).exp() } else { 0.0 }).collect();
        let sum: f64 = weights.iter().sum();
        let above = |w: f64| weights.iter().filter(|other| **other > w).sum::<f64>() / sum;
        weights.iter().map(|w| *w > 0.0 && (above(*w) < f64::from(top_p) || top_p >= 1.0)).collect()
    }

    proptest::proptest! {
        #[test]
        fn top_k_then_top_p_keep_what_transformers_keeps(
            // Distinct, and far enough apart that rounding decides nothing.
            order in proptest::sample::subsequence((-40..40).collect::<Vec<i32>>(), 1..24),
            turn in 0usize..24, top_k in 0usize..12, top_p in 0.05f32..1.0,
        ) {
            let mut logits: Vec<f32> = order.iter().map(|x| *x as f32 * 0.11).collect();
            let places = logits.len();
            logits.rotate_left(turn % places);
            let sampling = Sampling { top_k, top_p, ..Sampling::default() };
            let mut drawn = vec![false; places];
            for i in 0..4000 {
                let token = draw(Arch::new(), &mut logits.clone(), &sampling, (f64::from(i) + 0.5) / 4000.0).unwrap();
                drawn[token as usize] = true;
            }
            let kept = kept_by_transformers(&logits, top_k, top_p);
            // A token that is kept may be too unlikely to be drawn; one that is not kept is never drawn, and the likely ones are.
            let sum: f32 = logits.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(x, _)| x.exp()).sum();
            for (token, kept) in kept.iter().enumerate() {
                proptest::prop_assert!(*kept || !drawn[token]);
                proptest::prop_assert!(!*kept || drawn[token] || logits[token].exp() / sum < 1e-3);
            }
        }
    }

    #[test]
    fn tokens_come_as_often_as_they_should() {
        let plain = Sampling::default();
        assert_eq!(counts(plain), [500, 300, 0, 200]);
        assert_eq!(counts(Sampling { temperature: 0.0, ..plain }), [1000, 0, 0, 0]);
        assert_eq!(counts(Sampling { top_k: 2, ..plain }), [625, 375, 0, 0]);
        assert_eq!(counts(Sampling { top_p: 0.79, ..plain }), [625, 375, 0, 0]);
        assert_eq!(counts(Sampling { top_p: 0.4, ..plain }), [1000, 0, 0, 0]);
        // Of the two that top_k leaves, the first has 0.625.
        assert_eq!(counts(Sampling { top_k: 2, top_p: 0.6, ..plain }), [1000, 0, 0, 0]);
        assert_eq!(counts(Sampling { top_k: 2, top_p: 0.63, ..plain }), [625, 375, 0, 0]);
        let hot = counts(Sampling { temperature: 2.0, ..plain });
        assert!(hot[0] < 450 && hot[3] > 230 && hot[2] == 0, "{hot:?}");
        assert_eq!(draw(Arch::new(), &mut [f32::NEG_INFINITY; 3], &plain, 0.5), None);
    }
}
