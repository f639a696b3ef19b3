//! The work of one run: every partition of this shard reused, taken over or computed, within threads and memory, and a receipt left for each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use schemas::Contract;
use serde_json::json;

use crate::account::Account;
use crate::fault;
use crate::inputs::Declared;
use crate::manifest::Part;
use crate::memory::Budget;
use crate::parallel::in_parallel;
use crate::plan::{Digest, digest, recipe};
use crate::progress::{Progress, Style};
use crate::receipts::{Receipt, Run};
use crate::regroup::{self, Regrouped, Spill};
use crate::stage::{Done, Outputs, Stage};
use crate::tidy::tidy;
use crate::{Error, Result, Runner, Summary, part, threads};

/// One run's work.
pub(crate) struct Work<'a> {
    pub(crate) runner: &'a Runner,
    pub(crate) run: &'a Run<'a>,
    pub(crate) declared: &'a Declared,
    pub(crate) contracts: &'a [Contract],
}

impl Work<'_> {
    /// Runs, reuses or resumes every partition of this shard. Returns their receipts, which need no second look.
    pub(crate) fn all<S: Stage>(
        &self,
        stage: &S,
        inputs: &S::Inputs,
        summary: &mut Summary,
    ) -> Result<BTreeMap<u32, Receipt>> {
        let (runner, plan) = (self.runner, self.run.plan);
        let mine: BTreeSet<u32> = (0..plan.partitions).filter(|p| runner.takes(*p)).collect();
        let mut done = match self.run.written_plan()? {
            Some(_) => self.run.receipts_of(mine.iter().copied(), &BTreeMap::new())?,
            None => BTreeMap::new(),
        };
        self.run.write_plan()?;
        done.extend(self.run.adopt(self.contracts, |p| mine.contains(&p) && !done.contains_key(&p))?);
        // After what can be adopted is: so that a plain glob is right while this run works.
        for (dataset, _) in self.run.datasets {
            tidy(dataset, runner.keep_versions)?;
        }
        summary.reused = done.len() as u64;
        for partition in mine.iter().filter(|p| !done.contains_key(p)).copied().collect::<Vec<_>>() {
            if let Some(receipt) = self.reusable(partition) {
                summary.reused += 1;
                done.insert(partition, self.run.leave(receipt)?);
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
        let one = |at: usize| {
            let task = tasks[at];
            let folder = self.run.path(&format!("sent/{}", regrouped.tasks[task]));
            let index = match regroup::find(&resources.store, &folder, regrouped)? {
                Some(index) => index,
                None => {
                    let mut spill = Spill::new(&resources.store, folder, regrouped, budget, shard.is_some());
                    stage.map(inputs, task, &mut spill)?;
                    spill.finish()?
                }
            };
            progress.step(1);
            Ok((task, index))
        };
        let mut indexes = in_parallel(tasks.len(), resources.threads, one)?;
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
            let receipt = self.run.leave(self.compute(stage, inputs, &shared, partition)?)?;
            progress.step(receipt.accounts[0].input);
            Ok(receipt)
        };
        let done = match S::ALONE {
            false => in_parallel(todo.len(), resources.threads, |at| one(todo[at]))?,
            true => threads(resources.threads)?.install(|| todo.iter().map(|p| one(*p)).collect::<Result<_>>())?,
        };
        let said = stage.said(&shared, started.elapsed().as_secs_f64());
        Ok((done, said))
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
