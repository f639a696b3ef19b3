//! `erased`: who is not to come back.

use crate::kind::Id;
use crate::table::table;

table! {
    /// One row per person who was erased.
    Erased, ErasedColumns {
        name: "erased",
        version: 1,
        about: "one row per person who was erased, by which ingest leaves out what their logs say from then on",
        layout: Parts,
        key: [erased_id],
        order: [erased_id],
        columns: {
            erased_id: Id = "hash of their user_id, which itself stands nowhere any more",
        }
    }
}
