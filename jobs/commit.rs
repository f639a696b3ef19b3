//! `querent commit`: seals what shards did.

use std::io::Write;

use anyhow::Result;
use clap::Args;

use crate::context::Place;
use crate::output::grouped;

/// Seal a sharded run: make what `--shard` processes left the dataset's new version.
///
/// Give the job's primary dataset: profiles for cap, clean_events for clean, events for ingest; for simulate raw_news,
/// raw_searches and true_labels, one after the other. Fails, saying which partitions are missing, until every shard is done.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// The primary dataset of the job that was sharded
    dataset: String,
    /// The run, when there are several unsealed ones
    #[arg(long)]
    fingerprint: Option<String>,
    #[command(flatten)]
    place: Place,
}

pub(crate) fn main(flags: &Flags) -> Result<()> {
    let Flags { dataset, fingerprint, place } = flags;
    let mut out = std::io::stdout().lock();
    for manifest in dataset::seal(&place.open()?, dataset, fingerprint.as_deref())? {
        writeln!(out, "{} version {}: {} rows", manifest.dataset, manifest.version, grouped(manifest.rows))?;
    }
    Ok(())
}
