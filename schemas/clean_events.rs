//! `clean_events`: the behaviours that say something about interests.

use crate::kind::{Float32, Id, Text, Time};
use crate::table::table;

table! {
    /// `events`, column by column, and the classifier's score. `clean_events.dropped` holds the rest, in the same columns.
    CleanEvents, CleanEventsColumns {
        name: "clean_events",
        version: 1,
        about: "one row per behaviour that the cleaner kept (or, in .dropped, did not)",
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
            keep_score: Option<Float32> = "the classifier's probability of keep; null when nothing was classified",
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{CleanEvents, Events, Table};

    #[test]
    fn it_is_events_and_one_column() {
        assert_eq!(CleanEvents::columns()[..7], Events::columns());
        assert_eq!((CleanEvents::KEY, CleanEvents::ORDER), (Events::KEY, Events::ORDER));
    }
}
