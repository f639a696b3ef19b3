//! A model's tensors: their names and shapes, how they start, their values and gradients.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var, bail};
use dataset::bucket::stream;
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;

/// What a tensor is before training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Start {
    /// All 0.
    Zeros,
    /// All 1.
    Ones,
    /// Normal, with this deviation.
    Normal(f64),
}

/// A tensor that is trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name. The optimizer's weight decay leaves those alone that end in `norm.weight` and `.bias`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// What it is before training.
    pub start: Start,
}

impl Parameter {
    /// A tensor of this name and shape.
    pub fn new(name: impl Into<String>, shape: &[usize], start: Start) -> Self {
        Parameter { name: name.into(), shape: shape.to_vec(), start }
    }
}

/// The tensors of a model, by name.
#[derive(Debug, Clone)]
pub struct Weights(BTreeMap<String, Var>);

impl Weights {
    /// As they start: each a function of the seed and its name alone.
    pub fn random(parameters: &[Parameter], seed: u64) -> Result<Self> {
        let values = parameters.iter().map(|Parameter { name, shape, start }| {
            let count = shape.iter().product();
            let values: Vec<f32> = match start {
                Start::Zeros => vec![0.0; count],
                Start::Ones => vec![1.0; count],
                Start::Normal(deviation) => {
                    let mut random = Xoshiro256PlusPlus::seed_from_u64(stream(seed, "weights", name));
                    let mut draw = || -> f64 { StandardNormal.sample(&mut random) };
                    (0..count).map(|_| (deviation * draw()) as f32).collect()
                }
            };
            Ok((name.clone(), Tensor::from_vec(values, shape.as_slice(), &Device::Cpu)?))
        });
        Self::of(parameters, values.collect::<Result<_>>()?)
    }

    /// With these values.
    ///
    /// # Errors
    /// When one is missing or has another shape.
    pub fn of(parameters: &[Parameter], mut values: BTreeMap<String, Tensor>) -> Result<Self> {
        let mut vars = BTreeMap::new();
        for Parameter { name, shape, .. } in parameters {
            let Some(value) = values.remove(name) else { bail!("tensor {name} is missing") };
            if value.dims() != shape.as_slice() {
                bail!("tensor {name}: expected shape {shape:?}, got {:?}", value.dims())
            }
            vars.insert(name.clone(), Var::from_tensor(&value.to_dtype(DType::F32)?)?);
        }
        Ok(Weights(vars))
    }

    /// A tensor that the model is known to have.
    pub fn get(&self, name: &str) -> &Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("no tensor is called {name}"))
    }

    /// A tensor that the model may have.
    pub fn find(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name).map(Var::as_tensor)
    }

    /// All tensors.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        self.0.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect()
    }

    /// All values, row-major.
    pub fn values(&self) -> Result<BTreeMap<String, Vec<f32>>> {
        self.0.iter().map(|(name, var)| Ok((name.clone(), flat(var)?))).collect()
    }

    /// Takes on these values, row-major.
    pub fn set(&self, values: &BTreeMap<String, Vec<f32>>) -> Result<()> {
        self.0.iter().try_for_each(|(name, var)| match values.get(name) {
            Some(values) => var.set(&Tensor::from_slice(values, var.shape(), var.device())?),
            None => bail!("no value for {name}"),
        })
    }

    /// The gradient of every tensor, row-major.
    ///
    /// # Errors
    /// When one has none: something between it and the loss has no backward.
    pub fn gradients(&self, gradients: &GradStore) -> Result<BTreeMap<String, Vec<f32>>> {
        let gradient = |(name, var): (&String, &Var)| match gradients.get(var) {
            Some(gradient) => Ok((name.clone(), flat(gradient)?)),
            None => bail!("no gradient reaches {name}"),
        };
        self.0.iter().map(gradient).collect()
    }
}

fn flat(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}
