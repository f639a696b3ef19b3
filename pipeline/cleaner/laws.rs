//! The classifier against Hugging Face's (goldens in fixtures/), and what must always hold of its training.

use std::path::{Path, PathBuf};

use candle_core::Tensor;
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::Deserialize;
use text::Tokens;

use crate::roberta::{Batch, Dropout, Pass};
use crate::{Example, Initial, Result, TrainCleaner, fit, from_folder, from_scratch, score};

/// Tokens that the tiny models have positions for.
const LONGEST: usize = 38;

#[derive(Deserialize)]
struct Expected {
    texts: Vec<String>,
    ids: Vec<Vec<u32>>,
    #[serde(default)]
    logits: Vec<[f32; 2]>,
    #[serde(default)]
    hidden: Vec<Vec<f32>>,
}

fn fixture(name: &str) -> (PathBuf, Expected) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name);
    let json = std::fs::read(folder.join("expected.json")).expect("the fixture is part of the repository");
    (folder, serde_json::from_slice(&json).expect("as fixtures/roberta.py wrote it"))
}

fn close(got: &[f32], expected: &[f32]) -> bool {
    got.len() == expected.len() && got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5)
}

#[test]
fn a_roberta_has_the_logits_that_transformers_gives() -> Result<()> {
    let (folder, expected) = fixture("roberta-tiny");
    let Initial { model, tokenizer } = from_folder(&folder, 0)?;
    let texts: Vec<&str> = expected.texts.iter().map(String::as_str).collect();
    let ids = Tokens::new(tokenizer, LONGEST).expect("long enough").ids(&texts);
    assert_eq!(ids, expected.ids);
    // All at once: padding must not show.
    let ids: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    let logits = model.logits(&Batch::new(&ids, &model.config)?, &mut Pass::default())?.to_vec2::<f32>()?;
    for (text, (got, expected)) in logits.iter().zip(&expected.logits).enumerate() {
        assert!(close(got, expected), "text {text}: {got:?} {expected:?}");
    }
    Ok(())
}

#[test]
fn a_bert_becomes_a_roberta_with_the_same_states() -> Result<()> {
    let (folder, expected) = fixture("bert-tiny");
    let Initial { model, tokenizer } = from_folder(&folder, 0)?;
    assert_eq!((model.config.pad_token_id, model.config.max_position_embeddings), (1, LONGEST + 2));
    let texts: Vec<&str> = expected.texts.iter().map(String::as_str).collect();
    let ids = Tokens::new(tokenizer, LONGEST).expect("long enough").ids(&texts);
    for (ids, bert) in ids.iter().zip(&expected.ids) {
        assert_eq!(ids.len(), bert.len());
    }
    let ids: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    let states = model.encode(&Batch::new(&ids, &model.config)?, &mut Pass::default())?;
    for (text, expected) in expected.hidden.iter().enumerate() {
        let got = states.get(text)?.get(0)?.to_vec1::<f32>()?;
        assert!(close(&got, expected), "text {text}: {got:?} {expected:?}");
    }
    Ok(())
}

#[test]
fn every_parameter_gets_a_gradient() -> Result<()> {
    let (folder, expected) = fixture("roberta-tiny");
    let Initial { mut model, .. } = from_folder(&folder, 0)?;
    model.words_frozen = false;
    let ids: Vec<&[u32]> = expected.ids.iter().map(Vec::as_slice).collect();
    let dropout = Dropout { rate: 0.1, random: Xoshiro256PlusPlus::seed_from_u64(1) };
    let mut pass = Pass { dropout: Some(dropout), ranges: None };
    let logits = model.logits(&Batch::new(&ids, &model.config)?, &mut pass)?;
    let gradients = candle_nn::ops::log_softmax(&logits, 1)?.narrow(1, 0, 1)?.sum_all()?.backward()?;
    for (name, var) in model.parameters() {
        let gradient = gradients.get(var).unwrap_or_else(|| panic!("{name} has no gradient"));
        let norm = gradient.sqr()?.sum_all()?.to_scalar::<f32>()?;
        // A shift of all keys moves no softmax.
        assert!(norm.is_finite() && (norm > 0.0 || name.ends_with("key.bias")), "{name}: {norm}");
    }
    Ok(())
}

#[test]
fn the_gradient_is_the_slope() -> Result<()> {
    let (folder, expected) = fixture("roberta-tiny");
    let Initial { model, .. } = from_folder(&folder, 0)?;
    let ids: Vec<&[u32]> = expected.ids[..4].iter().map(Vec::as_slice).collect();
    let batch = Batch::new(&ids, &model.config)?;
    let loss = || -> Result<Tensor> {
        let logits = model.logits(&batch, &mut Pass::default())?;
        Ok(candle_nn::ops::log_softmax(&logits, 1)?.narrow(1, 1, 1)?.mean_all()?)
    };
    let gradients = loss()?.backward()?;
    for name in [
        "classifier.dense.weight",
        "roberta.encoder.layer.0.attention.self.query.weight",
        "roberta.embeddings.LayerNorm.weight",
    ] {
        let var = &model.parameters()[name];
        let gradient = gradients.get(var).expect("a gradient").clone();
        let norm = gradient.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>()?;
        let before = var.as_tensor().copy()?;
        let step = 1e-2;
        let at = |factor: f64| -> Result<f32> {
            var.set(&(&before + (&gradient * (factor / f64::from(norm)))?)?)?;
            Ok(loss()?.to_scalar::<f32>()?)
        };
        let slope = (at(step)? - at(-step)?) / (2.0 * step as f32);
        var.set(&before)?;
        assert!((slope - norm).abs() < 0.02 * norm, "{name}: slope {slope}, gradient {norm}");
    }
    Ok(())
}

#[test]
fn a_small_model_learns_what_can_be_learnt_and_keeps_its_best_epoch() -> Result<()> {
    let texts: Vec<String> =
        (0..120)
            .map(|i| {
                if i % 2 == 0 {
                    format!("news of the harvest in province {i}")
                } else {
                    format!("login page number {i}")
                }
            })
            .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let settings = TrainCleaner {
        layers: 1,
        width: 32,
        vocabulary: 400,
        epochs: 6,
        batch: 8,
        learning_rate: 3e-3,
        head_rate: 1.0,
        class_weights: true,
        ..TrainCleaner::default()
    };
    let Initial { model, tokenizer } = from_scratch(&settings, &texts, 3)?;
    let ids = Tokens::new(tokenizer, 32).expect("long enough").ids(&texts);
    let examples: Vec<Example> = ids.into_iter().zip(0..).map(|(ids, i)| Example { ids, keep: i % 2 == 0 }).collect();
    let (train, held_out) = examples.split_at(90);
    let mut last = 0;
    let log = fit(&model, train, held_out, &settings, 3, &mut |step, _, _| last = step)?;
    assert!(last > 0 && log.len() <= 6);
    let scored = score(&model, held_out)?;
    assert_eq!(scored.hits(0.5), 1.0);
    let best = log.iter().map(|epoch| epoch.held_out_loss).fold(f64::INFINITY, f64::min);
    assert!((scored.log_loss(scored.best_temperature()) - best).abs() < 1e-9);
    Ok(())
}

#[test]
fn a_folder_that_is_no_roberta_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let expect = |what: &str| {
        let error = from_folder(folder.path(), 0).expect_err(what);
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains(what), "{error}");
    };
    expect("config.json");
    let (roberta, _) = fixture("roberta-tiny");
    let config = std::fs::read_to_string(roberta.join("config.json")).expect("readable");
    let write = |name: &str, content: &str| std::fs::write(folder.path().join(name), content).expect("writable");
    write("config.json", &config.replace("\"model_type\": \"roberta\"", "\"model_type\": \"t5\""));
    expect("model_type: expected roberta or bert, got \"t5\"");
    write("config.json", &config);
    expect("tokenizer.json");
    std::fs::copy(roberta.join("tokenizer.json"), folder.path().join("tokenizer.json")).expect("copied");
    write("model.safetensors", "not tensors");
    expect("model.safetensors");
}
