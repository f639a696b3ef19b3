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

/// Numbers that are looked at together.
const LANES: usize = 16;

/// What drawing needs room for, used again from one output to the next.
#[derive(Debug, Default)]
pub(super) struct Drawer {
    /// Logits, without what is not allowed.
    masked: Vec<f32>,
    weights: Vec<f32>,
    kept: Vec<(usize, f32)>,
}

impl Drawer {
    /// Takes these logits, without those of tokens that are not allowed.
    pub(super) fn mask(&mut self, arch: Arch, logits: &[f32], allowed: &[bool]) {
        struct Mask<'a>(&'a mut Vec<f32>, &'a [f32], &'a [bool]);
        impl NullaryFnOnce for Mask<'_> {
            type Output = ();
            #[inline(always)]
            fn call(self) {
                let Mask(masked, logits, allowed) = self;
                let one = |(logit, allowed): (&f32, &bool)| if *allowed { *logit } else { f32::NEG_INFINITY };
                masked.clear();
                masked.extend(logits.iter().zip(allowed).map(one));
                // Rows of logits may have more than there are tokens.
                masked.resize(logits.len(), f32::NEG_INFINITY);
            }
        }
        arch.dispatch(Mask(&mut self.masked, logits, allowed));
    }

    /// Takes away all tokens but these, which may be more than there are logits.
    pub(super) fn keep(&mut self, tokens: &[u32]) {
        let left = tokens.iter().filter_map(|token| Some((*token as usize, *self.masked.get(*token as usize)?)));
        let left: Vec<(usize, f32)> = left.collect();
        self.masked.fill(f32::NEG_INFINITY);
        left.into_iter().for_each(|(token, logit)| self.masked[token] = logit);
    }

    /// Takes away one token.
    pub(super) fn forbid(&mut self, token: u32) {
        self.masked[token as usize] = f32::NEG_INFINITY;
    }

    /// Draws one of the tokens that are left; `None` when none is. `uniform` in [0, 1) decides which.
    pub(super) fn draw_masked(&mut self, arch: Arch, sampling: &Sampling, uniform: f64) -> Option<u32> {
        let masked = std::mem::take(&mut self.masked);
        let drawn = self.draw(arch, &masked, sampling, uniform);
        self.masked = masked;
        drawn
    }

    /// Draws one token; those with a logit of −∞ are not allowed.
    pub(super) fn draw(&mut self, arch: Arch, logits: &[f32], sampling: &Sampling, uniform: f64) -> Option<u32> {
        let highest = highest(arch, logits);
        if highest == f32::NEG_INFINITY {
            return None;
        }
        // The first of several that are equally likely.
        let best = || logits.iter().position(|logit| *logit == highest);
        if sampling.temperature <= 0.0 {
            return best().map(|token| token as u32);
        }
        let Drawer { weights, kept, .. } = self;
        let mut sum = arch.dispatch(Weigh { logits, weights, highest, scale: 1.0 / sampling.temperature });
        if sampling.top_p >= 1.0 && sampling.top_k == 0 {
            return pick(weights.iter().copied().enumerate(), sum * uniform).or_else(best).map(|token| token as u32);
        }
        let top_p = f64::from(sampling.top_p);
        // What lies below this is less than what top_p leaves out, even all together.
        let least = |sum: f64| (1.0 - top_p).max(0.0) * sum / weights.len() as f64;
        if sampling.top_k == 0 {
            above(arch, weights, least(sum), kept);
        } else {
            above(arch, weights, f64::from(f32::MIN_POSITIVE), kept);
            if sampling.top_k < kept.len() {
                let (.., last) = *kept.select_nth_unstable_by(sampling.top_k - 1, |a, b| b.1.total_cmp(&a.1)).1;
                kept.retain(|(_, weight)| *weight >= last);
                kept.sort_unstable_by_key(|(at, _)| *at);
                // As transformers and vLLM have it: what is left is renormalised before top_p.
                sum = kept.iter().map(|(_, weight)| f64::from(*weight)).sum();
            }
            let least = least(sum);
            kept.retain(|(_, weight)| f64::from(*weight) >= least);
        }
        kept.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let (mut mass, mut count) = (0.0, 0);
        for (_, weight) in kept.iter() {
            (mass, count) = (mass + f64::from(*weight), count + 1);
            if mass >= top_p * sum {
                break;
            }
        }
        pick(kept[..count].iter().copied(), mass * uniform).or_else(best).map(|token| token as u32)
    }
}

/// The largest logit; +∞ if there is one of these, or NaN.
pub(super) fn highest(arch: Arch, logits: &[f32]) -> f32 {
    struct Highest<'a>(&'a [f32]);
    impl NullaryFnOnce for Highest<'_> {
        type Output = f32;
        #[inline(always)]
        fn call(self) -> f32 {
            let number = |x: f32| if x < f32::INFINITY { x } else { f32::INFINITY };
            let larger = |a: f32, b: f32| if a > b { a } else { b };
            let mut lanes = [f32::NEG_INFINITY; LANES];
            let (chunks, rest) = self.0.as_chunks::<LANES>();
            for chunk in chunks {
                for lane in 0..LANES {
                    lanes[lane] = larger(lanes[lane], number(chunk[lane]));
                }
            }
            lanes.into_iter().chain(rest.iter().map(|x| number(*x))).fold(f32::NEG_INFINITY, larger)
        }
    }
    arch.dispatch(Highest(logits))
}

/// `e^((logit - highest)·scale)` of each; returns their sum.
struct Weigh<'a> {
    logits: &'a [f32],
    weights: &'a mut Vec<f32>,
    highest: f32,
    scale: f32,
}

impl NullaryFnOnce for Weigh<'_> {
    type Output = f64;

    #[inline(always)]
    fn call(self) -> f64 {
        let Weigh { logits, weights, highest, scale } = self;
        weights.clear();
        weights.extend(logits.iter().map(|logit| {
            let weight = exp((*logit - highest) * scale);
            // The exponential is never quite 0.
            if weight > 1e-36 { weight } else { 0.0 }
        }));
        let mut lanes = [0.0_f64; LANES];
        let (chunks, rest) = weights.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                lanes[lane] += f64::from(chunk[lane]);
            }
        }
        lanes.into_iter().chain(rest.iter().map(|weight| f64::from(*weight))).sum()
    }
}

/// The places of weights that are not below `least`, which is above 0, in order.
fn above(arch: Arch, weights: &[f32], least: f64, kept: &mut Vec<(usize, f32)>) {
    struct Above<'a>(&'a [f32], f64, &'a mut Vec<(usize, f32)>);
    impl NullaryFnOnce for Above<'_> {
        type Output = ();
        #[inline(always)]
        fn call(self) {
            let Above(weights, least, kept) = self;
            kept.clear();
            // Most weights are far below: many are told at once from one that is not.
            let low = (least * (1.0 - 1e-6)) as f32;
            for (from, chunk) in (0..).step_by(4 * LANES).zip(weights.chunks(4 * LANES)) {
                if chunk.iter().fold(false, |any, weight| any | (*weight >= low)) {
                    let places = (from..).zip(chunk.iter().copied());
                    kept.extend(places.filter(|(_, weight)| f64::from(*weight) >= least));
                }
            }
        }
    }
    arch.dispatch(Above(weights, least, kept));
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

    fn draw(logits: &[f32], sampling: &Sampling, uniform: f64) -> Option<u32> {
        Drawer::default().draw(Arch::new(), logits, sampling, uniform)
    }

    fn counts(sampling: Sampling) -> Vec<usize> {
        let mut counts = vec![0; 4];
        for i in 0..1000 {
            let logits = [0.5f32.ln(), 0.3f32.ln(), f32::NEG_INFINITY, 0.2f32.ln()];
            counts[draw(&logits, &sampling, (f64::from(i) + 0.5) / 1000.0).unwrap() as usize] += 1;
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
                let token = draw(&logits, &sampling, (f64::from(i) + 0.5) / 4000.0).unwrap();
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

    /// As it is defined, number by number.
    fn drawn_slowly(logits: &[f32], sampling: &Sampling, uniform: f64) -> Option<u32> {
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weight = |logit: &f32| f64::from((logit - highest) / sampling.temperature).exp();
        let mut kept: Vec<(usize, f64)> = logits.iter().map(weight).enumerate().filter(|(_, w)| *w > 0.0).collect();
        if sampling.top_p < 1.0 {
            kept.sort_by(|a, b| b.1.total_cmp(&a.1));
            let sum: f64 = kept.iter().map(|(_, weight)| weight).sum();
            let mut mass = 0.0;
            let inside = |(_, weight): &(usize, f64)| {
                let before = mass;
                mass += weight;
                before < f64::from(sampling.top_p) * sum
            };
            kept = kept.into_iter().take_while(inside).collect();
        }
        let target = uniform * kept.iter().map(|(_, weight)| weight).sum::<f64>();
        let mut sum = 0.0;
        let reached = |(_, weight): &&(usize, f64)| {
            sum += weight;
            sum > target
        };
        kept.iter().find(reached).map(|(token, _)| *token as u32)
    }

    proptest::proptest! {
        #[test]
        fn vectors_draw_what_single_numbers_would(
            logits in proptest::collection::vec(proptest::option::weighted(0.8, -8.0_f32..8.0), 1..300),
            temperature in 0.3_f32..2.0, top_p in proptest::option::of(0.05_f32..0.999), uniform in 0.0..1.0_f64,
        ) {
            let logits: Vec<f32> = logits.into_iter().map(|logit| logit.unwrap_or(f32::NEG_INFINITY)).collect();
            let sampling = Sampling { temperature, top_p: top_p.unwrap_or(1.0), ..Sampling::default() };
            let got = draw(&logits, &sampling, uniform);
            // Rounding decides between neighbours at a boundary alone.
            let near = [0.0, -1e-5, 1e-5].map(|by: f64| drawn_slowly(&logits, &sampling, (uniform + by).clamp(0.0, 1.0)));
            let allowed = logits.iter().any(|logit| *logit > f32::NEG_INFINITY);
            proptest::prop_assert!(if allowed { near.contains(&got) } else { got.is_none() }, "{got:?} and {near:?}");
        }

        #[test]
        fn what_is_no_number_is_found_wherever_it_lies(
            mut logits in proptest::collection::vec(-8.0_f32..8.0, 1..70), at in 0usize..70, infinite in proptest::bool::ANY,
        ) {
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            proptest::prop_assert_eq!(highest(Arch::new(), &logits), largest);
            let at = at % logits.len();
            logits[at] = if infinite { f32::INFINITY } else { f32::NAN };
            proptest::prop_assert_eq!(highest(Arch::new(), &logits), f32::INFINITY);
        }
    }

    #[test]
    fn of_some_tokens_those_that_are_left_are_kept() {
        let mut drawer = Drawer::default();
        drawer.mask(Arch::new(), &[0.0, 1.0, 2.0, 3.0, 4.0], &[true, false, true, true]);
        drawer.keep(&[1, 2, 9]);
        let none = f32::NEG_INFINITY;
        assert_eq!(drawer.masked, [none, none, 2.0, none, none]);
        drawer.forbid(2);
        assert_eq!(drawer.draw_masked(Arch::new(), &Sampling::default(), 0.5), None);
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
        assert_eq!(draw(&[f32::NEG_INFINITY; 3], &plain, 0.5), None);
    }
}
