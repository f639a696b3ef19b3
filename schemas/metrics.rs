//! `metrics`: averages over users, with intervals.

use crate::kind::{Float64, Int32, Int64, Text};
use crate::table::table;

/// Slices of users, in their order: everybody, held-out users, those with little history, the others, and those with none at all.
pub const SLICES: [&str; 5] = ["all", "test", "cold", "warm", "without-history"];

table! {
    /// One row per method, slice, metric and cut.
    Metrics, MetricsColumns {
        name: "metrics",
        version: 3,
        about: "one row per method, slice of users, metric and cut",
        layout: Parts,
        key: [method, slice, metric, k],
        order: [],
        columns: {
            method: Text = "what recommended",
            slice: Text = "all; test: held-out users; cold: fewer than 5 news clicks of history; warm: the others; without-history: nothing at all",
            metric: Text = "recall, recall_capped, ndcg, mrr or mrr_mind",
            k: Option<Int32> = "lists are cut here; null: not cut",
            value: Float64 = "mean over the slice's users",
            ci_low: Float64 = "lower end of the 95% interval",
            ci_high: Float64 = "upper end of the 95% interval",
            users: Int64 = "users of the slice who clicked anything in the window",
            fallback: Int64 = "those of them for whom the method has no list, who were shown the fallback: popular articles",
        }
    }
}
