//! `daily_lifts`: a lift as it looked at the end of each day.

use crate::kind::{Float64, Int64, Text};
use crate::table::table;

table! {
    /// One row per treatment, metric, segment and day, of what users did until then; not adjusted.
    DailyLifts, DailyLiftsColumns {
        name: "daily_lifts",
        version: 1,
        about: "one row per treatment, metric, segment of users and day: the lift until then",
        layout: Parts,
        key: [treatment, metric, segment, day],
        order: [],
        columns: {
            treatment: Text = "see lifts",
            metric: Text = "see lifts",
            segment: Text = "see lifts",
            day: Text = "the last day that counts, YYYY-MM-DD",
            users: Int64 = "users of both arms until then",
            lift: Float64 = "the lift until then",
            lift_low: Float64 = "lower end of its 95% interval for one look",
            lift_high: Float64 = "upper end",
            always_low: Float64 = "lower end of its always-valid 95% interval",
            always_high: Float64 = "upper end",
        }
    }
}
