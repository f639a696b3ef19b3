//! `retrieve`: a list of articles for every user, by what their queries fetch or by a reference method.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, StringArray, UInt32Array};
use dataset::bucket::{unhex, user_hash};
use dataset::{Account, Done, Error, Result, Rows, Stage, from_columns};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use schemas::Recommendations;
use serde::Serialize;

use crate::people::Person;
use crate::{Exact, Fetched, Fusion, Hit, Ivf, Pool, QueryVectors, fuse};

/// Users whose queries are searched together.
const TOGETHER: usize = 256;

/// What finds the articles nearest to queries.
#[derive(Debug)]
pub enum Retriever {
    /// Every article is looked at.
    Exact(Exact),
    /// Articles of some cells are looked at.
    Ivf {
        /// The inverted file.
        index: Ivf,
        /// So many cells.
        probes: usize,
    },
}

impl Retriever {
    /// The best `ks[i]` articles for each query, best first.
    pub fn search(&self, queries: &[f32], ks: &[usize]) -> Result<Vec<Vec<Hit>>> {
        match self {
            Retriever::Exact(exact) => exact.search(queries, ks),
            Retriever::Ivf { index, probes } => index.search(queries, ks, *probes),
        }
    }
}

/// What a list is made by.
#[derive(Debug)]
pub enum Fetch<'a> {
    /// The articles nearest to the user's queries.
    Queries {
        /// Vectors of query texts.
        vectors: QueryVectors<'a>,
        /// The index.
        retriever: Box<Retriever>,
    },
    /// The most clicked articles, the same for everybody: numbers in the pool, and clicks.
    Popularity(Vec<(u32, u64)>),
    /// Articles drawn at random, for each user anew.
    Random {
        /// Decides what is drawn.
        seed: u64,
    },
}

/// Recommends.
#[derive(Debug, Serialize)]
pub struct Retrieve<'a> {
    /// The method's name.
    pub method: String,
    /// How the lists of a user's queries become one.
    pub fusion: Fusion,
    /// Articles for each user.
    pub articles: usize,
    /// Articles that were read before may be recommended again.
    pub keep_seen: bool,
    /// Settings that decide the result and are not named above: candidates, number of own titles, seed, search.
    pub settings: serde_json::Value,
    /// The candidates.
    #[serde(skip)]
    pub pool: &'a Pool,
    /// What the lists are made by.
    #[serde(skip)]
    pub fetch: &'a Fetch<'a>,
}

impl Stage for Retrieve<'_> {
    const NAME: &'static str = "retrieve";
    const VERSION: u32 = 2;
    const UNIT: &'static str = "users";
    type Inputs = Vec<Person>;
    type Outputs = Rows<Recommendations>;

    fn run(&self, _: u32, mut people: Vec<Person>) -> Result<Done<Self::Outputs>> {
        people.sort_unstable_by(|a, b| a.user_id.cmp(&b.user_id));
        let mut account = Account { input: people.len() as u64, ..Account::default() };
        let mut columns = Columns::default();
        for people in people.chunks(TOGETHER) {
            let lists = self.lists(people)?;
            for (person, list) in people.iter().zip(lists) {
                match list.is_empty() {
                    true => account.drop(if person.queries.is_empty() { "no queries" } else { "nothing left" }, 1),
                    false => account.output += 1,
                }
                account.note("recommendations", list.len() as u64);
                columns.push(self, person, &list);
            }
        }
        Ok(Done { outputs: Rows::new(vec![columns.finish(&self.method)?]), accounts: vec![account] })
    }

    /// The users' rows as sets, and their lists.
    fn memory_bytes(&self, input_bytes: u64) -> u64 {
        6 * input_bytes
    }
}

impl Retrieve<'_> {
    fn lists(&self, people: &[Person]) -> Result<Vec<Vec<Fetched>>> {
        let seen: Vec<HashSet<u32>> =
            people.iter().map(|p| p.seen.iter().filter_map(|id| self.pool.number(id)).collect()).collect();
        match self.fetch {
            Fetch::Queries { vectors, retriever } => self.fetched(people, &seen, vectors, retriever),
            Fetch::Popularity(ranking) => Ok(seen
                .iter()
                .map(|seen| {
                    let unseen = ranking.iter().filter(|(article, _)| !seen.contains(article));
                    unseen.take(self.articles).map(|&(article, clicks)| plain(article, clicks as f32)).collect()
                })
                .collect()),
            Fetch::Random { seed } => {
                people.iter().zip(&seen).map(|(person, seen)| self.drawn(*seed, person, seen)).collect()
            }
        }
    }

    /// Searches for the distinct queries of some users, each with as many articles as the user with the most seen ones needs.
    fn fetched(
        &self,
        people: &[Person],
        seen: &[HashSet<u32>],
        vectors: &QueryVectors<'_>,
        retriever: &Retriever,
    ) -> Result<Vec<Vec<Fetched>>> {
        let (mut texts, mut ks): (Vec<&str>, Vec<usize>) = (Vec::new(), Vec::new());
        let mut at: HashMap<&str, usize> = HashMap::new();
        for (person, seen) in people.iter().zip(seen) {
            for query in &person.queries {
                let at = *at.entry(query).or_insert_with(|| {
                    texts.push(query);
                    ks.push(0);
                    texts.len() - 1
                });
                ks[at] = ks[at].max((self.articles + seen.len()).min(self.pool.len()));
            }
        }
        let hits = retriever.search(&vectors.get(&texts)?, &ks)?;
        let lists = people.iter().zip(seen).map(|(person, seen)| {
            let lists: Vec<&[Hit]> = person.queries.iter().map(|query| hits[at[query.as_str()]].as_slice()).collect();
            fuse(&lists, self.fusion, self.articles, |article| seen.contains(&article))
        });
        Ok(lists.collect())
    }

    /// Distinct unseen articles, drawn one after the other.
    fn drawn(&self, seed: u64, person: &Person, seen: &HashSet<u32>) -> Result<Vec<Fetched>> {
        let user = unhex(&person.user_id)
            .ok_or_else(|| Error::unreadable("profiles", "a user id that is none", "run ingest again"))?;
        let mut random = Xoshiro256PlusPlus::seed_from_u64(user_hash(&user, "random") ^ seed);
        let articles = self.articles.min(self.pool.len().saturating_sub(seen.len()));
        let (mut list, mut taken) = (Vec::with_capacity(articles), seen.clone());
        while list.len() < articles {
            let article = random.random_range(0..self.pool.len() as u32);
            if taken.insert(article) {
                list.push(plain(article, 1.0 / (list.len() + 1) as f32));
            }
        }
        Ok(list)
    }
}

/// An article that no query fetched.
fn plain(article: u32, score: f32) -> Fetched {
    Fetched { article, score, query: usize::MAX }
}

#[derive(Default)]
struct Columns {
    user_id: Vec<String>,
    rank: Vec<u32>,
    news_id: Vec<String>,
    score: Vec<f32>,
    query: Vec<Option<String>>,
}

impl Columns {
    fn push(&mut self, stage: &Retrieve<'_>, person: &Person, list: &[Fetched]) {
        for (rank, fetched) in (1..).zip(list) {
            self.user_id.push(person.user_id.clone());
            self.rank.push(rank);
            self.news_id.push(stage.pool.ids()[fetched.article as usize].clone());
            self.score.push(fetched.score);
            self.query.push(person.queries.get(fetched.query).cloned());
        }
    }

    fn finish(self, method: &str) -> Result<arrow::array::RecordBatch> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![method; self.rank.len()])),
            Arc::new(StringArray::from(self.user_id)),
            Arc::new(UInt32Array::from(self.rank)),
            Arc::new(StringArray::from(self.news_id)),
            Arc::new(Float32Array::from(self.score)),
            Arc::new(StringArray::from(self.query)),
        ];
        from_columns::<Recommendations>(columns)
    }
}
