//! `cap`: clean events → profiles. Each user's most recent events per domain, one row per user.
//!
//! Events lie in the order (user, domain, latest first, event id), so one pass over them is enough: the first events of
//! each run are the ones to keep.

use std::cmp::Reverse;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Int64Array, ListArray, RecordBatch, StringArray, StringBuilder, StructArray,
    TimestampMicrosecondArray, UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use dataset::bucket::{split, unhex};
use dataset::{Account, Done, Error, Input, Joint, Result, Rows, Stage, Store, from_columns};
use schemas::{CleanEvents, DOMAINS, Profiles, behaviour_fields};
use serde::{Deserialize, Serialize};

const BATCH_USERS: usize = 4096;

/// Keeps each user's most recent events per domain.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cap {
    /// Events kept per user and domain (the paper: 50).
    pub events_per_domain: u32,
}

impl Default for Cap {
    fn default() -> Self {
        Cap { events_per_domain: 50 }
    }
}

impl Cap {
    /// Checks what types cannot.
    pub fn check(&self) -> Result<()> {
        match self.events_per_domain {
            0 => Err(Error::setting("cap.events_per_domain", "at least 1", 0, "the paper keeps 50")),
            _ => Ok(()),
        }
    }
}

/// The clean events and, for the counts before cleaning, the dropped ones.
pub fn cap_source(store: &Store) -> Result<Joint<CleanEvents, CleanEvents>> {
    let kept = Input::open(store, "clean_events")?;
    let dropped = Input::open(store, "clean_events.dropped")?;
    Joint::new(
        kept.columns(&["user_id", "domain", "occurred_at", "text", "news_id"]),
        dropped.columns(&["user_id", "domain"]),
    )
}

impl Stage for Cap {
    const NAME: &'static str = "cap";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "events";
    type Inputs = (Rows<CleanEvents>, Rows<CleanEvents>);
    type Outputs = Rows<Profiles>;

    fn run(&self, _: u32, (kept, dropped): Self::Inputs) -> Result<Done<Self::Outputs>> {
        let kept = batches(&kept)?;
        let dropped = batches(&dropped)?;
        let mut users = Writer::new(&kept);
        let mut account = Account { input: kept.iter().map(Batch::len).sum(), ..Account::default() };
        let mut dropped = users_of(&dropped).peekable();
        for user in users_of(&kept) {
            // Users of whom nothing is left have a row too: they are counted, and get no prompt.
            while let Some(gone) = dropped.next_if(|gone| gone.id < user.id) {
                users.push(&gone, &gone.counts(), 0)?;
            }
            let before = match dropped.next_if(|gone| gone.id == user.id) {
                Some(gone) => add(user.counts(), gone.counts()),
                None => user.counts(),
            };
            account.output += users.push(&user, &before, self.events_per_domain)?;
        }
        for gone in dropped {
            users.push(&gone, &gone.counts(), 0)?;
        }
        account.drop("past the cap", account.input - account.output);
        Ok(Done { outputs: Rows::new(users.finish()?), accounts: vec![account] })
    }

    /// Measured: some of the columns, and the profiles made of them.
    fn memory_bytes(&self, input_bytes: u64) -> u64 {
        input_bytes + input_bytes / 4
    }
}

fn add(a: [u32; 3], b: [u32; 3]) -> [u32; 3] {
    std::array::from_fn(|d| a[d] + b[d])
}

/// The columns of one batch of events; the last three are absent from the dropped ones.
struct Batch<'a> {
    user_id: &'a StringArray,
    domain: &'a StringArray,
    rest: Option<(&'a TimestampMicrosecondArray, &'a StringArray, &'a StringArray)>,
}

impl Batch<'_> {
    fn len(&self) -> u64 {
        self.user_id.len() as u64
    }
}

fn batches(rows: &Rows<CleanEvents>) -> Result<Vec<Batch<'_>>> {
    type Clean = Rows<CleanEvents>;
    rows.batches()
        .iter()
        .map(|batch| {
            let rest = match batch.column_by_name("text") {
                None => None,
                Some(_) => Some((
                    Clean::column(batch, "occurred_at")?,
                    Clean::column(batch, "text")?,
                    Clean::column(batch, "news_id")?,
                )),
            };
            Ok(Batch { user_id: Clean::column(batch, "user_id")?, domain: Clean::column(batch, "domain")?, rest })
        })
        .collect()
}

/// A run of rows of one user and domain within one batch.
#[derive(Debug, Clone, Copy)]
struct Run {
    batch: usize,
    start: usize,
    end: usize,
    domain: usize,
}

/// One user's runs.
struct User<'a> {
    id: &'a str,
    runs: Vec<Run>,
}

impl User<'_> {
    fn counts(&self) -> [u32; 3] {
        let mut counts = [0; 3];
        for run in &self.runs {
            counts[run.domain] += (run.end - run.start) as u32;
        }
        counts
    }
}

/// The users of sorted batches, each with all its runs.
fn users_of<'a>(batches: &'a [Batch<'a>]) -> impl Iterator<Item = User<'a>> {
    let (mut batch, mut row) = (0, 0);
    std::iter::from_fn(move || {
        while batch < batches.len() && row == batches[batch].user_id.len() {
            (batch, row) = (batch + 1, 0);
        }
        let id = batches.get(batch)?.user_id.value(row);
        let mut runs = Vec::with_capacity(3);
        while let Some(b) = batches.get(batch) {
            while row < b.user_id.len() && b.user_id.value(row) == id {
                let (start, name) = (row, b.domain.value(row));
                let domain = DOMAINS.iter().position(|d| *d == name).expect("ingest writes no other domain");
                while row < b.user_id.len() && b.domain.value(row) == name && b.user_id.value(row) == id {
                    row += 1;
                }
                runs.push(Run { batch, start, end: row, domain });
            }
            if row < b.user_id.len() {
                break;
            }
            (batch, row) = (batch + 1, 0);
        }
        Some(User { id, runs })
    })
}

/// Profiles in the making.
struct Writer<'a> {
    events: &'a [Batch<'a>],
    done: Vec<RecordBatch>,
    user_id: StringBuilder,
    split: StringBuilder,
    lengths: Vec<usize>,
    domain: StringBuilder,
    occurred_at: Vec<i64>,
    text: StringBuilder,
    news_id: StringBuilder,
    counts: [[Vec<u32>; 3]; 3],
    recent: Vec<(Reverse<i64>, usize, usize, usize)>,
}

impl<'a> Writer<'a> {
    fn new(events: &'a [Batch<'a>]) -> Self {
        Writer {
            events,
            done: Vec::new(),
            user_id: StringBuilder::new(),
            split: StringBuilder::new(),
            lengths: Vec::new(),
            domain: StringBuilder::new(),
            occurred_at: Vec::new(),
            text: StringBuilder::new(),
            news_id: StringBuilder::new(),
            counts: Default::default(),
            recent: Vec::new(),
        }
    }

    /// Adds a user who had `before` events per domain; returns how many were kept, at most `cap` per domain.
    fn push(&mut self, user: &User<'_>, before: &[u32; 3], cap: u32) -> Result<u64> {
        let clean = if cap == 0 { [0; 3] } else { user.counts() };
        let mut left = [cap; 3];
        self.recent.clear();
        for run in &user.runs {
            let Some((occurred_at, ..)) = self.events.get(run.batch).and_then(|b| b.rest).filter(|_| cap > 0) else {
                continue;
            };
            let take = (run.end - run.start).min(left[run.domain] as usize);
            left[run.domain] -= take as u32;
            let rows = run.start..run.start + take;
            self.recent.extend(rows.map(|row| (Reverse(occurred_at.value(row)), run.domain, run.batch, row)));
        }
        // Most recent first; of equal times the order of the rows decides: domain, then event id.
        self.recent.sort_by_key(|(at, ..)| *at);
        for (Reverse(at), domain, batch, row) in &self.recent {
            let Some((_, text, news_id)) = self.events[*batch].rest else { continue };
            self.domain.append_value(DOMAINS[*domain]);
            self.occurred_at.push(*at);
            self.text.append_value(text.value(*row));
            self.news_id.append_option((!news_id.is_null(*row)).then(|| news_id.value(*row)));
        }
        let id = unhex(user.id).ok_or_else(|| Error::Schema {
            table: "clean_events".into(),
            column: "user_id".into(),
            expected: "32 hex digits".into(),
            got: format!("{} characters", user.id.len()),
        })?;
        self.user_id.append_value(user.id);
        self.split.append_value(split(&id));
        self.lengths.push(self.recent.len());
        for domain in 0..3 {
            let kept = if cap == 0 { 0 } else { cap - left[domain] };
            for (column, count) in self.counts[domain].iter_mut().zip([before[domain], clean[domain], kept]) {
                column.push(count);
            }
        }
        if self.lengths.len() == BATCH_USERS {
            self.flush()?;
        }
        Ok(self.recent.len() as u64)
    }

    fn flush(&mut self) -> Result<()> {
        let behaviours = StructArray::new(
            behaviour_fields().into(),
            vec![
                Arc::new(self.domain.finish()) as ArrayRef,
                Arc::new(utc(std::mem::take(&mut self.occurred_at))),
                Arc::new(self.text.finish()),
                Arc::new(self.news_id.finish()),
            ],
            None,
        );
        let contract = <Profiles as schemas::Table>::columns();
        let item = match &contract[2].data_type {
            arrow::datatypes::DataType::List(item) => item.clone(),
            other => unreachable!("behaviours are a list, not {other}"),
        };
        let offsets = OffsetBuffer::from_lengths(std::mem::take(&mut self.lengths));
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.user_id.finish()),
            Arc::new(self.split.finish()),
            Arc::new(ListArray::new(item, offsets, Arc::new(behaviours), None)),
        ];
        let [_, [_, news_clean, _], _] = &self.counts;
        let news_clicks = Arc::new(UInt32Array::from(news_clean.clone()));
        for counts in self.counts.iter_mut().flatten() {
            columns.push(Arc::new(UInt32Array::from(std::mem::take(counts))));
        }
        columns.push(news_clicks);
        self.done.push(from_columns::<Profiles>(columns)?);
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<RecordBatch>> {
        if !self.lengths.is_empty() {
            self.flush()?;
        }
        Ok(self.done)
    }
}

/// Microseconds since 1970 as a timestamp column.
pub(crate) fn utc(micros: Vec<i64>) -> TimestampMicrosecondArray {
    Int64Array::from(micros).reinterpret_cast::<arrow::datatypes::TimestampMicrosecondType>().with_timezone("UTC")
}
