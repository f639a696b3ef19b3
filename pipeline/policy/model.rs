//! A policy: a decoder's weights, perhaps with low-rank adapters, and the tokenizer that goes with them.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use dataset::Result;
use dataset::bucket::stream;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::files::{candle, wrong};
use crate::{Adapters, Config, Lora};

/// One linear layer's adapter: `A [r, in]`, `B [out, r]`.
#[derive(Debug, Clone)]
struct Adapter {
    a: Var,
    b: Var,
    scale: f64,
}

/// A decoder's weights in float32, by the names of Hugging Face's folders.
#[derive(Debug)]
pub struct Policy {
    /// Its sizes.
    pub config: Config,
    tensors: BTreeMap<String, Tensor>,
    vars: BTreeMap<String, Var>,
    adapters: BTreeMap<String, Adapter>,
    lora: Option<Lora>,
}

const LINEAR: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

impl Policy {
    /// A policy from its tensors, in any float type.
    ///
    /// # Errors
    /// When one is missing, has another shape than the configuration says, or holds a number that is not finite. `path`: where they
    /// come from.
    pub fn new(config: Config, mut tensors: BTreeMap<String, Tensor>, path: &Path) -> Result<Self> {
        let hint = "the configuration and the weights are not of one model, or a file is damaged: copy the model again";
        let mut checked = BTreeMap::new();
        for (name, expected) in config.tensors() {
            let Some(tensor) = tensors.remove(&name) else {
                return Err(wrong(path, format!("{name}: expected a tensor {expected:?}, got none"), hint));
            };
            if tensor.dims() != expected {
                let what = format!("{name}: expected the shape {expected:?}, got {:?}", tensor.dims());
                return Err(wrong(path, what, hint));
            }
            let tensor = tensor.to_dtype(DType::F32).and_then(|tensor| tensor.contiguous()).map_err(candle)?;
            if !finite(&tensor).map_err(candle)? {
                return Err(wrong(path, format!("{name}: expected finite numbers, got NaN or infinity"), hint));
            }
            checked.insert(name, tensor);
        }
        Ok(Policy { config, tensors: checked, vars: BTreeMap::new(), adapters: BTreeMap::new(), lora: None })
    }

    /// Makes every weight trainable.
    pub fn train_all(&mut self) -> candle_core::Result<()> {
        for (name, tensor) in &mut self.tensors {
            let var = Var::from_tensor(tensor)?;
            *tensor = var.as_tensor().clone();
            self.vars.insert(name.clone(), var);
        }
        Ok(())
    }

    /// Adds an adapter to every linear layer of the decoder, and makes these alone trainable. A starts uniform in ±1/√in, B at zero, so
    /// that nothing changes before the first step.
    pub fn add_lora(&mut self, lora: Lora, seed: u64) -> candle_core::Result<()> {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(stream(seed, "lora", ""));
        for (name, tensor) in &self.tensors {
            if !LINEAR.iter().any(|linear| name.ends_with(&format!("{linear}.weight"))) {
                continue;
            }
            let (rows, columns) = tensor.dims2()?;
            let bound = 1.0 / (columns as f32).sqrt();
            let a: Vec<f32> = (0..lora.rank * columns).map(|_| random.random_range(-bound..bound)).collect();
            let adapter = Adapter {
                a: Var::from_vec(a, (lora.rank, columns), &Device::Cpu)?,
                b: Var::zeros((rows, lora.rank), DType::F32, &Device::Cpu)?,
                scale: lora.alpha / lora.rank as f64,
            };
            self.adapters.insert(name.clone(), adapter);
        }
        self.lora = Some(lora);
        Ok(())
    }

    /// What is trained: names and variables. Adapters are `<weight>.lora_a` and `<weight>.lora_b`.
    pub fn trainable(&self) -> Vec<(String, Var)> {
        let adapters = self.adapters.iter().flat_map(|(name, Adapter { a, b, .. })| {
            [(format!("{name}.lora_a"), a.clone()), (format!("{name}.lora_b"), b.clone())]
        });
        self.vars.iter().map(|(name, var)| (name.clone(), var.clone())).chain(adapters).collect()
    }

    /// A weight.
    pub(crate) fn tensor(&self, name: &str) -> &Tensor {
        self.tensors.get(name).expect("all tensors of the configuration are there")
    }

    /// `x · Wᵀ`, with the weight's adapter: `x` is `[rows, in]`.
    pub(crate) fn linear(&self, name: &str, x: &Tensor, adapters: Adapters) -> candle_core::Result<Tensor> {
        let y = x.matmul(&self.tensor(name).t()?)?;
        match (self.adapters.get(name), adapters) {
            (Some(Adapter { a, b, scale }), Adapters::On) => y + (x.matmul(&a.t()?)?.matmul(&b.t()?)? * *scale)?,
            _ => Ok(y),
        }
    }

    fn merged_tensor(&self, name: &str, adapters: Adapters) -> candle_core::Result<Tensor> {
        let weight = self.tensor(name);
        match (self.adapters.get(name), adapters) {
            (Some(Adapter { a, b, scale }), Adapters::On) => Ok((weight + (b.matmul(a)? * *scale)?)?.detach()),
            _ => Ok(weight.detach()),
        }
    }

    /// Everything that a checkpoint keeps: weights, and adapters beside them.
    pub(crate) fn stored(&self) -> BTreeMap<String, Tensor> {
        let trained = self.trainable().into_iter().map(|(name, var)| (name, var.as_tensor().clone()));
        self.tensors.clone().into_iter().chain(trained).collect()
    }

    /// A policy from what [`Policy::stored`] gave.
    pub(crate) fn restore(
        config: Config,
        mut stored: BTreeMap<String, Tensor>,
        lora: Option<Lora>,
        path: &Path,
    ) -> Result<Self> {
        let mut policy = Policy::new(config, stored.clone(), path)?;
        if let Some(lora) = lora {
            policy.add_lora(lora, 0).map_err(candle)?;
            for (name, var) in policy.trainable() {
                let missing = || wrong(path, format!("{name}: expected an adapter, got none"), "take another step");
                var.set(&stored.remove(&name).ok_or_else(missing)?).map_err(candle)?;
            }
        }
        Ok(policy)
    }

    /// The adapters' sizes, if there are any.
    pub fn lora(&self) -> Option<Lora> {
        self.lora
    }

    /// The same policy without adapters, merged into its weights.
    pub fn merged(self) -> candle_core::Result<Self> {
        if self.lora.is_none() {
            return Ok(self);
        }
        let tensors = self.merged_tensors()?;
        Ok(Policy { config: self.config, tensors, vars: BTreeMap::new(), adapters: BTreeMap::new(), lora: None })
    }

    /// All weights, adapters merged in.
    pub fn merged_tensors(&self) -> candle_core::Result<BTreeMap<String, Tensor>> {
        self.tensors.keys().map(|name| Ok((name.clone(), self.merged_tensor(name, Adapters::On)?))).collect()
    }
}

impl engine::Weights for Policy {
    type Error = candle_core::Error;

    fn config(&self) -> &Config {
        &self.config
    }

    fn lora(&self) -> Option<Lora> {
        self.lora
    }

    fn tensor(&self, name: &str) -> candle_core::Result<Vec<f32>> {
        self.tensor(name).flatten_all()?.to_vec1()
    }

    fn adapter(&self, name: &str) -> candle_core::Result<Option<engine::Adapter>> {
        let flat = |var: &Var| var.as_tensor().flatten_all()?.to_vec1();
        let adapter = |Adapter { a, b, .. }: &Adapter| Ok(engine::Adapter { a: flat(a)?, b: flat(b)? });
        self.adapters.get(name).map(adapter).transpose()
    }
}

fn finite(tensor: &Tensor) -> candle_core::Result<bool> {
    // A sum is finite unless a term is not, or it overflows, which only nonsense does; then each is looked at.
    if tensor.sum_all()?.to_scalar::<f32>()?.is_finite() {
        return Ok(true);
    }
    Ok(tensor.flatten_all()?.to_vec1::<f32>()?.iter().all(|x| x.is_finite()))
}
