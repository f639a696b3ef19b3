//! `truth`: what users clicked in the evaluation window. Read by `evaluate` alone.

use crate::kind::{Id, Text, Time};
use crate::table::table;

table! {
    /// One row per user and article clicked in the window.
    Truth, TruthColumns {
        name: "truth",
        version: 1,
        about: "one row per user and article clicked in the evaluation window",
        layout: Users,
        key: [user_id, news_id],
        order: [user_id, news_id],
        columns: {
            user_id: Id = "keyed hash of the platform's own id",
            news_id: Text = "the article",
            occurred_at: Time = "the first click",
        }
    }
}
