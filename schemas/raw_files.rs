//! `raw_files`: what ingest has read so far.

use crate::kind::{Bool, Int64, Text, Time};
use crate::table::table;

table! {
    /// One row per raw file that was read.
    RawFiles, RawFilesColumns {
        name: "raw_files",
        version: 1,
        about: "one row per raw file that ingest has read, as it was when it was read",
        layout: Parts,
        key: [source, blake3],
        order: [source, blake3],
        columns: {
            source: Text = "the raw log, as the configuration names it",
            blake3: Text = "digest of the content (and of columns read from its path), by which the file is known",
            file: Text = "where it lay",
            bytes: Int64 = "its size on disk",
            units: Int64 = "behaviours or articles in it",
            latest_at: Option<Time> = "the latest time in it; null: it has none",
            dated_from_cut_off: Bool = "its behaviours have no times of their own and are dated back from the cut-off",
        }
    }
}
