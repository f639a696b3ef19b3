//! Commits: from receipts to a new version, in steps that a kill between any two of them cannot spoil.
//!
//! 1. Every partition has a receipt, and every staged part that a receipt names is there with the right size.
//! 2. The manifests are published, the primary output's last. Each is a create-if-absent PUT of the next number; losing
//!    it to another run loses nothing: receipts and staged parts stay.
//! 3. Staged parts are renamed to their final names.
//! 4. What the new version superseded is deleted, then the receipts.
//!
//! A kill after 2 leaves a version whose parts may be staged still: readers look in both places, and the next run of the
//! job finishes 3 and 4 ([`tidy`]).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::account::{self, Account};
use crate::fault;
use crate::manifest::{Dataset, Entry, FORMAT, Manifest, Part};
use crate::plan::{Digest, Plan};
use crate::{Error, Result, Store};

/// Partition done: its key, and per output its part (none when it has no rows) and account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) partition: u32,
    pub(crate) key: Digest,
    pub(crate) parts: Vec<Option<Part>>,
    pub(crate) accounts: Vec<Account>,
}

pub(crate) fn receipt_path(primary: &Dataset, fingerprint: &str, partition: u32) -> String {
    primary.path(&format!("_receipts/{fingerprint}/{partition:04}.json"))
}

pub(crate) fn plan_path(primary: &Dataset, fingerprint: &str) -> String {
    primary.path(&format!("_receipts/{fingerprint}/plan.json"))
}

/// The receipts of a run whose parts are all there. A receipt whose part is gone does not count, and is deleted when its
/// partition is one that the caller will run again.
pub(crate) fn valid_receipts(
    store: &Store,
    datasets: &[Dataset],
    plan: &Plan,
    runs: impl Fn(u32) -> bool,
) -> Result<BTreeMap<u32, Receipt>> {
    let primary = &datasets[0];
    let mut receipts = BTreeMap::new();
    for file in store.list(&primary.path(&format!("_receipts/{}", plan.fingerprint)))? {
        if let Some(receipt) = store.get(&file.path)?.and_then(|json| serde_json::from_slice::<Receipt>(&json).ok()) {
            receipts.insert(receipt.partition, receipt);
        }
    }
    // The parts are listed after the receipts: a part is written before its receipt, so none that counts can be missed.
    let mut sizes = BTreeMap::new();
    for (index, dataset) in datasets.iter().enumerate() {
        for file in store.list(&dataset.name)? {
            let relative = file.path[dataset.name.len() + 1..].to_owned();
            sizes.insert((index, relative), file.bytes);
        }
    }
    let there = |(index, part): (usize, &Option<Part>)| {
        part.as_ref().is_none_or(|part| {
            [&part.staged, &part.path].iter().any(|p| sizes.get(&(index, (*p).clone())) == Some(&part.bytes))
        })
    };
    let (valid, gone): (BTreeMap<_, _>, BTreeMap<_, _>) = receipts
        .into_iter()
        .partition(|(partition, r)| *partition < plan.partitions && r.parts.iter().enumerate().all(there));
    for partition in gone.into_keys().filter(|partition| runs(*partition)) {
        store.delete(&receipt_path(primary, &plan.fingerprint, partition))?;
    }
    Ok(valid)
}

/// Turns a complete set of receipts into the version after the one that the plan is based on, of every output.
pub(crate) fn commit(store: &Store, plan: &Plan) -> Result<Vec<Manifest>> {
    let datasets: Vec<Dataset> = plan.outputs.iter().map(|o| Dataset::new(store, &o.dataset)).collect();
    let receipts = valid_receipts(store, &datasets, plan, |_| false)?;
    if receipts.len() < plan.partitions as usize {
        // A run with the same fingerprint may have sealed it meanwhile, and taken the receipts away.
        let current: Vec<_> = datasets.iter().map(Dataset::current).collect::<Result<_>>()?;
        let same: Vec<Manifest> = current.into_iter().flatten().filter(|m| m.fingerprint == plan.fingerprint).collect();
        if same.len() == datasets.len() {
            return finish(&datasets).map(|()| same);
        }
        let missing: Vec<String> =
            (0..plan.partitions).filter(|p| !receipts.contains_key(p)).take(8).map(|p| p.to_string()).collect();
        return Err(Error::Incomplete {
            dataset: datasets[0].name.clone(),
            fingerprint: plan.fingerprint.clone(),
            have: receipts.len(),
            need: plan.partitions,
            missing: missing.join(", "),
        });
    }
    let manifests: Vec<Manifest> = (0..datasets.len()).map(|index| manifest(plan, index, &receipts)).collect();
    check_bad_ratio(plan, &manifests)?;
    fault::point(fault::SEALING);
    for (dataset, manifest) in datasets.iter().zip(&manifests).rev() {
        publish(dataset, manifest)?;
        fault::point(fault::MANIFEST);
    }
    finish(&datasets)?;
    datasets.iter().map(|d| d.current().map(|m| m.expect("a version was just published"))).collect()
}

/// Tidies all outputs; the primary one last, whose receipts are what a killed commit is finished from.
fn finish(datasets: &[Dataset]) -> Result<()> {
    datasets.iter().rev().try_for_each(tidy)
}

fn publish(dataset: &Dataset, manifest: &Manifest) -> Result<()> {
    let current = dataset.current()?;
    if current.as_ref().is_some_and(|c| c.fingerprint == manifest.fingerprint) {
        return Ok(());
    }
    if !dataset.publish(manifest)? {
        let winner = dataset.manifest(manifest.version)?;
        if winner.fingerprint != manifest.fingerprint {
            return Err(Error::Conflict {
                dataset: dataset.name.clone(),
                version: winner.version,
                job: winner.lineage.job,
            });
        }
    }
    Ok(())
}

fn manifest(plan: &Plan, index: usize, receipts: &BTreeMap<u32, Receipt>) -> Manifest {
    let output = &plan.outputs[index];
    let parts: Vec<Part> = receipts.values().filter_map(|r| r.parts[index].clone()).collect();
    let mut account = Account::default();
    receipts.values().for_each(|r| account.merge(&r.accounts[index]));
    Manifest {
        format: FORMAT,
        dataset: output.dataset.clone(),
        table: output.table.clone(),
        table_version: output.table_version,
        version: output.base + 1,
        created_at: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        fingerprint: plan.fingerprint.clone(),
        content: Manifest::content_of(&output.table, output.table_version, &parts),
        partitions: plan.partitions,
        rows: parts.iter().map(|p| p.rows).sum(),
        bytes: parts.iter().map(|p| p.bytes).sum(),
        unit: plan.unit.clone(),
        account,
        lineage: plan.lineage.clone(),
        ledger: receipts.values().map(|r| Entry { key: r.key.clone(), account: r.accounts[index].clone() }).collect(),
        parts,
    }
}

fn check_bad_ratio(plan: &Plan, manifests: &[Manifest]) -> Result<()> {
    for manifest in manifests {
        let (bad, total) = (manifest.account.bad(), manifest.account.input);
        if bad as f64 > plan.max_bad_ratio * total as f64 {
            return Err(Error::TooBad {
                job: plan.lineage.job.clone(),
                bad,
                total,
                unit: plan.unit.clone(),
                reasons: account::list(&manifest.account.quarantined),
                limit: plan.max_bad_ratio,
                example: String::new(),
            });
        }
    }
    Ok(())
}

/// Renames the parts of a version that are staged still.
pub(crate) fn promote(dataset: &Dataset, manifest: &Manifest) -> Result<()> {
    let store = &dataset.store;
    let staged: BTreeSet<String> = store.list(&dataset.path("_staged"))?.into_iter().map(|f| f.path).collect();
    for part in &manifest.parts {
        if staged.contains(&dataset.path(&part.staged)) {
            store.promote(&dataset.path(&part.staged), &dataset.path(&part.path))?;
            fault::point(fault::PROMOTED);
        }
    }
    Ok(())
}

/// Finishes what a commit of the current version may have left: staged parts to rename, superseded ones to delete.
pub(crate) fn tidy(dataset: &Dataset) -> Result<()> {
    let store = &dataset.store;
    let Some(current) = dataset.current()? else { return Ok(()) };
    promote(dataset, &current)?;
    fault::point(fault::SUPERSEDED);
    // The list comes first: parts that a newer commit adds after it are not on it, those added before it are in the
    // manifest that is read after it. So nothing of a current version can be deleted here.
    let visible = visible_parts(store, dataset)?;
    let Some(current) = dataset.current()? else { return Ok(()) };
    let named: BTreeSet<String> = current.parts.iter().map(|p| dataset.path(&p.path)).collect();
    for path in visible.iter().filter(|path| !named.contains(*path)) {
        store.delete(path)?;
        if let Some((folder, _)) = path.rsplit_once('/').filter(|(folder, _)| *folder != dataset.name) {
            store.prune(folder);
        }
    }
    store.clear(&dataset.path(&format!("_staged/{}", current.fingerprint)))?;
    // Receipts outlive a commit only when it was killed before its last step.
    store.clear(&dataset.path(&format!("_receipts/{}", current.fingerprint)))
}

/// What a plain glob reads of ours: files named like parts. Anything else in the folder is somebody's, and stays.
fn visible_parts(store: &Store, dataset: &Dataset) -> Result<Vec<String>> {
    let is_part = |path: &str| {
        let name = path.rsplit('/').next().and_then(|name| name.strip_suffix(".parquet")).unwrap_or_default();
        let (partition, attempt) = name.split_once('-').unwrap_or_default();
        partition.parse::<u32>().is_ok() && attempt.len() == 16 && u64::from_str_radix(attempt, 16).is_ok()
    };
    let files = store.list(&dataset.name)?;
    Ok(files.into_iter().map(|f| f.path).filter(|p| is_part(p)).collect())
}

/// Seals a sharded run (`querent commit`): the run of that fingerprint, or the only one whose receipts are there.
pub fn seal(store: &Store, dataset: &str, fingerprint: Option<&str>) -> Result<Vec<Manifest>> {
    let primary = Dataset::new(store, dataset);
    let mut plans = BTreeMap::new();
    for file in store.list(&primary.path("_receipts"))? {
        if let (true, Some(json)) = (file.path.ends_with("/plan.json"), store.get(&file.path)?) {
            let plan: Plan = serde_json::from_slice(&json).map_err(|e| {
                Error::unreadable(store.url(&file.path), format!("expected a plan: {e}"), "run the shards again")
            })?;
            plans.insert(plan.fingerprint.clone(), plan);
        }
    }
    let found = plans.keys().cloned().collect::<Vec<_>>().join(", ");
    let chosen = match fingerprint {
        Some(fingerprint) => plans.remove(fingerprint),
        None if plans.len() == 1 => plans.pop_first().map(|(_, plan)| plan),
        None => None,
    };
    let plan = chosen.ok_or_else(|| {
        let got = if found.is_empty() { "none".into() } else { found };
        let hint = "run the shards first (`--shard i/N`); with several runs name one by --fingerprint, or `querent gc`";
        Error::setting("--fingerprint", format!("one unsealed run of {dataset}"), got, hint)
    })?;
    commit(store, &plan)
}
