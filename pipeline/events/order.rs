//! The order of events within a bucket, found by Polars over numeric keys; Arrow then carries the rows.

use dataset::{Error, Result};
use polars::prelude::{Column, DataFrame, NamedFrom, Series, SortMultipleOptions};

/// Sort keys of behaviours, one entry per row.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// High and low half of the user id.
    pub(crate) user: [Vec<u64>; 2],
    /// Rank of the domain's name.
    pub(crate) domain: Vec<u8>,
    /// Microseconds since 1970.
    pub(crate) occurred_at: Vec<i64>,
    /// High and low half of the event id.
    pub(crate) event: [Vec<u64>; 2],
}

impl Keys {
    /// Makes room for so many more rows.
    pub(crate) fn reserve(&mut self, rows: usize) {
        self.user.iter_mut().chain(&mut self.event).for_each(|half| half.reserve(rows));
        self.domain.reserve(rows);
        self.occurred_at.reserve(rows);
    }

    pub(crate) fn push(&mut self, user: [u64; 2], domain: u8, occurred_at: i64, event: [u64; 2]) {
        for half in 0..2 {
            self.user[half].push(user[half]);
            self.event[half].push(event[half]);
        }
        self.domain.push(domain);
        self.occurred_at.push(occurred_at);
    }

    pub(crate) fn user(&self, row: u32) -> [u64; 2] {
        [self.user[0][row as usize], self.user[1][row as usize]]
    }

    pub(crate) fn event(&self, row: u32) -> [u64; 2] {
        [self.event[0][row as usize], self.event[1][row as usize]]
    }

    /// Row numbers in the order (user, domain, latest first, event).
    pub(crate) fn sorted(&self) -> Result<Vec<u32>> {
        let rows = self.domain.len();
        let [user_high, user_low] = &self.user;
        let [event_high, event_low] = &self.event;
        let key = |name: &str, values: &[u64]| Column::from(Series::new(name.into(), values));
        // One column to compare instead of two.
        let places: Vec<u64> =
            self.domain.iter().zip(&self.occurred_at).map(|(domain, at)| place(*domain, *at)).collect();
        let sort = || {
            let frame = DataFrame::new(
                rows,
                vec![
                    key("user_high", user_high),
                    key("user_low", user_low),
                    key("place", &places),
                    key("event_high", event_high),
                    key("event_low", event_low),
                    Column::from(Series::new("row".into(), (0..rows as u32).collect::<Vec<_>>())),
                ],
            )?;
            let by = ["user_high", "user_low", "place", "event_high", "event_low"];
            // Buckets are sorted in parallel already: Polars' own threads would be more than --threads.
            let sorted = frame.sort(by, SortMultipleOptions::default().with_multithreaded(false))?;
            Ok(sorted.column("row")?.u32()?.into_no_null_iter().collect())
        };
        sort().map_err(|e: polars::prelude::PolarsError| Error::bug(format!("sorting events: {e}")))
    }
}

/// Where a behaviour lies among its user's: domain by domain, the latest first. Times of behaviours need fewer than 62 bits.
fn place(domain: u8, occurred_at: i64) -> u64 {
    const LATEST: i64 = 1 << 61;
    debug_assert!(occurred_at.unsigned_abs() < LATEST as u64, "time out of range");
    u64::from(domain) << 62 | (LATEST - occurred_at) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_then_domains_then_latest_first() -> Result<()> {
        let mut keys = Keys::default();
        for (user, domain, at, event) in [(2, 0, 5, 1), (1, 2, 5, 1), (1, 0, 5, 9), (1, 0, 7, 3), (1, 0, 5, 2)] {
            keys.push([0, user], domain, at, [0, event]);
        }
        assert_eq!(keys.sorted()?, [3, 4, 2, 1, 0]);
        Ok(())
    }
}
