//! `ingest`: raw logs → `events`, `truth` and `news`, each with the raw files that it was made of and the rows that were set aside.
//!
//! Raw files are read in parallel, and their rows sent to their users' buckets; then every bucket is settled by itself: de-duplicated,
//! put in order, cut at the cut-off. So memory depends on the size of a bucket and not of the logs; beside it lie the titles of all
//! articles. News comes first for them: a click on an article that is in no news file yet is set aside, and stays so, since its own
//! file is not read again.
//!
//! Ingesting is incremental: files are known by their content, and only new ones are read; their rows are merged with the version
//! before. That version is carried on while the logs' mappings are the same, and while moving the cut-off (as a nightly run does)
//! concerns only rows of files that are read anyway. A file that lies where one with another content lay takes its place: what came of
//! that is replaced. Which rows came of which file is not kept, so then, as with any other change, all files are read again, and if one of them is gone, none is.
//!
//! People are erased from the version before, without a look at the logs; a table of hashes keeps them from coming back.

mod articles;
mod collect;
mod config;
mod erased;
mod events;
mod explain;
mod files;
mod globs;
mod guard;
mod impressions;
mod mapping;
mod mind;
mod news;
mod one_or_many;
mod quarantine;
mod read;
mod settle;
mod suggest;
mod tally;
mod text;
mod time;

use std::path::Path;

use dataset::{Dataset, Error, Result, Runner, Summary};

use events::Reading;
use files::Raw;

pub use collect::event_id;
pub use config::{EventLog, Format, Ingest, NewsLog};
pub use events::IngestEvents;
pub use explain::explain;
pub use impressions::IngestImpressions;
pub use news::IngestNews;
pub use one_or_many::Texts;
pub use read::Encoding;
pub use suggest::suggest;

/// What the stage that reads behaviours writes.
const EVENTS: [&str; 5] = ["events", "truth", "events.quarantine", "events.raw_files", "events.erased"];

/// Runs the whole job. Returns the summaries of news, of behaviours, and where a log has them of impressions.
pub fn ingest(runner: &Runner, settings: &Ingest) -> Result<Vec<Summary>> {
    settings.check()?;
    let (behaviours, articles) = files::find(settings)?;
    let cut_off = settings.cut_off()?;
    // News is small: with shards every process makes it whole, and the first one wins.
    let news = IngestNews { found: articles };
    let news = runner.unsharded().run(&news, &["news", "news.quarantine", "news.raw_files"])?;
    let Ingest { window_days, history_days, buckets, .. } = *settings;
    let files: Vec<Raw> = behaviours.iter().filter(|raw| raw.reader.has_impressions()).cloned().collect();
    let reading = Reading::Logs(behaviours);
    let events = runner.run(&IngestEvents { cut_off, window_days, history_days, buckets, reading }, &EVENTS)?;
    let mut summaries = vec![news, events];
    // Of a shard or a dry run there are no events yet.
    if !files.is_empty() && summaries[1].is_complete() {
        let impressions = IngestImpressions { cut_off, window_days, buckets, files };
        summaries.push(runner.run(&impressions, &["impressions"])?);
    }
    Ok(summaries)
}

/// Erases the people whose ids a file lists, one per line, from the versions of behaviours and impressions that there are, as they were ingested. No log is read. Versions
/// before are deleted, and whoever was erased is left out of all logs that are read from then on.
///
/// # Errors
/// When nothing was ingested yet, or a line of the file is no id. Ids are in no message.
pub fn erase(runner: &Runner, file: &Path) -> Result<Vec<Summary>> {
    let current = Dataset::new(runner.store(), EVENTS[0]).current()?.ok_or_else(files::nothing_to_erase)?;
    let settings = serde_json::from_value::<IngestEvents>(current.lineage.settings);
    let settings = settings.map_err(|e| {
        let what = format!("its version {} was made by another querent: {e}", current.version);
        Error::unreadable(EVENTS[0], what, "run ingest without --erase, then with it")
    })?;
    let events = IngestEvents { reading: Reading::Nothing { erase: file.to_owned() }, ..settings };
    let IngestEvents { cut_off, window_days, buckets, .. } = events;
    let mut summaries = vec![runner.run(&events, &EVENTS)?];
    if summaries[0].is_complete() && Dataset::new(runner.store(), "impressions").current()?.is_some() {
        let impressions = IngestImpressions { cut_off, window_days, buckets, files: Vec::new() };
        summaries.push(runner.run(&impressions, &["impressions"])?);
    }
    Ok(summaries)
}
