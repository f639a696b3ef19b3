//! `profiles`: one row per user, what the policy may read about them.

use crate::kind::{Id, Int32, Text, Time};
use crate::lists::Lists;
use crate::table::{record, table};

table! {
    /// One row per user with any event.
    Profiles, ProfilesColumns {
        name: "profiles",
        version: 2,
        about: "one row per user: their most recent behaviours, capped per domain",
        layout: Users,
        key: [user_id],
        order: [user_id],
        columns: {
            user_id: Id = "keyed hash of the platform's own id",
            split: Text = "train, valid or test: 80, 10, 10 per cent of users by hash",
            behaviours: Lists<Behaviours> = "most recent first (then by domain and event id); empty when cleaning left nothing",
            browse_events: Int32 = "page visits before cleaning",
            browse_clean: Int32 = "page visits after cleaning",
            browse_kept: Int32 = "page visits after the cap",
            news_events: Int32 = "news clicks before cleaning",
            news_clean: Int32 = "news clicks after cleaning",
            news_kept: Int32 = "news clicks after the cap",
            search_events: Int32 = "searches before cleaning",
            search_clean: Int32 = "searches after cleaning",
            search_kept: Int32 = "searches after the cap",
            news_clicks: Int32 = "length of the clean news history; cold users have fewer than 5",
        }
    }
}

record! {
    /// Behaviours inside `profiles.behaviours`: a field per array, one place in each per behaviour.
    Behaviours {
        domain: Text = "search, browse or news",
        occurred_at: Time = "when it happened",
        text: Text = "query, page title or news title",
        news_id: Option<Text> = "the article, for news clicks; else null",
    }
}
