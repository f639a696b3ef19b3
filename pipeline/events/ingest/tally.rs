//! What a raw file held beside the rows that were sent on: counts, and which rows were left out or set aside.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use dataset::{Account, Regrouped, Result};
use serde::{Deserialize, Serialize};

use super::read::{Found, Reason, Row};

/// So many units of a file that are set aside are listed; all are counted.
const LISTED: usize = 10_000;

/// Why a row is left out that `select` does not give.
pub(super) const NOT_SELECTED: &str = "not in what they `select`";

/// A unit that is set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Aside {
    pub(super) line: u64,
    pub(super) reason: Reason,
    /// Whose it is, where that can be read.
    pub(super) user_id: Option<String>,
}

/// What a raw file held beside the rows that were sent on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Tally {
    /// Units read: behaviours or articles.
    pub(super) units: u64,
    /// Units left out on purpose, by reason.
    pub(super) dropped: BTreeMap<String, u64>,
    /// Units set aside, the first of them.
    pub(super) quarantined: Vec<Aside>,
    /// How many more were set aside, by reason.
    unlisted: BTreeMap<String, u64>,
    /// Whether a row was neither damaged nor left out by the mapping's filters.
    pub(super) passed: bool,
    /// Other counts.
    pub(super) notes: BTreeMap<String, u64>,
    /// Latest time in the file, microseconds since 1970; the smallest number without times.
    pub(super) latest_us: i64,
    /// Its rows are dated from the cut-off, and so hold under no other one.
    pub(super) dated_from_cut_off: bool,
    /// The file's columns, as far as they look like names.
    pub(super) columns: Vec<String>,
    /// Columns of the mapping that no row has.
    pub(super) absent: Vec<String>,
}

impl Tally {
    pub(super) fn new() -> Self {
        Tally {
            units: 0,
            dropped: BTreeMap::new(),
            quarantined: Vec::new(),
            unlisted: BTreeMap::new(),
            passed: false,
            notes: BTreeMap::new(),
            latest_us: i64::MIN,
            dated_from_cut_off: false,
            columns: Vec::new(),
            absent: Vec::new(),
        }
    }

    /// Counts a row that is left out on purpose.
    pub(super) fn leave_out(&mut self, reason: &str) {
        self.units += 1;
        self.drop(reason);
    }

    pub(super) fn drop(&mut self, reason: &str) {
        *self.dropped.entry(reason.to_owned()).or_default() += 1;
    }

    /// Counts a row that cannot be read, by its lines: a damaged one may have swallowed others.
    pub(super) fn reject(&mut self, row: Row, reason: &Reason) {
        self.reject_of(row, None, reason);
    }

    /// The same, of somebody's row.
    pub(super) fn reject_of(&mut self, row: Row, user_id: Option<&str>, reason: &Reason) {
        self.units += row.lines;
        let listed = row.lines.min(LISTED.saturating_sub(self.quarantined.len()) as u64);
        let aside = |line| Aside { line, reason: reason.clone(), user_id: user_id.map(str::to_owned) };
        self.quarantined.extend((row.line..row.line + listed).map(aside));
        if row.lines > listed {
            *self.unlisted.entry(reason.to_string()).or_default() += row.lines - listed;
        }
    }

    pub(super) fn note(&mut self, what: impl Into<String>) {
        *self.notes.entry(what.into()).or_default() += 1;
    }

    /// A field that a row may lack: where it cannot be read there is none, and that is counted.
    pub(super) fn optional<T: Default>(&mut self, what: &str, read: std::result::Result<T, Reason>) -> T {
        read.unwrap_or_else(|reason| {
            self.note(format!("left out {what} ({reason})"));
            T::default()
        })
    }

    /// What the file was found to hold beside its rows.
    pub(super) fn found(&mut self, found: Found) {
        if found.headers > 0 {
            self.notes.insert("repeated header lines".to_owned(), found.headers);
        }
        if found.left_out > 0 {
            self.units += found.left_out;
            *self.dropped.entry(NOT_SELECTED.to_owned()).or_default() += found.left_out;
        }
        // Of a log that was checked before, an optional column may be missing in a new file: what it said is nothing then.
        for column in &found.absent {
            self.note(format!("files without the column {column}"));
        }
        (self.columns, self.absent) = (found.columns, found.absent);
    }
}

/// What the tasks said of their files, taken apart once for all partitions.
#[derive(Debug, Default)]
pub(super) struct Tallies(OnceLock<Vec<Tally>>);

impl Tallies {
    pub(super) fn of(&self, regrouped: &Regrouped) -> Result<&[Tally]> {
        if self.0.get().is_none() {
            let _ = self.0.set(regrouped.said()?);
        }
        Ok(self.0.get().expect("it was set"))
    }
}

/// What was left out or set aside before it had a partition.
pub(super) fn booked<'a>(tallies: impl IntoIterator<Item = &'a Tally>) -> Account {
    let mut account = Account::default();
    for tally in tallies {
        for (reason, units) in &tally.dropped {
            account.drop(reason, *units);
        }
        for aside in &tally.quarantined {
            account.quarantine(&aside.reason, 1);
        }
        for (reason, units) in &tally.unlisted {
            account.quarantine(reason, *units);
            account.note("set aside, but not listed", *units);
        }
        for (what, count) in &tally.notes {
            account.note(what, *count);
        }
    }
    account.input = account.accounted();
    account
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::read::reason;

    #[test]
    fn the_first_are_listed_and_all_are_counted() {
        let mut tally = Tally::new();
        tally.reject(Row { line: 2, lines: LISTED as u64 - 1 }, &reason::OPEN_QUOTE);
        tally.reject(Row { line: 20_000, lines: 5 }, &reason::OPEN_QUOTE);
        tally.reject_of(Row::at(30_000), Some("somebody"), &reason::NO_TIME);
        assert_eq!((tally.quarantined.len(), tally.quarantined[LISTED - 1].line), (LISTED, 20_000));
        let account = booked([&tally]);
        assert_eq!(account.quarantined[&*reason::OPEN_QUOTE], LISTED as u64 + 4);
        assert_eq!((account.quarantined[&*reason::NO_TIME], account.notes["set aside, but not listed"]), (1, 5));
        assert_eq!((account.input, tally.units), (LISTED as u64 + 5, LISTED as u64 + 5));
    }
}
