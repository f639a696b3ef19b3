//! A trained baseline in checkpoints.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use dataset::{Error, Result, Store};
use nn::Weights;
use policy::checkpoint::{self, Moments, State, Tensors};
use serde::{Deserialize, Serialize};
use training::{Parameters, Trainee};

use crate::{Articles, Item, Model, Network, Sizes, candle};

/// What a checkpoint says of the model.
#[derive(Serialize, Deserialize)]
struct Config {
    model: Model,
    sizes: Sizes,
}

impl Network {
    /// Reads a checkpoint, with the optimizer's moments while its run has not ended. `articles`: all there are, by what they are to it.
    pub(crate) fn load<'a>(
        folder: &Path,
        articles: impl FnOnce(Item) -> Articles<'a>,
    ) -> Result<(Self, State, Moments)> {
        let (Tensors { config, weights, moments, .. }, state) = checkpoint::load_tensors(folder)?;
        let wrong = |e: &dyn std::fmt::Display| {
            Error::unreadable(folder.display(), format!("expected a baseline: {e}"), "train it again")
        };
        let Config { model, sizes } = serde_json::from_str(&config).map_err(|e| wrong(&e))?;
        let articles = articles(sizes.item);
        let parameters = Network::parameters(model, &sizes, articles.inner());
        let weights = Weights::of(&parameters, weights).map_err(|e| wrong(&e))?;
        Ok((Network::of(model, &sizes, &articles, weights).map_err(candle)?, state, moments))
    }
}

impl Trainee for Network {
    fn values(&self) -> Result<BTreeMap<String, Vec<f32>>> {
        self.weights.values().map_err(candle)
    }

    fn set(&mut self, values: &BTreeMap<String, Vec<f32>>) -> Result<()> {
        self.weights.set(values).map_err(candle)
    }

    fn save(&self, store: &Store, name: &str, state: &State, parameters: &Parameters) -> Result<()> {
        let weights = self.weights.tensors();
        let mut moments = Moments::new();
        for (name, weight) in &weights {
            let tensor = |values: &[f32]| Tensor::from_slice(values, weight.shape(), &Device::Cpu).map_err(candle);
            let [mean, square] = &parameters.moments[name];
            moments.insert(name.clone(), [tensor(mean)?, tensor(square)?]);
        }
        let config = Config { model: self.model, sizes: self.sizes.clone() };
        let config = serde_json::to_string(&config).map_err(Error::bug)?;
        let tensors = Tensors { config, tokenizer: "{}".into(), lora: None, weights, moments };
        checkpoint::save_tensors(store, name, &tensors, state).map(|_| ())
    }
}
