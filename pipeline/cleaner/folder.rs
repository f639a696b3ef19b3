//! The cleaner's folder: the model in Hugging Face's form and as ONNX, each variant with the threshold that suits it.

use std::collections::{BTreeMap, HashMap};

use dataset::{Draft, Error, Result};
use serde_json::{Value, json};
use text::{Classifier, ClassifierOptions, LANGUAGES, Languages, ModelFolder, THRESHOLDS};
use tokenizers::Tokenizer;

use crate::TrainCleaner;
use crate::export::to_onnx;
use crate::metrics::{CrossValidation, Metrics};
use crate::quality::Scored;
use crate::roberta::{LABELS, Pass, Roberta};
use crate::train::logits;
use crate::trained::{Trained, clip};

/// Largest difference between candle's logits and ONNX Runtime's.
const TOLERANCE: f32 = 1e-4;
/// The two variants.
const FLOAT32: &str = "model.onnx";
const INT8: &str = "model.int8.onnx";

/// Writes the model in all its forms, each tried on the held-out labels.
pub(crate) fn write(
    draft: &Draft,
    settings: &TrainCleaner,
    trained: &Trained,
    cross_validation: Option<CrossValidation>,
) -> Result<Metrics> {
    let model = &trained.initial.model;
    let max_tokens = clip(settings, model);
    write_model(draft, model, &trained.initial.tokenizer, max_tokens)?;
    let mut pass = Pass { ranges: Some(BTreeMap::new()), ..Pass::default() };
    logits(model, &trained.train, &mut pass)?;
    draft.write(FLOAT32, &to_onnx(model, None)?)?;
    draft.write(INT8, &to_onnx(model, pass.ranges.as_ref())?)?;

    let texts: Vec<&str> = trained.held_out.iter().map(|(text, _)| text.as_str()).collect();
    let open = |onnx: &str| -> Result<Classifier> {
        let options = ClassifierOptions { max_tokens, ..ClassifierOptions::default() };
        Classifier::open(ModelFolder::open(&draft.path, onnx)?, options)
    };
    let (order, ours) = logits(model, &trained.held_out_examples, &mut Pass::default())?;
    let theirs = open(FLOAT32)?.logits(&texts)?;
    let differences =
        order.iter().zip(&ours).flat_map(|(&text, ours)| ours.iter().zip(&theirs[text]).map(|(a, b)| (a - b).abs()));
    // A number that is none is the largest.
    let onnx_difference =
        differences.fold(0.0_f32, |most, next| if next > most || next.is_nan() { next } else { most });
    if onnx_difference.is_nan() || onnx_difference > TOLERANCE {
        let what = format!("{FLOAT32}: its logits differ by {onnx_difference}, expected at most {TOLERANCE}");
        return Err(Error::retry(what, "this is a bug; nothing was written"));
    }
    let labels: Vec<bool> = trained.held_out.iter().map(|(_, keep)| *keep).collect();
    let on_held_out =
        |onnx: &str| -> Result<Scored> { Ok(Scored { scores: open(onnx)?.scores(&texts)?, labels: labels.clone() }) };
    let (float32, int8) = (on_held_out(FLOAT32)?, on_held_out(INT8)?);
    let threshold = float32.best_threshold(0.5);
    // The int8 variant is to decide as the float32 one does, and there are more texts to tell this by than labels held out.
    let all: Vec<&str> = trained.texts.iter().map(String::as_str).collect();
    let decisions = open(FLOAT32)?.scores(&all)?.into_iter().map(|score| score >= threshold).collect();
    let alike = Scored { scores: open(INT8)?.scores(&all)?, labels: decisions };
    let int8_threshold = alike.best_threshold(threshold);
    let thresholds = BTreeMap::from([(FLOAT32.to_owned(), threshold), (INT8.to_owned(), int8_threshold)]);
    let held_out = BTreeMap::from([
        (FLOAT32.to_owned(), float32.quality(threshold)),
        (INT8.to_owned(), int8.quality(int8_threshold)),
    ]);
    draft.write_json(THRESHOLDS, &thresholds)?;
    let languages = Languages::of(trained.texts.iter().map(String::as_str));
    draft.write_json(LANGUAGES, &languages)?;
    Ok(Metrics {
        trained_on: trained.train.len(),
        temperature: trained.temperature,
        onnx_difference,
        int8_agreement: alike.hits(int8_threshold),
        held_out,
        thresholds,
        epochs: trained.epochs.clone(),
        languages,
        cross_validation,
    })
}

/// Writes the model and its tokenizer in Hugging Face's form.
fn write_model(draft: &Draft, model: &Roberta, tokenizer: &Tokenizer, max_tokens: usize) -> Result<()> {
    draft.write_json("config.json", &config_json(model))?;
    let json = tokenizer.to_string(true).map_err(crate::tokenizer)?;
    draft.write("tokenizer.json", json.as_bytes())?;
    draft.write_json("tokenizer_config.json", &json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": max_tokens, "model_input_names": ["input_ids", "attention_mask"],
        "bos_token": "<s>", "cls_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "sep_token": "</s>", "unk_token": "<unk>",
        "mask_token": "<mask>", "clean_up_tokenization_spaces": false,
    }))?;
    let tensors = model.parameters().iter().map(|(name, var)| (name, var.as_tensor().clone()));
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let bytes =
        safetensors::serialize(tensors, Some(metadata)).map_err(|e| Error::bug(format!("model.safetensors: {e}")))?;
    draft.write("model.safetensors", &bytes)
}

fn config_json(model: &Roberta) -> Value {
    let mut config = serde_json::to_value(&model.config).expect("a configuration can be written as JSON");
    let labels: BTreeMap<String, &str> = (0..).map(|i: usize| i.to_string()).zip(LABELS).collect();
    let ids: BTreeMap<&str, usize> = LABELS.into_iter().zip(0..).collect();
    let more = json!({
        "architectures": ["RobertaForSequenceClassification"], "model_type": "roberta", "hidden_act": "gelu",
        "position_embedding_type": "absolute", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
        "bos_token_id": 0, "eos_token_id": 2, "id2label": labels, "label2id": ids, "torch_dtype": "float32",
    });
    if let (Value::Object(config), Value::Object(more)) = (&mut config, more) {
        config.extend(more);
    }
    config
}
