//! Whom to recommend to: users, what they have read, and their queries.

use std::collections::{HashMap, HashSet};

use arrow::array::Array;
use clap::ValueEnum;
use dataset::{ByPartition, Error, Inputs, Result, Whole};
use schemas::{Behaviours, Events, Interests, LatentInterests, LatentInterestsColumns, Lists, Profiles};
use serde::{Deserialize, Serialize};

use crate::Pool;

/// Where a user's queries come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Queries {
    /// The chosen list of this dataset; or the best of the first so many samples, where all lists were kept.
    Interests {
        /// The dataset.
        dataset: String,
        /// How many samples count, if not all.
        best_of: Option<usize>,
    },
    /// The user's own most recent news titles, at most this many.
    OwnTitles(usize),
    /// What is known of a simulated user's latent interests.
    Attainable,
    /// The method needs none.
    None,
}

/// Which users get lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Among {
    /// All who have a profile.
    #[default]
    All,
    /// Only those that interests names, where not all were asked for lists.
    Interests,
}

/// Those who are named, bucket by bucket.
#[derive(Debug)]
pub(crate) struct Asked(ByPartition<Interests>);

impl Among {
    pub(crate) fn declare(self, declare: &mut Inputs<'_>) -> Result<Option<Asked>> {
        let interests =
            (self == Among::Interests).then(|| declare.by_partition::<Interests>("interests")).transpose()?;
        Ok(interests.map(|interests| Asked(interests.columns(&[Interests::user_id.name()]))))
    }
}

impl Asked {
    /// The users of a bucket who are named.
    pub(crate) fn read(&self, partition: u32) -> Result<HashSet<String>> {
        let mut users = HashSet::new();
        for batch in self.0.read(partition)?.batches() {
            users.extend(Interests::user_id.of(batch)?.iter().flatten().map(str::to_owned));
        }
        Ok(users)
    }
}

/// One user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Person {
    /// Our id.
    pub user_id: String,
    /// Distinct, not blank.
    pub queries: Vec<String>,
    /// Articles read before the cut-off.
    pub seen: HashSet<String>,
}

impl Person {
    /// The articles of a pool that they have read.
    pub(crate) fn seen_of(&self, pool: &Pool) -> HashSet<u32> {
        self.seen.iter().filter_map(|id| pool.number(id)).collect()
    }
}

/// What simulated users care about, as queries: the phrases of their latent interests, those of the weightiest first.
pub type Phrases = HashMap<String, Vec<String>>;

/// The users of `profiles`, bucket by bucket.
#[derive(Debug)]
pub struct People {
    profiles: ByPartition<Profiles>,
    events: Option<ByPartition<Events>>,
    interests: Option<ByPartition<Interests>>,
    latent: Option<Whole<LatentInterests>>,
    asked: Option<Asked>,
    queries: Queries,
}

impl People {
    /// Declares what is read of users; `events` only where articles that they have read are left out.
    pub fn declare(declare: &mut Inputs<'_>, queries: Queries, keep_seen: bool, among: Among) -> Result<Self> {
        let asked = among.declare(declare)?;
        let columns = [Profiles::user_id.name(), Profiles::behaviours.name()];
        let columns = if matches!(queries, Queries::OwnTitles(_)) { &columns[..] } else { &columns[..1] };
        let profiles = declare.by_partition::<Profiles>("profiles")?.columns(columns);
        let events = (!keep_seen).then(|| declare.by_partition::<Events>("events")).transpose()?;
        let events = events.map(|events| events.columns(&[Events::user_id.name(), Events::news_id.name()]));
        let interests = match &queries {
            Queries::Interests { dataset, .. } => {
                let columns = [
                    Interests::user_id.name(),
                    Interests::candidate.name(),
                    Interests::queries.name(),
                    Interests::sample.name(),
                ];
                Some(declare.by_partition::<Interests>(dataset)?.columns(&columns))
            }
            _ => None,
        };
        // Its buckets are the simulation's own, so all of it is read.
        let latent = (queries == Queries::Attainable).then(|| declare.whole("latent_interests")).transpose()?;
        Ok(People { profiles, events, interests, latent, asked, queries })
    }

    /// The phrases of latent interests, where they are the queries: a topic, and one of its entities that the user follows.
    ///
    /// Of the phrasings tried on the demo's world this one fetched most of what was read next (docs/experiments.md). It is no bound: what
    /// users did says how much they care, too.
    pub fn phrases(&self) -> Result<Phrases> {
        let mut weighted: HashMap<String, Vec<(f64, String)>> = HashMap::new();
        for part in self.latent.iter().flat_map(Whole::parts) {
            for columns in part?.columns() {
                let LatentInterestsColumns { user_id, topic, entities, weight } = columns?;
                for row in 0..weight.len() {
                    let of_user = weighted.entry(user_id.value(row).to_owned()).or_default();
                    let phrases = entities.row(row).map(|entity| format!("{} {entity}", topic.value(row)));
                    of_user.extend(phrases.map(|phrase| (weight.value(row), phrase)));
                }
            }
        }
        let phrases = |mut interests: Vec<(f64, String)>| {
            interests.sort_by(|a, b| b.0.total_cmp(&a.0));
            interests.into_iter().map(|(_, phrase)| phrase).collect()
        };
        Ok(weighted.into_iter().map(|(user, interests)| (user, phrases(interests))).collect())
    }

    /// The users of a bucket, in the order of their ids. `phrases`: those of [`People::phrases`].
    /// Those who are not to get lists are only counted.
    pub fn read(&self, partition: u32, phrases: &Phrases) -> Result<(Vec<Person>, u64)> {
        let mut people = Vec::new();
        let asked = self.asked.as_ref().map(|asked| asked.read(partition)).transpose()?;
        let mut passed_over = HashSet::new();
        for batch in self.profiles.read(partition)?.batches() {
            let users = Profiles::user_id.of(batch)?;
            let titles = match self.queries {
                Queries::OwnTitles(titles) => Some((Profiles::behaviours.of(batch)?, titles)),
                _ => None,
            };
            for row in 0..batch.num_rows() {
                let (user_id, seen) = (users.value(row).to_owned(), HashSet::new());
                if asked.as_ref().is_some_and(|asked| !asked.contains(&user_id)) {
                    passed_over.insert(user_id);
                    continue;
                }
                let queries = match &titles {
                    Some((behaviours, titles)) => own_titles(behaviours, row, *titles),
                    None => phrases.get(&user_id).cloned().unwrap_or_default(),
                };
                people.push(Person { user_id, queries, seen });
            }
        }
        let at: HashMap<String, usize> = people.iter().enumerate().map(|(at, p)| (p.user_id.clone(), at)).collect();
        if let Some(events) = &self.events {
            for batch in events.read(partition)?.batches() {
                let (users, news) = (Events::user_id.of(batch)?, Events::news_id.of(batch)?);
                for row in (0..batch.num_rows()).filter(|&row| news.is_valid(row)) {
                    if let Some(&at) = at.get(users.value(row)) {
                        people[at].seen.insert(news.value(row).to_owned());
                    }
                }
            }
        }
        if let (Some(interests), Queries::Interests { dataset, best_of }) = (&self.interests, &self.queries) {
            // Lists of each user that count; none for who has no list at all.
            let mut kept: Vec<Option<usize>> = vec![None; people.len()];
            for batch in interests.read(partition)?.batches() {
                let (users, candidates) = (Interests::user_id.of(batch)?, Interests::candidate.of(batch)?);
                let (queries, samples) = (Interests::queries.of(batch)?, Interests::sample.of(batch)?);
                // Lists lie best first, so the best of some is the first of them.
                let counts = |row: usize| match best_of {
                    Some(n) => usize::try_from(samples.value(row)).is_ok_and(|sample| sample < *n),
                    None => candidates.value(row) == 0,
                };
                for row in 0..batch.num_rows() {
                    if passed_over.contains(users.value(row)) {
                        continue;
                    }
                    let Some(&at) = at.get(users.value(row)) else {
                        let what =
                            format!("{dataset}, user {}: expected a user of profiles, got none", users.value(row));
                        return Err(Error::retry(what, "profiles changed since: generate the interests again"));
                    };
                    let kept = kept[at].get_or_insert(0);
                    if counts(row) {
                        if *kept == 0 {
                            people[at].queries = distinct(queries.row(row), usize::MAX);
                        }
                        *kept += 1;
                    }
                }
            }
            let fewer = |kept: &Option<usize>| kept.is_some() && best_of.is_some() && kept != best_of;
            if let Some(at) = kept.iter().position(fewer) {
                let expected = "at most the lists that were kept of each user";
                let got = format!("{} with {} of them", best_of.unwrap_or_default(), kept[at].unwrap_or_default());
                let hint =
                    format!("{dataset}: write so many lists and keep all: querent generate --samples N --keep-all");
                return Err(Error::setting("retrieve.best_of", expected, got, hint));
            }
        }
        Ok((people, passed_over.len() as u64))
    }
}

/// Titles of the most recent news clicks in a user's behaviours, which lie most recent first.
fn own_titles(behaviours: &Lists<Behaviours>, row: usize, titles: usize) -> Vec<String> {
    let Behaviours { domain, text, .. } = behaviours.items();
    let news = behaviours.range(row).filter(|&at| domain.value(at) == "news");
    distinct(news.map(|at| text.value(at)), titles)
}

/// The texts that are not blank, each once, at most so many.
pub(crate) fn distinct<'a>(texts: impl Iterator<Item = &'a str>, at_most: usize) -> Vec<String> {
    let mut seen = HashSet::new();
    texts
        .map(str::trim)
        .filter(|text| !text.is_empty() && seen.insert(*text))
        .take(at_most)
        .map(str::to_owned)
        .collect()
}
