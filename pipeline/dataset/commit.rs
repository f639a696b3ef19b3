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
//! **The law of deletion.** A part may be deleted when the current version does not name it and the log has the entry that the part's
//! run was to create (its name says which). Such a part never comes back: version 12 takes parts from version 11 and from runs that
//! were to create entry 12, and from nowhere else. So whoever deletes may have read the log or a listing long ago.
//!
//! `model.rs` is this protocol as a state machine, checked over all interleavings of writers, gc and readers with crashes.

use std::collections::{BTreeMap, BTreeSet};

use schemas::Contract;
use serde::{Deserialize, Serialize};

use crate::account::{self, Account};
use crate::fault;
use crate::log::{Dataset, Head};
use crate::manifest::{Entry, Manifest, Part, PartName};
use crate::part::check_bytes;
use crate::plan::{Digest, Plan};
use crate::{Error, Exit, Kind, Result, Store};

/// The folder of unfinished runs within a dataset's.
pub(crate) const RUNS: &str = "_runs";
pub(crate) const PLAN: &str = "plan.json";

/// How often a commit that is half done is looked at before it is taken for abandoned.
const PATIENCE: u32 = 50;

/// Partition done: its key, and per output its part (none when it has no rows) and account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) partition: u32,
    pub(crate) key: Digest,
    pub(crate) parts: Vec<Option<Part>>,
    pub(crate) accounts: Vec<Account>,
}

/// A run's folder, and what it knows of the datasets that it writes.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) store: &'a Store,
    pub(crate) plan: &'a Plan,
    pub(crate) datasets: &'a [(Dataset, Head)],
    id: Digest,
}

impl<'a> Run<'a> {
    pub(crate) fn new(store: &'a Store, plan: &'a Plan, datasets: &'a [(Dataset, Head)]) -> Self {
        Run { store, plan, datasets, id: plan.run() }
    }

    fn primary(&self) -> &Dataset {
        &self.datasets[0].0
    }

    /// A file in the run's folder.
    pub(crate) fn path(&self, file: &str) -> String {
        self.primary().path(&format!("{RUNS}/{}/{file}", self.id))
    }

    fn receipt_path(&self, partition: u32) -> String {
        self.path(&format!("{partition:04}.json"))
    }

    /// The plan that an earlier attempt wrote, if it can be read.
    pub(crate) fn written_plan(&self) -> Result<Option<Plan>> {
        Ok(self.store.get(&self.path(PLAN))?.and_then(|json| serde_json::from_slice(&json).ok()))
    }

    pub(crate) fn write_plan(&self) -> Result<()> {
        self.store.put(&self.path(PLAN), to_json(self.plan))
    }

    /// A new part of an output: where its content goes, and the name that it will have.
    pub(crate) fn new_part(&self, output: usize, partition: u32, layout: schemas::Layout) -> (String, String) {
        let name = PartName { partition, base: self.plan.outputs[output].next, attempt: crate::random() };
        (self.written_at(output, name, layout), name.path(layout))
    }

    /// Where a part of this run is written.
    fn written_at(&self, output: usize, name: PartName, layout: schemas::Layout) -> String {
        let dataset = &self.datasets[output].0;
        match self.store.renames() {
            true => dataset.path(&format!("{RUNS}/{}/{}", self.id, name.staged())),
            false => dataset.path(&name.path(layout)),
        }
    }

    /// Where a part of this run lies until the commit.
    pub(crate) fn staged_at(&self, output: usize, part: &Part) -> Option<String> {
        let name = PartName::parse(&part.path).filter(|_| self.store.renames())?;
        Some(self.datasets[output].0.path(&format!("{RUNS}/{}/{}", self.id, name.staged())))
    }

    /// Where a part of this run may lie: a commit that was killed has moved some.
    fn places(&self, output: usize, part: &Part) -> Vec<String> {
        let placed = self.datasets[output].0.path(&part.path);
        self.staged_at(output, part).into_iter().chain([placed]).collect()
    }

    /// Whether the version that this run is based on has the part.
    fn is_carried(&self, output: usize, part: &Part) -> bool {
        let current = self.datasets[output].1.current.as_ref();
        current.is_some_and(|m| m.part(part.partition) == Some(part))
    }

    /// Whether the part is one that this run may commit, and is there. `whole`: its content is checked too.
    fn is_there(&self, output: usize, part: &Part, whole: bool) -> Result<bool> {
        if self.is_carried(output, part) {
            return Ok(true);
        }
        // A part of another run may be deleted at any time.
        let ours = PartName::parse(&part.path).is_some_and(|name| name.base == self.plan.outputs[output].next);
        if !ours {
            return Ok(false);
        }
        for place in self.places(output, part) {
            match whole {
                false if self.store.exists(&place)? => return Ok(true),
                true if self.store.get(&place)?.is_some_and(|bytes| check_bytes(part, &bytes).is_ok()) => {
                    return Ok(true);
                }
                _ => {}
            }
        }
        Ok(false)
    }

    fn is_valid(&self, receipt: &Receipt, partition: u32, whole: bool) -> Result<bool> {
        let shape = receipt.partition == partition
            && partition < self.plan.partitions
            && receipt.parts.len() == self.plan.outputs.len()
            && receipt.accounts.len() == self.plan.outputs.len()
            && receipt.parts.iter().flatten().all(|part| part.partition == partition);
        for (output, part) in receipt.parts.iter().enumerate().filter(|_| shape) {
            if let Some(part) = part
                && !self.is_there(output, part, whole)?
            {
                return Ok(false);
            }
        }
        Ok(shape)
    }

    /// The receipts of this run that hold. What cannot be read, or names a part that is not there, does not count. Those in `seen` were
    /// checked before, to the last byte; another one in the place of one of them was not.
    pub(crate) fn receipts(&self, seen: &BTreeMap<u32, Receipt>) -> Result<BTreeMap<u32, Receipt>> {
        let mut receipts = BTreeMap::new();
        for partition in 0..self.plan.partitions {
            let Some(receipt) = self.receipt(partition)? else { continue };
            if self.is_valid(&receipt, partition, seen.get(&partition) != Some(&receipt))? {
                receipts.insert(partition, receipt);
            }
        }
        Ok(receipts)
    }

    fn receipt(&self, partition: u32) -> Result<Option<Receipt>> {
        Ok(self.store.get(&self.receipt_path(partition))?.and_then(|json| serde_json::from_slice(&json).ok()))
    }

    /// Leaves a receipt; when another process left one first that holds, its parts stand and ours are deleted.
    ///
    /// # Errors
    /// Also when the run is over: rather now than after days of work.
    pub(crate) fn leave(&self, receipt: &Receipt) -> Result<()> {
        self.check_open()?;
        let path = self.receipt_path(receipt.partition);
        if !self.store.create_unsynced(&path, to_json(receipt))? {
            let first = self.receipt(receipt.partition)?;
            match first {
                Some(first) if self.is_valid(&first, receipt.partition, true)? => {
                    for (output, part) in receipt.parts.iter().enumerate() {
                        let Some(part) = part.as_ref().filter(|part| !self.is_carried(output, part)) else { continue };
                        if first.parts[output].as_ref() != Some(part) {
                            let placed = self.datasets[output].0.path(&part.path);
                            self.store.delete(&self.staged_at(output, part).unwrap_or(placed))?;
                        }
                    }
                }
                // A loss of power cut it short, or its part is gone.
                _ => self.store.put_unsynced(&path, to_json(receipt))?,
            }
        }
        fault::point(fault::RECEIPT);
        Ok(())
    }

    /// What earlier runs that are over finished of the same: their parts get a second name, under which they are ours.
    pub(crate) fn adopt(
        &self,
        contracts: &[Contract],
        missing: impl Fn(u32) -> bool,
    ) -> Result<BTreeMap<u32, Receipt>> {
        let mut adopted = BTreeMap::new();
        for plan in runs(self.primary())? {
            let same = plan.fingerprint == self.plan.fingerprint && plan.outputs.len() == self.plan.outputs.len();
            if !same || plan.run() == self.id {
                continue;
            }
            let earlier = Run { store: self.store, plan: &plan, datasets: self.datasets, id: plan.run() };
            for partition in (0..self.plan.partitions).filter(|p| missing(*p)) {
                if adopted.contains_key(&partition) {
                    continue;
                }
                if let Some(receipt) = earlier.receipt(partition)?
                    && let Some(receipt) = self.adopt_one(&earlier, contracts, receipt)?
                {
                    self.leave(&receipt)?;
                    adopted.insert(partition, receipt);
                }
            }
        }
        Ok(adopted)
    }

    fn adopt_one(&self, earlier: &Run<'_>, contracts: &[Contract], mut receipt: Receipt) -> Result<Option<Receipt>> {
        if receipt.parts.len() != contracts.len() || receipt.accounts.len() != contracts.len() {
            return Ok(None);
        }
        for (output, contract) in contracts.iter().enumerate() {
            let Some(part) = receipt.parts[output].clone().filter(|part| !self.is_carried(output, part)) else {
                continue;
            };
            let (written, path) = self.new_part(output, part.partition, contract.layout);
            let mut copied = false;
            for from in earlier.places(output, &part) {
                copied = copied || self.store.copy(&from, &written)?;
            }
            let whole = copied && self.store.get(&written)?.is_some_and(|bytes| check_bytes(&part, &bytes).is_ok());
            if !whole {
                self.store.delete(&written)?;
                return Ok(None);
            }
            receipt.parts[output] = Some(Part { path, ..part });
        }
        Ok(Some(receipt))
    }

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
    fn check_open(&self) -> Result<()> {
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
        self.store.sync_folders(self.datasets.iter().map(|(dataset, _)| dataset.path(&format!("{RUNS}/{}", self.id))))
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
/// Outputs are committed last to first. A run that has committed one and stalled could commit the next after a third run has committed the
/// first again, and leave a pair that no run wrote. So where an output's version was made by a run that has not committed an output
/// before it, that run's turn is taken from it by an empty entry.
pub(crate) fn settled_heads(store: &Store, names: &[&str]) -> Result<Vec<(Dataset, Head)>> {
    // Between two entries of one commit lie milliseconds: a run that is at it is waited for.
    for wait in (0..PATIENCE).rev() {
        let datasets = heads(store, names.iter().copied())?;
        let mut open = None;
        for (later, (dataset, head)) in datasets.iter().enumerate() {
            for (_, earlier) in &datasets[later + 1..] {
                let turn = earlier.current.as_ref().and_then(|m| m.outputs.get(&dataset.name));
                if turn.is_some_and(|turn| *turn >= head.next) {
                    open = Some((dataset, head.next));
                }
            }
        }
        match open {
            None => return Ok(datasets),
            Some(_) if wait > 0 => std::thread::sleep(std::time::Duration::from_millis(20)),
            Some((dataset, next)) => {
                dataset.fence(next)?;
                return settled_heads(store, names);
            }
        }
    }
    heads(store, names.iter().copied())
}

/// Too much was set aside. `example` says where the first one lies, as ` (first: file:line)`.
fn too_bad(job: &str, unit: &str, account: &Account, total: u64, limit: f64, example: &str) -> Error {
    let (bad, reasons) = (account.bad(), account::list(&account.quarantined));
    let what = format!("{job}: {bad} of {total} {unit} are unreadable ({reasons}), more than --max-bad-ratio {limit}");
    Error::new(Exit::Data, what, format!("mend the input{example}, or raise --max-bad-ratio"))
}

/// Deletes what a finished or killed commit left: superseded parts, by the law of deletion, and the folders of runs whose version is
/// there. `keep` versions before the current one keep their parts. Runs that knew of fewer erased people go too, whatever they were to make.
pub(crate) fn tidy(dataset: &Dataset, keep: usize) -> Result<()> {
    let Head { next, current: Some(current) } = dataset.head()? else { return Ok(()) };
    dataset.sync()?;
    fault::point(fault::SUPERSEDED);
    superseded(dataset, keep)?.iter().try_for_each(|path| dataset.store.delete(path))?;
    for plan in runs(dataset)? {
        let done = plan.fingerprint == current.fingerprint;
        if (done || plan.lineage.erased < current.lineage.erased) && plan.outputs[0].next < next {
            clear(&dataset.store, &plan)?;
        }
    }
    Ok(())
}

/// The parts that may be deleted, by the law of deletion; those of the current version and of `keep` versions before it are none. A version
/// that knew of fewer erased people is not kept.
pub(crate) fn superseded(dataset: &Dataset, keep: usize) -> Result<Vec<String>> {
    let Head { next, current: Some(current) } = dataset.head()? else { return Ok(Vec::new()) };
    let mut named: BTreeSet<String> = current.parts.iter().map(|part| part.path.clone()).collect();
    if keep > 0 {
        let versions = dataset.versions()?;
        for version in versions.iter().rev().skip(1).take(keep) {
            let kept = dataset.manifest(*version)?;
            if kept.lineage.erased >= current.lineage.erased {
                named.extend(kept.parts.into_iter().map(|part| part.path));
            }
        }
    }
    let parts = dataset.part_files()?.into_iter();
    let superseded = parts.filter(|(path, name)| name.base < next && !named.contains(path));
    Ok(superseded.map(|(path, _)| dataset.path(&path)).collect())
}

/// Deletes the folders of a run, its plan last: as long as that is there, somebody will finish this.
fn clear(store: &Store, plan: &Plan) -> Result<()> {
    let folder = |output: &crate::plan::Output| format!("{}/{RUNS}/{}", output.dataset, plan.run());
    for output in plan.outputs.iter().rev() {
        for file in store.list(&folder(output))?.iter().filter(|file| file.name() != PLAN) {
            store.delete(&file.path)?;
        }
    }
    store.delete(&format!("{}/{PLAN}", folder(&plan.outputs[0])))?;
    plan.outputs.iter().try_for_each(|output| store.clear(&folder(output)))
}

/// The plans of a dataset's unfinished runs, those that can be read and lie where they should.
pub(crate) fn runs(dataset: &Dataset) -> Result<Vec<Plan>> {
    let prefix = dataset.path(&format!("{RUNS}/"));
    let mut plans = Vec::new();
    for file in dataset.store.list(&dataset.path(RUNS))?.iter().filter(|file| file.name() == PLAN) {
        let json = dataset.store.get(&file.path)?;
        let plan = json.and_then(|json| serde_json::from_slice::<Plan>(&json).ok());
        let here = |plan: &Plan| !plan.outputs.is_empty() && file.path == format!("{prefix}{}/{PLAN}", plan.run());
        plans.extend(plan.filter(here));
    }
    Ok(plans)
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
    let contracts: Vec<Contract> = plan
        .outputs
        .iter()
        .map(|output| {
            let known =
                schemas::all().into_iter().find(|c| c.name == output.table && c.version == output.table_version);
            known.ok_or_else(|| {
                Error::unreadable(
                    &output.dataset,
                    format!("expected a table that this querent knows, got {}", output.table),
                    "seal it with the querent that ran the shards",
                )
            })
        })
        .collect::<Result<_>>()?;
    let datasets = heads(store, plan.outputs.iter().map(|output| output.dataset.as_str()))?;
    Run::new(store, &plan, &datasets).commit(&contracts, &BTreeMap::new(), keep)
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

/// Pretty JSON with a final newline.
pub(crate) fn to_json(value: &impl Serialize) -> bytes::Bytes {
    let mut json = serde_json::to_vec_pretty(value).expect("our own types have string keys only");
    json.push(b'\n');
    json.into()
}
