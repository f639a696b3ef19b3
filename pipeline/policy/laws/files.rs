//! Checkpoints, exported folders, damaged files.

use dataset::{KeySource, Outcome, Resources, Runner, Store, Style};

use super::*;

/// A model with adapters on the fixture's, whose files lie in a folder; `full`: without adapters, everything trained.
fn trained(root: &Path, full: bool) -> Result<(Model, State, Moments)> {
    let at = root.join("model");
    let at = if at.exists() { at } else { folder(root) };
    let Model { mut policy, tokenizer } = Model::open(&at)?;
    match full {
        true => policy.train_all()?,
        false => policy = with_random_lora(policy)?,
    }
    let moments = policy
        .trainable()
        .into_iter()
        .map(|(name, var)| Ok((name, [var.as_tensor().affine(0.5, 0.1)?, var.as_tensor().sqr()?])))
        .collect::<Result<_>>()?;
    let metrics = BTreeMap::from([("validation_reward".to_owned(), 0.25)]);
    let (random, settings_digest) = (vec![1, u64::MAX, 3], "digest".to_owned());
    let (base, base_path) = (checkpoint::base(&at)?, Some(at));
    let state = State {
        step: 120,
        prompt_cursor: 7,
        random,
        settings_digest,
        base,
        base_path,
        prompt: Some(crate::Prompt::new(crate::Template::parse(crate::TEMPLATE)?)),
        metrics,
    };
    Ok((Model { policy, tokenizer }, state, moments))
}

#[test]
fn a_checkpoint_gives_back_every_bit() -> Result<()> {
    for full in [false, true] {
        let root = tempfile::tempdir().expect("a folder");
        let store = Store::open(&root.path().display().to_string())?;
        let (model, state, moments) = trained(root.path(), full)?;
        assert!(checkpoint::save(&store, "teacher", &model, &state, &moments)?);
        assert!(!checkpoint::save(&store, "teacher", &model, &state, &moments)?, "it is there already");
        let path = root.path().join("teacher/step=000120");
        let read = checkpoint::load(&path)?;
        assert_eq!(read.state, state);
        assert_eq!(read.model.policy.lora(), model.policy.lora());
        let bits = |tensor: &Tensor| -> Vec<u32> {
            let values: Vec<f32> = tensor.flatten_all().and_then(|t| t.to_vec1()).expect("a tensor");
            values.iter().map(|x| x.to_bits()).collect()
        };
        let (before, after) = (model.policy.stored(), read.model.policy.stored());
        assert!(before.keys().eq(after.keys()));
        for (name, tensor) in &before {
            assert_eq!(bits(tensor), bits(&after[name]), "{name}");
        }
        assert!(moments.keys().eq(read.moments.keys()));
        for (name, pair) in &moments {
            assert_eq!(pair.each_ref().map(bits), read.moments[name].each_ref().map(bits), "{name}");
        }
        assert_eq!(read.model.tokenizer.encode("a <|im_end|> b"), model.tokenizer.encode("a <|im_end|> b"));
        assert!(Model::open(&path).is_ok());
        assert_eq!(Model::files(&path)?, [path.join(checkpoint::STATE)]);
        assert_eq!(Model::name(&path), "teacher/step=000120");

        // Damage to the large files is seen.
        for file in ["weights-0000.parquet", "optimizer-0000.parquet"] {
            let file = path.join(file);
            let bytes = std::fs::read(&file).expect("readable");
            let mut damaged = bytes.clone();
            damaged[bytes.len() / 2] ^= 1;
            std::fs::write(&file, damaged).expect("writable");
            let error = checkpoint::load(&path).unwrap_err().to_string();
            assert!(error.contains("expected BLAKE3"), "{error}");
            std::fs::write(&file, bytes).expect("writable");
        }
        // A step without its state is none.
        std::fs::remove_file(path.join("state.parquet")).expect("there");
        assert!(checkpoint::steps(&store, "teacher")?.is_empty());
        assert!(checkpoint::save(&store, "teacher", &model, &state, &moments)?);
    }
    Ok(())
}

#[test]
fn a_checkpoint_of_adapters_holds_them_alone_and_needs_the_very_base() -> Result<()> {
    let root = tempfile::tempdir().expect("a folder");
    let store = Store::open(&root.path().display().to_string())?;
    let (model, state, moments) = trained(root.path(), false)?;
    checkpoint::save(&store, "teacher", &model, &state, &moments)?;
    let path = root.path().join("teacher/step=000120");
    let size = |path: PathBuf| std::fs::metadata(path).expect("there").len();
    assert!(size(path.join("weights-0000.parquet")) < size(root.path().join("model/model.safetensors")) / 2);

    // Its base may lie elsewhere, if one says where.
    let moved = root.path().join("moved");
    std::fs::rename(root.path().join("model"), &moved).expect("writable");
    let said = Model::open(&path).expect_err("no base").to_string();
    assert!(said.contains("the base of its adapters") && said.contains("hint: "), "{said}");
    let logits =
        |model: &Model| -> Result<Vec<f32>> { Ok(Snapshot::new(&model.policy, Adapters::On)?.logits_of(&[], &[5, 6])) };
    assert_eq!(logits(&Model::open_on(&path, Some(&moved))?)?, logits(&model)?);
    assert_eq!(logits(&checkpoint::load_on(&path, Some(&moved))?.model)?, logits(&model)?);

    // Adapters may stand on a checkpoint of adapters: on their sum.
    std::fs::rename(&moved, root.path().join("model")).expect("writable");
    let policy = with_random_lora(Policy::new(
        model.policy.config.clone(),
        Model::open(&path)?.policy.merged_tensors()?,
        Path::new("merged"),
    )?)?;
    let second = Model { policy, tokenizer: bytes_tokenizer() };
    let state = State { base: checkpoint::base(&path)?, base_path: Some(path.clone()), ..state };
    checkpoint::save(&store, "student", &second, &state, &Moments::new())?;
    assert_eq!(logits(&Model::open(&root.path().join("student/step=000120"))?)?, logits(&second)?);

    // Another base is refused, and adapters without one are not written.
    let weights = root.path().join("model/model.safetensors");
    let mut bytes = std::fs::read(&weights).expect("readable");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&weights, bytes).expect("writable");
    let said = Model::open(&path).expect_err("another base").to_string();
    assert!(said.contains("model.safetensors: expected BLAKE3") && said.contains("--base"), "{said}");
    let state = State { step: 121, base_path: None, ..state };
    let said = checkpoint::save(&store, "teacher", &second, &state, &moments).expect_err("no base").to_string();
    assert!(said.contains("base: expected the model that the adapters stand on"), "{said}");
    Ok(())
}

#[test]
fn the_last_and_the_best_checkpoints_are_kept() -> Result<()> {
    let root = tempfile::tempdir().expect("a folder");
    let store = dataset::Store::open(&root.path().display().to_string())?;
    let (model, state, _) = trained(root.path(), false)?;
    for (step, reward) in [(10, 0.1), (20, 0.9), (30, 0.3), (40, 0.2), (50, 0.4)] {
        let metrics = BTreeMap::from([("validation_reward".to_owned(), reward)]);
        checkpoint::save(&store, "student", &model, &State { step, metrics, ..state.clone() }, &Moments::new())?;
    }
    checkpoint::retain(&store, "student", 2, "validation_reward")?;
    assert_eq!(checkpoint::steps(&store, "student")?, [20, 40, 50]);
    assert!(!root.path().join("student/step=000010").exists());
    Ok(())
}

/// A runner over a root.
pub(super) fn runner(root: &Path) -> Result<Runner> {
    let store = Store::open(&root.join("data").display().to_string())?;
    let (user_key, progress) = (KeySource::default(), Style::Silent);
    let resources = Resources { store, threads: 2, memory_limit: 2 << 30, progress, user_key, max_bad_ratio: 0.0 };
    let git_revision = String::new();
    Ok(Runner { resources, shard: None, dry_run: false, keep_versions: 0, git_revision })
}

/// A whole Hugging Face folder.
pub(super) fn folder(root: &Path) -> PathBuf {
    let from = repository().join("fixtures/decoder-llama");
    let folder = root.join("model");
    std::fs::create_dir(&folder).expect("a folder");
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(file), folder.join(file)).expect("readable");
    }
    let tokenizer = bytes_tokenizer().to_json().expect("JSON");
    std::fs::write(folder.join("tokenizer.json"), tokenizer).expect("writable");
    folder
}

#[test]
fn an_exported_folder_is_the_same_model() -> Result<()> {
    let root = tempfile::tempdir().expect("a folder");
    let model = Model::open(&folder(root.path()))?;
    let out = root.path().join("deep/exported");
    let runner = runner(root.path())?;
    let export = crate::Export { policy: root.path().join("model"), base: None };
    assert_eq!(runner.make(&export, &out)?, Outcome::Committed);
    assert_eq!(runner.make(&export, &out)?, Outcome::UpToDate);
    let again = Model::open(&out)?;
    assert_eq!(again.policy.config, model.policy.config);
    let json =
        |name: &str| -> Result<serde_json::Value> { Ok(serde_json::from_slice(&std::fs::read(out.join(name))?)?) };
    let end = model.tokenizer.control("<|im_end|>").expect("it has one");
    let ends = json("generation_config.json")?["eos_token_id"].clone();
    assert!(ends.as_array().expect("a list").contains(&end.into()), "{ends}");
    assert_eq!(json("generation_config.json")?["pad_token_id"], json("config.json")?["pad_token_id"]);
    let pad = model.policy.config.pad_token_id.and_then(|pad| model.tokenizer.spelled(pad));
    assert_eq!(json("tokenizer_config.json")?["pad_token"].as_str(), pad.as_deref());
    let logits = |model: &Model| {
        Ok::<_, Box<dyn std::error::Error>>(Snapshot::new(&model.policy, Adapters::On)?.logits_of(&[], &[5, 6, 7]))
    };
    assert_eq!(logits(&again)?, logits(&model)?);
    let permissions = |name: &str| std::fs::metadata(out.join(name)).expect("written").permissions();
    assert_eq!(permissions("model.safetensors"), permissions("config.json"), "others may read the weights too");
    let foreign = root.path().join("foreign");
    std::fs::create_dir(&foreign).expect("writable");
    std::fs::write(foreign.join("config.json"), "somebody's").expect("writable");
    let error = runner.make(&export, &foreign).unwrap_err().to_string();
    assert!(error.contains("somebody else's"), "{error}");
    Ok(())
}

#[test]
fn wrong_files_are_one_clear_error() -> Result<()> {
    type Damage = fn(&Path);
    fn edit(path: &Path, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        let bytes = std::fs::read(path).expect("readable");
        std::fs::write(path, change(bytes)).expect("writable");
    }
    let cases: [(&str, Damage, &str); 7] = [
        (
            "truncated safetensors",
            |f| edit(&f.join("model.safetensors"), |b| b[..b.len() / 2].to_vec()),
            "model.safetensors: expected safetensors",
        ),
        (
            "another configuration",
            |f| {
                edit(&f.join("config.json"), |b| {
                    String::from_utf8_lossy(&b)
                        .replace("\"intermediate_size\": 128", "\"intermediate_size\": 256")
                        .into_bytes()
                })
            },
            "expected the shape [256, 64], got [128, 64]",
        ),
        (
            "more layers",
            |f| {
                edit(&f.join("config.json"), |b| {
                    String::from_utf8_lossy(&b)
                        .replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3")
                        .into_bytes()
                })
            },
            "model.layers.2.",
        ),
        ("no tokenizer", |f| std::fs::remove_file(f.join("tokenizer.json")).expect("there"), "tokenizer.json"),
        ("no tokenizer's JSON", |f| edit(&f.join("tokenizer.json"), |_| b"{}".to_vec()), "expected a tokenizer"),
        (
            "NaN",
            |f| {
                let path = f.join("model.safetensors");
                edit(&path, |mut b| {
                    let at = b.len() - 4;
                    b[at..].copy_from_slice(&f32::NAN.to_le_bytes());
                    b
                });
            },
            "expected finite numbers",
        ),
        ("no weights", |f| std::fs::remove_file(f.join("model.safetensors")).expect("there"), "model.safetensors"),
    ];
    for (name, damage, expected) in cases {
        let root = tempfile::tempdir().expect("a folder");
        let folder = folder(root.path());
        assert!(Model::open(&folder).is_ok(), "{name}");
        damage(&folder);
        let error = Model::open(&folder).expect_err(name);
        assert!(error.to_string().contains(expected) && error.to_string().contains("hint: "), "{name}: {error}");
        assert_eq!(error.exit_code(), 3, "{name}");
    }
    let root = tempfile::tempdir().expect("a folder");
    let from = repository().join("models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
    let bytes = std::fs::read(&from).expect("`make setup` fetches it");
    for (name, length) in [("head", 1000), ("tensors", bytes.len() / 2)] {
        let path = root.path().join(format!("{name}.gguf"));
        std::fs::write(&path, &bytes[..length]).expect("writable");
        let error = Model::open(&path).unwrap_err().to_string();
        assert!(error.contains("expected a whole GGUF file") && error.contains("hint: "), "{error}");
    }
    assert!(Model::open(&root.path().join("nothing")).is_err());
    Ok(())
}
