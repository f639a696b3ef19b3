//! `quarantine`: raw rows that could not be read, without their text.

use crate::{Column, Layout, SortColumn, Table, ascending, column, text, uint64};

/// One row per raw row that was set aside.
pub struct Quarantine;

impl Table for Quarantine {
    const NAME: &'static str = "quarantine";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "one row per raw row that was set aside and reason: where it lies and why";
    const LAYOUT: Layout = Layout::Parts;
    const KEY: &'static [&'static str] = &["file", "line", "reason", "source"];
    const ORDER: &'static [SortColumn] =
        &[ascending("file"), ascending("line"), ascending("reason"), ascending("source")];

    fn columns() -> Vec<Column> {
        vec![
            column("source", text(), "the raw log, as the configuration names it"),
            column("file", text(), "the raw file"),
            column("line", uint64(), "line in it, from 1 (row, for Parquet)"),
            column("reason", text(), "what was wrong; never the row's own text"),
        ]
    }
}
