//! `true_lifts`: what a simulated treatment really changes. Evaluation may read it, nothing else.

use crate::kind::{Float64, Text};
use crate::table::table;

table! {
    /// One row per metric and segment.
    TrueLifts, TrueLiftsColumns {
        name: "true_lifts",
        version: 1,
        about: "one row per metric and segment of a simulated experiment: expected values of its users under both arms; evaluation only",
        layout: Parts,
        key: [metric, segment],
        order: [metric, segment],
        columns: {
            metric: Text = "see lifts",
            segment: Text = "see lifts",
            control_value: Float64 = "expected value, if all users were in the control",
            treatment_value: Float64 = "expected value, if all users were in the treatment",
            lift: Float64 = "the difference, relative to the control",
        }
    }
}
