//! A mapping to begin with, guessed from a file's first rows.

use std::fmt::Write;
use std::path::Path;

use dataset::{Error, Result};

use super::config::{EventLog, Format};
use super::read::{self, Field, Kind, rows};
use super::time::TimeParser;

/// Rows that times are guessed from.
const SAMPLE: usize = 1_000;
/// Names of columns as logs have them, in lower case and without marks; the likeliest first.
const USERS: &[&str] =
    &["userid", "uid", "user", "anonid", "visitorid", "visitor", "profileid", "customerid", "memberid", "clientid"];
const TIMES: &[&str] = &[
    "time",
    "timestamp",
    "ts",
    "datetime",
    "date",
    "eventtime",
    "querytime",
    "occurredat",
    "visittime",
    "lastvisittime",
    "clickedat",
    "searchedat",
    "visitedat",
    "createdat",
    "impressiontime",
    "published",
    "publishedat",
    "publishedtime",
    "publishtime",
    "at",
];
const QUERIES: &[&str] = &["query", "searchquery", "searchterm", "searchterms", "keywords", "q"];
const TITLES: &[&str] = &["title", "headline", "pagetitle", "text", "name"];
const ARTICLES: &[&str] = &["newsid", "articleid", "article", "itemid", "documentid", "news"];
const ABSTRACTS: &[&str] = &["abstract", "summary", "description", "subtitle"];
const CATEGORIES: &[&str] = &["category", "section", "categorystr", "topic"];
const ENTITIES: &[&str] = &["entities", "tags", "keywords", "nergroups"];
/// How times may be written, the strictest first.
const TIME_FORMATS: &[&str] = &[
    "rfc3339",
    "unix_s",
    "unix_ms",
    "unix_us",
    "unix_ns",
    "webkit",
    "filetime",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y",
    "%m/%d/%Y %I:%M:%S %p",
    "%d/%b/%Y:%H:%M:%S %z",
    "%a %b %d %H:%M:%S %z %Y",
    "%a, %d %b %Y %H:%M:%S %z",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%Y%m%d%H%M%S",
    "%Y%m%d",
];

/// A mapping for a file, as TOML that says what was guessed.
///
/// # Errors
/// When the file cannot be read, or none of its columns can be told.
pub fn suggest(path: &Path) -> Result<String> {
    let (kind, delimiter, width) = read::guess(path)?;
    let mut log = EventLog { name: "guess".into(), ..EventLog::default() };
    log.format = match kind {
        Kind::Parquet => Format::Parquet,
        Kind::Json => Format::Jsonl,
        Kind::Separated if delimiter == '\t' => Format::Tsv,
        Kind::Separated => Format::Csv,
    };
    let separated = matches!(log.format, Format::Csv | Format::Tsv);
    if log.format == Format::Csv && delimiter != ',' {
        log.delimiter = Some(delimiter.to_string());
    }
    let mut columns = rows(path, &log.shape()?, &[], &mut |_, _| Ok(()))?.columns;
    if columns.is_empty() && separated {
        log.columns = (1..=width).map(|i| format!("column{i}")).collect();
        columns = log.columns.clone();
    }
    if columns.is_empty() {
        let hint = "is it a log? docs/logs.md has what can be read, and mappings to begin with";
        return Err(Error::unreadable(path.display(), "expected rows with columns, got none", hint));
    }
    let guess = |names: &[&str]| {
        let plain = |name: &str| {
            name.rsplit('.').next().unwrap_or(name).to_lowercase().replace(|c: char| !c.is_alphanumeric(), "")
        };
        names.iter().find_map(|name| columns.iter().find(|column| plain(column) == *name)).cloned()
    };
    let (user, time, query, title) = (guess(USERS), guess(TIMES), guess(QUERIES), guess(TITLES));
    let article = guess(ARTICLES).or_else(|| guess(&["id"]));
    let time_format = match &time {
        Some(time) => time_format(path, &log, time)?,
        None => None,
    };
    let is_news = user.is_none() && title.is_some() && article.is_some();
    let mut mapping = Vec::new();
    let mut say = |key: &str, column: Option<&String>, wanted: bool| match column {
        Some(column) => mapping.push(format!("{key} = {}", quoted(column))),
        None if wanted => mapping.push(format!("{key} = \"\" # which column? None has a name that says it")),
        None => {}
    };
    let section = if is_news {
        say("news_id", article.as_ref(), true);
        say("title", title.as_ref(), true);
        say("time", time.as_ref(), false);
        say("abstract", guess(ABSTRACTS).as_ref(), false);
        say("category", guess(CATEGORIES).as_ref(), false);
        say("entities", guess(ENTITIES).as_ref(), false);
        "news"
    } else {
        say("user", user.as_ref(), true);
        say("time", time.as_ref(), true);
        let clicks = query.is_none() && guess(ARTICLES).is_some();
        say("text", query.as_ref().or(title.as_ref()), !clicks);
        if clicks {
            say("news_id", article.as_ref(), true);
        }
        let domain = if query.is_some() {
            "search"
        } else if clicks {
            "news"
        } else {
            "browse"
        };
        mapping.insert(0, format!("domain = \"{domain}\" # search, browse or news"));
        "events"
    };
    match (&time, &time_format) {
        (Some(_), Some(format)) if format.is_empty() || format == "rfc3339" => {}
        (Some(_), Some(format)) => mapping.push(format!("time_format = {}", quoted(format))),
        (Some(_), None) => {
            mapping.push("time_format = \"\" # none of the usual ones reads these times: see docs/logs.md".into())
        }
        (None, _) => {}
    }
    let mut toml = format!(
        "# A mapping to begin with, guessed from the names and first rows of a file. `querent ingest --explain` shows what it makes of it.\n\
         # Columns: {}\n[[ingest.{section}]]\nname = {}\nfiles = [{}]\nformat = \"{}\"\n",
        columns.join(", "),
        quoted(&path.file_stem().unwrap_or_default().to_string_lossy().replace('.', "-")),
        quoted(&path.display().to_string()),
        match log.format {
            Format::Parquet => "parquet",
            Format::Csv => "csv",
            Format::Tsv => "tsv",
            Format::Jsonl => "jsonl",
        },
    );
    if let Some(delimiter) = &log.delimiter {
        let _ = writeln!(toml, "delimiter = {}", quoted(delimiter));
    }
    if !log.columns.is_empty() {
        let names: Vec<String> = log.columns.iter().map(|name| quoted(name)).collect();
        let _ = writeln!(toml, "columns = [{}] # the file has no header line: say what they are", names.join(", "));
    }
    mapping.iter().for_each(|line| {
        let _ = writeln!(toml, "{line}");
    });
    Ok(toml)
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// The format that reads most times of the first rows; empty if they need none; none if no format reads half of them.
fn time_format(path: &Path, log: &EventLog, column: &str) -> Result<Option<String>> {
    let mut times: Vec<Field<'static>> = Vec::new();
    rows(path, &log.shape()?, &[column], &mut |_, fields| {
        if let Ok([field]) = fields
            && times.len() < SAMPLE
        {
            let of = |field: &Field<'_>| match field {
                Field::Text(text) | Field::Coarse(text) => Field::Text(text.clone().into_owned().into()),
                Field::Micros(at) | Field::WallMicros(at) => Field::Micros(*at),
                _ => Field::Missing,
            };
            match field {
                Field::List(items) => times.extend(items.iter().map(of)),
                field => times.push(of(field)),
            }
        }
        Ok(())
    })?;
    times.retain(|time| *time != Field::Missing);
    if times.iter().all(|time| matches!(time, Field::Micros(_))) {
        return Ok(Some(String::new()));
    }
    let reads = |format: &str| {
        let parser = TimeParser::new("guess", format, "UTC");
        parser.map_or(0, |parser| times.iter().filter(|time| parser.of_behaviour(time).is_ok()).count())
    };
    // The strictest of those that read most; a few times may be damaged.
    let best = TIME_FORMATS.iter().rev().map(|format| (reads(format), *format)).max_by_key(|(read, _)| *read);
    Ok(best.filter(|(read, _)| 2 * read >= times.len()).map(|(_, format)| format.to_owned()))
}
