//! Plans: what a run will make, of what, and the digests that decide what may be reused.
//!
//! A run's *fingerprint* covers the stage's name and version, its settings, the outputs' tables, and everything that the stage declared
//! to read ([`crate::Inputs`]). A partition's *key* covers the same, but of the datasets that are read partition by partition only its
//! own parts. Equal key, equal output: the part is reused. Git revision and times are recorded, never compared.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::manifest::{Lineage, Manifest};

/// A BLAKE3 digest in hex (64 digits for content, 32 for fingerprints and keys).
pub type Digest = String;

/// One dataset that a run writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The dataset's name under the root.
    pub dataset: String,
    /// Its table.
    pub table: String,
    /// The table's version.
    pub table_version: u32,
    /// The number of the log entry that the run creates or, if another run was first, does not.
    pub next: u64,
}

/// What a run will make. Written beside the receipts, so that `querent commit` can seal what shards did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// Fingerprint of what is to be made.
    pub fingerprint: Digest,
    /// Partitions of every output.
    pub partitions: u32,
    /// What the accounts count.
    pub unit: String,
    /// The datasets written; the first is the primary one, whose folder holds the receipts.
    pub outputs: Vec<Output>,
    /// Where it all comes from.
    pub lineage: Lineage,
    /// A run with a larger share of quarantined units fails.
    pub max_bad_ratio: f64,
}

impl Plan {
    /// The run's name: what it makes, and what it is based on. Processes that share both work on it together.
    pub(crate) fn run(&self) -> Digest {
        let bases: Vec<_> = self.outputs.iter().map(|output| (&output.dataset, output.next)).collect();
        digest(&json!([self.fingerprint, bases]))
    }
}

/// The digest of a JSON value: its keys are sorted, so equal values have equal digests.
pub fn digest(value: &Value) -> Digest {
    let hash = blake3::hash(value.to_string().as_bytes());
    crate::bucket::hex(&hash.as_bytes()[..16])
}

/// BLAKE3 of a local file's bytes, and their number. The file must be a regular one: a pipe would hang its reader.
pub fn file_digest(path: &std::path::Path) -> crate::Result<(Digest, u64)> {
    let failed = |e| crate::Error::io(path.display(), e);
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(crate::Error::unreadable(path.display(), "expected a regular file", "check the path"));
    }
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).map_err(failed)?;
    Ok((hasher.finalize().to_hex().to_string(), hasher.count()))
}

/// The part of fingerprints and keys that does not depend on the inputs.
pub(crate) fn recipe(lineage: &Lineage, partitions: u32) -> Value {
    json!({
        "job": lineage.job,
        "stage_version": lineage.stage_version,
        "settings": lineage.settings,
        "models": lineage.models,
        "values": lineage.values,
        "user_key_check": lineage.user_key_check,
        "partitions": partitions,
    })
}

/// Says, in words, why a dataset is not what the plan would make.
pub(crate) fn why(plan: &Plan, current: Option<&Manifest>) -> String {
    let Some(current) = current else { return "there is none yet".into() };
    let (old, new) = (&current.lineage, &plan.lineage);
    let mut reasons = Vec::new();
    if old.job != new.job {
        reasons.push(format!("it was written by {}", old.job));
    }
    if old.stage_version != new.stage_version {
        reasons.push(format!("stage version {} → {}", old.stage_version, new.stage_version));
    }
    if current.partitions != plan.partitions {
        reasons.push(format!("partitions {} → {}", current.partitions, plan.partitions));
    }
    if old.user_key_check != new.user_key_check {
        reasons.push("another user key".into());
    }
    differences("", &old.settings, &new.settings, &mut reasons);
    if old.models != new.models {
        reasons.push("other models".into());
    }
    for name in new.values.keys().filter(|name| old.values.get(*name) != new.values.get(*name)) {
        reasons.push(format!("{name} changed"));
    }
    for (name, input) in &new.inputs {
        if old.inputs.get(name).is_none_or(|was| was.content != input.content) {
            reasons.push(format!("input {name} changed"));
        }
    }
    if reasons.is_empty() { "another output of the run is not committed".into() } else { reasons.join("; ") }
}

fn differences(at: &str, old: &Value, new: &Value, reasons: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                let null = Value::Null;
                differences(&path, a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null), reasons);
            }
        }
        (a, b) if a != b => reasons.push(format!("{at} {a} → {b}")),
        _ => {}
    }
}
