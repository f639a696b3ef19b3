//! `retrieve`: a list of articles for every user, by what their queries fetch or by a reference method.

use std::path::PathBuf;

use arrow::array::StringArray;
use clap::Args;
use dataset::{Account, Done, Error, Identity, Inputs, Resources, Result, Rows, Stage, Whole};
use schemas::{NewsVectors, Popularity, Recommendations, RecommendationsColumns};
use serde::{Deserialize, Serialize};

use crate::encoder::{Declared, check_encoder};
use crate::index::{missing, open_index};
use crate::lists::{Fetch, Lists, Retriever};
use crate::people::{People, Person, Queries};
use crate::pool::Corpus;
use crate::queries::QueryVectors;
use crate::{
    Candidates, EncoderSettings, Exact, Fetched, Fusion, Pool, PoolSettings, SearchSettings, Vectors, popularity,
    vectors,
};

/// Users whose queries are searched together.
const TOGETHER: usize = 256;

/// Methods of our own: nothing else is called so.
pub const METHODS: [&str; 4] = [INTERESTS, OWN_TITLES, POPULARITY, RANDOM];
const INTERESTS: &str = "interests";
const OWN_TITLES: &str = "own-titles";
const POPULARITY: &str = "popularity";
const RANDOM: &str = "random";

/// Recommends articles by one method. [`Retrieve::by`] chooses it.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct Retrieve {
    /// What recommends.
    #[arg(skip)]
    pub method: String,
    /// The dataset whose queries are asked, for a method that asks such.
    #[arg(skip)]
    pub interests: Option<String>,
    /// Which articles may be recommended
    #[command(flatten)]
    #[serde(flatten)]
    pub pool: PoolSettings,
    /// How an index is searched
    #[command(flatten)]
    #[serde(flatten)]
    pub search: SearchSettings,
    /// The encoder of queries
    #[command(flatten)]
    #[serde(flatten)]
    pub encoder: EncoderSettings,
    /// Articles for each user
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub articles: usize,
    /// How the lists of a user's queries become one
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Fusion::Max)]
    pub fusion: Fusion,
    /// Recommend articles that were read before, too
    #[arg(long)]
    pub keep_seen: bool,
    /// Search every article, however many there are
    #[arg(long)]
    pub exact: bool,
    /// Titles that own-titles asks with
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub titles: usize,
    /// Seed of random
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: u64,
}

impl Default for Retrieve {
    fn default() -> Self {
        dataset::defaults()
    }
}

impl Retrieve {
    /// The same for one method. What the method does not read is left at its default, so that it decides nothing.
    ///
    /// `own-titles` asks with each user's most recent news titles, `popularity` gives the most clicked articles, `random` any. Others
    /// ask the queries of a dataset: `interests` those of `interests`, another name those of `interests.NAME`.
    pub fn by(&self, method: &str) -> Self {
        let mut own = Retrieve { method: method.to_owned(), interests: None, ..self.clone() };
        let default = Retrieve::default();
        if !matches!(method, OWN_TITLES | POPULARITY | RANDOM) {
            let named = || format!("{INTERESTS}.{method}");
            own.interests = Some(if method == INTERESTS { INTERESTS.into() } else { named() });
        }
        if own.pool.candidates != Candidates::Live {
            own.pool.candidate_days = default.pool.candidate_days;
        }
        if method != OWN_TITLES {
            own.titles = default.titles;
        }
        if method != RANDOM {
            own.seed = default.seed;
        }
        if !own.asks() {
            own.pool.exact_up_to = default.pool.exact_up_to;
            (own.search, own.encoder, own.fusion, own.exact) =
                (default.search, default.encoder, default.fusion, default.exact);
        }
        own
    }

    /// Whether the method asks with queries, which an encoder reads.
    fn asks(&self) -> bool {
        self.interests.is_some() || self.method == OWN_TITLES
    }

    /// Whether `popularity` must be up to date first.
    pub fn reads_popularity(&self) -> bool {
        self.method == POPULARITY || self.pool.reads_popularity()
    }

    /// The dataset that it writes.
    pub fn output(&self) -> String {
        format!("recommendations.{}", self.method)
    }

    /// Checks that the settings make sense.
    pub fn check(&self) -> Result<()> {
        let known = self.interests.is_some() || [OWN_TITLES, POPULARITY, RANDOM].contains(&self.method.as_str());
        for (setting, ok, expected, got) in [
            ("retrieve.methods", known, "the name of a method", format!("{:?}", self.method)),
            (
                "retrieve.articles",
                (1..=i32::MAX as usize).contains(&self.articles),
                "1 to 2147483647",
                self.articles.to_string(),
            ),
            ("retrieve.titles", self.titles >= 1, "at least 1", self.titles.to_string()),
        ] {
            if !ok {
                return Err(Error::setting(setting, expected, got, "see `querent retrieve --help`"));
            }
        }
        Ok(())
    }
}

/// What retrieve reads.
#[derive(Debug)]
pub struct Sources {
    people: People,
    corpus: Corpus,
    by: By,
}

/// What a method needs beside users and articles.
#[derive(Debug)]
enum By {
    Queries(Box<Asked>),
    Popularity(Box<Whole<Popularity>>),
    Random,
}

/// What queries are put to.
#[derive(Debug)]
struct Asked {
    encoder: Declared,
    vectors: Whole<NewsVectors>,
    /// The index's folder, and what it is of, if there is one; none where it is never searched.
    index: Option<(PathBuf, Option<Identity>)>,
}

/// What all partitions share.
#[derive(Debug)]
pub struct Shared {
    lists: Lists,
}

impl Stage for Retrieve {
    const NAME: &'static str = "retrieve";
    const VERSION: u32 = 4;
    const UNIT: &'static str = "users";
    type Inputs = Sources;
    type Shared = Shared;
    type Outputs = Rows<Recommendations>;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<Sources> {
        self.check()?;
        let queries = match &self.interests {
            Some(dataset) => Queries::Interests(dataset.clone()),
            None if self.method == OWN_TITLES => Queries::OwnTitles(self.titles),
            None => Queries::None,
        };
        let people = People::declare(declare, queries, self.keep_seen)?;
        let corpus = self.pool.declare(declare)?;
        declare.remark(format!("from {}", corpus.about()));
        let by = match self.method.as_str() {
            _ if self.asks() => {
                let encoder = self.encoder.declare(declare)?;
                let (vectors, made_by) = vectors::declare(declare)?;
                check_encoder(vectors::NEWS_VECTORS, &made_by, &encoder.name)?;
                // Whether the candidates are so few that they are searched exactly is known once they are read.
                let never = self.exact || corpus.articles() <= self.pool.exact_up_to as u64;
                let index = (!never).then(|| self.declare_index(declare)).transpose()?;
                By::Queries(Box::new(Asked { encoder, vectors, index }))
            }
            POPULARITY => By::Popularity(Box::new(declare.whole::<Popularity>("popularity")?)),
            _ => By::Random,
        };
        Ok(Sources { people, corpus, by })
    }

    fn open(&self, inputs: &Sources, _: &Resources) -> Result<Shared> {
        let pool = inputs.corpus.open()?;
        let fetch = match &inputs.by {
            By::Queries(asked) => {
                let Asked { encoder, vectors, index } = &**asked;
                let encoder = encoder.open()?;
                let retriever = match index {
                    Some((folder, identity)) if pool.len() > self.pool.exact_up_to => {
                        let identity = identity.as_ref().ok_or_else(|| missing(folder))?;
                        let (content, corpus) = (&vectors.manifest().content, &inputs.corpus);
                        let index = open_index(folder, identity, corpus, content, encoder.dimensions(), pool.len())?;
                        let probes = self.search.probes(&index);
                        Retriever::Ivf(index, probes)
                    }
                    _ => Retriever::Exact(Exact::new(Vectors::read(vectors, &pool, encoder.name())?)?),
                };
                let (vectors, retriever) = (Box::new(QueryVectors::new(encoder)?), Box::new(retriever));
                Fetch::Queries { vectors, retriever, fusion: self.fusion }
            }
            By::Popularity(clicks) => Fetch::Popularity(popularity(clicks, &pool)?),
            By::Random => Fetch::Random { seed: self.seed },
        };
        Ok(Shared { lists: Lists { pool, fetch, articles: self.articles } })
    }

    fn run(&self, inputs: &Sources, Shared { lists }: &Shared, partition: u32) -> Result<Done<Self::Outputs>> {
        let people = inputs.people.read(partition)?;
        let mut account = Account { input: people.len() as u64, ..Account::default() };
        if partition == 0 {
            account.note("candidates", lists.pool.len() as u64);
        }
        let mut made = Vec::with_capacity(people.len());
        for people in people.chunks(TOGETHER) {
            made.extend(lists.of(people)?);
        }
        for (person, list) in people.iter().zip(&made) {
            match list.is_empty() {
                true => account
                    .drop(if self.asks() && person.queries.is_empty() { "no queries" } else { "nothing left" }, 1),
                false => account.output += 1,
            }
            account.note("queries", person.queries.len() as u64);
            account.note("recommendations", list.len() as u64);
        }
        let rows = columns(&self.method, &lists.pool, &people, &made);
        Ok(Done { outputs: Rows::of(rows)?, accounts: vec![account] })
    }

    /// The candidates, and what is searched.
    fn shared_bytes(&self, shared: &Shared) -> u64 {
        shared.lists.memory_bytes()
    }

    /// The users' rows as sets, and their lists.
    fn memory_bytes(&self, _: &Shared, input_bytes: u64) -> u64 {
        6 * input_bytes
    }
}

impl Retrieve {
    fn declare_index(&self, declare: &mut Inputs<'_>) -> Result<(PathBuf, Option<Identity>)> {
        let folder = self.search.folder(declare.store(), self.pool.candidates)?;
        let identity = match Identity::read(&folder)? {
            Some(_) => Some(declare.artifact("index", &folder)?),
            None => None,
        };
        Ok((folder, identity))
    }
}

fn columns(method: &str, pool: &Pool, people: &[Person], lists: &[Vec<Fetched>]) -> RecommendationsColumns {
    let rows = || people.iter().zip(lists).flat_map(|(person, list)| list.iter().map(move |fetched| (person, fetched)));
    let ranks: Vec<i32> = lists.iter().flat_map(|list| 1..=list.len() as i32).collect();
    RecommendationsColumns {
        method: StringArray::from(vec![method; ranks.len()]),
        user_id: rows().map(|(person, _)| Some(&person.user_id)).collect(),
        rank: ranks.into(),
        news_id: rows().map(|(_, fetched)| Some(&pool.ids()[fetched.article as usize])).collect(),
        score: rows().map(|(_, fetched)| Some(fetched.score)).collect(),
        query: rows().map(|(person, fetched)| person.queries.get(fetched.query)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_method_does_not_read_decides_nothing() {
        let json = |settings: Retrieve| serde_json::to_value(settings).expect("JSON");
        let mut settings = Retrieve { titles: 3, seed: 9, fusion: Fusion::Rrf, exact: true, ..Retrieve::default() };
        (settings.encoder.options.max_tokens, settings.pool.candidate_days) = (64, 5);
        for method in METHODS.iter().copied().chain(["student"]) {
            let by = settings.by(method);
            assert_eq!(by.check().map_err(|e| e.to_string()), Ok(()), "{method}");
            let back: Retrieve = serde_json::from_value(json(by.clone())).expect("settings");
            assert_eq!(json(back), json(by));
        }
        assert_eq!(
            json(settings.by(RANDOM)),
            json(Retrieve { seed: 9, titles: 4, pool: settings.pool.clone(), ..Retrieve::default() }.by(RANDOM))
        );
        assert_ne!(json(settings.by(OWN_TITLES)), json(Retrieve { titles: 4, ..settings.clone() }.by(OWN_TITLES)));
        assert_eq!(json(settings.by(INTERESTS)), json(Retrieve { titles: 4, ..settings.clone() }.by(INTERESTS)));
        assert_eq!(settings.by("student").interests.as_deref(), Some("interests.student"));
        assert_eq!(settings.by("student").output(), "recommendations.student");
        assert_eq!(Retrieve::default().check().map_err(|e| e.exit_code()), Err(2), "no method is chosen");
        settings.articles = 0;
        assert_eq!(settings.by(RANDOM).check().map_err(|e| e.exit_code()), Err(2));
    }
}
