//! What a sentence-transformers folder says beside its model is followed or refused by name.

use dataset::Result;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{encoder, folder, put};
use crate::{Encoder, EncoderOptions, ModelFolder};

const ROWS: [[f32; 2]; 4] = [[1.0, 0.5], [3.0, 0.0], [0.0, 4.0], [-1.0, 1.0]];

/// A folder with these files beside its model.
fn with(files: &[(&str, Value)]) -> TempDir {
    let folder = folder(ROWS, false);
    files.iter().for_each(|(name, content)| put(&folder, name, content.to_string()));
    folder
}

/// A list of modules, each with its place.
fn modules(modules: &[(&str, &str)]) -> Value {
    let module = |(kind, path): &(&str, &str)| json!({"idx": 0, "name": "0", "path": path, "type": kind});
    modules.iter().map(module).collect()
}

const TRANSFORMER: (&str, &str) = ("sentence_transformers.models.Transformer", "");
const POOLING: (&str, &str) = ("sentence_transformers.models.Pooling", "1_Pooling");
const NORMALIZE: (&str, &str) = ("sentence_transformers.models.Normalize", "2_Normalize");
const POOLED: &str = "1_Pooling/config.json";

fn usual() -> [(&'static str, Value); 2] {
    [("modules.json", modules(&[TRANSFORMER, POOLING, NORMALIZE])), (POOLED, json!({"pooling_mode_mean_tokens": true}))]
}

/// The usual folder with one file more.
fn usual_with(name: &str, content: Value) -> TempDir {
    let folder = with(&usual());
    put(&folder, name, content.to_string());
    folder
}

#[track_caller]
fn refused(folder: &TempDir, file: &str, expected: &str) {
    let error = encoder(folder).expect_err(expected);
    let said = error.to_string();
    assert_eq!(error.exit_code(), 3, "{said}");
    assert!(said.contains(file) && said.contains(expected) && said.contains("\nhint: "), "{expected}: {said}");
}

#[test]
fn a_mean_is_taken_wherever_it_is_said_and_however() -> Result<()> {
    let text = ["keep noise odd"];
    let plain = encoder(&with(&[]))?;
    let elsewhere = ("sentence_transformers.models.Pooling", "7_Elsewhere");
    let newer = ("sentence_transformers.base.modules.transformer.Transformer", "");
    for (list, path, pooled) in [
        (
            vec![TRANSFORMER, POOLING],
            POOLED,
            json!({"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false}),
        ),
        (
            vec![TRANSFORMER, POOLING, NORMALIZE],
            POOLED,
            json!({"embedding_dimension": 2, "pooling_mode": "mean", "include_prompt": true}),
        ),
        (vec![newer, POOLING], POOLED, json!({"pooling_mode": ["mean"]})),
        (vec![TRANSFORMER, elsewhere], "7_Elsewhere/config.json", json!({"word_embedding_dimension": 2})),
        (vec![], POOLED, json!({"pooling_mode": "mean"})),
    ] {
        let mut files = vec![(path, pooled)];
        files.extend((!list.is_empty()).then(|| ("modules.json", modules(&list))));
        let folder = with(&files);
        let encoder = encoder(&folder)?;
        assert_eq!(encoder.documents(&text)?, plain.documents(&text)?);
        // What is said is hashed.
        assert_ne!(encoder.name(), plain.name());
        let hashed = ModelFolder::open(folder.path(), "")?.files();
        assert!(files.iter().all(|(name, _)| hashed.contains(&folder.path().join(name))), "{hashed:?}");
    }
    Ok(())
}

#[test]
fn other_modules_and_other_pooling_are_refused_by_name() {
    let last = |kind: &'static str| vec![TRANSFORMER, POOLING, (kind, "2_More")];
    let nested = ("sentence_transformers.models.Transformer", "0_Transformer");
    let outside = ("sentence_transformers.models.Pooling", "../1_Pooling");
    for (list, expected) in [
        (last("sentence_transformers.models.Dense"), "got Dense"),
        (last("sentence_transformers.models.LSTM"), "got LSTM"),
        (vec![TRANSFORMER, ("sentence_transformers.models.WordWeights", "1"), POOLING], "got WordWeights"),
        (vec![("custom_st.Transformer", ""), POOLING], "got custom_st.Transformer"),
        (vec![POOLING, TRANSFORMER], "got Pooling, Transformer"),
        (vec![TRANSFORMER], "got Transformer"),
        (vec![TRANSFORMER, POOLING, POOLING], "got Transformer, Pooling, Pooling"),
        (vec![nested, POOLING], "got \"0_Transformer\""),
        (vec![TRANSFORMER, outside], "got \"../1_Pooling\""),
    ] {
        refused(&usual_with("modules.json", modules(&list)), "modules.json", expected);
    }
    refused(&usual_with("modules.json", json!("Transformer")), "modules.json", "expected a list of modules");
    refused(&with(&usual()[..1]), POOLED, "got no such file");
    for (pooled, expected) in [
        (json!({"pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": true}), "got pooling_mode_max_tokens"),
        (json!({"pooling_mode_mean_tokens": false, "pooling_mode_cls_token": true}), "got pooling_mode_cls_token"),
        (json!({"pooling_mode": "cls"}), "got cls"),
        (json!({"pooling_mode": ["mean", "max"]}), "got max"),
        (json!({"pooling_mode": 3}), "expected how vectors are pooled"),
    ] {
        refused(&usual_with(POOLED, pooled.clone()), POOLED, expected);
        refused(&with(&[(POOLED, pooled)]), POOLED, expected);
    }
}

#[test]
fn length_and_case_are_those_of_the_folder() -> Result<()> {
    const FILE: &str = "sentence_bert_config.json";
    let plain = encoder(&with(&[]))?;
    let long = ["keep noise noise"];
    for (file, content) in [
        (FILE, json!({"max_seq_length": 1, "do_lower_case": false})),
        ("sentence_roberta_config.json", json!({"max_seq_length": 1, "do_lower_case": null})),
        ("tokenizer_config.json", json!({"model_max_length": 1})),
    ] {
        assert_eq!(encoder(&usual_with(file, content))?.documents(&long)?, plain.documents(&["keep"])?, "{file}");
    }
    for (file, content) in [
        (
            FILE,
            json!({"max_seq_length": null, "transformer_task": "feature-extraction", "unpad_inputs": null,
            "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
            "module_output_name": "token_embeddings", "processing_kwargs": {}}),
        ),
        ("tokenizer_config.json", json!({"model_max_length": 1e30})),
    ] {
        assert_eq!(encoder(&usual_with(file, content))?.documents(&long)?, plain.documents(&long)?, "{file}");
    }
    let lower = encoder(&usual_with(FILE, json!({"do_lower_case": true})))?;
    assert_eq!(lower.documents(&["KEEP Noise"])?, plain.documents(&["keep noise"])?);
    assert_ne!(plain.documents(&["KEEP Noise"])?, plain.documents(&["keep noise"])?);
    for (content, expected) in [
        (json!({"max_seq_length": 0}), "max_seq_length: expected a number above 0, got 0"),
        (json!({"do_lower_case": "yes"}), "do_lower_case: expected true or false"),
        (json!({"query_length": 32}), "query_length: expected nothing, got 32"),
        (json!({"transformer_task": "fill-mask"}), "transformer_task: expected feature-extraction"),
        (json!({"modality_config": {"text": {"method_output_name": "pooler_output"}}}), "modality_config: expected"),
    ] {
        refused(&usual_with(FILE, content), FILE, expected);
    }
    Ok(())
}

#[test]
fn prompts_stand_where_sentence_transformers_puts_them() -> Result<()> {
    const FILE: &str = "config_sentence_transformers.json";
    let plain = encoder(&with(&[]))?;
    let prompted = |content: Value, query: &str, document: &str| -> Result<()> {
        let encoder = encoder(&usual_with(FILE, content))?;
        assert_eq!(encoder.queries(&["odd"])?, plain.queries(&[&format!("{query}odd")])?);
        assert_eq!(encoder.documents(&["odd"])?, plain.documents(&[&format!("{document}odd")])?);
        Ok(())
    };
    let both = json!({"query": "keep ", "passage": "noise "});
    prompted(json!({"prompts": {}, "default_prompt_name": null, "similarity_fn_name": "cosine"}), "", "")?;
    prompted(json!({"prompts": {"query": "", "document": ""}}), "", "")?;
    prompted(json!({"prompts": both, "similarity_fn_name": "dot"}), "keep ", "noise ")?;
    prompted(json!({"prompts": {"sts": "keep "}, "default_prompt_name": "sts"}), "keep ", "keep ")?;
    prompted(json!({"prompts": {"sts": "keep "}, "default_prompt_name": null}), "", "")?;
    // What is given stands in a prompt's place.
    let options = EncoderOptions { query_prefix: "noise noise ".into(), ..EncoderOptions::default() };
    let folder = usual_with(FILE, json!({"prompts": both}));
    let given = Encoder::open(ModelFolder::open(folder.path(), "")?, options)?;
    assert_eq!(given.queries(&["odd"])?, plain.queries(&["noise noise odd"])?);
    assert_eq!(given.documents(&["odd"])?, plain.documents(&["noise odd"])?);

    put(&folder, POOLED, json!({"pooling_mode": "mean", "include_prompt": false}).to_string());
    refused(&folder, POOLED, "include_prompt: expected true");
    put(&folder, FILE, "{}");
    encoder(&folder)?;
    for (content, expected) in [
        (json!({"default_prompt_name": "sts"}), "default_prompt_name: expected one of [], got sts"),
        (json!({"similarity_fn_name": "manhattan"}), "similarity_fn_name: expected cosine, got manhattan"),
        (json!({"model_type": "SparseEncoder"}), "model_type: expected SentenceTransformer, got SparseEncoder"),
    ] {
        refused(&usual_with(FILE, content), FILE, expected);
    }
    let long = [
        ("modules.json", modules(&[TRANSFORMER, POOLING])),
        (POOLED, json!({})),
        (FILE, json!({"similarity_fn_name": "dot"})),
    ];
    refused(&with(&long), FILE, "similarity_fn_name: expected cosine, got dot");
    Ok(())
}
