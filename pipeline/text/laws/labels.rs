//! Logits mean what a model's configuration says, as transformers' pipelines have it.

use serde_json::{Value, json};

use super::{classifier, folder, put};
use crate::{Classifier, ClassifierOptions, ModelFolder};

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

fn close(scores: &[f32], logits: &[f32]) {
    let same = scores.iter().zip(logits).all(|(score, logit)| (score - sigmoid(*logit)).abs() < 1e-6);
    assert!(same && scores.len() == logits.len(), "{scores:?} {logits:?}");
}

#[test]
fn a_single_logit_is_a_probability_of_its_own() -> dataset::Result<()> {
    let single = folder([[-2.0], [0.0], [3.0], [-100.0]], true);
    for config in [
        json!({"id2label": {"0": "keep"}}),
        json!({"id2label": {"0": "keep"}, "num_labels": 1, "problem_type": null}),
        json!({"id2label": {"0": "keep"}, "problem_type": "multi_label_classification"}),
    ] {
        put(&single, "config.json", config.to_string());
        let scores = classifier(&single)?.scores(&["odd", "noise", "keep", "?", "noise keep"])?;
        close(&scores, &[-2.0, 0.0, 3.0, -100.0, 1.5]);
    }
    Ok(())
}

#[test]
fn labels_that_do_not_exclude_each_other_are_judged_alone() -> dataset::Result<()> {
    let several = folder([[4.0, -2.0, 1.0], [4.0, 0.5, 1.0], [-4.0, 3.0, 9.0], [0.0; 3]], true);
    let labels = json!({"0": "toxic", "1": "keep", "2": "spam"});
    let config = json!({"id2label": labels, "problem_type": "multi_label_classification"});
    put(&several, "config.json", config.to_string());
    close(&classifier(&several)?.scores(&["odd", "noise", "keep", "?"])?, &[-2.0, 0.5, 3.0, 0.0]);
    // Of labels that do, one is true.
    for problem in [Value::Null, json!("single_label_classification")] {
        put(&several, "config.json", json!({"id2label": labels, "problem_type": problem}).to_string());
        let score = classifier(&several)?.scores(&["keep"])?[0];
        assert!((score - 1.0 / (1.0 + (-7f32).exp() + 6f32.exp())).abs() < 1e-6, "{score}");
    }
    Ok(())
}

#[test]
fn a_configuration_that_does_not_fit_its_logits_is_named() {
    let two = folder([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0], [1.0, 1.0]], true);
    let one = folder([[0.0], [3.0], [4.0], [1.0]], true);
    let labels = json!({"0": "noise", "1": "keep"});
    for (of, config, expected) in [
        (&one, json!({"id2label": {"0": "keep"}, "problem_type": "regression"}), "problem_type: expected"),
        (&two, json!({"id2label": labels, "problem_type": "ranking"}), "got \"ranking\""),
        (&two, json!({"id2label": labels, "num_labels": 3}), "num_labels: expected 2, the labels of id2label, got 3"),
        (&one, json!({"id2label": labels}), "expected labels for the model's 1 logits, got [0, 1]"),
        (&two, json!({"id2label": {"0": "keep"}}), "expected labels for the model's 2 logits, got [0]"),
        (
            &two,
            json!({"id2label": {"0": "noise", "1": "odd", "2": "keep"}}),
            "expected labels for the model's 2 logits",
        ),
        (
            &two,
            json!({"id2label": {"0": "noise", "2": "keep"}}),
            "expected labels for the model's 2 logits, got [0, 2]",
        ),
        (&two, json!({"id2label": {"0": "keep", "1": "keep"}}), "expected a label \"keep\", got [\"keep\", \"keep\"]"),
        (&two, json!({}), "id2label: expected a label \"keep\", got []"),
    ] {
        put(of, "config.json", config.to_string());
        let error = classifier(of).expect_err(expected);
        assert_eq!(error.exit_code(), 3);
        let said = error.to_string();
        assert!(said.contains("config.json") && said.contains(expected) && said.contains("\nhint: "), "{said}");
    }
}

#[test]
fn there_is_room_for_a_text_beside_the_special_tokens() -> dataset::Result<()> {
    let folder = folder([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0], [1.0, 1.0]], true);
    let path = folder.path().join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&std::fs::read(path).expect("readable")).expect("JSON");
    tokenizer["post_processor"] = json!({"type": "RobertaProcessing", "sep": ["odd", 0], "cls": ["odd", 0],
        "trim_offsets": true, "add_prefix_space": false});
    put(&folder, "tokenizer.json", tokenizer.to_string());
    let open = |max_tokens| {
        let options = ClassifierOptions { max_tokens, ..ClassifierOptions::default() };
        Classifier::open(ModelFolder::open(folder.path(), "")?, options)
    };
    for max_tokens in [1, 2] {
        let error = open(max_tokens).expect_err("no room");
        let expected =
            format!("max_tokens: expected at least 3 (2 special tokens and one of the text), got {max_tokens}");
        assert!(error.exit_code() == 2 && error.to_string().contains(&expected), "{error}");
    }
    let clipped = open(3)?;
    assert_eq!(clipped.scores(&["keep noise noise"])?, clipped.scores(&["keep"])?);
    Ok(())
}
