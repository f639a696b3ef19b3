//! A policy as a Hugging Face folder, which transformers, vLLM and llama.cpp's converter read.

use std::collections::HashMap;
use std::path::Path;

use serde_json::json;

use crate::chat::Chat;
use crate::{Error, Model, Result};

/// Writes `config.json`, `generation_config.json`, `model.safetensors`, `tokenizer.json` and `tokenizer_config.json`, adapters merged into
/// the weights. The folder appears whole, by one rename.
///
/// # Errors
/// When the folder is there already.
pub fn export(model: &Model, folder: &Path) -> Result<()> {
    let failed = |source: std::io::Error| Error::Write { path: folder.display().to_string(), source };
    if folder.exists() {
        return Err(Error::setting(
            "the folder to write",
            format!("expected a new one, got {}, which is there already", folder.display()),
            "name another folder, or delete this one",
        ));
    }
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(".unfinished");
    let unfinished = folder.with_file_name(name);
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished).map_err(failed)?; // an export was killed
    }
    std::fs::create_dir_all(&unfinished).map_err(failed)?;
    let write = |name: &str, content: String| std::fs::write(unfinished.join(name), content).map_err(failed);
    let config = &model.policy.config;
    let pretty = |value: serde_json::Value| format!("{value:#}\n");
    write("config.json", pretty(config.to_json()))?;
    let ends = json!({ "eos_token_id": config.eos_token_ids, "bos_token_id": config.bos_token_id });
    write("generation_config.json", pretty(ends))?;
    write("tokenizer.json", model.tokenizer.to_json()?)?;
    write("tokenizer_config.json", pretty(tokenizer_config(model)))?;
    let tensors = model.policy.merged_tensors()?;
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let views = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
    let weights = unfinished.join("model.safetensors");
    safetensors::serialize_to_file(views, Some(metadata), &weights).map_err(|e| failed(std::io::Error::other(e)))?;
    // The crate's file is its owner's alone.
    let others = std::fs::metadata(unfinished.join("config.json")).map_err(failed)?.permissions();
    std::fs::set_permissions(&weights, others).map_err(failed)?;
    std::fs::rename(unfinished, folder).map_err(failed)
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
