//! A training run in its folder: how it begins or goes on, what it keeps, how it ends.
//!
//! ```text
//! NAME.unfinished/steps/step=000040/        checkpoints to go on from: the last, and the best so far
//!                 train_log/step=000040.parquet   figures of the steps since the checkpoint before (table train_log)
//!                 rollouts/step=000040.parquet    their lists (table rollouts)
//! NAME/state.parquet, weights-0000.parquet  the chosen checkpoint: NAME is a policy
//!      train_log/, rollouts/
//! ```
//!
//! What belongs to the steps up to a checkpoint is written before it, so a killed run goes on from the last checkpoint and repeats what came
//! after it, bit for bit.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use candle_core::Tensor;
use dataset::{Draft, Error, Result, Rows, Store, encode, fault};
use policy::checkpoint::{self, Moments, State};
use policy::{Adapters, Generate, Model, Snapshot, Task, Template};
use schemas::{Table, TrainLog};

use crate::log::Log;
use crate::{AdamW, Parameters, Update, candle};

/// Where checkpoints lie until the run ends.
pub(crate) const STEPS: &str = "steps";
/// The figure by which the best checkpoint is chosen; larger is better.
pub(crate) const CHOSEN_BY: &str = "chosen_by";
/// Checkpoints besides the best that are kept.
const KEPT: usize = 1;

/// A run at work.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    draft: &'a Draft,
    store: Store,
    model: Model,
    parameters: Parameters,
    /// The weights as they are now.
    pub(crate) snapshot: Arc<Snapshot>,
    /// Where it stands.
    pub(crate) state: State,
    /// Figures since the last checkpoint.
    pub(crate) log: Log,
}

impl<'a> Run<'a> {
    /// Goes on from its last checkpoint, or begins with a model that has something to train. `base`: where the model lay, if it was read.
    pub(crate) fn begin(draft: &'a Draft, base: Option<&Path>, start: impl FnOnce() -> Result<Model>) -> Result<Self> {
        let store = Store::open(&draft.path.display().to_string())?;
        let flat = |x: &Tensor| x.flatten_all().and_then(|x| x.to_vec1::<f32>()).map_err(candle);
        let (mut model, state, moments) = match checkpoint::steps(&store, STEPS)?.last() {
            Some(step) => {
                let found = checkpoint::load(&draft.path.join(checkpoint::folder(STEPS, *step)))?;
                (found.model, found.state, found.moments)
            }
            None => {
                let mut state = State::default();
                if let Some(path) = base {
                    state.base = checkpoint::base(path)?;
                    state.base_path = Some(path.canonicalize().map_err(Error::at(path))?);
                }
                (start()?, state, Moments::new())
            }
        };
        if model.policy.lora().is_none() {
            model.policy.train_all().map_err(candle)?;
        }
        let mut values = BTreeMap::new();
        for (name, var) in model.policy.trainable() {
            values.insert(name, flat(var.as_tensor())?);
        }
        let mut parameters = Parameters::new(values);
        for (name, pair) in moments {
            parameters.moments.insert(name, [flat(&pair[0])?, flat(&pair[1])?]);
        }
        let snapshot = Snapshot::new(&model.policy, Adapters::On).map_err(candle)?;
        Ok(Run { draft, store, model, parameters, snapshot: Arc::new(snapshot), state, log: Log::default() })
    }

    /// The model that is trained. Its weights are those of the last checkpoint.
    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    /// The task for this model.
    pub(crate) fn task(&self, template: &Template, settings: &Generate) -> Result<Task> {
        Task::new(Arc::new(self.model.tokenizer.clone()), &self.model.policy.config, template, settings)
    }

    /// One update by these gradients.
    ///
    /// # Errors
    /// When one is not finite: nothing is changed then.
    pub(crate) fn update(&mut self, settings: &AdamW, gradients: &engine::Gradients) -> Result<Update> {
        let update = settings.step(self.state.step + 1, &mut self.parameters, gradients)?;
        let snapshot = Arc::get_mut(&mut self.snapshot).ok_or_else(|| Error::bug("weights are in use"))?;
        self.parameters.values.iter().for_each(|(name, values)| snapshot.set(name, values));
        fault::point(fault::UPDATED);
        Ok(update)
    }

    /// Writes what belongs to the steps since the last checkpoint.
    pub(crate) fn write<T: Table>(&self, rows: Rows<T>) -> Result<()> {
        let file = format!("{}/step={:06}.parquet", T::NAME, self.state.step);
        self.draft.write(&file, &encode(&T::contract(), &rows.into_batches())?)
    }

    /// Writes a checkpoint, and before it the figures since the last one. `chosen_by`: how good it is.
    pub(crate) fn save(&mut self, chosen_by: f64) -> Result<()> {
        let rows = self.log.take()?;
        self.write::<TrainLog>(rows)?;
        fault::point(fault::FIGURES);
        self.state.metrics.insert(CHOSEN_BY.into(), chosen_by);
        let mut moments = Moments::new();
        for (name, var) in self.model.policy.trainable() {
            let tensor = |values: &[f32]| Tensor::from_slice(values, var.shape(), var.device()).map_err(candle);
            var.set(&tensor(&self.parameters.values[&name])?).map_err(candle)?;
            let [mean, square] = &self.parameters.moments[&name];
            moments.insert(name, [tensor(mean)?, tensor(square)?]);
        }
        checkpoint::save(&self.store, STEPS, &self.model, &self.state, &moments)?;
        checkpoint::retain(&self.store, STEPS, KEPT, CHOSEN_BY)
    }

    /// The best checkpoint becomes the folder's own, and the others go. Returns its step.
    pub(crate) fn finish(self) -> Result<u64> {
        let best = best(&self.draft.path)?.ok_or_else(|| Error::bug("a run without a checkpoint"))?;
        let step = best.step;
        let folder = self.draft.path.join(checkpoint::folder(STEPS, step));
        let read = |path: &Path| fs::read(path).map_err(Error::at(path));
        for entry in fs::read_dir(&folder).map_err(Error::at(&folder))? {
            let path = entry.map_err(Error::at(&folder))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if !name.starts_with(checkpoint::OPTIMIZER) && name != checkpoint::STATE {
                self.draft.write(name, &read(&path)?)?;
            }
        }
        // With its state the folder is a policy: the run has ended.
        self.draft.write(checkpoint::STATE, &read(&folder.join(checkpoint::STATE))?)?;
        fault::point(fault::CHOSEN);
        clear(self.draft)?;
        Ok(step)
    }
}

/// The best of the checkpoints that a run in a folder can go on from, and of equals the first; none before the first checkpoint.
pub(crate) fn best(folder: &Path) -> Result<Option<State>> {
    let store = Store::open(&folder.display().to_string())?;
    let mut best: Option<(f64, State)> = None;
    for step in checkpoint::steps(&store, STEPS)? {
        let state = checkpoint::state(&folder.join(checkpoint::folder(STEPS, step)))?;
        let value = state.metrics.get(CHOSEN_BY).copied().unwrap_or(f64::NEG_INFINITY);
        if best.as_ref().is_none_or(|(most, _)| value > *most) {
            best = Some((value, state));
        }
    }
    Ok(best.map(|(_, state)| state))
}

/// Whether an earlier attempt at the run came to its end; what it left behind is cleared then.
pub(crate) fn has_ended(draft: &Draft) -> Result<bool> {
    let ended = draft.path.join(checkpoint::STATE).exists();
    if ended {
        clear(draft)?;
    }
    Ok(ended)
}

fn clear(draft: &Draft) -> Result<()> {
    let steps = draft.path.join(STEPS);
    match fs::remove_dir_all(&steps) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(steps.display(), e)),
        _ => Ok(()),
    }
}
