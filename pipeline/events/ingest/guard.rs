//! What a log must be for its rows to be taken: each answers for itself.

use std::collections::{BTreeMap, BTreeSet};

use dataset::{Error, Exit, Result};

use super::files::{Raw, Reader};
use super::mapping::{NOT_AMONG, WITHOUT};
use super::one_or_many::Texts;
use super::tally::{Aside, NOT_SELECTED, Tally, booked};

/// Checks what was read of every log: a column of its mapping that no row has, a filter that no row passes, or too many rows that cannot
/// be read, fail the job before anything is written. `known` are the logs whose mapping an earlier run has checked.
pub(super) fn check(
    unit: &str,
    files: &[Raw],
    tallies: &[Tally],
    known: &BTreeSet<String>,
    max_bad_ratio: f64,
) -> Result<()> {
    let mut logs: BTreeMap<&str, Vec<(&Raw, &Tally)>> = BTreeMap::new();
    for (file, tally) in files.iter().zip(tallies) {
        logs.entry(&file.id.source).or_default().push((file, tally));
    }
    for (log, read) in &logs {
        if !known.contains(*log) {
            check_columns(log, read)?;
            check_filters(log, unit, read)?;
        }
        check_bad_ratio(log, unit, read, max_bad_ratio)?;
    }
    Ok(())
}

fn check_columns(log: &str, read: &[(&Raw, &Tally)]) -> Result<()> {
    // A file without a row says nothing of its columns.
    let read: Vec<&Tally> = read.iter().map(|(_, tally)| *tally).filter(|tally| !tally.columns.is_empty()).collect();
    let Some((first, others)) = read.split_first() else { return Ok(()) };
    let absent = first.absent.iter().find(|name| others.iter().all(|tally| tally.absent.contains(name)));
    let Some(name) = absent else { return Ok(()) };
    let there: BTreeSet<&str> = read.iter().flat_map(|tally| &tally.columns).map(String::as_str).collect();
    let there: Vec<&str> = there.into_iter().collect();
    let what = format!("log {log}: expected a column {name:?}, which no row has, got {}", there.join(", "));
    Err(Error::new(Exit::Data, what, "mend the mapping in the configuration"))
}

fn check_filters(log: &str, unit: &str, read: &[(&Raw, &Tally)]) -> Result<()> {
    let account = booked(read.iter().map(|(_, tally)| *tally));
    let left_out = |why: &str| account.dropped.get(why).copied().unwrap_or_default();
    let (not_selected, not_among, without) = (left_out(NOT_SELECTED), left_out(NOT_AMONG), left_out(WITHOUT));
    if not_selected + not_among + without == 0 || read.iter().any(|(_, tally)| tally.passed) {
        return Ok(());
    }
    let (select, only, require) = match &read[0].0.reader {
        Reader::Events(log) => (&log.select, &log.only, &log.require),
        Reader::News(log) => (&log.select, &log.only, &log.require),
        _ => return Ok(()),
    };
    let wanted = |(column, Texts(values)): (&String, &Texts)| format!("{column} = {values:?}");
    let mut filters = Vec::new();
    if let (Some(sql), true) = (select, not_selected > 0) {
        filters.push(format!("select = {sql:?}"));
    }
    if not_among > 0 {
        let wanted: Vec<String> = only.iter().map(wanted).collect();
        filters.push(format!("only = {{ {} }}", wanted.join(", ")));
    }
    if without > 0 {
        filters.push(format!("require = {require:?}"));
    }
    let what = format!(
        "log {log}: expected {unit} that pass {}, got none: of {}, {} were left out",
        filters.join(" and "),
        read.iter().map(|(_, tally)| tally.units).sum::<u64>(),
        not_selected + not_among + without,
    );
    Err(Error::new(Exit::Data, what, "mend that filter in the configuration: its columns and values are the log's own"))
}

fn check_bad_ratio(log: &str, unit: &str, read: &[(&Raw, &Tally)], max_bad_ratio: f64) -> Result<()> {
    let account = booked(read.iter().map(|(_, tally)| *tally));
    let total: u64 = read.iter().map(|(_, tally)| tally.units).sum();
    let bad = account.bad();
    if bad as f64 <= max_bad_ratio * total as f64 {
        return Ok(());
    }
    let first = read.iter().find_map(|(file, tally)| {
        let Aside { line, reason, .. } = tally.quarantined.first()?;
        Some(format!(" (first: {}:{line}, {reason})", file.path.display()))
    });
    let reasons = dataset::account::list(&account.quarantined);
    let what = format!(
        "log {log}: {bad} of {total} {unit} are unreadable ({reasons}), more than --max-bad-ratio {max_bad_ratio}"
    );
    let first = first.unwrap_or_default();
    let hint = match bad == total {
        true => format!("nothing of this log can be read: mend its mapping{first}"),
        false => format!("mend the input{first}, or raise --max-bad-ratio"),
    };
    Err(Error::new(Exit::Data, what, hint))
}
