//! What a raw file held beside the rows that were sent on: counts, and which rows were left out or set aside.

use std::collections::BTreeMap;

use dataset::Account;
use serde::{Deserialize, Serialize};

/// What a raw file held beside the rows that were sent on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Tally {
    /// Units read: behaviours or articles.
    pub(super) units: u64,
    /// Units left out on purpose, by reason.
    pub(super) dropped: BTreeMap<String, u64>,
    /// Units set aside: line and reason.
    pub(super) quarantined: Vec<(u64, String)>,
    /// Other counts.
    pub(super) notes: BTreeMap<String, u64>,
    /// Latest time in the file, microseconds since 1970; the smallest number without times.
    pub(super) latest_us: i64,
    /// Its rows are dated from the cut-off, and so hold under no other one.
    pub(super) dated_from_cut_off: bool,
}

impl Tally {
    pub(super) fn new() -> Self {
        Tally {
            units: 0,
            dropped: BTreeMap::new(),
            quarantined: Vec::new(),
            notes: BTreeMap::new(),
            latest_us: i64::MIN,
            dated_from_cut_off: false,
        }
    }

    pub(super) fn drop(&mut self, reason: &str) {
        *self.dropped.entry(reason.to_owned()).or_default() += 1;
    }

    pub(super) fn quarantine(&mut self, line: u64, reason: &str) {
        self.quarantined.push((line, reason.to_owned()));
    }
}

/// What was left out or set aside before it had a partition.
pub(super) fn booked<'a>(tallies: impl IntoIterator<Item = &'a Tally>) -> Account {
    let mut account = Account::default();
    for tally in tallies {
        for (reason, units) in &tally.dropped {
            account.drop(reason, *units);
        }
        for (_, reason) in &tally.quarantined {
            account.quarantine(reason, 1);
        }
        for (what, count) in &tally.notes {
            account.note(what, *count);
        }
    }
    account.input = account.accounted();
    account
}
