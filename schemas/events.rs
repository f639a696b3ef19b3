//! `events`: what users did before the cut-off, scrubbed and de-duplicated.

use crate::{Column, Layout, SortColumn, Table, ascending, column, descending, id, nullable, text, timestamp};

/// The domains, in the order of their names (the order in which a user's rows lie).
pub const DOMAINS: [&str; 3] = ["browse", "news", "search"];

/// One row per behaviour.
#[derive(Debug)]
pub struct Events;

impl Table for Events {
    const NAME: &'static str = "events";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "one row per behaviour before the cut-off";
    const LAYOUT: Layout = Layout::Users;
    const KEY: &'static [&'static str] = &["event_id"];
    const ORDER: &'static [SortColumn] =
        &[ascending("user_id"), ascending("domain"), descending("occurred_at"), ascending("event_id")];

    fn columns() -> Vec<Column> {
        vec![
            column("event_id", id(), "hash of user, domain, time and text; the tie-breaker of equal times"),
            column("user_id", id(), "keyed hash of the platform's own id"),
            column("domain", text(), "search, browse or news"),
            column("occurred_at", timestamp(), "when it happened"),
            column("text", text(), "query, page title or news title; scrubbed of personal data"),
            nullable("news_id", text(), "the article, for news clicks; else null"),
            column("source", text(), "the raw log it came from, as the configuration names it"),
        ]
    }
}
