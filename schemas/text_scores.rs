//! `text_scores`: what the classifier says of every distinct text.

use arrow::datatypes::DataType;

use crate::{Column, Layout, SortColumn, Table, ascending, column, id};

/// One row per distinct text of `events`; the texts themselves are not kept.
#[derive(Debug)]
pub struct TextScores;

impl Table for TextScores {
    const NAME: &'static str = "text_scores";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "one row per distinct text of events";
    const LAYOUT: Layout = Layout::Parts;
    const KEY: &'static [&'static str] = &["text_hash"];
    const ORDER: &'static [SortColumn] = &[ascending("text_hash")];

    fn columns() -> Vec<Column> {
        vec![
            column("text_hash", id(), "BLAKE3 of the text, 128 bits"),
            column("keep_score", DataType::Float32, "the classifier's probability of keep"),
        ]
    }
}
