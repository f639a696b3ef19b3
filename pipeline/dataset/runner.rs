//! The runner: everything that stages do not know. It decides what is up to date, runs the rest partition by partition
//! within threads and memory, leaves a receipt for each, and commits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use schemas::Contract;
use serde_json::{Value, json};

use crate::account::Account;
use crate::commit::{heads, settled_heads};
use crate::fault;
use crate::inputs::{Declared, Inputs, other_key};
use crate::log::{Dataset, Head};
use crate::manifest::{Manifest, Part};
use crate::memory::Budget;
use crate::parallel::in_parallel;
use crate::plan::{Digest, Output, Plan, digest, recipe, why};
use crate::progress::{Progress, Style};
use crate::receipts::{Receipt, Run};
use crate::regroup::{self, Regrouped, Spill};
use crate::settings::written_down;
use crate::stage::{Done, Outputs, Stage};
use crate::stale::Standing;
use crate::tidy::tidy;
use crate::{Error, KeySource, Result, Store, part};

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

/// What of the machine a run may use.
#[derive(Debug, Clone)]
pub struct Resources {
    /// The datasets' store.
    pub store: Store,
    /// Partitions in parallel.
    pub threads: usize,
    /// Bytes for the partitions in work together.
    pub memory_limit: u64,
    /// How progress is shown.
    pub progress: Style,
    /// A larger share of quarantined units fails the run.
    pub max_bad_ratio: f64,
    /// Where the key of user ids comes from.
    pub user_key: KeySource,
}

/// How to run stages: where, with how much of the machine, and how carefully.
#[derive(Debug, Clone)]
pub struct Runner {
    /// Where, and with what.
    pub resources: Resources,
    /// Only these partitions, and no commit.
    pub shard: Option<Shard>,
    /// Say what would run; write nothing.
    pub dry_run: bool,
    /// Versions before the current one that keep their parts.
    pub keep_versions: usize,
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
    /// The job, with the step's name where it has one.
    pub job: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What the account counts.
    pub unit: String,
    /// The primary output's account (this shard's, for shards).
    pub account: Account,
    /// The outputs' versions.
    pub outputs: Vec<Written>,
    /// Partitions computed by this process.
    pub computed: u64,
    /// Partitions whose parts were reused from the version before, or whose receipts an earlier run left.
    pub reused: u64,
    /// Wall time.
    pub seconds: f64,
    /// Of it, regrouping rows (ingest: reading raw files).
    pub regrouping: f64,
    /// What the stage says of how it went, if it ran.
    pub said: Option<String>,
}

/// A version that a run made or found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The dataset.
    pub dataset: String,
    /// Its version.
    pub version: u64,
    /// Its rows.
    pub rows: u64,
    /// Its bytes on disk.
    pub bytes: u64,
}

impl Summary {
    /// What making an artifact did.
    pub fn artifact(job: &str, outcome: Outcome, seconds: f64) -> Self {
        Summary {
            job: job.into(),
            outcome,
            unit: String::new(),
            account: Account::default(),
            outputs: Vec::new(),
            computed: 0,
            reused: 0,
            seconds,
            regrouping: 0.0,
            said: None,
        }
    }

    /// Whether the outputs are there as they should be: made now, or found up to date.
    pub fn is_complete(&self) -> bool {
        matches!(self.outcome, Outcome::UpToDate | Outcome::Committed)
    }
}

impl Runner {
    /// The datasets' store.
    pub fn store(&self) -> &Store {
        &self.resources.store
    }

    /// The same runner, for a stage that is too small to be sharded: every process makes it whole, and the first one wins.
    pub fn unsharded(&self) -> Self {
        Runner { shard: None, ..self.clone() }
    }

    /// Brings the named datasets (primary first) up to date: runs what of the stage has to be run.
    pub fn run<S: Stage>(&self, stage: &S, outputs: &[&str]) -> Result<Summary> {
        let started = Instant::now();
        let contracts = S::Outputs::contracts();
        let store = self.store();
        let datasets = match self.dry_run {
            true => heads(store, outputs.iter().copied())?,
            false => settled_heads(store, outputs)?,
        };
        let mut declare = Inputs::new(&self.resources, &datasets);
        let inputs = stage.inputs(&mut declare)?;
        let declared = declare.finish();
        let (settings, stage) = written_down(S::NAME, stage)?;
        let plan = self.plan::<S>(settings, &declared, &datasets, &contracts)?;
        for current in datasets.iter().filter_map(|(_, head)| head.current.as_ref()) {
            check_key(current, plan.lineage.user_key_check.as_deref())?;
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
            regrouping: 0.0,
            said: None,
        };
        let stale = datasets.iter().map(|(_, head)| head.current.as_ref());
        let turns = datasets.first().and_then(|(_, head)| Some(&head.current.as_ref()?.outputs));
        let fresh = |m: &&Manifest| m.fingerprint == plan.fingerprint && Some(&m.outputs) == turns;
        let stale = stale.clone().find(|current| current.as_ref().filter(|m| fresh(m)).is_none());
        let current = || datasets.iter().filter_map(|(_, head)| head.current.clone()).collect::<Vec<_>>();
        let manifests = match stale {
            None => {
                // Whatever a killed commit left is finished, and the version is sure to stay.
                match self.dry_run {
                    false => {
                        datasets.iter().try_for_each(|(dataset, _)| tidy(dataset, self.keep_versions))?;
                    }
                    // What it reads may be about to change.
                    true => {
                        if let Some(why) = Standing::look(store)?.why(&plan.lineage) {
                            summary.outcome = Outcome::WouldRun(why);
                        }
                    }
                }
                current()
            }
            Some(stale) if self.dry_run => {
                summary.outcome = Outcome::WouldRun(why(&plan, stale));
                current()
            }
            Some(_) => {
                let run = Run::new(store, &plan, &datasets);
                let work = Work { runner: self, run: &run, declared: &declared, contracts: &contracts };
                let done = work.all(&stage, &inputs, &mut summary).and_then(|seen| match self.shard {
                    Some(_) => run.sync_shard(&seen).map(|()| Vec::new()),
                    None => run.commit(&contracts, &seen, self.keep_versions),
                });
                summary.outcome = if self.shard.is_some() { Outcome::ShardDone } else { Outcome::Committed };
                match done {
                    Ok(manifests) => manifests,
                    // Another process may have done the same, and taken the run's folder away under this one.
                    Err(e) => run.sealed_by_another(self.keep_versions)?.ok_or(e)?,
                }
            }
        };
        if let Some(primary) = manifests.first() {
            summary.account = primary.account.clone();
        }
        let written = |m: Manifest| Written { dataset: m.dataset, version: m.version, rows: m.rows, bytes: m.bytes };
        summary.outputs = manifests.into_iter().map(written).collect();
        summary.seconds = started.elapsed().as_secs_f64();
        Ok(summary)
    }

    fn plan<S: Stage>(
        &self,
        settings: Value,
        declared: &Declared,
        datasets: &[(Dataset, Head)],
        contracts: &[Contract],
    ) -> Result<Plan> {
        let partitions = declared.partitions.as_ref().map_or(1, |(partitions, _)| *partitions);
        let lineage = declared.lineage(S::NAME, S::VERSION, settings, &self.git_revision);
        let outputs: Vec<Output> = datasets
            .iter()
            .zip(contracts)
            .map(|((dataset, head), contract)| Output {
                dataset: dataset.name().to_owned(),
                table: contract.name.into(),
                table_version: contract.version,
                next: head.next,
            })
            .collect();
        let names: Vec<_> = outputs.iter().map(|o| (&o.dataset, &o.table, o.table_version)).collect();
        let keys: Vec<Digest> = (0..partitions).map(|partition| declared.key(partition)).collect();
        // After people were erased there is a new version of everything, so that none before it is kept. What has not changed is reused.
        let fingerprint = match lineage.erased.unwrap_or_default() {
            0 => digest(&json!([recipe(&lineage, partitions), keys, names])),
            erased => digest(&json!([recipe(&lineage, partitions), keys, names, erased])),
        };
        Ok(Plan {
            fingerprint,
            partitions,
            unit: S::UNIT.into(),
            outputs,
            lineage,
            max_bad_ratio: self.resources.max_bad_ratio,
        })
    }

    /// Whether this process works on a partition.
    fn takes(&self, partition: u32) -> bool {
        self.shard.is_none_or(|s| partition % s.count == s.index)
    }
}

fn check_key(manifest: &Manifest, expected: Option<&str>) -> Result<()> {
    match (manifest.lineage.user_key_check.as_deref(), expected) {
        (Some(got), Some(expected)) if got != expected => {
            Err(other_key(&manifest.dataset, expected, "the user key in use", got))
        }
        _ => Ok(()),
    }
}

/// One run's work.
struct Work<'a> {
    runner: &'a Runner,
    run: &'a Run<'a>,
    declared: &'a Declared,
    contracts: &'a [Contract],
}

impl Work<'_> {
    /// Runs, reuses or resumes every partition of this shard. Returns their receipts, which need no second look.
    fn all<S: Stage>(&self, stage: &S, inputs: &S::Inputs, summary: &mut Summary) -> Result<BTreeMap<u32, Receipt>> {
        let (runner, plan) = (self.runner, self.run.plan);
        let mine: BTreeSet<u32> = (0..plan.partitions).filter(|p| runner.takes(*p)).collect();
        let mut done = match self.run.written_plan()? {
            Some(_) => self.run.receipts(&BTreeMap::new())?,
            None => BTreeMap::new(),
        };
        self.run.write_plan()?;
        done.extend(self.run.adopt(self.contracts, |p| mine.contains(&p) && !done.contains_key(&p))?);
        done.retain(|partition, _| mine.contains(partition));
        // After what can be adopted is: so that a plain glob is right while this run works.
        for (dataset, _) in self.run.datasets {
            tidy(dataset, runner.keep_versions)?;
        }
        summary.reused = done.len() as u64;
        for partition in mine.iter().filter(|p| !done.contains_key(p)).copied().collect::<Vec<_>>() {
            if let Some(receipt) = self.reusable(partition) {
                self.run.leave(&receipt)?;
                summary.reused += 1;
                done.insert(partition, receipt);
            }
        }
        let todo: Vec<usize> = mine.iter().filter(|p| !done.contains_key(p)).map(|p| *p as usize).collect();
        summary.computed = todo.len() as u64;
        if !todo.is_empty() {
            if let Some(regrouped) = &self.declared.regroup {
                let regrouping = Instant::now();
                self.regroup(stage, inputs, regrouped)?;
                stage.mapped(inputs, &runner.resources)?;
                summary.regrouping = regrouping.elapsed().as_secs_f64();
            }
            let (computed, said) = self.compute_all(stage, inputs, &todo)?;
            done.extend(computed.into_iter().map(|receipt| (receipt.partition, receipt)));
            summary.said = said;
        }
        done.values().for_each(|receipt| summary.account.merge(&receipt.accounts[0]));
        Ok(done)
    }

    fn key(&self, partition: u32) -> Digest {
        digest(&json!([
            recipe(&self.run.plan.lineage, self.run.plan.partitions),
            self.declared.key(partition),
            partition
        ]))
    }

    /// The receipt of a partition that the current version of every output has under the same key.
    fn reusable(&self, partition: u32) -> Option<Receipt> {
        let (plan, key) = (self.run.plan, self.key(partition));
        let mut receipt = Receipt { partition, key, parts: Vec::new(), accounts: Vec::new() };
        for ((_, head), contract) in self.run.datasets.iter().zip(self.contracts) {
            let current = head.current.as_ref().filter(|m| m.partitions == plan.partitions && m.holds(contract))?;
            let entry = current.ledger.get(partition as usize).filter(|entry| entry.key == receipt.key)?;
            receipt.parts.push(current.part(partition).cloned());
            receipt.accounts.push(entry.account.clone());
        }
        Some(receipt)
    }

    /// The first half: all tasks, those of this shard first. Those that no other shard has done by then are done here too, so that no
    /// shard waits for another.
    fn regroup<S: Stage>(&self, stage: &S, inputs: &S::Inputs, regrouped: &Arc<Regrouped>) -> Result<()> {
        let Runner { resources, shard, .. } = self.runner;
        let first = |task: usize| shard.is_none_or(|s| task as u32 % s.count == s.index);
        let (mut tasks, others): (Vec<usize>, Vec<usize>) = (0..regrouped.tasks.len()).partition(|task| first(*task));
        tasks.extend(others);
        // A half of the memory for rows that are held before they are sent, and as much for their copies.
        let budget = resources.memory_limit / resources.threads.max(1) as u64 / 8;
        let budget = usize::try_from(budget).unwrap_or(usize::MAX).clamp(1 << 16, 64 << 20);
        let progress = Progress::new(S::NAME, "tasks", tasks.len() as u64, resources.progress);
        let one = |task: usize| {
            let folder = self.run.path(&format!("sent/{}", regrouped.tasks[task]));
            let index = match regroup::find(&resources.store, &folder)? {
                Some(index) => index,
                None => {
                    let mut spill = Spill::new(&resources.store, folder, regrouped, budget, shard.is_some());
                    stage.map(inputs, task, &mut spill)?;
                    spill.finish()?
                }
            };
            progress.step(1);
            Ok(index)
        };
        let mut indexes = in_parallel(resources.threads, &tasks, one)?;
        indexes.sort_by_key(|(task, _)| *task);
        regrouped.fill(&resources.store, indexes.into_iter().map(|(_, index)| index).collect());
        Ok(())
    }

    fn compute_all<S: Stage>(
        &self,
        stage: &S,
        inputs: &S::Inputs,
        todo: &[usize],
    ) -> Result<(Vec<Receipt>, Option<String>)> {
        let started = Instant::now();
        let Runner { resources, .. } = self.runner;
        let shared = stage.open(inputs, resources)?;
        let need = |partition: u32| stage.memory_bytes(&shared, self.declared.memory_bytes(partition));
        let held = stage.shared_bytes(&shared);
        for partition in todo {
            let need = need(*partition as u32) + held;
            if need > resources.memory_limit {
                let what = format!(
                    "{}: partition {partition} needs about {} MiB, --memory-limit is {} MiB",
                    S::NAME,
                    need >> 20,
                    resources.memory_limit >> 20
                );
                let hint = match self.contracts[0].layout {
                    schemas::Layout::Users => "raise --memory-limit, or ingest with more --buckets",
                    schemas::Layout::Parts => "raise --memory-limit",
                };
                return Err(Error::usage(what, hint));
            }
        }
        let style = if S::OWN_PROGRESS { Style::Silent } else { resources.progress };
        let progress = Progress::new(S::NAME, S::UNIT, todo.len() as u64, style);
        let budget = Budget::new(resources.memory_limit - held);
        let one = |partition: usize| {
            let partition = partition as u32;
            let _loan = budget.borrow(need(partition));
            let receipt = self.compute(stage, inputs, &shared, partition)?;
            self.run.leave(&receipt)?;
            progress.step(receipt.accounts[0].input);
            Ok(receipt)
        };
        let done = match S::ALONE {
            false => in_parallel(resources.threads, todo, one)?,
            true => threads(resources.threads)?
                .install(|| todo.iter().map(|p| Ok((*p, one(*p)?))).collect::<Result<_>>())?,
        };
        let said = stage.said(&shared, started.elapsed().as_secs_f64());
        Ok((done.into_iter().map(|(_, receipt)| receipt).collect(), said))
    }

    fn compute<S: Stage>(&self, stage: &S, inputs: &S::Inputs, shared: &S::Shared, partition: u32) -> Result<Receipt> {
        let Done { outputs, accounts } = stage.run(inputs, shared, partition)?;
        let mut receipt = Receipt { partition, key: self.key(partition), parts: Vec::new(), accounts };
        for (output, batches) in outputs.into_batches().into_iter().enumerate() {
            let contract = &self.contracts[output];
            let rows: u64 = batches.iter().map(|b| b.num_rows() as u64).sum();
            if receipt.accounts.len() <= output {
                receipt.accounts.push(Account::all(rows));
            }
            let account = &receipt.accounts[output];
            if account.input != account.accounted() {
                return Err(Error::bug(format!(
                    "{}: partition {partition}: {} {} in, but out + dropped + quarantined {}",
                    S::NAME,
                    account.input,
                    S::UNIT,
                    account.accounted()
                )));
            }
            // Partition 0 always has a part, so that a dataset without rows still opens with its columns.
            if rows == 0 && partition > 0 {
                receipt.parts.push(None);
                continue;
            }
            let file = part::encode(contract, &batches)?;
            let (written, path) = self.run.new_part(output, partition, contract.layout);
            let part = Part {
                partition,
                path,
                rows,
                bytes: file.len() as u64,
                memory_bytes: batches.iter().map(|b| b.get_array_memory_size() as u64).sum(),
                blake3: blake3::hash(&file).to_hex().to_string(),
            };
            self.runner.store().put_unsynced(&written, file.into())?;
            fault::point(fault::STAGED);
            receipt.parts.push(Some(part));
        }
        Ok(receipt)
    }
}

/// A pool of so many threads.
pub fn threads(threads: usize) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| Error::setting("--threads", "threads that the system can start", e, "give fewer"))
}

/// A number that nobody else has drawn.
pub(crate) fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}
