//! Admission by memory: partitions wait until their estimate fits under the limit.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::{Error, Result};

/// Bytes under a limit, lent and given back.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    used: Mutex<u64>,
    freed: Condvar,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Budget { limit, used: Mutex::new(0), freed: Condvar::new() }
    }

    /// Waits until `bytes` fit beside what is lent. More than the whole limit never fits: callers check that first.
    pub(crate) fn borrow(&self, bytes: u64) -> Loan<'_> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let mut used = self
            .freed
            .wait_while(used, |used| *used > 0 && *used + bytes > self.limit)
            .unwrap_or_else(PoisonError::into_inner);
        *used += bytes;
        Loan { budget: self, bytes }
    }
}

/// Borrowed bytes; dropping gives them back.
#[derive(Debug)]
pub(crate) struct Loan<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        *self.budget.used.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.budget.freed.notify_all();
    }
}

/// `2GiB`, `512MiB`, `1073741824`: a number of bytes.
pub fn parse_bytes(text: &str) -> Result<u64> {
    let wrong =
        || Error::setting("--memory-limit", "bytes, or a number with KiB, MiB or GiB", text, "for example 2GiB");
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..at].parse().map_err(|_| wrong())?;
    let unit = match text[at..].trim() {
        "" | "B" => 1u64,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    let bytes = number * unit as f64;
    if bytes < 1.0 { Err(wrong()) } else { Ok(bytes as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse() -> Result<()> {
        assert_eq!(parse_bytes("2GiB")?, 2 << 30);
        assert_eq!(parse_bytes("1.5MiB")?, 3 << 19);
        assert_eq!(parse_bytes("77")?, 77);
        for bad in ["", "GiB", "2 parsecs", "-1", "0"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
        Ok(())
    }

    #[test]
    fn a_budget_never_lends_more_than_its_limit() {
        let budget = Budget::new(10);
        let most = Mutex::new(0u64);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for bytes in [3, 7, 10, 1] {
                        let _loan = budget.borrow(bytes);
                        let used = *budget.used.lock().expect("no thread panics");
                        let mut most = most.lock().expect("no thread panics");
                        *most = used.max(*most);
                    }
                });
            }
        });
        assert!(*most.lock().expect("no thread panics") <= 10);
        assert_eq!(*budget.used.lock().expect("no thread panics"), 0);
    }
}
