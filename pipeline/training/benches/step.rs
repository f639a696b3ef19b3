//! A step of training on given prompts: `cargo bench --bench step -- MODEL TURNS [TEACHER]`. 4 users, 8 lists each of exactly 64 tokens, prompts
//! of 400 tokens of which all begin with the same 216, adapters of rank 16. Without a teacher a step of GRPO with a reference; with one, of
//! distillation. Prints a JSON line per step; `tests/bench/train.py` runs it beside TRL. Rewards are drawn: what they cost is measured apart.

#![expect(clippy::print_stdout, reason = "a benchmark says what it measured")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use engine::{Objective, Pass, Reference, Tree};
use policy::{Adapters, Completion, Lora, Model, Request, Rollout, Sampling, Snapshot};
use serde_json::json;
use training::{AdamW, Distance, Divergence, Form, Grpo, Kl, Likelihood, Parameters, Ratio, Sampled};

const USERS: usize = 4;
const GROUP: usize = 8;
const NEW: usize = 64;
const PREFIX: usize = 216;
const PROMPT: usize = 184;

/// The process's largest size so far.
fn peak_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|kb| kb.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or(f64::NAN) * 1024.0 / 1e6
}

fn pass<'a>(model: &'a Snapshot, prefix: &'a [u32], reference: Option<Reference<'a>>, training: bool) -> Pass<'a> {
    Pass::new(model, prefix, PREFIX + PROMPT + NEW, reference, training)
}

/// Puts lists and their objective through a model.
fn put<'a, O: Objective>(
    mut pass: Pass<'a>,
    (requests, outputs): (&[Request], &[Vec<Completion>]),
    objective: &O,
) -> Pass<'a> {
    for (request, outputs) in requests.iter().zip(outputs) {
        let lists = outputs.iter().map(|output| output.tokens.as_slice()).collect();
        pass.put(&[Tree { prompt: &request.prompt, lists }], objective);
    }
    pass
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let (model, turns, teacher) = match arguments.as_slice() {
        [model, turns] => (model, turns, None),
        [model, turns, teacher] => (model, turns, Some(teacher)),
        _ => {
            println!("usage: MODEL TURNS [TEACHER]");
            return;
        }
    };
    let Model { mut policy, .. } = Model::open(Path::new(model)).expect("a model");
    policy.add_lora(Lora { rank: 16, alpha: 32.0 }, 1).expect("adapters");
    let values = policy
        .trainable()
        .into_iter()
        .map(|(name, var)| (name, var.as_tensor().flatten_all().and_then(|x| x.to_vec1::<f32>()).expect("numbers")));
    let mut parameters = Parameters::new(values.collect());
    let mut snapshot = Arc::new(Snapshot::new(&policy, Adapters::On).expect("weights"));
    drop(policy);
    let teacher = teacher.map(|teacher| {
        let Model { policy, .. } = Model::open(Path::new(teacher)).expect("a teacher");
        Snapshot::new(&policy, Adapters::Off).expect("its weights")
    });
    let vocabulary = snapshot.config().vocab_size;
    // Any tokens will do: all take as long.
    let tokens = |from: usize, count: usize| -> Vec<u32> {
        (from..from + count).map(|at| (at as u32).wrapping_mul(2_654_435_761) % vocabulary as u32).collect()
    };
    let prefix = tokens(0, PREFIX);
    let sampling = Sampling { max_new_tokens: NEW, ..Sampling::default() };
    let settings = AdamW { learning_rate: 1e-5, warm_up: 1, cool_down: 0.0, weight_decay: 0.0, clip_norm: 1.0 };
    for turn in 1..=turns.parse().expect("a number") {
        let started = Instant::now();
        let requests: Vec<Request> = (0..USERS)
            .map(|user| Request {
                prompt: tokens(1000 * (user + 1) + turn as usize, PROMPT),
                seeds: (0..GROUP as u64).map(|sample| sample + 100 * turn).collect(),
            })
            .collect();
        let rollout = Rollout::new(snapshot.clone(), &prefix, PREFIX + PROMPT, &[], sampling, None).expect("it fits");
        let outputs = rollout.run(&requests, &|_| ()).expect("finite logits");
        drop(rollout);
        let rollout = started.elapsed().as_secs_f64();
        let started = Instant::now();
        let drawn = (requests.as_slice(), outputs.as_slice());
        let gradients = match &teacher {
            Some(teacher) => {
                let tokens = USERS * GROUP * NEW;
                let objective = Distance { divergence: Divergence::Reverse, tokens, vocabulary };
                let reference = Reference { snapshot: teacher, adapters: Adapters::Off };
                put(pass(&snapshot, &prefix, Some(reference), true), drawn, &objective).finish()
            }
            None => {
                let one = |(at, output): (usize, &Completion)| Sampled {
                    old: output.log_probabilities.clone(),
                    advantage: at as f32 / GROUP as f32 - 0.5,
                };
                let lists: Vec<Vec<Sampled>> =
                    outputs.iter().map(|outputs| outputs.iter().enumerate().map(one).collect()).collect();
                let form = Form {
                    ratio: Ratio::Sequence,
                    clip_low: 0.2,
                    clip_high: 0.2,
                    kl: Kl::Exact,
                    beta: 0.005,
                    temperature: 1.0,
                    longest: NEW,
                };
                let objective = Grpo { form, lists: &lists, count: USERS * GROUP };
                let reference = Reference { snapshot: &snapshot, adapters: Adapters::Off };
                put(pass(&snapshot, &prefix, Some(reference), true), drawn, &objective).finish()
            }
        };
        settings.step(turn, turn, &mut parameters, &gradients).expect("finite");
        let weights = Arc::get_mut(&mut snapshot).expect("nobody else has them");
        parameters.values.iter().for_each(|(name, values)| weights.set(name, values));
        let update = started.elapsed().as_secs_f64();
        // What of the update is the teacher's reading: the same lists through it alone.
        let started = Instant::now();
        if let Some(teacher) = &teacher {
            put(pass(teacher, &prefix, None, false), drawn, &Likelihood { tokens: USERS * GROUP * NEW });
        }
        let said = json!({
            "rollout": rollout, "update": update, "scoring": started.elapsed().as_secs_f64(), "peak_mb": peak_mb(),
            "tokens": USERS * (PROMPT + GROUP * NEW) + PREFIX,
        });
        println!("{said}");
    }
}
