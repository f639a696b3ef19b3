//! MIND's own files: `behaviors.tsv` (impressions with histories) and `news.tsv`.
//!
//! Clicked impressions are clicks at the impression's time. History clicks have no times of their own. A user's history is what the
//! user's first impression says it was then; what later ones add was clicked meanwhile, and is among the impressions, with its time. It
//! is dated backwards, one second apart, in order, from that impression or the cut-off, whichever comes first: so it is history under any
//! cut-off, and older than every click that has a time. An article is published when any impression first shows it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use chrono::{DateTime, Days, NaiveTime, Utc};
use dataset::bucket::digest_128;
use dataset::ids::{article_id, id};
use dataset::{Error, Result};

use super::articles::{Article, ArticleCollector, clean_text};
use super::collect::NEWS;
use super::events::Titles;
use super::mapping::{Articles, Behaviour, Behaviours};
use super::read::{Encoding, Reason, Row, lines, reason};
use super::time::TimeParser;

const SECOND: i64 = 1_000_000;

/// The behaviours and news files of a folder in MIND's layout.
pub(super) fn files(folder: &str) -> Result<(PathBuf, PathBuf)> {
    let find = |stem: &str| {
        ["", ".gz", ".zst", ".bz2"]
            .iter()
            .map(|end| Path::new(folder).join(format!("{stem}.tsv{end}")))
            .find(|p| p.is_file())
            .ok_or_else(|| {
                let hint = "MIND unpacks to behaviors.tsv and news.tsv";
                Error::unreadable(folder, format!("expected {stem}.tsv (or .tsv.gz, .tsv.zst, .tsv.bz2) in it"), hint)
            })
    };
    Ok((find("behaviors")?, find("news")?))
}

/// One line of `behaviors.tsv`.
pub(super) struct Impression<'a> {
    /// The file's own number of it.
    pub(super) id: &'a [u8],
    pub(super) user: &'a [u8],
    /// Microseconds since 1970.
    pub(super) at: i64,
    history: &'a str,
    /// What [`articles`] reads.
    pub(super) shown: &'a str,
}

fn parse(line: Result<&[u8], Reason>) -> Result<Impression<'_>, Reason> {
    let fields: Vec<&[u8]> = line?.split(|b| *b == b'\t').collect();
    let [number, user, time, history, shown] = fields[..] else { return Err(reason::fields(5, fields.len())) };
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| reason::UTF8);
    let at = parse_time(time)?;
    let (history, shown) = (text(history)?, text(shown)?);
    let impression = Impression { id: number.trim_ascii(), user: user.trim_ascii(), at, history, shown };
    if id(user, false)?.is_none() {
        return Err(reason::NO_USER);
    }
    let shown = || impression.articles().map(|(_, clicked)| clicked);
    if shown().all(|clicked| clicked.is_some()) {
        return Ok(impression);
    }
    Err(if shown().any(|clicked| clicked.is_some()) { reason::IMPRESSION } else { reason::UNLABELLED })
}

impl Impression<'_> {
    /// Articles shown, and whether each was clicked.
    pub(super) fn articles(&self) -> impl Iterator<Item = (&str, Option<bool>)> {
        articles(self.shown)
    }
}

/// Articles of what an impression showed, and whether each was clicked (none: neither `-0` nor `-1` follows it).
pub(super) fn articles(shown: &str) -> impl Iterator<Item = (&str, Option<bool>)> {
    shown.split_ascii_whitespace().map(|shown| match shown.rsplit_once('-') {
        Some((id, "1")) => (id, Some(true)),
        Some((id, "0")) => (id, Some(false)),
        _ => (shown, None),
    })
}

/// Calls `each` with every line that can be read. The others are counted where the histories are read.
pub(super) fn read_each(path: &Path, mut each: impl FnMut(&Impression<'_>) -> Result<()>) -> Result<()> {
    lines(path, Encoding::Utf8, |_, bytes| parse(bytes).map_or(Ok(()), |impression| each(&impression)))
}

/// `11/9/2019 9:05:58 AM`, or as ISO 8601 has it, UTC, as microseconds since 1970.
fn parse_time(text: &[u8]) -> Result<i64, Reason> {
    static FORMATS: LazyLock<[TimeParser; 2]> = LazyLock::new(|| {
        ["%m/%d/%Y %I:%M:%S %p", "iso8601"].map(|format| TimeParser::new("mind", format, "UTC").expect("a format"))
    });
    let [own, iso] = &*FORMATS;
    own.of_text(text).or_else(|_| iso.of_text(text))
}

/// The start of the day of the first impression: MIND's natural cut-off.
pub(super) fn first_day(path: &Path) -> Result<DateTime<Utc>> {
    let mut first = i64::MAX;
    let mut wrong = None;
    lines(path, Encoding::Utf8, |line, bytes| {
        match parse(bytes) {
            Ok(impression) => first = first.min(impression.at),
            Err(reason) => {
                wrong.get_or_insert((line, reason));
            }
        }
        Ok(())
    })?;
    DateTime::from_timestamp_micros(first)
        .map(|time| time.date_naive().and_time(NaiveTime::MIN).and_utc())
        .filter(|day| day.checked_add_days(Days::new(366)).is_some())
        .ok_or_else(|| {
            let why = wrong.as_ref().map(|(line, reason)| format!(" (line {line}: {reason})")).unwrap_or_default();
            let hint = match wrong {
                Some((_, reason)) if reason == reason::UNLABELLED => {
                    "MIND's test split does not say what was clicked, so nothing can be evaluated on it: take train or dev"
                }
                _ => "is it MIND's behaviors.tsv? Its five columns: impression, user, time, history, impressions (docs/logs.md)",
            };
            Error::unreadable(path.display(), format!("expected impressions, got none that is readable{why}"), hint)
        })
}

/// Which of a user's lines says the history: the first one; of several at one time the one with the shortest history.
type First = (i64, usize, [u8; 16], u64);

/// Reads the histories: one behaviour per click. Lines that cannot be read are counted here.
pub(super) fn read_histories(path: &Path, cut_off: i64, titles: &Titles, into: &mut impl Behaviours) -> Result<()> {
    let mut first: HashMap<[u8; 16], First> = HashMap::new();
    lines(path, Encoding::Utf8, |line, bytes| {
        match parse(bytes) {
            Ok(Impression { user, at, history, .. }) => {
                let this = (at, history.len(), digest_128(&[history.as_bytes()]), line);
                first.entry(digest_128(&[user])).and_modify(|known| *known = this.min(*known)).or_insert(this);
            }
            Err(reason) => into.tally().reject(Row::at(line), &reason),
        }
        Ok(())
    })?;
    lines(path, Encoding::Utf8, |line, bytes| {
        let Ok(impression) = parse(bytes) else { return Ok(()) };
        if first.get(&digest_128(&[impression.user])).is_none_or(|first| first.3 != line) {
            return Ok(());
        }
        let end = cut_off.min(impression.at);
        let clicks = impression.history.split_ascii_whitespace().rev();
        for (id, age) in clicks.zip(1..) {
            push(line, &impression, id, end - age * SECOND, titles, into)?;
        }
        Ok(())
    })?;
    // Dated from the cut-off, the histories hold under no other one.
    into.tally().dated_from_cut_off = true;
    Ok(())
}

/// Reads the clicked impressions.
pub(super) fn read_impressions(path: &Path, titles: &Titles, into: &mut impl Behaviours) -> Result<()> {
    lines(path, Encoding::Utf8, |line, bytes| {
        // Lines that cannot be read are counted where the histories are read.
        let Ok(impression) = parse(bytes) else { return Ok(()) };
        for (id, clicked) in impression.articles() {
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
    into: &mut impl Behaviours,
) -> Result<()> {
    let row = Row::at(line);
    let id = article_id(id.as_bytes(), false).ok().flatten().unwrap_or_default();
    match titles.get(id.as_ref()) {
        Some(title) => {
            let (user, text) = (Cow::Borrowed(impression.user), Cow::Borrowed(title.as_bytes()));
            into.take(row, NEWS, Behaviour { user, at, text, titled: true, news_id: Some(id) })
        }
        None => {
            into.refuse(row, impression.user, &reason::UNKNOWN_NEWS);
            Ok(())
        }
    }
}

/// Reads when articles were first shown.
pub(super) fn read_shown(path: &Path, into: &mut ArticleCollector<'_, '_>) -> Result<()> {
    let mut first: HashMap<String, i64> = HashMap::new();
    lines(path, Encoding::Utf8, |_, line| {
        // Rows that cannot be read are counted where the behaviours are read.
        if let Ok(impression) = parse(line) {
            for (id, _) in impression.articles() {
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
pub(super) fn read_news(path: &Path, into: &mut impl Articles) -> Result<()> {
    lines(path, Encoding::Utf8, |line, bytes| {
        let row = Row::at(line);
        let fields: Vec<&[u8]> = match bytes {
            Ok(bytes) => bytes.split(|b| *b == b'\t').collect(),
            Err(reason) => {
                into.tally().reject(row, &reason);
                return Ok(());
            }
        };
        let [id, category, subcategory, title, summary, _, title_entities, abstract_entities] = fields[..] else {
            into.tally().reject(row, &reason::fields(8, fields.len()));
            return Ok(());
        };
        let mut entities = into.tally().optional("entities", labels(title_entities));
        entities.extend(into.tally().optional("entities", labels(abstract_entities)));
        entities.sort();
        entities.dedup();
        let article = Article {
            title: None,
            summary: into.tally().optional("an abstract", clean_text(summary)),
            category: into.tally().optional("a category", clean_text(category)),
            subcategory: into.tally().optional("a subcategory", clean_text(subcategory)),
            entities,
        };
        into.offer(row, article_id(id, false), None, clean_text(title), article)
    })
}

/// The names in MIND's list of entities: `[{"Label": "…", …}, …]`.
fn labels(json: &[u8]) -> Result<Vec<String>, Reason> {
    if json.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let entities: Vec<serde_json::Value> = serde_json::from_slice(json).map_err(|_| reason::NO_LIST)?;
    Ok(entities.iter().filter_map(|e| e["Label"].as_str().map(str::to_owned)).collect())
}
