//! What commands print on stdout, for people.

use std::io::{self, Write};

use dataset::account::{grouped, list};
use dataset::{Outcome, Result, Summary, Written, plain};

/// Stdout, as a terminal may see it: names come from outside, and must not steer it.
pub(crate) fn stdout() -> impl Write {
    Plain(io::stdout().lock())
}

pub(crate) struct Plain<W>(pub(crate) W);

impl<W: Write> Write for Plain<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(plain(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Prints one line on stdout.
pub(crate) fn note(line: &str) -> Result<()> {
    Ok(writeln!(stdout(), "{line}")?)
}

/// Prints how a stage ended, the datasets that it wrote, and its account.
pub(crate) fn print(out: &mut dyn Write, summary: &Summary) -> Result<()> {
    let Summary { job, outcome, unit, account, outputs, computed, reused, seconds, regrouping, said } = summary;
    let spent = match *regrouping {
        part if part < 0.1 => format!("{seconds:.1} s"),
        part if job.starts_with("ingest") => format!("{seconds:.1} s, {part:.1} s of them reading raw files"),
        part => format!("{seconds:.1} s, {part:.1} s of them bringing rows together"),
    };
    match outcome {
        Outcome::UpToDate => writeln!(out, "{job}: up to date")?,
        Outcome::WouldRun(why) => writeln!(out, "{job}: would run: {why}")?,
        Outcome::Committed if outputs.is_empty() => writeln!(out, "{job}: made in {spent}")?,
        Outcome::Committed => writeln!(out, "{job}: {computed} partitions computed, {reused} reused, {spent}")?,
        Outcome::ShardDone => writeln!(
            out,
            "{job}: this shard is done ({computed} partitions computed, {reused} done before, {spent}); `querent commit` seals the run"
        )?,
    }
    if matches!(outcome, Outcome::WouldRun(_)) || unit.is_empty() {
        return Ok(());
    }
    for Written { dataset, version, rows, bytes } in outputs {
        writeln!(out, "  {dataset} version {version}: {} rows, {}", grouped(*rows), megabytes(*bytes))?;
    }
    writeln!(out, "  {} {unit} in, {} out", grouped(account.input), grouped(account.output))?;
    for (what, counts) in account_lines(account) {
        writeln!(out, "  {what}: {counts}")?;
    }
    said.iter().try_for_each(|said| writeln!(out, "  {said}"))?;
    Ok(())
}

/// An account's counts by reason, as lines: what they are of, and the counts.
pub(crate) fn account_lines(account: &dataset::Account) -> impl Iterator<Item = (&'static str, String)> {
    let counts = [("dropped", &account.dropped), ("set aside", &account.quarantined), ("noted", &account.notes)];
    counts.map(|(what, counts)| (what, list(counts))).into_iter().filter(|(_, counts)| !counts.is_empty())
}

/// `12.3 MB`.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// The table of stages at the end of a pipeline.
pub(crate) fn stages(out: &mut dyn Write, summaries: &[Summary]) -> Result<()> {
    let mut rows = vec![cells(["stage", "unit", "in", "out", "dropped", "set aside", "seconds", ""])];
    for Summary { job, outcome, unit, account, seconds, .. } in summaries {
        // What is no dataset has no account.
        let count = |count: u64| if unit.is_empty() { String::new() } else { grouped(count) };
        let dropped = account.dropped.values().sum();
        let end = if *outcome == Outcome::UpToDate { "up to date" } else { "" };
        let [input, output, dropped, bad] = [account.input, account.output, dropped, account.bad()].map(count);
        rows.push(cells([job, unit, &input, &output, &dropped, &bad, &format!("{seconds:.1}"), end]));
    }
    table(out, &rows)
}

/// A table's row.
pub(crate) fn cells<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// A table with aligned columns; the first is text, the others are numbers.
pub(crate) fn table(out: &mut dyn Write, rows: &[Vec<String>]) -> Result<()> {
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
