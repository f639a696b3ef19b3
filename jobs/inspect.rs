//! `querent inspect`: what a dataset holds and where it comes from.

use std::io::Write;

use anyhow::Result;
use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use clap::Args;
use dataset::account::list;
use dataset::{Dataset, Manifest, Snapshot, Store, read_part};
use schemas::Contract;

use crate::context::{ConfigError, Place};
use crate::output::grouped;

/// Look at a dataset: version, account, lineage; its files, for notebooks; its first rows; or check every byte of it.
///
/// Without a name, list the datasets under the root. Rows are printed only when asked for (--head).
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// The dataset
    dataset: Option<String>,
    /// Print the current version's Parquet files, one per line
    #[arg(long)]
    files: bool,
    /// Print the manifest as JSON
    #[arg(long)]
    json: bool,
    /// Print the first rows (they may hold what people wrote)
    #[arg(long, value_name = "N")]
    head: Option<usize>,
    /// Read every part and check it against the manifest and the contract
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    place: Place,
}

pub(crate) fn main(flags: &Flags) -> Result<()> {
    let Flags { dataset, files, json, head, verify, place } = flags;
    let store = place.open()?;
    let mut out = std::io::stdout().lock();
    let Some(name) = dataset else { return overview(&store, &mut out) };
    let dataset = Dataset::new(&store, name);
    let (snapshot, contract) = open(&dataset)?;
    if *files {
        for file in snapshot.files()? {
            writeln!(out, "{file}")?;
        }
    } else if *json {
        writeln!(out, "{}", serde_json::to_string_pretty(&snapshot.manifest)?)?;
    } else if *verify {
        for part in &snapshot.manifest.parts {
            let batches = read_part(&dataset, &contract, part, &[])?;
            dataset::check_order(&contract, &batches)?;
        }
        writeln!(out, "{name}: {} parts are as their manifest says", snapshot.manifest.parts.len())?;
    } else if let Some(rows) = head {
        writeln!(out, "{}", pretty_format_batches(&first(&snapshot, &contract, *rows)?)?)?;
    } else {
        describe(&snapshot.manifest, &mut out)?;
    }
    Ok(())
}

/// The current version, whatever its table.
fn open(dataset: &Dataset) -> Result<(Snapshot, Contract)> {
    let manifest = dataset.current()?.ok_or_else(|| {
        ConfigError::new(
            format!("{}: no such dataset under {}", dataset.name(), dataset.store().root()),
            "`querent inspect` lists them",
        )
    })?;
    let contract = schemas::all().into_iter().find(|c| c.name == manifest.table).ok_or_else(|| {
        ConfigError::new(format!("{}: unknown table {}", dataset.name(), manifest.table), "upgrade querent")
    })?;
    Ok((Snapshot { dataset: dataset.clone(), manifest }, contract))
}

fn overview(store: &Store, out: &mut impl Write) -> Result<()> {
    let mut rows = vec![["dataset", "version", "rows", "MB", "parts", "job"].map(str::to_owned).to_vec()];
    for name in store.folders()? {
        if let Some(m) = Dataset::new(store, &name).current()? {
            let megabytes = format!("{:.1}", m.bytes as f64 / 1e6);
            let cells = [m.version.to_string(), grouped(m.rows), megabytes, m.parts.len().to_string(), m.lineage.job];
            rows.push(std::iter::once(name).chain(cells).collect());
        }
    }
    crate::output::table(out, &rows)
}

fn first(snapshot: &Snapshot, contract: &Contract, rows: usize) -> Result<Vec<RecordBatch>> {
    let mut left = rows;
    let mut batches = Vec::new();
    for part in &snapshot.manifest.parts {
        if left == 0 {
            break;
        }
        for batch in read_part(&snapshot.dataset, contract, part, &[])? {
            let batch = batch.slice(0, left.min(batch.num_rows()));
            left -= batch.num_rows();
            batches.push(batch);
        }
    }
    Ok(batches)
}

fn describe(manifest: &Manifest, out: &mut impl Write) -> Result<()> {
    let m = manifest;
    let lineage = &m.lineage;
    writeln!(
        out,
        "{} version {} (table {} version {}), {}",
        m.dataset, m.version, m.table, m.table_version, m.created_at
    )?;
    let megabytes = m.bytes as f64 / 1e6;
    writeln!(out, "  {} rows in {} of {} partitions, {megabytes:.1} MB", grouped(m.rows), m.parts.len(), m.partitions)?;
    writeln!(out, "  {} {} in, {} out", grouped(m.account.input), m.unit, grouped(m.account.output))?;
    let counts = [("dropped", &m.account.dropped), ("set aside", &m.account.quarantined), ("noted", &m.account.notes)];
    for (what, counts) in counts.into_iter().filter(|(_, counts)| !counts.is_empty()) {
        writeln!(out, "  {what}: {}", list(counts))?;
    }
    writeln!(
        out,
        "made by {} (stage version {}, revision {})",
        lineage.job, lineage.stage_version, lineage.git_revision
    )?;
    writeln!(out, "  settings {}", lineage.settings)?;
    for (name, input) in &lineage.inputs {
        writeln!(out, "  from {name} version {} ({})", input.version, input.content)?;
    }
    for file in &lineage.raw_files {
        writeln!(out, "  from {} ({} rows, {:.1} MB)", file.path, grouped(file.rows), file.bytes as f64 / 1e6)?;
    }
    for (name, digest) in &lineage.models {
        writeln!(out, "  with model {name} (SHA-256 {digest})")?;
    }
    if let Some(check) = &lineage.user_key_check {
        writeln!(out, "  user key check {check}")?;
    }
    if let Some(remark) = &lineage.remark {
        writeln!(out, "  remark: {remark}")?;
    }
    Ok(())
}
