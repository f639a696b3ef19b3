//! `cleaner_predictions`: what a classifier says of labelled behaviours that it was not trained on.

use arrow::datatypes::DataType;

use crate::{Column, Layout, SortColumn, Table, ascending, column, text, uint32};

/// One row per labelled behaviour.
pub struct CleanerPredictions;

impl Table for CleanerPredictions {
    const NAME: &'static str = "cleaner_predictions";
    const VERSION: u32 = 1;
    const ABOUT: &'static str =
        "one row per labelled behaviour, scored by a classifier that was trained without its fold";
    const LAYOUT: Layout = Layout::Parts;
    const KEY: &'static [&'static str] = &["text"];
    const ORDER: &'static [SortColumn] = &[ascending("text")];

    fn columns() -> Vec<Column> {
        vec![
            column("text", text(), "the behaviour"),
            column("domain", text(), "as `labels` has it"),
            column("fold", uint32(), "the fold that it was left out with, from 0"),
            column("label", DataType::Boolean, "true: keep; false: noise"),
            column("keep_score", DataType::Float32, "the classifier's calibrated probability of keep"),
            column("kept", DataType::Boolean, "what its threshold decides"),
        ]
    }
}
