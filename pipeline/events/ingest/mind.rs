//! MIND's own files: `behaviors.tsv` (impressions with histories) and `news.tsv`.
//!
//! History clicks have no times of their own: they are dated backwards from the cut-off, one second apart, in order. Clicked
//! impressions are clicks at the impression's time. An article is published when any impression first shows it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Days, NaiveDateTime, NaiveTime, Utc};
use dataset::{Error, Result};

use super::articles::{Article, ArticleCollector, clean_text};
use super::collect::{Collector, NEWS};
use super::events::Titles;
use super::read::{lines, reason};

const SECOND: i64 = 1_000_000;

/// The behaviours and news files of a folder in MIND's layout.
pub(super) fn files(folder: &str) -> Result<(PathBuf, PathBuf)> {
    let find = |stem: &str| {
        ["", ".gz", ".zst"]
            .iter()
            .map(|end| Path::new(folder).join(format!("{stem}.tsv{end}")))
            .find(|p| p.is_file())
            .ok_or_else(|| {
                let hint = "MIND unpacks to behaviors.tsv and news.tsv";
                Error::unreadable(folder, format!("expected {stem}.tsv (or .tsv.gz, .tsv.zst) in it"), hint)
            })
    };
    Ok((find("behaviors")?, find("news")?))
}

/// One line of `behaviors.tsv`.
struct Impression<'a> {
    user: &'a [u8],
    at: i64,
    history: &'a str,
    shown: &'a str,
}

fn parse(line: &[u8]) -> Result<Impression<'_>, &'static str> {
    let fields: Vec<&[u8]> = line.split(|b| *b == b'\t').collect();
    let [_, user, time, history, shown] = fields[..] else { return Err(reason::FIELDS) };
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| reason::UTF8);
    let at = parse_time(text(time)?).ok_or(reason::NO_TIME)?;
    let impression = Impression { user, at, history: text(history)?, shown: text(shown)? };
    if user.trim_ascii().is_empty() {
        return Err(reason::NO_USER);
    }
    if impression.shown().any(|(_, clicked)| clicked.is_none()) {
        return Err(reason::IMPRESSION);
    }
    Ok(impression)
}

impl Impression<'_> {
    /// Articles shown, and whether each was clicked (none: neither `-0` nor `-1` follows it).
    fn shown(&self) -> impl Iterator<Item = (&str, Option<bool>)> {
        self.shown.split_ascii_whitespace().map(|shown| match shown.rsplit_once('-') {
            Some((id, "1")) => (id, Some(true)),
            Some((id, "0")) => (id, Some(false)),
            _ => (shown, None),
        })
    }
}

/// `11/9/2019 9:05:58 AM`, UTC, as microseconds since 1970.
fn parse_time(text: &str) -> Option<i64> {
    let time = NaiveDateTime::parse_from_str(text.trim(), "%m/%d/%Y %I:%M:%S %p").ok()?;
    let micros = time.and_utc().timestamp_micros();
    (0..i64::MAX / 2).contains(&micros).then_some(micros)
}

/// The start of the day of the first impression: MIND's natural cut-off.
pub(super) fn first_day(path: &Path) -> Result<DateTime<Utc>> {
    let mut first = i64::MAX;
    lines(path, |_, line| {
        if let Ok(impression) = parse(line) {
            first = first.min(impression.at);
        }
        Ok(())
    })?;
    DateTime::from_timestamp_micros(first)
        .map(|time| time.date_naive().and_time(NaiveTime::MIN).and_utc())
        .filter(|day| day.checked_add_days(Days::new(366)).is_some())
        .ok_or_else(|| {
            Error::unreadable(
                path.display(),
                "expected impressions, got none that is readable",
                "is it MIND's behaviors.tsv?",
            )
        })
}

/// Reads the histories: one behaviour per click. Lines that cannot be read are counted here.
pub(super) fn read_histories(path: &Path, cut_off: i64, titles: &Titles, into: &mut Collector<'_, '_>) -> Result<()> {
    lines(path, |line, bytes| {
        let impression = match parse(bytes) {
            Ok(impression) => impression,
            Err(reason) => {
                into.reject(line, reason);
                return Ok(());
            }
        };
        let clicks = impression.history.split_ascii_whitespace().rev();
        for (id, age) in clicks.zip(1..) {
            push(line, &impression, id, cut_off - age * SECOND, titles, into)?;
        }
        Ok(())
    })?;
    // Dated from the cut-off, the histories hold under no other one.
    into.tally.dated_from_cut_off = true;
    Ok(())
}

/// Reads the clicked impressions.
pub(super) fn read_impressions(path: &Path, titles: &Titles, into: &mut Collector<'_, '_>) -> Result<()> {
    lines(path, |line, bytes| {
        // Lines that cannot be read are counted where the histories are read.
        let Ok(impression) = parse(bytes) else { return Ok(()) };
        for (id, clicked) in impression.shown() {
            if clicked == Some(true) {
                push(line, &impression, id, impression.at, titles, into)?;
            }
        }
        Ok(())
    })
}

fn push(
    line: u64,
    impression: &Impression<'_>,
    id: &str,
    at: i64,
    titles: &Titles,
    into: &mut Collector<'_, '_>,
) -> Result<()> {
    match titles.get(id) {
        Some(title) => into.push(line, impression.user, NEWS, at, title.as_bytes(), Some(id.as_bytes())),
        None => {
            into.reject(line, reason::UNKNOWN_NEWS);
            Ok(())
        }
    }
}

/// Reads when articles were first shown.
pub(super) fn read_shown(path: &Path, into: &mut ArticleCollector<'_, '_>) -> Result<()> {
    let mut first: HashMap<String, i64> = HashMap::new();
    lines(path, |_, line| {
        // Rows that cannot be read are counted where the behaviours are read.
        if let Ok(impression) = parse(line) {
            for (id, _) in impression.shown() {
                match first.get_mut(id) {
                    Some(at) => *at = impression.at.min(*at),
                    None => {
                        first.insert(id.to_owned(), impression.at);
                    }
                }
            }
        }
        Ok(())
    })?;
    first.iter().try_for_each(|(id, at)| into.shown(id, *at))
}

/// Reads `news.tsv`: id, category, subcategory, title, abstract, URL, entities of the title, entities of the abstract.
pub(super) fn read_news(path: &Path, into: &mut ArticleCollector<'_, '_>) -> Result<()> {
    lines(path, |line, bytes| {
        let fields: Vec<&[u8]> = bytes.split(|b| *b == b'\t').collect();
        let [id, category, subcategory, title, summary, _, title_entities, abstract_entities] = fields[..] else {
            into.reject(line, reason::FIELDS);
            return Ok(());
        };
        let article = (|| {
            let mut entities = labels(title_entities)?;
            entities.extend(labels(abstract_entities)?);
            entities.sort();
            entities.dedup();
            Ok(Article {
                title: clean_text(title)?,
                summary: clean_text(summary)?,
                category: clean_text(category)?,
                subcategory: clean_text(subcategory)?,
                entities,
            })
        })();
        into.push(line, id, None, article)
    })
}

/// The names in MIND's list of entities: `[{"Label": "…", …}, …]`.
fn labels(json: &[u8]) -> Result<Vec<String>, &'static str> {
    if json.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let entities: Vec<serde_json::Value> = serde_json::from_slice(json).map_err(|_| reason::JSON)?;
    Ok(entities.iter().filter_map(|e| e["Label"].as_str().map(str::to_owned)).collect())
}
