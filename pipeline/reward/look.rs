//! What is looked at to score a list: one thing, from which both its score and its explanation come.

use news::{Hit, Searcher, dot};
use policy::List;

use crate::{Align, Component, Components, Coverage, RewardSettings, Score, UserInterests, Verdict, Wording};

/// An article that a query fetches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Article {
    /// Its number in the pool.
    pub number: u32,
    /// Its cosine with the query.
    pub query: f32,
    /// Its greatest cosine with one of the user's themes; 0 for a user without themes.
    pub theme: f32,
}

/// What is seen of a query.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// The query.
    pub query: String,
    /// The articles that it fetches, best first, without the user's own: at most `align_articles`.
    pub articles: Vec<Article>,
    /// Its cosines with the centres of the user's themes.
    pub themes: Vec<f32>,
    /// The behaviour that it is nearest to, and their cosine; none for a user without behaviours.
    pub nearest: Option<(usize, f32)>,
    /// What its words say.
    pub wording: Wording,
}

/// What is seen of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Looked {
    /// The queries, in the order of their texts, so that a sum of theirs is the same for any order in the list.
    pub queries: Vec<Look>,
    /// Cosine distances of the pairs of queries.
    pub distances: Vec<f32>,
    /// Whether the output keeps the form of a list.
    pub valid: bool,
    /// What the judge says, where there is one.
    pub verdict: Option<Verdict>,
}

impl Look {
    /// Looks at a query whose vector is known, and the best of the searcher's articles for it.
    pub(crate) fn new(
        query: &str,
        vector: &[f32],
        hits: &[Hit],
        wording: Wording,
        user: &UserInterests,
        searcher: &Searcher,
        settings: &RewardSettings,
    ) -> Self {
        let theme = |article| {
            let vector = searcher.article(article);
            user.themes.iter().map(|theme| dot(&theme.centre, vector)).reduce(f32::max).unwrap_or(0.0)
        };
        let near = (0..user.vectors.len()).map(|at| (at, dot(user.vectors.get(at), vector)));
        Look {
            query: query.to_owned(),
            articles: hits
                .iter()
                .filter(|hit| !user.own.contains(&hit.article))
                .take(settings.align_articles)
                .map(|hit| Article { number: hit.article, query: hit.score, theme: theme(hit.article) })
                .collect(),
            themes: user.themes.iter().map(|theme| dot(&theme.centre, vector)).collect(),
            nearest: near.reduce(|best, other| if other.1 > best.1 { other } else { best }),
            wording,
        }
    }

    /// How good its articles are, in the mean, each floored at 0; 0 where there are none.
    pub fn align(&self, align: Align) -> f32 {
        mean(self.articles.iter().map(|article| align.of(article).clamp(0.0, 1.0)))
    }
}

impl Align {
    /// How good an article is: a cosine.
    pub fn of(self, article: &Article) -> f32 {
        match self {
            Align::Query => article.query,
            Align::Interests => article.query.min(article.theme),
        }
    }
}

impl Looked {
    /// Looks at a list. `looks` and their vectors are in the order of the queries' texts.
    pub(crate) fn new(list: &List, queries: Vec<Look>, vectors: &[&[f32]]) -> Self {
        let pairs = (0..vectors.len()).flat_map(|b| (0..b).map(move |a| (a, b)));
        let distances = pairs.map(|(a, b)| 1.0 - dot(vectors[a], vectors[b])).collect();
        Looked { queries, distances, valid: list.valid, verdict: None }
    }

    /// The greatest cosine of some query with each of the user's themes; -1 without queries.
    pub fn best_by_theme(&self, themes: usize) -> Vec<f32> {
        (0..themes).map(|theme| self.queries.iter().fold(-1.0, |best, look| look.themes[theme].max(best))).collect()
    }

    /// What it scores. A list without queries has nothing but its structure; a user without themes has none to be covered.
    pub(crate) fn score(&self, user: &UserInterests, settings: &RewardSettings) -> Score {
        let covered = |cosine: f32| match settings.coverage {
            Coverage::Threshold => f32::from(u8::from(cosine >= settings.covered_at)),
            Coverage::Soft => cosine.clamp(0.0, 1.0),
        };
        let best = self.best_by_theme(user.themes.len());
        let coverage: f32 = user.themes.iter().zip(best).map(|(theme, best)| theme.weight * covered(best)).sum();
        let copied = |look: &Look| look.nearest.is_some_and(|(_, cosine)| cosine >= settings.copied_at);
        let share = |is: &dyn Fn(&Look) -> bool| mean(self.queries.iter().map(|look| f32::from(u8::from(is(look)))));
        let components = Component::ALL.map(|component| match component {
            Component::Structure => f32::from(u8::from(self.valid)),
            _ if self.queries.is_empty() => 0.0,
            Component::Align => mean(self.queries.iter().map(|look| look.align(settings.align))),
            Component::Coverage => coverage.clamp(0.0, 1.0),
            Component::Specificity => share(&|look| look.wording.specific),
            Component::Diversity => mean(self.distances.iter().copied()).clamp(0.0, 1.0),
        });
        let components = Components(components.map(Some));
        let components = match &self.verdict {
            None => components,
            Some(verdict) => settings
                .judged()
                .into_iter()
                .fold(components, |components, judged| components.with(judged.component(), verdict.share(judged))),
        };
        Score { components, copied: share(&copied) }
    }
}

/// The mean; 0 of none.
fn mean(values: impl Iterator<Item = f32>) -> f32 {
    let (mut sum, mut n) = (0.0_f64, 0_u32);
    for value in values {
        sum += f64::from(value);
        n += 1;
    }
    (sum / f64::from(n.max(1))) as f32
}
