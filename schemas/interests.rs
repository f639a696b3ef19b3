//! `interests`: the news search queries that say what a user is interested in.

use crate::kind::{Float32, Id, Int32, Int64, Text, Texts};
use crate::table::table;

table! {
    /// One row per user and candidate list.
    Interests, InterestsColumns {
        name: "interests",
        version: 3,
        about: "one row per user and candidate list of queries",
        layout: Users,
        key: [user_id, candidate],
        order: [user_id, candidate],
        columns: {
            user_id: Id = "keyed hash of the platform's own id",
            candidate: Int32 = "0: the chosen list; others are the lists it was chosen from",
            queries: Texts = "news search queries; empty when the output had no list",
            reasoning: Option<Text> = "what the policy wrote before the list",
            reward: Option<Float32> = "what the list was chosen by",
            structure: Option<Float32> = "1 when the output keeps the form of a list, else 0",
            policy: Text = "who wrote it",
            sample: Int32 = "number of the sample",
            seed: Int64 = "seed of the sampling: 64 bits, as the signed number of the same bits",
            finish: Text = "how the output ended: stop, length (it was as long as it may be) or dead_end (no list could be made of it)",
        }
    }
}
