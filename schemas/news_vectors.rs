//! `news_vectors`: every article as a vector.

use crate::{Column, Layout, SortColumn, Table, ascending, column, id, text, vector};

/// One row per article of `news`.
#[derive(Debug)]
pub struct NewsVectors;

impl Table for NewsVectors {
    const NAME: &'static str = "news_vectors";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "one row per article of news";
    const LAYOUT: Layout = Layout::Parts;
    const KEY: &'static [&'static str] = &["news_id"];
    const ORDER: &'static [SortColumn] = &[ascending("news_id")];

    fn columns() -> Vec<Column> {
        vec![
            column("news_id", text(), "the article"),
            column(
                "text_hash",
                id(),
                "BLAKE3 of the text that the vector says, 128 bits: another text, another vector",
            ),
            column("encoder", text(), "name of the encoder: digest of its files and options"),
            column("vector", vector(), "unit length; cosines are dot products"),
        ]
    }
}
