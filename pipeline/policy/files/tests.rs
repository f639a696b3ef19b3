//! Folders whose files are not what they should be.

use std::fs::File;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::laws::bytes_tokenizer;

/// A whole folder with ChatML's control tokens.
fn whole() -> TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/decoder-llama");
    let folder = tempfile::tempdir().expect("a folder");
    for file in [CONFIG, WEIGHTS] {
        std::fs::copy(from.join(file), folder.path().join(file)).expect("readable");
    }
    write(&folder, TOKENIZER, &bytes_tokenizer().to_json().expect("JSON"));
    folder
}

fn write(folder: &TempDir, file: &str, text: &str) {
    std::fs::write(folder.path().join(file), text).expect("writable");
}

fn refused(folder: &TempDir, exit: u8) -> String {
    let error = Model::open(folder.path()).expect_err("not as it should be");
    assert_eq!(error.exit_code(), exit, "{error}");
    error.to_string()
}

#[test]
fn pipes_devices_and_what_has_no_end_are_refused_unopened() {
    let pipe = |path: &Path| {
        assert!(std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
    };
    let device = |path: &Path| std::os::unix::fs::symlink("/dev/zero", path).expect("a link");
    for name in [CONFIG, GENERATION, TOKENIZER, "tokenizer_config.json", WEIGHTS, "model.safetensors.index.json"] {
        for make in [&pipe as &dyn Fn(&Path), &device] {
            let folder = whole();
            let path = folder.path().join(name);
            let _ = std::fs::remove_file(&path);
            make(&path);
            let said = refused(&folder, 3);
            assert!(said.contains(&format!("{name}: expected a regular file")), "{said}");
        }
    }
    for name in [CONFIG, GENERATION, TOKENIZER] {
        let folder = whole();
        let file = File::create(folder.path().join(name)).expect("writable");
        file.set_len(1 << 40).expect("a sparse file");
        let said = refused(&folder, 3);
        assert!(said.contains(name) && said.contains("expected at most 536870912 bytes"), "{said}");
    }
}

#[test]
fn what_the_system_cannot_do_now_is_worth_retrying() {
    for name in [CONFIG, TOKENIZER] {
        let folder = whole();
        std::fs::remove_file(folder.path().join(name)).expect("there");
        assert!(refused(&folder, 3).contains(name));
        // A regular file that gives EIO, to whoever reads it.
        std::os::unix::fs::symlink("/proc/self/mem", folder.path().join(name)).expect("a link");
        let said = refused(&folder, 1);
        assert!(said.contains(name) && said.contains("os error 5"), "{said}");
    }
}

#[test]
fn a_hint_says_what_would_help() {
    let read: Json =
        serde_json::from_slice(&std::fs::read(whole().path().join(CONFIG)).expect("readable")).expect("JSON");
    for (field, value, helps) in [
        ("quantization_config", json!({"quant_method": "gptq"}), "unquantised folder"),
        ("rope_scaling", json!({"rope_type": "llama3", "factor": 8.0}), "Llama 3.1 and later"),
        ("architectures", json!(["LlamaForSequenceClassification"]), "variant ForCausalLM"),
        ("model_type", json!("mistral"), "the families Llama and Qwen2"),
        ("attention_bias", json!(true), "without scaled positions"),
        ("hidden_size", json!(0), "copy the model's folder again"),
    ] {
        let folder = whole();
        let mut json = read.clone();
        json[field] = value;
        write(&folder, CONFIG, &json.to_string());
        let said = refused(&folder, 3);
        assert!(said.contains(&format!("config.json: {field}: expected")) && said.contains(helps), "{said}");
    }
}

#[test]
fn a_template_of_other_turns_is_refused() {
    let other = "{% for m in messages %}[INST] {{ m['content'] }} [/INST]{% endfor %}";
    let ours = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>{% endfor %}";
    let folder = whole();
    for (template, taken) in [
        (json!(ours), true),
        (json!(null), true),
        (json!([{"name": "default", "template": ours}]), true),
        (json!(other), false),
    ] {
        write(&folder, "tokenizer_config.json", &json!({"chat_template": template}).to_string());
        assert_eq!(Model::open(folder.path()).is_ok(), taken, "{template}");
    }
    assert!(refused(&folder, 3).contains("chat_template: expected turns that open with <|im_start|>"));
    write(&folder, "tokenizer_config.json", "{}");
    write(&folder, "chat_template.jinja", other);
    assert!(refused(&folder, 3).contains("chat_template.jinja"));
}
