//! Steps that run several times, with another seed each.
//!
//! ```toml
//! [run]
//! jobs = ["sft@small-sN", "grpo@small-sN"]   # sft@small-s1, sft@small-s2, sft@small-s3, grpo@small-s1, …
//! seeds = 3
//!
//! [grpo.small-sN]
//! policy = "sft@small-sN"                    # of grpo@small-s2: sft@small-s2, and seed = 2
//! ```

use std::collections::BTreeMap;

use dataset::{Error, Result};
use serde_json::Value;

use super::config::{Node, RUN};

/// What stands for a seed at the end of a step's name.
const ANY: &str = "-sN";
/// The setting that says how many.
const SEEDS: &str = "seeds";

/// The names that a step's name stands for: its own, or one for each seed.
pub(super) fn names(name: &str, seeds: u64) -> Vec<String> {
    match name.strip_suffix(ANY) {
        Some(base) => (1..=seeds).map(|seed| format!("{base}-s{seed}")).collect(),
        None => vec![name.to_owned()],
    }
}

/// How many seeds a file or the command line asks for; the later counts.
pub(super) fn seeds(layers: &[BTreeMap<String, Node>]) -> Result<u64> {
    let said = layers.iter().filter_map(|layer| layer.get(RUN)?.table.as_ref()?.get(SEEDS)).next_back();
    let Some(node) = said else { return Ok(1) };
    node.value.as_u64().filter(|seeds| (1..=1000).contains(seeds)).ok_or_else(|| {
        let what = format!("{}: [{RUN}] {SEEDS}", node.place);
        Error::setting(&what, "1 to 1000", &node.value, "how often steps run whose names end in -sN")
    })
}

/// Makes of every table `NAME-sN` one for each seed. What a file says of a single seed counts over that. `seeded`: whether a job has a seed.
pub(super) fn expand(layer: &mut BTreeMap<String, Node>, seeds: u64, seeded: impl Fn(&str) -> bool) {
    for (section, node) in layer.iter_mut().filter(|(section, _)| *section != RUN) {
        let Some(table) = &mut node.table else { continue };
        let patterns: Vec<String> = table.keys().filter(|key| key.ends_with(ANY)).cloned().collect();
        for key in patterns {
            let Some(pattern) = table.remove(&key) else { continue };
            for (seed, name) in (1..).zip(names(&key, seeds)) {
                let mut of_seed = substituted(&pattern, &format!("-s{seed}"));
                if let Some(settings) = of_seed.table.as_mut().filter(|_| seeded(section)) {
                    let node = Node { value: seed.into(), table: None, ..pattern.clone() };
                    settings.entry("seed".to_owned()).or_insert(node);
                }
                if let (Some(own), Some(settings)) = (table.remove(&name), &mut of_seed.table) {
                    settings.extend(own.table.unwrap_or_default());
                }
                table.insert(name, of_seed);
            }
        }
    }
}

/// A node with a seed's number wherever its texts name steps of any seed.
fn substituted(node: &Node, seed: &str) -> Node {
    fn value(json: &Value, seed: &str) -> Value {
        match json {
            Value::String(text) => text.replace(ANY, seed).into(),
            Value::Array(items) => items.iter().map(|item| value(item, seed)).collect(),
            Value::Object(map) => map.iter().map(|(key, item)| (key.clone(), value(item, seed))).collect(),
            other => other.clone(),
        }
    }
    let table = node.table.as_ref();
    Node {
        value: value(&node.value, seed),
        text: node.text.as_ref().map(|text| text.replace(ANY, seed)),
        table: table.map(|table| table.iter().map(|(key, node)| (key.clone(), substituted(node, seed))).collect()),
        ..node.clone()
    }
}
