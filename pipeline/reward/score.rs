//! `score`: lists of queries to rewards.

use std::path::PathBuf;

use arrow::array::Float32Array;
use clap::Args;
use dataset::{Account, ByPartition, Done, Error, Inputs, Resources, Result, Rows, Stage, Whole};
use schemas::{Interests, Profiles, Scores, ScoresColumns};
use serde::{Deserialize, Serialize};

use crate::people::{Candidates, INTERESTS, PROFILES, People};
use crate::{Calibration, Component, Components, Normalise, RewardInputs, RewardSettings, Rewards, Score};

/// Users whose lists are scored together.
const TOGETHER: usize = 256;
/// Lists that a scale is made of, at least, where there are so many.
const CALIBRATED_OVER: usize = 512;

/// Scores the lists of a dataset.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct ScoreLists {
    /// The dataset whose lists are scored.
    #[arg(skip = "interests")]
    pub interests: String,
    /// A scale of a training run's, as JSON: {"low": [5 numbers], "high": [5 numbers], "clip": true}
    /// [default: of the first lists that are scored]
    #[arg(long, value_name = "FILE")]
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

/// Where the scale comes from.
#[derive(Debug)]
enum Scale {
    Known(Calibration),
    /// Of the lists of the first partitions, which hold anybody: users are spread over them by hash.
    OfFirst(Box<(Whole<Profiles>, Whole<Interests>)>),
}

/// What scores lists: rewards, on one scale.
#[derive(Debug)]
pub struct Scorer {
    /// The components.
    pub rewards: Rewards,
    /// Their scale.
    pub calibration: Calibration,
}

impl ScoreLists {
    /// The scale that a file says, or the settings alone.
    fn known_scale(&self) -> Result<Option<Calibration>> {
        let Some(path) = &self.calibration else {
            return Ok((self.rewards.normalise == Normalise::Raw).then(Calibration::raw));
        };
        let hint = "give a calibration that training wrote, or none";
        let text = std::fs::read_to_string(path).map_err(Error::at(path))?;
        let scale: Calibration = serde_json::from_str(&text)
            .map_err(|e| Error::unreadable(path.display(), format!("expected a calibration: {e}"), hint))?;
        match scale.is_sound() {
            true => Ok(Some(scale)),
            false => {
                let what = "expected finite numbers, each of low below that of high";
                Err(Error::unreadable(path.display(), what, hint))
            }
        }
    }

    /// What scores the lists that there are now, outside of any run: for people's eyes, and for servers. `popularity` must be up to date.
    pub fn now(&self, store: &dataset::Store) -> Result<Scorer> {
        self.rewards.check(Self::NAME)?;
        let rewards = Rewards::open(&self.rewards, &self.rewards.now(store)?)?;
        let scale = match self.known_scale()? {
            Some(scale) => scale,
            None => {
                let (profiles, interests) = (Whole::open(store, "profiles")?, Whole::open(store, &self.interests)?);
                self.scale_of_first(&rewards, &profiles.columns(&PROFILES), &interests.columns(&INTERESTS))?
            }
        };
        Ok(Scorer { rewards, calibration: scale })
    }

    fn scale_of_first(
        &self,
        rewards: &Rewards,
        profiles: &Whole<Profiles>,
        interests: &Whole<Interests>,
    ) -> Result<Calibration> {
        let mut samples: Vec<Components> = Vec::new();
        for partition in 0..interests.partitions() {
            if samples.len() >= CALIBRATED_OVER {
                break;
            }
            let candidates = Candidates::read(&interests.read(partition)?)?;
            if candidates.is_empty() {
                continue;
            }
            let people = People::read(&profiles.read(partition)?)?;
            for candidates in candidates.chunks(TOGETHER) {
                if samples.len() < CALIBRATED_OVER {
                    let scores = self.scores(rewards, &people, candidates)?;
                    samples.extend(scores.into_iter().flatten().map(|score| score.components));
                }
            }
        }
        Ok(Calibration::of(self.rewards.normalise, &samples))
    }

    /// The scores of some users' lists.
    fn scores(&self, rewards: &Rewards, people: &People, candidates: &[Candidates]) -> Result<Vec<Vec<Score>>> {
        let users = candidates.iter().map(|of| people.of(of, &self.interests)).collect::<Result<Vec<_>>>()?;
        let interests = rewards.interests(&users)?;
        let groups: Vec<_> = interests.iter().zip(candidates).map(|(user, of)| (user, of.lists.as_slice())).collect();
        let mut scores = rewards.score(&groups)?;
        for (scores, of) in scores.iter_mut().zip(candidates) {
            for (score, known) in scores.iter_mut().zip(&of.forms) {
                if !known {
                    score.components = score.components.with(Component::Structure, None);
                }
            }
        }
        Ok(scores)
    }
}

impl Stage for ScoreLists {
    const NAME: &'static str = "score";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "lists";
    const ALONE: bool = true;
    type Inputs = ScoreInputs;
    type Shared = Scorer;
    type Outputs = Rows<Scores>;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<ScoreInputs> {
        self.rewards.check(Self::NAME)?;
        let scale = match self.known_scale()? {
            Some(scale) => Scale::Known(scale),
            None => {
                let profiles = declare.whole::<Profiles>("profiles")?.columns(&PROFILES);
                let interests = declare.whole::<Interests>(&self.interests)?.columns(&INTERESTS);
                Scale::OfFirst(Box::new((profiles, interests)))
            }
        };
        if let Scale::Known(scale) = &scale {
            declare.value("calibration", scale)?;
        }
        Ok(ScoreInputs {
            profiles: declare.by_partition::<Profiles>("profiles")?.columns(&PROFILES),
            interests: declare.by_partition::<Interests>(&self.interests)?.columns(&INTERESTS),
            rewards: self.rewards.declare(declare)?,
            scale,
        })
    }

    fn open(&self, inputs: &ScoreInputs, _: &Resources) -> Result<Scorer> {
        let rewards = Rewards::open(&self.rewards, &inputs.rewards)?;
        let calibration = match &inputs.scale {
            Scale::Known(scale) => *scale,
            Scale::OfFirst(of) => self.scale_of_first(&rewards, &of.0, &of.1)?,
        };
        Ok(Scorer { rewards, calibration })
    }

    fn run(&self, inputs: &ScoreInputs, scorer: &Scorer, partition: u32) -> Result<Done<Self::Outputs>> {
        let candidates = Candidates::read(&inputs.interests.read(partition)?)?;
        let mut scores = Vec::new();
        if !candidates.is_empty() {
            let people = People::read(&inputs.profiles.read(partition)?)?;
            for candidates in candidates.chunks(TOGETHER) {
                scores.extend(self.scores(&scorer.rewards, &people, candidates)?);
            }
        }
        let rows: Vec<(&str, i32, Score)> = candidates
            .iter()
            .zip(&scores)
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
