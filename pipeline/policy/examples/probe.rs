//! What a model makes of texts, for comparison with other tools: `cargo run -p querent-policy --example probe -- MODEL tokens|logits`.
//!
//! Reads lines from stdin. `tokens`: texts, in which nothing is a control token; prints each one's ids as JSON. `logits`: lists of ids as
//! JSON; prints the logits after each one's last token.

#![expect(clippy::print_stdout, reason = "an example says what it found")]

use std::io::BufRead;
use std::path::Path;

use policy::{Adapters, Model, Snapshot};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, what] = arguments.as_slice() else {
        return Err("usage: probe MODEL tokens|logits < lines".into());
    };
    let model = Model::open(Path::new(model))?;
    let snapshot = Snapshot::new(&model.policy, Adapters::On)?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match what.as_str() {
            "tokens" => println!("{}", serde_json::to_string(&model.tokenizer.encode(&line))?),
            _ => {
                let ids: Vec<u32> = serde_json::from_str(&line)?;
                let logits = snapshot.logits_of(&[], &ids);
                let last = &logits[logits.len() - model.policy.config.vocab_size..];
                println!("{}", serde_json::to_string(last)?);
            }
        }
    }
    Ok(())
}
