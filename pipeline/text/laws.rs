//! What must hold of every model's folder, whoever made it: nothing but finite numbers comes out, and nothing endless is read.

mod folders;
mod labels;
mod sentences;

use std::fs;
use std::path::Path;
use std::process::Command;

use dataset::Result;
use onnx_rs::ast::{
    Attribute, AttributeType, DataLocation, DataType, Dimension, Graph, Model, Node, OpType, OperatorSetId,
    StringStringEntry, TensorProto, TensorShape, TensorShapeDimension, TensorTypeProto, TypeProto, TypeValue,
    ValueInfo,
};
use serde_json::json;
use tempfile::TempDir;

use crate::{Classifier, ClassifierOptions, Encoder, EncoderOptions, ModelFolder};

/// Tokens of the tiny models, by id.
const WORDS: [&str; 4] = ["odd", "noise", "keep", "<unk>"];

fn value<'a>(name: &'a str, elem_type: DataType, dims: Vec<Dimension<'a>>) -> ValueInfo<'a> {
    let dim = dims.into_iter().map(|value| TensorShapeDimension { value, ..TensorShapeDimension::default() }).collect();
    let tensor = TensorTypeProto { elem_type, shape: Some(TensorShape { dim }) };
    let kind = TypeProto { value: Some(TypeValue::Tensor(tensor)), ..TypeProto::default() };
    ValueInfo { name, r#type: Some(kind), ..ValueInfo::default() }
}

/// A model that looks each token up in a table; a classifier takes the mean of a text's rows. With a location its table lies there.
fn onnx<const R: usize, const N: usize>(rows: [[f32; N]; R], classifier: bool, location: Option<&str>) -> Vec<u8> {
    let bytes = table(rows);
    let of_text = |name: &'static str| Dimension::Param(name);
    let mut node = vec![Node {
        input: vec!["table", "input_ids"],
        output: vec![if classifier { "rows" } else { "states" }],
        op_type: OpType::Gather,
        ..Node::default()
    }];
    let mut dims = vec![of_text("batch"), of_text("length"), Dimension::Value(N as i64)];
    if classifier {
        let number = |name, i| Attribute { name, r#type: AttributeType::Int, i, ..Attribute::default() };
        let axes = Attribute { name: "axes", r#type: AttributeType::Ints, ints: vec![1], ..Attribute::default() };
        node.push(Node {
            input: vec!["rows"],
            output: vec!["logits"],
            op_type: OpType::ReduceMean,
            attribute: vec![axes, number("keepdims", 0)],
            ..Node::default()
        });
        dims.remove(1);
    }
    let output = if classifier { "logits" } else { "states" };
    let dims_of_table = vec![R as i64, N as i64];
    let table = match location {
        None => TensorProto::from_raw("table", dims_of_table, DataType::Float, &bytes),
        Some(value) => TensorProto::from_raw("table", dims_of_table, DataType::Float, &[])
            .with_external_data(vec![StringStringEntry { key: "location", value }])
            .with_data_location(DataLocation::External),
    };
    let graph = Graph {
        name: "table",
        node,
        initializer: vec![table],
        input: vec![value("input_ids", DataType::Int64, vec![of_text("batch"), of_text("length")])],
        output: vec![value(output, DataType::Float, dims)],
        ..Graph::default()
    };
    onnx_rs::encode(&Model {
        ir_version: 8,
        opset_import: vec![OperatorSetId { domain: "", version: 13 }],
        graph: Some(graph),
        ..Model::default()
    })
}

/// A table's bytes.
fn table<const R: usize, const N: usize>(rows: [[f32; N]; R]) -> Vec<u8> {
    rows.iter().flatten().flat_map(|value| value.to_le_bytes()).collect()
}

/// A classifier that adds up ones for ever.
fn endless() -> Vec<u8> {
    let node = |op_type, input, output: &'static str, attribute| Node {
        op_type,
        input,
        output: vec![output],
        attribute,
        ..Node::default()
    };
    let scalar = |name, kind| value(name, kind, Vec::new());
    let body = Graph {
        name: "body",
        node: vec![
            node(OpType::Identity, vec!["go_on"], "still", Vec::new()),
            node(OpType::Add, vec!["sum", "one"], "more", Vec::new()),
        ],
        input: vec![scalar("turn", DataType::Int64), scalar("go_on", DataType::Bool), scalar("sum", DataType::Float)],
        output: vec![scalar("still", DataType::Bool), scalar("more", DataType::Float)],
        ..Graph::default()
    };
    let body =
        Attribute { name: "body", r#type: AttributeType::Graph, g: Some(Box::new(body)), ..Attribute::default() };
    let (trips, one) = (i64::MAX.to_le_bytes(), 1f32.to_le_bytes());
    let table: Vec<u8> = [0f32; 8].iter().flat_map(|value| value.to_le_bytes()).collect();
    let axes = Attribute { name: "axes", r#type: AttributeType::Ints, ints: vec![1], ..Attribute::default() };
    let keep = Attribute { name: "keepdims", r#type: AttributeType::Int, i: 0, ..Attribute::default() };
    let graph = Graph {
        name: "endless",
        node: vec![
            node(OpType::Gather, vec!["table", "input_ids"], "rows", Vec::new()),
            node(OpType::ReduceMean, vec!["rows"], "mean", vec![axes, keep]),
            node(OpType::Loop, vec!["trips", "yes", "one"], "sum_of_ones", vec![body]),
            node(OpType::Add, vec!["mean", "sum_of_ones"], "logits", Vec::new()),
        ],
        initializer: vec![
            TensorProto::from_raw("table", vec![4, 2], DataType::Float, &table),
            TensorProto::from_raw("trips", vec![], DataType::Int64, &trips),
            TensorProto::from_raw("one", vec![], DataType::Float, &one),
            TensorProto::from_raw("yes", vec![], DataType::Bool, &[1]),
        ],
        input: vec![value("input_ids", DataType::Int64, vec![Dimension::Param("batch"), Dimension::Param("length")])],
        output: vec![value("logits", DataType::Float, vec![Dimension::Param("batch"), Dimension::Value(2)])],
        ..Graph::default()
    };
    onnx_rs::encode(&Model {
        ir_version: 8,
        opset_import: vec![OperatorSetId { domain: "", version: 13 }],
        graph: Some(graph),
        ..Model::default()
    })
}

/// A folder whose model says this of each token.
fn folder<const R: usize, const N: usize>(rows: [[f32; N]; R], classifier: bool) -> TempDir {
    of(&onnx(rows, classifier, None))
}

/// Writes a file of a model's folder, and the folders above it.
fn put(folder: &TempDir, name: &str, bytes: impl AsRef<[u8]>) {
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("writable");
    fs::write(path, bytes).expect("writable");
}

fn of(onnx: &[u8]) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    put(&folder, "model.onnx", onnx);
    let vocabulary: serde_json::Map<_, _> =
        WORDS.iter().zip(0..).map(|(word, id)| ((*word).into(), id.into())).collect();
    let tokenizer = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"}});
    put(&folder, "tokenizer.json", tokenizer.to_string());
    put(&folder, "config.json", json!({"id2label": {"0": "noise", "1": "keep"}}).to_string());
    folder
}

fn classifier(folder: &TempDir) -> Result<Classifier> {
    Classifier::open(ModelFolder::open(folder.path(), "")?, ClassifierOptions::default())
}

fn encoder(folder: &TempDir) -> Result<Encoder> {
    Encoder::open(ModelFolder::open(folder.path(), "")?, EncoderOptions::default())
}

#[test]
fn a_sound_model_scores_and_encodes() -> Result<()> {
    let rows = [[0.0, 0.0], [3.0, 0.0], [0.0, 4.0], [1.0, 1.0]];
    let scores = classifier(&folder(rows, true))?.scores(&["noise", "keep keep", "keep noise", "?"])?;
    assert!(scores[0] < 0.1 && scores[1] > 0.9 && (scores[2] - 0.622).abs() < 1e-3 && scores[3] == 0.5, "{scores:?}");
    let vectors = encoder(&folder(rows, false))?.documents(&["noise", "keep noise"])?;
    assert_eq!(vectors[0], [1.0, 0.0]);
    assert!((vectors[1][0] - 0.6).abs() < 1e-6 && (vectors[1][1] - 0.8).abs() < 1e-6, "{vectors:?}");
    Ok(())
}

#[test]
fn a_number_that_is_not_finite_is_an_error_and_never_a_decision() -> Result<()> {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        // Found when the model is tried, or on the first text that it happens with.
        let everywhere = classifier(&folder([[1.0, bad]; 4], true)).expect_err("tried");
        let rows = [[bad, 0.0], [3.0, 0.0], [0.0, 4.0], [1.0, 1.0]];
        let (one, other) = (folder(rows, true), folder(rows, false));
        let (scoring, encoding) = (classifier(&one)?, encoder(&other)?);
        assert!(scoring.scores(&["keep noise"]).is_ok() && encoding.queries(&["keep noise"]).is_ok());
        let scored = scoring.scores(&["keep", "an odd text"]).expect_err("not finite");
        let encoded = encoding.queries(&["keep", "an odd text"]).expect_err("not finite");
        for error in [everywhere, scored, encoded] {
            let message = error.to_string();
            assert_eq!(error.exit_code(), 3, "{message}");
            assert!(message.contains("model.onnx: the model gave a number that is not finite"), "{message}");
            assert!(!message.contains("odd text"), "{message}");
        }
    }
    Ok(())
}

#[test]
fn a_model_that_never_ends_is_an_error() {
    let error = classifier(&of(&endless())).expect_err("a loop without an end");
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains("the model gave nothing within 3 s for a batch of 1 texts"), "{error}");
}

#[test]
fn a_vector_without_a_direction_is_an_error() -> Result<()> {
    let encoder = encoder(&folder([[0.0, 0.0], [3e38, 3e38], [0.0, 4.0], [1.0, 1.0]], false))?;
    for text in ["odd", "noise"] {
        let error = encoder.documents(&["keep", text]).expect_err("no unit length");
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains("unit length"), "{error}");
    }
    Ok(())
}

#[test]
fn pipes_devices_and_what_has_no_end_are_refused_unopened() {
    let rows = [[0.0, 0.0], [3.0, 0.0], [0.0, 4.0], [1.0, 1.0]];
    let pipe = |path: &Path| {
        assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
    };
    let device = |path: &Path| std::os::unix::fs::symlink("/dev/zero", path).expect("a link");
    let sparse = |path: &Path| fs::File::create(path).and_then(|file| file.set_len(1 << 40)).expect("a sparse file");
    let folder_there = |path: &Path| fs::create_dir(path).expect("a folder");
    for name in ["model.onnx", "config.json", "tokenizer.json", "thresholds.json"] {
        for (make, expected) in [
            (&pipe as &dyn Fn(&Path), "expected a regular file"),
            (&device, "expected a regular file"),
            (&folder_there, "expected a regular file"),
            (&sparse, "bytes, got 1099511627776"),
        ] {
            let folder = folder(rows, true);
            let path = folder.path().join(name);
            let _ = fs::remove_file(&path);
            make(&path);
            let error = ModelFolder::open(folder.path(), "").and_then(|f| f.threshold()).expect_err(name);
            assert_eq!(error.exit_code(), 3);
            assert!(error.to_string().contains(name) && error.to_string().contains(expected), "{error}");
        }
    }
}

#[test]
fn an_encoder_is_named_by_its_files_and_by_what_decides_its_vectors() -> Result<()> {
    let rows = [[0.0, 0.0], [3.0, 0.0], [0.0, 4.0], [1.0, 1.0]];
    let (here, there) = (folder(rows, false), folder(rows, false));
    let name = |folder: &TempDir, options: &EncoderOptions| options.name(&ModelFolder::open(folder.path(), "")?);
    let options = EncoderOptions::default();
    let named = name(&here, &options)?;
    assert_eq!(encoder(&here)?.name(), named);
    assert_eq!(name(&there, &EncoderOptions { batch_tokens: 7, ..options.clone() })?, named);
    assert_ne!(name(&there, &EncoderOptions { query_prefix: "query: ".into(), ..options.clone() })?, named);
    assert_ne!(name(&folder([[0.5, 0.0]; 4], false), &options)?, named);
    let names: Vec<_> = ModelFolder::open(here.path(), "")?.files();
    let names: Vec<_> = names.iter().filter_map(|file| file.file_name()?.to_str()).collect();
    assert_eq!(names, ["config.json", "tokenizer.json", "model.onnx"]);
    Ok(())
}

#[test]
fn options_that_make_no_sense_are_usage_errors_and_all_others_come_back_from_json() -> Result<()> {
    let rows = [[0.0, 0.0], [3.0, 0.0], [0.0, 4.0], [1.0, 1.0]];
    let made = folder(rows, true);
    let open = |options| Classifier::open(ModelFolder::open(made.path(), "")?, options);
    let options = ClassifierOptions::default();
    for (wrong, setting, exit) in [
        (ClassifierOptions { max_tokens: 0, ..options.clone() }, "max_tokens", 2),
        (ClassifierOptions { batch_tokens: 0, ..options.clone() }, "batch_tokens", 2),
        (ClassifierOptions { keep_label: "good".into(), ..options.clone() }, "keep_label", 3),
    ] {
        let error = open(wrong).expect_err(setting);
        assert_eq!(error.exit_code(), exit);
        assert!(error.to_string().contains(setting), "{error}");
    }
    assert!(open(ClassifierOptions { max_tokens: usize::MAX, ..options.clone() }).is_err_and(|e| e.exit_code() == 2));
    let changed = ClassifierOptions { keep_label: "noise".into(), max_tokens: 9, ..options };
    assert_eq!(serde_json::from_value::<ClassifierOptions>(json!(changed)).ok(), Some(changed.clone()));
    open(changed)?;
    Ok(())
}
