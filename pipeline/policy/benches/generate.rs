//! Rollouts on given users: `cargo bench -p querent-policy --bench generate -- MODEL BEHAVIOURS.json PROMPTS.json TURNS`. Writes the
//! prompts' tokens, so that other engines read the same, and prints a JSON line per measurement; `tests/bench/generate.py` runs it
//! beside transformers and llama.cpp.
//!
//! BEHAVIOURS.json: a list of users, each a list of `[domain, text]`.

#![expect(clippy::print_stdout, reason = "a benchmark says what it measured")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use policy::{
    Adapters, Behaviour, Model, Prompt, Prompter, Request, Rollout, Sampling, Snapshot, Spent, TEMPLATE, Template,
};
use serde_json::json;

/// Tokens of every answer: nothing ends one earlier.
const NEW_TOKENS: usize = 64;
/// Users and samples of each.
const SIZES: [(usize, usize); 2] = [(8, 1), (4, 8)];

/// The process's largest size so far.
fn peak_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|kb| kb.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or(f64::NAN) * 1024.0 / 1e6
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [model, behaviours, prompts, turns] = arguments.as_slice() else {
        println!("usage: MODEL BEHAVIOURS.json PROMPTS.json TURNS");
        return;
    };
    let users: Vec<Vec<(String, String)>> =
        serde_json::from_slice(&std::fs::read(behaviours).expect("readable")).expect("lists of [domain, text]");
    let turns: usize = turns.parse().expect("a number");
    let Model { policy, tokenizer, .. } = Model::open(Path::new(model)).expect("a model");
    let started = Instant::now();
    let snapshot = Arc::new(Snapshot::new(&policy, Adapters::On).expect("weights"));
    drop(policy);
    let packing = started.elapsed().as_secs_f64();
    let prompter = Prompter::new(Arc::new(tokenizer), &Prompt::new(Template::parse(TEMPLATE).expect("it is one")))
        .expect("a chat model");
    let asked: Vec<Vec<u32>> = users
        .iter()
        .map(|user| {
            let behaviours: Vec<Behaviour<'_>> = user.iter().map(|(domain, text)| Behaviour { domain, text }).collect();
            prompter.prompt(&behaviours).expect("behaviours")
        })
        .collect();
    let written = json!({ "prefix": prompter.prefix(), "prompts": asked });
    std::fs::write(prompts, written.to_string()).expect("writable");
    let sampling = Sampling { max_new_tokens: NEW_TOKENS, ..Sampling::default() };
    let threads = rayon::ThreadPoolBuilder::new().build().expect("threads");
    for _ in 0..turns {
        for (users, samples) in SIZES {
            let started = Instant::now();
            // What all prompts begin with is computed once per version of the weights; here it counts every time.
            let rollout = Rollout::new(snapshot.clone(), prompter.prefix(), prompter.longest(), &[], sampling, None)
                .expect("it fits the context");
            let prefix = started.elapsed().as_secs_f64();
            let requests: Vec<Request> = asked[..users]
                .iter()
                .map(|prompt| Request { prompt: prompt.clone(), seeds: (0..samples as u64).collect() })
                .collect();
            let spent = Mutex::new(Spent::default());
            let watch = |more| *spent.lock().expect("no panic") += more;
            let outputs = threads.install(|| rollout.run(&requests, &watch)).expect("finite logits");
            let seconds = started.elapsed().as_secs_f64();
            assert!(outputs.iter().flatten().all(|output| output.tokens.len() == NEW_TOKENS));
            let spent = spent.into_inner().expect("no panic");
            let said = json!({
                "users": users, "samples": samples, "seconds": seconds, "packing": packing, "peak_mb": peak_mb(),
                "prefill": prefix + spent.prompts.as_secs_f64(), "decode": spent.sampling.as_secs_f64(),
                "prefill_tokens": prompter.prefix().len() as u64 + spent.prompt_tokens,
                "decode_tokens": spent.sampled_tokens,
            });
            println!("{said}");
        }
    }
}
