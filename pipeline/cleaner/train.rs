//! Training: cross-entropy on labelled behaviours, AdamW, early stopping on labels held out, calibration.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};
use text::batches;

use crate::quality::Scored;
use crate::roberta::{Batch, Dropout, Pass, Roberta, WORDS};
use crate::{Result, TrainCleaner};

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

/// How far a training is, for whoever shows it: steps done, steps in all, and an epoch's figures when one has ended.
pub type Watch<'a> = &'a mut dyn FnMut(usize, usize, Option<Epoch>);

/// Trains the model in place and leaves it as it was after its best epoch. Deterministic in (model, examples, settings, seed).
pub fn fit(
    model: &Roberta,
    train: &[Example],
    held_out: &[Example],
    settings: &TrainCleaner,
    seed: u64,
    watch: Watch<'_>,
) -> Result<Vec<Epoch>> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let dropout = Dropout { rate: settings.dropout, random: Xoshiro256PlusPlus::seed_from_u64(random.random()) };
    let mut pass = Pass { dropout: Some(dropout), ranges: None };
    let mut optimizers = Optimizers::new(model, settings)?;
    let weights = class_weights(train, settings.class_weights);
    let steps = settings.epochs * train.len().div_ceil(settings.batch);
    let (mut step, mut log) = (0, Vec::new());
    let mut best: Option<Best> = None;
    for epoch in 1..=settings.epochs {
        let mut losses = 0.0;
        let batches = shuffled(train, settings.batch, &mut random);
        for chosen in &batches {
            let loss = loss(model, train, chosen, weights, &mut pass)?;
            losses += f64::from(loss.to_scalar::<f32>()?);
            optimizers.step(&loss, schedule(step, steps, settings.warm_up))?;
            step += 1;
            watch(step, steps, None);
        }
        let scored = score(model, held_out)?;
        let figures = Epoch {
            epoch,
            loss: losses / batches.len().max(1) as f64,
            held_out_loss: scored.log_loss(scored.best_temperature()),
            held_out_accuracy: scored.hits(0.5),
        };
        log.push(figures);
        watch(step, steps, Some(figures));
        match &best {
            Some(best) if best.held_out_loss <= figures.held_out_loss => {}
            _ => best = Some(Best { held_out_loss: figures.held_out_loss, epoch, parameters: snapshot(model)? }),
        }
        if best.as_ref().is_some_and(|best| epoch - best.epoch >= settings.patience) {
            break;
        }
    }
    if let Some(best) = best {
        best.parameters.iter().try_for_each(|(var, value)| var.set(value))?;
    }
    Ok(log)
}

/// The best epoch so far, and the parameters after it.
struct Best {
    held_out_loss: f64,
    epoch: usize,
    parameters: Vec<(Var, Tensor)>,
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
        let batch_logits = model.logits(&Batch::new(&ids, &model.config)?, pass)?.to_vec2::<f32>()?;
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
fn loss(model: &Roberta, examples: &[Example], chosen: &[usize], weights: [f32; 2], pass: &mut Pass) -> Result<Tensor> {
    let ids: Vec<&[u32]> = chosen.iter().map(|&text| examples[text].ids.as_slice()).collect();
    let logits_b2 = model.logits(&Batch::new(&ids, &model.config)?, pass)?;
    let log_probs_b2 = candle_nn::ops::log_softmax(&logits_b2, 1)?;
    let targets: Vec<f32> = chosen
        .iter()
        .flat_map(|&text| if examples[text].keep { [0.0, weights[1]] } else { [weights[0], 0.0] })
        .collect();
    let targets_b2 = Tensor::from_vec(targets, (chosen.len(), 2), &Device::Cpu)?;
    Ok(((log_probs_b2 * targets_b2)?.sum_all()? * (-1.0 / chosen.len() as f64))?.to_dtype(DType::F32)?)
}

/// Up over the warm-up, then down to 0.
fn schedule(step: usize, steps: usize, warm_up: f64) -> f64 {
    let done = (step as f64 + 0.5) / steps.max(1) as f64;
    if done < warm_up { done / warm_up } else { (1.0 - done) / (1.0 - warm_up).max(1e-9) }
}

/// AdamW for the encoder and, at its own rate, for the head.
struct Optimizers {
    parts: Vec<(f64, AdamW)>,
}

impl Optimizers {
    fn new(model: &Roberta, settings: &TrainCleaner) -> Result<Self> {
        let chosen = |head: bool| -> Vec<Var> {
            let all = model.parameters().iter();
            all.filter(|(name, _)| name.starts_with("classifier.") == head && !(model.words_frozen && *name == WORDS))
                .map(|(_, var)| var.clone())
                .collect()
        };
        let adamw = |vars: Vec<Var>, rate: f64| -> Result<(f64, AdamW)> {
            let params = ParamsAdamW { lr: rate, weight_decay: settings.weight_decay, ..ParamsAdamW::default() };
            Ok((rate, AdamW::new(vars, params)?))
        };
        let (encoder, head) = (settings.learning_rate, settings.learning_rate * settings.head_rate);
        Ok(Optimizers { parts: vec![adamw(chosen(false), encoder)?, adamw(chosen(true), head)?] })
    }

    fn step(&mut self, loss: &Tensor, factor: f64) -> Result<()> {
        let gradients = loss.backward()?;
        for (rate, adamw) in &mut self.parts {
            adamw.set_learning_rate(*rate * factor);
            adamw.step(&gradients)?;
        }
        Ok(())
    }
}

fn snapshot(model: &Roberta) -> Result<Vec<(Var, Tensor)>> {
    model.parameters().values().map(|var| Ok((var.clone(), var.as_tensor().copy()?))).collect()
}
