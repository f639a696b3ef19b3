//! `borderline`: the behaviours that the cleaner was least sure of, for a human to look at.

use crate::kind::{Bool, Float32, Int64, Text};
use crate::table::table;

table! {
    /// One row per text near the threshold.
    Borderline, BorderlineColumns {
        name: "borderline",
        version: 2,
        about: "one row per text and domain near the cleaner's threshold, nearest first",
        layout: Parts,
        key: [rank],
        order: [rank],
        columns: {
            rank: Int64 = "1: nearest to the threshold",
            text: Text = "the behaviour",
            domain: Text = "search, browse or news",
            keep_score: Float32 = "the classifier's probability of keep",
            kept: Bool = "what was decided",
            events: Int64 = "how often it occurs",
        }
    }
}
