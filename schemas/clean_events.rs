//! `clean_events`: the behaviours that say something about interests.

use arrow::datatypes::DataType;

use crate::{Column, Events, Layout, SortColumn, Table, nullable};

/// `events` and the classifier's score. `clean_events.dropped` holds the rest, in the same columns.
#[derive(Debug)]
pub struct CleanEvents;

impl Table for CleanEvents {
    const NAME: &'static str = "clean_events";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "one row per behaviour that the cleaner kept (or, in .dropped, did not)";
    const LAYOUT: Layout = Layout::Users;
    const KEY: &'static [&'static str] = Events::KEY;
    const ORDER: &'static [SortColumn] = Events::ORDER;

    fn columns() -> Vec<Column> {
        let mut columns = Events::columns();
        columns.push(nullable(
            "keep_score",
            DataType::Float32,
            "the classifier's probability of keep; null when nothing was classified",
        ));
        columns
    }
}
