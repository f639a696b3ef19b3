//! `impression_metrics`: averages over impressions, with intervals.

use crate::kind::{Float64, Int32, Int64, Text};
use crate::table::table;

table! {
    /// One row per method, slice, metric and cut.
    ImpressionMetrics, ImpressionMetricsColumns {
        name: "impression_metrics",
        version: 1,
        about: "one row per method, slice of users, metric and cut",
        layout: Parts,
        key: [method, slice, metric, k],
        order: [],
        columns: {
            method: Text = "what scored the articles",
            slice: Text = "all; test: held-out users; cold: fewer than 5 news clicks of history; warm: the others",
            metric: Text = "auc, mrr or ndcg, as MIND's scorer has them",
            k: Option<Int32> = "lists are cut here; null: not cut",
            value: Float64 = "mean over the slice's impressions",
            ci_low: Option<Float64> = "lower end of the 95% interval, users being drawn; null: of one user there is none",
            ci_high: Option<Float64> = "upper end of the 95% interval",
            impressions: Int64 = "impressions of the slice of which some articles were clicked and some not",
            users: Int64 = "whose these are",
        }
    }
}
