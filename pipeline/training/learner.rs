//! A policy as a run trains it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::Tensor;
use dataset::{Draft, Error, Result, Store};
use policy::checkpoint::{self, Moments, State};
use policy::{Adapters, Generate, Model, Prompt, Snapshot, Task};

use crate::run::{Run, Trainee, flat};
use crate::{Parameters, candle};

/// A policy that has something to train.
#[derive(Debug)]
pub struct Learner {
    model: Model,
    /// The weights as they are now.
    pub(crate) snapshot: Arc<Snapshot>,
}

impl Learner {
    pub(crate) fn new(mut model: Model) -> Result<Self> {
        if model.policy.lora().is_none() {
            model.policy.train_all().map_err(candle)?;
        }
        let snapshot = Arc::new(Snapshot::new(&model.policy, Adapters::On).map_err(candle)?);
        Ok(Learner { model, snapshot })
    }
}

impl<'a> Run<'a> {
    /// Goes on from its last checkpoint, or begins with a model that has something to train. `base`: where the model lay, if it was read.
    pub(crate) fn begin(draft: &'a Draft, base: Option<&Path>, start: impl FnOnce() -> Result<Model>) -> Result<Self> {
        let load = |folder: &Path| {
            let found = checkpoint::load(folder)?;
            Ok((Learner::new(found.model)?, found.state, found.moments))
        };
        Run::resume(draft, load, || {
            let mut state = State::default();
            if let Some(path) = base {
                state.base = checkpoint::base(path)?;
                state.base_path = Some(path.canonicalize().map_err(Error::at(path))?);
            }
            Ok((Learner::new(start()?)?, state))
        })
    }

    /// The model that is trained. Its weights are those of the last checkpoint.
    pub(crate) fn model(&self) -> &Model {
        &self.model.model
    }

    /// The weights as they are now.
    pub(crate) fn snapshot(&self) -> &Arc<Snapshot> {
        &self.model.snapshot
    }

    /// The task for this model. Its checkpoints say from now on how it is asked.
    pub(crate) fn task(&mut self, prompt: &Prompt, settings: &Generate) -> Result<Task> {
        self.state.prompt = Some(prompt.clone());
        let Model { policy, tokenizer } = self.model();
        Task::new(Arc::new(tokenizer.clone()), &policy.config, prompt, settings)
    }
}

impl Trainee for Learner {
    fn values(&self) -> Result<BTreeMap<String, Vec<f32>>> {
        self.model.policy.trainable().into_iter().map(|(name, var)| Ok((name, flat(var.as_tensor())?))).collect()
    }

    fn set(&mut self, values: &BTreeMap<String, Vec<f32>>) -> Result<()> {
        let snapshot = Arc::get_mut(&mut self.snapshot).ok_or_else(|| Error::bug("weights are in use"))?;
        values.iter().for_each(|(name, values)| snapshot.set(name, values));
        Ok(())
    }

    fn save(&self, store: &Store, name: &str, state: &State, parameters: &Parameters) -> Result<()> {
        let mut moments = Moments::new();
        for (name, var) in self.model.policy.trainable() {
            let tensor = |values: &[f32]| Tensor::from_slice(values, var.shape(), var.device()).map_err(candle);
            var.set(&tensor(&parameters.values[&name])?).map_err(candle)?;
            let [mean, square] = &parameters.moments[&name];
            moments.insert(name, [tensor(mean)?, tensor(square)?]);
        }
        checkpoint::save(store, name, &self.model, state, &moments).map(|_| ())
    }
}
