//! A policy as a Hugging Face folder, which transformers, vLLM and llama.cpp's converter read.

use std::collections::HashMap;
use std::path::Path;

use dataset::{Draft, write_through};
use serde_json::json;

use crate::chat::Chat;
use crate::{Error, Model, Result};

/// Writes `config.json`, `generation_config.json`, `model.safetensors`, `tokenizer.json` and `tokenizer_config.json`, adapters merged into
/// the weights. The folder appears whole, by one rename.
///
/// # Errors
/// When the folder is there already.
pub fn export(model: &Model, folder: &Path) -> Result<()> {
    if folder.exists() {
        return Err(Error::setting(
            "the folder to write",
            format!("expected a new one, got {}, which is there already", folder.display()),
            "name another folder, or delete this one",
        ));
    }
    let draft = Draft::new(folder)?;
    let config = &model.policy.config;
    let write = |name: &str, value: serde_json::Value| draft.write(name, format!("{value:#}\n").as_bytes());
    write("config.json", config.to_json())?;
    let ends = json!({ "eos_token_id": config.eos_token_ids, "bos_token_id": config.bos_token_id });
    write("generation_config.json", ends)?;
    draft.write("tokenizer.json", model.tokenizer.to_json()?.as_bytes())?;
    write("tokenizer_config.json", tokenizer_config(model))?;
    let tensors = model.policy.merged_tensors()?;
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let views = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
    write_through(&draft.path.join("model.safetensors"), |path| {
        safetensors::serialize_to_file(views, Some(metadata), path).map_err(std::io::Error::other)
    })?;
    // Not published: that would replace a folder that has come up meanwhile.
    Ok(std::fs::rename(&draft.path, folder).map_err(dataset::Error::at(folder))?)
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
        "chat_template": template,
    })
}
