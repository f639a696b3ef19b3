//! Whom to recommend to: users, what they have read, and their queries.

use std::collections::{BTreeMap, HashMap, HashSet};

use arrow::array::{Array, ListArray, StringArray, StructArray, UInt32Array};
use dataset::plan::{Digest, digest};
use dataset::{Error, Input, InputRef, Result, Rows, Source, Store, same_users};
use schemas::{Events, Interests, Profiles};
use serde::Serialize;
use serde_json::json;

/// Where a user's queries come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Queries {
    /// The chosen list of `interests`.
    Interests,
    /// The user's own most recent news titles, at most this many.
    OwnTitles(usize),
    /// The method needs none.
    None,
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

/// The users of `profiles`, bucket by bucket.
#[derive(Debug)]
pub struct People {
    profiles: Input<Profiles>,
    events: Option<Input<Events>>,
    interests: Option<Input<Interests>>,
    queries: Queries,
    others: BTreeMap<String, InputRef>,
}

impl People {
    /// The current versions. `others`: what else the result depends on, such as the index.
    ///
    /// # Errors
    /// When a dataset is missing, or when they are not of one ingest.
    pub fn open(store: &Store, queries: Queries, keep_seen: bool, others: BTreeMap<String, InputRef>) -> Result<Self> {
        let profiles = Input::<Profiles>::open(store, "profiles")?;
        let columns: &[&'static str] = match queries {
            Queries::OwnTitles(_) => &["user_id", "behaviours"],
            _ => &["user_id"],
        };
        let events = (!keep_seen)
            .then(|| Ok::<_, Error>(Input::<Events>::open(store, "events")?.columns(&["user_id", "domain", "news_id"])))
            .transpose()?;
        let interests = matches!(queries, Queries::Interests)
            .then(|| {
                Ok::<_, Error>(Input::<Interests>::open(store, "interests")?.columns(&[
                    "user_id",
                    "candidate",
                    "queries",
                ]))
            })
            .transpose()?;
        events.as_ref().map_or(Ok(()), |events| same_users(&profiles, events))?;
        interests.as_ref().map_or(Ok(()), |interests| same_users(&profiles, interests))?;
        Ok(People { profiles: profiles.columns(columns), events, interests, queries, others })
    }
}

impl Source for People {
    type Rows = Vec<Person>;

    fn partitions(&self) -> u32 {
        self.profiles.partitions()
    }

    fn inputs(&self) -> BTreeMap<String, InputRef> {
        let mut inputs = self.profiles.inputs();
        inputs.extend(self.events.iter().flat_map(Source::inputs));
        inputs.extend(self.interests.iter().flat_map(Source::inputs));
        inputs.extend(self.others.clone());
        inputs
    }

    fn key(&self, partition: u32) -> Digest {
        let others: Vec<_> = self.others.iter().map(|(name, input)| (name, &input.content)).collect();
        digest(&json!([
            self.profiles.key(partition),
            self.events.as_ref().map(|i| i.key(partition)),
            self.interests.as_ref().map(|i| i.key(partition)),
            others
        ]))
    }

    fn memory_bytes(&self, partition: u32) -> u64 {
        self.profiles.memory_bytes(partition)
            + self.events.as_ref().map_or(0, |i| i.memory_bytes(partition))
            + self.interests.as_ref().map_or(0, |i| i.memory_bytes(partition))
    }

    fn user_key_check(&self) -> Option<&str> {
        self.profiles.user_key_check()
    }

    fn read(&self, partition: u32) -> Result<Vec<Person>> {
        let mut people = Vec::new();
        for batch in self.profiles.read(partition)?.batches() {
            let users = Rows::<Profiles>::column::<StringArray>(batch, "user_id")?;
            let titles = match self.queries {
                Queries::OwnTitles(titles) => {
                    Some((Rows::<Profiles>::column::<ListArray>(batch, "behaviours")?, titles))
                }
                _ => None,
            };
            for row in 0..batch.num_rows() {
                let queries = match titles {
                    Some((behaviours, titles)) => own_titles(&behaviours.value(row), titles)?,
                    None => Vec::new(),
                };
                people.push(Person { user_id: users.value(row).to_owned(), queries, seen: HashSet::new() });
            }
        }
        let at: HashMap<String, usize> = people.iter().enumerate().map(|(at, p)| (p.user_id.clone(), at)).collect();
        if let Some(events) = &self.events {
            for batch in events.read(partition)?.batches() {
                let users = Rows::<Events>::column::<StringArray>(batch, "user_id")?;
                let news = Rows::<Events>::column::<StringArray>(batch, "news_id")?;
                for row in (0..batch.num_rows()).filter(|&row| news.is_valid(row)) {
                    if let Some(&at) = at.get(users.value(row)) {
                        people[at].seen.insert(news.value(row).to_owned());
                    }
                }
            }
        }
        if let Some(interests) = &self.interests {
            for batch in interests.read(partition)?.batches() {
                let users = Rows::<Interests>::column::<StringArray>(batch, "user_id")?;
                let candidates = Rows::<Interests>::column::<UInt32Array>(batch, "candidate")?;
                let queries = Rows::<Interests>::column::<ListArray>(batch, "queries")?;
                for row in (0..batch.num_rows()).filter(|&row| candidates.value(row) == 0) {
                    let Some(&at) = at.get(users.value(row)) else {
                        return Err(Error::Mismatch {
                            what: format!("interests, user {}", users.value(row)),
                            expected: "a user of profiles".into(),
                            got: "none".into(),
                            hint: "profiles changed since: generate the interests again".into(),
                        });
                    };
                    let list = queries.value(row);
                    let list = list.as_any().downcast_ref::<StringArray>().into_iter().flatten().flatten();
                    people[at].queries = distinct(list, usize::MAX);
                }
            }
        }
        Ok(people)
    }
}

/// Titles of the most recent news clicks in a user's behaviours, which lie most recent first.
fn own_titles(behaviours: &dyn Array, titles: usize) -> Result<Vec<String>> {
    let column = |name: &str| {
        let behaviours = behaviours.as_any().downcast_ref::<StructArray>()?;
        behaviours.column_by_name(name)?.as_any().downcast_ref::<StringArray>()
    };
    let (Some(domains), Some(texts)) = (column("domain"), column("text")) else {
        return Err(Error::unreadable("profiles", "behaviours without domain and text", "run cap again"));
    };
    let news = domains.iter().zip(texts).filter(|(domain, _)| *domain == Some("news"));
    Ok(distinct(news.filter_map(|(_, text)| text), titles))
}

fn distinct<'a>(texts: impl Iterator<Item = &'a str>, at_most: usize) -> Vec<String> {
    let mut seen = HashSet::new();
    texts
        .map(str::trim)
        .filter(|text| !text.is_empty() && seen.insert(*text))
        .take(at_most)
        .map(str::to_owned)
        .collect()
}
