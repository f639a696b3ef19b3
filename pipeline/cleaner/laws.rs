//! The classifier against Hugging Face's (goldens in fixtures/), and what must always hold of its training.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::Deserialize;
use text::Tokens;

use crate::roberta::{Batch, Dropout, Pass};
use crate::{Epoch, Example, Initial, TrainCleaner, fit, from_folder, from_scratch, score};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

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
    let ids = Tokens::new(tokenizer, LONGEST).expect("long enough").ids(&texts)?;
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
    let ids = Tokens::new(tokenizer, LONGEST).expect("long enough").ids(&texts)?;
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

/// A fixture's folder with other tensors, and another configuration.
fn changed(
    name: &str,
    tensors: impl Fn(&str, Tensor) -> candle_core::Result<(String, Tensor)>,
    config: impl Fn(&mut serde_json::Value),
) -> Result<tempfile::TempDir> {
    let (from, _) = fixture(name);
    let folder = tempfile::tempdir()?;
    std::fs::copy(from.join("tokenizer.json"), folder.path().join("tokenizer.json"))?;
    let mut json = serde_json::from_slice(&std::fs::read(from.join("config.json"))?)?;
    config(&mut json);
    std::fs::write(folder.path().join("config.json"), json.to_string())?;
    let stored = candle_core::safetensors::load(from.join("model.safetensors"), &Device::Cpu)?;
    let stored = stored.into_iter().map(|(name, tensor)| tensors(&name, tensor));
    let stored = stored.collect::<candle_core::Result<std::collections::HashMap<_, _>>>()?;
    candle_core::safetensors::save(&stored, folder.path().join("model.safetensors"))?;
    Ok(folder)
}

#[test]
fn layer_norms_are_read_by_their_old_names_too() -> Result<()> {
    let renamed = |name: &str, tensor| {
        let old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
        Ok((old, tensor))
    };
    let folder = changed("bert-tiny", renamed, |_| {})?;
    let (old, new) = (from_folder(folder.path(), 0)?, from_folder(&fixture("bert-tiny").0, 0)?);
    for (name, var) in new.model.parameters() {
        let values = |var: &Tensor| var.flatten_all()?.to_vec1::<f32>();
        assert_eq!(values(old.model.get(name))?, values(var.as_tensor())?, "{name}");
    }
    Ok(())
}

#[test]
fn weights_that_nothing_can_be_learnt_from_are_named() -> Result<()> {
    const KEY: &str = "encoder.layer.1.attention.self.key.weight";
    let refused = |folder: tempfile::TempDir, expected: &str| {
        let error = from_folder(folder.path(), 0).expect_err(expected);
        let said = error.to_string();
        assert!(error.exit_code() == 3 && said.contains(expected) && said.contains("\nhint: "), "{said}");
    };
    for bad in [f64::NAN, f64::INFINITY] {
        // One value of one tensor.
        let spoilt = |name: &str, tensor: Tensor| {
            let (rows, columns) = tensor.dims2().unwrap_or((1, 1));
            match name.ends_with(KEY) {
                true => {
                    let mut values = vec![0.0; rows * columns];
                    values[rows] = bad as f32;
                    let spoilt = (&tensor + Tensor::from_vec(values, (rows, columns), &Device::Cpu)?)?;
                    Ok((name.to_owned(), spoilt))
                }
                false => Ok((name.to_owned(), tensor)),
            }
        };
        let expected = format!("model.safetensors: roberta.{KEY}: expected finite numbers, got NaN or infinity");
        refused(changed("bert-tiny", spoilt, |_| {})?, &expected);
    }
    let whole = |name: &str, tensor: Tensor| match name.ends_with(KEY) {
        true => Ok((name.to_owned(), tensor.to_dtype(DType::I64)?)),
        false => Ok((name.to_owned(), tensor)),
    };
    refused(changed("bert-tiny", whole, |_| {})?, &format!("roberta.{KEY}: expected F16, BF16, F32 or F64, got I64"));
    let same = |name: &str, tensor| Ok((name.to_owned(), tensor));
    let quantised = |json: &mut serde_json::Value| {
        json["quantization_config"] = serde_json::json!({"quant_method": "bitsandbytes"});
    };
    refused(
        changed("roberta-tiny", same, quantised)?,
        "config.json: quantization_config: expected none, got bitsandbytes; quantised weights need their scales",
    );
    refused(
        changed("bert-tiny", same, |json| json["is_decoder"] = true.into())?,
        "config.json: is_decoder: expected false, got true",
    );
    for (model, field, value, expected) in [
        (
            "roberta-tiny",
            "num_attention_heads",
            0,
            "config.json: expected attention heads that share hidden_size evenly, got 0",
        ),
        (
            "bert-tiny",
            "num_attention_heads",
            7,
            "config.json: expected attention heads that share hidden_size evenly, got 7",
        ),
        (
            "roberta-tiny",
            "max_position_embeddings",
            2,
            "config.json: max_position_embeddings: expected more than 2, got 2",
        ),
        ("bert-tiny", "vocab_size", 5, "tokenizer.json: expected at most the model's 5 tokens, got "),
    ] {
        refused(changed(model, same, |json| json[field] = value.into())?, expected);
    }
    Ok(())
}

#[test]
fn a_missing_tensor_is_one_error_without_a_backtrace() -> Result<()> {
    let renamed = |name: &str, tensor| Ok((name.replace("output.dense", "output.other"), tensor));
    let folder = changed("bert-tiny", renamed, |_| {})?;
    let error = from_folder(folder.path(), 0).expect_err("a tensor is missing");
    let said = error.to_string();
    assert!(said.contains("attention.output.dense.weight is missing") && said.lines().count() == 2, "{said}");
    // And so it is where backtraces are asked for.
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        let mut again = std::process::Command::new(std::env::current_exe()?);
        again.args(["--exact", "laws::a_missing_tensor_is_one_error_without_a_backtrace"]).env("RUST_BACKTRACE", "1");
        assert!(again.output()?.status.success());
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

/// A small model, and labels that can be learnt.
fn learnable() -> Result<(TrainCleaner, Initial, Vec<Example>)> {
    let text = |i| match i % 2 {
        0 => format!("news of the harvest in province {i}"),
        _ => format!("login page number {i}"),
    };
    let texts: Vec<String> = (0..120).map(text).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let settings = TrainCleaner {
        layers: 1,
        width: 32,
        vocabulary: 400,
        epochs: 6,
        patience: 6,
        batch: 8,
        learning_rate: 3e-3,
        head_rate: 1.0,
        class_weights: true,
        ..TrainCleaner::default()
    };
    let initial = from_scratch(&settings, &texts, 3)?;
    let ids = Tokens::new(initial.tokenizer.clone(), 32)?.ids(&texts)?;
    let examples = ids.into_iter().zip(0..).map(|(ids, i)| Example { ids, keep: i % 2 == 0 }).collect();
    Ok((settings, initial, examples))
}

#[test]
fn a_small_model_learns_what_can_be_learnt_and_keeps_its_best_epoch() -> Result<()> {
    let (settings, Initial { model, .. }, examples) = learnable()?;
    let (train, held_out) = examples.split_at(90);
    let mut last = 0;
    let log = fit(&model, train, held_out, &settings, 3, None, &mut |step, _| last = step)?;
    assert!(last > 0 && log.len() <= 6);
    let scored = score(&model, held_out)?;
    assert_eq!(scored.hits(0.5), 1.0);
    let best = log.iter().map(|epoch| epoch.held_out_loss).fold(f64::INFINITY, f64::min);
    assert!((scored.log_loss(scored.best_temperature()) - best).abs() < 1e-9);
    Ok(())
}

#[test]
fn a_training_that_is_stopped_anywhere_goes_on_to_the_same_bits() -> Result<()> {
    let bits = |initial: &Initial| -> Result<Vec<Vec<u32>>> {
        let values = initial.model.parameters().values().map(|var| var.as_tensor().flatten_all()?.to_vec1::<f32>());
        values.map(|values| Ok(values?.into_iter().map(f32::to_bits).collect())).collect()
    };
    let (settings, whole, examples) = learnable()?;
    let (train, held_out) = examples.split_at(90);
    let log = fit(&whole.model, train, held_out, &settings, 3, None, &mut |_, _| {})?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("states/0.safetensors");
    let go_on = |until: usize| -> Result<(Vec<Vec<u32>>, Vec<Epoch>, usize)> {
        let (_, initial, _) = learnable()?;
        let mut steps = 0;
        let mut watch = |step: usize, _: usize| {
            steps += 1;
            assert!(step < until, "killed");
        };
        let log = fit(&initial.model, train, held_out, &settings, 3, Some(&path), &mut watch)?;
        Ok((bits(&initial)?, log, steps))
    };
    // An epoch has 12 steps: killed in the first, in the third, and with a state that is cut off.
    for until in [5, 30, 43] {
        assert!(catch_unwind(AssertUnwindSafe(|| go_on(until).map(drop))).is_err());
    }
    let state = std::fs::read(&path)?;
    let (resumed, resumed_log, steps) = go_on(usize::MAX)?;
    assert!(resumed == bits(&whole)? && resumed_log == log);
    assert_eq!(steps, 12 * (log.len() - 3));
    std::fs::write(&path, &state[..state.len() / 2])?;
    let (anew, _, steps) = go_on(usize::MAX)?;
    assert!(anew == resumed && steps == 12 * log.len());
    // One that had ended has nothing left to do.
    assert_eq!(go_on(usize::MAX)?.2, 0);
    Ok(())
}

#[test]
fn a_rate_that_is_too_high_is_said_to_be() -> Result<()> {
    let (settings, Initial { model, .. }, examples) = learnable()?;
    let settings = TrainCleaner { learning_rate: 1e30, ..settings };
    let error = fit(&model, &examples, &examples, &settings, 3, None, &mut |_, _| {}).expect_err("no number");
    assert!(error.exit_code() == 2 && error.to_string().contains("learning_rate"), "{error}");
    Ok(())
}

#[test]
fn settings_that_make_no_sense_are_usage_errors_and_all_others_come_back_from_json() -> Result<()> {
    let good = TrainCleaner::default;
    for (wrong, setting) in [
        (TrainCleaner { epochs: 0, ..good() }, "epochs"),
        (TrainCleaner { width: 130, ..good() }, "width"),
        (TrainCleaner { heads: 0, ..good() }, "heads"),
        (TrainCleaner { batch: usize::MAX, ..good() }, "batch"),
        (TrainCleaner { learning_rate: f64::NAN, ..good() }, "learning_rate"),
        (TrainCleaner { head_rate: -1.0, ..good() }, "head_rate"),
        (TrainCleaner { weight_decay: f64::INFINITY, ..good() }, "weight_decay"),
        (TrainCleaner { warm_up: 1.0, ..good() }, "warm_up"),
        (TrainCleaner { held_out: 0.0, ..good() }, "held_out"),
        (TrainCleaner { dropout: f32::NAN, ..good() }, "dropout"),
        (TrainCleaner { seed: u64::MAX, ..good() }, "seed"),
    ] {
        let error = wrong.check().expect_err(setting);
        assert!(error.exit_code() == 2 && error.to_string().contains(setting), "{error}");
    }
    let changed = TrainCleaner { dropout: 0.3, learning_rate: 1.0 / 3.0, folds: 5, ..good() };
    assert_eq!(serde_json::from_value::<TrainCleaner>(serde_json::to_value(&changed)?)?, changed);
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
    assert!(
        std::process::Command::new("mkfifo").arg(folder.path().join("config.json")).status().expect("mkfifo").success()
    );
    expect("expected a regular file");
    std::fs::remove_file(folder.path().join("config.json")).expect("removable");
    let (roberta, _) = fixture("roberta-tiny");
    let config = std::fs::read_to_string(roberta.join("config.json")).expect("readable");
    let write = |name: &str, content: &str| std::fs::write(folder.path().join(name), content).expect("writable");
    std::fs::copy(roberta.join("tokenizer.json"), folder.path().join("tokenizer.json")).expect("copied");
    write("model.safetensors", "not tensors");
    write("config.json", &config.replace("\"model_type\": \"roberta\"", "\"model_type\": \"t5\""));
    expect("model_type: expected roberta or bert, got \"t5\"");
    write("config.json", &config);
    expect("model.safetensors");
    std::fs::remove_file(folder.path().join("tokenizer.json")).expect("removable");
    expect("tokenizer.json");
}
