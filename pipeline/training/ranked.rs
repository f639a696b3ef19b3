//! Lists that were written in training, by their reward: what a reader looks at to see what is being learnt.

use std::path::Path;

use arrow::array::Array;
use dataset::Result;
use reward::{Components, Score};
use schemas::{Rollouts, Table};

use crate::history::{covered, read};

/// The best and the worst lists of one step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ranked {
    /// The step.
    pub step: u64,
    /// Those of the largest rewards, the largest first.
    pub best: Vec<Rolled>,
    /// Those of the smallest, the smallest first. No list is both.
    pub worst: Vec<Rolled>,
}

/// A list that was written in training, and what became of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rolled {
    /// For whom: our id.
    pub user_id: String,
    /// What the policy wrote.
    pub completion: String,
    /// The queries in it; none when it has no list.
    pub queries: Vec<String>,
    /// Its raw components, and the share of its queries that copy a behaviour.
    pub score: Score,
    /// The weighted sum of its components.
    pub reward: f32,
    /// How much better than its group's mean, if it took part in the update.
    pub advantage: Option<f32>,
}

impl Ranked {
    /// At most `count` lists from each end of a step (none: the last) of the run in a folder; none when it has no lists of that step. Lists
    /// without a reward are not ranked. Among equals the order is that of users and samples.
    pub fn read(folder: &Path, step: Option<u64>, count: usize) -> Result<Option<Ranked>> {
        let files = covered(folder, Rollouts::NAME)?;
        let within = |(last, _): &&(u64, _)| step.is_none_or(|step| *last >= step);
        // Of a given step the first file that goes as far; else the last that has lists.
        let mut files: Vec<_> = files.iter().filter(within).collect();
        match step {
            Some(_) => files.truncate(1),
            None => files.reverse(),
        }
        for (_, path) in files {
            let batches = read::<Rollouts>(path, &COLUMNS)?;
            let steps: Vec<_> = batches.iter().map(|batch| Rollouts::step.of(batch)).collect::<Result<_, _>>()?;
            let last = steps.iter().flat_map(|steps| steps.values().iter().map(|step| *step as u64)).max();
            let Some(step) = step.or(last) else { continue };
            let mut lists = Vec::new();
            for batch in &batches {
                of_step(batch, step, &mut lists)?;
            }
            lists.sort_by(|a, b| b.reward.total_cmp(&a.reward));
            let worst = lists.split_off(lists.len().div_ceil(2));
            let best = lists.into_iter().take(count).collect::<Vec<_>>();
            let worst = worst.into_iter().rev().take(count).collect();
            return Ok((!best.is_empty()).then_some(Ranked { step, best, worst }));
        }
        Ok(None)
    }
}

/// What is read: all but tokens and their probabilities.
const COLUMNS: [&str; 12] = [
    Rollouts::step.name(),
    Rollouts::user_id.name(),
    Rollouts::completion.name(),
    Rollouts::queries.name(),
    Rollouts::align.name(),
    Rollouts::coverage.name(),
    Rollouts::specificity.name(),
    Rollouts::diversity.name(),
    Rollouts::structure.name(),
    Rollouts::reward.name(),
    Rollouts::copied.name(),
    Rollouts::advantage.name(),
];

fn of_step(batch: &arrow::array::RecordBatch, step: u64, lists: &mut Vec<Rolled>) -> Result<()> {
    let (steps, users) = (Rollouts::step.of(batch)?, Rollouts::user_id.of(batch)?);
    let (completions, queries) = (Rollouts::completion.of(batch)?, Rollouts::queries.of(batch)?);
    let components = [
        Rollouts::align.of(batch)?,
        Rollouts::coverage.of(batch)?,
        Rollouts::specificity.of(batch)?,
        Rollouts::diversity.of(batch)?,
        Rollouts::structure.of(batch)?,
    ];
    let (rewards, copied) = (Rollouts::reward.of(batch)?, Rollouts::copied.of(batch)?);
    let advantages = Rollouts::advantage.of(batch)?;
    for row in (0..batch.num_rows()).filter(|&row| steps.value(row) as u64 == step && rewards.is_valid(row)) {
        let known = |array: &schemas::Float32| array.is_valid(row).then(|| array.value(row));
        lists.push(Rolled {
            user_id: users.value(row).to_owned(),
            completion: completions.value(row).to_owned(),
            queries: queries.row(row).map(str::to_owned).collect(),
            score: Score { components: Components(components.map(known)), copied: copied.value(row) },
            reward: rewards.value(row),
            advantage: known(advantages),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::run::{checkpoint, rollouts};
    use proptest::prelude::*;
    use tempfile::TempDir;

    #[test]
    fn lists_of_the_last_step_and_of_any() {
        let folder = TempDir::new().unwrap();
        let run = folder.path();
        assert_eq!(Ranked::read(run, None, 3).unwrap(), None);
        checkpoint(run, 4, 0.5);
        rollouts(run, 2, &[(1, Some(0.5)), (2, Some(0.25)), (2, Some(0.75)), (2, None)]);
        rollouts(run, 4, &[(3, Some(0.5)), (4, Some(0.125)), (4, Some(0.25)), (4, Some(1.0))]);
        let rewards = |lists: &[Rolled]| lists.iter().map(|list| list.reward).collect::<Vec<_>>();
        let last = Ranked::read(run, None, 1).unwrap().unwrap();
        assert_eq!((last.step, rewards(&last.best), rewards(&last.worst)), (4, vec![1.0], vec![0.125]));
        let list = &last.best[0];
        assert_eq!((list.user_id.as_str(), list.queries.as_slice()), ("user 03", ["query 3".to_owned()].as_slice()));
        assert_eq!((list.score.components.0[0], list.score.components.0[4]), (Some(1.0), None));
        let second = Ranked::read(run, Some(2), 9).unwrap().unwrap();
        assert_eq!((second.step, rewards(&second.best), rewards(&second.worst)), (2, vec![0.75], vec![0.25]));
        assert_eq!(Ranked::read(run, Some(5), 9).unwrap(), None);
        // With nothing after it, the last step is the last that has lists.
        rollouts(run, 6, &[]);
        assert_eq!(Ranked::read(run, None, 9).unwrap().unwrap().step, 4);
    }

    proptest! {
        #[test]
        fn best_and_worst_are_the_ends_of_the_order(
            rewards in prop::collection::vec(prop::option::of(0_u8..9), 0..12),
            count in 0_usize..8,
        ) {
            let folder = TempDir::new().unwrap();
            checkpoint(folder.path(), 1, 0.5);
            let rows: Vec<_> = rewards.iter().map(|reward| (1, reward.map(f32::from))).collect();
            rollouts(folder.path(), 1, &rows);
            let mut known: Vec<f32> = rows.iter().filter_map(|row| row.1).collect();
            known.sort_by(f32::total_cmp);
            let found = Ranked::read(folder.path(), None, count).unwrap().unwrap_or_default();
            let of = |lists: &[Rolled]| lists.iter().map(|list| list.reward).collect::<Vec<_>>();
            let ends = count.min(known.len().div_ceil(2));
            prop_assert_eq!(of(&found.best), known.iter().rev().copied().take(ends).collect::<Vec<_>>());
            let ends = count.min(known.len() / 2);
            prop_assert_eq!(of(&found.worst), known.iter().copied().take(ends).collect::<Vec<_>>());
            for list in &found.best {
                prop_assert!(!found.worst.contains(list), "both best and worst: {:?}", list);
            }
        }
    }
}
