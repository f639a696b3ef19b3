//! `cap`: clean events → profiles. Each user's most recent events per domain, one row per user.
//!
//! Events lie in the order (user, domain, latest first, event id), so one pass over them is enough: the first events of
//! each run are the ones to keep.

use std::cmp::Reverse;

use arrow::array::{Array, Int32Array, RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray};
use clap::Args;
use dataset::bucket::{split, unhex};
use dataset::{Account, ByPartition, Done, Error, Exit, Inputs, Resources, Result, Rows, Stage};
use schemas::{Behaviours, CleanEvents, DOMAINS, Lists, Profiles, ProfilesColumns};
use serde::{Deserialize, Serialize};

const BATCH_USERS: usize = 4096;

/// Keeps each user's most recent events per domain.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct Cap {
    /// Events kept per user and domain
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub events_per_domain: u32,
}

impl Default for Cap {
    fn default() -> Self {
        dataset::defaults()
    }
}

/// The clean events and, for the counts before cleaning, the dropped ones.
#[derive(Debug)]
pub struct Cleaned {
    kept: ByPartition<CleanEvents>,
    dropped: ByPartition<CleanEvents>,
}

impl Stage for Cap {
    const NAME: &'static str = "cap";
    const VERSION: u32 = 2;
    const UNIT: &'static str = "events";
    type Inputs = Cleaned;
    type Shared = ();
    type Outputs = Rows<Profiles>;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<Cleaned> {
        if self.events_per_domain == 0 {
            return Err(Error::setting("cap.events_per_domain", "at least 1", 0, "the paper keeps 50"));
        }
        let kept = declare.by_partition::<CleanEvents>("clean_events")?;
        let dropped = declare.by_partition::<CleanEvents>("clean_events.dropped")?;
        declare.together(kept.manifest(), dropped.manifest())?;
        let (user, domain) = (CleanEvents::user_id.name(), CleanEvents::domain.name());
        let rest = [CleanEvents::occurred_at.name(), CleanEvents::text.name(), CleanEvents::news_id.name()];
        Ok(Cleaned {
            kept: kept.columns(&[user, domain, rest[0], rest[1], rest[2]]),
            dropped: dropped.columns(&[user, domain]),
        })
    }

    fn open(&self, _: &Cleaned, _: &Resources) -> Result<()> {
        Ok(())
    }

    fn run(&self, cleaned: &Cleaned, (): &(), bucket: u32) -> Result<Done<Self::Outputs>> {
        self.cap(&cleaned.kept.read(bucket)?, &cleaned.dropped.read(bucket)?)
    }

    /// Measured: some of the columns, and the profiles made of them.
    fn memory_bytes(&self, (): &(), input_bytes: u64) -> u64 {
        input_bytes + input_bytes / 4
    }
}

impl Cap {
    /// One bucket's profiles, from its kept and dropped events.
    pub(crate) fn cap(&self, kept: &Rows<CleanEvents>, dropped: &Rows<CleanEvents>) -> Result<Done<Rows<Profiles>>> {
        let kept = batches(kept)?;
        let dropped = batches(dropped)?;
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
    rows.batches()
        .iter()
        .map(|batch| {
            let rest = match batch.column_by_name(CleanEvents::text.name()) {
                None => None,
                Some(_) => Some((
                    CleanEvents::occurred_at.of(batch)?,
                    CleanEvents::text.of(batch)?,
                    CleanEvents::news_id.of(batch)?,
                )),
            };
            Ok(Batch { user_id: CleanEvents::user_id.of(batch)?, domain: CleanEvents::domain.of(batch)?, rest })
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
    counts: [[Vec<i32>; 3]; 3],
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
        let id = unhex(user.id).ok_or_else(|| {
            let what = format!("clean_events: user_id: expected 32 hex digits, got {} characters", user.id.len());
            Error::new(Exit::Data, what, "delete the dataset's folder and run clean again")
        })?;
        self.user_id.append_value(user.id);
        self.split.append_value(split(&id));
        self.lengths.push(self.recent.len());
        for domain in 0..3 {
            let kept = if cap == 0 { 0 } else { cap - left[domain] };
            for (column, count) in self.counts[domain].iter_mut().zip([before[domain], clean[domain], kept]) {
                column.push(count as i32);
            }
        }
        if self.lengths.len() == BATCH_USERS {
            self.flush()?;
        }
        Ok(self.recent.len() as u64)
    }

    fn flush(&mut self) -> Result<()> {
        let behaviours = Behaviours {
            domain: self.domain.finish(),
            occurred_at: std::mem::take(&mut self.occurred_at).into(),
            text: self.text.finish(),
            news_id: self.news_id.finish(),
        };
        let news_clicks = self.counts[1][1].clone();
        let mut take = |domain: usize, count: usize| Int32Array::from(std::mem::take(&mut self.counts[domain][count]));
        let columns = ProfilesColumns {
            user_id: self.user_id.finish(),
            split: self.split.finish(),
            behaviours: Lists::from_lengths(std::mem::take(&mut self.lengths), behaviours),
            browse_events: take(0, 0),
            browse_clean: take(0, 1),
            browse_kept: take(0, 2),
            news_events: take(1, 0),
            news_clean: take(1, 1),
            news_kept: take(1, 2),
            search_events: take(2, 0),
            search_clean: take(2, 1),
            search_kept: take(2, 2),
            news_clicks: news_clicks.into(),
        };
        self.done.push(columns.into_batch()?);
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<RecordBatch>> {
        if !self.lengths.is_empty() {
            self.flush()?;
        }
        Ok(self.done)
    }
}
