//! `scores`: what each list of queries is worth.

use crate::kind::{Float32, Id, Int32};
use crate::table::table;

table! {
    /// One row per user and candidate list.
    Scores, ScoresColumns {
        name: "scores",
        version: 1,
        about: "one row per user and candidate list of interests: the components of its reward, and the reward",
        layout: Users,
        key: [user_id, candidate],
        order: [user_id, candidate],
        columns: {
            user_id: Id = "keyed hash of the platform's own id",
            candidate: Int32 = "the list's number in interests",
            align: Option<Float32> = "0 to 1: how near the articles that the queries fetch are to these and to the user's themes, in the mean; null: undecided, as in all components",
            coverage: Option<Float32> = "0 to 1: share of the user's themes that the list covers, by weight",
            specificity: Option<Float32> = "0 to 1: share of the queries that say something in particular",
            diversity: Option<Float32> = "0 to 1: mean cosine distance of the queries from each other",
            structure: Option<Float32> = "1 when the output keeps the form of a list, else 0",
            copied: Float32 = "0 to 1: share of the queries that are near copies of a behaviour; no part of the reward",
            reward: Option<Float32> = "the weighted sum of the components, each brought to one scale; null when a component that counts is",
        }
    }
}
