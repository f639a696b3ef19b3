//! The runner: everything that stages do not know. It decides what is up to date, runs the rest partition by partition
//! within threads and memory, leaves a receipt for each, and commits.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use schemas::{Contract, Layout};
use serde_json::json;

use crate::account::Account;
use crate::commit::{self, Receipt, plan_path, receipt_path, valid_receipts};
use crate::fault;
use crate::input::Source;
use crate::manifest::{Dataset, Lineage, Manifest, Part, to_json};
use crate::memory::Budget;
use crate::plan::{Output, Plan, digest, recipe, why};
use crate::progress::{Progress, Style};
use crate::stage::{Outputs, Stage};
use crate::{Error, Result, Store, part};

/// Which partitions a process takes: those whose number leaves `index` when divided by `count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// This process, from 0.
    pub index: u32,
    /// Processes in all.
    pub count: u32,
}

impl std::str::FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::setting("--shard", "i/N with i from 0 below N", text, "for example 0/4, 1/4, 2/4, 3/4");
        let (index, count) = text.split_once('/').ok_or_else(wrong)?;
        let (index, count) = (index.parse().map_err(|_| wrong())?, count.parse().map_err(|_| wrong())?);
        if index < count { Ok(Shard { index, count }) } else { Err(wrong()) }
    }
}

/// How to run stages: where, with how much of the machine, and how carefully.
#[derive(Debug, Clone)]
pub struct Runner {
    /// The datasets' store.
    pub store: Store,
    /// Partitions in parallel.
    pub threads: usize,
    /// Bytes for the partitions in work together.
    pub memory_limit: u64,
    /// Only these partitions, and no commit.
    pub shard: Option<Shard>,
    /// Say what would run; write nothing.
    pub dry_run: bool,
    /// A larger share of quarantined units fails the run.
    pub max_bad_ratio: f64,
    /// How progress is shown.
    pub progress: Style,
    /// The program's git revision, for the lineage.
    pub git_revision: String,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to do.
    UpToDate,
    /// A dry run: it would run, and why.
    WouldRun(String),
    /// A new version is committed.
    Committed,
    /// This shard is done; `querent commit` seals the run once all are.
    ShardDone,
}

/// What a run did, for the job's summary.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The job.
    pub job: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What the account counts.
    pub unit: String,
    /// The primary output's account (this shard's, for shards).
    pub account: Account,
    /// Version, rows and bytes of each output.
    pub outputs: Vec<(String, u64, u64, u64)>,
    /// Partitions computed by this process.
    pub computed: u64,
    /// Partitions whose parts were reused from the version before, or whose receipts an earlier run left.
    pub reused: u64,
    /// Wall time.
    pub seconds: f64,
    /// Of it, preparing the source (ingest: reading raw files and regrouping their rows by bucket).
    pub preparing: f64,
}

/// What the runner cannot know of a run's origin.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// See [`Lineage::models`].
    pub models: BTreeMap<String, String>,
    /// See [`Lineage::seed`].
    pub seed: Option<u64>,
    /// See [`Lineage::remark`].
    pub remark: Option<String>,
}

impl Runner {
    /// Runs a stage over a source into the named datasets (primary first).
    pub fn run<S, I>(&self, stage: &S, source: &I, outputs: &[&str], origin: Origin) -> Result<Summary>
    where
        S: Stage,
        I: Source<Rows = S::Inputs>,
    {
        let started = Instant::now();
        let contracts = S::Outputs::contracts();
        let datasets: Vec<Dataset> = outputs.iter().map(|name| Dataset::new(&self.store, name)).collect();
        if !self.dry_run {
            // Whatever a killed commit left is finished first, so that a plain glob is right while this run works.
            datasets.iter().try_for_each(commit::tidy)?;
        }
        let current: Vec<Option<Manifest>> = datasets.iter().map(Dataset::current).collect::<Result<_>>()?;
        let mut plan = self.plan(stage, source, &datasets, &current, &contracts, origin)?;
        for manifest in current.iter().flatten() {
            check_key(manifest, plan.lineage.user_key_check.as_deref())?;
        }
        let mut summary = Summary {
            job: S::NAME.into(),
            outcome: Outcome::UpToDate,
            unit: S::UNIT.into(),
            account: Account::default(),
            outputs: Vec::new(),
            computed: 0,
            reused: 0,
            seconds: 0.0,
            preparing: 0.0,
        };
        let stale = current.iter().find(|m| m.as_ref().is_none_or(|m| m.fingerprint != plan.fingerprint));
        let manifests = match stale {
            Some(stale) if self.dry_run => {
                summary.outcome = Outcome::WouldRun(why(&plan, stale.as_ref()));
                current.into_iter().flatten().collect()
            }
            Some(_) => {
                let preparing = Instant::now();
                let receipts = self.prepare(&mut plan, source, &datasets)?;
                summary.preparing = preparing.elapsed().as_secs_f64();
                let work = Work { runner: self, plan: &plan, datasets: &datasets, contracts: &contracts };
                (summary.computed, summary.reused, summary.account) =
                    work.partitions(stage, source, &current, &receipts)?;
                if self.shard.is_some() {
                    summary.outcome = Outcome::ShardDone;
                    Vec::new()
                } else {
                    summary.outcome = Outcome::Committed;
                    commit::commit(&self.store, &plan)?
                }
            }
            None => current.into_iter().flatten().collect(),
        };
        if let Some(primary) = manifests.first() {
            summary.account = primary.account.clone();
        }
        summary.outputs = manifests.into_iter().map(|m| (m.dataset, m.version, m.rows, m.bytes)).collect();
        summary.seconds = started.elapsed().as_secs_f64();
        Ok(summary)
    }

    fn plan<S, I>(
        &self,
        stage: &S,
        source: &I,
        datasets: &[Dataset],
        current: &[Option<Manifest>],
        contracts: &[Contract],
        origin: Origin,
    ) -> Result<Plan>
    where
        S: Stage,
        I: Source<Rows = S::Inputs>,
    {
        let partitions = source.partitions();
        let settings = serde_json::to_value(stage)
            .map_err(|e| Error::setting(S::NAME, "settings that can be written down", e, "report this as a bug"))?;
        let lineage = Lineage {
            job: S::NAME.into(),
            stage_version: S::VERSION,
            settings,
            inputs: source.inputs(),
            models: origin.models,
            user_key_check: source.user_key_check().map(str::to_owned),
            git_revision: self.git_revision.clone(),
            seed: origin.seed,
            raw_files: source.raw_files(),
            remark: origin.remark,
        };
        let contents: BTreeMap<_, _> = lineage.inputs.iter().map(|(name, i)| (name, &i.content)).collect();
        let outputs: Vec<Output> = datasets
            .iter()
            .zip(contracts)
            .zip(current)
            .map(|((dataset, contract), current)| Output {
                dataset: dataset.name().to_owned(),
                table: contract.name.into(),
                table_version: contract.version,
                base: current.as_ref().map_or(0, |m| m.version),
            })
            .collect();
        if let Some((output, winner)) = outputs.iter().zip(current).find_map(|(output, current)| {
            let carried = source.carries(&output.dataset)?;
            current.as_ref().filter(|m| m.version != carried).map(|m| (output, m))
        }) {
            return Err(Error::Conflict {
                dataset: output.dataset.clone(),
                version: winner.version,
                job: winner.lineage.job.clone(),
            });
        }
        let names: Vec<_> = outputs.iter().map(|o| (&o.dataset, &o.table, o.table_version)).collect();
        let fingerprint = digest(&json!([recipe(&lineage, partitions), contents, names]));
        Ok(Plan { fingerprint, partitions, unit: S::UNIT.into(), outputs, lineage, max_bad_ratio: self.max_bad_ratio })
    }
}

impl Runner {
    /// Reads what earlier attempts of this run left, and prepares the source if anything remains to be done.
    ///
    /// The plan on disk is the one that is committed: a resumed run no longer knows what preparing the source told the
    /// first attempt. It is written before any receipt is.
    fn prepare<I: Source>(&self, plan: &mut Plan, source: &I, datasets: &[Dataset]) -> Result<BTreeMap<u32, Receipt>> {
        let path = plan_path(&datasets[0], &plan.fingerprint);
        let written: Option<Plan> = self.store.get(&path)?.and_then(|json| serde_json::from_slice(&json).ok());
        let receipts = match &written {
            Some(_) => valid_receipts(&self.store, datasets, plan, |p| self.takes(p))?,
            None => BTreeMap::new(),
        };
        if (0..plan.partitions).any(|p| self.takes(p) && !receipts.contains_key(&p)) {
            source.prepare()?;
            plan.lineage.raw_files = source.raw_files();
            self.store.put(&path, to_json(plan))?;
        } else if let Some(written) = written {
            plan.lineage = written.lineage;
            // A run that was resumed is based on what it found then.
            self.store.put(&path, to_json(plan))?;
        }
        Ok(receipts)
    }

    /// Whether this process works on a partition.
    pub fn takes(&self, partition: u32) -> bool {
        self.shard.is_none_or(|s| partition % s.count == s.index)
    }
}

fn check_key(manifest: &Manifest, expected: Option<&str>) -> Result<()> {
    match (manifest.lineage.user_key_check.as_deref(), expected) {
        (Some(got), Some(expected)) if got != expected => {
            Err(Error::OtherKey { dataset: manifest.dataset.clone(), expected: expected.into(), got: got.into() })
        }
        _ => Ok(()),
    }
}

/// One run's work: its plan and where its outputs go.
struct Work<'a> {
    runner: &'a Runner,
    plan: &'a Plan,
    datasets: &'a [Dataset],
    contracts: &'a [Contract],
}

impl Work<'_> {
    /// Runs, reuses or resumes every partition of this shard. Returns how many were computed and reused, and the
    /// account of all.
    fn partitions<S, I>(
        &self,
        stage: &S,
        source: &I,
        current: &[Option<Manifest>],
        receipts: &BTreeMap<u32, Receipt>,
    ) -> Result<(u64, u64, Account)>
    where
        S: Stage,
        I: Source<Rows = S::Inputs>,
    {
        let (runner, plan) = (self.runner, self.plan);
        let mine = |p: &u32| runner.takes(*p);
        let todo: Vec<u32> = (0..plan.partitions).filter(mine).filter(|p| !receipts.contains_key(p)).collect();
        for partition in &todo {
            let need = stage.memory_bytes(source.memory_bytes(*partition));
            if need > runner.memory_limit {
                return Err(Error::Memory {
                    job: S::NAME.into(),
                    partition: *partition,
                    need: need >> 20,
                    limit: runner.memory_limit >> 20,
                });
            }
        }

        let account = Mutex::new(Account::default());
        receipts.values().filter(|r| mine(&r.partition)).for_each(|r| {
            account.lock().unwrap_or_else(PoisonError::into_inner).merge(&r.accounts[0]);
        });
        let resumed = receipts.keys().filter(|p| mine(p)).count() as u64;
        let (computed, reused) = (AtomicU64::new(0), AtomicU64::new(resumed));
        let progress = Progress::new(S::NAME, S::UNIT, todo.len() as u64, runner.progress);
        let budget = Budget::new(runner.memory_limit);
        let next = AtomicUsize::new(0);
        let failed: Mutex<Option<Error>> = Mutex::new(None);
        let one = |partition: u32| -> Result<()> {
            let key = digest(&json!([recipe(&plan.lineage, plan.partitions), source.key(partition), partition]));
            let receipt = match reusable(current, plan, partition, &key) {
                Some(receipt) => {
                    reused.fetch_add(1, Ordering::Relaxed);
                    receipt
                }
                None => {
                    let _loan = budget.borrow(stage.memory_bytes(source.memory_bytes(partition)));
                    computed.fetch_add(1, Ordering::Relaxed);
                    self.compute(stage, source, partition, key)?
                }
            };
            self.leave(&receipt)?;
            progress.step(receipt.accounts[0].input);
            account.lock().unwrap_or_else(PoisonError::into_inner).merge(&receipt.accounts[0]);
            Ok(())
        };
        std::thread::scope(|scope| {
            for _ in 0..runner.threads.min(todo.len()).max(1) {
                scope.spawn(|| {
                    while let Some(partition) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Err(e) = one(*partition) {
                            // The others stop at their next partition; the first error is the one reported.
                            next.store(todo.len(), Ordering::Relaxed);
                            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
                        }
                    }
                });
            }
        });
        if let Some(e) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(e);
        }
        let account = account.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok((computed.into_inner(), reused.into_inner(), account))
    }

    fn compute<S, I>(&self, stage: &S, source: &I, partition: u32, key: String) -> Result<Receipt>
    where
        S: Stage,
        I: Source<Rows = S::Inputs>,
    {
        let done = stage.run(partition, source.read(partition)?)?;
        let mut receipt = Receipt { partition, key, parts: Vec::new(), accounts: done.accounts };
        for (index, batches) in done.outputs.into_batches().into_iter().enumerate() {
            let (dataset, contract) = (&self.datasets[index], &self.contracts[index]);
            let rows: u64 = batches.iter().map(|b| b.num_rows() as u64).sum();
            if receipt.accounts.len() <= index {
                receipt.accounts.push(Account::all(rows));
            }
            let account = &receipt.accounts[index];
            if account.input != account.accounted() {
                return Err(Error::Unbalanced {
                    job: S::NAME.into(),
                    partition,
                    unit: S::UNIT.into(),
                    input: account.input,
                    output: account.accounted(),
                });
            }
            // Partition 0 always has a part, so that a dataset without rows still opens with its columns.
            if rows == 0 && partition > 0 {
                receipt.parts.push(None);
                continue;
            }
            let file = part::encode(contract, &batches)?;
            let name = format!("{partition:04}-{:016x}", attempt());
            let part = Part {
                partition,
                path: match contract.layout {
                    Layout::Users => format!("bucket={partition:04}/{name}.parquet"),
                    Layout::Parts => format!("{name}.parquet"),
                },
                staged: format!("_staged/{}/{name}.staged", self.plan.fingerprint),
                rows,
                bytes: file.len() as u64,
                memory_bytes: batches.iter().map(|b| b.get_array_memory_size() as u64).sum(),
                blake3: blake3::hash(&file).to_hex().to_string(),
            };
            self.runner.store.put(&dataset.path(&part.staged), file.into())?;
            fault::point(fault::STAGED);
            receipt.parts.push(Some(part));
        }
        Ok(receipt)
    }

    /// Leaves the receipt; when another process left one first, its parts stand and ours are deleted.
    fn leave(&self, receipt: &Receipt) -> Result<()> {
        let store = &self.runner.store;
        let path = receipt_path(&self.datasets[0], &self.plan.fingerprint, receipt.partition);
        if !store.create(&path, to_json(receipt))? {
            // A reused part was staged by another run, perhaps still is, and is not ours to delete.
            let ours = format!("_staged/{}/", self.plan.fingerprint);
            for (dataset, part) in self.datasets.iter().zip(&receipt.parts) {
                if let Some(part) = part.as_ref().filter(|part| part.staged.starts_with(&ours)) {
                    store.delete(&dataset.path(&part.staged))?;
                }
            }
        }
        fault::point(fault::RECEIPT);
        Ok(())
    }
}

/// The receipt of a partition that the current version of every output has under the same key.
fn reusable(current: &[Option<Manifest>], plan: &Plan, partition: u32, key: &str) -> Option<Receipt> {
    let mut receipt = Receipt { partition, key: key.to_owned(), parts: Vec::new(), accounts: Vec::new() };
    for (manifest, output) in current.iter().zip(&plan.outputs) {
        let manifest = manifest.as_ref().filter(|m| {
            m.partitions == plan.partitions && m.table == output.table && m.table_version == output.table_version
        })?;
        let entry = manifest.ledger.get(partition as usize).filter(|e| e.key == key)?;
        receipt.parts.push(manifest.part(partition).cloned());
        receipt.accounts.push(entry.account.clone());
    }
    Some(receipt)
}

/// A number that no other attempt has.
fn attempt() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}
