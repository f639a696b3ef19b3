//! A model that reads token ids: its sessions, how texts are put to it, and where the time goes.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use dataset::{Error, Exit, Result};
use ort::session::{RunOptions, Session, SessionInputValue};
use ort::value::{Tensor, TensorElementType, ValueType};

use crate::folder::{ModelFolder, wrong};
use crate::{Tokens, batches, runtime};

/// How long a batch may take. A model may contain a loop without an end, which cannot be told beforehand.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 600 });

/// Where the time went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timing {
    /// Texts put to the model.
    pub texts: u64,
    /// Inside ONNX Runtime, summed over the workers.
    pub inference: Duration,
    /// Tokenising, batching and inference, summed over the workers.
    pub total: Duration,
}

impl Timing {
    /// How fast a model was that has worked for so many seconds, and how much of it was the model; nothing when it was not asked.
    pub fn said(&self, done: &str, seconds: f64) -> Option<String> {
        let Timing { texts, inference, total } = self;
        (*texts > 0).then(|| {
            format!(
                "{} texts {done}, {:.0} texts/s; {:.1}% of the workers' {:.1} s inside ONNX Runtime",
                dataset::account::grouped(*texts),
                *texts as f64 / seconds.max(1e-9),
                100.0 * inference.as_secs_f64() / total.as_secs_f64().max(1e-9),
                total.as_secs_f64()
            )
        })
    }
}

/// What the first output of a model must be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    /// Its dimensions; the first are the texts.
    pub(crate) rank: usize,
    /// In words, for messages.
    pub(crate) about: &'static str,
}

/// An open model with a session for each worker that asks at the same time.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) folder: ModelFolder,
    tokens: Tokens,
    batch_tokens: usize,
    width: usize,
    sessions: Mutex<Vec<Session>>,
    texts: AtomicU64,
    inference_ns: AtomicU64,
    total_ns: AtomicU64,
}

impl Model {
    /// Opens a checked folder and tries the model: with its tokenizer's last id, and with the longest text.
    pub(crate) fn open(
        folder: ModelFolder,
        max_tokens: usize,
        batch_tokens: usize,
        expected: Expected,
    ) -> Result<Self> {
        let tokens = folder.tokens(max_tokens)?;
        let mut model = Model {
            folder,
            tokens,
            batch_tokens,
            width: 0,
            sessions: Mutex::default(),
            texts: AtomicU64::new(0),
            inference_ns: AtomicU64::new(0),
            total_ns: AtomicU64::new(0),
        };
        let session = model.new_session()?;
        check_signature(&model.folder.onnx, &session, expected)?;
        model.sessions.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        let last = model.tokens.vocabulary().saturating_sub(1) as u32;
        let longest = model.tokens.longest();
        for (what, ids) in [
            (format!("a text of {longest} tokens"), vec![last; longest]),
            (format!("its tokenizer's last token, {last}"), vec![last]),
        ] {
            let tried = model.run(&[ids], &|row| row.to_vec()).map_err(|failure| match failure {
                Failure::Runtime(e) => {
                    let hint = "the ONNX file, tokenizer.json and config.json must come from one model";
                    wrong(&model.folder.onnx, format!("the model fails on {what}: {}", first_line(&e)), hint)
                }
                Failure::Other(e) => e,
            })?;
            model.width = tried.first().map_or(0, Vec::len);
        }
        model.inference_ns = AtomicU64::new(0);
        Ok(model)
    }

    /// Values that the first output has for a text of one token.
    pub(crate) fn width(&self) -> usize {
        self.width
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
            wrong(onnx, what, "export the model again, with operators that this ONNX Runtime knows")
        })
    }

    /// What `row` makes of each text's values in the first output: `[labels]`, or `[tokens · dimensions]`, flat.
    pub(crate) fn map(&self, texts: &[&str], row: &(dyn Fn(&[f32]) -> Vec<f32> + Sync)) -> Result<Vec<Vec<f32>>> {
        let started = Instant::now();
        let ids = self.tokens.ids(texts)?;
        let lengths: Vec<usize> = ids.iter().map(Vec::len).collect();
        let (order, cuts) = batches(&lengths, self.batch_tokens);
        let mut rows = vec![Vec::new(); texts.len()];
        for cut in cuts {
            let batch: Vec<&[u32]> = order[cut.clone()].iter().map(|&text| ids[text].as_slice()).collect();
            let made = self.run(&batch, row).map_err(|failure| match failure {
                Failure::Runtime(e) => self.failed(&batch, &e),
                Failure::Other(e) => e,
            })?;
            for (&text, made) in order[cut].iter().zip(made) {
                rows[text] = made;
            }
        }
        self.texts.fetch_add(texts.len() as u64, Ordering::Relaxed);
        self.total_ns.fetch_add(started.elapsed().as_nanos() as u64, Ordering::Relaxed);
        Ok(rows)
    }

    /// What the model has done so far, over all workers.
    pub(crate) fn timing(&self) -> Timing {
        Timing {
            texts: self.texts.load(Ordering::Relaxed),
            inference: Duration::from_nanos(self.inference_ns.load(Ordering::Relaxed)),
            total: Duration::from_nanos(self.total_ns.load(Ordering::Relaxed)),
        }
    }

    /// One batch of equally long texts.
    fn run(
        &self,
        batch: &[impl AsRef<[u32]>],
        row: &(dyn Fn(&[f32]) -> Vec<f32> + Sync),
    ) -> Result<Vec<Vec<f32>>, Failure> {
        let idle = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut session = idle.map_or_else(|| self.new_session(), Ok)?;
        let made = infer(&mut session, batch, row, &self.inference_ns);
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        match made? {
            Made::Rows(rows) => Ok(rows),
            Made::NotFinite => {
                let hint = "its weights are damaged, or its number format overflows: export the model again";
                Err(wrong(&self.folder.onnx, "the model gave a number that is not finite", hint).into())
            }
            Made::Nothing => {
                let (texts, seconds) = (batch.len(), PATIENCE.as_secs());
                let what = format!("the model gave nothing within {seconds} s for a batch of {texts} texts");
                Err(wrong(&self.folder.onnx, what, "has it a loop without an end? Else lower batch_tokens").into())
            }
        }
    }

    fn failed(&self, batch: &[&[u32]], e: &ort::Error) -> Error {
        let (texts, tokens) = (batch.len(), batch.first().map_or(0, |ids| ids.len()));
        let path = self.folder.onnx.display();
        let what = format!("{path}: a batch of {texts} texts of {tokens} tokens failed: {}", first_line(e));
        Error::new(Exit::Retry, what, "less memory is needed with a smaller batch_tokens")
    }
}

/// Why a batch failed.
enum Failure {
    /// ONNX Runtime says so.
    Runtime(ort::Error),
    /// The model, or the library.
    Other(Error),
}

impl From<ort::Error> for Failure {
    fn from(e: ort::Error) -> Self {
        Failure::Runtime(e)
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Failure::Other(e)
    }
}

/// ONNX Runtime's messages go on for lines; the first says it.
fn first_line(e: &impl ToString) -> String {
    e.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Checks that the model has no input that a BERT-type model has not, and that its first output is as expected.
fn check_signature(onnx: &Path, session: &Session, expected: Expected) -> Result<()> {
    let hint = format!(
        "expected a RoBERTa- or BERT-type model: input_ids, attention_mask and perhaps token_type_ids in, {} out",
        expected.about
    );
    let mut names = Vec::new();
    for input in session.inputs() {
        let kind = input.dtype().tensor_type();
        if !["input_ids", "attention_mask", "token_type_ids"].contains(&input.name())
            || !matches!(kind, Some(TensorElementType::Int64 | TensorElementType::Int32))
        {
            return Err(wrong(onnx, format!("an input {:?} of type {}", input.name(), input.dtype()), hint));
        }
        names.push(input.name());
    }
    if !names.contains(&"input_ids") {
        return Err(wrong(onnx, format!("no input \"input_ids\" among {names:?}"), hint));
    }
    let outputs: Vec<String> = session.outputs().iter().map(|o| format!("{} ({})", o.name(), o.dtype())).collect();
    match session.outputs().first().map(|output| output.dtype()) {
        Some(ValueType::Tensor { ty: TensorElementType::Float32, shape, .. }) if shape.len() == expected.rank => Ok(()),
        _ => {
            let what = format!("expected {} of {} dimensions first, got {outputs:?}", expected.about, expected.rank);
            Err(wrong(onnx, what, hint))
        }
    }
}

/// What a batch gave.
enum Made {
    Rows(Vec<Vec<f32>>),
    /// A number that is not finite.
    NotFinite,
    /// Nothing, in all the time there was.
    Nothing,
}

/// Runs one batch. The time inside ONNX Runtime alone is added to `inference_ns`.
fn infer(
    session: &mut Session,
    batch: &[impl AsRef<[u32]>],
    row: &(dyn Fn(&[f32]) -> Vec<f32> + Sync),
    inference_ns: &AtomicU64,
) -> ort::Result<Made> {
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
    let options = RunOptions::new()?;
    let (done, waits) = channel::<()>();
    let started = Instant::now();
    let (outputs, late) = thread::scope(|scope| {
        let options = &options;
        let watch = scope.spawn(move || {
            let late = waits.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout);
            // What cannot be ended goes on.
            late && options.terminate().is_ok()
        });
        let outputs = session.run_with_options(inputs, options);
        drop(done);
        (outputs, watch.join().unwrap_or(false))
    });
    if late {
        return Ok(Made::Nothing);
    }
    let outputs = outputs?;
    inference_ns.fetch_add(started.elapsed().as_nanos() as u64, Ordering::Relaxed);
    let (shape, values) = outputs[0].try_extract_tensor::<f32>()?;
    let each = values.len() / rows.max(1);
    let tokens_agree = shape.len() < 3 || shape.get(1) == Some(&(length as i64));
    if shape.first() != Some(&(rows as i64)) || !tokens_agree || each == 0 {
        return Err(ort::Error::new(format!("expected values for {rows} texts of {length} tokens, got {shape:?}")));
    }
    Ok(match values.iter().all(|value| value.is_finite()) {
        true => Made::Rows(values.chunks_exact(each).map(row).collect()),
        false => Made::NotFinite,
    })
}
