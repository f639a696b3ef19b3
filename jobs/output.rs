//! What jobs print on stdout: a short summary for people.

use std::io::Write;

use anyhow::Result;
use dataset::account::list;
use dataset::{Outcome, Summary};

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

/// `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
