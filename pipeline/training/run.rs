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

use candle_core::Tensor;
use dataset::{Draft, Error, Result, Rows, Store, encode, fault};
use policy::checkpoint::{self, Moments, State};
use schemas::{Table, TrainLog};

use crate::learner::Learner;
use crate::log::Log;
use crate::{AdamW, Parameters, Update, candle};

/// Where checkpoints lie until the run ends.
pub(crate) const STEPS: &str = "steps";
/// The figure by which the best checkpoint is chosen; larger is better.
pub(crate) const CHOSEN_BY: &str = "chosen_by";
/// Checkpoints besides the best that are kept.
const KEPT: usize = 1;

/// What a run trains: named tensors that go into its checkpoints.
pub trait Trainee {
    /// The values of what is trained, row-major, by name.
    fn values(&self) -> Result<BTreeMap<String, Vec<f32>>>;

    /// Takes on these values.
    fn set(&mut self, values: &BTreeMap<String, Vec<f32>>) -> Result<()>;

    /// Writes a checkpoint of these values under `name`.
    fn save(&self, store: &Store, name: &str, state: &State, parameters: &Parameters) -> Result<()>;
}

/// A run at work.
#[derive(Debug)]
pub struct Run<'a, M = Learner> {
    draft: &'a Draft,
    store: Store,
    parameters: Parameters,
    /// What is trained, as it is now.
    pub model: M,
    /// Where it stands.
    pub state: State,
    /// Figures since the last checkpoint.
    pub log: Log,
}

impl<'a, M: Trainee> Run<'a, M> {
    /// Goes on from its last checkpoint, which `load` reads from its folder, or begins with what `start` gives.
    pub fn resume(
        draft: &'a Draft,
        load: impl FnOnce(&Path) -> Result<(M, State, Moments)>,
        start: impl FnOnce() -> Result<(M, State)>,
    ) -> Result<Self> {
        let store = Store::open(&draft.path.display().to_string())?;
        let (model, state, moments) = match checkpoint::steps(&store, STEPS)?.last() {
            Some(step) => load(&draft.path.join(checkpoint::folder(STEPS, *step)))?,
            None => {
                let (model, state) = start()?;
                (model, state, Moments::new())
            }
        };
        let mut parameters = Parameters::new(model.values()?);
        for (name, [mean, square]) in moments {
            parameters.moments.insert(name, [flat(&mean)?, flat(&square)?]);
        }
        Ok(Run { draft, store, parameters, model, state, log: Log::default() })
    }

    /// One update of so many in all, by these gradients.
    ///
    /// # Errors
    /// When one is not finite: nothing is changed then.
    pub fn update(&mut self, settings: &AdamW, of: u64, gradients: &engine::Gradients) -> Result<Update> {
        let update = settings.step(self.state.step + 1, of, &mut self.parameters, gradients)?;
        self.model.set(&self.parameters.values)?;
        fault::point(fault::UPDATED);
        Ok(update)
    }

    /// Writes what belongs to the steps since the last checkpoint.
    pub(crate) fn write<T: Table>(&self, rows: Rows<T>) -> Result<()> {
        let file = format!("{}/step={:06}.parquet", T::NAME, self.state.step);
        self.draft.write(&file, &encode(&T::contract(), &rows.into_batches())?)
    }

    /// Writes a checkpoint, and before it the figures since the last one. `chosen_by`: how good it is.
    pub fn save(&mut self, chosen_by: f64) -> Result<()> {
        let rows = self.log.take()?;
        self.write::<TrainLog>(rows)?;
        fault::point(fault::FIGURES);
        self.state.metrics.insert(CHOSEN_BY.into(), chosen_by);
        self.model.save(&self.store, STEPS, &self.state, &self.parameters)?;
        checkpoint::retain(&self.store, STEPS, KEPT, CHOSEN_BY)
    }

    /// The step of the best checkpoint so far; none before the first.
    pub fn best_step(&self) -> Result<Option<u64>> {
        Ok(best(&self.draft.path)?.map(|state| state.step))
    }

    /// The best checkpoint becomes the folder's own, and the others go. Returns its step.
    pub fn finish(self) -> Result<u64> {
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

/// A tensor's values, row-major.
pub(crate) fn flat(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all().and_then(|x| x.to_vec1()).map_err(candle)
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
pub fn has_ended(draft: &Draft) -> Result<bool> {
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
