//! `statistics`: a dataset in a few numbers, the paper's Table 1 among them.

use crate::kind::{Float64, Int32, Text};
use crate::table::table;

table! {
    /// One row per statistic.
    Statistics, StatisticsColumns {
        name: "statistics",
        version: 2,
        about: "one row per statistic of the profiles, news and truth",
        layout: Parts,
        key: [position],
        order: [position],
        columns: {
            position: Int32 = "order in which to print",
            statistic: Text = "its name, as in the paper's Table 1 where it is there",
            value: Float64 = "its value",
        }
    }
}
