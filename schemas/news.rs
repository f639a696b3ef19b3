//! `news`: the articles.

use crate::kind::{Text, Texts, Time};
use crate::table::table;

table! {
    /// One row per article.
    News, NewsColumns {
        name: "news",
        version: 1,
        about: "one row per article",
        layout: Parts,
        key: [news_id],
        order: [news_id],
        columns: {
            news_id: Text = "the platform's id of the article",
            published_at: Option<Time> = "publication, else the first time it was shown; null: never shown",
            category: Option<Text> = "the platform's category",
            subcategory: Option<Text> = "the platform's subcategory",
            title: Text = "headline",
            r#abstract: Option<Text> = "summary",
            entities: Texts = "names of the entities in it; often empty",
        }
    }
}
