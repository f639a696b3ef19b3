//! `truth`: what users clicked in the evaluation window. Read by `evaluate` alone.

use crate::{Column, Layout, SortColumn, Table, ascending, column, id, text, timestamp};

/// One row per user and article clicked in the window.
#[derive(Debug)]
pub struct Truth;

impl Table for Truth {
    const NAME: &'static str = "truth";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "one row per user and article clicked in the evaluation window";
    const LAYOUT: Layout = Layout::Users;
    const KEY: &'static [&'static str] = &["user_id", "news_id"];
    const ORDER: &'static [SortColumn] = &[ascending("user_id"), ascending("news_id")];

    fn columns() -> Vec<Column> {
        vec![
            column("user_id", id(), "keyed hash of the platform's own id"),
            column("news_id", text(), "the article"),
            column("occurred_at", timestamp(), "the first click"),
        ]
    }
}
