//! What of a model's files would go unused is refused by name, and what is harmless is not.

use std::fs::File;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};

use super::files::folder;
use super::*;

/// Tensors by their names.
type Tensors = BTreeMap<String, Tensor>;

/// Changes one of a folder's JSON files.
fn edit(folder: &Path, file: &str, change: impl FnOnce(&mut serde_json::Value)) {
    let path = folder.join(file);
    let mut json = serde_json::from_slice(&std::fs::read(&path).expect("readable")).expect("JSON");
    change(&mut json);
    std::fs::write(path, json.to_string()).expect("writable");
}

/// Changes a folder's tensors.
fn refill(folder: &Path, change: impl FnOnce(&mut Tensors) -> candle_core::Result<()>) -> Result<()> {
    let path = folder.join("model.safetensors");
    let mut tensors: Tensors = candle_core::safetensors::load(&path, &Device::Cpu)?.into_iter().collect();
    change(&mut tensors)?;
    let tensors: std::collections::HashMap<String, Tensor> = tensors.into_iter().collect();
    Ok(candle_core::safetensors::save(&tensors, path)?)
}

#[track_caller]
fn refused(path: &Path, expected: &str) {
    let error = Model::open(path).expect_err(expected);
    let said = error.to_string();
    assert!(said.contains(expected) && said.contains("\nhint: ") && error.exit_code() == 3, "{expected}: {said}");
}

#[test]
fn a_folder_of_which_something_would_go_unused_is_refused() -> Result<()> {
    let fresh = || -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().expect("a folder");
        let at = folder(root.path());
        (root, at)
    };
    const QUERY: &str = "model.layers.0.self_attn.q_proj";
    let scale = || Tensor::new(&[0.5f32], &Device::Cpu);

    let (_root, at) = fresh();
    refill(&at, |tensors| {
        tensors.insert(format!("{QUERY}.weight_scale"), scale()?);
        Ok(())
    })?;
    refused(&at, "model.layers.0.self_attn.q_proj.weight_scale: expected no such tensor");

    let (_root, at) = fresh();
    refill(&at, |tensors| {
        tensors.insert("model.layers.0.self_attn.rotary_emb.inv_freq".into(), scale()?);
        Ok(())
    })?;
    assert!(Model::open(&at).is_ok(), "old folders hold the angles of the rotary positions");

    let (_root, at) = fresh();
    refill(&at, |tensors| {
        let name = format!("{QUERY}.weight");
        let whole = tensors[&name].to_dtype(DType::I64)?;
        tensors.insert(name, whole);
        Ok(())
    })?;
    refused(&at, "q_proj.weight: expected F16, BF16, F32 or F64, got I64");

    let (_root, at) = fresh();
    edit(&at, "config.json", |json| json["quantization_config"] = serde_json::json!({"quant_method": "fp8"}));
    refused(&at, "quantization_config: expected none, got fp8");

    let (_root, at) = fresh();
    edit(&at, "config.json", |json| json["tie_word_embeddings"] = true.into());
    refill(&at, |tensors| {
        let embedding = tensors["model.embed_tokens.weight"].clone();
        tensors.insert("lm_head.weight".into(), embedding);
        Ok(())
    })?;
    assert!(Model::open(&at).is_ok(), "the head is the embedding, as it should be");
    refill(&at, |tensors| {
        let other = (&tensors["model.embed_tokens.weight"] * 2.0)?;
        tensors.insert("lm_head.weight".into(), other);
        Ok(())
    })?;
    refused(&at, "lm_head.weight: expected the embedding");

    let (_root, at) = fresh();
    edit(&at, "tokenizer.json", |json| json["pre_tokenizer"] = serde_json::Value::Null);
    refused(&at, "expected a tokenizer that gives back what it is given");

    let (_root, at) = fresh();
    std::fs::rename(at.join("model.safetensors"), at.join("pytorch_model.bin"))?;
    refused(&at, "expected model.safetensors, got pickled tensors");

    let (_root, at) = fresh();
    std::fs::rename(at.join("config.json"), at.join("adapter_config.json"))?;
    refused(&at, "expected a model, got an adapter");
    Ok(())
}

#[test]
fn the_generations_configuration_says_what_ends_an_output() -> Result<()> {
    let root = tempfile::tempdir()?;
    let at = folder(root.path());
    edit(&at, "config.json", |json| json["eos_token_id"] = 7.into());
    std::fs::write(at.join("generation_config.json"), r#"{"eos_token_id": [9, 8], "pad_token_id": 5}"#)?;
    let Model { policy, tokenizer } = Model::open(&at)?;
    let end = tokenizer.control("<|im_end|>").expect("it has one");
    assert_eq!((policy.config.eos_token_ids, policy.config.pad_token_id), (vec![9, 8, 7, end], Some(5)));
    assert!(Model::files(&at)?.contains(&at.join("generation_config.json")));
    std::fs::write(at.join("generation_config.json"), r#"{"eos_token_id": "end"}"#)?;
    refused(&at, "eos_token_id: expected the number of a token");
    Ok(())
}

/// The fixture as a GGUF file, changed.
fn gguf(path: &Path, change: impl FnOnce(&mut BTreeMap<String, Value>, &mut Tensors)) -> Result<()> {
    let policy = tiny("decoder-llama");
    let Config { num_attention_heads: heads, num_key_value_heads: kv_heads, head_dim, .. } = policy.config;
    let tokenizer: serde_json::Value = serde_json::from_str(&qwen_like_tokenizer().to_json()?)?;
    let mut tokens: Vec<(u64, String, i32)> = Vec::new();
    for (token, id) in tokenizer["model"]["vocab"].as_object().expect("a vocabulary") {
        tokens.push((id.as_u64().expect("an id"), token.clone(), 1));
    }
    for added in tokenizer["added_tokens"].as_array().expect("control tokens") {
        let content = added["content"].as_str().expect("a token").to_owned();
        tokens.push((added["id"].as_u64().expect("an id"), content, 3));
    }
    tokens.sort();
    tokens.dedup_by_key(|(id, ..)| *id);
    let merges = tokenizer["model"]["merges"].as_array().expect("merges").iter().map(|pair| {
        let part = |at: usize| pair[at].as_str().expect("a token");
        Value::String(format!("{} {}", part(0), part(1)))
    });
    let text = |text: &str| Value::String(text.into());
    let number = |n: usize| Value::U32(n as u32);
    let mut metadata: BTreeMap<String, Value> = [
        ("general.architecture", text("llama")),
        ("llama.embedding_length", number(policy.config.hidden_size)),
        ("llama.block_count", number(policy.config.num_hidden_layers)),
        ("llama.feed_forward_length", number(policy.config.intermediate_size)),
        ("llama.attention.head_count", number(heads)),
        ("llama.attention.head_count_kv", number(kv_heads)),
        ("llama.context_length", number(policy.config.max_position_embeddings)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(policy.config.rms_norm_eps)),
        ("llama.rope.freq_base", Value::F32(policy.config.rope_theta as f32)),
        ("llama.rope.dimension_count", number(head_dim)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("qwen2")),
        ("tokenizer.ggml.tokens", Value::Array(tokens.iter().map(|(_, token, _)| text(token)).collect())),
        ("tokenizer.ggml.token_type", Value::Array(tokens.iter().map(|(.., kind)| Value::I32(*kind)).collect())),
        ("tokenizer.ggml.merges", Value::Array(merges.collect())),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    // Rows of a head in pairs, as llama.cpp's converter puts them.
    let pairs = |tensor: &Tensor, heads: usize| -> candle_core::Result<Tensor> {
        let columns = tensor.dim(1)?;
        let halves = tensor.reshape((heads, 2, head_dim / 2, columns))?;
        halves.transpose(1, 2)?.contiguous()?.reshape((heads * head_dim, columns))
    };
    let mut tensors = Tensors::new();
    for (name, tensor) in policy.merged_tensors()? {
        let tensor = match name.rsplit('.').nth(1) {
            Some("q_proj") => pairs(&tensor, heads)?,
            Some("k_proj") => pairs(&tensor, kv_heads)?,
            _ => tensor,
        };
        tensors.insert(crate::gguf::gguf_name(&name), tensor);
    }
    change(&mut metadata, &mut tensors);
    let quantised: Vec<(String, QTensor)> = tensors
        .iter()
        .map(|(name, tensor)| Ok((name.clone(), QTensor::quantize(tensor, GgmlDType::F32)?)))
        .collect::<Result<_>>()?;
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let tensors: Vec<(&str, &QTensor)> = quantised.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    Ok(gguf_file::write(&mut File::create(path)?, &metadata, &tensors)?)
}

#[test]
fn a_gguf_file_of_which_something_would_go_unused_is_refused() -> Result<()> {
    let root = tempfile::tempdir()?;
    let whole = root.path().join("WHOLE.GGUF");
    const TEMPLATE: &str = "tokenizer.chat_template";
    gguf(&whole, |metadata, _| drop(metadata.insert(TEMPLATE.into(), Value::String("<|im_start|>{{ m }}".into()))))?;
    let model = Model::open(&whole)?;
    let logits =
        |policy: &Policy| -> Result<Vec<f32>> { Ok(Snapshot::new(policy, Adapters::On)?.logits_of(&[], &[5, 6, 7])) };
    assert_eq!(logits(&model.policy)?, logits(&tiny("decoder-llama"))?);
    assert_eq!(model.tokenizer.encode("why?\n now."), qwen_like_tokenizer().encode("why?\n now."));

    type Change = fn(&mut BTreeMap<String, Value>, &mut Tensors);
    let cases: [(&str, Change, &str); 8] = [
        (
            "bias",
            |_, tensors| {
                let bias = Tensor::zeros(64, DType::F32, &Device::Cpu).expect("a tensor");
                tensors.insert("blk.0.attn_q.bias".into(), bias);
            },
            "blk.0.attn_q.bias: expected no such tensor",
        ),
        ("split", |metadata, _| drop(metadata.insert("split.count".into(), Value::U16(2))), "got one part of 2"),
        ("no-pre", |metadata, _| drop(metadata.remove("tokenizer.ggml.pre")), "tokenizer.ggml.pre: expected the kind"),
        (
            "scaled",
            |metadata, _| drop(metadata.insert("llama.rope.scale_linear".into(), Value::F32(4.0))),
            "llama.rope.scaling.factor: expected none, got 4",
        ),
        (
            "partial",
            |metadata, _| drop(metadata.insert("llama.rope.dimension_count".into(), Value::U32(8))),
            "llama.rope.dimension_count: expected 16",
        ),
        (
            "turns",
            |metadata, _| drop(metadata.insert(TEMPLATE.into(), Value::String("[INST] {{ m }} [/INST]".into()))),
            "tokenizer.chat_template: expected turns that open with <|im_start|>",
        ),
        (
            "named-turns",
            |metadata, _| drop(metadata.insert(format!("{TEMPLATE}.tool_use"), Value::String("[INST]".into()))),
            "tokenizer.chat_template.tool_use: expected turns",
        ),
        ("missing", |_, tensors| drop(tensors.remove("blk.1.ffn_up.weight")), "expected a tensor blk.1.ffn_up.weight"),
    ];
    for (name, change, expected) in cases {
        let path = root.path().join(format!("{name}.gguf"));
        gguf(&path, change)?;
        refused(&path, expected);
    }

    // A type that is not read: the number behind the tensor's name and dimensions.
    let mut bytes = std::fs::read(&whole)?;
    let name = b"blk.0.ffn_up.weight";
    let at = bytes.windows(name.len()).position(|window| window == name).expect("its name") + name.len() + 4 + 2 * 8;
    assert_eq!(bytes[at..at + 4], [0; 4], "F32");
    bytes[at] = 20;
    let path = root.path().join("iq.gguf");
    std::fs::write(&path, bytes)?;
    refused(&path, "expected a quantisation that is read, got IQ4_NL");
    Ok(())
}
