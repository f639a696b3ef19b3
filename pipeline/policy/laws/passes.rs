//! The engine's gradients beside candle's; trees beside sequences; trainer beside sampler.

use super::*;
use engine::{Gradients, Objective, Pass, Prediction, Reference, Tree, softmax};

/// The sum of the lists' log-probabilities, each list weighted differently so that no gradient cancels.
struct Weighted;

impl Objective for Weighted {
    type Said = Vec<f32>;

    fn list(&self, prediction: Prediction<'_>) -> Vec<f32> {
        let Prediction { tree, list, tokens, logits, .. } = prediction;
        let weight = 1.0 + list as f32 + 0.25 * tree as f32;
        let width = logits.len() / tokens.len();
        let row = |(row, token): (&mut [f32], &u32)| {
            let logit = row[*token as usize];
            let said = softmax(row, 1.0).of(logit);
            row.iter_mut().for_each(|p| *p *= -weight);
            row[*token as usize] += weight;
            said
        };
        logits.chunks_exact_mut(width).zip(tokens).map(row).collect()
    }
}

/// Trees with prompts and lists of many lengths.
struct Batch {
    prefix: Vec<u32>,
    trees: Vec<(Vec<u32>, Vec<Vec<u32>>)>,
}

impl Batch {
    fn new(seed: u64) -> Self {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut tokens = |count: usize| (0..count).map(|_| random.random_range(0..320)).collect::<Vec<u32>>();
        let prefix = tokens(11);
        let trees = [(13, vec![6, 1, 9]), (1, vec![1]), (40, vec![33, 2, 2, 17]), (5, vec![4])];
        let trees = trees.map(|(prompt, lists)| (tokens(prompt), lists.into_iter().map(&mut tokens).collect()));
        Batch { prefix, trees: trees.into() }
    }

    fn trees<'a>(&'a self) -> Vec<Tree<'a>> {
        let lists = |lists: &'a [Vec<u32>]| lists.iter().map(Vec::as_slice).collect();
        self.trees.iter().map(|(prompt, all)| Tree { prompt, lists: lists(all) }).collect()
    }

    /// What the lists' tokens are worth, and the gradients, with so many trees at a time.
    fn run(&self, snapshot: &Snapshot, together: usize) -> (Vec<Vec<Vec<f32>>>, Gradients) {
        let mut pass = Pass::new(snapshot, &self.prefix, 128, None, true);
        let said = self.trees().chunks(together).flat_map(|trees| pass.put(trees, &Weighted)).collect();
        (said, pass.finish())
    }

    /// The same objective by candle's graph, prompts and prefix as one.
    fn by_candle(&self, policy: &Policy) -> Result<BTreeMap<String, Vec<f32>>> {
        let mut sum = Tensor::zeros((), DType::F32, &Device::Cpu)?;
        for (tree, (prompt, lists)) in self.trees.iter().enumerate() {
            let prompt = [self.prefix.clone(), prompt.clone()].concat();
            let packed = Packed::new(&prompt, &lists.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let hidden = policy.forward(&packed, Adapters::On)?;
            for (number, list) in lists.iter().enumerate() {
                let rows = Tensor::new(packed.predicting(number), &Device::Cpu)?;
                let logits = policy.logits(&hidden.index_select(&rows, 0)?)?;
                let weight = 1.0 + number as f64 + 0.25 * tree as f64;
                sum = (sum + (log_probs(&logits, list)?.sum_all()? * weight)?)?;
            }
        }
        let store = sum.backward()?;
        let flat =
            |var: &Var| -> Result<Vec<f32>> { Ok(store.get(var).expect("a gradient").flatten_all()?.to_vec1()?) };
        policy.trainable().iter().map(|(name, var)| Ok((name.clone(), flat(var)?))).collect()
    }
}

fn norm(x: &[f32]) -> f64 {
    x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn gradients_are_those_of_candle() -> Result<()> {
    let batch = Batch::new(3);
    for family in FAMILIES {
        let mut full = tiny(family);
        full.train_all()?;
        for policy in [full, with_random_lora(tiny(family))?] {
            let snapshot = Snapshot::new(&policy, Adapters::On)?;
            let (_, got) = batch.run(&snapshot, batch.trees.len());
            let expected = batch.by_candle(&policy)?;
            assert_eq!(got.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{family}");
            for (name, got) in got {
                let expected = &expected[&name];
                let difference: Vec<f32> = got.iter().zip(expected).map(|(a, b)| a - b).collect();
                // The gradient of a key's bias is nothing but rounding.
                let (off, of) = (norm(&difference), norm(expected).max(1e-2));
                assert!(off <= 1e-4 * of, "{family}: {name}: {off} of {of}");
            }
        }
    }
    Ok(())
}

#[test]
fn neither_micro_batches_nor_threads_change_a_bit() -> Result<()> {
    let batch = Batch::new(4);
    let mut full = tiny("decoder-qwen2");
    full.train_all()?;
    for policy in [full, with_random_lora(tiny("decoder-llama"))?] {
        let snapshot = Snapshot::new(&policy, Adapters::On)?;
        let expected = batch.run(&snapshot, 4);
        for threads in [1, 2, 3, 8, 64] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            for together in 1..=4 {
                assert!(
                    pool.install(|| batch.run(&snapshot, together)) == expected,
                    "{threads} threads, {together} trees at a time"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn a_trainers_log_probabilities_are_the_samplers() -> Result<()> {
    let policies =
        [with_random_lora(tiny("decoder-llama"))?, tiny("decoder-qwen2"), with_random_lora(smollm2().policy)?];
    for policy in policies {
        let snapshot = Arc::new(Snapshot::new(&policy, Adapters::On)?);
        let mut random = Xoshiro256PlusPlus::seed_from_u64(9);
        let mut tokens = |count: usize| (0..count).map(|_| random.random_range(0..320)).collect::<Vec<u32>>();
        let prefix = tokens(15);
        let requests: Vec<Request> =
            (0..3).map(|user| Request { prompt: tokens(5 + 7 * user), seeds: (0..4).collect() }).collect();
        let sampling = Sampling { max_new_tokens: 9, ..Sampling::default() };
        let sampled = rollout(&snapshot, &prefix, sampling).run(&requests, &|_| ())?;
        let trees: Vec<Tree<'_>> = requests
            .iter()
            .zip(&sampled)
            .map(|(request, lists)| Tree {
                prompt: &request.prompt,
                lists: lists.iter().map(|list| list.tokens.as_slice()).collect(),
            })
            .collect();
        for together in [1, 3] {
            let mut pass = Pass::new(&snapshot, &prefix, 64, None, false);
            let said: Vec<_> = trees.chunks(together).flat_map(|trees| pass.put(trees, &Weighted)).collect();
            for (lists, said) in sampled.iter().zip(said) {
                for (list, said) in lists.iter().zip(said) {
                    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                    assert_eq!(bits(&list.log_probabilities), bits(&said));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn the_reference_is_the_policy_without_adapters() -> Result<()> {
    struct Both;
    impl Objective for Both {
        type Said = (Vec<f32>, Vec<f32>);
        fn list(&self, prediction: Prediction<'_>) -> Self::Said {
            (prediction.logits.to_vec(), prediction.reference.to_vec())
        }
    }
    let (batch, policy) = (Batch::new(5), with_random_lora(tiny("decoder-qwen2"))?);
    let with = Snapshot::new(&policy, Adapters::On)?;
    let without = Snapshot::new(&policy, Adapters::Off)?;
    let logits = |snapshot, reference| {
        Pass::new(snapshot, &batch.prefix, 128, reference, false).put(&batch.trees(), &Both).concat()
    };
    let off = Reference { snapshot: &with, adapters: Adapters::Off };
    for (got, expected) in logits(&with, Some(off)).iter().zip(logits(&without, None)) {
        assert!(got.1 == expected.0 && got.0 != got.1);
    }
    Ok(())
}
