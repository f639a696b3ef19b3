//! What is checked and hashed is what is loaded, and who fails is told whether it may pass.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use dataset::Result;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{classifier, folder, onnx, put, table};
use crate::{Classifier, ClassifierOptions, EncoderOptions, ModelFolder};

const ROWS: [[f32; 2]; 4] = [[0.0, 0.0], [3.0, 0.0], [0.0, 4.0], [1.0, 1.0]];
const OTHERS: [[f32; 2]; 4] = [[0.0, 0.0], [0.0, 3.0], [4.0, 0.0], [1.0, 1.0]];
const NAMED: &str = "onnx/model.onnx";
const WEIGHTS: &str = "onnx/model.onnx_data";

/// A folder as large models are published: the ONNX file and its weights in a folder below, other ONNX files' beside them.
fn below() -> TempDir {
    let folder = folder(OTHERS, true);
    put(&folder, NAMED, onnx(ROWS, true, Some("model.onnx_data")));
    put(&folder, WEIGHTS, table(ROWS));
    folder
}

fn score(folder: &TempDir) -> Result<f32> {
    let opened = Classifier::open(ModelFolder::open(folder.path(), NAMED)?, ClassifierOptions::default())?;
    Ok(opened.scores(&["keep"])?[0])
}

#[test]
fn external_data_lies_beside_the_onnx_file() -> Result<()> {
    let folder = below();
    assert!(score(&folder)? > 0.9);
    assert!(ModelFolder::open(folder.path(), NAMED)?.files().contains(&folder.path().join(WEIGHTS)));
    let missing = |folder: &TempDir| {
        let error = ModelFolder::open(folder.path(), NAMED).expect_err("no weights");
        assert!(error.exit_code() == 3 && error.to_string().contains(WEIGHTS), "{error}");
    };
    // A file of that name elsewhere is another's.
    fs::rename(folder.path().join(WEIGHTS), folder.path().join("model.onnx_data")).expect("there");
    missing(&folder);
    // What lies outside the folder is not followed, by links neither.
    let outside = below();
    symlink(outside.path().join(WEIGHTS), folder.path().join(WEIGHTS)).expect("a link");
    let error = ModelFolder::open(folder.path(), NAMED).expect_err("outside");
    assert!(error.exit_code() == 3 && error.to_string().contains("outside the model's folder"), "{error}");
    Ok(())
}

#[test]
fn other_weights_are_another_model_whatever_else_lies_in_the_folder() -> Result<()> {
    let folder = below();
    put(&folder, "model.onnx_data", "a stray file");
    let name = || EncoderOptions::default().name(&ModelFolder::open(folder.path(), NAMED)?);
    let (before, kept) = (name()?, score(&folder)?);
    put(&folder, "model.onnx_data", "another stray file");
    assert_eq!(name()?, before);
    put(&folder, WEIGHTS, table(OTHERS));
    assert_ne!(name()?, before);
    assert!(kept > 0.9 && score(&folder)? < 0.1);
    Ok(())
}

#[test]
fn logits_over_all_tokens_are_no_token_vectors() -> Result<()> {
    let of = |config: Value, width_of_vocabulary: bool| {
        let folder = match width_of_vocabulary {
            true => super::folder([[1.0, 0.5, 0.0, 2.0]; 4], false),
            false => super::folder(ROWS.map(|[x, y]| [x + 1.0, y]), false),
        };
        put(&folder, "config.json", config.to_string());
        super::encoder(&folder).map(|encoder| encoder.dimensions())
    };
    for (config, wide, expected) in [
        (json!({"hidden_size": 384, "vocab_size": 4}), true, "expected token vectors (last_hidden_state) of 384"),
        (json!({"dim": 384}), false, "of 384, its hidden_size, dimensions first, got 2"),
        (json!({"vocab_size": 4}), true, "of other than its vocab_size dimensions first, got 4"),
    ] {
        let error = of(config, wide).expect_err(expected);
        assert!(error.exit_code() == 3 && error.to_string().contains(expected), "{error}");
    }
    // As many dimensions as tokens are no fault where the folder says so.
    assert_eq!(of(json!({"hidden_size": 4, "vocab_size": 4}), true)?, 4);
    assert_eq!(of(json!({}), false)?, 2);
    Ok(())
}

#[test]
fn a_tokenizers_settings_are_followed_or_refused() -> Result<()> {
    const FILE: &str = "tokenizer_config.json";
    let folder = folder(ROWS, true);
    let path = folder.path().join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(&path).expect("readable")).expect("JSON");
    let name = || EncoderOptions::default().name(&ModelFolder::open(folder.path(), "")?);
    let scores = |text: &str| {
        let options = ClassifierOptions { max_tokens: 1, ..ClassifierOptions::default() };
        Classifier::open(ModelFolder::open(folder.path(), "")?, options)?.scores(&[text])
    };
    let before = name()?;
    assert_eq!(scores("keep noise")?, scores("keep")?);
    // The tokenizer's own end, which the settings beside it overrule.
    tokenizer["truncation"] = json!({"direction": "Left", "max_length": 9, "strategy": "LongestFirst", "stride": 0});
    tokenizer["normalizer"] = json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
        "strip_accents": null, "lowercase": true});
    put(&folder, "tokenizer.json", tokenizer.to_string());
    assert_eq!(scores("keep noise")?, scores("noise")?);
    for (side, kept) in [("right", "keep"), ("left", "noise")] {
        put(&folder, FILE, json!({"truncation_side": side, "do_lower_case": true, "strip_accents": null}).to_string());
        assert_eq!(scores("keep noise")?, scores(kept)?, "{side}");
    }
    assert_ne!(name()?, before, "what decides tokens is hashed");
    for (settings, expected) in [
        (json!({"truncation_side": "middle"}), "truncation_side: expected left or right, got \"middle\""),
        (json!({"do_lower_case": false}), "do_lower_case: expected true, as in tokenizer.json, got false"),
        (json!({"tokenize_chinese_chars": false}), "tokenize_chinese_chars: expected true"),
    ] {
        put(&folder, FILE, settings.to_string());
        let error = scores("keep").expect_err(expected);
        assert!(error.exit_code() == 3 && error.to_string().contains(expected), "{error}");
    }
    // Accents that the tokenizer leaves as they come are no contradiction, and a space is another kind of tokenizer's.
    put(&folder, FILE, json!({"strip_accents": true, "add_prefix_space": true}).to_string());
    scores("keep")?;
    tokenizer["pre_tokenizer"] =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    put(&folder, "tokenizer.json", tokenizer.to_string());
    let error = scores("keep").expect_err("a space");
    assert!(error.to_string().contains("add_prefix_space: expected false, as in tokenizer.json, got true"), "{error}");
    Ok(())
}

#[test]
fn what_the_system_cannot_do_now_is_worth_retrying_and_what_is_missing_is_not() {
    for name in ["model.onnx", "config.json", "tokenizer.json", "thresholds.json", "languages.json"] {
        let folder = folder(ROWS, true);
        let path = folder.path().join(name);
        let open = || {
            let folder = ModelFolder::open(folder.path(), "model.onnx")?;
            folder.threshold()?;
            folder.languages()?;
            folder.tokens(9)
        };
        if path.exists() {
            fs::remove_file(&path).expect("there");
            let error = open().expect_err("missing");
            assert!(error.exit_code() == 3 && error.to_string().contains(name), "{error}");
        }
        // A regular file that gives EIO, to whoever reads it.
        symlink("/proc/self/mem", &path).expect("a link");
        let error = open().expect_err("an error of the system's");
        assert_eq!(error.exit_code(), 1, "{error}");
        let said = error.to_string();
        assert!(said.contains(name) && said.contains("os error 5") && said.contains("\nhint: "), "{said}");
    }
}

#[test]
fn a_model_that_fails_is_one_error() {
    // The tokenizer's last token has no row.
    let error = classifier(&folder([[0.0, 1.0]; 3], true)).expect_err("a token without a row");
    assert!(error.exit_code() == 3 && error.to_string().contains("the model fails on"), "{error}");
    assert_eq!(error.to_string().lines().count(), 2, "{error}");
}

#[test]
fn onnx_runtime_itself_says_nothing() {
    let executable = std::env::current_exe().expect("this test's");
    let failing = "laws::folders::a_model_that_fails_is_one_error";
    let mut command = Command::new(executable);
    let output = command.args(["--exact", failing, "--nocapture"]).env_remove("ORT_LOG").output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("onnxruntime"), "{said}");
}
