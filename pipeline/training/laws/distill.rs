//! Distances from a teacher, beside float64 PyTorch's (`fixtures/distill`), and what holds of all of them.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use engine::{Gradients, Pass, Reference, Tree};
use policy::{Adapters, Policy, Snapshot};

use crate::{Apart, Distance, Divergence, Told};

const ALL: [Divergence; 4] = [Divergence::Reverse, Divergence::Forward, Divergence::Jsd, Divergence::Sampled];

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/distill")
}

fn policy(folder: &str) -> Policy {
    let folder = fixture().join(folder);
    super::read(&folder, &folder)
}

struct Oracle {
    io: std::collections::HashMap<String, Tensor>,
    mean: f64,
    prompts: Vec<Vec<u32>>,
    lists: Vec<Vec<u32>>,
}

impl Oracle {
    fn read() -> Self {
        let folder = fixture();
        let io = candle_core::safetensors::load(folder.join("io.safetensors"), &Device::Cpu).expect("safetensors");
        let expected: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.join("expected.json")).expect("readable")).expect("JSON");
        let rows = |of: &str| -> Vec<Vec<u32>> {
            let ids: Vec<Vec<i64>> = io[&format!("{of}_ids")].to_vec2().expect("ids");
            let lengths: Vec<i64> = io[&format!("{of}_len")].to_vec1().expect("lengths");
            let cut = |(ids, length): (&Vec<i64>, &i64)| ids[..*length as usize].iter().map(|id| *id as u32).collect();
            ids.iter().zip(&lengths).map(cut).collect()
        };
        let mean = expected["reverse_kl_token_mean"].as_f64().expect("a number");
        Oracle { mean, prompts: rows("prompt"), lists: rows("completion"), io }
    }

    fn tokens(&self) -> usize {
        self.lists.iter().map(Vec::len).sum()
    }

    fn run(
        &self,
        divergence: Divergence,
        student: &Policy,
        teacher: &Policy,
        together: usize,
    ) -> (Vec<Apart>, Gradients) {
        let [student, teacher] = [student, teacher].map(|policy| Snapshot::new(policy, Adapters::On).expect("weights"));
        let reference = Reference { snapshot: &teacher, adapters: Adapters::On };
        let mut pass = Pass::new(&student, &[], 64, Some(reference), true);
        let objective = Distance { divergence, tokens: self.tokens(), vocabulary: 320 };
        let trees: Vec<Tree<'_>> =
            self.prompts.iter().zip(&self.lists).map(|(prompt, list)| Tree { prompt, lists: vec![list] }).collect();
        let apart = trees.chunks(together).flat_map(|trees| pass.put(trees, &objective)).flatten().collect();
        (apart, pass.finish())
    }
}

fn norm(x: &[f32]) -> f64 {
    x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn distances_and_gradients_are_those_of_pytorch() {
    let oracle = Oracle::read();
    let (apart, gradients) = oracle.run(Divergence::Reverse, &policy("student"), &policy("teacher"), 2);
    let tokens = oracle.tokens() as f64;
    let mean = apart.iter().map(|apart| apart.loss).sum::<f64>() / tokens;
    assert!((mean / oracle.mean - 1.0).abs() < 1e-5, "expected {}, got {mean}", oracle.mean);
    for (key, of) in [
        ("reverse_kl", (|apart| apart.reverse) as fn(&Apart) -> f64),
        ("forward_kl", |apart| apart.whole.expect("known").forward),
        ("sampled_kl", |apart| apart.log_probabilities.iter().zip(&apart.teacher).map(|(p, q)| f64::from(p - q)).sum()),
    ] {
        let expected: Vec<Vec<f32>> = oracle.io[key].to_vec2().expect("distances");
        for (row, apart) in expected.iter().zip(&apart) {
            let expected: f64 = row[..apart.teacher.len()].iter().map(|x| f64::from(*x)).sum();
            assert!((of(apart) - expected).abs() < 1e-4 * expected.abs().max(1.0), "{key}: {expected}, {}", of(apart));
        }
    }
    let mut compared = 0;
    for (name, expected) in oracle.io.iter().filter_map(|(name, x)| Some((name.strip_prefix("grad.")?, x))) {
        let expected: Vec<f32> = expected.flatten_all().and_then(|x| x.to_vec1()).expect("numbers");
        let off: Vec<f32> = gradients[name].iter().zip(&expected).map(|(a, b)| a - b).collect();
        // A key's bias changes no softmax: its gradient is rounding.
        let of = norm(&expected).max(1e-2);
        assert!(norm(&off) <= 1e-4 * of, "{name}: {} of {of}", norm(&off));
        compared += 1;
    }
    assert_eq!(compared, gradients.len());
}

#[test]
fn a_teacher_is_no_distance_from_itself() {
    let oracle = Oracle::read();
    for divergence in ALL {
        let (apart, gradients) = oracle.run(divergence, &policy("teacher"), &policy("teacher"), 1);
        assert!(apart.iter().all(|apart| apart.loss.abs() < 1e-6), "{divergence:?}");
        let all = |apart: &Apart| apart.whole.is_some_and(|whole| whole.overlap == apart.teacher.len() as f64);
        assert!(apart.iter().all(all), "{divergence:?}");
        assert!(gradients.values().all(|g| norm(g) < 1e-6), "{divergence:?}");
    }
}

#[test]
fn gradients_are_what_finite_differences_say() {
    let oracle = Oracle::read();
    let (mut student, teacher) = (policy("student"), policy("teacher"));
    for divergence in [Divergence::Reverse, Divergence::Forward, Divergence::Jsd] {
        let loss = |student: &Policy| {
            let (apart, gradients) = oracle.run(divergence, student, &teacher, 1);
            (apart.iter().map(|apart| apart.loss).sum::<f64>() / oracle.tokens() as f64, gradients)
        };
        let (_, gradients) = loss(&student);
        for (name, var) in student.trainable().into_iter().filter(|(name, _)| name.contains("layers.1.mlp")) {
            let gradient = &gradients[&name];
            let before = var.as_tensor().copy().expect("a copy");
            let direction = Tensor::from_vec(gradient.clone(), var.shape(), &Device::Cpu).expect("a tensor");
            let step = 4e-3;
            let sides = [1.0, -1.0].map(|sign| {
                let along = (&direction * (sign * step / norm(gradient))).expect("scaled");
                var.set(&(&before + along).expect("moved")).expect("of the same shape");
                loss(&student).0
            });
            var.set(&before).expect("of the same shape");
            let slope = (sides[0] - sides[1]) / (2.0 * step);
            assert!((slope / norm(gradient) - 1.0).abs() < 2e-2, "{divergence:?}, {name}: {slope}");
        }
    }
    student.train_all().expect("variables");
}

#[test]
fn cuts_into_micro_batches_change_no_bit() {
    let oracle = Oracle::read();
    let (student, teacher) = (policy("student"), policy("teacher"));
    for divergence in ALL {
        let whole = oracle.run(divergence, &student, &teacher, 3);
        assert_eq!(oracle.run(divergence, &student, &teacher, 1), whole, "{divergence:?}");
    }
}

#[test]
fn a_teacher_that_says_no_more_than_tokens_likelihoods_teaches_what_the_sampled_estimate_does() {
    let oracle = Oracle::read();
    let (student, teacher) = (policy("student"), policy("teacher"));
    let (expected, gradients) = oracle.run(Divergence::Sampled, &student, &teacher, 1);
    let said: Vec<Vec<Vec<f32>>> = expected.iter().map(|apart| vec![apart.teacher.clone()]).collect();
    let snapshot = Snapshot::new(&student, Adapters::On).expect("weights");
    let mut pass = Pass::new(&snapshot, &[], 64, None, true);
    let objective = Told { teacher: &said, tokens: oracle.tokens(), vocabulary: 320 };
    let lists = oracle.prompts.iter().zip(&oracle.lists);
    let trees: Vec<Tree<'_>> = lists.map(|(prompt, list)| Tree { prompt, lists: vec![list] }).collect();
    let told: Vec<Apart> = trees.chunks(1).flat_map(|tree| pass.put(tree, &objective)).flatten().collect();
    assert_eq!(pass.finish(), gradients);
    for (told, expected) in told.iter().zip(&expected) {
        assert_eq!((told.loss, told.reverse, told.whole), (expected.loss, expected.loss, None));
        assert_eq!((&told.log_probabilities, &told.teacher), (&expected.log_probabilities, &expected.teacher));
        assert_eq!(told.entropy, expected.entropy);
    }
}

#[test]
fn what_stands_for_no_token_counts_nowhere() {
    let logits = |seed: u32| -> Vec<f32> { (0..12u32).map(|at| ((at * 7 + seed) % 11) as f32 * 0.3).collect() };
    let look = |padding: &[f32], more: &[f32]| {
        let mut row = [logits(1).as_slice(), padding].concat();
        let reference = [logits(5).as_slice(), more].concat();
        let distance = Distance { divergence: Divergence::Reverse, tokens: 1, vocabulary: 12 };
        let prediction = engine::Prediction { tree: 0, list: 0, tokens: &[3], logits: &mut row, reference: &reference };
        let apart = engine::Objective::list(&distance, prediction);
        (apart, row[..12].to_vec(), row[12..].to_vec())
    };
    let (plain, gradient, _) = look(&[], &[]);
    let (padded, same, beyond) = look(&[9.0, 9.0], &[-9.0; 5]);
    assert_eq!((plain, gradient), (padded, same));
    assert!(beyond.iter().all(|d| *d == 0.0));
}

#[test]
fn the_sampled_estimate_is_right_on_average() {
    let student: Vec<f32> = vec![0.3, -0.2, 1.1, 0.0, -1.0];
    let teacher: Vec<f32> = vec![0.0, 0.4, 0.2, -0.6, 0.9];
    let gradient = |divergence, token: u32| {
        let mut row = student.clone();
        let distance = Distance { divergence, tokens: 1, vocabulary: 5 };
        let prediction =
            engine::Prediction { tree: 0, list: 0, tokens: &[token], logits: &mut row, reference: &teacher };
        let apart = engine::Objective::list(&distance, prediction);
        (row, f64::from(apart.log_probabilities[0]).exp())
    };
    let exact = gradient(Divergence::Reverse, 0).0;
    let mut expected = [0.0; 5];
    for token in 0..5 {
        let (row, probability) = gradient(Divergence::Sampled, token);
        expected.iter_mut().zip(row).for_each(|(sum, d)| *sum += probability * f64::from(d));
    }
    for (exact, expected) in exact.iter().zip(expected) {
        assert!((f64::from(*exact) - expected).abs() < 1e-6, "{exact} and {expected}");
    }
}
