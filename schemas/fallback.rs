//! `fallback`: what is shown to whoever a method has no list for.

use crate::kind::{Int32, Int64, Text};
use crate::table::table;

table! {
    /// One row per article; a dataset `fallback.<candidates>` per pool of candidates, the same list for everybody.
    Fallback, FallbackColumns {
        name: "fallback",
        version: 1,
        about: "one row per article that readers are shown of whom a method has no list: the most clicked candidates",
        layout: Parts,
        key: [rank],
        order: [rank],
        columns: {
            rank: Int32 = "from 1, best first",
            news_id: Text = "the article",
            clicks: Int64 = "its clicks before the cut-off; of equally popular ones the greater id comes first",
        }
    }
}
