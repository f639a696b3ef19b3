//! `querent gc`: frees what killed and abandoned runs left.

use std::io::Write;

use clap::{ArgMatches, Args};
use dataset::account::grouped;
use dataset::{Error, Result, Sweep, Swept, collect_garbage};

use crate::frame::{Commands, Place, Tool, output};

/// Free space: delete what killed and abandoned runs left behind, and versions that are no longer kept.
///
/// Trainings that were stopped (NAME.unfinished) and answers of language models (_cache) stay: delete them by hand.
/// The current version of a dataset is never touched. A run is judged by its newest file, so one that works for days is left alone.
#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// The datasets [default: all under the root]
    datasets: Vec<String>,
    /// Leave what is younger: a run may still be working on it
    #[arg(long, value_name = "HOURS", default_value_t = 168.0, value_parser = hours)]
    older_than_hours: f64,
    /// Versions before the current one to keep [default: as the settings file's section run says, else 0]
    #[arg(long, value_name = "N")]
    keep_versions: Option<usize>,
    /// Say what would be deleted; delete nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    place: Place,
}

fn hours(text: &str) -> Result<f64, String> {
    let hours = text.parse::<f64>().ok().filter(|hours| hours.is_finite() && *hours >= 0.0);
    hours.ok_or_else(|| "expected a number of hours, 0 or more".into())
}

impl Tool for Gc {
    const NAME: &'static str = "gc";

    fn run(&self, _: &ArgMatches, commands: Commands) -> Result<()> {
        let Gc { datasets, older_than_hours, keep_versions, dry_run, place } = self;
        let (store, settings) = place.open(commands)?;
        let folders = store.folders()?;
        if let Some(unknown) = datasets.iter().find(|name| !folders.contains(name)) {
            let what = format!("{unknown}: no such dataset under {}", store.root());
            return Err(Error::usage(what, "`querent inspect` lists those there are"));
        }
        let sweep = Sweep {
            older_than_s: (older_than_hours * 3600.0) as u64,
            keep_versions: keep_versions.unwrap_or(settings.keep_versions),
            dry_run: *dry_run,
        };
        let mut out = output::stdout();
        for name in if datasets.is_empty() { &folders } else { datasets } {
            let Swept { files, bytes, abandoned } = collect_garbage(&store, name, sweep)?;
            let verb = if *dry_run { "would free" } else { "freed" };
            let runs = match abandoned {
                0 => String::new(),
                runs => format!("; {} unfinished runs given up", grouped(runs)),
            };
            writeln!(out, "{name}: {verb} {files} files, {}{runs}", output::megabytes(bytes))?;
        }
        Ok(())
    }
}
