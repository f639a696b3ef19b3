//! A run's folder, until its version is there: the plan, the parts that are made, and a receipt for each partition that is done.
//!
//! ```text
//! DATASET/_runs/RUN/plan.json      what is to be made
//!                   0007.json      receipt: partition 7 is done, and which parts it made
//!                   …              the parts, on a disk; in an object store they have their final names from the start
//! ```
//!
//! Nothing in it need be durable before the commit (`commit.rs`), so nothing in it is believed: a part counts when its size and digest are those
//! that its receipt names.

use std::collections::BTreeMap;

use schemas::Contract;
use serde::{Deserialize, Serialize};

use crate::account::Account;
use crate::fault;
use crate::log::{Dataset, Head};
use crate::manifest::{Part, PartName};
use crate::part::check_bytes;
use crate::plan::{Digest, Plan};
use crate::{Result, Store};

/// The folder of unfinished runs within a dataset's.
pub(crate) const RUNS: &str = "_runs";
pub(crate) const PLAN: &str = "plan.json";

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
    pub(crate) id: Digest,
}

/// The folder of a run in a dataset's.
pub(crate) fn folder(dataset: &str, run: &Digest) -> String {
    format!("{dataset}/{RUNS}/{run}")
}

impl<'a> Run<'a> {
    pub(crate) fn new(store: &'a Store, plan: &'a Plan, datasets: &'a [(Dataset, Head)]) -> Self {
        Run { store, plan, datasets, id: plan.run() }
    }

    pub(crate) fn primary(&self) -> &Dataset {
        &self.datasets[0].0
    }

    /// The run's folder in the dataset of an output.
    pub(crate) fn folder(&self, output: usize) -> String {
        folder(&self.datasets[output].0.name, &self.id)
    }

    /// A file in the run's folder, which is that of the primary output.
    pub(crate) fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.folder(0))
    }

    pub(crate) fn receipt_path(&self, partition: u32) -> String {
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
        match self.store.renames() {
            true => format!("{}/{}", self.folder(output), name.staged()),
            false => self.datasets[output].0.path(&name.path(layout)),
        }
    }

    /// Where a part of this run lies until the commit.
    pub(crate) fn staged_at(&self, output: usize, part: &Part) -> Option<String> {
        let name = PartName::parse(&part.path).filter(|_| self.store.renames())?;
        Some(format!("{}/{}", self.folder(output), name.staged()))
    }

    /// Where a part of this run may lie: a commit that was killed has moved some.
    pub(crate) fn places(&self, output: usize, part: &Part) -> Vec<String> {
        let placed = self.datasets[output].0.path(&part.path);
        self.staged_at(output, part).into_iter().chain([placed]).collect()
    }

    /// Whether the version that this run is based on has the part.
    pub(crate) fn is_carried(&self, output: usize, part: &Part) -> bool {
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
        self.receipts_of(0..self.plan.partitions, seen)
    }

    /// The same of some partitions: the parts of others are not read.
    pub(crate) fn receipts_of(
        &self,
        partitions: impl IntoIterator<Item = u32>,
        seen: &BTreeMap<u32, Receipt>,
    ) -> Result<BTreeMap<u32, Receipt>> {
        let mut receipts = BTreeMap::new();
        for partition in partitions {
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

    /// Leaves a receipt, and returns the one that stands: when another process left one first that holds, its parts stand and ours are deleted.
    ///
    /// # Errors
    /// Also when the run is over: rather now than after days of work.
    pub(crate) fn leave(&self, receipt: Receipt) -> Result<Receipt> {
        self.check_open()?;
        let path = self.receipt_path(receipt.partition);
        if !self.store.create_unsynced(&path, to_json(&receipt))? {
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
                    return Ok(first);
                }
                // A loss of power cut it short, or its part is gone.
                _ => self.store.put_unsynced(&path, to_json(&receipt))?,
            }
        }
        fault::point(fault::RECEIPT);
        Ok(receipt)
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
                    adopted.insert(partition, self.leave(receipt)?);
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
}

/// The plans of a dataset's unfinished runs, those that can be read and lie where they should.
pub(crate) fn runs(dataset: &Dataset) -> Result<Vec<Plan>> {
    let mut plans = Vec::new();
    for file in dataset.store.list(&dataset.path(RUNS))?.iter().filter(|file| file.name() == PLAN) {
        let json = dataset.store.get(&file.path)?;
        let plan = json.and_then(|json| serde_json::from_slice::<Plan>(&json).ok());
        let at = |plan: &Plan| format!("{}/{PLAN}", folder(&dataset.name, &plan.run()));
        let here = |plan: &Plan| !plan.outputs.is_empty() && file.path == at(plan);
        plans.extend(plan.filter(here));
    }
    Ok(plans)
}

/// Pretty JSON with a final newline.
pub(crate) fn to_json(value: &impl Serialize) -> bytes::Bytes {
    let mut json = serde_json::to_vec_pretty(value).expect("our own types have string keys only");
    json.push(b'\n');
    json.into()
}
