//! `throughput`: how fast policies write lists, side by side.

use crate::kind::{Float64, Int32, Int64, Text};
use crate::table::table;

table! {
    /// One row per policy and turn.
    Throughput, ThroughputColumns {
        name: "throughput",
        version: 1,
        about: "one row per policy and turn: how long it took to write lists for the same users",
        layout: Parts,
        key: [position, turn],
        order: [position, turn],
        columns: {
            position: Int32 = "the policy's place among those that were asked, from 1",
            policy: Text = "what it is called, as in interests",
            parameters: Int64 = "its weights, adapters merged in",
            threads: Int32 = "threads that wrote",
            turn: Int32 = "from 1; in a turn every policy writes once",
            users: Int64 = "users who were asked",
            prompt_tokens: Int64 = "tokens that were read, without what all prompts begin with",
            sampled_tokens: Int64 = "tokens that were written",
            seconds: Float64 = "from prompts as tokens to lists; what all prompts begin with was read before",
        }
    }
}
