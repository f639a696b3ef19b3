//! `events`: what users did before the cut-off, scrubbed and de-duplicated.

use crate::kind::{Id, Text, Time};
use crate::table::table;

/// The domains, in the order of their names (the order in which a user's rows lie).
pub const DOMAINS: [&str; 3] = ["browse", "news", "search"];

table! {
    /// One row per behaviour.
    Events, EventsColumns {
        name: "events",
        version: 1,
        about: "one row per behaviour before the cut-off",
        layout: Users,
        key: [event_id],
        order: [user_id, domain, occurred_at descending, event_id],
        columns: {
            event_id: Id = "hash of user, domain, time and text; the tie-breaker of equal times",
            user_id: Id = "keyed hash of the platform's own id",
            domain: Text = "search, browse or news",
            occurred_at: Time = "when it happened",
            text: Text = "query, page title or news title; scrubbed of personal data",
            news_id: Option<Text> = "the article of a news click, or a page's id where the log has one; a hash of it where it may hold what is personal",
            source: Text = "the raw log it came from, as the configuration names it",
        }
    }
}
