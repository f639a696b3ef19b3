//! AdamW (Loshchilov and Hutter, 2019), with its moments in the open: a checkpoint has them.

use std::collections::BTreeMap;

use clap::Args;
use dataset::{Error, Result};
use engine::Gradients;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Settings of the optimizer.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct AdamW {
    /// Learning rate, once warm
    #[arg(long, value_name = "RATE", default_value_t = 1e-4)]
    pub learning_rate: f64,
    /// Steps over which the rate rises; it stays as it is then
    #[arg(long, value_name = "STEPS", default_value_t = 5)]
    pub warm_up: u64,
    /// Share of the steps, the last ones, over which the rate falls to nothing
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub cool_down: f64,
    /// How much of each weight is taken away per unit of rate; norms and biases are left alone
    #[arg(long, value_name = "RATE", default_value_t = 0.0)]
    pub weight_decay: f64,
    /// A longer gradient is shortened to this norm
    #[arg(long, value_name = "NORM", default_value_t = 1.0)]
    pub clip_norm: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        dataset::defaults()
    }
}

/// Decay of the mean of gradients.
const BETA_1: f64 = 0.9;
/// Decay of the mean of their squares.
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// What is trained: values, and the two means of each one's gradient.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parameters {
    /// By name, row-major.
    pub values: BTreeMap<String, Vec<f32>>,
    /// Means of the gradient and of its square, by name.
    pub moments: BTreeMap<String, [Vec<f32>; 2]>,
}

/// What an update was like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Update {
    /// The gradient's norm, before it was clipped.
    pub gradient_norm: f64,
    /// The learning rate.
    pub learning_rate: f64,
}

impl AdamW {
    /// Errs when a setting makes no sense.
    pub fn check(&self, job: &str) -> Result<()> {
        for (key, value, least) in [
            ("learning_rate", self.learning_rate, f64::MIN_POSITIVE),
            ("weight_decay", self.weight_decay, 0.0),
            ("clip_norm", self.clip_norm, f64::MIN_POSITIVE),
        ] {
            if !(value >= least && value.is_finite()) {
                let expected = if least > 0.0 { "a number above 0" } else { "a number from 0" };
                return Err(Error::setting(
                    &format!("{job}.{key}"),
                    expected,
                    value,
                    format!("see `querent {job} --help`"),
                ));
            }
        }
        if !(0.0..=1.0).contains(&self.cool_down) {
            let key = format!("{job}.cool_down");
            return Err(Error::setting(&key, "a number from 0 to 1", self.cool_down, "it is a share of the steps"));
        }
        Ok(())
    }

    /// The rate at a step, from 1, of so many: it rises over the warm-up, stays, and falls in a line to 0, which the step after the last would have.
    fn rate(&self, step: u64, of: u64) -> f64 {
        let rising = step as f64 / self.warm_up.max(1) as f64;
        let falling = (of.saturating_sub(step) + 1) as f64 / (self.cool_down * of as f64 + 1.0);
        self.learning_rate * rising.min(falling).min(1.0)
    }

    /// Update number `step`, from 1, of so many: `θ ← θ − η·(m̂/(√v̂ + ε) + λθ)`.
    ///
    /// # Errors
    /// When a gradient is not finite; nothing is changed then.
    pub fn step(&self, step: u64, of: u64, parameters: &mut Parameters, gradients: &Gradients) -> Result<Update> {
        let norms: Vec<f64> =
            gradients.par_iter().map(|(_, g)| g.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>()).collect();
        if let Some((name, _)) = gradients.keys().zip(&norms).find(|(_, norm)| !norm.is_finite()) {
            return Err(Error::setting(name, "a finite gradient", "NaN or infinity", "lower the learning rate"));
        }
        let gradient_norm = norms.iter().sum::<f64>().sqrt();
        let clip = if gradient_norm > self.clip_norm { self.clip_norm / gradient_norm } else { 1.0 } as f32;
        let learning_rate = self.rate(step, of);
        let corrected = [BETA_1, BETA_2].map(|beta| 1.0 - beta.powi(step.min(i32::MAX as u64) as i32));
        let rate = (learning_rate / corrected[0]) as f32;
        let root = (1.0 / corrected[1]) as f32;
        let Parameters { values, moments } = parameters;
        let work: Vec<_> = values.iter_mut().zip(moments.values_mut()).collect();
        work.into_par_iter().for_each(|((name, values), [mean, square])| {
            let decayed = !(name.ends_with("norm.weight") || name.ends_with(".bias"));
            let keep = if decayed { 1.0 - learning_rate * self.weight_decay } else { 1.0 } as f32;
            for (((x, g), m), v) in values.iter_mut().zip(&gradients[name]).zip(mean).zip(square) {
                let g = g * clip;
                *m = BETA_1 as f32 * *m + (1.0 - BETA_1) as f32 * g;
                *v = BETA_2 as f32 * *v + (1.0 - BETA_2) as f32 * g * g;
                *x = *x * keep - rate * *m / ((*v * root).sqrt() + EPSILON as f32);
            }
        });
        Ok(Update { gradient_norm, learning_rate })
    }
}

impl Parameters {
    /// With values, and moments of 0.
    pub fn new(values: BTreeMap<String, Vec<f32>>) -> Self {
        let moments = values.iter().map(|(name, x)| (name.clone(), [vec![0.0; x.len()], vec![0.0; x.len()]])).collect();
        Parameters { values, moments }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_those_of_the_formula() {
        let settings = AdamW { learning_rate: 0.1, warm_up: 2, cool_down: 0.0, weight_decay: 0.5, clip_norm: 1e9 };
        let start = BTreeMap::from([("a.weight".to_owned(), vec![1.0, -2.0]), ("a.bias".to_owned(), vec![0.5])]);
        let mut parameters = Parameters::new(start.clone());
        let steps = [[0.3, -0.1, 2.0], [0.2, 0.4, -1.0], [-0.5, 0.0, 0.1]];
        // In double precision, one number at a time.
        let mut expected: Vec<(f64, f64, f64, f64)> =
            vec![(1.0, 0.0, 0.0, 0.5), (-2.0, 0.0, 0.0, 0.5), (0.5, 0.0, 0.0, 0.0)];
        for (number, gradient) in (1..).zip(steps) {
            let gradients = Gradients::from([
                ("a.weight".to_owned(), vec![gradient[0], gradient[1]]),
                ("a.bias".to_owned(), vec![gradient[2]]),
            ]);
            let update = settings.step(number, 3, &mut parameters, &gradients).expect("finite");
            let rate = 0.1 * (number as f64 / 2.0).min(1.0);
            assert!((update.learning_rate - rate).abs() < 1e-12);
            for ((x, m, v, decay), g) in expected.iter_mut().zip(gradient) {
                let g = f64::from(g);
                *m = 0.9 * *m + 0.1 * g;
                *v = 0.999 * *v + 0.001 * g * g;
                let (mean, square) =
                    (*m / (1.0 - 0.9f64.powi(number as i32)), *v / (1.0 - 0.999f64.powi(number as i32)));
                *x = *x - rate * *decay * *x - rate * mean / (square.sqrt() + 1e-8);
            }
        }
        let got: Vec<f32> = parameters.values["a.weight"].iter().chain(&parameters.values["a.bias"]).copied().collect();
        for (got, (expected, ..)) in got.iter().zip(expected) {
            assert!((f64::from(*got) - expected).abs() < 1e-6, "{got} for {expected}");
        }
        let nonsense =
            Gradients::from([("a.weight".to_owned(), vec![f32::NAN, 0.0]), ("a.bias".to_owned(), vec![0.0])]);
        let before = parameters.clone();
        assert!(settings.step(4, 4, &mut parameters, &nonsense).is_err());
        assert_eq!(parameters, before);
    }

    #[test]
    fn the_rate_rises_stays_and_falls() {
        let rates = |cool_down: f64| -> Vec<f64> {
            let settings = AdamW { learning_rate: 1.0, warm_up: 4, cool_down, ..AdamW::default() };
            (1..=12).map(|step| (settings.rate(step, 12) * 1e4).round() / 1e4).collect()
        };
        assert_eq!(rates(0.0), [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(rates(0.25), [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]);
        // Both at once: whichever is lower.
        assert_eq!(rates(1.0)[..5], [0.25, 0.5, 0.75, 0.6923, 0.6154]);
        for cool_down in [-0.1, 1.1, f64::NAN] {
            let error = AdamW { cool_down, ..AdamW::default() }.check("sft").unwrap_err().to_string();
            assert!(error.contains("sft.cool_down") && error.contains("from 0 to 1"), "{error}");
        }
    }

    #[test]
    fn a_long_gradient_is_shortened() {
        let settings = AdamW { learning_rate: 1.0, warm_up: 0, cool_down: 0.0, weight_decay: 0.0, clip_norm: 1.0 };
        let mut parameters = Parameters::new(BTreeMap::from([("w".to_owned(), vec![0.0, 0.0])]));
        let gradients = Gradients::from([("w".to_owned(), vec![30.0, 40.0])]);
        let update = settings.step(1, 1, &mut parameters, &gradients).expect("finite");
        assert_eq!(update.gradient_norm, 50.0);
        let [mean, _] = &parameters.moments["w"];
        assert!((mean[0] - 0.06).abs() < 1e-6 && (mean[1] - 0.08).abs() < 1e-6, "{mean:?}");
    }
}
