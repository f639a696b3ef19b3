//! The stage `ingest-impressions`: what MIND's impressions of the evaluation window showed, and what of it was clicked, become
//! `impressions`.
//!
//! Only people of `events` or `truth` have any: what is taken out of those is taken out of these by the next run. Of others nothing was
//! clicked, so nothing could be measured.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, AsArray, BooleanArray, FixedSizeBinaryBuilder, Int64Builder, RecordBatch, StringBuilder};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use chrono::{DateTime, Utc};
use dataset::bucket::{bucket, digest_128, hex, unhex};
use dataset::plan::file_digest;
use dataset::{
    Account, ByPartition, Done, Error, Inputs, Regrouped, Resources, Result, Rows, Spill, Stage, UserKey, Whole,
};
use schemas::{Events, Impressions, ImpressionsColumns, News, Truth};
use serde::{Deserialize, Serialize};

use super::collect::Window;
use super::config::times;
use super::mind;
use dataset::ids::article_id;

/// An impression: whose (ours), its own id, when, and what it showed as MIND writes it.
static SPILLED: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("user", DataType::FixedSizeBinary(16), false),
        Field::new("impression", DataType::FixedSizeBinary(16), false),
        Field::new("occurred_at", DataType::Int64, false),
        Field::new("shown", DataType::Utf8, false),
    ]))
});

/// Reads impressions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IngestImpressions {
    pub(super) cut_off: DateTime<Utc>,
    pub(super) window_days: u32,
    pub(super) buckets: u32,
    /// MIND's `behaviors.tsv`; none: the version before is carried on, without people who are not in `events` or `truth` any more.
    #[serde(skip)]
    pub(super) files: Vec<PathBuf>,
}

/// What is read.
#[derive(Debug)]
pub struct ImpressionInputs {
    files: Vec<PathBuf>,
    key: UserKey,
    window: Window,
    events: ByPartition<Events>,
    truth: ByPartition<Truth>,
    news: Whole<News>,
    regrouped: Arc<Regrouped>,
    carried: Option<Whole<Impressions>>,
}

impl ImpressionInputs {
    /// The people of a bucket who have impressions.
    fn known(&self, bucket: u32) -> Result<HashSet<[u8; 16]>> {
        let mut known = HashSet::new();
        for batch in self.events.read(bucket)?.batches() {
            known.extend(Events::user_id.of(batch)?.iter().flatten().filter_map(unhex));
        }
        for batch in self.truth.read(bucket)?.batches() {
            known.extend(Truth::user_id.of(batch)?.iter().flatten().filter_map(unhex));
        }
        Ok(known)
    }
}

impl Stage for IngestImpressions {
    const NAME: &'static str = "ingest-impressions";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "shown articles";
    type Inputs = ImpressionInputs;
    /// Ids of all articles.
    type Shared = HashSet<String>;
    type Outputs = Rows<Impressions>;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<ImpressionInputs> {
        let key = declare.user_key()?;
        let window = times(self.cut_off, self.window_days, 0)?;
        let events = declare.by_partition::<Events>("events")?.columns(&[Events::user_id.name()]);
        let truth = declare.by_partition::<Truth>("truth")?.columns(&[Truth::user_id.name()]);
        let news = declare.whole::<News>("news")?.columns(&[News::news_id.name()]);
        let tasks = self.files.iter().map(|file| Ok(file_digest(file)?.0)).collect::<Result<_>>()?;
        let regrouped = declare.regroup(self.buckets, SPILLED.clone(), tasks)?;
        let carried = if self.files.is_empty() { declare.cache(0, |_| true) } else { None };
        Ok(ImpressionInputs { files: self.files.clone(), key, window, events, truth, news, regrouped, carried })
    }

    fn open(&self, inputs: &ImpressionInputs, _: &Resources) -> Result<HashSet<String>> {
        let mut ids = HashSet::new();
        for part in inputs.news.parts() {
            for batch in part?.batches() {
                ids.extend(News::news_id.of(batch)?.iter().flatten().map(str::to_owned));
            }
        }
        Ok(ids)
    }

    fn map(&self, inputs: &ImpressionInputs, task: usize, spill: &mut Spill<'_>) -> Result<()> {
        let mut sent = Sent::default();
        let mut outside = BTreeMap::<&str, u64>::new();
        mind::read_each(&inputs.files[task], |impression| {
            let why = match impression.at {
                at if at < inputs.window.cut_off => Some("before the cut-off"),
                at if at >= inputs.window.end => Some("after the window"),
                _ => None,
            };
            if let Some(why) = why {
                *outside.entry(why).or_default() += impression.articles().count() as u64;
                return Ok(());
            }
            let user = inputs.key.user_id(impression.user);
            let id = digest_128(&[&user, &impression.at.to_le_bytes(), impression.id]);
            sent.push(&user, &id, impression.at, impression.shown, self.buckets)?;
            if sent.bytes() < spill.budget_bytes { Ok(()) } else { sent.send(spill) }
        })?;
        sent.send(spill)?;
        spill.say(&outside)
    }

    fn run(&self, inputs: &ImpressionInputs, news: &HashSet<String>, bucket: u32) -> Result<Done<Self::Outputs>> {
        let mut account = Account::default();
        if bucket == 0 {
            for outside in inputs.regrouped.said::<BTreeMap<String, u64>>()? {
                outside.iter().for_each(|(why, articles)| account.drop(why, *articles));
            }
        }
        let known = inputs.known(bucket)?;
        if let Some(carried) = &inputs.carried {
            return without_others(&carried.read(bucket)?, &known);
        }
        let mut impressions: BTreeMap<([u8; 16], i64, [u8; 16]), Vec<Shown>> = BTreeMap::new();
        for (_, batch) in inputs.regrouped.read(bucket)? {
            let id = |column: usize, row: usize| -> [u8; 16] {
                batch.column(column).as_fixed_size_binary().value(row).try_into().expect("16 bytes were sent")
            };
            let (at, shown) = (batch.column(2).as_primitive::<Int64Type>(), batch.column(3).as_string::<i32>());
            for row in 0..batch.num_rows() {
                let all = mind::articles(shown.value(row));
                if !known.contains(&id(0, row)) {
                    account.drop("of people without events or clicks", all.count() as u64);
                    continue;
                }
                let articles = read(all, news, &mut account);
                if impressions.insert((id(0, row), at.value(row), id(1, row)), articles).is_some() {
                    account.drop("repeated", mind::articles(shown.value(row)).count() as u64);
                }
            }
        }
        let rows = || impressions.iter().flat_map(|(key, shown)| shown.iter().map(move |shown| (key, shown)));
        account.output = rows().count() as u64;
        account.input = account.accounted();
        account.note("impressions", impressions.values().filter(|shown| !shown.is_empty()).count() as u64);
        let columns = ImpressionsColumns {
            user_id: rows().map(|(key, _)| Some(hex(&key.0))).collect(),
            occurred_at: rows().map(|(key, _)| key.1).collect::<Vec<_>>().into(),
            impression_id: rows().map(|(key, _)| Some(hex(&key.2))).collect(),
            position: rows().map(|(_, shown)| shown.position).collect::<Vec<_>>().into(),
            news_id: rows().map(|(_, shown)| Some(&shown.news_id)).collect(),
            clicked: rows().map(|(_, shown)| Some(shown.clicked)).collect(),
        };
        Ok(Done { outputs: Rows::of(columns)?, accounts: vec![account] })
    }

    /// Ids of articles.
    fn shared_bytes(&self, news: &HashSet<String>) -> u64 {
        news.iter().map(|id| (id.capacity() + size_of::<String>()) as u64).sum()
    }

    /// The impressions taken apart, and the same as columns.
    fn memory_bytes(&self, _: &HashSet<String>, input_bytes: u64) -> u64 {
        12 * input_bytes
    }
}

/// The rows of known people.
fn without_others(rows: &Rows<Impressions>, known: &HashSet<[u8; 16]>) -> Result<Done<Rows<Impressions>>> {
    let kept = rows.batches().iter().map(|batch| {
        let users = Impressions::user_id.of(batch)?.iter();
        let of_known: BooleanArray = users.map(|id| id.and_then(unhex).map(|id| known.contains(&id))).collect();
        Ok(filter_record_batch(batch, &of_known)?)
    });
    let kept = Rows::new(kept.collect::<Result<_>>()?);
    let mut account = Account { output: kept.len() as u64, ..Account::default() };
    account.drop("of people without events or clicks", (rows.len() - kept.len()) as u64);
    account.input = account.accounted();
    Ok(Done { outputs: kept, accounts: vec![account] })
}

/// An article that an impression showed.
struct Shown {
    position: i32,
    news_id: String,
    clicked: bool,
}

/// What an impression showed; an article once, clicked if it was clicked anywhere. Without a label nothing is clicked.
fn read<'a>(
    articles: impl Iterator<Item = (&'a str, Option<bool>)>,
    news: &HashSet<String>,
    account: &mut Account,
) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    for (position, (id, clicked)) in (1..).zip(articles) {
        let id = article_id(id.as_bytes(), false).ok().flatten().filter(|id| news.contains(id.as_ref()));
        let Some(news_id) = id else {
            account.drop("articles that no news log has", 1);
            continue;
        };
        let clicked = clicked == Some(true);
        match shown.iter_mut().find(|shown| shown.news_id == news_id) {
            Some(before) => {
                before.clicked |= clicked;
                account.drop("shown again in one impression", 1);
            }
            None => shown.push(Shown { position, news_id: news_id.into_owned(), clicked }),
        }
    }
    shown
}

/// Impressions on their way to their users' buckets.
struct Sent {
    buckets: Vec<u32>,
    user: FixedSizeBinaryBuilder,
    impression: FixedSizeBinaryBuilder,
    occurred_at: Int64Builder,
    shown: StringBuilder,
}

impl Default for Sent {
    fn default() -> Self {
        Sent {
            buckets: Vec::new(),
            user: FixedSizeBinaryBuilder::new(16),
            impression: FixedSizeBinaryBuilder::new(16),
            occurred_at: Int64Builder::new(),
            shown: StringBuilder::new(),
        }
    }
}

impl Sent {
    fn push(&mut self, user: &[u8; 16], impression: &[u8; 16], at: i64, shown: &str, buckets: u32) -> Result<()> {
        let sending = Error::arrow("regrouping impressions");
        self.user.append_value(user).and_then(|()| self.impression.append_value(impression)).map_err(sending)?;
        self.buckets.push(bucket(user, buckets));
        self.occurred_at.append_value(at);
        self.shown.append_value(shown);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.shown.values_slice().len() + 48 * self.buckets.len()
    }

    fn send(&mut self, spill: &mut Spill<'_>) -> Result<()> {
        if self.buckets.is_empty() {
            return Ok(());
        }
        let columns: Vec<Arc<dyn Array>> = vec![
            Arc::new(self.user.finish()),
            Arc::new(self.impression.finish()),
            Arc::new(self.occurred_at.finish()),
            Arc::new(self.shown.finish()),
        ];
        let rows = RecordBatch::try_new(SPILLED.clone(), columns).map_err(Error::arrow("regrouping impressions"))?;
        spill.send(&std::mem::take(&mut self.buckets), &rows)
    }
}
