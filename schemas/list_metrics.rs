//! `list_metrics`: what methods' lists are like, beside being right.

use crate::kind::{Float64, Int32, Int64, Text};
use crate::table::table;

table! {
    /// One row per method and metric.
    ListMetrics, ListMetricsColumns {
        name: "list_metrics",
        version: 1,
        about: "one row per method and property of its lists",
        layout: Parts,
        key: [method, metric],
        order: [method, metric],
        columns: {
            method: Text = "what recommended",
            metric: Text = "coverage, diversity, novelty or unread, as sql/list_metrics.sql defines them",
            k: Int32 = "lists are cut here",
            value: Option<Float64> = "of coverage and unread a share, of novelty bits, of diversity a cosine distance; null: no list has two articles",
            users: Int64 = "users with a list",
        }
    }
}
