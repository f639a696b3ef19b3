//! Checkpoints: a policy in training as Parquet, one folder per step.
//!
//! ```text
//! teacher/step=000120/weights.parquet     every tensor, in parts of at most 16 MiB with their BLAKE3 (table policy_weights)
//!                     optimizer.parquet   the two moments of every trained tensor            (policy_optimizer)
//!                     state.parquet       where training stands, and the digests of the two  (policy_state)
//! ```
//!
//! `state.parquet` is written last and at most once: it makes the checkpoint. A step without it was not finished, is never read, and is
//! overwritten by the next attempt. A checkpoint holds all that is needed to go on bit for bit, and the tokenizer, so that it stands for
//! itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::{Array, BinaryArray, Int32Array, RecordBatch, StringArray};
use bytes::Bytes;
use candle_core::{Device, Tensor};
use dataset::{Error, Result, Store, decode, encode};
use schemas::{
    Lists, PolicyOptimizer, PolicyOptimizerColumns, PolicyState, PolicyStateColumns, PolicyWeights,
    PolicyWeightsColumns, Table,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::files::{candle, read, wrong};
use crate::{Config, Lora, Model, Policy, Tokenizer};

/// The file that makes a checkpoint.
pub const STATE: &str = "state.parquet";
const WEIGHTS: &str = "weights.parquet";
/// The optimizer's moments, of which a finished run has none.
pub const OPTIMIZER: &str = "optimizer.parquet";
/// Bytes of a tensor in one row.
const PART_BYTES: usize = 16 << 20;
const DTYPE: &str = "F32";
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
    /// Digests of the files of the model that training began with, by name.
    pub base: BTreeMap<String, String>,
    /// Figures of this step.
    pub metrics: BTreeMap<String, f64>,
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

/// Writes a checkpoint of `model` under `name`. One that is there already is left as it is, and false returned.
pub fn save(store: &Store, name: &str, model: &Model, state: &State, moments: &Moments) -> Result<bool> {
    if let Some((metric, value)) = state.metrics.iter().find(|(_, value)| !value.is_finite()) {
        return Err(Error::setting(metric, "a finite figure", value, "training has gone wrong"));
    }
    let folder = folder(name, state.step);
    let at = |file: &str| format!("{folder}/{file}");
    if store.get(&at(STATE))?.is_some() {
        return Ok(false);
    }
    let weights = encode(&PolicyWeights::contract(), &weights_batches(&model.policy.stored())?)?;
    let optimizer = encode(&PolicyOptimizer::contract(), &moments_batches(moments)?)?;
    let text = |text: String| StringArray::from(vec![text]);
    let row = PolicyStateColumns {
        step: vec![state.step as i64].into(),
        prompt_cursor: vec![state.prompt_cursor as i64].into(),
        random: std::iter::once(state.random.iter().map(|word| *word as i64)).collect(),
        settings_digest: text(state.settings_digest.clone()),
        base: text(json(&state.base)?),
        config: text(model.policy.config.to_json().to_string()),
        lora: vec![model.policy.lora().map(|lora| json(&lora)).transpose()?].into(),
        tokenizer: text(model.tokenizer.to_json()?),
        metrics: text(json(&state.metrics)?),
        weights_blake3: text(digest(&weights)),
        optimizer_blake3: text(digest(&optimizer)),
    };
    let row = encode(&PolicyState::contract(), &[row.into_batch()?])?;
    store.put(&at(WEIGHTS), weights.into())?;
    store.put(&at(OPTIMIZER), optimizer.into())?;
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

/// A file that must be the one that the state names.
fn read_checked(path: &Path, file: &str, expected: &str) -> Result<Bytes> {
    let path = path.join(file);
    let bytes = Bytes::from(read(&path, HINT)?);
    match digest(&bytes) {
        got if got == expected => Ok(bytes),
        got => Err(wrong(&path, format!("expected BLAKE3 {expected}, got {got}"), HINT)),
    }
}

/// Reads a checkpoint from its folder on a local disk.
///
/// # Errors
/// When a file is missing, or is not the one that the state names.
pub fn load(path: &Path) -> Result<Checkpoint> {
    let row = Row::open(path)?;
    let (state, _) = row.state()?;
    let optimizer = read_checked(path, OPTIMIZER, row.columns.optimizer_blake3.value(0))?;
    let url = path.join(OPTIMIZER).display().to_string();
    let mut pieces = Pieces::new();
    for batch in decode(&url, &PolicyOptimizer::contract(), optimizer, &[])? {
        let PolicyOptimizerColumns { name, moment, shape, data, .. } = PolicyOptimizer::from_batch(&batch)?;
        gather(&mut pieces, &name, Some(&moment), &shape, &data);
    }
    let mut parts = tensors(path, pieces)?;
    let names: Vec<String> = parts.keys().filter(|(_, moment)| *moment == 1).map(|(name, _)| name.clone()).collect();
    let moments = names.into_iter().filter_map(|name| {
        let pair = [parts.remove(&(name.clone(), 1))?, parts.remove(&(name.clone(), 2))?];
        Some((name, pair))
    });
    Ok(Checkpoint { moments: moments.collect(), model: open(path)?, state })
}

/// Where training stood, from a checkpoint's folder on a local disk.
pub fn state(path: &Path) -> Result<State> {
    Ok(Row::open(path)?.state()?.0)
}

/// A checkpoint's model, from its folder on a local disk; the optimizer is not looked at.
pub(crate) fn open(path: &Path) -> Result<Model> {
    let row = Row::open(path)?;
    let wrong = |what: String| wrong(&row.path, what, HINT);
    let config = Config::from_json(row.columns.config.value(0).as_bytes()).map_err(wrong)?;
    let tokenizer = Tokenizer::from_json(&row.path, row.columns.tokenizer.value(0).as_bytes())?;
    let (_, lora) = row.state()?;
    let weights = read_checked(path, WEIGHTS, row.columns.weights_blake3.value(0))?;
    let mut pieces = Pieces::new();
    for batch in decode(&path.join(WEIGHTS).display().to_string(), &PolicyWeights::contract(), weights, &[])? {
        let PolicyWeightsColumns { name, shape, data, .. } = PolicyWeights::from_batch(&batch)?;
        gather(&mut pieces, &name, None, &shape, &data);
    }
    let weights = tensors(path, pieces)?.into_iter().map(|((name, _), tensor)| (name, tensor));
    let policy = Policy::restore(config, weights.collect(), lora, path)?;
    Ok(Model { policy, tokenizer })
}

fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
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
        let PolicyStateColumns { step, prompt_cursor, random, settings_digest, base, lora, metrics, .. } =
            &self.columns;
        let state = State {
            step: step.value(0) as u64,
            prompt_cursor: prompt_cursor.value(0) as u64,
            random: random.row(0).iter().map(|word| *word as u64).collect(),
            settings_digest: settings_digest.value(0).to_owned(),
            base: self.json("base", base)?,
            metrics: self.json("metrics", metrics)?,
        };
        Ok((state, if lora.is_valid(0) { Some(self.json("lora", lora)?) } else { None }))
    }
}

/// What the rows of a tensor's parts have in common, and the parts' bytes.
struct Parts {
    shape: Vec<i32>,
    parts: Vec<Vec<u8>>,
}

impl Parts {
    fn of(tensor: &Tensor) -> Result<Self> {
        let values: Vec<f32> = tensor.flatten_all().and_then(|flat| flat.to_vec1()).map_err(candle)?;
        let bytes = |part: &[f32]| part.iter().flat_map(|x| x.to_le_bytes()).collect();
        let shape = tensor.dims().iter().map(|n| *n as i32).collect();
        Ok(Parts { shape, parts: values.chunks(PART_BYTES / 4).map(bytes).collect() })
    }

    /// The shape's column.
    fn shapes(&self) -> Lists<Int32Array> {
        std::iter::once(self.shape.iter().copied()).collect()
    }
}

/// A batch per part: no array holds more than one.
fn weights_batches(tensors: &BTreeMap<String, Tensor>) -> Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    for (name, tensor) in tensors {
        let parts = Parts::of(tensor)?;
        for (number, data) in (0..).zip(&parts.parts) {
            let columns = PolicyWeightsColumns {
                name: vec![name.as_str()].into(),
                dtype: vec![DTYPE].into(),
                shape: parts.shapes(),
                part: vec![number].into(),
                data: vec![data.as_slice()].into(),
                blake3: vec![digest(data)].into(),
            };
            batches.push(columns.into_batch()?);
        }
    }
    Ok(batches)
}

fn moments_batches(moments: &Moments) -> Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    for (name, pair) in moments {
        for (moment, tensor) in (1..).zip(pair) {
            let parts = Parts::of(tensor)?;
            for (number, data) in (0..).zip(&parts.parts) {
                let columns = PolicyOptimizerColumns {
                    name: vec![name.as_str()].into(),
                    moment: vec![moment].into(),
                    dtype: vec![DTYPE].into(),
                    shape: parts.shapes(),
                    part: vec![number].into(),
                    data: vec![data.as_slice()].into(),
                    blake3: vec![digest(data)].into(),
                };
                batches.push(columns.into_batch()?);
            }
        }
    }
    Ok(batches)
}

/// Shape and bytes by name and moment (0: weights).
type Pieces = BTreeMap<(String, i32), (Vec<usize>, Vec<u8>)>;

/// Appends a batch's parts, which lie in their order, to their tensors.
fn gather(
    pieces: &mut Pieces,
    name: &StringArray,
    moment: Option<&Int32Array>,
    shape: &Lists<Int32Array>,
    data: &BinaryArray,
) {
    for row in 0..name.len() {
        let key = (name.value(row).to_owned(), moment.map_or(0, |moment| moment.value(row)));
        let shape = || shape.row(row).iter().map(|n| *n as usize).collect();
        let (_, bytes) = pieces.entry(key).or_insert_with(|| (shape(), Vec::new()));
        bytes.extend_from_slice(data.value(row));
    }
}

fn tensors(path: &Path, pieces: Pieces) -> Result<BTreeMap<(String, i32), Tensor>> {
    let tensor = |((name, moment), (shape, bytes)): ((String, i32), (Vec<usize>, Vec<u8>))| {
        let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect();
        let count = shape.iter().try_fold(1_usize, |count, n| count.checked_mul(*n));
        if count != Some(values.len()) {
            return Err(wrong(path, format!("{name}: expected {shape:?} numbers, got {}", values.len()), HINT));
        }
        Ok(((name, moment), Tensor::from_vec(values, shape, &Device::Cpu).map_err(candle)?))
    };
    pieces.into_iter().map(tensor).collect()
}
