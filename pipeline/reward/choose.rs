//! Best-of-N: of a user's lists the one of the largest reward.
//!
//! Writing lists and choosing among them are two stages, so that other rewards choose among the same lists, and no list is written twice.

use std::cmp::Ordering;
use std::path::PathBuf;

use arrow::array::{Float32Array, Int32Array, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use clap::Args;
use dataset::{Account, ByPartition, Done, Error, Inputs, Resources, Result, Rows, Stage, Store};
use schemas::{Interests, InterestsColumns, Profiles, Table};
use serde::{Deserialize, Serialize};

use crate::people::{Candidates, PROFILES, People, TOGETHER, scores};
use crate::scale::{Scale, Scorer, known};
use crate::{Normalise, RewardInputs, RewardSettings, Rewards};

/// Chooses among lists.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct Choose {
    /// The dataset that holds them.
    #[arg(skip = "samples")]
    #[serde(skip)]
    pub lists: String,
    /// Keep all lists, the best first, and not the chosen one alone
    #[arg(long)]
    pub keep_all: bool,
    /// A scale as JSON: {"low": [5 numbers], "high": [5 numbers], "clip": true}; or the folder of a policy, for the one that grpo trained it by
    /// [default: of the first lists of 512 users]
    #[arg(long, value_name = "PATH")]
    #[serde(skip_serializing)]
    pub calibration: Option<PathBuf>,
    /// How lists are scored
    #[command(flatten)]
    #[serde(flatten)]
    pub rewards: RewardSettings,
}

impl Default for Choose {
    fn default() -> Self {
        dataset::defaults()
    }
}

/// What choosing reads.
#[derive(Debug)]
pub struct ChooseInputs {
    profiles: ByPartition<Profiles>,
    lists: ByPartition<Interests>,
    name: String,
    rewards: RewardInputs,
    scale: Scale,
}

impl Choose {
    /// Checks that what scores lists is there: before they are written, which takes longer. `popularity` must be up to date.
    pub fn ready(&self, store: &Store) -> Result<()> {
        self.rewards.check(Self::NAME)?;
        known(&self.rewards, self.calibration.as_deref())?;
        self.rewards.now(store).map(drop)
    }
}

/// Rewards in their order: larger ones first, those that are not known last, and of equal ones the list that was sampled first.
fn better(a: (Option<f32>, i32), b: (Option<f32>, i32)) -> Ordering {
    let larger = match (a.0, b.0) {
        (Some(a), Some(b)) => b.total_cmp(&a),
        (a, b) => b.is_some().cmp(&a.is_some()),
    };
    larger.then(a.1.cmp(&b.1))
}

impl Stage for Choose {
    const NAME: &'static str = "generate";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "users";
    const ALONE: bool = true;
    type Inputs = ChooseInputs;
    type Shared = Scorer;
    type Outputs = Rows<Interests>;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<ChooseInputs> {
        self.rewards.check(Self::NAME)?;
        let known = known(&self.rewards, self.calibration.as_deref())?;
        Ok(ChooseInputs {
            scale: Scale::declare(declare, &self.lists, known)?,
            profiles: declare.by_partition::<Profiles>("profiles")?.columns(&PROFILES),
            lists: declare.by_partition::<Interests>(&self.lists)?,
            name: self.lists.clone(),
            rewards: self.rewards.declare(declare)?,
        })
    }

    fn open(&self, inputs: &ChooseInputs, resources: &Resources) -> Result<Scorer> {
        inputs.scale.scorer(Rewards::open(&self.rewards, &inputs.rewards, resources.progress)?)
    }

    fn run(&self, inputs: &ChooseInputs, scorer: &Scorer, partition: u32) -> Result<Done<Self::Outputs>> {
        let lists = inputs.lists.read(partition)?;
        let candidates = Candidates::read(&lists)?;
        let mut account = Account::all(candidates.len() as u64);
        if candidates.is_empty() {
            return Ok(Done { outputs: Rows::empty(), accounts: vec![account] });
        }
        let people = People::read(&inputs.profiles.read(partition)?)?;
        // Rows that are kept, with their new numbers and their rewards.
        let (mut rows, mut numbers, mut rewards): (Vec<u32>, Vec<i32>, Vec<Option<f32>>) = Default::default();
        let mut before = 0;
        for candidates in candidates.chunks(TOGETHER) {
            for (of, scores) in candidates.iter().zip(scores(&scorer.rewards, &people, candidates, &inputs.name)?) {
                let total = |at: &usize| self.rewards.total(&scores[*at].components, &scorer.calibration);
                let mut ranked: Vec<(u32, (Option<f32>, i32))> =
                    (0..scores.len()).map(|at| (before + at as u32, (total(&at), of.samples[at]))).collect();
                before += ranked.len() as u32;
                ranked.sort_by(|a, b| better(a.1, b.1));
                account.note("lists", ranked.len() as u64);
                account
                    .note("undecided lists", ranked.iter().filter(|(_, (reward, _))| reward.is_none()).count() as u64);
                account.note("users whose first list was the best", u64::from(ranked[0].1.1 == 0));
                ranked.truncate(if self.keep_all { ranked.len() } else { 1 });
                for (number, (row, (reward, _))) in (0..).zip(ranked) {
                    rows.push(row);
                    numbers.push(number);
                    rewards.push(reward);
                }
            }
        }
        let failed = Error::arrow;
        let all = concat_batches(&lists.batches()[0].schema(), lists.batches()).map_err(failed("choosing lists"))?;
        let kept = take_record_batch(&all, &UInt32Array::from(rows)).map_err(failed("choosing lists"))?;
        let chosen = Interests::from_batch(&kept).map_err(failed("choosing lists"))?;
        let (candidate, reward) = (Int32Array::from(numbers), Float32Array::from(rewards));
        let outputs = Rows::of(InterestsColumns { candidate, reward, ..chosen })?;
        Ok(Done { outputs, accounts: vec![account] })
    }

    /// The scale, which readers of the rewards want to know.
    fn said(&self, scorer: &Scorer, _: f64) -> Option<String> {
        (self.rewards.normalise != Normalise::Raw).then(|| scorer.calibration.to_string())
    }

    /// Articles and words.
    fn shared_bytes(&self, scorer: &Scorer) -> u64 {
        scorer.rewards.shared_bytes()
    }

    /// The rows, and the behaviours' vectors of the users who are scored together.
    fn memory_bytes(&self, scorer: &Scorer, input_bytes: u64) -> u64 {
        5 * input_bytes + TOGETHER as u64 * scorer.rewards.bytes_per_user()
    }
}
