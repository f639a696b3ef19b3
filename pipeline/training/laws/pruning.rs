//! Leaving layers out: one that does nothing goes first, and changes nothing.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use engine::{Pass, Tree};
use policy::{Adapters, Config, Model, Policy, Snapshot, Tokenizer};
use rand::SeedableRng;
use rand_distr::{Distribution, Normal};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::pruned::pruned;
use crate::{Likelihood, Scratch};

const PROMPT: [u32; 5] = [40, 41, 60, 61, 62];

/// A model from scratch, and a layer that adds nothing before its last one.
fn idle() -> (Model, Model) {
    let texts = ["one thing and another".to_owned()];
    let scratch = Scratch { layers: 3, width: 32, heads: 2, vocabulary: 512 };
    let tokenizer: Tokenizer = scratch.tokenizer(&texts).expect("a vocabulary");
    let fresh = scratch.model(tokenizer.clone(), 3).expect("a model").policy;
    // Every layer says something of its own.
    let mut random = Xoshiro256PlusPlus::seed_from_u64(3);
    let normal = Normal::new(0.0f32, 0.3).expect("a spread");
    let mut talking = |(name, x): (String, Tensor)| match name.starts_with("model.layers.") && name.contains("proj") {
        true => {
            let numbers: Vec<f32> = (0..x.elem_count()).map(|_| normal.sample(&mut random)).collect();
            (name, Tensor::from_vec(numbers, x.shape(), x.device()).expect("a tensor"))
        }
        false => (name, x),
    };
    let tensors: BTreeMap<String, Tensor> =
        fresh.merged_tensors().expect("tensors").into_iter().map(&mut talking).collect();
    let policy = Policy::new(fresh.config, tensors, Path::new("a talking one")).expect("a policy");
    let small = Model { policy, tokenizer: tokenizer.clone() };
    let config = Config { num_hidden_layers: 4, ..small.policy.config.clone() };
    let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
    for (name, tensor) in small.policy.merged_tensors().expect("tensors") {
        let nothing = name.contains("o_proj") || name.contains("down_proj");
        if let Some(rest) = name.strip_prefix("model.layers.2.") {
            let idle = if nothing { tensor.zeros_like().expect("zeros") } else { tensor.copy().expect("a copy") };
            tensors.insert(format!("model.layers.2.{rest}"), idle);
            tensors.insert(format!("model.layers.3.{rest}"), tensor);
        } else {
            tensors.insert(name, tensor);
        }
    }
    let policy = Policy::new(config, tensors, Path::new("with an idle layer")).expect("a policy");
    (small, Model { policy, tokenizer })
}

/// What a model itself finds likeliest after the prompt.
fn said(model: &Model) -> Vec<u32> {
    let snapshot = Snapshot::new(&model.policy, Adapters::Off).expect("weights");
    let mut tokens = PROMPT.to_vec();
    for _ in 0..12 {
        let logits = snapshot.logits_of(&[], &tokens);
        let last = &logits[logits.len() - model.policy.config.vocab_size..];
        let likeliest = (0..last.len()).max_by(|a, b| last[*a].total_cmp(&last[*b])).expect("a vocabulary");
        tokens.push(likeliest as u32);
    }
    tokens.split_off(PROMPT.len())
}

fn loss(snapshot: &Snapshot, list: &[u32]) -> f64 {
    let mut pass = Pass::new(snapshot, &[], 32, None, false);
    let trees = [Tree { prompt: &PROMPT, lists: vec![list] }];
    pass.put(&trees, &Likelihood { tokens: 1 }).iter().flatten().map(|fitted| fitted.loss).sum()
}

fn weights(model: &Model) -> BTreeMap<String, Vec<f32>> {
    let tensors = model.policy.merged_tensors().expect("tensors");
    let flat = |x: Tensor| x.to_device(&Device::Cpu).and_then(|x| x.flatten_all()).and_then(|x| x.to_vec1());
    tensors.into_iter().map(|(name, x)| (name, flat(x).expect("numbers"))).collect()
}

#[test]
fn a_layer_that_does_nothing_goes_first() {
    let (small, large) = idle();
    let list = said(&large);
    let loss = |snapshot: &Snapshot| loss(snapshot, &list);
    let got = pruned(large, 3, &loss).expect("three layers");
    assert!(weights(&got) == weights(&small), "another layer went");
    assert_eq!(pruned(got, 1, &loss).expect("one layer").policy.config.num_hidden_layers, 1);
    let (_, large) = idle();
    let said = pruned(large, 5, &loss).unwrap_err().to_string();
    assert!(said.contains("expected 1 to 4, the model's layers, got 5"), "{said}");
}
