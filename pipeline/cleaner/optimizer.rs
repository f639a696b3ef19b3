//! AdamW (Loshchilov & Hutter 2019), whose state can be written down: candle's cannot.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, Var};

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// One parameter and the moments of its gradient.
#[derive(Debug)]
struct Moments {
    parameter: Var,
    /// Its learning rate, as a multiple of the step's.
    rate: f64,
    /// Its weight decay.
    decay: f64,
    first: Tensor,
    second: Tensor,
}

/// The optimizer of named parameters.
#[derive(Debug)]
pub(crate) struct AdamW {
    moments: BTreeMap<String, Moments>,
    steps: usize,
}

impl AdamW {
    /// Parameters by name, each with its learning rate as a multiple of a step's. Matrices decay; biases and the scales of layer norms
    /// have one dimension and do not, as is usual for transformers.
    pub(crate) fn new(parameters: impl IntoIterator<Item = (String, Var, f64)>, weight_decay: f64) -> Result<Self> {
        let moments = parameters.into_iter().map(|(name, parameter, rate)| {
            let zeros = || Tensor::zeros(parameter.shape(), parameter.dtype(), parameter.device());
            let (first, second) = (zeros()?, zeros()?);
            let decay = if parameter.dims().len() > 1 { weight_decay } else { 0.0 };
            Ok((name, Moments { parameter, rate, decay, first, second }))
        });
        Ok(AdamW { moments: moments.collect::<Result<_>>()?, steps: 0 })
    }

    /// Moves every parameter that has a gradient:
    /// `θ ← (1 − ηλ) θ − η m̂ / (√v̂ + ε)`, `m̂` and `v̂` being the moments without their bias towards 0.
    pub(crate) fn step(&mut self, gradients: &GradStore, learning_rate: f64) -> Result<()> {
        self.steps += 1;
        let unbiased = |beta: f64| 1.0 / (1.0 - beta.powi(self.steps as i32));
        let (scale_1, scale_2) = (unbiased(BETA_1), unbiased(BETA_2));
        for Moments { parameter, rate, decay, first, second } in self.moments.values_mut() {
            let Some(gradient) = gradients.get(parameter) else { continue };
            let learning_rate = learning_rate * *rate;
            *first = ((&*first * BETA_1)? + (gradient * (1.0 - BETA_1))?)?;
            *second = ((&*second * BETA_2)? + (gradient.sqr()? * (1.0 - BETA_2))?)?;
            let direction = ((&*first * scale_1)? / ((&*second * scale_2)?.sqrt()? + EPSILON)?)?;
            let decayed = (parameter.as_tensor() * (1.0 - learning_rate * *decay))?;
            parameter.set(&(decayed - (direction * learning_rate)?)?)?;
        }
        Ok(())
    }

    /// The moments, by name.
    pub(crate) fn state(&self) -> impl Iterator<Item = (String, Tensor)> {
        self.moments.iter().flat_map(|(name, moments)| {
            [(format!("first/{name}"), moments.first.clone()), (format!("second/{name}"), moments.second.clone())]
        })
    }

    /// Goes on from moments that were written down after so many steps; `None` when one of them is missing.
    pub(crate) fn restore(&mut self, steps: usize, take: &mut dyn FnMut(&str) -> Option<Tensor>) -> Option<()> {
        for (name, moments) in &mut self.moments {
            moments.first = take(&format!("first/{name}"))?;
            moments.second = take(&format!("second/{name}"))?;
        }
        self.steps = steps;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn matrices_decay_and_biases_and_norms_do_not() -> Result<()> {
        let ones = |shape: &[usize]| Var::ones(shape, DType::F32, &Device::Cpu);
        let (matrix, bias) = (ones(&[2, 3])?, ones(&[3])?);
        let named = [("a.weight", &matrix), ("a.bias", &bias)].map(|(name, var)| (name.to_owned(), var.clone(), 1.0));
        let mut optimizer = AdamW::new(named, 0.5)?;
        // Every gradient is 1, so the first step is the learning rate.
        optimizer.step(&(matrix.sum_all()? + bias.sum_all()?)?.backward()?, 0.1)?;
        let all = |var: &Var, expected: f32| -> Result<bool> {
            Ok(var.flatten_all()?.to_vec1::<f32>()?.iter().all(|value| (value - expected).abs() < 1e-6))
        };
        assert!(all(&matrix, 0.95 - 0.1)? && all(&bias, 1.0 - 0.1)?, "{matrix} {bias}");
        Ok(())
    }
}
