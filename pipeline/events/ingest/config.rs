//! What `ingest` reads: the settings, with one mapping per raw log.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use clap::Args;
use dataset::{Error, Result};
use schemas::DOMAINS;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::collect::Window;
use super::mind;
use super::one_or_many::{Texts, one_or_many};
use super::read::{Dialect, Encoding, Select, Shape};
use super::time::TimeParser;

/// Reads raw logs into `events`, `news` and `truth`.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct Ingest {
    /// A folder with MIND's behaviors.tsv and news.tsv, each plain, gz, zst or bz2
    #[arg(long, value_name = "FOLDER")]
    pub mind: Option<String>,
    /// Where history ends and the evaluation window begins, such as 2025-12-01T00:00:00Z or 2025-12-01 [default for MIND: the day of
    /// the first impression]
    #[arg(long, value_name = "TIME", value_parser = parse_cut_off)]
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

/// A time with a zone, or a day: its midnight, UTC.
fn parse_cut_off(text: &str) -> Result<DateTime<Utc>, String> {
    let day = format!("{text}T00:00:00Z");
    let time = text.parse().or_else(|_| day.parse());
    time.map_err(|_| format!("expected a time such as 2025-12-01T00:00:00Z, or a day, got {text:?}"))
}

fn cut_off<'de, D: Deserializer<'de>>(value: D) -> std::result::Result<Option<DateTime<Utc>>, D::Error> {
    let Some(text) = Option::<String>::deserialize(value)? else { return Ok(None) };
    parse_cut_off(&text).map(Some).map_err(|e| D::Error::custom(format!("cut_off: {e}")))
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
    /// One JSON object per line, or one array of objects.
    #[serde(alias = "json")]
    Jsonl,
}

/// A log's settings: its own, and those of how its files are written, which all logs have.
macro_rules! log {
    (
        $(#[$about:meta])*
        $log:ident, $section:literal { $($(#[$doc:meta])* $field:ident: $type:ty,)* }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $log {
            /// Names the log: in the column `source`, in accounts and in the quarantine.
            pub name: String,
            /// Globs, such as `logs/searches-*.tsv.gz`. Each must match a file. Hidden files are none, unless a glob says the dot.
            #[serde(deserialize_with = "one_or_many")]
            pub files: Vec<String>,
            /// parquet, csv, tsv or jsonl. gz, zst and bz2 are recognised by their content.
            pub format: Format,
            /// csv and tsv without a header line: the columns' names, in order.
            pub columns: Vec<String>,
            /// csv and tsv: what separates fields, one ASCII character [default: a comma, a tab].
            pub delimiter: Option<String>,
            /// csv and tsv: what stands around fields, one ASCII character; empty: nothing does [default: `"` for csv, none for tsv].
            pub quote: Option<String>,
            /// csv: what makes a quote within quotes text, such as `\`, which Spark writes [default: it is doubled].
            pub escape: Option<String>,
            /// csv, tsv and jsonl: utf-8 (or UTF-16, where the file begins with its mark), utf-16le, utf-16be or latin-1.
            pub encoding: Encoding,
            /// SQL that makes other columns of the file's, which the mapping then names: `SELECT … FROM log WHERE …`, a row for each row.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub select: Option<String>,
            /// Texts that mean that there is no value, in any column. In ids and times `NULL`, `null`, `\N`, `None`, `nan`, `NaN` and
            /// `<NA>` always do.
            #[serde(deserialize_with = "one_or_many")]
            pub nulls: Vec<String>,
            /// Only rows with these values: `only = { action = ["read", "click"], lang = "en" }`. Others are left out, and counted.
            pub only: BTreeMap<String, Texts>,
            /// Only rows that have a value in these columns. Others are left out, and counted.
            #[serde(deserialize_with = "one_or_many")]
            pub require: Vec<String>,
            /// Ids such as `101.0` are the whole number 101, which tools that hold them as floating point write so.
            pub whole_ids: bool,
            /// How times are written: see docs/logs.md. Parquet's own timestamps need none.
            pub time_format: String,
            /// The zone of times written without an offset, such as `Europe/Berlin`.
            pub time_zone: String,
            $($(#[$doc])* pub $field: $type,)*
        }

        impl Default for $log {
            fn default() -> Self {
                $log {
                    name: String::new(),
                    files: Vec::new(),
                    format: Format::default(),
                    columns: Vec::new(),
                    delimiter: None,
                    quote: None,
                    escape: None,
                    encoding: Encoding::default(),
                    select: None,
                    nulls: Vec::new(),
                    only: BTreeMap::new(),
                    require: Vec::new(),
                    whole_ids: true,
                    time_format: "rfc3339".into(),
                    time_zone: "UTC".into(),
                    $($field: Default::default(),)*
                }
            }
        }

        impl $log {
            /// A key's name in messages.
            fn at(&self, key: &str) -> String {
                format!("ingest.{}[{}].{key}", $section, self.name)
            }

            /// How the files are written.
            pub(super) fn shape(&self) -> Result<Shape<'_>> {
                let byte = |key: &str, value: &Option<String>| one_byte(&self.at(key), value.as_deref());
                let (delimiter, quote) = match self.format {
                    Format::Tsv => (b'\t', None),
                    _ => (b',', Some(b'"')),
                };
                let dialect = Dialect {
                    delimiter: byte("delimiter", &self.delimiter)?.unwrap_or(delimiter),
                    quote: if self.quote.is_some() { byte("quote", &self.quote)? } else { quote },
                    escape: byte("escape", &self.escape)?,
                };
                let Dialect { delimiter, quote, escape } = dialect;
                if quote == Some(delimiter) || escape == Some(delimiter) {
                    return Err(Error::setting(&self.at("delimiter"), "another character than the quote and the escape", "the same", "such as \";\""));
                }
                if escape.is_some() && quote.is_none() {
                    let hint = "an escape makes a quote text: say what the quote is, or leave the escape out";
                    return Err(Error::setting(&self.at("escape"), "a quote that it could escape", "none", hint));
                }
                let separated = matches!(self.format, Format::Csv | Format::Tsv);
                let only_separated = [
                    ("columns", !self.columns.is_empty()),
                    ("delimiter", self.delimiter.is_some()),
                    ("quote", self.quote.is_some()),
                    ("escape", self.escape.is_some()),
                ];
                if let Some((key, _)) = only_separated.iter().find(|(_, said)| *said && !separated) {
                    let hint = "csv and tsv have it";
                    return Err(Error::setting(&self.at(key), "nothing for this format", "a value", hint));
                }
                if self.format == Format::Parquet && self.encoding != Encoding::Utf8 {
                    let hint = "Parquet's text is UTF-8";
                    return Err(Error::setting(&self.at("encoding"), "nothing for this format", "a value", hint));
                }
                let select = self.selected()?;
                Ok(Shape { format: self.format, dialect, encoding: self.encoding, columns: &self.columns, select })
            }

            fn selected(&self) -> Result<Option<Select>> {
                self.select.as_deref().map(|sql| Select::new(self.at("select"), sql)).transpose()
            }

            /// All columns of the files that are read.
            pub(super) fn wanted(&self) -> Result<Vec<String>> {
                if let Some(select) = self.selected()? {
                    return Ok(select.columns().into_iter().map(str::to_owned).collect());
                }
                let mapped = self.mapped().into_iter().flatten();
                Ok(mapped.chain(self.only.keys()).chain(&self.require).cloned().collect())
            }

            /// How times are read.
            pub(super) fn time_parser(&self) -> Result<TimeParser> {
                TimeParser::new(self.at("").trim_end_matches('.'), &self.time_format, &self.time_zone)
            }
        }
    };
}

log! {
    /// One raw log of behaviours: its files, and which column means what.
    EventLog, "events" {
        /// What kind of behaviour a row is: search, browse or news.
        domain: String,
        /// Column of the platform's user id.
        user: String,
        /// Column of the time.
        time: String,
        /// Column of the text. News clicks may leave it out: the title is then looked up by `news_id`.
        text: Option<String>,
        /// Column of the article's id, for news clicks.
        news_id: Option<String>,
        /// Column of the ids of all articles that the row's impression showed, a list. Those that `news_id` names were clicked.
        shown: Option<String>,
        /// Column of the impression's own id.
        impression: Option<String>,
    }
}

log! {
    /// One raw log of articles.
    NewsLog, "news" {
        /// Column of the article's id.
        news_id: String,
        /// Column of the headline.
        title: String,
        /// Column of the publication time.
        time: Option<String>,
        /// Column of the summary.
        #[serde(rename = "abstract")]
        summary: Option<String>,
        /// Column of the category.
        category: Option<String>,
        /// Column of the subcategory.
        subcategory: Option<String>,
        /// Column of the entities: a list, or names with `;` between them.
        entities: Option<String>,
    }
}

fn one_byte(setting: &str, value: Option<&str>) -> Result<Option<u8>> {
    match value.map(str::as_bytes) {
        None | Some([]) => Ok(None),
        Some([byte]) if byte.is_ascii() && !matches!(byte, b'\r' | b'\n') => Ok(Some(*byte)),
        Some(_) => {
            let got = format!("{:?}", value.unwrap_or_default());
            Err(Error::setting(setting, "one ASCII character", got, "such as \";\" or \"\\t\""))
        }
    }
}

impl Ingest {
    /// Where history ends: as it is said, or as MIND's log says.
    pub(super) fn cut_off(&self) -> Result<DateTime<Utc>> {
        match (self.cut_off, &self.mind) {
            (Some(cut_off), _) => Ok(cut_off),
            (None, Some(folder)) => mind::first_day(&mind::files(folder)?.0),
            (None, None) => Err(Error::bug("a cut-off that is neither said nor in the log")),
        }
    }

    /// Checks what types cannot.
    ///
    /// # Errors
    /// The first setting that makes no sense.
    pub fn check(&self) -> Result<()> {
        if self.buckets == 0 || self.buckets > 9999 {
            return Err(Error::setting("ingest.buckets", "1 to 9999", self.buckets, "64 is a good default"));
        }
        if self.mind.is_none() && self.events.is_empty() {
            let hint = "give --mind FOLDER, or describe raw logs in [[ingest.events]] (see docs/logs.md)";
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
        let names = |names: &mut dyn Iterator<Item = &String>, setting: &str| {
            let mut known = std::collections::BTreeSet::new();
            for name in names {
                if name.is_empty() || !known.insert(name.clone()) {
                    return Err(Error::setting(setting, "a name of its own per log", name, "accounts name logs by it"));
                }
            }
            Ok(())
        };
        names(&mut self.events.iter().map(|log| &log.name), "ingest.events.name")?;
        names(&mut self.news.iter().map(|log| &log.name), "ingest.news.name")?;
        if let Some(cut_off) = self.cut_off {
            times(cut_off, self.window_days, self.history_days)?;
        }
        self.events.iter().try_for_each(EventLog::check)?;
        self.news.iter().try_for_each(NewsLog::check)
    }
}

impl EventLog {
    /// The columns of its mapping: user, time, text and article.
    pub(super) fn mapped(&self) -> [Option<&String>; 4] {
        [Some(&self.user), Some(&self.time), self.text.as_ref(), self.news_id.as_ref()]
    }

    /// The columns of its impressions: user, time, clicked, shown, and their own id.
    pub(super) fn impression_columns(&self) -> [Option<&String>; 5] {
        let Self { user, time, news_id, shown, impression, .. } = self;
        [Some(user), Some(time), news_id.as_ref(), shown.as_ref(), impression.as_ref()]
    }

    fn check(&self) -> Result<()> {
        if !DOMAINS.contains(&self.domain.as_str()) {
            let got = format!("{:?}", self.domain);
            return Err(Error::setting(&self.at("domain"), "search, browse or news", got, "one log, one domain"));
        }
        for (key, value) in [("user", &self.user), ("time", &self.time)] {
            if value.is_empty() {
                return Err(Error::setting(&self.at(key), "a column's name", "nothing", "name the log's own column"));
            }
        }
        if self.text.is_none() && (self.domain != "news" || self.news_id.is_none()) {
            let hint = "only news clicks with a news_id may leave it out";
            return Err(Error::setting(&self.at("text"), "a column's name", "nothing", hint));
        }
        if self.shown.is_some() && (self.domain != "news" || self.news_id.is_none()) {
            let hint = "what was shown says something only beside what was clicked";
            return Err(Error::setting(&self.at("shown"), "news clicks with a news_id", "others", hint));
        }
        if self.impression.is_some() && self.shown.is_none() {
            let hint = "name the column of the articles that it showed, or leave it out";
            return Err(Error::setting(&self.at("impression"), "a column `shown` beside it", "none", hint));
        }
        self.shape()?;
        self.time_parser().map(|_| ())
    }
}

impl NewsLog {
    /// The columns of its mapping: article, title, time, summary, category, subcategory and entities.
    pub(super) fn mapped(&self) -> [Option<&String>; 7] {
        let Self { news_id, title, time, summary, category, subcategory, entities, .. } = self;
        let optional = [time, summary, category, subcategory, entities].map(Option::as_ref);
        [Some(news_id), Some(title), optional[0], optional[1], optional[2], optional[3], optional[4]]
    }

    fn check(&self) -> Result<()> {
        for (key, value) in [("news_id", &self.news_id), ("title", &self.title)] {
            if value.is_empty() {
                return Err(Error::setting(&self.at(key), "a column's name", "nothing", "name the log's own column"));
            }
        }
        self.shape()?;
        self.time_parser().map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(toml: &str) -> Result<EventLog, String> {
        toml::from_str(toml).map_err(|e: toml::de::Error| e.to_string())
    }

    #[test]
    fn one_file_needs_no_list() {
        let one = log("files = \"a.csv\"\nnulls = \"-\"").expect("a text");
        assert_eq!((one.files, one.nulls), (vec!["a.csv".to_owned()], vec!["-".to_owned()]));
        assert_eq!(log("only = { clicked = true, n = [1, \"x\"] }").expect("texts").only["n"].0, ["1", "x"]);
        let error = log("files = 5.5").expect_err("a number");
        assert!(error.contains("expected a text, or a list of texts") && error.contains("files"), "{error}");
    }

    #[test]
    fn a_dialect_that_cannot_be_is_refused() {
        for (toml, key) in [
            ("format = \"csv\"\ndelimiter = \"||\"", "delimiter: expected one ASCII character, got \"||\""),
            ("format = \"csv\"\ndelimiter = \"\\\"\"", "delimiter: expected another character"),
            ("format = \"tsv\"\nescape = \"\\\\\"", "escape: expected a quote that it could escape"),
            ("format = \"jsonl\"\ndelimiter = \";\"", "delimiter: expected nothing for this format"),
            ("columns = [\"a\"]", "columns: expected nothing for this format"),
            ("encoding = \"latin-1\"", "encoding: expected nothing for this format"),
        ] {
            let error = log(toml).expect("settings").shape().expect_err(toml).to_string();
            assert!(error.starts_with("ingest.events[]") && error.contains(key), "{toml}: {error}");
        }
        let shape = |toml: &str| log(toml).expect("settings").shape().expect("a shape").dialect;
        let semicolon = shape("format = \"csv\"\ndelimiter = \";\"\nescape = \"\\\\\"");
        assert_eq!(semicolon, Dialect { delimiter: b';', quote: Some(b'"'), escape: Some(b'\\') });
        assert_eq!(shape("format = \"csv\"\nquote = \"\"").quote, None);
        assert_eq!(shape("format = \"tsv\"\nquote = \"'\"").quote, Some(b'\''));
    }

    #[test]
    fn what_was_shown_stands_beside_what_was_clicked() {
        let log = |more: &str| log(&format!("user = \"u\"\ntime = \"t\"\ntext = \"x\"\n{more}")).expect("settings");
        for (toml, expected) in [
            ("domain = \"search\"\nshown = \"s\"", "shown: expected news clicks with a news_id"),
            ("domain = \"news\"\nshown = \"s\"", "shown: expected news clicks with a news_id"),
            ("domain = \"news\"\nnews_id = \"n\"\nimpression = \"i\"", "impression: expected a column `shown`"),
        ] {
            let error = log(toml).check().expect_err(toml).to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(log("domain = \"news\"\nnews_id = \"n\"\nshown = \"s\"\nimpression = \"i\"").check().is_ok());
    }

    #[test]
    fn a_day_is_a_cut_off() {
        assert_eq!(parse_cut_off("2017-01-01").expect("a day").timestamp(), 1_483_228_800);
        assert!(parse_cut_off("2017").is_err());
    }
}
