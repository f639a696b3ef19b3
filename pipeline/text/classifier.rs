//! A sequence classifier: texts in, the probability of one label out.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ort::session::{Session, SessionInputValue};
use ort::value::{Tensor, TensorElementType, ValueType};
use serde::{Deserialize, Serialize};

use crate::folder::ModelFolder;
use crate::{Error, Result, Tokens, batches, runtime};

/// How texts are put to a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassifierOptions {
    /// Texts of more tokens are clipped (and always at the model's positions).
    pub max_tokens: usize,
    /// Tokens in a batch.
    pub batch_tokens: usize,
    /// The label, of those that the model's `config.json` names, whose probability is the score.
    pub label: String,
}

impl Default for ClassifierOptions {
    fn default() -> Self {
        ClassifierOptions { max_tokens: 64, batch_tokens: 1024, label: "keep".into() }
    }
}

/// Where the time went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timing {
    /// Texts scored.
    pub texts: u64,
    /// Inside ONNX Runtime, summed over the workers.
    pub inference: Duration,
    /// Tokenising, batching and inference, summed over the workers.
    pub total: Duration,
}

/// A RoBERTa- or BERT-type classifier with a session for each worker that asks at the same time.
#[derive(Debug)]
pub struct Classifier {
    folder: ModelFolder,
    tokens: Tokens,
    options: ClassifierOptions,
    label: usize,
    sessions: Mutex<Vec<Session>>,
    texts: AtomicU64,
    inference_ns: AtomicU64,
    total_ns: AtomicU64,
}

impl Classifier {
    /// Opens a checked folder and tries the model: with its tokenizer's last id, and with the longest text.
    pub fn open(folder: ModelFolder, options: ClassifierOptions) -> Result<Self> {
        let tokens = folder.tokens(options.max_tokens)?;
        let labels = &folder.config.id2label;
        let label =
            labels.iter().find(|(_, name)| **name == options.label).map(|(&label, _)| label).ok_or_else(|| {
                let names: Vec<&str> = labels.values().map(String::as_str).collect();
                let what = format!("id2label: expected a label {:?}, got {names:?}", options.label);
                Error::model(&folder.path.join("config.json"), what, "name the label to keep with keep_label")
            })?;
        let classifier = Classifier {
            folder,
            tokens,
            options,
            label,
            sessions: Mutex::default(),
            texts: AtomicU64::new(0),
            inference_ns: AtomicU64::new(0),
            total_ns: AtomicU64::new(0),
        };
        classifier.try_out()?;
        Ok(classifier)
    }

    fn try_out(&self) -> Result<()> {
        let session = self.new_session()?;
        check_inputs(&self.folder.onnx, &session)?;
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        let last = self.tokens.vocabulary().saturating_sub(1) as u32;
        let longest = self.tokens.longest();
        let unfit = |what: &str, e: Error| {
            let hint = "the ONNX file, tokenizer.json and config.json must come from one model";
            Error::model(&self.folder.onnx, format!("the model fails on {what}: {}", first_line(&e)), hint)
        };
        self.run(&[vec![last]]).map_err(|e| unfit(&format!("its tokenizer's last token, {last}"), e))?;
        self.run(&[vec![last; longest]]).map_err(|e| unfit(&format!("a text of {longest} tokens"), e))?;
        Ok(())
    }

    fn new_session(&self) -> Result<Session> {
        let onnx = &self.folder.onnx;
        let build = || -> ort::Result<Session> {
            // One thread each: there is one session per worker.
            let builder = Session::builder(runtime::environment().map_err(|e| ort::Error::new(e.to_string()))?)?;
            builder.with_intra_threads(1)?.with_memory_pattern(false)?.commit_from_file(onnx)
        };
        runtime::environment()?;
        build().map_err(|e| {
            let what = format!("ONNX Runtime cannot load it: {}", first_line(&e));
            Error::model(onnx, what, "export the model again, with operators that this ONNX Runtime knows")
        })
    }

    /// The probability of the label, for each text.
    pub fn scores(&self, texts: &[&str]) -> Result<Vec<f32>> {
        Ok(self.logits(texts)?.iter().map(|logits| softmax(logits, self.label)).collect())
    }

    /// The logits of each text.
    pub fn logits(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let started = Instant::now();
        let ids = self.tokens.ids(texts);
        let lengths: Vec<usize> = ids.iter().map(Vec::len).collect();
        let (order, cuts) = batches(&lengths, self.options.batch_tokens);
        let mut logits = vec![Vec::new(); texts.len()];
        for cut in cuts {
            let batch: Vec<&[u32]> = order[cut.clone()].iter().map(|&text| ids[text].as_slice()).collect();
            for (&text, row) in order[cut].iter().zip(self.run(&batch)?) {
                logits[text] = row;
            }
        }
        self.texts.fetch_add(texts.len() as u64, Ordering::Relaxed);
        self.total_ns.fetch_add(started.elapsed().as_nanos() as u64, Ordering::Relaxed);
        Ok(logits)
    }

    /// What the classifier has done so far, over all workers.
    pub fn timing(&self) -> Timing {
        Timing {
            texts: self.texts.load(Ordering::Relaxed),
            inference: Duration::from_nanos(self.inference_ns.load(Ordering::Relaxed)),
            total: Duration::from_nanos(self.total_ns.load(Ordering::Relaxed)),
        }
    }

    /// The model's folder.
    pub fn folder(&self) -> &ModelFolder {
        &self.folder
    }

    /// One batch of equally long texts.
    fn run(&self, batch: &[impl AsRef<[u32]>]) -> Result<Vec<Vec<f32>>> {
        let idle = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut session = idle.map_or_else(|| self.new_session(), Ok)?;
        let started = Instant::now();
        let logits = infer(&mut session, batch, self.label);
        self.inference_ns.fetch_add(started.elapsed().as_nanos() as u64, Ordering::Relaxed);
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        logits.map_err(|e| Error::Inference {
            path: self.folder.onnx.display().to_string(),
            texts: batch.len(),
            tokens: batch.first().map_or(0, |ids| ids.as_ref().len()),
            what: first_line(&e),
        })
    }
}

fn first_line(e: &impl std::fmt::Display) -> String {
    e.to_string().lines().next().unwrap_or_default().to_owned()
}

/// The inputs that a RoBERTa- or BERT-type model may have.
fn check_inputs(onnx: &Path, session: &Session) -> Result<()> {
    let hint =
        "expected a RoBERTa- or BERT-type classifier: input_ids, attention_mask and perhaps token_type_ids, logits out";
    let mut names = Vec::new();
    for input in session.inputs() {
        let kind = input.dtype().tensor_type();
        if !["input_ids", "attention_mask", "token_type_ids"].contains(&input.name())
            || !matches!(kind, Some(TensorElementType::Int64 | TensorElementType::Int32))
        {
            return Err(Error::model(onnx, format!("an input {:?} of type {}", input.name(), input.dtype()), hint));
        }
        names.push(input.name());
    }
    if !names.contains(&"input_ids") {
        return Err(Error::model(onnx, format!("no input \"input_ids\" among {names:?}"), hint));
    }
    let outputs: Vec<String> = session.outputs().iter().map(|o| format!("{} ({})", o.name(), o.dtype())).collect();
    match session.outputs().first().map(|output| output.dtype()) {
        Some(ValueType::Tensor { ty: TensorElementType::Float32, shape, .. }) if shape.len() == 2 => Ok(()),
        _ => Err(Error::model(onnx, format!("expected logits of two dimensions first, got {outputs:?}"), hint)),
    }
}

/// The rows of the first output, which must have the label.
fn infer(session: &mut Session, batch: &[impl AsRef<[u32]>], label: usize) -> ort::Result<Vec<Vec<f32>>> {
    let (rows, length) = (batch.len(), batch.first().map_or(0, |ids| ids.as_ref().len()));
    let ids: Vec<i64> = batch.iter().flat_map(|ids| ids.as_ref().iter().map(|&id| i64::from(id))).collect();
    let inputs: Vec<(String, SessionInputValue<'_>)> = session
        .inputs()
        .iter()
        .map(|input| {
            let values = match input.name() {
                "input_ids" => ids.clone(),
                "attention_mask" => vec![1; rows * length],
                _ => vec![0; rows * length],
            };
            let value: SessionInputValue<'_> = match input.dtype().tensor_type() {
                Some(TensorElementType::Int32) => {
                    let values: Vec<i32> = values.into_iter().map(|id| id as i32).collect();
                    Tensor::from_array(([rows, length], values))?.into()
                }
                _ => Tensor::from_array(([rows, length], values))?.into(),
            };
            Ok((input.name().to_owned(), value))
        })
        .collect::<ort::Result<_>>()?;
    let outputs = session.run(inputs)?;
    let (shape, logits) = outputs[0].try_extract_tensor::<f32>()?;
    let labels = logits.len() / rows.max(1);
    if label >= labels || shape.first() != Some(&(rows as i64)) {
        return Err(ort::Error::new(format!("expected logits for label {label} of {rows} texts, got {shape:?}")));
    }
    Ok(logits.chunks_exact(labels).map(<[f32]>::to_vec).collect())
}

fn softmax(logits: &[f32], label: usize) -> f32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    (logits[label] - largest).exp() / sum
}
