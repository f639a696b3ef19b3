//! `score`: lists of queries to rewards.

use std::path::PathBuf;

use arrow::array::Float32Array;
use clap::Args;
use dataset::{Account, ByPartition, Done, Inputs, Resources, Result, Rows, Stage, Style};
use schemas::{Interests, Profiles, Scores, ScoresColumns};
use serde::{Deserialize, Serialize};

use crate::people::{Candidates, INTERESTS, PROFILES, People, TOGETHER, scores};
use crate::scale::{Scale, Scorer, known};
use crate::{Component, Normalise, RewardInputs, RewardSettings, Rewards, Score};

/// Scores the lists of a dataset.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct ScoreLists {
    /// The dataset whose lists are scored.
    #[arg(skip = "interests")]
    pub interests: String,
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

impl Default for ScoreLists {
    fn default() -> Self {
        dataset::defaults()
    }
}

/// What score reads.
#[derive(Debug)]
pub struct ScoreInputs {
    profiles: ByPartition<Profiles>,
    interests: ByPartition<Interests>,
    rewards: RewardInputs,
    scale: Scale,
}

impl ScoreLists {
    /// What scores the lists that there are now, outside of any run: for people's eyes, and for servers. `popularity` must be up to date.
    pub fn now(&self, store: &dataset::Store, progress: Style) -> Result<Scorer> {
        self.rewards.check(Self::NAME)?;
        let rewards = Rewards::open(&self.rewards, &self.rewards.now(store)?, progress)?;
        Scale::now(store, &self.interests, known(&self.rewards, self.calibration.as_deref())?)?.scorer(rewards)
    }
}

impl Stage for ScoreLists {
    const NAME: &'static str = "score";
    const VERSION: u32 = 2;
    const UNIT: &'static str = "lists";
    const ALONE: bool = true;
    type Inputs = ScoreInputs;
    type Shared = Scorer;
    type Outputs = Rows<Scores>;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<ScoreInputs> {
        self.rewards.check(Self::NAME)?;
        let known = known(&self.rewards, self.calibration.as_deref())?;
        let scale = Scale::declare(declare, &self.interests, known)?;
        Ok(ScoreInputs {
            profiles: declare.by_partition::<Profiles>("profiles")?.columns(&PROFILES),
            interests: declare.by_partition::<Interests>(&self.interests)?.columns(&INTERESTS),
            rewards: self.rewards.declare(declare)?,
            scale,
        })
    }

    fn open(&self, inputs: &ScoreInputs, resources: &Resources) -> Result<Scorer> {
        inputs.scale.scorer(Rewards::open(&self.rewards, &inputs.rewards, resources.progress)?)
    }

    fn run(&self, inputs: &ScoreInputs, scorer: &Scorer, partition: u32) -> Result<Done<Self::Outputs>> {
        let candidates = Candidates::read(&inputs.interests.read(partition)?)?;
        let mut scored = Vec::new();
        if !candidates.is_empty() {
            let people = People::read(&inputs.profiles.read(partition)?)?;
            for candidates in candidates.chunks(TOGETHER) {
                scored.extend(scores(&scorer.rewards, &people, candidates, &self.interests)?);
            }
        }
        let rows: Vec<(&str, i32, Score)> = candidates
            .iter()
            .zip(&scored)
            .flat_map(|(of, scores)| {
                of.numbers.iter().zip(scores).map(|(number, score)| (of.user_id.as_str(), *number, *score))
            })
            .collect();
        let rewards: Float32Array =
            rows.iter().map(|(.., score)| self.rewards.total(&score.components, &scorer.calibration)).collect();
        let column =
            |component| rows.iter().map(|(.., score)| score.components.get(component)).collect::<Float32Array>();
        let mut account = Account::all(rows.len() as u64);
        account.note("users", candidates.len() as u64);
        account.note("undecided lists", rewards.iter().filter(Option::is_none).count() as u64);
        let columns = ScoresColumns {
            user_id: rows.iter().map(|(user, ..)| Some(*user)).collect(),
            candidate: rows.iter().map(|(_, number, _)| *number).collect::<Vec<_>>().into(),
            align: column(Component::Align),
            coverage: column(Component::Coverage),
            specificity: column(Component::Specificity),
            diversity: column(Component::Diversity),
            structure: column(Component::Structure),
            copied: rows.iter().map(|(.., score)| score.copied).collect::<Vec<_>>().into(),
            reward: rewards,
        };
        Ok(Done { outputs: Rows::of(columns)?, accounts: vec![account] })
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
        4 * input_bytes + TOGETHER as u64 * scorer.rewards.bytes_per_user()
    }
}
