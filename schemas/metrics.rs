//! `metrics`: averages over users, with intervals.

use crate::{Column, Layout, SortColumn, Table, column, float64, nullable, text, uint32, uint64};

/// Slices of users, in their order: everybody, held-out users, those with little history, and the others.
pub const SLICES: [&str; 4] = ["all", "test", "cold", "warm"];

/// One row per method, slice, metric and cut.
#[derive(Debug)]
pub struct Metrics;

impl Table for Metrics {
    const NAME: &'static str = "metrics";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "one row per method, slice of users, metric and cut";
    const LAYOUT: Layout = Layout::Parts;
    const KEY: &'static [&'static str] = &["method", "slice", "metric", "k"];
    const ORDER: &'static [SortColumn] = &[];

    fn columns() -> Vec<Column> {
        vec![
            column("method", text(), "what recommended"),
            column(
                "slice",
                text(),
                "all; test: held-out users; cold: fewer than 5 news clicks of history; warm: the others",
            ),
            column("metric", text(), "recall, recall_capped, ndcg, mrr or mrr_mind"),
            nullable("k", uint32(), "lists are cut here; null: not cut"),
            column("value", float64(), "mean over the slice's users"),
            column("ci_low", float64(), "lower end of the 95% interval"),
            column("ci_high", float64(), "upper end of the 95% interval"),
            column("users", uint64(), "users of the slice who clicked anything in the window"),
        ]
    }
}
