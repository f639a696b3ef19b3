//! `querent ingest`: raw logs to events, truth and news.

use clap::Args;
use dataset::{Result, Summary};
use serde::{Deserialize, Serialize};

use crate::frame::{Context, Job};

/// Read raw logs into events, truth and news.
///
/// Reads a folder in MIND's layout (--mind), or any Parquet, CSV, TSV or JSONL logs that [[ingest.events]] and
/// [[ingest.news]] of the configuration describe; plain, gz or zst. Only files whose content is new are read. User ids become
/// keyed hashes, personal data in texts is scrubbed, repeated events are removed. Behaviours before the cut-off become
/// events, news clicks in the window after it truth. Rows that cannot be read are listed, without their text, in
/// events.quarantine and news.quarantine, and the files that were read in events.raw_files and news.raw_files.
#[derive(Debug, Args, Serialize, Deserialize)]
pub(crate) struct Ingest {
    #[command(flatten)]
    #[serde(flatten)]
    logs: events::ingest::Ingest,
}

impl Job for Ingest {
    const NAME: &'static str = "ingest";

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        events::ingest::ingest(&context.runner, &self.logs)
    }
}
