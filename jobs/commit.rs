//! `querent commit`: seals what shards did.

use std::io::Write;

use clap::{ArgMatches, Args};
use dataset::Result;
use dataset::account::grouped;

use crate::frame::{Commands, Place, Tool, output};

/// Seal a sharded run: make what `--shard` processes left the dataset's new version.
///
/// Give the job's primary dataset: profiles for cap, clean_events for clean, events for ingest; for simulate raw_news,
/// raw_searches and true_labels, one after the other. Fails, saying which partitions are missing, until every shard is done. A run that
/// is sealed already stays as it is.
#[derive(Debug, Args)]
pub(crate) struct Commit {
    /// The primary dataset of the job that was sharded
    dataset: String,
    /// The run, when there are several unsealed ones
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    #[command(flatten)]
    place: Place,
}

impl Tool for Commit {
    const NAME: &'static str = "commit";

    fn run(&self, _: &ArgMatches, commands: Commands) -> Result<()> {
        let Commit { dataset, run, place } = self;
        let (store, settings) = place.open(commands)?;
        let mut out = output::stdout();
        for manifest in dataset::seal(&store, dataset, run.as_deref(), settings.keep_versions)? {
            writeln!(out, "{} version {}: {} rows", manifest.dataset, manifest.version, grouped(manifest.rows))?;
        }
        Ok(())
    }
}
