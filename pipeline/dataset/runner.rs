//! The runner: everything that stages do not know. It decides what is up to date, runs the rest partition by partition
//! within threads and memory, leaves a receipt for each, and commits.

use std::time::Instant;

use schemas::Contract;
use serde_json::{Value, json};

use crate::account::Account;
use crate::commit::{heads, settled_heads};
use crate::inputs::{Declared, Inputs, other_key};
use crate::log::{Dataset, Head};
use crate::manifest::Manifest;
use crate::plan::{Digest, Output, Plan, digest, recipe, why};
use crate::progress::Style;
use crate::receipts::Run;
use crate::settings::written_down;
use crate::stage::{Outputs, Stage};
use crate::stale::Standing;
use crate::tidy::tidy;
use crate::work::Work;
use crate::{Error, KeySource, Result, Store};

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
            false => settled_heads(store, outputs, self.keep_versions)?,
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
    pub(crate) fn takes(&self, partition: u32) -> bool {
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
