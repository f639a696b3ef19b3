//! `impressions`: what users were shown in the evaluation window. Read by `evaluate --impressions`, and to score just these articles.

use crate::kind::{Bool, Id, Int32, Text, Time};
use crate::table::table;

table! {
    /// One row per impression and article that it showed.
    Impressions, ImpressionsColumns {
        name: "impressions",
        version: 1,
        about: "one row per impression in the evaluation window and article that it showed",
        layout: Users,
        key: [impression_id, news_id],
        order: [user_id, occurred_at, impression_id, position],
        columns: {
            user_id: Id = "keyed hash of the platform's own id",
            occurred_at: Time = "when it was shown",
            impression_id: Id = "hash of user, time and the log's own id",
            position: Int32 = "the article's place as the log has it, from 1",
            news_id: Text = "the article",
            clicked: Bool = "whether it was clicked",
        }
    }
}
