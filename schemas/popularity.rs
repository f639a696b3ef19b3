//! `popularity`: how often articles were clicked before the cut-off.

use crate::kind::{Int64, Text};
use crate::table::table;

table! {
    /// One row per article that any history names.
    Popularity, PopularityColumns {
        name: "popularity",
        version: 2,
        about: "one row per article that was clicked before the cut-off",
        layout: Parts,
        key: [news_id],
        order: [news_id],
        columns: {
            news_id: Text = "the article",
            clicks: Int64 = "clicks of all users, repeats included",
        }
    }
}
