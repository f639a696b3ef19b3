//! Checkpoints: a policy in training as Parquet, one folder per step.
//!
//! ```text
//! teacher/step=000120/weights-0000.parquet    trained tensors, in parts of at most 16 MiB with their BLAKE3 (table policy_weights)
//!                     weights-0001.parquet    .. more of them: a file holds at most 256 MiB
//!                     optimizer-0000.parquet  the two moments of every trained tensor                    (policy_optimizer)
//!                     state.parquet           where training stands, and the digests of all these files  (policy_state)
//! ```
//!
//! `state.parquet` is written last and at most once: it makes the checkpoint. A step without it was not finished, is never read, and is
//! overwritten by the next attempt. A checkpoint holds all that is needed to go on bit for bit, and the tokenizer, so that it stands for
//! itself; but one of adapters holds them alone. It needs its base, whose files' digests it knows, and where they lay.
//!
//! Files are made and read one by one, so a checkpoint of any size takes the memory of one file beside the tensors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::{Array, StringArray};
use bytes::Bytes;
use candle_core::Tensor;
use dataset::plan::file_digest;
use dataset::{Error, Result, Store, decode, encode};
use schemas::{PolicyOptimizer, PolicyState, PolicyStateColumns, PolicyWeights, Table};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::files::{candle, read, wrong};
pub use crate::pieces::OPTIMIZER;
use crate::pieces::{Cut, Pieces, WEIGHTS, digest, put};
use crate::{Config, Lora, Model, Policy, Prompt, Tokenizer};

/// The file that makes a checkpoint.
pub const STATE: &str = "state.parquet";
const HINT: &str = "the checkpoint was changed or damaged after it was written: take another step";

/// Where training stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    /// Updates made.
    pub step: u64,
    /// Prompts taken from the training set so far.
    pub prompt_cursor: u64,
    /// State of the random numbers.
    pub random: Vec<u64>,
    /// Digest of the training's settings.
    pub settings_digest: String,
    /// BLAKE3 of the files of the model that training began with, by name: what [`base`] gives.
    pub base: BTreeMap<String, String>,
    /// Where that model lay, as an absolute path. A checkpoint of adapters looks for it there.
    pub base_path: Option<PathBuf>,
    /// How users are asked; none where there are no prompts.
    pub prompt: Option<Prompt>,
    /// Figures of this step.
    pub metrics: BTreeMap<String, f64>,
}

/// A checkpoint's tensors, and what it says of itself: of any model, of policies and others.
#[derive(Debug)]
pub struct Tensors {
    /// What the model is, as JSON.
    pub config: String,
    /// How it reads texts, as JSON.
    pub tokenizer: String,
    /// Rank and α of adapters, as JSON; none without adapters.
    pub lora: Option<String>,
    /// The trained tensors, by name.
    pub weights: BTreeMap<String, Tensor>,
    /// The optimizer's moments.
    pub moments: Moments,
}

/// The two moments of a trained tensor: means of its gradient and of the gradient's square.
pub type Moments = BTreeMap<String, [Tensor; 2]>;

/// A checkpoint, read.
#[derive(Debug)]
pub struct Checkpoint {
    /// Policy and tokenizer.
    pub model: Model,
    /// Where training stands.
    pub state: State,
    /// The optimizer's moments.
    pub moments: Moments,
}

/// `teacher/step=000120`: the folder of a step.
pub fn folder(name: &str, step: u64) -> String {
    format!("{name}/step={step:06}")
}

/// The identity of a model that training begins with: its files' names and BLAKE3.
pub fn base(path: &Path) -> Result<BTreeMap<String, String>> {
    let name = |file: &Path| file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Model::files(path)?.iter().map(|file| Ok((name(file), file_digest(file)?.0))).collect()
}

/// Writes a checkpoint of `model` under `name`. One that is there already is left as it is, and false returned. Of a model with adapters,
/// these alone are written.
///
/// # Errors
/// When a figure is not finite, or there are adapters and the state does not name their base.
pub fn save(store: &Store, name: &str, model: &Model, state: &State, moments: &Moments) -> Result<bool> {
    let policy = &model.policy;
    if policy.lora().is_some() && (state.base.is_empty() || state.base_path.is_none()) {
        return Err(Error::setting("base", "the model that the adapters stand on", "none", "name it in the state"));
    }
    let weights: BTreeMap<String, Tensor> = match policy.lora() {
        Some(_) => policy.trainable().into_iter().map(|(name, var)| (name, var.as_tensor().clone())).collect(),
        None => policy.stored(),
    };
    let tensors = Tensors {
        config: policy.config.to_json().to_string(),
        tokenizer: model.tokenizer.to_json()?,
        lora: policy.lora().map(|lora| json(&lora)).transpose()?,
        weights,
        moments: moments.clone(),
    };
    save_tensors(store, name, &tensors, state)
}

/// The same of any model.
///
/// # Errors
/// When a figure is not finite.
pub fn save_tensors(store: &Store, name: &str, tensors: &Tensors, state: &State) -> Result<bool> {
    if let Some((metric, value)) = state.metrics.iter().find(|(_, value)| !value.is_finite()) {
        return Err(Error::setting(metric, "a finite figure", value, "training has gone wrong"));
    }
    let folder = folder(name, state.step);
    let at = |file: &str| format!("{folder}/{file}");
    if store.get(&at(STATE))?.is_some() {
        return Ok(false);
    }
    let Tensors { config, tokenizer, lora, weights, moments } = tensors;
    let weights = weights.iter().map(|(name, tensor)| (name.as_str(), 0, tensor));
    let pairs =
        moments.iter().flat_map(|(name, pair)| (1..).zip(pair).map(move |(n, tensor)| (name.as_str(), n, tensor)));
    let mut files = put(store, &folder, WEIGHTS, Cut::default(), weights)?;
    files.extend(put(store, &folder, OPTIMIZER, Cut::default(), pairs)?);
    let text = |text: String| StringArray::from(vec![text]);
    let row = PolicyStateColumns {
        step: vec![state.step as i64].into(),
        prompt_cursor: vec![state.prompt_cursor as i64].into(),
        random: std::iter::once(state.random.iter().map(|word| *word as i64)).collect(),
        settings_digest: text(state.settings_digest.clone()),
        base: text(json(&state.base)?),
        base_path: vec![state.base_path.as_ref().map(|path| path.display().to_string())].into(),
        config: text(config.clone()),
        lora: vec![lora.clone()].into(),
        tokenizer: text(tokenizer.clone()),
        prompt: vec![state.prompt.as_ref().map(json).transpose()?].into(),
        metrics: text(json(&state.metrics)?),
        files: text(json(&files)?),
    };
    let row = encode(&PolicyState::contract(), &[row.into_batch()?])?;
    store.create(&at(STATE), row.into())
}

/// The finished steps under `name`, in order.
pub fn steps(store: &Store, name: &str) -> Result<Vec<u64>> {
    let step = |path: &str| path.strip_suffix(STATE)?.trim_end_matches('/').rsplit_once("step=")?.1.parse().ok();
    let mut steps: Vec<u64> = store.list(name)?.iter().filter_map(|file| step(&file.path)).collect();
    steps.sort_unstable();
    Ok(steps)
}

/// Deletes all checkpoints under `name` but the last `keep` and the one with the largest `metric`.
pub fn retain(store: &Store, name: &str, keep: usize, metric: &str) -> Result<()> {
    let steps = steps(store, name)?;
    let mut best: Option<(f64, u64)> = None;
    for step in &steps {
        let path = format!("{}/{STATE}", folder(name, *step));
        let Some(bytes) = store.get(&path)? else { continue };
        let (state, _) = Row::read(Path::new(&path), bytes)?.state()?;
        if let Some(value) = state.metrics.get(metric).filter(|value| best.is_none_or(|(most, _)| **value > most)) {
            best = Some((*value, *step));
        }
    }
    let old = &steps[..steps.len().saturating_sub(keep)];
    for step in old.iter().filter(|step| best.is_none_or(|(_, best)| best != **step)) {
        let folder = folder(name, *step);
        // Without its state it is no checkpoint any more, whatever a kill leaves of it.
        store.delete(&format!("{folder}/{STATE}"))?;
        store.clear(&folder)?;
    }
    Ok(())
}

/// Reads a checkpoint from its folder on a local disk.
///
/// # Errors
/// When a file is missing, or is not the one that the state names; when the base of adapters is.
pub fn load(path: &Path) -> Result<Checkpoint> {
    load_on(path, None)
}

/// The same, where the base of adapters is at another place than the checkpoint names.
pub fn load_on(path: &Path, base: Option<&Path>) -> Result<Checkpoint> {
    let row = Row::open(path)?;
    let (state, _) = row.state()?;
    Ok(Checkpoint { moments: row.moments(path)?, model: open(path, base)?, state })
}

/// Reads a checkpoint of any model from its folder on a local disk; once its run has ended, it has no moments.
///
/// # Errors
/// When a file is missing, or is not the one that the state names.
pub fn load_tensors(path: &Path) -> Result<(Tensors, State)> {
    let row = Row::open(path)?;
    let (state, _) = row.state()?;
    let moments = match path.join(format!("{OPTIMIZER}-0000.parquet")).exists() {
        true => row.moments(path)?,
        false => Moments::new(),
    };
    let PolicyStateColumns { config, tokenizer, lora, .. } = &row.columns;
    let tensors = Tensors {
        config: config.value(0).to_owned(),
        tokenizer: tokenizer.value(0).to_owned(),
        lora: lora.is_valid(0).then(|| lora.value(0).to_owned()),
        weights: row.tensors(path, WEIGHTS)?.into_iter().map(|((name, _), tensor)| (name, tensor)).collect(),
        moments,
    };
    Ok((tensors, state))
}

/// Where training stood, from a checkpoint's folder on a local disk.
pub fn state(path: &Path) -> Result<State> {
    Ok(Row::open(path)?.state()?.0)
}

/// A checkpoint's model, from its folder on a local disk; the optimizer is not looked at.
pub(crate) fn open(path: &Path, base: Option<&Path>) -> Result<Model> {
    let row = Row::open(path)?;
    let wrong = |what: String| wrong(&row.path, what, HINT);
    let config = Config::from_json(row.columns.config.value(0).as_bytes()).map_err(wrong)?;
    let tokenizer = Tokenizer::from_json(&row.path, row.columns.tokenizer.value(0).as_bytes())?;
    let (state, lora) = row.state()?;
    let mut weights = match lora {
        Some(_) => base_weights(&row.path, &state, base)?,
        None => BTreeMap::new(),
    };
    weights.extend(row.tensors(path, WEIGHTS)?.into_iter().map(|((name, _), tensor)| (name, tensor)));
    let policy = Policy::restore(config, weights, lora, path)?;
    Ok(Model { policy, tokenizer })
}

/// The weights that a checkpoint's adapters stand on: those of the very model that the state names.
fn base_weights(path: &Path, state: &State, elsewhere: Option<&Path>) -> Result<BTreeMap<String, Tensor>> {
    let hint = "put the model back that training began with, or say where it is: --base";
    let Some(at) = elsewhere.or(state.base_path.as_deref()) else {
        return Err(wrong(path, "expected the place of the adapters' base, got none", hint));
    };
    let got = base(at).map_err(|e| e.during(format!("{}: the base of its adapters", path.display())))?;
    let differs = |(name, digest): &(&String, &String)| got.get(*name) != Some(*digest);
    if let Some((name, digest)) = state.base.iter().find(differs) {
        let got = got.get(name).map_or("none", String::as_str);
        let what = format!("{name}: expected BLAKE3 {digest}, that of the base of {}, got {got}", path.display());
        return Err(wrong(at, what, hint));
    }
    Model::open(at)?.policy.merged_tensors().map_err(candle)
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::bug(format!("checkpoint: {e}")))
}

/// The row of `state.parquet`.
struct Row {
    path: PathBuf,
    columns: PolicyStateColumns,
}

impl Row {
    fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(STATE);
        Row::read(&path, read(&path, HINT)?.into())
    }

    fn read(path: &Path, bytes: Bytes) -> Result<Self> {
        let batches = decode(&path.display().to_string(), &PolicyState::contract(), bytes, &[])?;
        match batches.iter().find(|batch| batch.num_rows() == 1) {
            Some(batch) => Ok(Row { path: path.into(), columns: PolicyState::from_batch(batch)? }),
            None => Err(wrong(path, "expected one row", HINT)),
        }
    }

    fn json<T: DeserializeOwned>(&self, column: &str, text: &StringArray) -> Result<T> {
        serde_json::from_str(text.value(0))
            .map_err(|e| wrong(&self.path, format!("column {column}: expected JSON, got {e}"), HINT))
    }

    /// The state, and the adapters' sizes.
    fn state(&self) -> Result<(State, Option<Lora>)> {
        let PolicyStateColumns {
            step,
            prompt_cursor,
            random,
            settings_digest,
            base,
            base_path,
            lora,
            prompt,
            metrics,
            ..
        } = &self.columns;
        let state = State {
            step: step.value(0) as u64,
            prompt_cursor: prompt_cursor.value(0) as u64,
            random: random.row(0).iter().map(|word| *word as u64).collect(),
            settings_digest: settings_digest.value(0).to_owned(),
            base: self.json("base", base)?,
            base_path: base_path.is_valid(0).then(|| base_path.value(0).into()),
            prompt: if prompt.is_valid(0) { Some(self.json("prompt", prompt)?) } else { None },
            metrics: self.json("metrics", metrics)?,
        };
        Ok((state, if lora.is_valid(0) { Some(self.json("lora", lora)?) } else { None }))
    }

    /// The optimizer's moments.
    fn moments(&self, folder: &Path) -> Result<Moments> {
        let mut parts = self.tensors(folder, OPTIMIZER)?;
        let names: Vec<String> =
            parts.keys().filter(|(_, moment)| *moment == 1).map(|(name, _)| name.clone()).collect();
        let moments = names.into_iter().filter_map(|name| {
            let pair = [parts.remove(&(name.clone(), 1))?, parts.remove(&(name.clone(), 2))?];
            Some((name, pair))
        });
        Ok(moments.collect())
    }

    /// The tensors in the checkpoint's files of this stem, each of which must be the one that the state names.
    fn tensors(&self, folder: &Path, stem: &str) -> Result<BTreeMap<(String, i32), Tensor>> {
        let files: BTreeMap<String, String> = self.json("files", &self.columns.files)?;
        let mut pieces = Pieces::default();
        for (file, expected) in files.iter().filter(|(file, _)| file.starts_with(stem)) {
            let path = folder.join(file);
            let bytes = Bytes::from(read(&path, HINT)?);
            let got = digest(&bytes);
            if got != *expected {
                return Err(wrong(&path, format!("expected BLAKE3 {expected}, got {got}"), HINT));
            }
            let contract = if stem == WEIGHTS { PolicyWeights::contract() } else { PolicyOptimizer::contract() };
            for batch in decode(&path.display().to_string(), &contract, bytes, &[])? {
                pieces.add(stem, &batch)?;
            }
        }
        pieces.tensors(|what| wrong(folder, what, HINT))
    }
}
