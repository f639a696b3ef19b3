//! Settling a bucket: spilled and carried behaviours, de-duplicated and in order, become `events` and `truth`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray};
use arrow::compute::interleave;
use arrow::datatypes::{Int64Type, UInt8Type, UInt64Type};
use chrono::{DateTime, Utc};
use dataset::bucket::{hex, unhex};
use dataset::{Account, Done, Error, Result, Rows, Stage, from_columns};
use schemas::{DOMAINS, Events, Truth};
use serde::Serialize;
use serde_json::Value;

use super::collect::{TRUTH, Window, halves, whole};
use crate::cap::utc;
use crate::order::Keys;

const BATCH_ROWS: usize = 32 * 1024;

/// The second half of `ingest`: one bucket's rows from all raw files, put in order. What the first half did to them is
/// part of the settings.
#[derive(Debug, Clone, Serialize)]
pub struct Settle {
    pub(super) cut_off: DateTime<Utc>,
    pub(super) window_days: u32,
    pub(super) history_days: u32,
    pub(super) mind: bool,
    /// The logs' mappings, without their files.
    pub(super) logs: Value,
}

impl Settle {
    pub(super) fn window(&self) -> Window {
        const DAY: i64 = 86_400_000_000;
        let cut_off = self.cut_off.timestamp_micros();
        Window {
            start: if self.history_days == 0 { i64::MIN } else { cut_off - i64::from(self.history_days) * DAY },
            cut_off,
            end: cut_off + i64::from(self.window_days) * DAY,
        }
    }
}

/// What one bucket is made of.
#[derive(Debug)]
pub struct Bucket {
    /// Spilled rows, each batch with the raw log it comes from.
    pub(super) spilled: Vec<(String, RecordBatch)>,
    /// The bucket's events and truth in the version before, when they still hold.
    pub(super) events: Rows<Events>,
    pub(super) truth: Rows<Truth>,
    /// What was left out or set aside before it had a bucket; on bucket 0's account.
    pub(super) booked: Account,
}

/// Where a row lies: batch and row.
type At = (usize, usize);

impl Stage for Settle {
    const NAME: &'static str = "ingest";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "behaviours";
    type Inputs = Bucket;
    type Outputs = (Rows<Events>, Rows<Truth>);

    fn run(&self, _: u32, bucket: Bucket) -> Result<Done<Self::Outputs>> {
        let mut account = bucket.booked.clone();
        let mut clicks = Account::default();
        let mut truth: BTreeMap<([u64; 2], String), i64> = BTreeMap::new();
        let mut click = |user: [u64; 2], news_id: &str, at: i64, clicks: &mut Account| {
            clicks.input += 1;
            let first = truth.entry((user, news_id.to_owned())).or_insert(at);
            *first = at.min(*first);
        };

        let mut keys = Keys::default();
        let mut rows: Vec<At> = Vec::new();
        let mut texts: Vec<ArrayRef> = Vec::new();
        let mut news_ids: Vec<ArrayRef> = Vec::new();
        let mut sources: Vec<Source> = Vec::new();
        for (source, batch) in &bucket.spilled {
            let half = |i: usize| batch.column(i).as_primitive::<UInt64Type>();
            let role = batch.column(4).as_primitive::<UInt8Type>();
            let at = batch.column(5).as_primitive::<Int64Type>();
            let news_id = batch.column(7).as_string::<i32>();
            account.input += batch.num_rows() as u64;
            for row in 0..batch.num_rows() {
                let user = [half(0).value(row), half(1).value(row)];
                if role.value(row) == TRUTH {
                    click(user, news_id.value(row), at.value(row), &mut clicks);
                    account.drop("in the evaluation window", 1);
                    continue;
                }
                keys.push(user, role.value(row), at.value(row), [half(2).value(row), half(3).value(row)]);
                rows.push((texts.len(), row));
            }
            texts.push(batch.column(6).clone());
            news_ids.push(batch.column(7).clone());
            sources.push(Source::All(source.clone()));
        }
        for batch in bucket.events.batches() {
            let at: &TimestampMicrosecondArray = Rows::<Events>::column(batch, "occurred_at")?;
            let [event, user, domain, source] = ["event_id", "user_id", "domain", "source"]
                .map(|name| Rows::<Events>::column::<StringArray>(batch, name));
            let (event, user, domain) = (event?, user?, domain?);
            let window = self.window();
            account.input += batch.num_rows() as u64;
            for row in 0..batch.num_rows() {
                if !(window.start..window.cut_off).contains(&at.value(row)) {
                    account.drop("before the history", 1);
                    continue;
                }
                let rank = DOMAINS.iter().position(|d| *d == domain.value(row)).expect("ingest wrote it") as u8;
                keys.push(parse(user.value(row))?, rank, at.value(row), parse(event.value(row))?);
                rows.push((texts.len(), row));
            }
            texts.push(batch.column(4).clone());
            news_ids.push(batch.column(5).clone());
            sources.push(Source::Each(source?.clone()));
        }
        for batch in bucket.truth.batches() {
            let at: &TimestampMicrosecondArray = Rows::<Truth>::column(batch, "occurred_at")?;
            let user: &StringArray = Rows::<Truth>::column(batch, "user_id")?;
            let news_id: &StringArray = Rows::<Truth>::column(batch, "news_id")?;
            let window = self.window();
            for row in 0..batch.num_rows() {
                if (window.cut_off..window.end).contains(&at.value(row)) {
                    click(parse(user.value(row))?, news_id.value(row), at.value(row), &mut clicks);
                }
            }
        }

        let sorted = keys.sorted()?;
        let Keys { user: users, domain: domains, occurred_at: times, event: events } = keys;
        let event = |row: u32| [events[0][row as usize], events[1][row as usize]];
        let origin = |row: u32| {
            let (batch, row) = rows[row as usize];
            let news_id = news_ids[batch].as_string::<i32>();
            (sources[batch].at(row), (!news_id.is_null(row)).then(|| news_id.value(row)))
        };
        // Of equal events (the same user, domain, time and text) the one of the first source in the alphabet stays.
        let mut kept: Vec<u32> = Vec::with_capacity(rows.len());
        for row in sorted {
            match kept.last_mut() {
                Some(last) if event(*last) == event(row) => {
                    account.drop("repeated", 1);
                    if origin(row) < origin(*last) {
                        *last = row;
                    }
                }
                _ => kept.push(row),
            }
        }
        account.output = kept.len() as u64;

        let gather = |columns: &[ArrayRef], part: &[u32]| -> Result<ArrayRef> {
            let columns: Vec<&dyn Array> = columns.iter().map(AsRef::as_ref).collect();
            let at: Vec<At> = part.iter().map(|row| rows[*row as usize]).collect();
            interleave(&columns, &at).map_err(Error::arrow("settling"))
        };
        let events = kept
            .chunks(BATCH_ROWS)
            .map(|part| {
                let users = part.iter().map(|r| [users[0][*r as usize], users[1][*r as usize]]);
                from_columns::<Events>(vec![
                    ids(part.iter().map(|r| event(*r))),
                    ids(users),
                    Arc::new(StringArray::from_iter_values(
                        part.iter().map(|r| DOMAINS[usize::from(domains[*r as usize])]),
                    )),
                    Arc::new(utc(part.iter().map(|r| times[*r as usize]).collect())),
                    gather(&texts, part)?,
                    gather(&news_ids, part)?,
                    Arc::new(StringArray::from_iter_values(part.iter().map(|r| origin(*r).0))),
                ])
            })
            .collect::<Result<_>>()?;

        clicks.output = truth.len() as u64;
        clicks.drop("repeated", clicks.input - clicks.output);
        let truth = from_columns::<Truth>(vec![
            ids(truth.keys().map(|(user, _)| *user)),
            Arc::new(StringArray::from_iter_values(truth.keys().map(|(_, news_id)| news_id))),
            Arc::new(utc(truth.values().copied().collect())),
        ])?;
        Ok(Done { outputs: (Rows::new(events), Rows::new(vec![truth])), accounts: vec![account, clicks] })
    }

    /// Measured: keys, their sort, and the rows as they were and as they will be.
    fn memory_bytes(&self, input_bytes: u64) -> u64 {
        8 * input_bytes
    }
}

/// The raw log of a batch's rows.
enum Source {
    All(String),
    Each(StringArray),
}

impl Source {
    fn at(&self, row: usize) -> &str {
        match self {
            Source::All(name) => name,
            Source::Each(names) => names.value(row),
        }
    }
}

fn ids(halves: impl Iterator<Item = [u64; 2]>) -> ArrayRef {
    let mut ids = StringBuilder::new();
    for id in halves {
        ids.append_value(hex(&whole(id)));
    }
    Arc::new(ids.finish())
}

fn parse(id: &str) -> Result<[u64; 2]> {
    unhex(id).map(|id| halves(&id)).ok_or_else(|| Error::Schema {
        table: "events".into(),
        column: "user_id or event_id".into(),
        expected: "32 hex digits".into(),
        got: format!("{} characters", id.len()),
    })
}
