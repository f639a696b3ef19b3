//! `simulate`: a news platform with known truth, at any scale.
//!
//! A deterministic world (`world.rs`) of topics, entities and articles; users (`user.rs`) whose 2 to 6 latent interests drive what
//! they search, visit and read, among noise (`noise.rs`). Queries, page titles and headlines phrase an interest by patterns that
//! they do not share. It writes raw logs as a platform would have them, and, apart from them and for evaluation only, the
//! interests and the labels. A user is a pure function of (seed, number), so memory does not grow with users.

mod experiment;
mod noise;
mod random;
mod user;
mod world;

use arrow::array::{BooleanArray, StringArray};
use chrono::{DateTime, TimeZone, Utc};
use clap::Args;
use dataset::bucket::{bucket, hex, split};
use dataset::{Account, Done, Error, Inputs, Resources, Result, Rows, Runner, Stage, Summary, UserKey};
use schemas::{
    DOMAINS, LatentInterests, LatentInterestsColumns, RawClicks, RawClicksColumns, RawNews, RawNewsColumns,
    RawSearches, RawSearchesColumns, RawVisits, RawVisitsColumns, TrueLabels, TrueLabelsColumns,
};
use serde::{Deserialize, Serialize};

pub use experiment::{Experiment, simulate_experiment};

use crate::ingest::event_id;
use crate::scrub::{Counts, normalise, scrub};
use user::{Act, Behaviour, Users, raw_id};
use world::{TOPICS, World};

/// Users per raw file.
const USERS_PER_PART: u64 = 1_000;
/// Articles per raw file.
const NEWS_PER_PART: u64 = 100_000;
/// Users per bucket of the truth datasets. (Finding a bucket's users hashes all users: their number squared by this.)
const USERS_PER_BUCKET: u64 = 8_000;
/// A user's rows in memory, on average.
const BYTES_PER_USER: u64 = 12 * 1024;

/// Longest history or window: a century.
const MOST_DAYS: u32 = 36_525;

/// Writes raw logs of a simulated platform, and their truth.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct Simulate {
    /// Number of users
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    pub users: u64,
    /// Number of articles, spread evenly over the time
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub news: u64,
    /// Another seed, another world of users and articles
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Share of searches and page visits that are noise
    #[arg(long, value_name = "SHARE", default_value_t = 0.25)]
    pub noise: f64,
    /// Where history ends and the evaluation window begins
    #[arg(long, value_name = "TIME", default_value_t = Utc.timestamp_opt(1_764_547_200, 0).single().expect("2025-12-01"))]
    pub cut_off: DateTime<Utc>,
    /// Length of the history
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub history_days: u32,
    /// Length of the evaluation window
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub window_days: u32,
}

impl Default for Simulate {
    fn default() -> Self {
        dataset::defaults()
    }
}

impl Simulate {
    /// Checks that the settings make sense.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<()> {
        let most = [
            ("users", self.users, u64::from(u32::MAX)),
            ("news", self.news, u64::from(u32::MAX)),
            ("history_days", self.history_days.into(), MOST_DAYS.into()),
            ("window_days", self.window_days.into(), MOST_DAYS.into()),
        ];
        for (name, value, most) in most {
            if !(1..=most).contains(&value) {
                let hint = "see `querent simulate --help`";
                return Err(Error::setting(&format!("simulate.{name}"), format!("1 to {most}"), value, hint));
            }
        }
        if !(0.0..=0.9).contains(&self.noise) {
            return Err(Error::setting("simulate.noise", "0 to 0.9", self.noise, "a quarter is the default"));
        }
        Ok(())
    }
}

/// Runs the whole job.
pub fn simulate(runner: &Runner, settings: &Simulate) -> Result<Vec<Summary>> {
    settings.check()?;
    let news = runner.run(&SimulateNews(settings.clone()), &["raw_news"])?;
    let logs = runner.run(&SimulateLogs(settings.clone()), &["raw_searches", "raw_visits", "raw_clicks"])?;
    let truth = runner.run(&SimulateTruth(settings.clone()), &["true_labels", "latent_interests"])?;
    Ok(vec![news, logs, truth])
}

fn parts(items: u64, per_part: u64) -> u32 {
    items.div_ceil(per_part) as u32
}

fn texts<S: AsRef<str>>(values: impl IntoIterator<Item = S>) -> StringArray {
    StringArray::from_iter_values(values)
}

/// The articles.
#[derive(Debug, Serialize, Deserialize)]
struct SimulateNews(Simulate);

impl Stage for SimulateNews {
    const NAME: &'static str = "simulate-news";
    const VERSION: u32 = 2;
    const UNIT: &'static str = "articles";
    type Inputs = ();
    type Shared = ();
    type Outputs = Rows<RawNews>;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<()> {
        declare.partitions(parts(self.0.news, NEWS_PER_PART))
    }

    fn open(&self, (): &(), _: &Resources) -> Result<()> {
        Ok(())
    }

    fn run(&self, (): &(), (): &(), part: u32) -> Result<Done<Self::Outputs>> {
        let world = World::new(&self.0);
        let start = u64::from(part) * NEWS_PER_PART;
        let articles: Vec<_> =
            (start..(start + NEWS_PER_PART).min(self.0.news)).map(|number| world.article(number)).collect();
        let written: Vec<_> = articles.iter().map(|a| a.texts(self.0.seed)).collect();
        let columns = RawNewsColumns {
            article: texts(articles.iter().map(|a| a.id())),
            published: articles.iter().map(|a| a.published_us).collect::<Vec<_>>().into(),
            section: texts(articles.iter().map(|a| &TOPICS[a.topic].category)),
            subsection: texts(articles.iter().map(|a| &TOPICS[a.topic].subcategory)),
            headline: texts(written.iter().map(|(title, _)| title)),
            summary: written.iter().map(|(_, summary)| summary.as_deref()).collect(),
            tags: articles.iter().map(|a| vec![a.entity_name()]).collect(),
        };
        Ok(Done { outputs: Rows::of(columns)?, accounts: Vec::new() })
    }

    fn memory_bytes(&self, (): &(), _: u64) -> u64 {
        3 * NEWS_PER_PART * 400
    }
}

/// The users' logs, a thousand users and their mingled rows per file.
#[derive(Debug, Serialize, Deserialize)]
struct SimulateLogs(Simulate);

impl Stage for SimulateLogs {
    const NAME: &'static str = "simulate";
    const VERSION: u32 = 2;
    const UNIT: &'static str = "users";
    type Inputs = UserKey;
    type Shared = ();
    type Outputs = (Rows<RawSearches>, Rows<RawVisits>, Rows<RawClicks>);

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<UserKey> {
        declare.partitions(parts(self.0.users, USERS_PER_PART))?;
        declare.user_key()
    }

    fn open(&self, _: &UserKey, _: &Resources) -> Result<()> {
        Ok(())
    }

    fn run(&self, key: &UserKey, (): &(), part: u32) -> Result<Done<Self::Outputs>> {
        let settings = &self.0;
        let world = World::new(settings);
        let users = Users::new(settings, &world);
        let mut logs: [Vec<(i64, u64, String)>; 3] = Default::default();
        let start = u64::from(part) * USERS_PER_PART;
        let numbers = start..(start + USERS_PER_PART).min(settings.users);
        let account = Account::all(numbers.end - numbers.start);
        for number in numbers {
            let id = key.user_id(raw_id(settings.seed, number).as_bytes());
            for behaviour in users.behaviours(number, split(&id) == "test") {
                let (log, text) = match behaviour.act {
                    Act::Search(query) => (0, query),
                    Act::Visit(title) => (1, title),
                    Act::Click(article) => (2, article.id()),
                };
                logs[log].push((behaviour.at_us, number, text));
            }
        }
        logs.iter_mut().for_each(|log| log.sort());
        let uid = |log: usize| texts(logs[log].iter().map(|(_, number, _)| raw_id(settings.seed, *number)));
        let at = |log: usize| logs[log].iter().map(|(at, ..)| *at).collect::<Vec<_>>().into();
        let text = |log: usize| texts(logs[log].iter().map(|(.., text)| text));
        let outputs = (
            Rows::of(RawSearchesColumns { uid: uid(0), searched_at: at(0), query: text(0) })?,
            Rows::of(RawVisitsColumns { uid: uid(1), visited_at: at(1), title: text(1) })?,
            Rows::of(RawClicksColumns { uid: uid(2), clicked_at: at(2), article: text(2) })?,
        );
        Ok(Done { outputs, accounts: vec![account; 3] })
    }

    fn memory_bytes(&self, (): &(), _: u64) -> u64 {
        3 * USERS_PER_PART * BYTES_PER_USER
    }
}

/// What nobody but evaluation may know: the interests, and which behaviours are noise.
#[derive(Debug, Serialize, Deserialize)]
struct SimulateTruth(Simulate);

impl Stage for SimulateTruth {
    const NAME: &'static str = "simulate-truth";
    const VERSION: u32 = 3;
    const UNIT: &'static str = "behaviours";
    type Inputs = UserKey;
    /// Each bucket's users: our id and their number.
    type Shared = Vec<Vec<([u8; 16], u64)>>;
    type Outputs = (Rows<TrueLabels>, Rows<LatentInterests>);

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<UserKey> {
        declare.partitions(parts(self.0.users, USERS_PER_BUCKET))?;
        declare.user_key()
    }

    fn open(&self, key: &UserKey, _: &Resources) -> Result<Self::Shared> {
        let buckets = parts(self.0.users, USERS_PER_BUCKET);
        let mut users = vec![Vec::new(); buckets as usize];
        for number in 0..self.0.users {
            let id = key.user_id(raw_id(self.0.seed, number).as_bytes());
            users[bucket(&id, buckets) as usize].push((id, number));
        }
        users.iter_mut().for_each(|users: &mut Vec<_>| users.sort_unstable());
        Ok(users)
    }

    fn run(&self, _: &UserKey, ours: &Self::Shared, partition: u32) -> Result<Done<Self::Outputs>> {
        let world = World::new(&self.0);
        let (users, ours) = (Users::new(&self.0, &world), &ours[partition as usize]);
        let mut labels = Vec::new();
        for (id, number) in ours {
            labels.extend(self.labels(id, users.behaviours(*number, split(id) == "test"))?.into_batches());
        }
        let interests: Vec<_> = ours
            .iter()
            .flat_map(|(id, number)| {
                let mut interests = users.interests(*number);
                interests.sort_by_key(|i| &TOPICS[i.topic].name);
                interests.into_iter().map(|i| (hex(id), i))
            })
            .collect();
        let interests = LatentInterestsColumns {
            user_id: texts(interests.iter().map(|(id, _)| id)),
            topic: texts(interests.iter().map(|(_, i)| &TOPICS[i.topic].name)),
            entities: interests
                .iter()
                .map(|(_, i)| i.entities.iter().map(|e| TOPICS[i.topic].entities[*e].as_str()).collect::<Vec<_>>())
                .collect(),
            weight: interests.iter().map(|(_, i)| i.weight).collect::<Vec<_>>().into(),
        };
        Ok(Done { outputs: (Rows::new(labels), Rows::of(interests)?), accounts: Vec::new() })
    }

    fn shared_bytes(&self, _: &Self::Shared) -> u64 {
        24 * self.0.users
    }

    fn memory_bytes(&self, _: &Self::Shared, _: u64) -> u64 {
        3 * USERS_PER_BUCKET.min(self.0.users) * BYTES_PER_USER
    }
}

impl SimulateTruth {
    /// A user's labels. Their event ids are those that ingest will give: of the text as scrubbed, or of the article.
    fn labels(&self, id: &[u8; 16], behaviours: Vec<Behaviour>) -> Result<Rows<TrueLabels>> {
        let cut_off = self.0.cut_off.timestamp_micros();
        let mut labels: Vec<_> = behaviours
            .into_iter()
            .filter(|b| b.at_us < cut_off)
            .map(|b| {
                let clean = |text: String| scrub(&normalise(&text), &mut Counts::default()).into_owned();
                let (domain, what) = match b.act {
                    Act::Visit(title) => (DOMAINS[0], clean(title)),
                    Act::Click(article) => (DOMAINS[1], article.id()),
                    Act::Search(query) => (DOMAINS[2], clean(query)),
                };
                (hex(&event_id(id, domain, b.at_us, &what)), domain, b.keep, b.kind)
            })
            .collect();
        labels.sort();
        labels.dedup_by(|a, b| a.0 == b.0);
        Rows::of(TrueLabelsColumns {
            event_id: texts(labels.iter().map(|(event, ..)| event)),
            user_id: texts(labels.iter().map(|_| hex(id))),
            domain: texts(labels.iter().map(|(_, domain, ..)| domain)),
            label: labels.iter().map(|(.., keep, _)| Some(*keep)).collect::<BooleanArray>(),
            kind: texts(labels.iter().map(|(.., kind)| kind)),
        })
    }
}
