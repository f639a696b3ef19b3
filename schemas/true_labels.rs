//! `true_labels`: which simulated behaviours are noise. Evaluation may read it, nothing else.

use arrow::datatypes::DataType;

use crate::{Column, Layout, SortColumn, Table, ascending, column, id, text};

/// One row per distinct simulated behaviour before the cut-off.
pub struct TrueLabels;

impl Table for TrueLabels {
    const NAME: &'static str = "true_labels";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "one row per simulated behaviour before the cut-off; evaluation only";
    const LAYOUT: Layout = Layout::Users;
    const KEY: &'static [&'static str] = &["event_id"];
    const ORDER: &'static [SortColumn] = &[ascending("user_id"), ascending("event_id")];

    fn columns() -> Vec<Column> {
        vec![
            column("event_id", id(), "as `events` has it"),
            column("user_id", id(), "keyed hash of the simulated id"),
            column("domain", text(), "search, browse or news"),
            column("label", DataType::Boolean, "true: driven by an interest; false: noise"),
            column("kind", text(), "interest, misspelt, popular, or the kind of noise"),
        ]
    }
}
