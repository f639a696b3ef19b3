//! `comparisons`: methods against each other, on the same users.

use crate::kind::{Float64, Int32, Text};
use crate::table::table;

table! {
    /// One row per pair of methods, slice, metric and cut.
    Comparisons, ComparisonsColumns {
        name: "comparisons",
        version: 2,
        about: "one row per pair of methods of one retrieve step, or of one method by two steps, slice of users, metric and cut",
        layout: Parts,
        key: [a, b, slice, metric, k],
        order: [],
        columns: {
            a: Text = "one method",
            b: Text = "the other",
            slice: Text = "see metrics",
            metric: Text = "see metrics",
            k: Option<Int32> = "see metrics",
            difference: Float64 = "mean over users of a minus b",
            relative: Option<Float64> = "the difference, relative to b; null when b is 0",
            p_value: Float64 = "two-sided, of the paired randomisation test",
            p_adjusted: Float64 = "by Holm, over the pairs of one retrieve step or one method, slice, metric and cut",
        }
    }
}
