//! `querent gc`: frees what killed and abandoned runs left.

use std::io::Write;

use anyhow::Result;
use clap::Args;
use dataset::collect_garbage;

use crate::context::{ConfigError, Place};

/// Free space: delete what killed and abandoned runs left behind, and old manifests.
///
/// The current version of a dataset is never touched.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// The datasets [default: all under the root]
    datasets: Vec<String>,
    /// Leave what is younger: a run may still be working on it
    #[arg(long, value_name = "N", default_value_t = 24.0)]
    older_than_hours: f64,
    /// Manifests to keep per dataset, the current one included
    #[arg(long, value_name = "N", default_value_t = 20)]
    keep_manifests: usize,
    /// Say what would be deleted; delete nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    place: Place,
}

pub(crate) fn main(flags: &Flags) -> Result<()> {
    let Flags { datasets, older_than_hours, keep_manifests, dry_run, place } = flags;
    let store = place.open()?;
    let folders = store.folders()?;
    if let Some(unknown) = datasets.iter().find(|name| !folders.contains(name)) {
        let what = format!("{unknown}: no such dataset under {}", store.root());
        return Err(ConfigError::new(what, "`querent inspect` lists those there are").into());
    }
    let names = if datasets.is_empty() { folders } else { datasets.clone() };
    let mut out = std::io::stdout().lock();
    for name in names {
        let age_s = (older_than_hours * 3600.0) as u64;
        let swept = collect_garbage(&store, &name, age_s, *keep_manifests, *dry_run)?;
        let verb = if *dry_run { "would free" } else { "freed" };
        writeln!(out, "{name}: {verb} {} files, {:.1} MB", swept.files, swept.bytes as f64 / 1e6)?;
    }
    Ok(())
}
