//! Collecting behaviours: from a raw row's fields to spilled rows with keyed ids, scrubbed texts and a place in time.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayBuilder, ArrayRef, Int64Array, RecordBatch, StringArray, StringBuilder, UInt8Array, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use dataset::bucket::{bucket, hex};
use dataset::ids::MAX_ID_BYTES;
use dataset::{Error, Result, Spill, UserKey};
use schemas::DOMAINS;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::erased::ErasedPeople;
use super::mapping::{Behaviour, Behaviours, Counted};
use super::read::{Reason, Row, reason};
use super::tally::Tally;
use super::text::one_line;
use crate::scrub::{Counts, KINDS, scrub, scrub_published};

/// Texts longer than this say nothing that a query or a headline says.
const MAX_TEXT_BYTES: usize = 4096;
/// Why behaviours of people are left out who were erased.
pub(super) const ERASED: &str = "erased";
/// A row beside its texts.
const ROW_BYTES: usize = 64;

/// A spilled row's role: the rank of its domain, or this for a click in the evaluation window.
pub(super) const TRUTH: u8 = DOMAINS.len() as u8;
/// The rank of news clicks.
pub(super) const NEWS: u8 = 1;

/// The columns of spilled behaviours: the user's id as two halves, most significant first. An event's id follows from the rest.
pub(super) static SPILLED: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("user_high", DataType::UInt64, false),
        Field::new("user_low", DataType::UInt64, false),
        Field::new("role", DataType::UInt8, false),
        Field::new("occurred_at", DataType::Int64, false),
        Field::new("text", DataType::Utf8, false),
        Field::new("news_id", DataType::Utf8, true),
    ]))
});

/// The times that matter, microseconds since 1970: history is [start, cut_off), the truth is in [cut_off, end).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start: i64,
    pub(super) cut_off: i64,
    pub(super) end: i64,
}

/// The two halves of an id, whose order as numbers is the order of its hex digits.
pub(super) fn halves(id: &[u8; 16]) -> [u64; 2] {
    let half = |at: usize| id[at..at + 8].iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
    [half(0), half(8)]
}

/// The id that two halves make.
pub(super) fn whole(halves: [u64; 2]) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&halves[0].to_be_bytes());
    id[8..].copy_from_slice(&halves[1].to_be_bytes());
    id
}

/// Longer events are hashed from memory of their own.
const SHORT: usize = 512;

/// The id of an event: a hash of what makes it that event. `what` is the article of a news click, if that is known, else the text: titles
/// change from one night to the next.
///
/// XXH3 of 128 bits, a tenth of BLAKE3's time on so few bytes. It is no cryptographic hash and need be none: whoever makes two events of
/// their own meet loses one of them, and events of two people do not meet, for their keyed ids are part of what is hashed.
pub fn event_id(user_id: &[u8; 16], domain: &str, occurred_at_us: i64, what: &str) -> [u8; 16] {
    let parts = [user_id, &occurred_at_us.to_le_bytes()[..], domain.as_bytes(), &[0], what.as_bytes()];
    let length = parts.iter().map(|part| part.len()).sum();
    let (mut short, mut long) = ([0; SHORT], Vec::new());
    let mut rest = match short.get_mut(..length) {
        Some(short) => short,
        None => {
            long.resize(length, 0);
            &mut long[..]
        }
    };
    for part in parts {
        let (to, after) = rest.split_at_mut(part.len());
        to.copy_from_slice(part);
        rest = after;
    }
    xxh3_128(if long.is_empty() { &short[..length] } else { &long }).to_be_bytes()
}

/// How to collect; the same for all files of a run.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) key: UserKey,
    pub(super) buckets: u32,
    pub(super) window: Window,
    pub(super) erased: ErasedPeople,
}

/// A person, by the raw id.
struct User {
    raw: Vec<u8>,
    id: [u8; 16],
    bucket: u32,
}

/// People whose ids are kept at hand, at most. So few in tests that places are taken over all the time.
const AT_HAND: usize = if cfg!(test) { 4 } else { 1 << 14 };

/// People of whom a file had rows lately: it has more, and hashing an id twice costs more than looking it up. Each has one place, which whoever
/// comes there next takes over.
struct Users {
    places: Vec<Option<User>>,
}

impl Users {
    fn new() -> Self {
        Users { places: std::iter::repeat_with(|| None).take(AT_HAND).collect() }
    }

    fn of(&mut self, raw: &[u8], rules: &Rules) -> &User {
        let place = &mut self.places[xxh3_64(raw) as usize % AT_HAND];
        if place.as_ref().is_some_and(|user| user.raw != raw) {
            *place = None;
        }
        place.get_or_insert_with(|| {
            let id = rules.key.user_id(raw);
            User { raw: raw.to_vec(), id, bucket: bucket(&id, rules.buckets) }
        })
    }
}

/// Behaviours of one raw file on their way to their users' buckets.
pub(super) struct Collector<'a, 's> {
    rules: &'a Rules,
    spill: &'a mut Spill<'s>,
    pub(super) tally: Tally,
    scrubbed: Counts,
    users: Users,
    bucket: Vec<u32>,
    user: [Vec<u64>; 2],
    role: Vec<u8>,
    occurred_at: Vec<i64>,
    text: StringBuilder,
    news_id: StringBuilder,
}

impl Counted for Collector<'_, '_> {
    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

impl Behaviours for Collector<'_, '_> {
    fn take(&mut self, row: Row, domain: u8, behaviour: Behaviour<'_>) -> Result<()> {
        if self.was_erased(&behaviour.user) {
            self.tally.leave_out(ERASED);
            return Ok(());
        }
        self.tally.latest_us = self.tally.latest_us.max(behaviour.at);
        match self.place(domain, &behaviour) {
            Ok(()) => self.tally.units += 1,
            Err(Left::Out(reason)) => self.tally.leave_out(reason),
            Err(Left::Aside(reason)) => self.refuse(row, &behaviour.user, &reason),
        }
        let held = self.text.values_slice().len() + self.news_id.values_slice().len() + self.role.len() * ROW_BYTES;
        if held >= self.spill.budget_bytes { self.flush() } else { Ok(()) }
    }

    fn refuse(&mut self, row: Row, user: &[u8], reason: &Reason) {
        match self.was_erased(user) {
            true => self.tally.leave_out(ERASED),
            false => {
                let id = hex(&self.users.of(user, self.rules).id);
                self.tally.reject_of(row, Some(&id), reason);
            }
        }
    }
}

impl<'a, 's> Collector<'a, 's> {
    pub(super) fn new(rules: &'a Rules, spill: &'a mut Spill<'s>) -> Self {
        Collector {
            rules,
            spill,
            tally: Tally::new(),
            scrubbed: Counts::default(),
            users: Users::new(),
            bucket: Vec::new(),
            user: Default::default(),
            role: Vec::new(),
            occurred_at: Vec::new(),
            text: StringBuilder::new(),
            news_id: StringBuilder::new(),
        }
    }

    fn place(&mut self, domain: u8, behaviour: &Behaviour<'_>) -> Result<(), Left> {
        let (user, at, news_id) = (behaviour.user.as_ref(), behaviour.at, behaviour.news_id.as_deref());
        judge(self.rules.window, domain, behaviour, |role, text, scrubbed| {
            let role = role.map_err(Left::Out)?;
            self.scrubbed.iter_mut().zip(scrubbed).for_each(|(sum, n)| *sum += n);
            let User { id, bucket, .. } = self.users.of(user, self.rules);
            self.user.iter_mut().zip(halves(id)).for_each(|(column, half)| column.push(half));
            self.bucket.push(*bucket);
            self.role.push(role);
            self.occurred_at.push(at);
            self.text.append_value(if role == TRUTH { "" } else { text });
            self.news_id.append_option(news_id);
            Ok(())
        })
        .map_err(Left::Aside)?
    }

    fn was_erased(&mut self, user: &[u8]) -> bool {
        let rules = self.rules;
        !rules.erased.is_empty() && rules.erased.has(&self.users.of(user, rules).id)
    }

    fn flush(&mut self) -> Result<()> {
        if self.role.is_empty() {
            return Ok(());
        }
        let [user_high, user_low] = &mut self.user;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::from(emptied(user_high))),
            Arc::new(UInt64Array::from(emptied(user_low))),
            Arc::new(UInt8Array::from(emptied(&mut self.role))),
            Arc::new(Int64Array::from(emptied(&mut self.occurred_at))),
            Arc::new(emptied_texts(&mut self.text)),
            Arc::new(emptied_texts(&mut self.news_id)),
        ];
        let rows = RecordBatch::try_new(SPILLED.clone(), columns).map_err(Error::arrow("regrouping behaviours"))?;
        self.spill.send(&emptied(&mut self.bucket), &rows)
    }

    pub(super) fn finish(mut self) -> Result<()> {
        self.flush()?;
        for (kind, count) in KINDS.iter().zip(self.scrubbed) {
            if count > 0 {
                self.tally.notes.insert(format!("scrubbed {kind}"), count);
            }
        }
        self.spill.say(&self.tally)
    }
}

/// What a column holds; it gets room for as much again.
fn emptied<T>(column: &mut Vec<T>) -> Vec<T> {
    let room = Vec::with_capacity(column.len());
    std::mem::replace(column, room)
}

fn emptied_texts(column: &mut StringBuilder) -> StringArray {
    let room = StringBuilder::with_capacity(column.len(), column.values_slice().len());
    std::mem::replace(column, room).finish()
}

/// Calls `take` with a behaviour's role (or why it is left out, on purpose), its text as it would be kept, and what was scrubbed from
/// that; or says why it cannot be read.
pub(super) fn judge<R>(
    window: Window,
    domain: u8,
    behaviour: &Behaviour<'_>,
    take: impl FnOnce(Result<u8, &'static str>, &str, Counts) -> R,
) -> Result<R, Reason> {
    let Behaviour { user, at, text, titled, news_id } = behaviour;
    if user.len() > MAX_ID_BYTES {
        return Err(reason::LONG_USER);
    }
    // What is wrong with a row is found before it is placed in time, so that its place decides nothing else.
    if text.len() > 16 * MAX_TEXT_BYTES {
        return Err(reason::LONG_TEXT);
    }
    let text = std::str::from_utf8(text).map_err(|_| reason::UTF8)?;
    let line = if *titled { text.into() } else { one_line(text) };
    let mut scrubbed = Counts::default();
    // The text of a news click is its publisher's; what is searched for or visited is the user's.
    let text = match domain {
        _ if *titled => line.as_ref().into(),
        NEWS => scrub_published(&line, &mut scrubbed),
        _ => scrub(&line, &mut scrubbed),
    };
    if text.is_empty() {
        return Err(reason::NO_TEXT);
    }
    if text.len() > MAX_TEXT_BYTES {
        return Err(reason::LONG_TEXT);
    }
    let role = match *at {
        at if at < window.start => Err("before the history"),
        at if at < window.cut_off => Ok(domain),
        at if at >= window.end => Err("after the window"),
        _ if domain == NEWS && news_id.is_some() => Ok(TRUTH),
        _ => Err("after the cut-off"),
    };
    Ok(take(role, &text, scrubbed))
}

/// Why a behaviour is not collected.
enum Left {
    /// On purpose.
    Out(&'static str),
    /// It cannot be read.
    Aside(Reason),
}
