//! What a user read, as baselines see it: the news clicks of their profile, as every other method has them; for who reads across domains what they
//! searched and visited, too.

use arrow::array::Array;
use schemas::{Behaviours, Lists};

use crate::{Texts, Vocabulary};

/// What a user searched, or which pages they visited, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    /// Queries, or pages' titles. Those without any known word are left out.
    pub texts: Texts,
    /// When, in microseconds.
    pub at_us: Vec<i64>,
}

impl Records {
    /// How many are from before that time.
    pub(crate) fn before(&self, at_us: i64) -> usize {
        self.at_us.partition_point(|at| *at < at_us)
    }

    pub(crate) fn push(&mut self, words: &[u32], at_us: i64) {
        if !words.is_empty() {
            self.texts.push(words);
            self.at_us.push(at_us);
        }
    }
}

/// A user's clicks on articles, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clicks {
    /// The articles' numbers.
    pub articles: Vec<u32>,
    /// When, in microseconds.
    pub at_us: Vec<i64>,
    /// Their places among all behaviours.
    pub(crate) places: Vec<usize>,
    /// What they searched, where that is read.
    pub searches: Records,
    /// Which pages they visited, where that is read.
    pub visits: Records,
}

impl Clicks {
    /// Clicks on these articles at these times, oldest first.
    pub fn new(articles: Vec<u32>, at_us: Vec<i64>) -> Self {
        Clicks { articles, at_us, ..Clicks::default() }
    }

    /// The clicks among a row's behaviours, which lie most recent first. Those on articles that have no number are left out. With a
    /// vocabulary searches and visits, too.
    pub(crate) fn read(
        behaviours: &Lists<Behaviours>,
        row: usize,
        number: impl Fn(&str) -> Option<u32>,
        vocabulary: Option<&Vocabulary>,
    ) -> Self {
        let Behaviours { occurred_at, news_id, domain, text } = behaviours.items();
        let mut clicks = Clicks::default();
        for place in behaviours.range(row).rev() {
            if news_id.is_null(place) {
                let Some(vocabulary) = vocabulary else { continue };
                let records = match domain.value(place) {
                    "search" => &mut clicks.searches,
                    "browse" => &mut clicks.visits,
                    _ => continue,
                };
                records.push(&vocabulary.words(text.value(place)), occurred_at.value(place));
            } else if let Some(article) = number(news_id.value(place)) {
                clicks.articles.push(article);
                clicks.at_us.push(occurred_at.value(place));
                clicks.places.push(place);
            }
        }
        clicks
    }

    /// All but the last clicks, and what was searched and visited before the first of those.
    pub fn without_last(&self, left_out: usize) -> Self {
        let end = self.len().saturating_sub(left_out);
        let until = self.at_us.get(end).copied().unwrap_or(i64::MAX);
        let earlier = |records: &Records| {
            let mut earlier = Records::default();
            (0..records.before(until)).for_each(|at| earlier.push(records.texts.get(at), records.at_us[at]));
            earlier
        };
        Clicks {
            articles: self.articles[..end].to_vec(),
            at_us: self.at_us[..end].to_vec(),
            places: Vec::new(),
            searches: earlier(&self.searches),
            visits: earlier(&self.visits),
        }
    }

    /// Whether nothing at all is known of the user.
    pub(crate) fn is_nothing(&self) -> bool {
        self.is_empty() && self.searches.texts.is_empty() && self.visits.texts.is_empty()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_before_the_last_clicks_is_kept() {
        let mut clicks = Clicks::new(vec![5, 6, 7, 8], vec![-1, 1_000_000, 2_999_999, 3_000_000]);
        for at_us in [0, 2_999_999, 3_000_000] {
            clicks.searches.push(&[1], at_us);
        }
        clicks.searches.push(&[], 0);
        assert_eq!(clicks.without_last(1).articles, [5, 6, 7]);
        assert_eq!(clicks.without_last(1).searches.at_us, [0, 2_999_999]);
        assert_eq!(clicks.without_last(2).searches.at_us, [0]);
    }
}
