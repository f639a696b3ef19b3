//! `raw_*`: the logs that `simulate` writes, in the shape of a platform's own: raw ids, raw texts, noise.

use crate::{Column, Layout, SortColumn, Table, ascending, column, list, nullable, text, timestamp};

macro_rules! raw_log {
    ($(#[$doc:meta])* $name:ident, $table:literal, $about:literal, $time:literal, [$($column:expr),*]) => {
        $(#[$doc])*
        pub struct $name;

        impl Table for $name {
            const NAME: &'static str = $table;
            const VERSION: u32 = 1;
            const ABOUT: &'static str = $about;
            const LAYOUT: Layout = Layout::Parts;
            const KEY: &'static [&'static str] = &[];
            const ORDER: &'static [SortColumn] = &[ascending($time)];

            fn columns() -> Vec<Column> {
                vec![$($column),*]
            }
        }
    };
}

raw_log!(
    /// Simulated search log.
    RawSearches,
    "raw_searches",
    "one row per simulated web search",
    "searched_at",
    [
        column("uid", text(), "the platform's user id"),
        column("searched_at", timestamp(), "when"),
        column("query", text(), "the query as typed")
    ]
);

raw_log!(
    /// Simulated browsing log.
    RawVisits,
    "raw_visits",
    "one row per simulated page visit",
    "visited_at",
    [
        column("uid", text(), "the platform's user id"),
        column("visited_at", timestamp(), "when"),
        column("title", text(), "the page's title, or its URL where it has none")
    ]
);

raw_log!(
    /// Simulated news click log. The titles are in `raw_news`.
    RawClicks,
    "raw_clicks",
    "one row per simulated news click, the test week included",
    "clicked_at",
    [
        column("uid", text(), "the platform's user id"),
        column("clicked_at", timestamp(), "when"),
        column("article", text(), "the article's id")
    ]
);

raw_log!(
    /// Simulated articles.
    RawNews,
    "raw_news",
    "one row per simulated article",
    "published",
    [
        column("article", text(), "the article's id"),
        column("published", timestamp(), "publication"),
        column("section", text(), "category"),
        column("subsection", text(), "subcategory"),
        column("headline", text(), "title"),
        nullable("summary", text(), "abstract; a third of the articles have none"),
        column("tags", list(text()), "the entity it is about")
    ]
);
