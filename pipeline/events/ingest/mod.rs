//! `ingest`: raw logs → `events`, `truth`, `news` and `events.quarantine`.
//!
//! Raw files are read in parallel and their rows spilled by bucket (`spill.rs`); then every bucket is settled by itself
//! ([`Settle`]): de-duplicated, put in order, cut at the cut-off. So memory depends on the size of a bucket and not of the logs;
//! beside it, clicks without titles need the titles of all articles. News comes first for them: a click on an article that is in
//! no news file yet is set aside, and stays so, since its own file is not read again.
//!
//! Ingesting is incremental: files are known by their content, and only new ones are read; their rows are merged with the
//! version before. That version is carried on while the settings are the same, and while moving the cut-off (as a nightly
//! run does) concerns only rows of files that are read anyway; otherwise all files are read again.

mod articles;
mod collect;
mod config;
mod intake;
mod mapping;
mod mind;
mod quarantine;
mod read;
mod settle;
mod sources;
mod spill;
mod time;

use std::collections::BTreeSet;
use std::path::PathBuf;

use dataset::plan::file_digest;
use dataset::{Error, Origin, Outcome, RawFile, Result, Runner, Summary, UserKey};
use rayon::prelude::*;
use serde_json::{Value, json};

pub use articles::{Articles, Versions};
pub use collect::event_id;
pub use config::{EventLog, Format, Ingest, NewsLog};
pub use quarantine::{Entries, SetAside};
pub use settle::{Bucket, Settle};

use intake::Intake;
use sources::{ArticleSource, BehaviourSource, QuarantineSource};

/// Runs the whole job. Returns the summaries of news, quarantine and behaviours.
pub fn ingest(runner: &Runner, settings: &Ingest, key: &UserKey) -> Result<Vec<Summary>> {
    settings.check()?;
    let logs = find_logs(settings)?;
    let cut_off = match (settings.cut_off, &settings.mind) {
        (Some(cut_off), _) => cut_off,
        (None, Some(folder)) => mind::first_day(&mind::files(folder)?.0)?,
        (None, None) => unreachable!("checked above"),
    };
    let event_logs = without_files(json!(settings.events));
    let news_logs = without_files(json!(settings.news));
    let settle = Settle {
        cut_off,
        window_days: settings.window_days,
        history_days: settings.history_days,
        mind: settings.mind.is_some(),
        logs: json!([event_logs, news_logs]),
    };
    let articles = Articles { mind: settings.mind.is_some(), logs: news_logs };
    // What can be read does not depend on the times.
    let set_aside = SetAside { recipe: json!([settle.mind, settle.logs, articles]) };
    let intake = Intake::new(runner, key, settings, (&settle, &articles, &set_aside), logs)?;

    // News and quarantine are small: with shards every process makes them whole, and the first one wins.
    let whole = Runner { shard: None, ..runner.clone() };
    let news = whole.run(&articles, &ArticleSource(&intake), &["news"], Origin::default())?;
    let aside = whole.run(&set_aside, &QuarantineSource(&intake), &["events.quarantine"], Origin::default())?;
    let behaviours = runner.run(&settle, &BehaviourSource(&intake), &["events", "truth"], Origin::default())?;
    if matches!(behaviours.outcome, Outcome::Committed | Outcome::UpToDate) && !runner.dry_run {
        intake.remove_spills();
    }
    Ok(vec![news, aside, behaviours])
}

/// Mappings without their files, which are known by their content instead.
fn without_files(mut logs: Value) -> Value {
    for log in logs.as_array_mut().into_iter().flatten() {
        if let Some(log) = log.as_object_mut() {
            log.remove("files");
        }
    }
    logs
}

/// One raw file, and how to read it.
#[derive(Debug, Clone)]
struct Raw<'a> {
    file: RawFile,
    reader: Reader<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Reader<'a> {
    Events(&'a EventLog),
    News(&'a NewsLog),
    MindHistories,
    MindImpressions,
    MindNews,
}

impl Reader<'_> {
    fn reads_behaviours(self) -> bool {
        matches!(self, Reader::Events(_) | Reader::MindHistories | Reader::MindImpressions)
    }

    /// MIND's impressions say when articles were shown.
    fn reads_news(self) -> bool {
        matches!(self, Reader::News(_) | Reader::MindNews | Reader::MindImpressions)
    }
}

/// All raw files that the settings name, with their digests.
fn find_logs(settings: &Ingest) -> Result<Vec<Raw<'_>>> {
    let mut found: Vec<(String, PathBuf, Reader<'_>)> = Vec::new();
    if let Some(folder) = &settings.mind {
        let (behaviours, news) = mind::files(folder)?;
        found.push(("mind-history".into(), behaviours.clone(), Reader::MindHistories));
        found.push(("mind-impressions".into(), behaviours, Reader::MindImpressions));
        found.push(("mind-news".into(), news, Reader::MindNews));
    }
    for log in &settings.events {
        found.extend(matches(&log.name, &log.files)?.into_iter().map(|p| (log.name.clone(), p, Reader::Events(log))));
    }
    for log in &settings.news {
        found.extend(matches(&log.name, &log.files)?.into_iter().map(|p| (log.name.clone(), p, Reader::News(log))));
    }
    let mut logs: Vec<Raw<'_>> = found
        .into_par_iter()
        .map(|(source, path, reader)| {
            let (blake3, bytes) = file_digest(&path)?;
            let path = path.display().to_string();
            Ok(Raw { file: RawFile { source, path, bytes, blake3, rows: 0, latest_us: i64::MIN }, reader })
        })
        .collect::<Result<_>>()?;
    // The same bytes twice in one log are one file.
    logs.sort_by(|a, b| id(&a.file).cmp(&id(&b.file)).then_with(|| a.file.path.cmp(&b.file.path)));
    logs.dedup_by(|a, b| id(&a.file) == id(&b.file));
    Ok(logs)
}

fn matches(name: &str, globs: &[String]) -> Result<Vec<PathBuf>> {
    let setting = format!("ingest.{name}.files");
    let mut paths = BTreeSet::new();
    for pattern in globs {
        let found = glob::glob(pattern).map_err(|e| {
            Error::setting(&setting, "a glob", format!("{pattern:?}: {e}"), "for example logs/*.tsv.gz")
        })?;
        paths.extend(found.flatten().filter(|path| path.is_file()));
    }
    if paths.is_empty() {
        return Err(Error::NoFiles { setting, got: format!("{globs:?}") });
    }
    Ok(paths.into_iter().collect())
}

/// What makes a raw file that file: the log it belongs to, and its content.
fn id(file: &RawFile) -> (&str, &str) {
    (&file.source, &file.blake3)
}
