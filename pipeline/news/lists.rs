//! Users' lists of articles: what their queries fetch, or what a reference method gives.

use std::collections::{HashMap, HashSet};

use dataset::Result;
use dataset::bucket::stream;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::people::Person;
use crate::queries::QueryVectors;
use crate::{Exact, Fetched, Fusion, Hit, Ivf, Pool, fuse};

/// What finds the articles nearest to queries.
#[derive(Debug)]
pub(crate) enum Retriever {
    /// Every article is looked at.
    Exact(Exact),
    /// Articles of so many cells are looked at.
    Ivf(Ivf, usize),
}

impl Retriever {
    /// The best `ks[i]` articles for each query, best first.
    fn search(&self, queries: &[f32], ks: &[usize]) -> Result<Vec<Vec<Hit>>> {
        match self {
            Retriever::Exact(exact) => exact.search(queries, ks),
            Retriever::Ivf(index, probes) => index.search(queries, ks, *probes),
        }
    }
}

/// What lists are made by.
#[derive(Debug)]
pub(crate) enum Fetch {
    /// The articles nearest to the user's queries.
    Queries { vectors: Box<QueryVectors>, retriever: Box<Retriever>, fusion: Fusion },
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
            Fetch::Queries { retriever, .. } => match &**retriever {
                Retriever::Exact(exact) => exact.memory_bytes(),
                Retriever::Ivf(index, _) => index.memory_bytes().0 as u64,
            },
            Fetch::Popularity(ranking) => 16 * ranking.len() as u64,
            Fetch::Random { .. } => 0,
        };
        self.pool.memory_bytes() + fetch
    }

    /// The lists of some users, best first, without what they have seen.
    pub(crate) fn of(&self, people: &[Person]) -> Result<Vec<Vec<Fetched>>> {
        let seen: Vec<HashSet<u32>> =
            people.iter().map(|p| p.seen.iter().filter_map(|id| self.pool.number(id)).collect()).collect();
        Ok(match &self.fetch {
            Fetch::Queries { vectors, retriever, fusion } => {
                let search = |texts: &[&str], ks: &[usize]| retriever.search(&vectors.get(texts)?, ks);
                self.asked(people, &seen, *fusion, search)?
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
        let k_of = |seen: &HashSet<u32>| {
            let enough = self.articles.saturating_add(seen.len());
            enough.checked_next_multiple_of(self.articles).unwrap_or(enough).min(self.pool.len())
        };
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
