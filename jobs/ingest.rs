//! `querent ingest`: raw logs to events, truth and news.

use anyhow::Result;
use clap::Args;
use dataset::Summary;
use serde::Serialize;

use crate::context::{Context, KeyFlags, Shared};
use crate::output;

/// Read raw logs into events, truth and news.
///
/// Reads a folder in MIND's layout (--mind), or any Parquet, CSV, TSV or JSONL logs that [[ingest.events]] and
/// [[ingest.news]] of the configuration describe; plain, gz or zst. Only files whose content is new are read. User ids become
/// keyed hashes, personal data in texts is scrubbed, repeated events are removed. Behaviours before the cut-off become
/// events, news clicks in the window after it truth. Rows that cannot be read are listed, without their text, in
/// events.quarantine.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(flatten)]
    pub(crate) key: KeyFlags,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

#[derive(Debug, Default, Args, Serialize)]
pub(crate) struct Settings {
    /// A folder with MIND's behaviors.tsv and news.tsv
    #[arg(long, value_name = "FOLDER")]
    mind: Option<String>,
    /// Where history ends and the evaluation window begins, such as 2025-12-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    cut_off: Option<String>,
    /// Length of the evaluation window [default: 7]
    #[arg(long, value_name = "N")]
    window_days: Option<u32>,
    /// Only history of so many days before the cut-off; 0: all of it [default: 0]
    #[arg(long, value_name = "N")]
    history_days: Option<u32>,
    /// User buckets, fixed from here on: one for every 8,000 users is plenty [default: 64]
    #[arg(long, value_name = "N")]
    buckets: Option<u32>,
}

pub(crate) fn main(flags: Flags) -> Result<()> {
    let Flags { shared, key, settings } = flags;
    output::print_all(&job(&Context::new(&shared)?, &key, &settings)?)
}

pub(crate) fn job(context: &Context, key: &KeyFlags, flags: &Settings) -> Result<Vec<Summary>> {
    let settings: events::ingest::Ingest = context.settings("ingest", flags)?;
    Ok(events::ingest::ingest(&context.runner, &settings, &key.find()?)?)
}
