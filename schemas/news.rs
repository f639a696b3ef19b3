//! `news`: the articles.

use crate::{Column, Layout, SortColumn, Table, ascending, column, list, nullable, text, timestamp};

/// One row per article.
#[derive(Debug)]
pub struct News;

impl Table for News {
    const NAME: &'static str = "news";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "one row per article";
    const LAYOUT: Layout = Layout::Parts;
    const KEY: &'static [&'static str] = &["news_id"];
    const ORDER: &'static [SortColumn] = &[ascending("news_id")];

    fn columns() -> Vec<Column> {
        vec![
            column("news_id", text(), "the platform's id of the article"),
            nullable("published_at", timestamp(), "publication, else the first time it was shown; null: never shown"),
            nullable("category", text(), "the platform's category"),
            nullable("subcategory", text(), "the platform's subcategory"),
            column("title", text(), "headline"),
            nullable("abstract", text(), "summary"),
            column("entities", list(text()), "names of the entities in it; often empty"),
        ]
    }
}
