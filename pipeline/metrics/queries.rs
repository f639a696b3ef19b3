//! The SQL jobs: a line each.

use serde::{Deserialize, Serialize};

use crate::sql::sql;

sql!(Statistics, "statistics.sql", "statistics", profiles: Profiles, news: News, truth: Truth);
sql!(Popularity, "popularity.sql", "articles", clean_events: CleanEvents);
sql!(Borderline(Nearest), "borderline.sql", "texts",
    text_scores: TextScores, kept: CleanEvents = "clean_events", dropped: CleanEvents = "clean_events.dropped");

/// Which texts `borderline` has.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Nearest {
    /// The cleaner's threshold.
    pub threshold: f32,
    /// Texts, at most.
    pub texts: u32,
}
