//! `shown.<method>`: what impressions of the evaluation window showed users, as a method ranks it: all that it has a score for.
//!
//! An article's score is what it would be in a list of recommendations. So it says how well a method orders what a platform chose to show,
//! which is what MIND's own task asks.

use std::collections::HashMap;

use dataset::bucket::stream;
use dataset::{ByPartition, Error, Inputs, Result};
use schemas::Impressions;

use crate::lists::{Dense, Fetch, Lists, Nearest, Searched};
use crate::{ByVectors, Fetched, Fusion, Hit, Person, Pool, Vectors, dot, fuse};

/// The dataset of a method's.
pub fn shown_dataset(method: &str) -> String {
    format!("shown.{method}")
}

/// What users were shown, bucket by bucket.
#[derive(Debug)]
pub struct Shown(ByPartition<Impressions>);

impl Shown {
    /// Declares it.
    pub fn declare(declare: &mut Inputs<'_>) -> Result<Self> {
        let columns = [Impressions::user_id.name(), Impressions::news_id.name()];
        Ok(Shown(declare.by_partition::<Impressions>("impressions")?.columns(&columns)))
    }

    /// For each of some users of a bucket the articles' numbers in a pool, ascending.
    pub fn read(&self, partition: u32, people: &[Person], pool: &Pool) -> Result<Vec<Vec<u32>>> {
        let mut shown: HashMap<String, Vec<u32>> = HashMap::new();
        for batch in self.0.read(partition)?.batches() {
            let (users, news) = (Impressions::user_id.of(batch)?, Impressions::news_id.of(batch)?);
            for (user, news) in users.iter().flatten().zip(news.iter().flatten()) {
                if let Some(number) = pool.number(news) {
                    shown.entry(user.to_owned()).or_default().push(number);
                }
            }
        }
        let of = |person: &Person| {
            let mut articles = shown.remove(&person.user_id).unwrap_or_default();
            articles.sort_unstable();
            articles.dedup();
            articles
        };
        Ok(people.iter().map(of).collect())
    }
}

/// Some articles, best first: each by its cosines with the vectors of unit length, fused as lists that are fetched are.
fn ranked(vectors: &Vectors, asked: &[f32], articles: &[u32], fusion: Fusion) -> Vec<Fetched> {
    let ranked = |asked: &[f32]| {
        let hit = |&article: &u32| Hit { article, score: dot(asked, vectors.get(article as usize)) };
        let mut hits: Vec<Hit> = articles.iter().map(hit).collect();
        hits.sort_unstable_by(Hit::best_first);
        hits
    };
    let lists: Vec<Vec<Hit>> = asked.chunks_exact(vectors.dimensions()).map(ranked).collect();
    fuse(&lists.iter().map(Vec::as_slice).collect::<Vec<_>>(), fusion, articles.len(), |_| false)
}

impl ByVectors {
    /// What each person was shown, best first.
    pub fn ranked(&self, shown: &[Vec<u32>], asked: &[Vectors]) -> Vec<Vec<Fetched>> {
        let of = |(shown, asked): (&Vec<u32>, &Vectors)| ranked(self.vectors(), asked.values(), shown, self.fusion());
        shown.iter().zip(asked).map(of).collect()
    }
}

impl Lists {
    /// What each person was shown, best first.
    ///
    /// # Errors
    /// When queries are put to something that scores no article of our choice.
    pub(crate) fn ranked(&self, people: &[Person], shown: &[Vec<u32>]) -> Result<Vec<Vec<Fetched>>> {
        let plain = |article, score| Fetched { article, score, query: usize::MAX };
        let people = people.iter().zip(shown);
        match &self.fetch {
            Fetch::Queries { searched, fusion } => {
                let Searched::Dense(Dense { queries, articles: Nearest::Exact(exact) }) = &**searched else {
                    let hint = "what impressions showed is ranked by vectors: leave --impressions out here";
                    return Err(Error::setting("retrieve.retriever", "dense", "another", hint));
                };
                let ranked = |(person, shown): (&Person, &Vec<u32>)| {
                    let texts: Vec<&str> = person.queries.iter().map(String::as_str).collect();
                    Ok(ranked(exact.vectors(), &queries.get(&texts)?, shown, *fusion))
                };
                people.map(ranked).collect()
            }
            Fetch::Popularity(ranking) => {
                let ranked = |(_, shown): (&Person, &Vec<u32>)| {
                    let shown = ranking.iter().filter(|(article, _)| shown.binary_search(article).is_ok());
                    shown.map(|&(article, clicks)| plain(article, clicks as f32)).collect()
                };
                Ok(people.map(ranked).collect())
            }
            Fetch::Random { seed } => {
                let ranked = |(person, shown): (&Person, &Vec<u32>)| {
                    let score = |article: u32| {
                        let name = format!("{} {}", person.user_id, self.pool.ids()[article as usize]);
                        // 24 bits are what a 32-bit float has.
                        (stream(*seed, "shown", name) >> 40) as f32 / (1 << 24) as f32
                    };
                    let mut list: Vec<Fetched> = shown.iter().map(|&article| plain(article, score(article))).collect();
                    list.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(b.article.cmp(&a.article)));
                    list
                };
                Ok(people.map(ranked).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Pool {
        Pool::of(["a", "b", "c", "d"].map(str::to_owned).to_vec())
    }

    fn articles(lists: &[Vec<Fetched>]) -> Vec<Vec<u32>> {
        lists.iter().map(|list| list.iter().map(|fetched| fetched.article).collect()).collect()
    }

    #[test]
    fn what_was_shown_is_ranked_as_a_whole_pool_of_it_would_be() -> Result<()> {
        let vectors = Vectors::new(2, vec![1.0, 0.0, 0.8, 0.6, 0.0, 1.0, -1.0, 0.0]);
        for fusion in [Fusion::Max, Fusion::Rrf, Fusion::RoundRobin] {
            let lists = ByVectors::new(pool(), vectors.clone(), 4, fusion)?;
            let asked = [vec![0.6, 0.8], vec![1.0, 0.0, 0.0, 1.0], vec![]].map(|of| Vectors::new(2, of));
            let shown = vec![vec![0, 2, 3], vec![0, 1, 2, 3], vec![1]];
            let found = lists.ranked(&shown, &asked);
            assert_eq!(articles(&found[..1]), [[2, 0, 3]]);
            // All shown: the list that would be fetched.
            let people = vec![Person::default(); 3];
            assert_eq!(found[1], lists.of(&people, &asked)?[1]);
            assert!(found[2].is_empty(), "who asks nothing scores nothing");
        }
        Ok(())
    }

    #[test]
    fn references_score_what_was_shown_to_each_user() -> Result<()> {
        let people = ["u", "v"].map(|id| Person { user_id: id.into(), ..Person::default() });
        let shown = vec![vec![0, 1, 3], vec![0, 1, 3]];
        let of = |fetch| Lists { pool: pool(), fetch, articles: 2 }.ranked(&people, &shown);
        let popular = of(Fetch::Popularity(vec![(2, 9), (3, 5), (0, 5), (1, 0)]))?;
        assert_eq!(articles(&popular), [[3, 0, 1], [3, 0, 1]]);
        let draws: Vec<_> = (0..20).map(|seed| of(Fetch::Random { seed })).collect::<Result<_>>()?;
        assert!(
            draws.iter().any(|draw| articles(&draw[..1]) != articles(&draw[1..])),
            "each user has a draw of their own"
        );
        assert!(
            draws.iter().flatten().all(|list| list.len() == 3 && list.iter().all(|f| (0.0..1.0).contains(&f.score)))
        );
        Ok(())
    }
}
