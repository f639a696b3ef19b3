//! `labels`: which behaviours an annotator would keep.

use arrow::datatypes::DataType;

use crate::{Column, Layout, SortColumn, Table, ascending, column, nullable, text};

/// One row per distinct behaviour that was labelled.
pub struct Labels;

impl Table for Labels {
    const NAME: &'static str = "labels";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "one row per distinct behaviour that was labelled";
    const LAYOUT: Layout = Layout::Parts;
    const KEY: &'static [&'static str] = &["text"];
    const ORDER: &'static [SortColumn] = &[ascending("text")];

    fn columns() -> Vec<Column> {
        vec![
            column("text", text(), "the behaviour"),
            column("domain", text(), "where it occurs most: search, browse or news (or as the labels file says)"),
            column("label", DataType::Boolean, "true: keep; false: noise"),
            column("annotator", text(), "who said so: rules, the endpoint's model, or the labels file"),
            nullable("reason", text(), "why, when the annotator gave a reason"),
        ]
    }
}
