//! Faults on purpose, for the tests of what survives them. Debug builds only: in a release build nothing here runs.
//!
//! `QUERENT_FAULT=<point>:<n>` kills the process, as `kill -9` would, when it passes `<point>` for the n-th time; for
//! the point `put-error` the n-th write to the store fails instead.

/// A part is staged, its receipt is not written.
pub const STAGED: &str = "staged";
/// A receipt is written.
pub const RECEIPT: &str = "receipt";
/// All receipts are there, no log entry is.
pub const SEALING: &str = "sealing";
/// One output's log entry is written.
pub const ENTRY: &str = "entry";
/// Some parts have their final names, the log entry is not written.
pub const PLACED: &str = "placed";
/// The log entry is written, what it supersedes is not yet deleted.
pub const SUPERSEDED: &str = "superseded";
/// A raw file's spill is written.
pub const SPILLED: &str = "spilled";
/// A training made an update.
pub const UPDATED: &str = "updated";
/// A training's figures are written, its checkpoint is not.
pub const FIGURES: &str = "figures";
/// A training's best checkpoint is in its place, the others are not deleted.
pub const CHOSEN: &str = "chosen";
/// A write to the store.
pub(crate) const PUT: &str = "put-error";

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static FAULT: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);

    fn hit(point: &str) -> bool {
        let fault = FAULT.get_or_init(|| {
            let value = std::env::var("QUERENT_FAULT").ok()?;
            let (point, n) = value.split_once(':')?;
            Some((point.to_owned(), n.parse().ok()?))
        });
        fault.as_ref().is_some_and(|(p, n)| p == point && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *n)
    }

    /// Dies here if the fault is armed for this point.
    pub fn point(point: &str) {
        if hit(point) {
            std::process::abort();
        }
    }

    /// Fails here if the fault is armed for this point.
    pub(crate) fn error(point: &str) -> std::io::Result<()> {
        if hit(point) {
            return Err(std::io::Error::other("injected store error"));
        }
        Ok(())
    }
}

#[cfg(debug_assertions)]
pub(crate) use armed::error;
#[cfg(debug_assertions)]
pub use armed::point;

/// Nothing, in a release build.
#[cfg(not(debug_assertions))]
pub fn point(_: &str) {}

#[cfg(not(debug_assertions))]
pub(crate) fn error(_: &str) -> std::io::Result<()> {
    Ok(())
}
