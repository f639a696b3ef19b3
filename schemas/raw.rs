//! `raw_*`: the logs that `simulate` writes, in the shape of a platform's own: raw ids, raw texts, noise.

use crate::kind::{Bool, Int32, Text, Texts, Time};
use crate::table::table;

table! {
    /// Simulated search log.
    RawSearches, RawSearchesColumns {
        name: "raw_searches",
        version: 1,
        about: "one row per simulated web search",
        layout: Parts,
        key: [],
        order: [searched_at],
        columns: {
            uid: Text = "the platform's user id",
            searched_at: Time = "when",
            query: Text = "the query as typed",
        }
    }
}

table! {
    /// Simulated browsing log.
    RawVisits, RawVisitsColumns {
        name: "raw_visits",
        version: 1,
        about: "one row per simulated page visit",
        layout: Parts,
        key: [],
        order: [visited_at],
        columns: {
            uid: Text = "the platform's user id",
            visited_at: Time = "when",
            title: Text = "the page's title, or its URL where it has none",
        }
    }
}

table! {
    /// Simulated news click log. The titles are in `raw_news`.
    RawClicks, RawClicksColumns {
        name: "raw_clicks",
        version: 1,
        about: "one row per simulated news click, the test week included",
        layout: Parts,
        key: [],
        order: [clicked_at],
        columns: {
            uid: Text = "the platform's user id",
            clicked_at: Time = "when",
            article: Text = "the article's id",
        }
    }
}

table! {
    /// Simulated articles.
    RawNews, RawNewsColumns {
        name: "raw_news",
        version: 1,
        about: "one row per simulated article",
        layout: Parts,
        key: [],
        order: [published],
        columns: {
            article: Text = "the article's id",
            published: Time = "publication",
            section: Text = "category",
            subsection: Text = "subcategory",
            headline: Text = "title",
            summary: Option<Text> = "abstract; a third of the articles have none",
            tags: Texts = "the entity it is about",
        }
    }
}

table! {
    /// Simulated experiment.
    RawExperiment, RawExperimentColumns {
        name: "raw_experiment",
        version: 1,
        about: "one row per user and day of a simulated experiment",
        layout: Parts,
        key: [user_id, day],
        order: [],
        columns: {
            user_id: Text = "the platform's user id",
            day: Text = "YYYY-MM-DD",
            variant: Text = "control or treatment",
            active: Bool = "whether the user came that day",
            impressions: Int32 = "articles shown",
            clicks: Int32 = "articles clicked",
            cold: Bool = "the user had little history when the experiment began",
            pre_active: Int32 = "active days in the two weeks before",
            pre_impressions: Int32 = "articles shown in these",
            pre_clicks: Int32 = "articles clicked in these",
        }
    }
}
