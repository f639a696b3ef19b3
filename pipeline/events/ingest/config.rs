//! What `ingest` reads: the settings, with one mapping per raw log.

use chrono::{DateTime, Utc};
use clap::Args;
use dataset::{Error, Result};
use schemas::DOMAINS;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::collect::Window;

/// Reads raw logs into `events`, `news` and `truth`.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct Ingest {
    /// A folder with MIND's behaviors.tsv and news.tsv, each plain, gz or zst
    #[arg(long, value_name = "FOLDER")]
    pub mind: Option<String>,
    /// Where history ends and the evaluation window begins, such as 2025-12-01T00:00:00Z [default for MIND: the day of the first
    /// impression]
    #[arg(long, value_name = "TIME")]
    #[serde(deserialize_with = "cut_off")]
    pub cut_off: Option<DateTime<Utc>>,
    /// Length of the evaluation window
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub window_days: u32,
    /// Only history of so many days before the cut-off; 0: all of it
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub history_days: u32,
    /// User buckets, fixed from here on: one for every 8,000 users is plenty, 1024 for 500,000 users on many machines
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub buckets: u32,
    /// Raw logs of behaviours.
    #[arg(skip)]
    pub events: Vec<EventLog>,
    /// Raw logs of articles.
    #[arg(skip)]
    pub news: Vec<NewsLog>,
}

fn cut_off<'de, D: Deserializer<'de>>(value: D) -> std::result::Result<Option<DateTime<Utc>>, D::Error> {
    let Some(text) = Option::<String>::deserialize(value)? else { return Ok(None) };
    let expected = || D::Error::custom(format!("cut_off: expected a time such as 2025-12-01T00:00:00Z, got {text:?}"));
    text.parse().map(Some).map_err(|_| expected())
}

impl Default for Ingest {
    fn default() -> Self {
        dataset::defaults()
    }
}

/// The times that matter.
///
/// # Errors
/// When one of them lies beyond what a timestamp can hold.
pub(super) fn times(cut_off: DateTime<Utc>, window_days: u32, history_days: u32) -> Result<Window> {
    const DAY: i64 = 86_400_000_000;
    let cut_off = cut_off.timestamp_micros();
    let after = |days: i64| days.checked_mul(DAY).and_then(|micros| cut_off.checked_add(micros));
    let beyond = |setting: &str, days: u32| {
        Error::setting(setting, "days that a calendar has", days, "7 days of window and 30 of history are usual")
    };
    let end = after(window_days.into())
        .filter(|_| window_days > 0)
        .ok_or_else(|| beyond("ingest.window_days", window_days))?;
    let start = match history_days {
        0 => i64::MIN,
        days => after(-i64::from(days)).ok_or_else(|| beyond("ingest.history_days", days))?,
    };
    Ok(Window { start, cut_off, end })
}

/// One raw log of behaviours: its files, and which column means what. gz and zst are recognised by their content.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventLog {
    /// Goes into the column `source`.
    pub name: String,
    /// Globs, such as `logs/searches-*.tsv.gz`.
    pub files: Vec<String>,
    /// parquet, csv, tsv or jsonl.
    pub format: Format,
    /// csv and tsv without a header line: the columns' names, in order.
    pub columns: Vec<String>,
    /// What kind of behaviour a row is: search, browse or news.
    pub domain: String,
    /// Column of the platform's user id.
    pub user: String,
    /// Column of the time.
    pub time: String,
    /// How the time is written: `rfc3339`, `unix_s`, `unix_ms`, `unix_us`, or a strftime pattern such as
    /// `%Y-%m-%d %H:%M:%S`. Parquet timestamps need none.
    pub time_format: String,
    /// The zone of times written without an offset, such as `Europe/Berlin`.
    pub time_zone: String,
    /// Column of the text. News clicks may leave it out: the title is then looked up by `news_id`.
    pub text: Option<String>,
    /// Column of the article's id, for news clicks.
    pub news_id: Option<String>,
}

impl Default for EventLog {
    fn default() -> Self {
        EventLog {
            name: String::new(),
            files: Vec::new(),
            format: Format::default(),
            columns: Vec::new(),
            domain: String::new(),
            user: String::new(),
            time: String::new(),
            time_format: "rfc3339".into(),
            time_zone: "UTC".into(),
            text: None,
            news_id: None,
        }
    }
}

/// One raw log of articles; files, format and times as in [`EventLog`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NewsLog {
    /// Names the log in the quarantine.
    pub name: String,
    /// Globs.
    pub files: Vec<String>,
    /// parquet, csv, tsv or jsonl.
    pub format: Format,
    /// csv and tsv without a header line: the columns' names, in order.
    pub columns: Vec<String>,
    /// Column of the article's id.
    pub news_id: String,
    /// Column of the headline.
    pub title: String,
    /// Column of the publication time.
    pub time: Option<String>,
    /// How the time is written.
    pub time_format: String,
    /// The zone of times written without an offset.
    pub time_zone: String,
    /// Column of the summary.
    #[serde(rename = "abstract")]
    pub summary: Option<String>,
    /// Column of the category.
    pub category: Option<String>,
    /// Column of the subcategory.
    pub subcategory: Option<String>,
    /// Column of the entities: a list, or names with `;` between them.
    pub entities: Option<String>,
}

impl Default for NewsLog {
    fn default() -> Self {
        NewsLog {
            name: String::new(),
            files: Vec::new(),
            format: Format::default(),
            columns: Vec::new(),
            news_id: String::new(),
            title: String::new(),
            time: None,
            time_format: "rfc3339".into(),
            time_zone: "UTC".into(),
            summary: None,
            category: None,
            subcategory: None,
            entities: None,
        }
    }
}

/// File formats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Apache Parquet.
    #[default]
    Parquet,
    /// Comma-separated, quotes as in RFC 4180.
    Csv,
    /// Tab-separated, no quotes.
    Tsv,
    /// One JSON object per line.
    Jsonl,
}

impl Ingest {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// The first setting that makes no sense.
    pub fn check(&self) -> Result<()> {
        if self.buckets == 0 || self.buckets > 9999 {
            return Err(Error::setting("ingest.buckets", "1 to 9999", self.buckets, "64 is a good default"));
        }
        if self.mind.is_none() && self.events.is_empty() {
            let hint = "give --mind FOLDER, or describe raw logs in [[ingest.events]] (see jobs/configs/demo.toml)";
            return Err(Error::setting("ingest", "raw logs to read", "none", hint));
        }
        if self.mind.is_some() && !(self.events.is_empty() && self.news.is_empty()) {
            let hint = "keep them in separate --data roots";
            return Err(Error::setting("ingest.mind", "MIND or mapped logs", "both", hint));
        }
        if self.mind.is_none() && self.cut_off.is_none() {
            let hint =
                "behaviours before it are history, the window after it is the truth; for example 2025-12-01T00:00:00Z";
            return Err(Error::setting("ingest.cut_off", "a time", "none", hint));
        }
        let mut names = std::collections::BTreeSet::new();
        for log in &self.events {
            if log.name.is_empty() || !names.insert(&log.name) {
                let hint = "it is written into the column `source`";
                return Err(Error::setting("ingest.events.name", "a name of its own per log", &log.name, hint));
            }
            let at = |key: &str| format!("ingest.events[{}].{key}", log.name);
            if !DOMAINS.contains(&log.domain.as_str()) {
                return Err(Error::setting(
                    &at("domain"),
                    "search, browse or news",
                    &log.domain,
                    "one log, one domain",
                ));
            }
            let needed = [("user", &log.user), ("time", &log.time)];
            for (key, value) in needed {
                if value.is_empty() {
                    return Err(Error::setting(&at(key), "a column's name", "nothing", "name the log's own column"));
                }
            }
            if log.text.is_none() && (log.domain != "news" || log.news_id.is_none()) {
                let hint = "only news clicks with a news_id may leave it out";
                return Err(Error::setting(&at("text"), "a column's name", "nothing", hint));
            }
        }
        for log in &self.news {
            let at = |key: &str| format!("ingest.news[{}].{key}", log.name);
            for (key, value) in [("name", &log.name), ("news_id", &log.news_id), ("title", &log.title)] {
                if value.is_empty() {
                    return Err(Error::setting(&at(key), "a name", "nothing", "name the log's own column"));
                }
            }
        }
        Ok(())
    }
}
