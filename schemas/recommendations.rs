//! `recommendations`: the news that a method would show, best first.

use crate::kind::{Float32, Id, Int32, Text};
use crate::table::table;

table! {
    /// One row per user and article; a dataset `recommendations.<method>` per method, or `recommendations.<method>.<step>`.
    Recommendations, RecommendationsColumns {
        name: "recommendations",
        version: 2,
        about: "one row per user and recommended article; an article is in a user's list once, ranks have no gaps",
        layout: Users,
        key: [method, user_id, rank],
        order: [method, user_id, rank],
        columns: {
            method: Text = "what recommended it; METHOD.STEP if the step retrieve@STEP did",
            user_id: Id = "keyed hash of the platform's own id",
            rank: Int32 = "from 1, best first",
            news_id: Text = "the article",
            score: Float32 = "the method's own; similarity for queries",
            query: Option<Text> = "which of the user's queries fetched it",
        }
    }
}

/// What recommended, and the step that retrieved it, if that has a name: `interests.bm25` is `interests` by `retrieve@bm25`.
pub fn method_and_step(method: &str) -> (&str, Option<&str>) {
    method.split_once('.').map_or((method, None), |(method, step)| (method, Some(step)))
}

/// The method that a seed is of: `grpo` of `grpo-s1`; none of what is no seed.
pub fn of_seed(method: &str) -> Option<&str> {
    let (base, seed) = method.rsplit_once("-s")?;
    (!base.is_empty() && !seed.is_empty() && seed.bytes().all(|b| b.is_ascii_digit())).then_some(base)
}

/// What the mean over a method's seeds is called: `grpo (3 seeds)`.
pub fn mean_of_seeds(method: &str, seeds: usize) -> String {
    format!("{method} ({seeds} seeds)")
}

/// The method that such a mean is of; none of what is no mean.
pub fn of_mean(name: &str) -> Option<&str> {
    name.strip_suffix(" seeds)")?.split_once(" (").map(|(method, _)| method)
}
