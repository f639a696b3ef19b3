//! `latent_interests`: what simulated users care about. Evaluation may read it, nothing else.

use crate::{Column, Layout, SortColumn, Table, ascending, column, float64, id, list, text};

/// One row per user and latent interest.
pub struct LatentInterests;

impl Table for LatentInterests {
    const NAME: &'static str = "latent_interests";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "one row per simulated user and interest (2 to 6); evaluation only";
    const LAYOUT: Layout = Layout::Users;
    const KEY: &'static [&'static str] = &["user_id", "topic"];
    const ORDER: &'static [SortColumn] = &[ascending("user_id"), ascending("topic")];

    fn columns() -> Vec<Column> {
        vec![
            column("user_id", id(), "keyed hash of the simulated id"),
            column("topic", text(), "the topic"),
            column("entities", list(text()), "the entities of the topic that the user follows"),
            column("weight", float64(), "share of the user's interest-driven behaviour; sums to 1"),
        ]
    }
}
