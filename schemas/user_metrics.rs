//! `user_metrics`: how good each user's list is.

use arrow::datatypes::DataType;

use crate::{Column, Layout, SortColumn, Table, ascending, column, float64, id, nullable, text, uint32};

/// One row per method, user with truth, metric and cut.
#[derive(Debug)]
pub struct UserMetrics;

impl Table for UserMetrics {
    const NAME: &'static str = "user_metrics";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "one row per method, user who clicked anything in the window, metric and cut";
    const LAYOUT: Layout = Layout::Users;
    const KEY: &'static [&'static str] = &["method", "user_id", "metric", "k"];
    const ORDER: &'static [SortColumn] =
        &[ascending("method"), ascending("user_id"), ascending("metric"), ascending("k")];

    fn columns() -> Vec<Column> {
        vec![
            column("method", text(), "what recommended"),
            column("user_id", id(), "keyed hash of the platform's own id"),
            column("split", text(), "the user's: train, valid or test"),
            column("cold", DataType::Boolean, "fewer than 5 news clicks of history"),
            column("metric", text(), "recall, recall_capped, ndcg, rr (its mean is the MRR) or rr_mind"),
            nullable("k", uint32(), "the list is cut here; null: not cut"),
            column("value", float64(), "0 to 1"),
        ]
    }
}
