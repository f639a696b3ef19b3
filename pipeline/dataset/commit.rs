//! Commits: from receipts to a new version, in steps that a crash between any two of them cannot spoil.
//!
//! 1. Every partition has a receipt, and every part that a receipt names is there, whole.
//! 2. The parts' contents are synced, all at once and whoever wrote them (on a disk; what an object store has taken is durable).
//! 3. The parts get their final names, and those are synced (in an object store they have them already).
//! 4. The log entry is created, the primary output's last. It is the only step that decides: of all who create entry 12, one does.
//! 5. What the new version no longer names is deleted, then the run's folder.
//!
//! **What is not durable is never named by an entry.** Until step 2 neither parts nor receipts are synced. So a loss of power may take
//! them, or leave a receipt and a part of the right size with other bytes. Whoever goes on with a run, or takes a part over from another
//! one, therefore checks its digest; what fails is made again.
//!
//! `model.rs` is this protocol as a state machine, checked over all interleavings of writers, gc and readers with crashes.

use std::collections::{BTreeMap, BTreeSet};

use schemas::Contract;

use crate::account::{self, Account};
use crate::fault;
use crate::log::{Dataset, Head};
use crate::manifest::{Entry, Manifest, Part};
use crate::plan::{Digest, Output, Plan};
use crate::receipts::{Receipt, Run, runs};
use crate::tidy::{clear, tidy};
use crate::{Error, Exit, Kind, Result, Store};

/// How often a commit that is half done is looked at before it is taken for abandoned.
const PATIENCE: u32 = 50;

impl Run<'_> {
    /// Turns a complete set of receipts into the next version of every output. `seen`: see [`Run::receipts`].
    pub(crate) fn commit(
        &self,
        contracts: &[Contract],
        seen: &BTreeMap<u32, Receipt>,
        keep: usize,
    ) -> Result<Vec<Manifest>> {
        let receipts = self.receipts(seen)?;
        if receipts.len() < self.plan.partitions as usize {
            return self.sealed_by_another(keep)?.ok_or_else(|| self.incomplete(&receipts));
        }
        let manifests: Vec<Manifest> =
            (0..self.datasets.len()).map(|output| self.manifest(output, &receipts)).collect();
        self.check_bad_ratio(&manifests)?;
        // A run that is over leaves its parts where the next one looks for them.
        self.check_open()?;
        fault::point(fault::SEALING);
        // All outputs' parts are durable and have their places before the first entry: from then on the run counts as over.
        let mut ready = self.sync(&receipts)?;
        for (output, manifest) in manifests.iter().enumerate() {
            ready = ready && self.place(output, manifest)?;
        }
        if !ready {
            if let Some(same) = self.sealed_by_another(keep)? {
                return Ok(same);
            }
            self.check_open()?;
            return Err(self.incomplete(&receipts));
        }
        let mut committed = Vec::new();
        for (output, manifest) in manifests.into_iter().enumerate().rev() {
            committed.push(self.publish(output, &contracts[output], manifest)?);
            fault::point(fault::ENTRY);
        }
        committed.reverse();
        for ((dataset, _), manifest) in self.datasets.iter().zip(&committed) {
            dataset.checkpoint(manifest.version)?;
        }
        self.finish(keep)?;
        Ok(committed)
    }

    /// Fails when another run has committed meanwhile, and this one no longer can.
    pub(crate) fn check_open(&self) -> Result<()> {
        for (output, (dataset, _)) in self.datasets.iter().enumerate() {
            let next = self.plan.outputs[output].next;
            if dataset.has(next)? {
                let winner = dataset.version_at(next)?;
                if winner.as_ref().is_none_or(|winner| winner.fingerprint != self.plan.fingerprint) {
                    return Err(conflict(dataset, next, winner));
                }
            }
        }
        Ok(())
    }

    /// Every output's version, when another process has committed the same meanwhile, and taken the receipts away.
    pub(crate) fn sealed_by_another(&self, keep: usize) -> Result<Option<Vec<Manifest>>> {
        let current = self.datasets.iter().map(|(dataset, _)| dataset.current()).collect::<Result<Option<Vec<_>>>>()?;
        let same = current.filter(|all| all.iter().all(|m| m.fingerprint == self.plan.fingerprint && same_run(all, m)));
        if same.is_some() {
            self.finish(keep)?;
        }
        Ok(same)
    }

    fn incomplete(&self, receipts: &BTreeMap<u32, Receipt>) -> Error {
        let Plan { partitions, .. } = self.plan;
        let missing: Vec<String> =
            (0..*partitions).filter(|p| !receipts.contains_key(p)).take(8).map(|p| p.to_string()).collect();
        let what = format!(
            "{}: {} of {partitions} partitions of run {} are done; missing {}",
            self.primary().name,
            receipts.len(),
            self.id,
            missing.join(", ")
        );
        Error::retry(what, "run the missing shards, then commit again").of_kind(Kind::Incomplete)
    }

    fn manifest(&self, output: usize, receipts: &BTreeMap<u32, Receipt>) -> Manifest {
        let (plan, about) = (self.plan, &self.plan.outputs[output]);
        let parts: Vec<Part> = receipts.values().filter_map(|r| r.parts[output].clone()).collect();
        let mut account = Account::default();
        receipts.values().for_each(|r| account.merge(&r.accounts[output]));
        Manifest {
            format: Manifest::FORMAT,
            dataset: about.dataset.clone(),
            table: about.table.clone(),
            table_version: about.table_version,
            version: about.next,
            created_at: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            fingerprint: plan.fingerprint.clone(),
            outputs: plan.outputs.iter().map(|output| (output.dataset.clone(), output.next)).collect(),
            nonce: format!("{:016x}", crate::random()),
            content: Manifest::content_of(&about.table, about.table_version, &parts),
            partitions: plan.partitions,
            rows: parts.iter().map(|p| p.rows).sum(),
            bytes: parts.iter().map(|p| p.bytes).sum(),
            unit: plan.unit.clone(),
            account,
            lineage: plan.lineage.clone(),
            ledger: receipts
                .values()
                .map(|r| Entry { key: r.key.clone(), account: r.accounts[output].clone() })
                .collect(),
            parts,
        }
    }

    fn check_bad_ratio(&self, manifests: &[Manifest]) -> Result<()> {
        for manifest in manifests {
            let (bad, total) = (manifest.account.bad(), manifest.account.input);
            let limit = self.plan.max_bad_ratio;
            if bad as f64 > limit * total as f64 {
                return Err(too_bad(&self.plan.lineage.job, &self.plan.unit, &manifest.account, total, limit, ""));
            }
        }
        Ok(())
    }

    /// Syncs the contents of all parts that receipts name. False when one is not there any more.
    fn sync(&self, receipts: &BTreeMap<u32, Receipt>) -> Result<bool> {
        let mut files = Vec::new();
        for receipt in receipts.values() {
            for (output, part) in receipt.parts.iter().enumerate() {
                let made = part.as_ref().filter(|part| !self.is_carried(output, part));
                files.extend(made.map(|part| self.places(output, part)));
            }
        }
        self.store.sync_files(&files)
    }

    /// Makes a shard's parts and receipts durable: it is about to report that they are done, and another machine may seal the run.
    pub(crate) fn sync_shard(&self, receipts: &BTreeMap<u32, Receipt>) -> Result<()> {
        let there = self.sync(receipts)?;
        let paths: Vec<Vec<String>> = receipts.keys().map(|partition| vec![self.receipt_path(*partition)]).collect();
        if !(there && self.store.sync_files(&paths)?) {
            self.check_open()?;
            return Err(self.incomplete(&self.receipts(receipts)?));
        }
        self.store.sync_folders((0..self.datasets.len()).map(|output| self.folder(output)))
    }

    /// Gives staged parts their final names, and syncs those. False when one is neither here nor there: another process has finished this run.
    fn place(&self, output: usize, manifest: &Manifest) -> Result<bool> {
        if !self.store.renames() {
            return Ok(true);
        }
        let dataset = &self.datasets[output].0;
        let mut folders = BTreeSet::new();
        for part in manifest.parts.iter().filter(|part| !self.is_carried(output, part)) {
            let (staged, placed) = (self.staged_at(output, part), dataset.path(&part.path));
            let moved = staged.map_or(Ok(false), |staged| self.store.rename(&staged, &placed))?;
            if !moved && !self.store.exists(&placed)? {
                return Ok(false);
            }
            folders.extend(placed.rsplit_once('/').map(|(folder, _)| folder.to_owned()));
            fault::point(fault::PLACED);
        }
        // The folders' own names too: in the dataset's folder, whose name is in the root.
        folders.extend([dataset.name().to_owned(), String::new()]);
        self.store.sync_folders(folders)?;
        Ok(true)
    }

    fn publish(&self, output: usize, contract: &Contract, manifest: Manifest) -> Result<Manifest> {
        let (dataset, head) = &self.datasets[output];
        if dataset.publish(contract, &manifest, head.current.as_ref())? {
            return Ok(manifest);
        }
        match dataset.version_at(manifest.version)? {
            Some(twin) if twin.fingerprint == manifest.fingerprint => Ok(twin),
            winner => Err(conflict(dataset, manifest.version, winner)),
        }
    }

    /// Deletes what the new versions supersede and the folder of this run; the primary output's last, whose receipts a killed commit is
    /// finished from.
    fn finish(&self, keep: usize) -> Result<()> {
        self.datasets.iter().try_for_each(|(dataset, _)| tidy(dataset, keep))?;
        clear(self.store, self.plan)
    }
}

fn conflict(dataset: &Dataset, version: u64, winner: Option<Manifest>) -> Error {
    let by = winner.map_or("a run that took this one for abandoned".into(), |m| format!("job {}", m.lineage.job));
    let what = format!(
        "{}: another run committed version {version} ({by}) while this one worked; nothing was overwritten",
        dataset.name
    );
    Error::retry(what, "run again: what this run finished is kept and will be reused").of_kind(Kind::Conflict)
}

/// Whether all versions are of one run.
fn same_run(all: &[Manifest], one: &Manifest) -> bool {
    all.iter().all(|m| m.outputs == one.outputs)
}

/// Datasets that one run writes, and the ends of their logs, between which no other run can still commit one output without the other.
///
/// Outputs are committed last to first. Where an output's version was made by a run that has not committed an output before it, that run was
/// broken off, or stalls: its commit is finished for it, for all that it takes has its place by then. Where that cannot be, as when its plan is
/// lost, its turn is taken from it by an empty entry: it could commit the next output after a third run has committed the first again, and leave
/// a pair that no run wrote.
pub(crate) fn settled_heads(store: &Store, names: &[&str], keep: usize) -> Result<Vec<(Dataset, Head)>> {
    // Between two entries of one commit lie milliseconds: a run that is at it is waited for.
    for wait in (0..PATIENCE).rev() {
        let datasets = heads(store, names.iter().copied())?;
        let mut open = None;
        for (later, (dataset, head)) in datasets.iter().enumerate() {
            for (_, earlier) in &datasets[later + 1..] {
                let Some(begun) = &earlier.current else { continue };
                if begun.outputs.get(&dataset.name).is_some_and(|turn| *turn >= head.next) {
                    open = Some((dataset, head.next, begun));
                }
            }
        }
        match open {
            None => return Ok(datasets),
            Some(_) if wait > 0 => std::thread::sleep(std::time::Duration::from_millis(20)),
            Some((dataset, next, begun)) => {
                if !finished_for(store, names, begun, keep)? {
                    dataset.fence(next)?;
                }
                return settled_heads(store, names, keep);
            }
        }
    }
    heads(store, names.iter().copied())
}

/// Finishes the commit of the run that made this version of one of its outputs. False when it cannot be finished.
fn finished_for(store: &Store, names: &[&str], begun: &Manifest, keep: usize) -> Result<bool> {
    let outputs = |plan: &Plan| plan.outputs.iter().map(|output| (output.dataset.clone(), output.next)).collect();
    let is_its = |plan: &Plan| plan.fingerprint == begun.fingerprint && begun.outputs == outputs(plan);
    let Some(plan) = runs(&Dataset::new(store, names[0]))?.into_iter().find(is_its) else { return Ok(false) };
    // A plan of another querent, with tables that this one does not know.
    let Ok(contracts) = contracts(&plan) else { return Ok(false) };
    let datasets = heads(store, plan.outputs.iter().map(|output| output.dataset.as_str()))?;
    match Run::new(store, &plan, &datasets).commit(&contracts, &BTreeMap::new(), keep) {
        Ok(_) => Ok(true),
        Err(e) if matches!(e.kind(), Kind::Incomplete) => Ok(false),
        // Its turn was taken from it meanwhile.
        Err(e) if matches!(e.kind(), Kind::Conflict) => Ok(true),
        Err(e) => Err(e),
    }
}

/// The tables of a run's outputs.
fn contracts(plan: &Plan) -> Result<Vec<Contract>> {
    let contract = |output: &Output| {
        let known = schemas::all().into_iter().find(|c| c.name == output.table && c.version == output.table_version);
        known.ok_or_else(|| {
            Error::unreadable(
                &output.dataset,
                format!("expected a table that this querent knows, got {}", output.table),
                "seal it with the querent that ran the shards",
            )
        })
    };
    plan.outputs.iter().map(contract).collect()
}

/// Too much was set aside. `example` says where the first one lies, as ` (first: file:line)`.
fn too_bad(job: &str, unit: &str, account: &Account, total: u64, limit: f64, example: &str) -> Error {
    let (bad, reasons) = (account.bad(), account::list(&account.quarantined));
    let what = format!("{job}: {bad} of {total} {unit} are unreadable ({reasons}), more than --max-bad-ratio {limit}");
    Error::new(Exit::Data, what, format!("mend the input{example}, or raise --max-bad-ratio"))
}

/// Seals a sharded run (`querent commit`): the named one, or the only one that is open. One that is sealed already stays as it is.
pub fn seal(store: &Store, dataset: &str, run: Option<&str>, keep: usize) -> Result<Vec<Manifest>> {
    let primary = Dataset::new(store, dataset);
    let mut plans: BTreeMap<Digest, Plan> = runs(&primary)?.into_iter().map(|plan| (plan.run(), plan)).collect();
    let head = primary.head()?;
    plans.retain(|_, plan| plan.outputs[0].next == head.next);
    let found = plans.keys().cloned().collect::<Vec<_>>().join(", ");
    let chosen = match run {
        Some(run) => plans.remove(run),
        None if plans.len() == 1 => plans.pop_first().map(|(_, plan)| plan),
        None => None,
    };
    let Some(plan) = chosen else {
        if let (None, true, Some(current)) = (run, found.is_empty(), head.current) {
            tidy(&primary, keep)?;
            return Ok(vec![current]);
        }
        let got = if found.is_empty() { "none".into() } else { found };
        let hint = "run the shards first (`--shard i/N`); with several runs name one by --run, or `querent gc`";
        return Err(Error::setting("--run", format!("one unsealed run of {dataset}"), got, hint));
    };
    let datasets = heads(store, plan.outputs.iter().map(|output| output.dataset.as_str()))?;
    Run::new(store, &plan, &datasets).commit(&contracts(&plan)?, &BTreeMap::new(), keep)
}

/// Datasets and the ends of their logs, read in the order in which they are committed: last to first.
pub(crate) fn heads<'a>(
    store: &Store,
    names: impl DoubleEndedIterator<Item = &'a str>,
) -> Result<Vec<(Dataset, Head)>> {
    let mut heads = Vec::new();
    for name in names.rev() {
        let dataset = Dataset::new(store, name);
        let head = dataset.head()?;
        heads.push((dataset, head));
    }
    heads.reverse();
    Ok(heads)
}
