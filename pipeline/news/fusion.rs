//! Fusion: the lists that a user's queries fetched become one.

use std::collections::HashMap;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::Hit;

/// How lists are made one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fusion {
    /// An article's best similarity.
    #[default]
    Max,
    /// Reciprocal ranks: Σ over lists of 1 / (60 + rank) (Cormack, Clarke, Büttcher 2009).
    Rrf,
    /// The lists take turns.
    RoundRobin,
}

/// An article in a fused list.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fetched {
    /// The article's number in the pool.
    pub article: u32,
    /// Larger is better.
    pub score: f32,
    /// Which query fetched it: the one it ranks highest for (`max`: is most similar to); of several the first.
    pub query: usize,
}

const RRF_RANKS: f32 = 60.0;

/// Fuses lists (each best first) into one of at most `articles`, best first, each article once, those for which `skip` holds
/// left out. Of equally good articles the greater number comes first.
///
/// Of each list the first `articles` count that are not left out. So a longer list, which was fetched for somebody else too, fuses as one
/// that is just long enough.
pub fn fuse(lists: &[&[Hit]], fusion: Fusion, articles: usize, skip: impl Fn(u32) -> bool) -> Vec<Fetched> {
    let first = |list: &&[Hit]| list.iter().copied().filter(|hit| !skip(hit.article)).take(articles).collect();
    let lists: Vec<Vec<Hit>> = lists.iter().map(first).collect();
    let mut fused: Vec<Fetched> = match fusion {
        Fusion::RoundRobin => return take_turns(&lists, articles),
        Fusion::Max => best(&lists, |_, hit| hit.score, |sum, new| sum.max(new)),
        Fusion::Rrf => best(&lists, |rank, _| 1.0 / (RRF_RANKS + rank as f32), |sum, new| sum + new),
    };
    fused.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(b.article.cmp(&a.article)));
    fused.truncate(articles);
    fused
}

/// Each article's values over the lists, combined; its query is the one of its largest value.
fn best(lists: &[Vec<Hit>], value: impl Fn(usize, &Hit) -> f32, combine: impl Fn(f32, f32) -> f32) -> Vec<Fetched> {
    let mut by_article: HashMap<u32, (Fetched, f32)> = HashMap::new();
    for (query, list) in lists.iter().enumerate() {
        for (rank, hit) in (1..).zip(list) {
            let new = value(rank, hit);
            by_article
                .entry(hit.article)
                .and_modify(|(fetched, largest)| {
                    fetched.score = combine(fetched.score, new);
                    if new > *largest {
                        (*largest, fetched.query) = (new, query);
                    }
                })
                .or_insert((Fetched { article: hit.article, score: new, query }, new));
        }
    }
    by_article.into_values().map(|(fetched, _)| fetched).collect()
}

/// The score is 1 / rank.
fn take_turns(lists: &[Vec<Hit>], articles: usize) -> Vec<Fetched> {
    let mut taken = std::collections::HashSet::new();
    let mut turns: Vec<_> = lists.iter().map(|list| list.iter()).collect();
    let mut fused = Vec::new();
    loop {
        let before = fused.len();
        for (query, turn) in turns.iter_mut().enumerate() {
            if fused.len() == articles {
                return fused;
            }
            if let Some(hit) = turn.find(|hit| taken.insert(hit.article)) {
                fused.push(Fetched { article: hit.article, score: 1.0 / (fused.len() + 1) as f32, query });
            }
        }
        if fused.len() == before {
            return fused;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(list: &[(u32, f32)]) -> Vec<Hit> {
        list.iter().map(|&(article, score)| Hit { article, score }).collect()
    }

    fn articles(fused: &[Fetched]) -> Vec<(u32, usize)> {
        fused.iter().map(|f| (f.article, f.query)).collect()
    }

    #[test]
    fn each_way_of_fusing() {
        let (a, b) = (hits(&[(1, 0.9), (2, 0.8), (3, 0.7)]), hits(&[(3, 0.95), (1, 0.5), (4, 0.8)]));
        let lists: [&[Hit]; 2] = [&a, &b];
        assert_eq!(articles(&fuse(&lists, Fusion::Max, 9, |_| false)), [(3, 1), (1, 0), (4, 1), (2, 0)]);
        // 1: 1/61 + 1/62; 3: 1/63 + 1/61; 2: 1/62; 4: 1/63
        assert_eq!(articles(&fuse(&lists, Fusion::Rrf, 9, |_| false)), [(1, 0), (3, 1), (2, 0), (4, 1)]);
        assert_eq!(articles(&fuse(&lists, Fusion::RoundRobin, 3, |_| false)), [(1, 0), (3, 1), (2, 0)]);
        assert_eq!(articles(&fuse(&lists, Fusion::RoundRobin, 9, |article| article == 1)), [(2, 0), (3, 1), (4, 1)]);
        assert!(fuse(&[], Fusion::Max, 9, |_| false).is_empty());
    }

    #[test]
    fn what_is_fetched_for_others_decides_nothing() {
        let (a, b) = (hits(&[(1, 0.9), (2, 0.8), (3, 0.7), (4, 0.6)]), hits(&[(4, 0.9), (3, 0.8), (5, 0.7), (1, 0.6)]));
        for fusion in [Fusion::Max, Fusion::Rrf, Fusion::RoundRobin] {
            let fused = |a: &[Hit], b: &[Hit]| articles(&fuse(&[a, b], fusion, 2, |article| article == 2));
            assert_eq!(fused(&a, &b), fused(&a[..3], &b[..2]), "{fusion:?}");
        }
    }

    #[test]
    fn ties_go_to_the_greater_number() {
        let (a, b) = (hits(&[(3, 0.5), (1, 0.5)]), hits(&[(7, 0.5)]));
        assert_eq!(articles(&fuse(&[&a, &b], Fusion::Max, 2, |_| false)), [(7, 1), (3, 0)]);
    }
}
