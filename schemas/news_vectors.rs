//! `news_vectors`: every article as a vector.

use crate::kind::{Id, Text, Vector};
use crate::table::table;

table! {
    /// One row per article of `news`.
    NewsVectors, NewsVectorsColumns {
        name: "news_vectors",
        version: 2,
        about: "one row per article of news",
        layout: Parts,
        key: [news_id],
        order: [news_id],
        columns: {
            news_id: Text = "the article",
            text_hash: Id = "BLAKE3 of the text that the vector says, 128 bits: another text, another vector",
            encoder: Text = "name of the encoder: digest of its files and options",
            vector: Vector = "unit length, so that cosines are dot products; as many numbers in every row of one encoder",
        }
    }
}
