//! The scale of a dataset's lists: one that is given, or one of a sample of its users.
//!
//! The sample follows from the rows alone, however they are cut, and however many lists each user has: it is the list that was sampled
//! first, of the users with the smallest ids. Ids are keyed hashes, so these are any users. So what is best of four lists is the same
//! whether four were written or thirty-two.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use dataset::{Error, Inputs, Result, Store, Whole};
use policy::checkpoint;
use schemas::{Interests, Profiles};
use serde_json::json;

use crate::people::{Candidates, INTERESTS, PROFILES, People, interests_of, scores_of};
use crate::{Calibration, Components, Normalise, RewardSettings, Rewards};

/// Users that a scale is made of, at most.
const USERS: usize = 512;

/// Bytes of a calibration file, at most.
const LARGEST: u64 = 1 << 20;

/// Where the scale of a dataset's lists comes from.
#[derive(Debug)]
pub(crate) enum Scale {
    Known(Calibration),
    OfSample(Box<Sample>),
}

/// What a sample is drawn from.
#[derive(Debug)]
pub(crate) struct Sample {
    /// What the lists' dataset is called.
    name: String,
    ids: Whole<Interests>,
    interests: Whole<Interests>,
    profiles: Whole<Profiles>,
}

/// What scores lists: rewards, on one scale.
#[derive(Debug)]
pub struct Scorer {
    /// The components.
    pub rewards: Rewards,
    /// Their scale.
    pub calibration: Calibration,
}

/// The scale that is known beforehand: the one in a file, or of a trained policy; none at all where components stay as they are.
///
/// # Errors
/// When what is named holds no scale.
pub(crate) fn known(settings: &RewardSettings, given: Option<&Path>) -> Result<Option<Calibration>> {
    let Some(path) = given else { return Ok((settings.normalise == Normalise::Raw).then(Calibration::raw)) };
    let hint = "give a scale as JSON, the folder of a policy that grpo wrote, or none";
    let wrong = |what: String| Error::unreadable(path.display(), what, hint);
    let scale = if path.is_dir() {
        let metrics = checkpoint::state(path)?.metrics;
        Calibration::of_metrics(&metrics)
            .ok_or_else(|| wrong("expected a policy that learnt by a scale, got another".into()))?
    } else {
        let bytes = dataset::read_file(path, LARGEST, hint)?;
        serde_json::from_slice(&bytes).map_err(|e| wrong(format!("expected a calibration: {e}")))?
    };
    match scale.is_sound() {
        true => Ok(Some(scale)),
        false => Err(wrong("expected finite numbers, each of low below that of high".into())),
    }
}

impl Scale {
    /// Declares the scale of a dataset's lists.
    pub(crate) fn declare(declare: &mut Inputs<'_>, dataset: &str, known: Option<Calibration>) -> Result<Self> {
        if let Some(scale) = known {
            declare.value("calibration", scale)?;
            return Ok(Scale::Known(scale));
        }
        let profiles = declare.whole("profiles")?;
        Ok(Self::of(dataset, profiles, declare.whole(dataset)?, declare.whole(dataset)?))
    }

    /// The same of the lists that there are now, outside of any run.
    pub(crate) fn now(store: &Store, dataset: &str, known: Option<Calibration>) -> Result<Self> {
        if let Some(scale) = known {
            return Ok(Scale::Known(scale));
        }
        let profiles = Whole::open(store, "profiles")?;
        Ok(Self::of(dataset, profiles, Whole::open(store, dataset)?, Whole::open(store, dataset)?))
    }

    fn of(name: &str, profiles: Whole<Profiles>, ids: Whole<Interests>, interests: Whole<Interests>) -> Self {
        Scale::OfSample(Box::new(Sample {
            name: name.to_owned(),
            ids: ids.columns(&[Interests::user_id.name()]),
            interests: interests.columns(&INTERESTS),
            profiles: profiles.columns(&PROFILES),
        }))
    }

    /// The scale, with what scores by it.
    pub(crate) fn scorer(&self, rewards: Rewards) -> Result<Scorer> {
        let calibration = match self {
            Scale::Known(calibration) => *calibration,
            Scale::OfSample(sample) => sample.scale(&rewards)?,
        };
        Ok(Scorer { rewards, calibration })
    }
}

impl Sample {
    fn scale(&self, rewards: &Rewards) -> Result<Calibration> {
        let (mut sampled, mut interests) = (Vec::new(), Vec::new());
        for (partition, users) in self.users()? {
            let mut candidates = Candidates::read(&self.interests.read(partition)?)?;
            candidates.retain(|of| users.contains(&of.user_id));
            let first: Vec<Candidates> = candidates.iter().map(Candidates::first).collect();
            let people = People::read(&self.profiles.read(partition)?)?;
            interests.extend(interests_of(rewards, &people, &first, &self.name)?);
            sampled.extend(first);
        }
        // All at once: a partition has few of them, and a judge has more to do at a time.
        let scores = scores_of(rewards, &interests, &sampled)?;
        let components: Vec<Components> = scores.into_iter().flatten().map(|score| score.components).collect();
        let scale = Calibration::of(rewards.settings().normalise, &components);
        let Some(judge) = rewards.judge() else { return Ok(scale) };
        // Verdicts that are missing now may be there another day, and a run that was killed goes on by the scale that it began with. So a
        // scale is kept by all that it follows from beside the verdicts.
        let judged = rewards.settings().judged();
        let others = |of: &Components| judged.iter().fold(*of, |of, judged| of.with(judged.component(), None));
        let others: Vec<Components> = components.iter().map(others).collect();
        let read: Vec<_> = interests.iter().map(|user| (&user.user_id, &user.texts)).collect();
        let lists: Vec<_> = sampled.iter().flat_map(|of| &of.lists).map(|list| &list.queries).collect();
        judge.first_scale(&json!([rewards.settings(), judged, read, lists, others]), scale)
    }

    /// The sample's users by partition.
    fn users(&self) -> Result<BTreeMap<u32, BTreeSet<String>>> {
        let mut smallest: BTreeSet<(String, u32)> = BTreeSet::new();
        for partition in 0..self.ids.partitions() {
            for batch in self.ids.read(partition)?.batches() {
                let ids = Interests::user_id.of(batch)?;
                for id in ids.iter().flatten() {
                    let full = smallest.len() >= USERS;
                    if full && smallest.last().is_some_and(|(last, _)| id >= last.as_str()) {
                        break; // Rows are in the order of their users: no smaller one follows.
                    }
                    if smallest.insert((id.to_owned(), partition)) && full {
                        smallest.pop_last();
                    }
                }
            }
        }
        let mut users: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
        for (id, partition) in smallest {
            users.entry(partition).or_default().insert(id);
        }
        Ok(users)
    }
}
