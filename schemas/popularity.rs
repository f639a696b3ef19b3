//! `popularity`: how often articles were clicked before the cut-off.

use crate::{Column, Layout, SortColumn, Table, ascending, column, text, uint64};

/// One row per article that any history names.
#[derive(Debug)]
pub struct Popularity;

impl Table for Popularity {
    const NAME: &'static str = "popularity";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "one row per article that was clicked before the cut-off";
    const LAYOUT: Layout = Layout::Parts;
    const KEY: &'static [&'static str] = &["news_id"];
    const ORDER: &'static [SortColumn] = &[ascending("news_id")];

    fn columns() -> Vec<Column> {
        vec![
            column("news_id", text(), "the article"),
            column("clicks", uint64(), "clicks of all users, repeats included"),
        ]
    }
}
