//! The cleaner's folder: what is in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor};
use dataset::Draft;
use dataset::plan::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokenizers::Tokenizer;

use crate::roberta::{LABELS, Roberta};
use crate::{Result, TrainCleaner};

/// The file that says how the folder was made; a folder without it is not ours to replace.
pub(crate) const TRAINING: &str = "training.json";

/// How a folder was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Lineage {
    /// Of everything that decides what is in the folder.
    pub(crate) fingerprint: Digest,
    /// The resolved settings.
    pub(crate) settings: TrainCleaner,
    /// The labels' content.
    pub(crate) labels: Digest,
    /// SHA-256 of the initial model's files.
    pub(crate) init: BTreeMap<String, String>,
}

/// The lineage of a folder that `train-cleaner` made; `None` when there is no folder.
pub(crate) fn lineage(folder: &Path) -> Result<Option<Lineage>> {
    if !folder.exists() {
        return Ok(None);
    }
    let path = folder.join(TRAINING);
    let read = fs::read(&path).ok().and_then(|json| serde_json::from_slice(&json).ok());
    read.map(Some).ok_or_else(|| {
        let what = "the output folder is there, but train-cleaner did not make it";
        dataset::Error::setting(
            "train-cleaner.output",
            "a new folder or one of train-cleaner's",
            what,
            "name another --output",
        )
        .into()
    })
}

/// Writes the model and its tokenizer in Hugging Face's form.
pub(crate) fn write_model(draft: &Draft, model: &Roberta, tokenizer: &Tokenizer, max_tokens: usize) -> Result<()> {
    draft.write_json("config.json", &config_json(model))?;
    let json = tokenizer.to_string(true).map_err(crate::Error::tokenizer)?;
    draft.write("tokenizer.json", json.as_bytes())?;
    draft.write_json("tokenizer_config.json", &json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": max_tokens, "model_input_names": ["input_ids", "attention_mask"],
        "bos_token": "<s>", "cls_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "sep_token": "</s>", "unk_token": "<unk>",
        "mask_token": "<mask>", "clean_up_tokenization_spaces": false,
    }))?;
    let tensors: BTreeMap<&String, &Tensor> =
        model.parameters().iter().map(|(name, var)| (name, var.as_tensor())).collect();
    let bytes = safetensors(&tensors)?;
    Ok(draft.write("model.safetensors", &bytes)?)
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

/// Tensors in the order of their names, so that the same weights are the same bytes.
fn safetensors(tensors: &BTreeMap<&String, &Tensor>) -> Result<Vec<u8>> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), json!({"format": "pt"}));
    let mut data = Vec::new();
    for (name, tensor) in tensors {
        let start = data.len();
        let values = tensor.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        header.insert(
            (*name).clone(),
            json!({"dtype": "F32", "shape": tensor.dims(), "data_offsets": [start, data.len()]}),
        );
    }
    let mut json = serde_json::to_vec(&header).expect("a header can be written as JSON");
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json);
    bytes.extend(data);
    Ok(bytes)
}
