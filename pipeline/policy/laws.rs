//! The decoder against float64 PyTorch and against itself: both forwards, gradients, batches, prefixes, files.
//!
//! The references in `fixtures/decoder-*` and `fixtures/smollm2` are transformers' (see `fixtures/README.md`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor, Var};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::Deserialize;

use crate::checkpoint::{self, Moments, State};
use crate::{
    Adapters, Batching, Completion, Config, Lora, Model, Packed, Policy, Request, Result, Rollout, Sampling, Snapshot,
    Tokenizer, log_probs,
};

const FAMILIES: [&str; 2] = ["decoder-llama", "decoder-qwen2"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn tiny(name: &str) -> Policy {
    let folder = repository().join("fixtures").join(name);
    let json = std::fs::read(folder.join("config.json")).expect("the fixture is part of the repository");
    let config = Config::from_json(&json).expect("a configuration");
    let tensors = candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu).expect("safetensors");
    Policy::new(config, tensors.into_iter().collect(), &folder).expect("a policy")
}

/// The sequences of a fixture without their padding, the logits of each, and the greedy tokens that follow.
fn sequences(name: &str) -> Vec<(Vec<u32>, Vec<Vec<f32>>, Vec<u32>)> {
    let path = repository().join("fixtures").join(name).join("io.safetensors");
    let io = candle_core::safetensors::load(path, &Device::Cpu).expect("safetensors");
    let ids: Vec<Vec<i64>> = io["input_ids"].to_vec2().expect("ids");
    let mask: Vec<Vec<i64>> = io["attention_mask"].to_vec2().expect("a mask");
    let logits: Vec<Vec<Vec<f32>>> = io["logits"].to_vec3().expect("logits");
    let greedy: Vec<Vec<i64>> = io["greedy"].to_vec2().expect("tokens");
    let unsigned = |ids: &[i64]| ids.iter().map(|id| *id as u32).collect::<Vec<_>>();
    (0..ids.len())
        .map(|row| {
            let start = mask[row].iter().position(|m| *m == 1).expect("a token");
            (unsigned(&ids[row][start..]), logits[row][start..].to_vec(), unsigned(&greedy[row]))
        })
        .collect()
}

fn smollm2() -> Model {
    let path = repository().join("models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(path.exists(), "{} is missing: run `make setup`", path.display());
    Model::open(&path).expect("the model that `make setup` fetched")
}

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn rollout<'a>(snapshot: &'a Snapshot, prefix: &[u32], sampling: Sampling) -> Rollout<'a> {
    Rollout::new(snapshot, prefix, 40, &[], sampling, None).expect("settings that make sense")
}

#[test]
fn both_forwards_have_the_logits_of_transformers() -> Result<()> {
    for family in FAMILIES {
        let policy = tiny(family);
        let snapshot = Snapshot::new(&policy, Adapters::On)?;
        for (ids, expected, _) in sequences(family) {
            let expected = expected.concat();
            let hidden = policy.forward(&Packed::new(&ids, &[]), Adapters::On)?;
            let logits: Vec<f32> = policy.logits(&hidden)?.flatten_all()?.to_vec1()?;
            assert!(furthest(&logits, &expected) < 2e-4, "{family}");
            let whole = snapshot.logits_of(&[], &ids);
            assert!(furthest(&whole, &expected) < 2e-4, "{family}");
            // A prefix that is computed apart changes no bit.
            for cut in 1..ids.len() {
                let rest = snapshot.logits_of(&ids[..cut], &ids[cut..]);
                assert_eq!(rest, whole[cut * policy.config.vocab_size..], "{family}, cut at {cut}");
            }
        }
    }
    Ok(())
}

#[test]
fn greedy_continuations_are_those_of_transformers() -> Result<()> {
    for family in FAMILIES {
        let snapshot = Snapshot::new(&tiny(family), Adapters::On)?;
        let sequences = sequences(family);
        let sampling = Sampling { temperature: 0.0, max_new_tokens: 12, ..Sampling::default() };
        let requests: Vec<Request> =
            sequences.iter().map(|(ids, ..)| Request { prompt: ids.clone(), seeds: vec![0, 1] }).collect();
        for (outputs, (.., greedy)) in rollout(&snapshot, &[], sampling).run(&requests, &|_| ()).iter().zip(&sequences)
        {
            for Completion { tokens, .. } in outputs {
                assert_eq!(tokens, greedy, "{family}");
            }
        }
    }
    Ok(())
}

#[test]
fn what_is_sampled_depends_on_neither_batch_nor_threads_nor_prefix() -> Result<()> {
    let snapshot = Snapshot::new(&tiny("decoder-qwen2"), Adapters::On)?;
    let mut random = Xoshiro256PlusPlus::seed_from_u64(7);
    let common: Vec<u32> = (0..9).map(|_| random.random_range(0..320)).collect();
    let requests: Vec<Request> = (0..7)
        .map(|user| Request {
            prompt: (0..3 + 4 * user).map(|_| random.random_range(0..320)).collect(),
            seeds: (0..1 + user % 3).map(|sample| user * 10 + sample).collect(),
        })
        .collect();
    let sampling = Sampling { max_new_tokens: 11, ..Sampling::default() };
    let expected = rollout(&snapshot, &common, sampling).run(&requests, &|_| ());
    let distinct: std::collections::HashSet<_> = expected.iter().flatten().map(|o| o.tokens.clone()).collect();
    assert_eq!(distinct.len(), requests.iter().map(|r| r.seeds.len()).sum::<usize>(), "samples differ");
    for (outputs, prompt_tokens, threads) in [(1, 1, 1), (4, 20, 2), (100, 1000, 3)] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let batching = Batching { outputs, prompt_tokens };
        let got = pool.install(|| rollout(&snapshot, &common, sampling).batching(batching).run(&requests, &|_| ()));
        assert_eq!(got, expected, "{batching:?}, {threads} threads");
    }
    let whole: Vec<Request> = requests
        .iter()
        .map(|r| Request { prompt: [common.clone(), r.prompt.clone()].concat(), seeds: r.seeds.clone() })
        .collect();
    assert_eq!(rollout(&snapshot, &[], sampling).run(&whole, &|_| ()), expected);
    let turned: Vec<Request> = requests.iter().rev().cloned().collect();
    let got: Vec<_> = rollout(&snapshot, &common, sampling).run(&turned, &|_| ()).into_iter().rev().collect();
    assert_eq!(got, expected);
    Ok(())
}

#[derive(Deserialize)]
struct Case {
    text: String,
    input_ids: Vec<u32>,
    last_top8: Vec<(u32, f32)>,
    token_log_probs: Vec<f32>,
    greedy: Vec<u32>,
    greedy_text: String,
}

#[test]
fn a_gguf_model_is_what_transformers_makes_of_it() -> Result<()> {
    #[derive(Deserialize)]
    struct Expected {
        cases: Vec<Case>,
    }
    let json = std::fs::read(repository().join("fixtures/smollm2/expected.json")).expect("part of the repository");
    let Expected { cases } = serde_json::from_slice(&json).expect("JSON");
    let model = smollm2();
    let vocabulary = model.policy.config.vocab_size;
    let snapshot = Snapshot::new(&model.policy, Adapters::On)?;
    let sampling = Sampling { temperature: 0.0, max_new_tokens: 48, ..Sampling::default() };
    let engine = Rollout::new(&snapshot, &[], 64, &[2], sampling, None)?;
    for case in &cases {
        assert_eq!(model.tokenizer.encode_with_control(&case.text), case.input_ids);
        let logits = snapshot.logits_of(&[], &case.input_ids);
        let last = &logits[logits.len() - vocabulary..];
        for (token, expected) in &case.last_top8 {
            assert!((last[*token as usize] - expected).abs() < 1e-3, "{expected}, got {}", last[*token as usize]);
        }
        let rows = Tensor::from_vec(logits, (case.input_ids.len(), vocabulary), &Device::Cpu)?;
        let predicting = rows.narrow(0, 0, case.input_ids.len() - 1)?;
        let got: Vec<f32> = log_probs(&predicting, &case.input_ids[1..])?.to_vec1()?;
        assert!(furthest(&got, &case.token_log_probs) < 1e-3);
    }
    let requests: Vec<Request> =
        cases.iter().map(|c| Request { prompt: c.input_ids.clone(), seeds: vec![0] }).collect();
    for (outputs, case) in engine.run(&requests, &|_| ()).iter().zip(&cases) {
        assert_eq!(outputs[0].tokens, case.greedy);
        let text = case.greedy_text.replace("<|im_end|>", "");
        assert_eq!(model.tokenizer.decode(&outputs[0].tokens), text);
    }
    Ok(())
}

/// The sum of the lists' log-probabilities, each list weighted differently so that no gradient cancels.
fn objective(policy: &Policy, packed: &Packed, lists: &[Vec<u32>], adapters: Adapters) -> Result<Tensor> {
    let hidden = policy.forward(packed, adapters)?;
    let mut sum = Tensor::zeros((), DType::F32, &Device::Cpu)?;
    for (number, list) in lists.iter().enumerate() {
        let rows = Tensor::new(packed.predicting(number), &Device::Cpu)?;
        let logits = policy.logits(&hidden.index_select(&rows, 0)?)?;
        sum = (sum + (log_probs(&logits, list)?.sum_all()? * (1.0 + number as f64))?)?;
    }
    Ok(sum)
}

fn lists() -> (Vec<u32>, Vec<Vec<u32>>) {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(3);
    let mut tokens = |count: usize| (0..count).map(|_| random.random_range(0..320)).collect::<Vec<u32>>();
    (tokens(13), vec![tokens(6), tokens(1), tokens(9)])
}

fn gradients(policy: &Policy, packed: &Packed, lists: &[Vec<u32>]) -> Result<BTreeMap<String, Vec<f32>>> {
    let store = objective(policy, packed, lists, Adapters::On)?.backward()?;
    let flat = |var: &Var| -> Result<Vec<f32>> {
        let gradient = store.get(var).unwrap_or_else(|| panic!("no gradient"));
        Ok(gradient.flatten_all()?.to_vec1()?)
    };
    policy.trainable().iter().map(|(name, var)| Ok((name.clone(), flat(var)?))).collect()
}

/// Adapters whose B is not zero, so that both halves have a gradient.
fn with_random_lora(mut policy: Policy) -> Result<Policy> {
    policy.add_lora(Lora { rank: 4, alpha: 8.0 }, 5)?;
    let mut random = Xoshiro256PlusPlus::seed_from_u64(11);
    for (name, var) in policy.trainable() {
        if name.ends_with("lora_b") {
            let values: Vec<f32> = (0..var.elem_count()).map(|_| random.random_range(-0.1..0.1)).collect();
            var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu)?)?;
        }
    }
    Ok(policy)
}

#[test]
fn every_trainable_tensor_has_a_gradient() -> Result<()> {
    let (prompt, lists) = lists();
    let packed = Packed::new(&prompt, &lists.iter().map(Vec::as_slice).collect::<Vec<_>>());
    for family in FAMILIES {
        let mut full = tiny(family);
        full.train_all()?;
        assert_eq!(full.trainable().len(), full.config.tensors().len());
        let lora = with_random_lora(tiny(family))?;
        assert_eq!(lora.trainable().len(), 2 * 7 * lora.config.num_hidden_layers);
        for policy in [full, lora] {
            for (name, gradient) in gradients(&policy, &packed, &lists)? {
                assert!(gradient.iter().all(|x| x.is_finite()), "{family}: {name}");
                // A key's bias adds the same to all scores of a query: softmax does not see it.
                let seen = gradient.iter().map(|x| x.abs()).fold(0.0, f32::max);
                assert!(seen > if name.ends_with("k_proj.bias") { 0.0 } else { 1e-6 }, "{family}: {name}: {seen}");
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_are_what_finite_differences_say() -> Result<()> {
    let (prompt, lists) = lists();
    let packed = Packed::new(&prompt, &lists.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let mut full = tiny("decoder-qwen2");
    full.train_all()?;
    for policy in [full, with_random_lora(tiny("decoder-llama"))?] {
        let gradients = gradients(&policy, &packed, &lists)?;
        let value =
            || -> Result<f64> { Ok(f64::from(objective(&policy, &packed, &lists, Adapters::On)?.to_scalar::<f32>()?)) };
        for (name, var) in policy.trainable() {
            let gradient = &gradients[&name];
            let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            if norm < 1e-3 {
                continue;
            }
            // Along the gradient, so that the difference is the largest there is.
            let before = var.as_tensor().copy()?;
            let direction = Tensor::from_vec(gradient.clone(), var.shape(), &Device::Cpu)?;
            let step = 2e-2 / norm.max(1.0);
            let mut sides = [0.0; 2];
            for (side, sign) in sides.iter_mut().zip([1.0, -1.0]) {
                var.set(&(&before + (&direction * (sign * step / norm))?)?)?;
                *side = value()?;
            }
            var.set(&before)?;
            let slope = (sides[0] - sides[1]) / (2.0 * step);
            assert!((slope / norm - 1.0).abs() < 2e-2, "{name}: {slope} by differences, {norm} by gradient");
        }
    }
    Ok(())
}

#[test]
fn a_shared_prompt_has_the_gradients_of_separate_sequences() -> Result<()> {
    let (prompt, lists) = lists();
    let refs: Vec<&[u32]> = lists.iter().map(Vec::as_slice).collect();
    for family in FAMILIES {
        let mut policy = tiny(family);
        policy.train_all()?;
        let together = gradients(&policy, &Packed::new(&prompt, &refs), &lists)?;
        let mut apart: BTreeMap<String, Vec<f32>> = BTreeMap::new();
        for (number, list) in refs.iter().enumerate() {
            let one = gradients(&policy, &Packed::new(&prompt, &[list]), &[list.to_vec()])?;
            for (name, gradient) in one {
                let sum = apart.entry(name).or_insert_with(|| vec![0.0; gradient.len()]);
                sum.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g * (1.0 + number as f32));
            }
        }
        for (name, gradient) in together {
            let norm = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            let difference: Vec<f32> = gradient.iter().zip(&apart[&name]).map(|(a, b)| a - b).collect();
            let of = norm(&apart[&name]);
            // The gradient of a key's bias is nothing but rounding.
            assert!(norm(&difference) <= 1e-4 * of.max(1e-2), "{family}: {name}: {} of {of}", norm(&difference));
        }
    }
    Ok(())
}

#[test]
fn adapters_change_what_they_should_and_merge_to_the_same() -> Result<()> {
    let (prompt, _) = lists();
    let policy = with_random_lora(tiny("decoder-llama"))?;
    let packed = Packed::new(&prompt, &[]);
    let by_forward = |adapters| -> Result<Vec<f32>> {
        Ok(policy.logits(&policy.forward(&packed, adapters)?)?.flatten_all()?.to_vec1()?)
    };
    let (on, off) = (by_forward(Adapters::On)?, by_forward(Adapters::Off)?);
    assert!(furthest(&on, &off) > 1e-2);
    assert!(furthest(&off, &Snapshot::new(&tiny("decoder-llama"), Adapters::On)?.logits_of(&[], &prompt)) < 2e-4);
    for (adapters, expected) in [(Adapters::On, &on), (Adapters::Off, &off)] {
        assert!(furthest(&Snapshot::new(&policy, adapters)?.logits_of(&[], &prompt), expected) < 2e-4);
    }
    let merged = Policy::new(policy.config.clone(), policy.merged_tensors()?, Path::new("merged"))?;
    assert!(furthest(&Snapshot::new(&merged, Adapters::Off)?.logits_of(&[], &prompt), &on) < 2e-4);
    Ok(())
}

/// A tokenizer of bytes, for models without one.
pub(crate) fn bytes_tokenizer() -> Tokenizer {
    let printable = |b: &u8| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut others = 256u32..;
    let vocabulary: serde_json::Map<String, serde_json::Value> = (0..=255u8)
        .map(|b| {
            let code = if printable(&b) { u32::from(b) } else { others.next().expect("endless") };
            (char::from_u32(code).expect("a character").to_string(), b.into())
        })
        .collect();
    let added = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].iter().zip(256..).map(|(content, id)| {
        serde_json::json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false})
    });
    let json = serde_json::json!({
        "version": "1.0",
        "added_tokens": added.collect::<Vec<_>>(),
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    });
    Tokenizer::from_json(Path::new("bytes"), json.to_string().as_bytes()).expect("a tokenizer")
}

fn trained() -> Result<(Model, State, Moments)> {
    let policy = with_random_lora(tiny("decoder-qwen2"))?;
    let moments = policy
        .trainable()
        .into_iter()
        .map(|(name, var)| Ok((name, [var.as_tensor().affine(0.5, 0.1)?, var.as_tensor().sqr()?])))
        .collect::<Result<_>>()?;
    let metrics = BTreeMap::from([("validation_reward".to_owned(), 0.25)]);
    let base = BTreeMap::from([("model.safetensors".to_owned(), "00ff".to_owned())]);
    let (random, settings_digest) = (vec![1, u64::MAX, 3], "digest".to_owned());
    let state = State { step: 120, prompt_cursor: 7, random, settings_digest, base, metrics };
    let model = Model { policy, tokenizer: bytes_tokenizer(), digests: BTreeMap::new(), trained: true };
    Ok((model, state, moments))
}

#[test]
fn a_checkpoint_gives_back_every_bit() -> Result<()> {
    let root = tempfile::tempdir().expect("a folder");
    let store = dataset::Store::open(&root.path().display().to_string())?;
    let (model, state, moments) = trained()?;
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
    for ((name, before), (other, after)) in model.policy.stored().iter().zip(read.model.policy.stored()) {
        assert_eq!((name, bits(before)), (&other, bits(&after)));
    }
    for (name, pair) in &moments {
        assert_eq!(pair.each_ref().map(bits), read.moments[name].each_ref().map(bits), "{name}");
    }
    assert_eq!(read.model.tokenizer.encode("a <|im_end|> b"), model.tokenizer.encode("a <|im_end|> b"));
    assert!(Model::open(&path)?.trained);

    // Damage to the large files is seen.
    for file in ["weights.parquet", "optimizer.parquet"] {
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
    Ok(())
}

#[test]
fn the_last_and_the_best_checkpoints_are_kept() -> Result<()> {
    let root = tempfile::tempdir().expect("a folder");
    let store = dataset::Store::open(&root.path().display().to_string())?;
    let (model, state, _) = trained()?;
    for (step, reward) in [(10, 0.1), (20, 0.9), (30, 0.3), (40, 0.2), (50, 0.4)] {
        let metrics = BTreeMap::from([("validation_reward".to_owned(), reward)]);
        checkpoint::save(&store, "student", &model, &State { step, metrics, ..state.clone() }, &Moments::new())?;
    }
    checkpoint::retain(&store, "student", 2, "validation_reward")?;
    assert_eq!(checkpoint::steps(&store, "student")?, [20, 40, 50]);
    assert!(!root.path().join("student/step=000010").exists());
    Ok(())
}

/// A whole Hugging Face folder.
fn folder(root: &Path) -> PathBuf {
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
    crate::export(&model, &out)?;
    let again = Model::open(&out)?;
    assert_eq!(again.policy.config, model.policy.config);
    let logits =
        |model: &Model| Ok::<_, crate::Error>(Snapshot::new(&model.policy, Adapters::On)?.logits_of(&[], &[5, 6, 7]));
    assert_eq!(logits(&again)?, logits(&model)?);
    let error = crate::export(&model, &out).unwrap_err().to_string();
    assert!(error.contains("there already"), "{error}");
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
        let error = Model::open(&folder).unwrap_err();
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

#[test]
fn what_does_not_fit_the_context_is_refused() -> Result<()> {
    let snapshot = Snapshot::new(&tiny("decoder-llama"), Adapters::On)?;
    let sampling = Sampling { max_new_tokens: 64, ..Sampling::default() };
    let error = Rollout::new(&snapshot, &[1], 500, &[], sampling, None).unwrap_err().to_string();
    assert!(error.contains("at most 512 tokens") && error.contains("got 564"), "{error}");
    Ok(())
}
