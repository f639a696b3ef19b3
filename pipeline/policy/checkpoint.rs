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
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, ListArray, ListBuilder, RecordBatch, StringArray, UInt32Array, UInt32Builder,
    UInt64Array, UInt64Builder,
};
use arrow::datatypes::{DataType, Field};
use bytes::Bytes;
use candle_core::{Device, Tensor};
use dataset::{Rows, Store, decode, encode, from_columns};
use schemas::{PolicyOptimizer, PolicyState, PolicyWeights, Table};
use serde::Serialize;
use serde::de::DeserializeOwned;
use text::Digests;

use crate::{Config, Error, Model, Policy, Result, Tokenizer};

/// The file that makes a checkpoint.
pub const STATE: &str = "state.parquet";
const WEIGHTS: &str = "weights.parquet";
const OPTIMIZER: &str = "optimizer.parquet";
/// Bytes of a tensor in one row.
const PART_BYTES: usize = 16 << 20;
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
    /// Digests of the model that training began with.
    pub base: Digests,
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
        return Err(Error::setting(
            metric,
            format!("expected a finite figure, got {value}"),
            "training has gone wrong",
        ));
    }
    let folder = folder(name, state.step);
    let at = |file: &str| format!("{folder}/{file}");
    if store.get(&at(STATE))?.is_some() {
        return Ok(false);
    }
    let weights = encode(&PolicyWeights::contract(), &weights_batches(&model.policy.stored())?)?;
    let optimizer = encode(&PolicyOptimizer::contract(), &moments_batches(moments)?)?;
    let mut random = ListBuilder::new(UInt64Builder::new()).with_field(item(DataType::UInt64));
    random.append_value(state.random.iter().copied().map(Some));
    let text = |text: String| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from(vec![state.step])),
        Arc::new(UInt64Array::from(vec![state.prompt_cursor])),
        Arc::new(random.finish()),
        text(state.settings_digest.clone()),
        text(json(&state.base)?),
        text(model.policy.config.to_json().to_string()),
        Arc::new(StringArray::from(vec![model.policy.lora().map(|lora| json(&lora)).transpose()?])),
        text(model.tokenizer.to_json()?),
        text(json(&state.metrics)?),
        text(digest(&weights)),
        text(digest(&optimizer)),
    ];
    let row = encode(&PolicyState::contract(), &[from_columns::<PolicyState>(columns)?])?;
    store.put(&at(WEIGHTS), weights.into())?;
    store.put(&at(OPTIMIZER), optimizer.into())?;
    Ok(store.create(&at(STATE), row.into())?)
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

fn read(path: &Path, file: &str) -> Result<Bytes> {
    let path = path.join(file);
    std::fs::read(&path).map(Bytes::from).map_err(|e| Error::model(&path, e, HINT))
}

/// A file that must be the one that the state names.
fn read_checked(path: &Path, file: &str, row: &Row, column: &str) -> Result<Bytes> {
    let (bytes, expected) = (read(path, file)?, row.text(column)?);
    match digest(&bytes) == expected {
        true => Ok(bytes),
        false => {
            let what = format!("expected BLAKE3 {expected}, got {}", digest(&bytes));
            Err(Error::model(&path.join(file), what, HINT))
        }
    }
}

/// Reads a checkpoint from its folder on a local disk.
///
/// # Errors
/// When a file is missing, or is not the one that the state names.
pub fn load(path: &Path) -> Result<Checkpoint> {
    let row = Row::read(&path.join(STATE), read(path, STATE)?)?;
    let (state, _) = row.state()?;
    let optimizer = read_checked(path, OPTIMIZER, &row, "optimizer_blake3")?;
    let url = path.join(OPTIMIZER).display().to_string();
    let batches = decode(&url, &PolicyOptimizer::contract(), optimizer, &[])?;
    let mut parts = tensors::<PolicyOptimizer>(path, &batches)?;
    let names: Vec<String> = parts.keys().filter(|(_, moment)| *moment == 1).map(|(name, _)| name.clone()).collect();
    let moments = names.into_iter().filter_map(|name| {
        let pair = [parts.remove(&(name.clone(), 1))?, parts.remove(&(name.clone(), 2))?];
        Some((name, pair))
    });
    Ok(Checkpoint { moments: moments.collect(), model: open(path)?, state })
}

/// A checkpoint's model, from its folder on a local disk; the optimizer is not looked at.
pub(crate) fn open(path: &Path) -> Result<Model> {
    let state_path = path.join(STATE);
    let bytes = read(path, STATE)?;
    let digests = Digests::from([(STATE.to_owned(), digest(&bytes))]);
    let row = Row::read(&state_path, bytes)?;
    let wrong = |what: String| Error::model(&state_path, what, HINT);
    let config = Config::from_json(row.text("config")?.as_bytes()).map_err(wrong)?;
    let tokenizer = Tokenizer::from_json(&state_path, row.text("tokenizer")?.as_bytes())?;
    let (_, lora) = row.state()?;
    let weights = read_checked(path, WEIGHTS, &row, "weights_blake3")?;
    let batches = decode(&path.join(WEIGHTS).display().to_string(), &PolicyWeights::contract(), weights, &[])?;
    let weights = tensors::<PolicyWeights>(path, &batches)?.into_iter().map(|((name, _), tensor)| (name, tensor));
    let policy = Policy::restore(config, weights.collect(), lora, path)?;
    Ok(Model { policy, tokenizer, digests, trained: true })
}

fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::setting("checkpoint", e, "this is a bug"))
}

fn item(data_type: DataType) -> Arc<Field> {
    Arc::new(Field::new("item", data_type, false))
}

/// The row of `state.parquet`.
struct Row {
    path: std::path::PathBuf,
    batch: RecordBatch,
}

impl Row {
    fn read(path: &Path, bytes: Bytes) -> Result<Self> {
        let batches = decode(&path.display().to_string(), &PolicyState::contract(), bytes, &[])?;
        match batches.into_iter().find(|batch| batch.num_rows() == 1) {
            Some(batch) => Ok(Row { path: path.into(), batch }),
            None => Err(Error::model(path, "expected one row", HINT)),
        }
    }

    fn text(&self, column: &str) -> Result<&str> {
        Ok(Rows::<PolicyState>::column::<StringArray>(&self.batch, column)?.value(0))
    }

    fn number(&self, column: &str) -> Result<u64> {
        Ok(Rows::<PolicyState>::column::<UInt64Array>(&self.batch, column)?.value(0))
    }

    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T> {
        serde_json::from_str(self.text(column)?)
            .map_err(|e| Error::model(&self.path, format!("column {column}: expected JSON, got {e}"), HINT))
    }

    /// The state, and the adapters' sizes.
    fn state(&self) -> Result<(State, Option<crate::Lora>)> {
        let random = Rows::<PolicyState>::column::<ListArray>(&self.batch, "random")?.value(0);
        let random = random.as_any().downcast_ref::<UInt64Array>().map(|a| a.values().to_vec()).unwrap_or_default();
        let has_lora = Rows::<PolicyState>::column::<StringArray>(&self.batch, "lora")?.is_valid(0);
        let state = State {
            step: self.number("step")?,
            prompt_cursor: self.number("prompt_cursor")?,
            random,
            settings_digest: self.text("settings_digest")?.to_owned(),
            base: self.json("base")?,
            metrics: self.json("metrics")?,
        };
        Ok((state, if has_lora { Some(self.json("lora")?) } else { None }))
    }
}

/// A tensor's bytes in parts, as columns from `dtype` on.
struct Parts {
    shapes: ListBuilder<UInt32Builder>,
    parts: Vec<u32>,
    data: Vec<Vec<u8>>,
}

impl Parts {
    fn new() -> Self {
        let shapes = ListBuilder::new(UInt32Builder::new()).with_field(item(DataType::UInt32));
        Parts { shapes, parts: Vec::new(), data: Vec::new() }
    }

    /// Adds a tensor; returns its number of parts.
    fn add(&mut self, tensor: &Tensor) -> Result<usize> {
        let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
        let parts: Vec<&[f32]> = values.chunks(PART_BYTES / 4).collect();
        for (number, part) in (0..).zip(&parts) {
            self.shapes.append_value(tensor.dims().iter().map(|n| Some(*n as u32)));
            self.parts.push(number);
            self.data.push(part.iter().flat_map(|x| x.to_le_bytes()).collect());
        }
        Ok(parts.len())
    }

    fn columns(mut self) -> Vec<ArrayRef> {
        let digests: Vec<String> = self.data.iter().map(|data| digest(data)).collect();
        vec![
            Arc::new(StringArray::from(vec!["F32"; self.parts.len()])),
            Arc::new(self.shapes.finish()),
            Arc::new(UInt32Array::from(self.parts)),
            Arc::new(BinaryArray::from_iter_values(self.data)),
            Arc::new(StringArray::from(digests)),
        ]
    }
}

/// A batch per tensor: no array holds more than one.
fn weights_batches(tensors: &BTreeMap<String, Tensor>) -> Result<Vec<RecordBatch>> {
    let batch = |(name, tensor): (&String, &Tensor)| {
        let mut parts = Parts::new();
        let count = parts.add(tensor)?;
        let names: ArrayRef = Arc::new(StringArray::from(vec![name.as_str(); count]));
        Ok(from_columns::<PolicyWeights>(std::iter::once(names).chain(parts.columns()).collect())?)
    };
    tensors.iter().map(batch).collect()
}

fn moments_batches(moments: &Moments) -> Result<Vec<RecordBatch>> {
    let batch = |(name, moment, tensor): (&String, u32, &Tensor)| {
        let mut parts = Parts::new();
        let count = parts.add(tensor)?;
        let names: ArrayRef = Arc::new(StringArray::from(vec![name.as_str(); count]));
        let moment: ArrayRef = Arc::new(UInt32Array::from(vec![moment; count]));
        Ok(from_columns::<PolicyOptimizer>([names, moment].into_iter().chain(parts.columns()).collect())?)
    };
    moments.iter().flat_map(|(name, [first, second])| [(name, 1, first), (name, 2, second)]).map(batch).collect()
}

/// Tensors by name and moment (0: weights), put together from their parts.
fn tensors<T: Table>(path: &Path, batches: &[RecordBatch]) -> Result<BTreeMap<(String, u32), Tensor>> {
    let mut bytes: BTreeMap<(String, u32), (Vec<usize>, Vec<u8>)> = BTreeMap::new();
    for batch in batches {
        let names: &StringArray = Rows::<T>::column(batch, "name")?;
        let moments = batch.column_by_name("moment").and_then(|c| c.as_any().downcast_ref::<UInt32Array>());
        let shapes: &ListArray = Rows::<T>::column(batch, "shape")?;
        let data: &BinaryArray = Rows::<T>::column(batch, "data")?;
        for row in 0..batch.num_rows() {
            let key = (names.value(row).to_owned(), moments.map_or(0, |moments| moments.value(row)));
            let shape = shapes.value(row);
            let shape = shape.as_any().downcast_ref::<UInt32Array>().map(|a| a.values().to_vec()).unwrap_or_default();
            let entry = bytes.entry(key).or_insert_with(|| (shape.iter().map(|n| *n as usize).collect(), Vec::new()));
            entry.1.extend_from_slice(data.value(row));
        }
    }
    let tensor = |((name, moment), (shape, bytes)): ((String, u32), (Vec<usize>, Vec<u8>))| {
        let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect();
        if values.len() != shape.iter().product::<usize>() {
            let what = format!("{name}: expected {shape:?} numbers, got {}", values.len());
            return Err(Error::model(path, what, HINT));
        }
        Ok(((name, moment), Tensor::from_vec(values, shape, &Device::Cpu)?))
    };
    bytes.into_iter().map(tensor).collect()
}
