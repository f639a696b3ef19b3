//! `quarantine`: raw rows that could not be read, without their text.

use crate::kind::{Id, Int64, Text};
use crate::table::table;

table! {
    /// One row per raw row that was set aside.
    Quarantine, QuarantineColumns {
        name: "quarantine",
        version: 3,
        about: "one row per raw row that was set aside and reason: where it lies and why",
        layout: Parts,
        key: [file, line, reason, source],
        order: [file, line, reason, source],
        columns: {
            source: Text = "the raw log, as the configuration names it",
            file: Text = "the raw file",
            line: Int64 = "line in it, from 1 (row, for Parquet)",
            reason: Text = "what was wrong; never the row's own text",
            user_id: Option<Id> = "keyed hash of whose row it is, by which it is erased with them; null: it cannot be read, or is nobody's",
        }
    }
}
