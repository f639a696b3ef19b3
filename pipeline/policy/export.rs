//! `export`: a policy as a Hugging Face folder, which transformers, vLLM and llama.cpp's converter read.

use std::collections::HashMap;
use std::path::PathBuf;

use dataset::{Artifact, Draft, Error, Inputs, Resources, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Model;
use crate::chat::Chat;
use crate::files::{ASKING, candle};

/// Writes `config.json`, `generation_config.json`, `model.safetensors`, `tokenizer.json` and `tokenizer_config.json`, adapters merged into
/// the weights; and of a policy that was trained here `querent_prompt.json`, how it is asked.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Export {
    /// The model: a Hugging Face folder, a GGUF file or a checkpoint. What its files hold decides, not where they lie.
    #[serde(skip_serializing)]
    pub policy: PathBuf,
    /// Where the base of a checkpoint of adapters lies, if it is not where it was.
    #[serde(skip_serializing)]
    pub base: Option<PathBuf>,
}

impl Artifact for Export {
    const NAME: &'static str = "export";
    const VERSION: u32 = 3;
    /// Where the model lies, and where its base does.
    type Inputs = (PathBuf, Option<PathBuf>);

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<Self::Inputs> {
        declare.files("policy", &Model::files(&self.policy)?)?;
        Ok((self.policy.clone(), self.base.clone()))
    }

    fn make(&self, (policy, base): &Self::Inputs, draft: &Draft, _: &Resources) -> Result<()> {
        let model = Model::open_on(policy, base.as_deref())?;
        let config = &model.policy.config;
        let write = |name: &str, value: serde_json::Value| draft.write(name, format!("{value:#}\n").as_bytes());
        write("config.json", crate::Config { pad_token_id: pad(&model), ..config.clone() }.to_json())?;
        let generation = json!({
            "eos_token_id": config.eos_token_ids,
            "bos_token_id": config.bos_token_id,
            "pad_token_id": pad(&model),
        });
        write("generation_config.json", generation)?;
        draft.write("tokenizer.json", model.tokenizer.to_json()?.as_bytes())?;
        write("tokenizer_config.json", tokenizer_config(&model))?;
        if let Some(prompt) = Model::prompt(policy)? {
            write(ASKING, serde_json::to_value(&prompt).map_err(|e| Error::bug(format!("a prompt: {e}")))?)?;
        }
        let tensors = model.policy.merged_tensors().map_err(candle)?;
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let views = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
        draft.write_through("model.safetensors", |path| {
            safetensors::serialize_to_file(views, Some(metadata), path).map_err(std::io::Error::other)
        })
    }
}

/// What fills batches: what the model's files name, else a token of the family that says nothing, else the end.
fn pad(model: &Model) -> Option<u32> {
    let usual = ["<|endoftext|>", "<|finetune_right_pad_id|>", "<|end_of_text|>"];
    let usual = usual.iter().find_map(|token| model.tokenizer.control(token));
    model.policy.config.pad_token_id.or(usual).or(model.policy.config.eos_token_ids.last().copied())
}

fn tokenizer_config(model: &Model) -> serde_json::Value {
    let chat = Chat::of(&model.tokenizer).ok();
    let (template, end) = match chat {
        Some(Chat::ChatMl) => (
            "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}\
             {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
            "<|im_end|>",
        ),
        Some(Chat::Llama3) => (
            "<|begin_of_text|>{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n\
             {{ m['content'] }}<|eot_id|>{% endfor %}\
             {% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
            "<|eot_id|>",
        ),
        None => return json!({ "tokenizer_class": "PreTrainedTokenizerFast" }),
    };
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model.policy.config.max_position_embeddings,
        "clean_up_tokenization_spaces": false,
        "eos_token": end,
        "pad_token": pad(model).and_then(|token| model.tokenizer.spelled(token)),
        "chat_template": template,
    })
}
