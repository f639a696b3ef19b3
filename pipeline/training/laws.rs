//! The objectives beside float64 PyTorch's (`fixtures/grpo`).

mod distill;
mod pruning;
pub(crate) mod run;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use engine::{Gradients, Pass, Reference, Tree};
use policy::{Adapters, Config, Policy, Snapshot};
use serde_json::Value;

use crate::{Form, Grpo, Kl, Ratio, Said, Sampled};

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/grpo").join(path)
}

fn policy(folder: &str) -> Policy {
    read(&fixture(""), &fixture(folder))
}

/// The policy of a configuration and weights in two folders, all of it trainable.
fn read(configuration: &Path, weights: &Path) -> Policy {
    let json = std::fs::read(configuration.join("config.json")).expect("the fixture is part of the repository");
    let config = Config::from_json(&json).expect("a configuration");
    let path = weights.join("model.safetensors");
    let tensors = candle_core::safetensors::load(&path, &Device::Cpu).expect("safetensors");
    let mut policy = Policy::new(config, tensors.into_iter().collect(), &path).expect("a policy");
    policy.train_all().expect("variables");
    policy
}

/// What the fixture holds: prompts, lists, what is known of them, and gradients.
struct Oracle {
    io: std::collections::HashMap<String, Tensor>,
    expected: Value,
    prompts: Vec<Vec<u32>>,
    lists: Vec<Vec<Vec<u32>>>,
    sampled: Vec<Vec<Sampled>>,
}

impl Oracle {
    fn read() -> Self {
        let io = candle_core::safetensors::load(fixture("io.safetensors"), &Device::Cpu).expect("safetensors");
        let expected =
            serde_json::from_slice(&std::fs::read(fixture("expected.json")).expect("readable")).expect("JSON");
        let ids: Vec<Vec<i64>> = io["prompt_ids"].to_vec2().expect("ids");
        let lengths: Vec<i64> = io["prompt_len"].to_vec1().expect("lengths");
        let cut = |ids: &[i64], length: i64| ids[..length as usize].iter().map(|id| *id as u32).collect::<Vec<_>>();
        let prompts = ids.iter().zip(&lengths).map(|(ids, length)| cut(ids, *length)).collect();
        let ids: Vec<Vec<Vec<i64>>> = io["completion_ids"].to_vec3().expect("ids");
        let lengths: Vec<Vec<i64>> = io["completion_len"].to_vec2().expect("lengths");
        let lists: Vec<Vec<Vec<u32>>> = ids
            .iter()
            .zip(&lengths)
            .map(|(ids, lengths)| ids.iter().zip(lengths).map(|(ids, length)| cut(ids, *length)).collect())
            .collect();
        let old: Vec<Vec<Vec<f32>>> = io["logp_old"].to_vec3().expect("log-probabilities");
        let advantages: Vec<Vec<f32>> = io["advantages"].to_vec2().expect("advantages");
        let sampled = lists
            .iter()
            .enumerate()
            .map(|(user, lists)| {
                let one = |(list, tokens): (usize, &Vec<u32>)| Sampled {
                    old: old[user][list][..tokens.len()].to_vec(),
                    advantage: advantages[user][list],
                };
                lists.iter().enumerate().map(one).collect()
            })
            .collect();
        Oracle { io, expected, prompts, lists, sampled }
    }

    fn number(&self, variant: &str, key: &str) -> f64 {
        self.expected["losses"][variant][key].as_f64().unwrap_or_else(|| panic!("{variant}: {key}"))
    }

    fn form(&self, variant: &str) -> Form {
        let clip = &self.expected["clip_eps_low_high"][variant];
        Form {
            ratio: match variant {
                "sequence" => Ratio::Sequence,
                "token" => Ratio::Token,
                _ => Ratio::Gspo,
            },
            clip_low: clip[0].as_f64().expect("a number"),
            clip_high: clip[1].as_f64().expect("a number"),
            kl: Kl::K3,
            beta: self.expected["kl_beta"].as_f64().expect("a number"),
            temperature: 1.0,
            longest: 16,
        }
    }

    fn run(&self, form: Form, lists: &[Vec<Sampled>], policy: &Policy) -> (Vec<Said>, Gradients) {
        let snapshot = Snapshot::new(policy, Adapters::On).expect("weights");
        let other = Snapshot::new(&self::policy("ref"), Adapters::On).expect("weights");
        let reference = Reference { snapshot: &other, adapters: Adapters::On };
        let mut pass = Pass::new(&snapshot, &[], 64, Some(reference), true);
        let count = lists.iter().map(Vec::len).sum();
        let objective = Grpo { form, lists, count };
        let trees: Vec<Tree<'_>> = self
            .prompts
            .iter()
            .zip(&self.lists)
            .map(|(prompt, lists)| Tree { prompt, lists: lists.iter().map(Vec::as_slice).collect() })
            .collect();
        let said = trees.chunks(2).flat_map(|trees| pass.put(trees, &objective)).flatten().collect();
        (said, pass.finish())
    }
}

fn loss(form: Form, said: &[Said]) -> f64 {
    let scale = if form.ratio == Ratio::Token { 1.0 / form.longest as f64 } else { 1.0 };
    said.iter().map(|said| said.policy_loss + form.beta * scale * said.kl).sum::<f64>() / said.len() as f64
}

fn close(got: f64, expected: f64, by: f64, what: &str) {
    assert!((got - expected).abs() <= by * expected.abs().max(1e-3), "{what}: expected {expected}, got {got}");
}

#[test]
fn losses_and_gradients_are_those_of_pytorch() {
    let oracle = Oracle::read();
    let policy = policy("");
    for variant in ["sequence", "token", "gspo"] {
        let form = oracle.form(variant);
        let (said, gradients) = oracle.run(form, &oracle.sampled, &policy);
        let mean = |of: &dyn Fn(&Said) -> f64| said.iter().map(of).sum::<f64>() / said.len() as f64;
        close(mean(&|said| said.policy_loss), oracle.number(variant, "policy_loss"), 1e-4, "policy loss");
        close(mean(&|said| said.kl), oracle.number(variant, "kl_k3_sum_mean"), 1e-4, "k3");
        close(loss(form, &said), oracle.number(variant, "loss"), 1e-4, "loss");
        let clipped = said.iter().fold((0, 0), |(low, high), said| (low + said.clipped.0, high + said.clipped.1));
        let expected = |key| oracle.number(variant, key) as usize;
        assert_eq!(clipped, (expected("clipped_low"), expected("clipped_high")), "{variant}");
        let least = said.iter().map(|said| said.ratio.0).fold(f64::INFINITY, f64::min);
        let most = said.iter().map(|said| said.ratio.1).fold(0.0, f64::max);
        close(least, oracle.number(variant, "ratio_min"), 1e-4, "smallest ratio");
        close(most, oracle.number(variant, "ratio_max"), 1e-4, "largest ratio");
        let square = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
        let norm = gradients.values().map(|g| square(g)).sum::<f64>().sqrt();
        close(norm, oracle.number(variant, "grad_norm"), 1e-4, "gradient norm");
        let prefix = format!("grad.{variant}.");
        let mut compared = 0;
        for (name, expected) in oracle.io.iter().filter_map(|(name, x)| Some((name.strip_prefix(&prefix)?, x))) {
            let expected: Vec<f32> = expected.flatten_all().and_then(|x| x.to_vec1()).expect("numbers");
            let off: Vec<f32> = gradients[name].iter().zip(&expected).map(|(a, b)| a - b).collect();
            // A key's bias changes no softmax: its gradient is rounding.
            let of = square(&expected).sqrt().max(1e-2);
            assert!(square(&off).sqrt() <= 1e-4 * of, "{variant}: {name}: {} of {of}", square(&off).sqrt());
            compared += 1;
        }
        assert_eq!(compared, if variant == "sequence" { 26 } else { 2 });
    }
}

#[test]
fn log_probabilities_and_the_exact_distance_are_those_of_pytorch() {
    let oracle = Oracle::read();
    let form = Form { kl: Kl::Exact, ..oracle.form("sequence") };
    let (said, _) = oracle.run(form, &oracle.sampled, &policy(""));
    let mean = said.iter().map(|said| said.kl).sum::<f64>() / said.len() as f64;
    close(mean, oracle.number("sequence", "kl_full_vocab_sum_mean"), 1e-4, "KL");
    for (key, of) in [
        ("logp_policy", (|said| &said.log_probabilities) as fn(&Said) -> &Vec<f32>),
        ("logp_ref", |said| &said.reference),
    ] {
        let expected: Vec<Vec<Vec<f32>>> = oracle.io[key].to_vec3().expect("log-probabilities");
        for (said, expected) in said.iter().zip(expected.concat()) {
            for (got, expected) in of(said).iter().zip(expected) {
                assert!((got - expected).abs() < 2e-4, "{key}: expected {expected}, got {got}");
            }
        }
    }
}

#[test]
fn gradients_are_what_finite_differences_say() {
    let oracle = Oracle::read();
    let mut policy = policy("");
    for (ratio, kl) in [(Ratio::Sequence, Kl::Exact), (Ratio::Token, Kl::K2), (Ratio::Gspo, Kl::Exact)] {
        let form = Form { kl, ratio, beta: 0.3, temperature: 0.8, ..oracle.form("sequence") };
        // Ratios stay away from where they are clipped, for there the loss has a corner.
        let (said, _) = oracle.run(form, &oracle.sampled, &policy);
        let mut said = said.into_iter();
        let lists: Vec<Vec<Sampled>> = oracle
            .sampled
            .iter()
            .map(|lists| {
                let near = |list: &Sampled| Sampled {
                    old: said.next().expect("as many").log_probabilities.iter().map(|x| x - 0.001).collect(),
                    advantage: list.advantage,
                };
                lists.iter().map(near).collect()
            })
            .collect();
        let (_, gradients) = oracle.run(form, &lists, &policy);
        for (name, var) in policy.trainable() {
            let gradient = &gradients[&name];
            let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            if norm < 1e-2 || !name.contains("layers.1") {
                continue;
            }
            let before = var.as_tensor().copy().expect("a copy");
            let direction = Tensor::from_vec(gradient.clone(), var.shape(), &Device::Cpu).expect("a tensor");
            let step = 2e-3;
            let sides = [1.0, -1.0].map(|sign| {
                let moved = (&before + (&direction * (sign * step / norm)).expect("scaled")).expect("moved");
                var.set(&moved).expect("of the same shape");
                loss(form, &oracle.run(form, &lists, &policy).0)
            });
            var.set(&before).expect("of the same shape");
            let slope = (sides[0] - sides[1]) / (2.0 * step);
            assert!((slope / norm - 1.0).abs() < 3e-2, "{ratio:?}, {kl:?}, {name}: {slope} for {norm}");
        }
    }
    policy.train_all().expect("variables");
}

#[test]
fn masked_exponents_stay_finite() {
    let oracle = Oracle::read();
    let far: Vec<Vec<Sampled>> = oracle
        .sampled
        .iter()
        .map(|lists| {
            let far = |list: &Sampled| Sampled { old: vec![-90.0; list.old.len()], advantage: -1.0 };
            lists.iter().map(far).collect()
        })
        .collect();
    for ratio in [Ratio::Sequence, Ratio::Token, Ratio::Gspo] {
        let (said, gradients): (Vec<Said>, BTreeMap<_, _>) =
            oracle.run(Form { ratio, ..oracle.form("sequence") }, &far, &policy(""));
        assert!(said.iter().all(|said| said.policy_loss.is_finite()));
        assert!(gradients.values().flatten().all(|g| g.is_finite()));
    }
}
