//! `recommendations`: the news that a method would show, best first.

use arrow::datatypes::DataType;

use crate::{Column, Layout, SortColumn, Table, ascending, column, id, nullable, text, uint32};

/// One row per user and article; a dataset `recommendations.<method>` per method.
#[derive(Debug)]
pub struct Recommendations;

impl Table for Recommendations {
    const NAME: &'static str = "recommendations";
    const VERSION: u32 = 1;
    const ABOUT: &'static str =
        "one row per user and recommended article; an article is in a user's list once, ranks have no gaps";
    const LAYOUT: Layout = Layout::Users;
    const KEY: &'static [&'static str] = &["method", "user_id", "rank"];
    const ORDER: &'static [SortColumn] = &[ascending("method"), ascending("user_id"), ascending("rank")];

    fn columns() -> Vec<Column> {
        vec![
            column("method", text(), "what recommended it"),
            column("user_id", id(), "keyed hash of the platform's own id"),
            column("rank", uint32(), "from 1, best first"),
            column("news_id", text(), "the article"),
            column("score", DataType::Float32, "the method's own; similarity for queries"),
            nullable("query", text(), "which of the user's queries fetched it"),
        ]
    }
}
