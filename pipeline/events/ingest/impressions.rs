//! The stage `ingest-impressions`: what the logs' impressions of the evaluation window showed, and what of it was clicked, become
//! `impressions`.
//!
//! They are read from the files that there are, and never carried on: a file that held some of the window must still be there.
//!
//! Only people of `events` or `truth` have any: what is taken out of those is taken out of these by the next run. Of others nothing was
//! clicked, so nothing could be measured.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, AsArray, BooleanArray, FixedSizeBinaryBuilder, Int64Builder, RecordBatch, StringBuilder};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use chrono::{DateTime, Utc};
use dataset::bucket::{bucket, digest_128, hex, unhex};
use dataset::ids::article_id;
use dataset::{
    Account, ByPartition, Done, Error, Inputs, Regrouped, Resources, Result, Rows, Spill, Stage, UserKey, Whole,
};
use schemas::{Events, Impressions, ImpressionsColumns, News, RawFiles, RawFilesColumns, Truth};
use serde::{Deserialize, Serialize};

use super::collect::Window;
use super::config::times;
use super::files::{Raw, Reader};
use super::mapping::Counted;
use super::tally::{Tally, booked};
use super::{guard, mapping, mind};

/// An impression: whose (ours), its own id, when, and what it showed, as [`Articles`] writes it.
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
    /// The files with impressions; none: the version before is carried on, without people who are not in `events` or `truth` any more.
    #[serde(skip)]
    pub(super) files: Vec<Raw>,
}

/// What is read.
#[derive(Debug)]
pub struct ImpressionInputs {
    files: Vec<Raw>,
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

impl IngestImpressions {
    /// Checks that every file is there that has something of the window, as far as its clicks say.
    fn nothing_is_gone(&self, read: &Whole<RawFiles>, window: Window) -> Result<()> {
        let sources: BTreeSet<&str> = self.files.iter().map(|raw| raw.id.source.as_str()).collect();
        let there: BTreeSet<(&str, &str)> =
            self.files.iter().map(|raw| (raw.id.source.as_str(), raw.id.blake3.as_str())).collect();
        for rows in read.parts() {
            for columns in rows?.columns() {
                let RawFilesColumns { source, blake3, file, latest_at, .. } = columns?;
                let gone = (0..file.len()).find(|i| {
                    sources.contains(source.value(*i))
                        && !there.contains(&(source.value(*i), blake3.value(*i)))
                        && latest_at.is_valid(*i)
                        && latest_at.value(*i) >= window.cut_off
                });
                if let Some(gone) = gone {
                    let what = format!(
                        "expected the file of the log {}, which has impressions of the window, got none or another one",
                        source.value(gone)
                    );
                    let hint = "put it back, or take `shown` out of the mapping: impressions are read from the files that there are";
                    return Err(Error::unreadable(file.value(gone), what, hint));
                }
            }
        }
        Ok(())
    }
}

/// Why what was shown is left out.
const BEFORE: &str = "before the cut-off";
const AFTER: &str = "after the window";

impl Stage for IngestImpressions {
    const NAME: &'static str = "ingest-impressions";
    const VERSION: u32 = 3;
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
        if !self.files.is_empty() {
            self.nothing_is_gone(&declare.whole::<RawFiles>("events.raw_files")?, window)?;
        }
        let tasks = self.files.iter().map(Raw::task).collect();
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
        let mut sent = Sending { inputs, buckets: self.buckets, sent: Sent::default(), spill, tally: Tally::new() };
        let Raw { path, reader, .. } = &inputs.files[task];
        match reader {
            Reader::Events(log) => mapping::read_shown(path, log, &mut sent, |impression, sent| {
                let mapping::Impression { user, at, id, shown } = impression;
                sent.take(&user, at, id.as_deref(), shown)
            })?,
            Reader::MindImpressions => mind::read_each(path, |impression| {
                let shown = impression.articles().map(|(id, clicked)| {
                    // Without a label nothing is clicked.
                    (article_id(id.as_bytes(), false).ok().flatten(), clicked == Some(true))
                });
                sent.take(impression.user, impression.at, Some(impression.id), shown.collect())
            })?,
            _ => {}
        }
        sent.finish()
    }

    fn mapped(&self, inputs: &ImpressionInputs, _: &Resources) -> Result<()> {
        // How many rows cannot be read is judged where their clicks are.
        guard::check(Self::UNIT, &inputs.files, &inputs.regrouped.said()?, &BTreeSet::new(), 1.0)
    }

    fn run(&self, inputs: &ImpressionInputs, news: &HashSet<String>, bucket: u32) -> Result<Done<Self::Outputs>> {
        let mut account = Account::default();
        if bucket == 0 {
            let said = booked(&inputs.regrouped.said::<Tally>()?);
            for why in [BEFORE, AFTER] {
                let dropped = said.dropped.get(why).copied().unwrap_or_default();
                account.input += dropped;
                account.drop(why, dropped);
            }
            account.note("rows that cannot be read", said.bad());
        }
        let known = inputs.known(bucket)?;
        if let Some(carried) = &inputs.carried {
            return without_others(&carried.read(bucket)?, &known);
        }
        // What logs say of an impression, the longest first: in whatever order rows come, it is the same.
        let mut said: BTreeMap<([u8; 16], i64, [u8; 16]), Said> = BTreeMap::new();
        for (_, batch) in inputs.regrouped.read(bucket)? {
            let id = |column: usize, row: usize| -> [u8; 16] {
                batch.column(column).as_fixed_size_binary().value(row).try_into().expect("16 bytes were sent")
            };
            let (at, shown) = (batch.column(2).as_primitive::<Int64Type>(), batch.column(3).as_string::<i32>());
            for row in 0..batch.num_rows() {
                let articles = Articles::of(shown.value(row)).count();
                account.input += articles as u64;
                if !known.contains(&id(0, row)) {
                    account.drop("of people without events or clicks", articles as u64);
                    continue;
                }
                let of_key = said.entry((id(0, row), at.value(row), id(1, row))).or_default();
                if !of_key.insert((Reverse(articles), shown.value(row).to_owned())) {
                    account.drop("repeated", articles as u64);
                }
            }
        }
        let read = |(key, of_key): (_, Said)| {
            (key, read(of_key.iter().flat_map(|(_, shown)| Articles::of(shown)), news, &mut account))
        };
        let impressions: BTreeMap<_, Vec<Shown>> = said.into_iter().map(read).collect();
        let rows = || impressions.iter().flat_map(|(key, shown)| shown.iter().map(move |shown| (key, shown)));
        account.output = rows().count() as u64;
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

/// What logs say of an impression: how many articles, and which.
type Said = BTreeSet<(Reverse<usize>, String)>;

/// An article that an impression showed.
struct Shown {
    position: i32,
    news_id: String,
    clicked: bool,
}

/// What an impression showed; an article once, clicked if it was clicked anywhere.
fn read<'a>(
    articles: impl Iterator<Item = (&'a str, bool)>,
    news: &HashSet<String>,
    account: &mut Account,
) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    for (position, (id, clicked)) in (1..).zip(articles) {
        if !news.contains(id) {
            account.drop("articles that no news log has", 1);
            continue;
        }
        match shown.iter_mut().find(|shown| shown.news_id == id) {
            Some(before) => {
                before.clicked |= clicked;
                account.drop("shown again in one impression", 1);
            }
            None => shown.push(Shown { position, news_id: id.to_owned(), clicked }),
        }
    }
    shown
}

/// The articles of an impression as one text: a line each, which begins with + if it was clicked. (No id has a control character.)
struct Articles;

impl Articles {
    fn text(shown: &[(Option<Cow<'_, str>>, bool)]) -> String {
        let mut text = String::new();
        for (id, clicked) in shown {
            text.push(if *clicked { '+' } else { '-' });
            text.push_str(id.as_deref().unwrap_or_default());
            text.push('\n');
        }
        text
    }

    fn of(text: &str) -> impl Iterator<Item = (&str, bool)> {
        text.lines().map(|line| (&line[1..], line.starts_with('+')))
    }
}

/// One file's impressions, as they are read.
struct Sending<'a, 's> {
    inputs: &'a ImpressionInputs,
    buckets: u32,
    sent: Sent,
    spill: &'a mut Spill<'s>,
    tally: Tally,
}

impl Counted for Sending<'_, '_> {
    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

impl Sending<'_, '_> {
    fn take(
        &mut self,
        user: &[u8],
        at: i64,
        id: Option<&[u8]>,
        shown: Vec<(Option<Cow<'_, str>>, bool)>,
    ) -> Result<()> {
        let window = self.inputs.window;
        let why = match at {
            at if at < window.cut_off => Some(BEFORE),
            at if at >= window.end => Some(AFTER),
            _ => None,
        };
        if let Some(why) = why {
            *self.tally.dropped.entry(why.to_owned()).or_default() += shown.len() as u64;
            return Ok(());
        }
        let text = Articles::text(&shown);
        let user = self.inputs.key.user_id(user);
        // Without an id of its own, it is told from others of that moment by what it showed.
        let id = digest_128(&[&user, &at.to_le_bytes(), id.unwrap_or(text.as_bytes())]);
        self.sent.push(&user, &id, at, &text, self.buckets)?;
        if self.sent.bytes() < self.spill.budget_bytes { Ok(()) } else { self.sent.send(self.spill) }
    }

    fn finish(mut self) -> Result<()> {
        self.sent.send(self.spill)?;
        self.spill.say(&self.tally)
    }
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
