//! Users and their lists, as `profiles` and `interests` have them.

use std::collections::HashMap;

use arrow::array::Array;
use dataset::{Error, Result, Rows};
use policy::List;
use schemas::{Behaviours, Interests, Lists, Profiles};

use crate::{Behaviour, Component, Rewards, Score, User, UserInterests, behaviours};

/// Users whose lists are scored together.
pub(crate) const TOGETHER: usize = 256;

/// The columns of `profiles` that are read.
pub(crate) const PROFILES: [&str; 2] = [Profiles::user_id.name(), Profiles::behaviours.name()];
/// Those of `interests`.
pub(crate) const INTERESTS: [&str; 5] = [
    Interests::user_id.name(),
    Interests::candidate.name(),
    Interests::queries.name(),
    Interests::structure.name(),
    Interests::sample.name(),
];

/// The users of a partition of `profiles`.
#[derive(Debug)]
pub(crate) struct People {
    behaviours: Vec<Lists<Behaviours>>,
    /// Batch and row by user.
    at: HashMap<String, (usize, usize)>,
}

impl People {
    pub(crate) fn read(profiles: &Rows<Profiles>) -> Result<Self> {
        let mut people = People { behaviours: Vec::new(), at: HashMap::new() };
        for (number, batch) in profiles.batches().iter().enumerate() {
            let users = Profiles::user_id.of(batch)?;
            people.at.extend((0..batch.num_rows()).map(|row| (users.value(row).to_owned(), (number, row))));
            people.behaviours.push(Profiles::behaviours.of(batch)?);
        }
        Ok(people)
    }

    /// A user, if there is one.
    pub(crate) fn find<'a>(&'a self, user_id: &'a str) -> Option<User<'a>> {
        let (batch, row) = *self.at.get(user_id)?;
        let behaviours: Vec<Behaviour<'a>> = behaviours(&self.behaviours[batch], row);
        Some(User { user_id, behaviours })
    }

    /// The user of some lists.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn of<'a>(&'a self, lists: &'a Candidates, dataset: &str) -> Result<User<'a>> {
        self.find(&lists.user_id).ok_or_else(|| {
            let what = format!("{dataset}, user {}: expected a user of profiles, got none", lists.user_id);
            Error::retry(what, "profiles changed since: generate the interests again")
        })
    }
}

/// A user's candidate lists.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Candidates {
    pub(crate) user_id: String,
    /// Their numbers.
    pub(crate) numbers: Vec<i32>,
    /// The numbers of their samples.
    pub(crate) samples: Vec<i32>,
    /// The lists. One whose form is not known counts as one without it, and `forms` says so.
    pub(crate) lists: Vec<List>,
    /// Whether its form is known, for each.
    pub(crate) forms: Vec<bool>,
}

impl Candidates {
    /// The users of a partition of `interests`, in their order.
    pub(crate) fn read(interests: &Rows<Interests>) -> Result<Vec<Self>> {
        let mut all: Vec<Self> = Vec::new();
        for batch in interests.batches() {
            let (users, numbers) = (Interests::user_id.of(batch)?, Interests::candidate.of(batch)?);
            let (queries, structures) = (Interests::queries.of(batch)?, Interests::structure.of(batch)?);
            let samples = Interests::sample.of(batch)?;
            for row in 0..batch.num_rows() {
                let user_id = users.value(row);
                if all.last().is_none_or(|last| last.user_id != user_id) {
                    all.push(Candidates { user_id: user_id.to_owned(), ..Candidates::default() });
                }
                let Some(last) = all.last_mut() else { continue };
                let known = structures.is_valid(row);
                let queries = queries.row(row).map(str::to_owned).collect();
                last.numbers.push(numbers.value(row));
                last.samples.push(samples.value(row));
                last.lists.push(List { queries, reasoning: None, valid: known && structures.value(row) >= 1.0 });
                last.forms.push(known);
            }
        }
        Ok(all)
    }

    /// The user with the list alone that was sampled first.
    pub(crate) fn first(&self) -> Self {
        let mut only = Candidates { user_id: self.user_id.clone(), ..Candidates::default() };
        if let Some(at) = (0..self.samples.len()).min_by_key(|at| self.samples[*at]) {
            only.numbers.push(self.numbers[at]);
            only.samples.push(self.samples[at]);
            only.lists.push(self.lists[at].clone());
            only.forms.push(self.forms[at]);
        }
        only
    }
}

/// The scores of some users' lists. `dataset`: what holds them.
///
/// # Errors
/// When there is no such user.
pub(crate) fn scores(
    rewards: &Rewards,
    people: &People,
    candidates: &[Candidates],
    dataset: &str,
) -> Result<Vec<Vec<Score>>> {
    scores_of(rewards, &interests_of(rewards, people, candidates, dataset)?, candidates)
}

/// What the users of some lists are interested in.
///
/// # Errors
/// When there is no such user.
pub(crate) fn interests_of(
    rewards: &Rewards,
    people: &People,
    candidates: &[Candidates],
    dataset: &str,
) -> Result<Vec<UserInterests>> {
    let users = candidates.iter().map(|of| people.of(of, dataset)).collect::<Result<Vec<_>>>()?;
    rewards.interests(&users)
}

/// The scores of lists whose users' interests are known.
pub(crate) fn scores_of(
    rewards: &Rewards,
    interests: &[UserInterests],
    candidates: &[Candidates],
) -> Result<Vec<Vec<Score>>> {
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
