//! `text_scores`: what the classifier says of every distinct text.

use crate::kind::{Float32, Id};
use crate::table::table;

table! {
    /// One row per distinct text of `events`; the texts themselves are not kept.
    TextScores, TextScoresColumns {
        name: "text_scores",
        version: 1,
        about: "one row per distinct text of events",
        layout: Parts,
        key: [text_hash],
        order: [text_hash],
        columns: {
            text_hash: Id = "BLAKE3 of the text, 128 bits",
            keep_score: Float32 = "the classifier's probability of keep",
        }
    }
}
