//! A user as rewards see them: distinct behaviours, their vectors, their themes, and the articles that they have read.

use std::collections::{HashMap, HashSet};

use arrow::array::Array;
use news::{Theme, Vectors};
use policy::normal;
use schemas::{Behaviours, Lists};

/// A behaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behaviour<'a> {
    /// search, browse or news.
    pub domain: &'a str,
    /// The query or title.
    pub text: &'a str,
    /// When, in microseconds since 1970.
    pub occurred_at_us: i64,
    /// The article of a news click.
    pub news_id: Option<&'a str>,
}

/// A user and their behaviours, most recent first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User<'a> {
    /// Our id.
    pub user_id: &'a str,
    /// Most recent first.
    pub behaviours: Vec<Behaviour<'a>>,
}

/// The behaviours of a row of `profiles`.
pub fn behaviours(of: &Lists<Behaviours>, row: usize) -> Vec<Behaviour<'_>> {
    let Behaviours { domain, occurred_at, text, news_id } = of.items();
    let one = |at: usize| Behaviour {
        domain: domain.value(at),
        text: text.value(at),
        occurred_at_us: occurred_at.value(at),
        news_id: news_id.is_valid(at).then(|| news_id.value(at)),
    };
    of.range(row).map(one).collect()
}

/// What a user is interested in.
#[derive(Debug, Clone)]
pub struct UserInterests {
    /// Our id.
    pub user_id: String,
    /// Distinct behaviours' texts, the most recent first.
    pub texts: Vec<String>,
    /// Their domains: of a text of several, the most recent one's.
    pub domains: Vec<String>,
    /// Their vectors.
    pub vectors: Vectors,
    /// What they are about, heaviest first.
    pub themes: Vec<Theme>,
    /// Numbers, in the pool, of the articles that the user has read.
    pub own: HashSet<u32>,
}

impl UserInterests {
    /// Leaves themes only those of their members that have one of these texts.
    pub fn only<'a>(&mut self, texts: impl IntoIterator<Item = &'a str>) {
        let kept: HashSet<String> = texts.into_iter().map(normal).collect();
        for theme in &mut self.themes {
            theme.members.retain(|&member| kept.contains(&normal(&self.texts[member])));
        }
        self.themes.retain(|theme| !theme.members.is_empty());
    }
}

/// A text of a user's behaviours.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Distinct<'a> {
    pub(crate) domain: &'a str,
    /// Trimmed.
    pub(crate) text: &'a str,
    /// The summed weights of its behaviours.
    pub(crate) weight: f32,
}

/// The distinct texts among behaviours: those that differ in case and spacing only are one, and blank ones none.
pub(crate) fn distinct<'a>(behaviours: &[Behaviour<'a>], weights: &[f32]) -> Vec<Distinct<'a>> {
    let mut at: HashMap<String, usize> = HashMap::new();
    let mut texts: Vec<Distinct<'a>> = Vec::new();
    for (behaviour, weight) in behaviours.iter().zip(weights) {
        let normal = normal(behaviour.text);
        if normal.is_empty() {
            continue;
        }
        let at = *at.entry(normal).or_insert_with(|| {
            texts.push(Distinct { domain: behaviour.domain, text: behaviour.text.trim(), weight: 0.0 });
            texts.len() - 1
        });
        texts[at].weight += weight;
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_count_once_with_all_their_weight() {
        let behaviour = |text, domain| Behaviour { domain, text, occurred_at_us: 0, news_id: None };
        let all = [
            behaviour(" Rate cuts", "news"),
            behaviour("  ", "search"),
            behaviour("rate  CUTS ", "search"),
            behaviour("trains", "browse"),
        ];
        let expected = [
            Distinct { domain: "news", text: "Rate cuts", weight: 1.25 },
            Distinct { domain: "browse", text: "trains", weight: 0.5 },
        ];
        assert_eq!(distinct(&all, &[1.0, 1.0, 0.25, 0.5]), expected);
    }
}
