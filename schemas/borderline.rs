//! `borderline`: the behaviours that the cleaner was least sure of, for a human to look at.

use arrow::datatypes::DataType;

use crate::{Column, Layout, SortColumn, Table, ascending, column, text, uint64};

/// One row per text near the threshold.
pub struct Borderline;

impl Table for Borderline {
    const NAME: &'static str = "borderline";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "one row per text and domain near the cleaner's threshold, nearest first";
    const LAYOUT: Layout = Layout::Parts;
    const KEY: &'static [&'static str] = &["rank"];
    const ORDER: &'static [SortColumn] = &[ascending("rank")];

    fn columns() -> Vec<Column> {
        vec![
            column("rank", uint64(), "1: nearest to the threshold"),
            column("text", text(), "the behaviour"),
            column("domain", text(), "search, browse or news"),
            column("keep_score", DataType::Float32, "the classifier's probability of keep"),
            column("kept", DataType::Boolean, "what was decided"),
            column("events", uint64(), "how often it occurs"),
        ]
    }
}
