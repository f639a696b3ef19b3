//! `user_metrics`: how good each user's list is.

use crate::kind::{Bool, Float64, Id, Int32, Text};
use crate::table::table;

table! {
    /// One row per method, user with truth, metric and cut.
    UserMetrics, UserMetricsColumns {
        name: "user_metrics",
        version: 3,
        about: "one row per method, user who clicked anything in the window, metric and cut",
        layout: Users,
        key: [method, user_id, metric, k],
        order: [method, user_id, metric, k],
        columns: {
            method: Text = "what recommended",
            user_id: Id = "keyed hash of the platform's own id",
            split: Text = "the user's: train, valid or test",
            cold: Bool = "fewer than 5 news clicks of history",
            history: Bool = "anything at all is known of them before the cut-off",
            fallback: Bool = "the method has no list for them: they were shown its pool's fallback",
            metric: Text = "recall, recall_capped, ndcg, rr (its mean is the MRR) or rr_mind",
            k: Option<Int32> = "the list is cut here; null: not cut",
            value: Float64 = "0 to 1",
        }
    }
}
