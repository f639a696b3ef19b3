//! Accounts: what went in came out, was dropped, or was set aside, by reason.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The account of one partition, or of a whole run, in the job's unit.
///
/// Law: `input = output + Σ dropped + Σ quarantined`; the runner refuses to record one that does not balance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Units that went in.
    pub input: u64,
    /// Units that came out.
    pub output: u64,
    /// Units left out on purpose, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dropped: BTreeMap<String, u64>,
    /// Units that could not be read, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub quarantined: BTreeMap<String, u64>,
    /// Other counts worth keeping; not part of the balance.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<String, u64>,
}

impl Account {
    /// An account where everything that went in came out.
    pub fn all(units: u64) -> Self {
        Account { input: units, output: units, ..Self::default() }
    }

    /// Counts units left out on purpose.
    pub fn drop(&mut self, reason: &str, units: u64) {
        add(&mut self.dropped, reason, units);
    }

    /// Counts units that could not be read.
    pub fn quarantine(&mut self, reason: &str, units: u64) {
        add(&mut self.quarantined, reason, units);
    }

    /// Counts something else.
    pub fn note(&mut self, what: &str, count: u64) {
        add(&mut self.notes, what, count);
    }

    /// Units that could not be read.
    pub fn bad(&self) -> u64 {
        self.quarantined.values().sum()
    }

    /// Units accounted for: out, dropped or set aside.
    pub fn accounted(&self) -> u64 {
        self.output + self.dropped.values().sum::<u64>() + self.bad()
    }

    /// Adds another account to this one.
    pub fn merge(&mut self, other: &Account) {
        self.input += other.input;
        self.output += other.output;
        for (into, from) in [
            (&mut self.dropped, &other.dropped),
            (&mut self.quarantined, &other.quarantined),
            (&mut self.notes, &other.notes),
        ] {
            for (reason, units) in from {
                add(into, reason, *units);
            }
        }
    }
}

fn add(counts: &mut BTreeMap<String, u64>, reason: &str, units: u64) {
    if units > 0 {
        *counts.entry(reason.to_owned()).or_default() += units;
    }
}

/// `a 3, b 1`: counts for a message.
pub fn list(counts: &BTreeMap<String, u64>) -> String {
    let items: Vec<String> = counts.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
    items.join(", ")
}

/// `1,234,567`: a number for people.
pub fn grouped(number: u64) -> String {
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
