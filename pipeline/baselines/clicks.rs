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
    /// Clicks on these articles at these times, oldest first.
    pub fn new(articles: Vec<u32>, at_us: Vec<i64>) -> Self {
        Clicks { articles, at_us, places: Vec::new() }
    }

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

    /// At most so many of the latest clicks, without the last `left_out`: articles, and times in seconds.
    pub(crate) fn latest(&self, length: usize, left_out: usize) -> (&[u32], Vec<i64>) {
        let end = self.len().saturating_sub(left_out);
        let range = end.saturating_sub(length)..end;
        (&self.articles[range.clone()], self.at_us[range].iter().map(|us| us.div_euclid(1_000_000)).collect())
    }

    /// What is to be told after each of the clicks of `latest(length, 1)`: the next one.
    pub(crate) fn targets(&self, length: usize) -> &[u32] {
        &self.articles[self.len().saturating_sub(length.saturating_add(1)) + 1..]
    }

    /// All but the last clicks.
    pub fn without_last(&self, left_out: usize) -> Self {
        let end = self.len().saturating_sub(left_out);
        Clicks { articles: self.articles[..end].to_vec(), at_us: self.at_us[..end].to_vec(), places: Vec::new() }
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
    fn each_click_is_told_from_those_before_it() {
        let clicks =
            Clicks { articles: vec![5, 6, 7, 8], at_us: vec![-1, 1_000_000, 2_999_999, 3_000_000], places: Vec::new() };
        assert_eq!(clicks.latest(2, 1), (&[6, 7][..], vec![1, 2]));
        assert_eq!(clicks.targets(2), [7, 8]);
        assert_eq!(clicks.latest(9, 1), (&[5, 6, 7][..], vec![-1, 1, 2]));
        assert_eq!(clicks.targets(9), [6, 7, 8]);
        assert_eq!(clicks.latest(2, 0).0, [7, 8]);
        assert_eq!(clicks.without_last(1).articles, [5, 6, 7]);
        assert_eq!(Clicks::default().latest(2, 1).0, [0_u32; 0]);
    }
}
