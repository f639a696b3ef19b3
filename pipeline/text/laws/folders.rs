//! What is checked and hashed is what is loaded, and who fails is told whether it may pass.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use dataset::Result;
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
