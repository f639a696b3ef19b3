//! `querent ingest`: raw logs to events, truth and news; impressions, too, where a log has them.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use dataset::{Outcome, Result, Standing, Summary};
use serde::{Deserialize, Serialize};

use crate::frame::{Context, Job, output};

/// Read raw logs into events, truth and news.
///
/// Reads a folder in MIND's layout (--mind), or any Parquet, CSV, TSV or JSON logs that [[ingest.events]] and [[ingest.news]] of the
/// configuration describe; plain, gz, zst or bz2. docs/logs.md has every key, and mappings to begin with. Only files whose content is
/// new are read; one that lies where another content lay takes its place. User ids become keyed hashes, personal data in texts is
/// scrubbed, repeated events are removed. Behaviours before the cut-off become events, news clicks in the window after it truth. Rows
/// that cannot be read are listed, without their text, in events.quarantine and news.quarantine, and the files that were read in
/// events.raw_files and news.raw_files. People who were erased (--erase) stay so: events.erased has a hash of each. What impressions of
/// the window showed, as far as a log says it (MIND; `shown` in a mapping), becomes impressions.
#[derive(Debug, Args, Serialize, Deserialize)]
#[group(skip)]
pub(crate) struct Ingest {
    #[command(flatten)]
    #[serde(flatten)]
    logs: events::ingest::Ingest,
    /// Write nothing: show each log's columns, its first rows as they are understood, and what would be set aside and why. The rows
    /// shown are people's own
    #[arg(long)]
    #[serde(skip_serializing)]
    explain: bool,
    /// Write nothing: print a mapping to begin with, guessed from this file
    #[arg(long, value_name = "FILE", conflicts_with = "explain")]
    #[serde(skip_serializing)]
    suggest: Option<PathBuf>,
    /// Read no log: take the people whose ids this file lists, one per line as the logs have them, out of what was ingested, and out of
    /// all that will be
    #[arg(long, value_name = "FILE", conflicts_with_all = ["explain", "suggest"])]
    #[serde(skip_serializing)]
    erase: Option<PathBuf>,
}

impl Job for Ingest {
    const NAME: &'static str = "ingest";

    fn check(&self) -> Result<()> {
        self.logs.check()
    }

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        let Ingest { logs, explain, suggest, erase } = self;
        if let Some(file) = erase {
            return erase_people(context, file);
        }
        let said = match (explain, suggest) {
            (_, Some(file)) => events::ingest::suggest(file)?,
            (true, None) => events::ingest::explain(logs, context.runner.resources.max_bad_ratio)?,
            (false, None) => return events::ingest::ingest(&context.runner, logs),
        };
        write!(output::stdout(), "{said}")?;
        Ok(Vec::new())
    }
}

/// Erases people, and says what still has them.
fn erase_people(context: &Context, file: &Path) -> Result<Vec<Summary>> {
    let summaries = events::ingest::erase(&context.runner, file)?;
    if summaries.iter().any(|summary| summary.outcome == Outcome::Committed) {
        let standing = Standing::look(context.store())?;
        let stale: Vec<&str> = standing.stale().keys().map(String::as_str).collect();
        if !stale.is_empty() {
            let names = stale.join(", ");
            context
                .note(&format!("these may still hold what came of the erased, until their jobs have run: {names}"))?;
        }
    }
    Ok(summaries)
}
