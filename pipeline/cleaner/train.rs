//! Training: cross-entropy on labelled behaviours, AdamW, early stopping on labels held out, calibration.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use dataset::bucket::stream;
use dataset::{Error, Result};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};
use text::batches;

use crate::optimizer::AdamW;
use crate::quality::Scored;
use crate::roberta::{Batch, Dropout, Pass, Roberta, WORDS};
use crate::{TrainCleaner, candle, saved};

/// A labelled text as the model sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Its token ids.
    pub ids: Vec<u32>,
    /// True: keep.
    pub keep: bool,
}

/// What happened in one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    /// Mean loss over the training steps.
    pub loss: f64,
    /// Mean negative log likelihood of the held-out labels, at the best temperature.
    pub held_out_loss: f64,
    /// Share of the held-out labels hit at ½.
    pub held_out_accuracy: f64,
}

/// How far a training is, for whoever shows it: steps done, and steps in all.
pub type Watch<'a> = &'a mut dyn FnMut(usize, usize);

/// Trains the model in place and leaves it as it was after its best epoch. Deterministic in (model, examples, settings, seed).
///
/// With a file to save to, its state is kept there after every epoch, and a training whose state is there goes on from it: what comes
/// out is the same, bit for bit.
///
/// # Errors
/// When the loss is no number any more.
pub fn fit(
    model: &Roberta,
    train: &[Example],
    held_out: &[Example],
    settings: &TrainCleaner,
    seed: u64,
    save: Option<&Path>,
    watch: Watch<'_>,
) -> Result<Vec<Epoch>> {
    let mut state = State::new(model, settings).map_err(candle)?;
    let steps_each = train.len().div_ceil(settings.batch);
    if let Some(found) = save.and_then(saved::read) {
        let steps = found.0.len() * steps_each;
        // What cannot be used is no state: the training begins anew.
        if let Some(restored) = State::restored(model, settings, found, steps).map_err(candle)? {
            state = restored;
        }
    }
    while !state.is_over(settings) {
        let epoch = state.log.len() + 1;
        let loss =
            state.train(model, train, settings, stream(seed, "epoch", epoch.to_le_bytes()), watch).map_err(candle)?;
        let scored = score(model, held_out)?;
        let held_out_loss = scored.log_loss(scored.best_temperature());
        if !loss.is_finite() || !held_out_loss.is_finite() {
            let got = format!("{} (a loss of {loss} in epoch {epoch})", settings.learning_rate);
            return Err(Error::setting("train-cleaner.learning_rate", "a rate with finite losses", got, "lower it"));
        }
        if state.log.iter().all(|before| held_out_loss < before.held_out_loss) {
            state.best = snapshot(model).map_err(candle)?;
        }
        state.log.push(Epoch { epoch, loss, held_out_loss, held_out_accuracy: scored.hits(0.5) });
        if let Some(path) = save {
            state.save(model, path)?;
        }
    }
    for (name, value) in &state.best {
        model.parameters()[name].set(value).map_err(candle)?;
    }
    Ok(state.log)
}

/// A training after some epochs.
struct State {
    log: Vec<Epoch>,
    optimizer: AdamW,
    /// The parameters after the best epoch.
    best: BTreeMap<String, Tensor>,
}

impl State {
    fn new(model: &Roberta, settings: &TrainCleaner) -> candle_core::Result<Self> {
        let trained = model.parameters().iter().filter(|(name, _)| !(model.words_frozen && *name == WORDS));
        let rates = trained.map(|(name, var)| {
            let rate = if name.starts_with("classifier.") { settings.head_rate } else { 1.0 };
            (name.clone(), var.clone(), rate)
        });
        Ok(State { log: Vec::new(), optimizer: AdamW::new(rates, settings.weight_decay)?, best: BTreeMap::new() })
    }

    fn is_over(&self, settings: &TrainCleaner) -> bool {
        let best = self.log.iter().min_by(|a, b| a.held_out_loss.total_cmp(&b.held_out_loss));
        self.log.len() >= settings.epochs || best.is_some_and(|best| self.log.len() - best.epoch >= settings.patience)
    }

    /// One epoch; returns the mean loss of its steps. Shuffling and dropout follow from the epoch's seed alone.
    fn train(
        &mut self,
        model: &Roberta,
        examples: &[Example],
        settings: &TrainCleaner,
        seed: u64,
        watch: Watch<'_>,
    ) -> candle_core::Result<f64> {
        let weights = class_weights(examples, settings.class_weights);
        let random = |purpose| Xoshiro256PlusPlus::seed_from_u64(stream(seed, purpose, []));
        let mut pass =
            Pass { dropout: Some(Dropout { rate: settings.dropout, random: random("dropout") }), ranges: None };
        let batches = shuffled(examples, settings.batch, &mut random("shuffle"));
        let (before, steps) = (self.log.len() * batches.len(), settings.epochs * batches.len());
        let mut losses = 0.0;
        for (step, chosen) in (before..).zip(&batches) {
            let loss = loss(model, examples, chosen, weights, &mut pass)?;
            losses += f64::from(loss.to_scalar::<f32>()?);
            let rate = settings.learning_rate * schedule(step, steps, settings.warm_up);
            self.optimizer.step(&loss.backward()?, rate)?;
            watch(step + 1, steps);
        }
        Ok(losses / batches.len().max(1) as f64)
    }

    fn save(&self, model: &Roberta, path: &Path) -> Result<()> {
        let now = model.parameters().iter().map(|(name, var)| (format!("now/{name}"), var.as_tensor().clone()));
        let best = self.best.iter().map(|(name, value)| (format!("best/{name}"), value.clone()));
        saved::write(path, &self.log, &now.chain(best).chain(self.optimizer.state()).collect())
    }

    /// The state that was saved; `None`, and the model as it was, when it is not of this model.
    fn restored(
        model: &Roberta,
        settings: &TrainCleaner,
        (log, mut tensors): (Vec<Epoch>, std::collections::HashMap<String, Tensor>),
        steps: usize,
    ) -> candle_core::Result<Option<Self>> {
        let mut take = |part: &str, name: &str| {
            let shape = model.parameters().get(name)?.shape();
            tensors.remove(&format!("{part}/{name}")).filter(|tensor| tensor.shape() == shape)
        };
        let mut all = |part: &str| -> Option<BTreeMap<String, Tensor>> {
            model.parameters().keys().map(|name| Some((name.clone(), take(part, name)?))).collect()
        };
        let (Some(now), Some(best)) = (all("now"), all("best")) else { return Ok(None) };
        let mut state = State { log, best, ..State::new(model, settings)? };
        let mut moment = |name: &str| name.split_once('/').and_then(|(part, name)| take(part, name));
        if state.log.is_empty() || state.optimizer.restore(steps, &mut moment).is_none() {
            return Ok(None);
        }
        for (name, value) in &now {
            model.parameters()[name].set(value)?;
        }
        Ok(Some(state))
    }
}

/// Probabilities of keep, without dropout.
pub fn score(model: &Roberta, examples: &[Example]) -> Result<Scored> {
    let mut scored = Scored { scores: vec![0.0; examples.len()], labels: examples.iter().map(|e| e.keep).collect() };
    let (order, logits) = logits(model, examples, &mut Pass::default())?;
    for (text, [noise, keep]) in order.into_iter().zip(logits) {
        scored.scores[text] = 1.0 / (1.0 + (noise - keep).exp());
    }
    Ok(scored)
}

/// The logits of all examples, in batches of equal length, and the order in which they come.
pub fn logits(model: &Roberta, examples: &[Example], pass: &mut Pass) -> Result<(Vec<usize>, Vec<[f32; 2]>)> {
    let lengths: Vec<usize> = examples.iter().map(|example| example.ids.len()).collect();
    let (order, cuts) = batches(&lengths, 1024);
    let mut logits = Vec::with_capacity(examples.len());
    for cut in cuts {
        let ids: Vec<&[u32]> = order[cut].iter().map(|&text| examples[text].ids.as_slice()).collect();
        let batch = Batch::new(&ids, &model.config).map_err(candle)?;
        let batch_logits = model.logits(&batch, pass).and_then(|logits| logits.to_vec2::<f32>()).map_err(candle)?;
        logits.extend(batch_logits.into_iter().map(|row| [row[0], row[1]]));
    }
    Ok((order, logits))
}

/// Batches of similar lengths in random order: chunks of the shuffled texts, each sorted by length.
fn shuffled(examples: &[Example], batch: usize, random: &mut Xoshiro256PlusPlus) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..examples.len()).collect();
    order.shuffle(random);
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for chunk in order.chunks_mut(8 * batch) {
        chunk.sort_by_key(|&text| examples[text].ids.len());
        batches.extend(chunk.chunks(batch).map(<[usize]>::to_vec));
    }
    batches.shuffle(random);
    batches
}

/// The weights of noise and keep.
fn class_weights(examples: &[Example], balanced: bool) -> [f32; 2] {
    let keep = examples.iter().filter(|example| example.keep).count();
    let noise = examples.len() - keep;
    if !balanced || keep == 0 || noise == 0 {
        return [1.0, 1.0];
    }
    [noise, keep].map(|count| examples.len() as f32 / (2.0 * count as f32))
}

/// Mean weighted cross-entropy of a batch.
fn loss(
    model: &Roberta,
    examples: &[Example],
    chosen: &[usize],
    weights: [f32; 2],
    pass: &mut Pass,
) -> candle_core::Result<Tensor> {
    let ids: Vec<&[u32]> = chosen.iter().map(|&text| examples[text].ids.as_slice()).collect();
    let logits_b2 = model.logits(&Batch::new(&ids, &model.config)?, pass)?;
    let log_probs_b2 = candle_nn::ops::log_softmax(&logits_b2, 1)?;
    let targets: Vec<f32> = chosen
        .iter()
        .flat_map(|&text| if examples[text].keep { [0.0, weights[1]] } else { [weights[0], 0.0] })
        .collect();
    let targets_b2 = Tensor::from_vec(targets, (chosen.len(), 2), &Device::Cpu)?;
    ((log_probs_b2 * targets_b2)?.sum_all()? * (-1.0 / chosen.len() as f64))?.to_dtype(DType::F32)
}

/// Up over the warm-up, then down to 0.
fn schedule(step: usize, steps: usize, warm_up: f64) -> f64 {
    let done = (step as f64 + 0.5) / steps.max(1) as f64;
    if done < warm_up { done / warm_up } else { (1.0 - done) / (1.0 - warm_up).max(1e-9) }
}

fn snapshot(model: &Roberta) -> candle_core::Result<BTreeMap<String, Tensor>> {
    model.parameters().iter().map(|(name, var)| Ok((name.clone(), var.as_tensor().copy()?))).collect()
}
