//! `latent_interests`: what simulated users care about. Evaluation may read it, nothing else.

use crate::kind::{Float64, Id, Text, Texts};
use crate::table::table;

table! {
    /// One row per user and latent interest.
    LatentInterests, LatentInterestsColumns {
        name: "latent_interests",
        version: 1,
        about: "one row per simulated user and interest (2 to 6); evaluation only",
        layout: Users,
        key: [user_id, topic],
        order: [user_id, topic],
        columns: {
            user_id: Id = "keyed hash of the simulated id",
            topic: Text = "the topic",
            entities: Texts = "the entities of the topic that the user follows",
            weight: Float64 = "share of the user's interest-driven behaviour; sums to 1",
        }
    }
}
