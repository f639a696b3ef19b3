//! What jobs print on stdout: a short summary for people.

use std::io::Write;
use std::time::Instant;

use anyhow::Result;
pub(crate) use dataset::account::grouped;
use dataset::account::list;
use dataset::{Outcome, Summary};
use text::Timing;

/// Prints one line per dataset written, and the account.
pub(crate) fn print(out: &mut impl Write, summary: &Summary) -> Result<()> {
    let Summary { job, outcome, unit, account, outputs, computed, reused, seconds, preparing } = summary;
    match outcome {
        Outcome::UpToDate => writeln!(out, "{job}: up to date")?,
        Outcome::WouldRun(why) => writeln!(out, "{job}: would run: {why}")?,
        Outcome::Committed if *preparing < 0.1 => {
            writeln!(out, "{job}: {computed} partitions computed, {reused} reused, {seconds:.1} s")?;
        }
        Outcome::Committed => writeln!(
            out,
            "{job}: {computed} partitions computed, {reused} reused, {seconds:.1} s, {preparing:.1} s of them reading raw files"
        )?,
        Outcome::ShardDone => writeln!(
            out,
            "{job}: this shard is done ({computed} partitions computed, {reused} done before, {seconds:.1} s); \
             `querent commit` seals the run"
        )?,
    }
    if matches!(outcome, Outcome::WouldRun(_)) {
        return Ok(());
    }
    for (dataset, version, rows, bytes) in outputs {
        writeln!(out, "  {dataset} version {version}: {} rows, {:.1} MB", grouped(*rows), *bytes as f64 / 1e6)?;
    }
    writeln!(out, "  {} {unit} in, {} out", grouped(account.input), grouped(account.output))?;
    for (what, counts) in
        [("dropped", &account.dropped), ("set aside", &account.quarantined), ("noted", &account.notes)]
    {
        if !counts.is_empty() {
            writeln!(out, "  {what}: {}", list(counts))?;
        }
    }
    Ok(())
}

/// Prints summaries on stdout.
pub(crate) fn print_all(summaries: &[Summary]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    summaries.iter().try_for_each(|summary| print(&mut out, summary))
}

/// Prints one line on stdout.
pub(crate) fn note(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// Prints how fast a text model was, if it was asked at all.
pub(crate) fn inference(job: &str, done: &str, timing: &Timing, started: Instant) -> Result<()> {
    if timing.texts == 0 {
        return Ok(());
    }
    note(&format!(
        "{job}: {} texts {done}, {:.0} texts/s; {:.1}% of the workers' {:.1} s inside ONNX Runtime",
        grouped(timing.texts),
        timing.texts as f64 / started.elapsed().as_secs_f64(),
        100.0 * timing.inference.as_secs_f64() / timing.total.as_secs_f64(),
        timing.total.as_secs_f64()
    ))
}

/// A table with aligned columns; the first is text, the others are numbers.
pub(crate) fn table(out: &mut impl Write, rows: &[Vec<String>]) -> Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(c, (cell, width))| if c == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") })
            .collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
