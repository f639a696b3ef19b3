//! `simulate`: a news platform with known truth, at any scale.
//!
//! A deterministic world (`world.rs`) of topics, entities and articles; users (`user.rs`) whose 2 to 6 latent interests drive what
//! they search, visit and read, among noise (`noise.rs`). Queries, page titles and headlines phrase an interest by patterns that
//! they do not share. It writes raw logs as a platform would have them, and, apart from them and for evaluation only, the
//! interests and the labels. A user is a pure function of (seed, number), so memory does not grow with users.

mod noise;
mod random;
mod user;
mod world;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, ListBuilder, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field};
use chrono::{DateTime, TimeZone, Utc};
use dataset::bucket::{bucket, hex, split};
use dataset::{Account, Done, Error, Nothing, Origin, Result, Rows, Runner, Stage, Summary, UserKey, from_columns};
use schemas::{DOMAINS, LatentInterests, RawClicks, RawNews, RawSearches, RawVisits, TrueLabels};
use serde::{Deserialize, Serialize};

use crate::cap::utc;
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

/// Writes raw logs of a simulated platform, and their truth.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Simulate {
    /// Number of users.
    pub users: u64,
    /// Number of articles, spread evenly over the time.
    pub news: u64,
    /// Another seed, another world of users and articles.
    pub seed: u64,
    /// Share of searches and page visits that are noise.
    pub noise: f64,
    /// Where history ends and the evaluation window begins.
    pub cut_off: DateTime<Utc>,
    /// Length of the history.
    pub history_days: u32,
    /// Length of the evaluation window.
    pub window_days: u32,
}

impl Default for Simulate {
    fn default() -> Self {
        Simulate {
            users: 2_000,
            news: 20_000,
            seed: 1,
            noise: 0.25,
            cut_off: Utc.timestamp_opt(1_764_547_200, 0).single().expect("2025-12-01"),
            history_days: 30,
            window_days: 7,
        }
    }
}

impl Simulate {
    fn check(&self) -> Result<()> {
        let positive = [
            ("users", self.users),
            ("news", self.news),
            ("history_days", self.history_days.into()),
            ("window_days", self.window_days.into()),
        ];
        for (name, value) in positive {
            if value == 0 {
                return Err(Error::setting(
                    &format!("simulate.{name}"),
                    "at least 1",
                    0,
                    "see `querent simulate --help`",
                ));
            }
        }
        if !(0.0..=0.9).contains(&self.noise) {
            return Err(Error::setting("simulate.noise", "0 to 0.9", self.noise, "a quarter is the default"));
        }
        Ok(())
    }
}

/// Runs the whole job.
pub fn simulate(runner: &Runner, settings: &Simulate, key: &UserKey) -> Result<Vec<Summary>> {
    settings.check()?;
    let parts = |items: u64, per_part: u64| items.div_ceil(per_part) as u32;
    let origin = || Origin { seed: Some(settings.seed), ..Origin::default() };
    let source = |partitions, memory_bytes| Nothing { partitions, memory_bytes, user_key_check: None };
    let news = NewsLog(settings.clone());
    let news_source = source(parts(settings.news, NEWS_PER_PART), NEWS_PER_PART * 400);
    let news = runner.run(&news, &news_source, &["raw_news"], origin())?;
    let logs = Logs { settings: settings.clone(), key };
    let logs_source = Nothing {
        user_key_check: Some(key.check()),
        ..source(parts(settings.users, USERS_PER_PART), USERS_PER_PART * BYTES_PER_USER)
    };
    let logs = runner.run(&logs, &logs_source, &["raw_searches", "raw_visits", "raw_clicks"], origin())?;
    let truth = HiddenTruth { settings: settings.clone(), key };
    let truth_source = Nothing {
        user_key_check: Some(key.check()),
        ..source(parts(settings.users, USERS_PER_BUCKET), USERS_PER_BUCKET.min(settings.users) * BYTES_PER_USER)
    };
    let truth = runner.run(&truth, &truth_source, &["true_labels", "latent_interests"], origin())?;
    Ok(vec![news, logs, truth])
}

fn texts<S: AsRef<str>>(values: impl IntoIterator<Item = S>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn text_lists<'a>(lists: impl IntoIterator<Item = Vec<&'a str>>) -> ArrayRef {
    let field = Field::new("item", DataType::Utf8, false);
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(field);
    for list in lists {
        builder.append_value(list.into_iter().map(Some));
    }
    Arc::new(builder.finish())
}

/// The articles.
#[derive(Debug, Serialize)]
struct NewsLog(Simulate);

impl Stage for NewsLog {
    const NAME: &'static str = "simulate-news";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "articles";
    type Inputs = ();
    type Outputs = Rows<RawNews>;

    fn run(&self, part: u32, (): ()) -> Result<Done<Self::Outputs>> {
        let world = World::new(&self.0);
        let start = u64::from(part) * NEWS_PER_PART;
        let articles: Vec<_> =
            (start..(start + NEWS_PER_PART).min(self.0.news)).map(|number| world.article(number)).collect();
        let written: Vec<_> = articles.iter().map(|a| a.texts(self.0.seed)).collect();
        let rows = from_columns::<RawNews>(vec![
            texts(articles.iter().map(|a| a.id())),
            Arc::new(utc(articles.iter().map(|a| a.published_us).collect())),
            texts(articles.iter().map(|a| &TOPICS[a.topic].category)),
            texts(articles.iter().map(|a| &TOPICS[a.topic].subcategory)),
            texts(written.iter().map(|(title, _)| title)),
            Arc::new(StringArray::from_iter(written.iter().map(|(_, summary)| summary.as_deref()))),
            text_lists(articles.iter().map(|a| vec![a.entity_name()])),
        ])?;
        Ok(Done { outputs: Rows::new(vec![rows]), accounts: Vec::new() })
    }
}

/// The users' logs, a thousand users and their mingled rows per file.
#[derive(Debug, Serialize)]
struct Logs<'a> {
    settings: Simulate,
    #[serde(skip)]
    key: &'a UserKey,
}

impl Stage for Logs<'_> {
    const NAME: &'static str = "simulate";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "users";
    type Inputs = ();
    type Outputs = (Rows<RawSearches>, Rows<RawVisits>, Rows<RawClicks>);

    fn run(&self, part: u32, (): ()) -> Result<Done<Self::Outputs>> {
        let world = World::new(&self.settings);
        let users = Users::new(&self.settings, &world);
        let mut logs: [Vec<(i64, u64, String)>; 3] = Default::default();
        let start = u64::from(part) * USERS_PER_PART;
        let numbers = start..(start + USERS_PER_PART).min(self.settings.users);
        let account = Account::all(numbers.end - numbers.start);
        for number in numbers {
            let id = self.key.user_id(raw_id(self.settings.seed, number).as_bytes());
            for behaviour in users.behaviours(number, split(&id) == "test") {
                let (log, text) = match behaviour.act {
                    Act::Search(query) => (0, query),
                    Act::Visit(title) => (1, title),
                    Act::Click(article) => (2, article.id()),
                };
                logs[log].push((behaviour.at_us, number, text));
            }
        }
        let columns = |mut log: Vec<(i64, u64, String)>| -> Vec<ArrayRef> {
            log.sort();
            vec![
                texts(log.iter().map(|(_, number, _)| raw_id(self.settings.seed, *number))),
                Arc::new(utc(log.iter().map(|(at, ..)| *at).collect())),
                texts(log.iter().map(|(.., text)| text)),
            ]
        };
        let [searches, visits, clicks] = logs.map(columns);
        let outputs = (
            Rows::new(vec![from_columns::<RawSearches>(searches)?]),
            Rows::new(vec![from_columns::<RawVisits>(visits)?]),
            Rows::new(vec![from_columns::<RawClicks>(clicks)?]),
        );
        Ok(Done { outputs, accounts: vec![account; 3] })
    }
}

/// What nobody but evaluation may know: the interests, and which behaviours are noise.
#[derive(Debug, Serialize)]
struct HiddenTruth<'a> {
    settings: Simulate,
    #[serde(skip)]
    key: &'a UserKey,
}

impl Stage for HiddenTruth<'_> {
    const NAME: &'static str = "simulate-truth";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "behaviours";
    type Inputs = ();
    type Outputs = (Rows<TrueLabels>, Rows<LatentInterests>);

    fn run(&self, partition: u32, (): ()) -> Result<Done<Self::Outputs>> {
        let settings = &self.settings;
        let world = World::new(settings);
        let users = Users::new(settings, &world);
        let buckets = settings.users.div_ceil(USERS_PER_BUCKET) as u32;
        // The bucket's users, by our ids.
        let mut ours: Vec<([u8; 16], u64)> = (0..settings.users)
            .map(|number| (self.key.user_id(raw_id(settings.seed, number).as_bytes()), number))
            .filter(|(id, _)| bucket(id, buckets) == partition)
            .collect();
        ours.sort();
        let mut labels: Vec<RecordBatch> = Vec::new();
        for (id, number) in &ours {
            labels.push(self.labels(id, users.behaviours(*number, split(id) == "test"))?);
        }
        let interests: Vec<_> = ours
            .iter()
            .flat_map(|(id, number)| {
                let mut interests = users.interests(*number);
                interests.sort_by_key(|i| &TOPICS[i.topic].name);
                interests.into_iter().map(|i| (hex(id), i))
            })
            .collect();
        let interests = from_columns::<LatentInterests>(vec![
            texts(interests.iter().map(|(id, _)| id)),
            texts(interests.iter().map(|(_, i)| &TOPICS[i.topic].name)),
            text_lists(
                interests
                    .iter()
                    .map(|(_, i)| i.entities.iter().map(|e| TOPICS[i.topic].entities[*e].as_str()).collect()),
            ),
            Arc::new(Float64Array::from_iter_values(interests.iter().map(|(_, i)| i.weight))),
        ])?;
        Ok(Done { outputs: (Rows::new(labels), Rows::new(vec![interests])), accounts: Vec::new() })
    }
}

impl HiddenTruth<'_> {
    /// A user's labels. Their event ids are those that ingest will give: of the text as scrubbed.
    fn labels(&self, id: &[u8; 16], behaviours: Vec<Behaviour>) -> Result<RecordBatch> {
        let cut_off = self.settings.cut_off.timestamp_micros();
        let mut labels: Vec<_> = behaviours
            .into_iter()
            .filter(|b| b.at_us < cut_off)
            .map(|b| {
                let (domain, text) = match b.act {
                    Act::Visit(title) => (DOMAINS[0], title),
                    Act::Click(article) => (DOMAINS[1], article.texts(self.settings.seed).0),
                    Act::Search(query) => (DOMAINS[2], query),
                };
                let text = normalise(&text);
                let text = scrub(&text, &mut Counts::default());
                (hex(&event_id(id, domain, b.at_us, &text)), domain, b.keep, b.kind)
            })
            .collect();
        labels.sort();
        labels.dedup_by(|a, b| a.0 == b.0);
        from_columns::<TrueLabels>(vec![
            texts(labels.iter().map(|(event, ..)| event)),
            texts(labels.iter().map(|_| hex(id))),
            texts(labels.iter().map(|(_, domain, ..)| domain)),
            Arc::new(BooleanArray::from_iter(labels.iter().map(|(.., keep, _)| Some(*keep)))),
            texts(labels.iter().map(|(.., kind)| kind)),
        ])
    }
}
