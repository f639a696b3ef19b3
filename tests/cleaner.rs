//! The cleaner: trained twice, the same bytes; readable by others; broken models refused; every text scored once.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::{
    batches, by_version, cleaner, config, contents, copy, fail, files, labels_tsv, pipeline, python, querent, succeed,
    tsv_log,
};

#[test]
fn the_same_labels_and_settings_give_the_same_bytes_and_a_trained_folder_is_left_alone() {
    let folder = TempDir::new().expect("a folder");
    let (data, labels) = (folder.path().join("data"), folder.path().join("labels.tsv"));
    std::fs::write(&labels, labels_tsv()).expect("writable");
    let annotate = ["annotate", "--annotator", "file", "--quiet", "--labels-file"];
    succeed(querent().args(annotate).arg(&labels).arg("--data").arg(&data));
    let train = |output: &Path, seed: &str| {
        let mut command = querent();
        command.args(["train-cleaner", "--quiet", "--epochs", "1", "--learning-rate", "0.003", "--seed", seed]);
        command.args([
            "--set",
            "train-cleaner.layers=1",
            "--set",
            "train-cleaner.width=32",
            "--set",
            "train-cleaner.vocabulary=500",
        ]);
        command.arg("--output").arg(output).arg("--data").arg(&data);
        command
    };
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    succeed(&mut train(&first, "1"));
    // What a killed run leaves is no obstacle.
    std::fs::create_dir_all(folder.path().join("second.unfinished/rest")).expect("writable");
    succeed(&mut train(&second, "1"));
    let bytes = |folder: &Path, name: &str| std::fs::read(folder.join(name)).expect(name);
    for name in
        ["model.onnx", "model.int8.onnx", "model.safetensors", "tokenizer.json", "thresholds.json", "metrics.json"]
    {
        assert!(bytes(&first, name) == bytes(&second, name), "{name}");
    }
    assert!(!folder.path().join("second.unfinished").exists());

    assert!(succeed(&mut train(&first, "1")).contains("up to date"));
    succeed(&mut train(&first, "2"));
    assert!(bytes(&first, "model.onnx") != bytes(&second, "model.onnx"));

    // A folder of somebody else's is not replaced.
    let foreign = folder.path().join("foreign");
    std::fs::create_dir(&foreign).expect("writable");
    std::fs::write(foreign.join("notes.txt"), "keep me").expect("writable");
    let message = fail(&mut train(&foreign, "1"), 2);
    assert!(message.contains("got somebody else's") && message.contains("hint:"), "{message}");
    assert_eq!(bytes(&foreign, "notes.txt"), b"keep me");
}

#[test]
fn onnx_checker_accepts_both_variants_and_python_reads_the_folder_to_the_same_scores() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("data");
    succeed(&mut pipeline(&config(&root, 24, 1)));
    let said = succeed(python("tests/onnx_models.py").arg(cleaner()).arg(&root));
    assert!(said.contains("scores agree"), "{said}");
}

#[test]
fn every_text_is_scored_once_and_never_again_by_the_same_model() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("data");
    let path = config(&root, 24, 1);
    succeed(&mut pipeline(&path));
    let clean = |more: &[&str]| succeed(querent().args(["clean", "--quiet", "--config"]).arg(&path).args(more));
    assert!(clean(&[]).contains("score: up to date"));
    let before = by_version(&root, "text_scores");

    // Another threshold: other decisions, no inference.
    let said = clean(&["--threshold", "0.9"]);
    assert!(said.contains("score: up to date") && !said.contains("texts scored"), "{said}");
    for batch in batches(&root, "clean_events") {
        let scores = batch.column_by_name("keep_score").expect("a column");
        let scores = scores.as_any().downcast_ref::<arrow::array::Float32Array>().expect("scores");
        assert!(scores.iter().all(|score| score.is_some_and(|score| score >= 0.9)));
    }

    // More events: only their new texts are scored, and the others keep their scores to the last bit.
    succeed(&mut pipeline(&config(&root, 30, 1)));
    let after = by_version(&root, "text_scores");
    assert!(before.iter().all(|row| after.contains(row)) || before.len() > after.len());
    let said = succeed(querent().args(["inspect", "text_scores", "--data"]).arg(&root));
    assert!(said.contains("from the cache"), "{said}");

    // Scored anew by the other variant: every text again.
    let said = clean(&["--onnx", "model.onnx"]);
    assert!(said.contains("texts scored"), "{said}");
}

#[test]
fn scores_do_not_depend_on_threads_or_buckets() {
    let folder = TempDir::new().expect("a folder");
    let one = folder.path().join("one");
    let path = config(&one, 24, 1);
    succeed(&mut pipeline(&path));
    let other = folder.path().join("other");
    let path = config(&other, 24, 1);
    let text = std::fs::read_to_string(&path).expect("written").replace("buckets = 4", "buckets = 7");
    std::fs::write(&path, text).expect("writable");
    succeed(pipeline(&path).args(["--threads", "1"]));
    assert_eq!(by_version(&one, "text_scores"), by_version(&other, "text_scores"));
    assert_eq!(contents(&one).get("text_scores"), contents(&other).get("text_scores"));
}

#[test]
fn a_model_that_cannot_be_trusted_is_one_clear_error() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("data");
    let path = config(&root, 24, 1);
    succeed(&mut pipeline(&path));
    let before = contents(&root);
    let broken = |name: &str, spoil: &dyn Fn(&Path), expected: &str| {
        let model = folder.path().join(name);
        copy(cleaner(), &model);
        spoil(&model);
        let message = fail(querent().args(["clean", "--quiet", "--config"]).arg(&path).arg("--model").arg(&model), 3);
        assert!(message.contains(expected), "{name}: {message}");
        assert_eq!((message.matches("error:").count(), message.matches("hint:").count()), (1, 1), "{name}: {message}");
        assert!(!message.contains("onnxruntime:"), "{name}: {message}");
        assert_eq!(contents(&root), before, "{name}");
    };
    let rewrite = |model: &Path, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let file = model.join("model.int8.onnx");
        let bytes = change(std::fs::read(&file).expect("readable"));
        std::fs::write(file, bytes).expect("writable");
    };
    broken(
        "truncated",
        &|m| rewrite(m, &|b| b[..b.len() / 2].to_vec()),
        "model.int8.onnx: expected a whole ONNX model",
    );
    broken("no-onnx", &|m| rewrite(m, &|_| b"PK\x03\x04 something else".to_vec()), "model.int8.onnx: expected a");
    broken("empty", &|m| rewrite(m, &|_| Vec::new()), "model.int8.onnx: expected an ONNX model, got something else");
    let renamed = |bytes: Vec<u8>| {
        let mut model = onnx_rs::parse(&bytes).expect("our own model");
        let graph = model.graph.as_mut().expect("a graph");
        graph.input[0].name = "pixel_values";
        for node in &mut graph.node {
            node.input.iter_mut().filter(|name| **name == "input_ids").for_each(|name| *name = "pixel_values");
        }
        onnx_rs::encode(&model)
    };
    broken("other-inputs", &|m| rewrite(m, &renamed), "an input \"pixel_values\"");
    let no_tokenizer = |m: &Path| std::fs::remove_file(m.join("tokenizer.json")).expect("removable");
    broken("no-tokenizer", &no_tokenizer, "tokenizer.json");
    let misfit = |m: &Path| {
        std::fs::copy("fixtures/bert-tiny/tokenizer.json", m.join("tokenizer.json")).expect("copied");
        std::fs::write(
            m.join("config.json"),
            std::fs::read_to_string(m.join("config.json"))
                .expect("readable")
                .replace("\"vocab_size\": ", "\"vocab_size\": 1, \"was\": "),
        )
        .expect("writable");
    };
    broken("misfit", &misfit, "tokenizer.json: expected at most the model's 1 tokens");
    let labels = |m: &Path| {
        let config = std::fs::read_to_string(m.join("config.json")).expect("readable");
        std::fs::write(m.join("config.json"), config.replace("\"keep\"", "\"good\"")).expect("writable");
    };
    broken("labels", &labels, "expected a label \"keep\"");
    let regression = |m: &Path| {
        let config = std::fs::read_to_string(m.join("config.json")).expect("readable");
        let config = config.replacen('{', "{\"problem_type\": \"regression\",", 1);
        std::fs::write(m.join("config.json"), config).expect("writable");
    };
    broken("regression", &regression, "problem_type: expected single_label_classification");
    let outside = |bytes: Vec<u8>| {
        let mut model = onnx_rs::parse(&bytes).expect("our own model");
        let graph = model.graph.as_mut().expect("a graph");
        let location = onnx_rs::ast::StringStringEntry { key: "location", value: "../../outside.bin" };
        let tensor = std::mem::take(&mut graph.initializer[0]);
        graph.initializer[0] =
            tensor.with_external_data(vec![location]).with_data_location(onnx_rs::ast::DataLocation::External);
        onnx_rs::encode(&model)
    };
    broken("outside", &|m| rewrite(m, &outside), "its weights lie outside the model's folder");
    let message = fail(querent().args(["clean", "--quiet", "--config"]).arg(&path).args(["--model", "nowhere"]), 3);
    assert!(message.contains("nowhere: no such folder"), "{message}");
    let message = fail(querent().args(["clean", "--quiet", "--config"]).arg(&path).args(["--model", ""]), 2);
    assert!(message.contains("--model none"), "{message}");
    for (setting, value, expected) in [
        ("--threshold", "nan", "--threshold: expected a finite number"),
        ("--threshold", "5", "clean.threshold: expected a number from 0 to 1, got 5"),
        ("--threshold", "inf", "--threshold: expected a finite number"),
        ("--max-tokens", "1", "max_tokens: expected at least 3 (2 special tokens and one of the text), got 1"),
        ("--max-tokens", "2", "max_tokens: expected at least 3 (2 special tokens and one of the text), got 2"),
    ] {
        let clean = || ["clean", "--quiet", setting, value, "--config"];
        let message = fail(querent().args(clean()).arg(&path), 2);
        assert!(message.contains(expected), "{message}");
        assert_eq!(contents(&root), before, "{setting} {value}");
    }
    let message = fail(
        querent()
            .args(["clean", "--quiet", "--config"])
            .arg(&path)
            .env("ORT_DYLIB_PATH", "/nowhere.so")
            .args(["--max-tokens", "9"]),
        2,
    );
    assert!(message.contains("make setup"), "{message}");
    assert!(files(&root).iter().all(|file| !file.display().to_string().contains("_staged")));
}

/// Searches in German, visits and clicks in English.
fn two_languages(folder: &Path) -> PathBuf {
    let german = [
        "was die Wahl für die Region bedeutet",
        "fünf Fragen zum Kometen am Abendhimmel",
        "wie man einen alten Apfelbaum richtig schneidet",
        "warum das Orchester schon wieder streikt",
    ];
    let english = [
        "what the election means for the region",
        "five questions about the comet in the evening",
        "how to prune an old apple tree the right way",
        "why the orchestra is on strike once again",
    ];
    let rows = |texts: [&str; 4]| -> String {
        let row = |i: usize| format!("u{}\t2025-11-30 {:02}:{:02}:00\t{}\n", i % 9, i / 60, i % 60, texts[i % 4]);
        std::iter::once("user\tat\ttext\n".to_owned()).chain((0..240).map(row)).collect()
    };
    let mut text = "[ingest]\nbuckets = 2\ncut_off = \"2025-12-01\"\n".to_owned();
    for (name, domain, texts) in [("searches", "search", german), ("visits", "browse", english)] {
        let file = folder.join(format!("{name}.tsv"));
        std::fs::write(&file, rows(texts)).expect("writable");
        text += &tsv_log("events", name, &file, &format!("domain = \"{domain}\"\nuser = \"user\"\ntext = \"text\""));
    }
    let path = folder.join("logs.toml");
    std::fs::write(&path, text).expect("writable");
    path
}

#[test]
fn a_cleaner_says_which_languages_it_knows_and_domains_can_be_left_out() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("data");
    let config = two_languages(folder.path());
    let job = |name: &str| {
        let mut command = querent();
        command.args([name, "--quiet", "--data"]).arg(&root).arg("--config").arg(&config);
        command
    };
    succeed(&mut job("ingest"));
    let model = folder.path().join("model");
    copy(cleaner(), &model);
    let known = std::fs::read_to_string(model.join("languages.json")).expect("train-cleaner writes it");
    assert!(known.contains("eng"), "{known}");
    let clean = |more: &[&str]| succeed(job("clean").arg("--model").arg(&model).args(more));
    let said = clean(&[]);
    assert!(
        said.contains("warning: the texts of search are in German 100%; the cleaner was trained on English"),
        "{said}"
    );
    assert!(!said.contains("the texts of browse"), "{said}");

    // What is left out passes through without a score, and the version says so.
    let said = clean(&["--only", "browse"]);
    assert!(said.contains("kept search, unclassified 240") && !said.contains("the texts of search"), "{said}");
    let described = succeed(querent().args(["inspect", "clean_events", "--data"]).arg(&root));
    assert!(described.contains("remark: not classified, and all kept: news, search"), "{described}");
    let searches: Vec<String> =
        by_version(&root, "clean_events").into_iter().filter(|row| row.contains("|search|")).collect();
    assert!(searches.len() == 240 && searches.iter().all(|row| row.ends_with('|')), "a null score");
    // Scores that there were are not made again.
    let said = clean(&["--only", "browse,search"]);
    assert!(said.contains("from the cache 4") && said.contains("scored 4"), "{said}");
    let said = clean(&["--only", "search,browse,news"]);
    assert!(said.contains("from the cache 8") || said.contains("score: up to date"), "{said}");
    assert!(fail(job("clean").arg("--model").arg(&model).args(["--only", "mail"]), 2).contains("browse, news, search"));
    assert!(fail(job("clean").args(["--model", "none", "--only", "search"]), 2).contains("clean.only"));
}
