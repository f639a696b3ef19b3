//! `profiles`: one row per user, what the policy may read about them.

use arrow::datatypes::{DataType, Field};

use crate::column::record;
use crate::{Column, Layout, SortColumn, Table, ascending, column, id, list, text, timestamp, uint32};

/// One row per user with any event.
#[derive(Debug)]
pub struct Profiles;

/// The fields of one behaviour inside `profiles.behaviours`.
pub fn behaviour_fields() -> Vec<Field> {
    vec![
        Field::new("domain", text(), false),
        Field::new("occurred_at", timestamp(), false),
        Field::new("text", text(), false),
        Field::new("news_id", DataType::Utf8, true),
    ]
}

impl Table for Profiles {
    const NAME: &'static str = "profiles";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "one row per user: their most recent behaviours, capped per domain";
    const LAYOUT: Layout = Layout::Users;
    const KEY: &'static [&'static str] = &["user_id"];
    const ORDER: &'static [SortColumn] = &[ascending("user_id")];

    fn columns() -> Vec<Column> {
        vec![
            column("user_id", id(), "keyed hash of the platform's own id"),
            column("split", text(), "train, valid or test: 80, 10, 10 per cent of users by hash"),
            column(
                "behaviours",
                list(record(behaviour_fields())),
                "most recent first (then by domain and event id); empty when cleaning left nothing",
            ),
            column("browse_events", uint32(), "page visits before cleaning"),
            column("browse_clean", uint32(), "page visits after cleaning"),
            column("browse_kept", uint32(), "page visits after the cap"),
            column("news_events", uint32(), "news clicks before cleaning"),
            column("news_clean", uint32(), "news clicks after cleaning"),
            column("news_kept", uint32(), "news clicks after the cap"),
            column("search_events", uint32(), "searches before cleaning"),
            column("search_clean", uint32(), "searches after cleaning"),
            column("search_kept", uint32(), "searches after the cap"),
            column("news_clicks", uint32(), "length of the clean news history; cold users have fewer than 5"),
        ]
    }
}
