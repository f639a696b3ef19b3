//! Users' lists of articles: what their queries fetch, or what a reference method gives.

use std::collections::{HashMap, HashSet};

use dataset::Result;
use dataset::bucket::stream;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::people::Person;
use crate::queries::QueryVectors;
use crate::{Bm25, Exact, Fetched, Fusion, Hit, Ivf, Pool, fuse};

/// What finds articles for queries.
#[derive(Debug)]
pub(crate) enum Searched {
    Dense(Dense),
    Bm25(Bm25),
    /// Both, whose lists are made one by reciprocal rank.
    Hybrid(Dense, Bm25),
}

/// The articles whose vectors are nearest.
#[derive(Debug)]
pub(crate) struct Dense {
    pub(crate) queries: QueryVectors,
    pub(crate) articles: Nearest,
}

/// What finds the vectors nearest to others.
#[derive(Debug)]
pub(crate) enum Nearest {
    /// Every article is looked at.
    Exact(Exact),
    /// Articles of so many cells are looked at.
    Ivf(Ivf, usize),
}

impl Nearest {
    /// The best `ks[i]` articles for each query, best first.
    pub(crate) fn search(&self, queries: &[f32], ks: &[usize]) -> Result<Vec<Vec<Hit>>> {
        match self {
            Nearest::Exact(exact) => exact.search(queries, ks),
            Nearest::Ivf(index, probes) => index.search(queries, ks, *probes),
        }
    }

    /// The vector of an article of the pool.
    pub(crate) fn vector(&self, article: u32) -> &[f32] {
        match self {
            Nearest::Exact(exact) => exact.vectors().get(article as usize),
            Nearest::Ivf(index, _) => index.vector(article),
        }
    }

    /// Bytes in memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        match self {
            Nearest::Exact(exact) => exact.memory_bytes(),
            Nearest::Ivf(index, _) => index.memory_bytes().0 as u64,
        }
    }
}

impl Dense {
    /// The best `ks[i]` articles for each text, best first.
    fn search(&self, texts: &[&str], ks: &[usize]) -> Result<Vec<Vec<Hit>>> {
        self.articles.search(&self.queries.get(texts)?, ks)
    }

    /// Bytes in memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.articles.memory_bytes()
    }
}

/// What lists are made by.
#[derive(Debug)]
pub(crate) enum Fetch {
    /// The articles that the user's queries find.
    Queries { searched: Box<Searched>, fusion: Fusion },
    /// The most clicked articles, the same for everybody: numbers in the pool, and clicks.
    Popularity(Vec<(u32, i64)>),
    /// Articles drawn at random, for each user anew.
    Random { seed: u64 },
}

/// Lists of at most so many articles of a pool.
#[derive(Debug)]
pub(crate) struct Lists {
    pub(crate) pool: Pool,
    pub(crate) fetch: Fetch,
    pub(crate) articles: usize,
}

impl Lists {
    /// Bytes in memory that are there before anybody asks.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let fetch = match &self.fetch {
            Fetch::Queries { searched, .. } => match &**searched {
                Searched::Dense(dense) => dense.memory_bytes(),
                Searched::Bm25(bm25) => bm25.memory_bytes(),
                Searched::Hybrid(dense, bm25) => dense.memory_bytes() + bm25.memory_bytes(),
            },
            Fetch::Popularity(ranking) => 16 * ranking.len() as u64,
            Fetch::Random { .. } => 0,
        };
        self.pool.memory_bytes() + fetch
    }

    /// The lists of some users, best first, without what they have seen.
    pub(crate) fn of(&self, people: &[Person]) -> Result<Vec<Vec<Fetched>>> {
        let seen: Vec<HashSet<u32>> = people.iter().map(|person| person.seen_of(&self.pool)).collect();
        Ok(match &self.fetch {
            Fetch::Queries { searched, fusion } => {
                let dense = |dense: &Dense| self.asked(people, &seen, *fusion, |texts, ks| dense.search(texts, ks));
                let bm25 = |bm25: &Bm25| self.asked(people, &seen, *fusion, |texts, ks| Ok(bm25.search(texts, ks)));
                match &**searched {
                    Searched::Dense(by_vectors) => dense(by_vectors)?,
                    Searched::Bm25(by_words) => bm25(by_words)?,
                    Searched::Hybrid(by_vectors, by_words) => {
                        let both = dense(by_vectors)?.into_iter().zip(bm25(by_words)?);
                        both.map(|(dense, bm25)| hybrid(&dense, &bm25, self.articles)).collect()
                    }
                }
            }
            Fetch::Popularity(ranking) => seen.iter().map(|seen| self.popular(ranking, seen)).collect(),
            Fetch::Random { seed } => {
                people.iter().zip(&seen).map(|(person, seen)| self.drawn(*seed, &person.user_id, seen)).collect()
            }
        })
    }

    /// Each user's list: what their queries fetch, fused. `search` gives the best `ks[i]` articles for each text.
    ///
    /// A query asks for as many articles as suffice when those that its user has seen are left out, in multiples of `articles`. That follows
    /// from the user alone, so who is beside them decides nothing, and most users of one query ask for as many.
    pub(crate) fn asked(
        &self,
        people: &[Person],
        seen: &[HashSet<u32>],
        fusion: Fusion,
        search: impl FnOnce(&[&str], &[usize]) -> Result<Vec<Vec<Hit>>>,
    ) -> Result<Vec<Vec<Fetched>>> {
        let (mut texts, mut ks): (Vec<&str>, Vec<usize>) = (Vec::new(), Vec::new());
        let mut at: HashMap<(&str, usize), usize> = HashMap::new();
        let k_of = |seen: &HashSet<u32>| enough(self.articles, seen.len(), self.pool.len());
        for (person, k) in people.iter().zip(seen.iter().map(k_of)) {
            for query in &person.queries {
                at.entry((query, k)).or_insert_with(|| {
                    texts.push(query);
                    ks.push(k);
                    texts.len() - 1
                });
            }
        }
        let hits = search(&texts, &ks)?;
        let lists = people.iter().zip(seen).map(|(person, seen)| {
            let k = k_of(seen);
            let lists: Vec<&[Hit]> =
                person.queries.iter().map(|query| hits[at[&(query.as_str(), k)]].as_slice()).collect();
            fuse(&lists, fusion, self.articles, |article| seen.contains(&article))
        });
        Ok(lists.collect())
    }

    fn popular(&self, ranking: &[(u32, i64)], seen: &HashSet<u32>) -> Vec<Fetched> {
        let unseen = ranking.iter().filter(|(article, _)| !seen.contains(article));
        unseen.take(self.articles).map(|&(article, clicks)| plain(article, clicks as f32)).collect()
    }

    /// Distinct unseen articles, drawn one after the other.
    fn drawn(&self, seed: u64, user_id: &str, seen: &HashSet<u32>) -> Vec<Fetched> {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(stream(seed, "random", user_id));
        let articles = self.articles.min(self.pool.len().saturating_sub(seen.len()));
        let (mut list, mut taken) = (Vec::with_capacity(articles), seen.clone());
        while list.len() < articles {
            let article = random.random_range(0..self.pool.len() as u32);
            if taken.insert(article) {
                list.push(plain(article, 1.0 / (list.len() + 1) as f32));
            }
        }
        list
    }
}

/// Articles that a query asks for, so that `articles` are left when `seen` ones are taken away: a multiple of `articles`, at most the pool.
pub(crate) fn enough(articles: usize, seen: usize, pool: usize) -> usize {
    let enough = articles.saturating_add(seen);
    enough.checked_next_multiple_of(articles).unwrap_or(enough).min(pool)
}

/// Two lists of a user made one by reciprocal rank (Cormack, Clarke, Büttcher 2009). An article's query is that of the list where it
/// stands higher, `dense` where it stands alike.
fn hybrid(dense: &[Fetched], bm25: &[Fetched], articles: usize) -> Vec<Fetched> {
    let lists = [dense, bm25];
    let hits = lists.map(|list| list.iter().map(|f| Hit { article: f.article, score: f.score }).collect::<Vec<_>>());
    let mut fused = fuse(&hits.each_ref().map(Vec::as_slice), Fusion::Rrf, articles, |_| false);
    let queries = lists.map(|list| list.iter().map(|f| (f.article, f.query)).collect::<HashMap<_, _>>());
    fused.iter_mut().for_each(|fetched| fetched.query = queries[fetched.query][&fetched.article]);
    fused
}

/// An article that no query fetched.
fn plain(article: u32, score: f32) -> Fetched {
    Fetched { article, score, query: usize::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(fetch: Fetch) -> Lists {
        Lists { pool: Pool::of(["a", "b", "c", "d"].map(str::to_owned).to_vec()), fetch, articles: 3 }
    }

    fn person(user_id: &str, seen: &[&str]) -> Person {
        let seen = seen.iter().map(|id| (*id).to_owned()).collect();
        Person { user_id: user_id.into(), seen, ..Person::default() }
    }

    #[test]
    fn hybrid_lists_are_ranked_by_both() {
        let list = |articles: &[(u32, usize)]| {
            let fetched = |&(article, query)| Fetched { article, score: 1.0, query };
            articles.iter().map(fetched).collect::<Vec<_>>()
        };
        let fused = hybrid(&list(&[(1, 0), (2, 1), (3, 0)]), &list(&[(3, 2), (1, 1), (4, 2)]), 3);
        // 1: 1/61 + 1/62; 3: 1/63 + 1/61; 2: 1/62.
        assert_eq!(fused.iter().map(|f| (f.article, f.query)).collect::<Vec<_>>(), [(1, 0), (3, 2), (2, 1)]);
        assert!((fused[1].score - (1.0 / 63.0 + 1.0 / 61.0)).abs() < 1e-7);
    }

    #[test]
    fn what_was_read_is_left_out() -> Result<()> {
        let people = [person("u", &["c", "gone"]), person("v", &[]), person("w", &["a", "b", "c", "d"])];
        let articles = |list: &Vec<Fetched>| list.iter().map(|f| f.article).collect::<Vec<_>>();
        let ranking = vec![(2, 9), (3, 5), (0, 5), (1, 0)];
        let found: Vec<_> = lists(Fetch::Popularity(ranking)).of(&people)?.iter().map(articles).collect();
        assert_eq!(found, [vec![3, 0, 1], vec![2, 3, 0], vec![]]);

        let drawn = lists(Fetch::Random { seed: 1 });
        let found: Vec<Vec<u32>> = drawn.of(&people)?.iter().map(articles).collect();
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 0]);
        assert!(!found[0].contains(&2));
        assert_eq!(drawn.of(&people[1..2])?.iter().map(articles).collect::<Vec<_>>(), found[1..2], "whoever is beside");
        let others = (2..40).map(|seed| lists(Fetch::Random { seed }).of(&people[1..2]));
        let others = others.collect::<Result<Vec<_>>>()?;
        assert!(others.iter().any(|other| articles(&other[0]) != found[1]), "another seed, other articles");
        Ok(())
    }
}
