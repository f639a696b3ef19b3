//! Settling a bucket: behaviours that were read now and before, de-duplicated and in order.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray, RecordBatch, StringArray, StringBuilder};
use arrow::compute::interleave;
use arrow::datatypes::{Int64Type, UInt8Type, UInt64Type};
use dataset::bucket::{hex_id, unhex};
use dataset::{Account, Error, Exit, Result, Rows};
use schemas::{DOMAINS, Events, EventsColumns, Truth, TruthColumns};

use super::collect::{ERASED, NEWS, Rules, TRUTH, Window, event_id, halves, whole};
use super::erased::ErasedPeople;
use super::events::Titles;
use crate::order::Keys;

const BATCH_ROWS: usize = 32 * 1024;

/// Where a row lies: batch and row.
type At = (usize, usize);

/// One bucket's rows, as they are gathered.
pub(super) struct Bucket<'a> {
    window: Window,
    titles: &'a Titles,
    erased: &'a ErasedPeople,
    /// People of the version before who were erased.
    gone: BTreeSet<[u64; 2]>,
    account: Account,
    clicks: Account,
    /// The first click on each article in the window, by user.
    truth: BTreeMap<([u64; 2], String), i64>,
    keys: Keys,
    rows: Vec<At>,
    texts: Vec<StringArray>,
    news_ids: Vec<StringArray>,
    sources: Vec<Sources>,
    /// Of each batch, whether the texts of its news clicks are the titles as they are now.
    titled: Vec<bool>,
}

/// The raw log of a batch's rows.
enum Sources {
    All(String),
    Each(StringArray),
}

impl Sources {
    fn at(&self, row: usize) -> &str {
        match self {
            Sources::All(name) => name,
            Sources::Each(names) => names.value(row),
        }
    }
}

impl<'a> Bucket<'a> {
    /// No rows yet. `account` has what was left out or set aside before it had a bucket.
    pub(super) fn new(rules: &'a Rules, titles: &'a Titles, account: Account) -> Self {
        Bucket {
            window: rules.window,
            titles,
            erased: &rules.erased,
            gone: BTreeSet::new(),
            account,
            clicks: Account::default(),
            truth: BTreeMap::new(),
            keys: Keys::default(),
            rows: Vec::new(),
            texts: Vec::new(),
            news_ids: Vec::new(),
            sources: Vec::new(),
            titled: Vec::new(),
        }
    }

    /// Makes room for so many more rows.
    pub(super) fn reserve(&mut self, rows: usize) {
        self.keys.reserve(rows);
        self.rows.reserve(rows);
    }

    fn click(&mut self, user: [u64; 2], news_id: &str, at: i64) {
        self.clicks.input += 1;
        let first = self.truth.entry((user, news_id.to_owned())).or_insert(at);
        *first = at.min(*first);
    }

    /// Rows that were read from a raw log now, in the columns of `SPILLED`. `titled`: the texts of its news clicks are titles.
    pub(super) fn add_read(&mut self, source: &str, titled: bool, batch: &RecordBatch) {
        let half = |i: usize| batch.column(i).as_primitive::<UInt64Type>();
        let (user_high, user_low) = (half(0), half(1));
        let role = batch.column(2).as_primitive::<UInt8Type>();
        let at = batch.column(3).as_primitive::<Int64Type>();
        let (texts, news_ids) = (batch.column(4).as_string::<i32>(), batch.column(5).as_string::<i32>());
        self.account.input += batch.num_rows() as u64;
        for row in 0..batch.num_rows() {
            let user = [user_high.value(row), user_low.value(row)];
            if role.value(row) == TRUTH {
                self.click(user, news_ids.value(row), at.value(row));
                self.account.drop("became truth", 1);
                continue;
            }
            let (domain, at) = (role.value(row), at.value(row));
            let what = news_id(news_ids, row).filter(|_| domain == NEWS).unwrap_or_else(|| texts.value(row));
            let event = event_id(&whole(user), DOMAINS[usize::from(domain)], at, what);
            self.keys.push(user, domain, at, halves(&event));
            self.rows.push((self.texts.len(), row));
        }
        self.texts.push(texts.clone());
        self.news_ids.push(news_ids.clone());
        self.sources.push(Sources::All(source.to_owned()));
        self.titled.push(titled);
    }

    /// Events of the version before.
    pub(super) fn add_events(&mut self, columns: EventsColumns) -> Result<()> {
        let EventsColumns { event_id, user_id, domain, occurred_at, text, news_id, source } = columns;
        self.account.input += event_id.len() as u64;
        for row in 0..event_id.len() {
            let user = parse(user_id.value(row))?;
            if self.was_erased(user) {
                self.account.drop(ERASED, 1);
                continue;
            }
            let at = occurred_at.value(row);
            if !(self.window.start..self.window.cut_off).contains(&at) {
                self.account.drop("before the history", 1);
                continue;
            }
            let rank = DOMAINS.iter().position(|d| *d == domain.value(row)).expect("ingest wrote it") as u8;
            self.keys.push(user, rank, at, parse(event_id.value(row))?);
            self.rows.push((self.texts.len(), row));
        }
        self.texts.push(text);
        self.news_ids.push(news_id);
        self.sources.push(Sources::Each(source));
        self.titled.push(false);
        Ok(())
    }

    /// Clicks in the window of the version before.
    pub(super) fn add_truth(&mut self, columns: &TruthColumns) -> Result<()> {
        for row in 0..columns.user_id.len() {
            let at = columns.occurred_at.value(row);
            let user = parse(columns.user_id.value(row))?;
            if self.was_erased(user) {
                self.clicks.input += 1;
                self.clicks.drop(ERASED, 1);
            } else if (self.window.cut_off..self.window.end).contains(&at) {
                self.click(user, columns.news_id.value(row), at);
            }
        }
        Ok(())
    }

    fn was_erased(&mut self, user: [u64; 2]) -> bool {
        let erased = !self.erased.is_empty() && self.erased.has(&whole(user));
        if erased {
            self.gone.insert(user);
        }
        erased
    }

    /// What tells equal events apart: of those the first stays.
    fn origin(&self, row: u32) -> (&str, &str, Option<&str>) {
        let (batch, row) = self.rows[row as usize];
        (self.sources[batch].at(row), self.texts[batch].value(row), news_id(&self.news_ids[batch], row))
    }

    /// The raw log that a row came from.
    fn source(&self, row: u32) -> &str {
        let (batch, row) = self.rows[row as usize];
        self.sources[batch].at(row)
    }

    /// The rows that stay, in order.
    fn distinct(&mut self) -> Result<Vec<u32>> {
        let mut kept: Vec<u32> = Vec::with_capacity(self.rows.len());
        let mut repeated = 0;
        for row in self.keys.sorted()? {
            match kept.last_mut() {
                Some(last) if self.keys.event(*last) == self.keys.event(row) => {
                    repeated += 1;
                    if self.origin(row) < self.origin(*last) {
                        *last = row;
                    }
                }
                _ => kept.push(row),
            }
        }
        self.account.drop("repeated", repeated);
        Ok(kept)
    }

    fn gather(&self, columns: &[StringArray], rows: &[u32]) -> Result<StringArray> {
        let columns: Vec<&dyn Array> = columns.iter().map(|column| column as &dyn Array).collect();
        let at: Vec<At> = rows.iter().map(|row| self.rows[*row as usize]).collect();
        Ok(interleave(&columns, &at).map_err(Error::arrow("settling"))?.as_string::<i32>().clone())
    }

    /// The texts of some rows. A news click's is its article's title as it is now, whatever it was when the click was read.
    fn text(&self, rows: &[u32]) -> Result<StringArray> {
        if self.titles.is_empty() || self.titled.iter().all(|titled| *titled) {
            return self.gather(&self.texts, rows);
        }
        let mut texts = StringBuilder::with_capacity(rows.len(), rows.len() * 64);
        for row in rows {
            let (batch, at) = self.rows[*row as usize];
            let news_id = match self.keys.domain[*row as usize] {
                NEWS if !self.titled[batch] => news_id(&self.news_ids[batch], at),
                _ => None,
            };
            let title = news_id.and_then(|id| self.titles.get(id));
            texts.append_value(title.map_or_else(|| self.texts[batch].value(at), String::as_str));
        }
        Ok(texts.finish())
    }

    /// `events`, `truth`, and their accounts.
    pub(super) fn settle(mut self) -> Result<(Rows<Events>, Rows<Truth>, Account, Account)> {
        let kept = self.distinct()?;
        self.account.output = kept.len() as u64;
        self.account.note("people erased", self.gone.len() as u64);
        let mut events = Vec::new();
        for rows in kept.chunks(BATCH_ROWS) {
            let columns = EventsColumns {
                event_id: ids(rows.iter().map(|row| self.keys.event(*row))),
                user_id: ids(rows.iter().map(|row| self.keys.user(*row))),
                domain: rows.iter().map(|row| Some(DOMAINS[usize::from(self.keys.domain[*row as usize])])).collect(),
                occurred_at: rows.iter().map(|row| self.keys.occurred_at[*row as usize]).collect::<Vec<_>>().into(),
                text: self.text(rows)?,
                news_id: self.gather(&self.news_ids, rows)?,
                source: rows.iter().map(|row| Some(self.source(*row))).collect(),
            };
            events.extend(Rows::<Events>::of(columns)?.into_batches());
        }
        self.clicks.output = self.truth.len() as u64;
        self.clicks.drop("repeated", self.clicks.input - self.clicks.accounted());
        let truth = TruthColumns {
            user_id: ids(self.truth.keys().map(|(user, _)| *user)),
            news_id: self.truth.keys().map(|(_, news_id)| Some(news_id)).collect(),
            occurred_at: self.truth.values().copied().collect::<Vec<_>>().into(),
        };
        Ok((Rows::new(events), Rows::of(truth)?, self.account, self.clicks))
    }
}

fn news_id(ids: &StringArray, row: usize) -> Option<&str> {
    (!ids.is_null(row)).then(|| ids.value(row))
}

fn ids(halves: impl ExactSizeIterator<Item = [u64; 2]>) -> StringArray {
    let mut ids = StringBuilder::with_capacity(halves.len(), halves.len() * 32);
    for id in halves {
        ids.append_value(std::str::from_utf8(&hex_id(&whole(id))).expect("hex digits"));
    }
    ids.finish()
}

fn parse(id: &str) -> Result<[u64; 2]> {
    unhex(id).map(|id| halves(&id)).ok_or_else(|| {
        let what = format!("events: user_id or event_id: expected 32 hex digits, got {} characters", id.len());
        Error::new(Exit::Data, what, "delete the dataset's folder and run ingest again")
    })
}
