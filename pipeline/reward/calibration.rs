//! Bringing components to one scale: what has no spread within a group teaches nothing, and the five have very different spreads.

use std::collections::BTreeMap;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::{Component, Components};

/// Samples whose spread is smaller than this say nothing of a scale: the component's own, 0 to 1, is kept.
const LEAST_SPREAD: f32 = 0.01;

/// The figure that says whether a scale clips: 0 or 1.
const CLIP: &str = "calibration.clip";

/// How components are brought to one scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalise {
    /// The 5% point of some first lists becomes 0, the 95% point 1; what lies outside is clipped.
    #[default]
    Calibrated,
    /// As they are, 0 to 1.
    Raw,
    /// The mean of some first lists becomes 0, their standard deviation 1.
    Zscore,
}

/// A scale for each component: `(x - low) / (high - low)`. It is made once, of the first rollouts, and kept for the whole run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// What becomes 0, in the order of [`Component::ALL`].
    pub low: [f32; 5],
    /// What becomes 1.
    pub high: [f32; 5],
    /// Whether what lies outside is clipped.
    pub clip: bool,
}

impl Calibration {
    /// Components as they are.
    pub fn raw() -> Self {
        Calibration { low: [0.0; 5], high: [1.0; 5], clip: false }
    }

    /// The scale of some samples, whose nulls are left out. A component without spread in them keeps its own scale.
    pub fn of<'a>(normalise: Normalise, samples: impl IntoIterator<Item = &'a Components>) -> Self {
        let mut values: [Vec<f32>; 5] = Default::default();
        for sample in samples {
            values.iter_mut().zip(sample.0).for_each(|(values, value)| values.extend(value));
        }
        let mut scale = Calibration { clip: normalise == Normalise::Calibrated, ..Calibration::raw() };
        for (component, values) in values.iter_mut().enumerate() {
            values.sort_unstable_by(f32::total_cmp);
            let (low, high) = match normalise {
                Normalise::Raw => (0.0, 1.0),
                Normalise::Calibrated => (quantile(values, 0.05), quantile(values, 0.95)),
                Normalise::Zscore => {
                    let (mean, deviation) = moments(values);
                    (mean, mean + deviation)
                }
            };
            if high - low >= LEAST_SPREAD {
                (scale.low[component], scale.high[component]) = (low, high);
            }
        }
        scale
    }

    /// The scale that a training run keeps among a checkpoint's figures ([`Calibration::metrics`]), if it keeps one.
    pub fn of_metrics(metrics: &BTreeMap<String, f64>) -> Option<Self> {
        let mut scale = Calibration { clip: *metrics.get(CLIP)? != 0.0, ..Calibration::raw() };
        for component in Component::ALL {
            let end = |end: &str| metrics.get(&figure(component, end)).map(|value| *value as f32);
            (scale.low[component as usize], scale.high[component as usize]) = (end("low")?, end("high")?);
        }
        Some(scale)
    }

    /// The scale as figures with names: `calibration.align.low` and so on.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let ends = |component: Component| {
            [("low", self.low), ("high", self.high)]
                .map(|(end, values)| (figure(component, end), f64::from(values[component as usize])))
        };
        let clip = (CLIP.to_owned(), f64::from(u8::from(self.clip)));
        Component::ALL.into_iter().flat_map(ends).chain([clip]).collect()
    }

    /// Whether every scale is one: finite, its low below its high.
    pub fn is_sound(&self) -> bool {
        self.low.iter().zip(&self.high).all(|(low, high)| low.is_finite() && high.is_finite() && low < high)
    }

    /// A component's value on this scale.
    pub fn apply(&self, component: Component, value: f32) -> f32 {
        let (low, high) = (self.low[component as usize], self.high[component as usize]);
        let scaled = (value - low) / (high - low);
        if self.clip { scaled.clamp(0.0, 1.0) } else { scaled }
    }

    /// All components on this scale.
    pub fn normalised(&self, raw: &Components) -> Components {
        Components(Component::ALL.map(|component| raw.get(component).map(|value| self.apply(component, value))))
    }
}

impl std::fmt::Display for Calibration {
    /// `align 0.21 to 0.48, coverage …`: what becomes 0 and 1.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scale = |component: Component| {
            let (low, high) = (self.low[component as usize], self.high[component as usize]);
            format!("{component} {low:.3} to {high:.3}")
        };
        write!(f, "{}", Component::ALL.map(scale).join(", "))
    }
}

fn figure(component: Component, end: &str) -> String {
    format!("calibration.{component}.{end}")
}

/// A quantile of sorted values, between the nearest two (R's and NumPy's default, type 7); 0 of none.
fn quantile(sorted: &[f32], share: f64) -> f32 {
    let at = share * sorted.len().saturating_sub(1) as f64;
    let (below, above) = (sorted.get(at.floor() as usize), sorted.get(at.ceil() as usize));
    match (below, above) {
        (Some(&below), Some(&above)) => below + (above - below) * at.fract() as f32,
        _ => 0.0,
    }
}

/// Mean and standard deviation; 0 of none.
fn moments(values: &[f32]) -> (f32, f32) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let variance = values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
    (mean as f32, variance.sqrt() as f32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_outer_twentieths_are_clipped() {
        let samples: Vec<Components> =
            (0..=100).map(|i| Components([Some(i as f32 / 100.0), Some(0.3), None, Some(0.0), Some(1.0)])).collect();
        let scale = Calibration::of(Normalise::Calibrated, &samples);
        assert!((scale.low[0] - 0.05).abs() < 1e-6 && (scale.high[0] - 0.95).abs() < 1e-6, "{scale:?}");
        assert!((scale.apply(Component::Align, 0.5) - 0.5).abs() < 1e-6);
        assert_eq!((scale.apply(Component::Align, 0.01), scale.apply(Component::Align, 0.99)), (0.0, 1.0));
        // Without any spread, and without any sample, a component is as it is: it may get better, or worse, later.
        for component in &Component::ALL[1..] {
            assert_eq!(scale.apply(*component, 0.3), 0.3, "{component}");
        }
        let zscore = Calibration::of(Normalise::Zscore, &samples);
        assert!(zscore.apply(Component::Align, 0.5).abs() < 1e-6 && zscore.apply(Component::Align, 1.0) > 1.5);
        assert_eq!(Calibration::of(Normalise::Raw, &samples), Calibration::raw());
        let text = serde_json::to_string(&scale).expect("JSON");
        assert_eq!(serde_json::from_str::<Calibration>(&text).expect("a calibration"), scale);
        let mut metrics = scale.metrics();
        assert_eq!((metrics.len(), metrics["calibration.align.low"]), (11, f64::from(scale.low[0])));
        for scale in [scale, zscore, Calibration::raw()] {
            assert_eq!(Calibration::of_metrics(&scale.metrics()), Some(scale), "whoever reads it, it clips as it did");
        }
        metrics.remove("calibration.structure.high");
        assert_eq!(Calibration::of_metrics(&metrics), None);
    }

    proptest! {
        #[test]
        fn no_scale_turns_an_order_round(
            samples in proptest::collection::vec(0.0_f32..=1.0, 0..40),
            how in proptest::sample::select(vec![Normalise::Calibrated, Normalise::Raw, Normalise::Zscore]),
            a in 0.0_f32..=1.0, b in 0.0_f32..=1.0,
        ) {
            let samples: Vec<Components> = samples.iter().map(|&x| Components([Some(x); 5])).collect();
            let scale = Calibration::of(how, &samples);
            let (low, high) = (a.min(b), a.max(b));
            let [x, y] = [low, high].map(|value| scale.apply(Component::Coverage, value));
            prop_assert!(x <= y && x.is_finite() && y.is_finite(), "{low} {high}: {x} {y}");
            if how != Normalise::Zscore {
                prop_assert!((0.0..=1.0).contains(&x) && (0.0..=1.0).contains(&y));
            }
        }
    }
}
