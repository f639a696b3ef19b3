//! What a user read, as baselines see it: the news clicks of their profile, as every other method has them.

use arrow::array::Array;
use schemas::{Behaviours, Lists};

/// A user's clicks on articles, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clicks {
    /// The articles' numbers.
    pub articles: Vec<u32>,
    /// When, in microseconds.
    pub at_us: Vec<i64>,
    /// Their places among all behaviours.
    pub(crate) places: Vec<usize>,
}

impl Clicks {
    /// The clicks among a row's behaviours, which lie most recent first. Those on articles that have no number are left out.
    pub(crate) fn read(behaviours: &Lists<Behaviours>, row: usize, number: impl Fn(&str) -> Option<u32>) -> Self {
        let Behaviours { occurred_at, news_id, .. } = behaviours.items();
        let mut clicks = Clicks::default();
        for place in behaviours.range(row).rev().filter(|&place| news_id.is_valid(place)) {
            if let Some(article) = number(news_id.value(place)) {
                clicks.articles.push(article);
                clicks.at_us.push(occurred_at.value(place));
                clicks.places.push(place);
            }
        }
        clicks
    }

    /// Number of clicks.
    pub fn len(&self) -> usize {
        self.articles.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.articles.is_empty()
    }
}
