//! `retrieve`: a list of articles for every user, by what their queries fetch or by a reference method.

use arrow::array::StringArray;
use clap::{Args, ValueEnum};
use dataset::{Account, Done, Error, Inputs, Resources, Result, Rows, Stage, Whole};
use schemas::{News, Popularity, Recommendations, RecommendationsColumns};
use serde::{Deserialize, Serialize};

use crate::lists::{Fetch, Lists, Searched};
use crate::people::{Among, People, Person, Phrases, Queries};
use crate::pool::Corpus;
use crate::searcher::DenseInputs;
use crate::{
    Bm25, Candidates, EncoderSettings, Fetched, Fields, Fusion, Language, Medoids, Pool, PoolSettings, Search,
    SearchSettings, Shown, popularity, shown_dataset,
};

/// Users whose queries are searched together.
const TOGETHER: usize = 256;

/// Why a user has no list.
pub const NOT_ASKED: &str = "not in interests";

/// Methods of our own: nothing else is called so.
pub const METHODS: [&str; 6] = [INTERESTS, OWN_TITLES, THEMES, ATTAINABLE, POPULARITY, RANDOM];
const INTERESTS: &str = "interests";
const OWN_TITLES: &str = "own-titles";
const THEMES: &str = "themes";
const ATTAINABLE: &str = "attainable";
const POPULARITY: &str = "popularity";
const RANDOM: &str = "random";

/// What queries are put to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retriever {
    /// Vectors of one encoder: the articles of the largest cosine.
    #[default]
    Dense,
    /// Words: the articles of the largest BM25 (k1 1.2, b 0.75).
    Bm25,
    /// Both, fused by reciprocal rank: the lists that dense and bm25 would make.
    Hybrid,
}

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
    /// The name of the step, if it has one: its lists are called METHOD.NAME.
    #[arg(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What users were shown is ranked, instead of all candidates. [`Retrieve::of_shown`] says so.
    #[arg(skip)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shown: bool,
    /// Whose vectors: none, `embed`'s; else those of the step `embed@NAME`.
    #[arg(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vectors: Option<String>,
    /// Which articles may be recommended
    #[command(flatten)]
    #[serde(flatten)]
    pub pool: PoolSettings,
    /// What queries are put to
    #[arg(long, value_name = "WHICH", value_enum, default_value_t)]
    pub retriever: Retriever,
    /// What bm25 reads of an article
    #[arg(long, value_name = "FIELDS", value_enum, default_value_t)]
    pub fields: Fields,
    /// Whose words bm25 takes for one, such as election and elections: english, or another language with a Snowball stemmer, or none
    #[arg(long, value_name = "LANGUAGE", default_value_t)]
    pub language: Language,
    /// How an index is searched
    #[command(flatten)]
    #[serde(flatten)]
    pub search: SearchSettings,
    /// The encoder of queries
    #[command(flatten)]
    #[serde(flatten)]
    pub encoder: EncoderSettings,
    /// Users to recommend to
    #[arg(long, value_name = "USERS", value_enum, default_value_t)]
    pub among: Among,
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
    /// Ask the queries of the best of the first N lists that generate --keep-all kept, as if it had written so many [default: of all]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best_of: Option<usize>,
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
    /// `own-titles` asks with each user's most recent news titles, `themes` with the medoids of their themes ([`Medoids`]), `attainable` with
    /// a simulated user's latent interests; `popularity` gives the most clicked articles, `random` any. Others ask the queries of a
    /// dataset: `interests` those of `interests`, another name those of `interests.NAME`.
    pub fn by(&self, method: &str) -> Self {
        let mut own = Retrieve { method: method.to_owned(), interests: None, ..self.clone() };
        let default = Retrieve::default();
        own.interests = match method {
            OWN_TITLES | ATTAINABLE | POPULARITY | RANDOM => None,
            INTERESTS => Some(INTERESTS.into()),
            THEMES => Some(Medoids::OUTPUT.into()),
            named => Some(format!("{INTERESTS}.{named}")),
        };
        if own.pool.candidates != Candidates::Live {
            own.pool.candidate_days = default.pool.candidate_days;
        }
        if method != OWN_TITLES {
            own.titles = default.titles;
        }
        if !own.asks_policy() {
            own.best_of = default.best_of;
        }
        if method != RANDOM {
            own.seed = default.seed;
        }
        if !own.asks() {
            (own.retriever, own.fusion) = (default.retriever, default.fusion);
        }
        if !own.asks_vectors() {
            own.pool.exact_up_to = default.pool.exact_up_to;
            (own.search, own.encoder, own.exact, own.vectors) =
                (default.search, default.encoder, default.exact, default.vectors);
        }
        if !own.asks_words() {
            (own.fields, own.language) = (default.fields, default.language);
        }
        own
    }

    /// The same, but what impressions showed each user is ranked, of whatever age and whether they have read it or not.
    pub fn of_shown(&self) -> Self {
        let candidates = Candidates::All;
        let pool =
            PoolSettings { candidates, candidate_days: PoolSettings::default().candidate_days, ..self.pool.clone() };
        Retrieve { shown: true, keep_seen: true, exact: self.asks(), pool, ..self.clone() }
    }

    /// Whether the method asks with queries.
    fn asks(&self) -> bool {
        self.interests.is_some() || [OWN_TITLES, ATTAINABLE].contains(&self.method.as_str())
    }

    /// Whether its queries are a policy's.
    fn asks_policy(&self) -> bool {
        self.interests.is_some() && !self.reads_themes()
    }

    fn asks_vectors(&self) -> bool {
        self.asks() && self.retriever != Retriever::Bm25
    }

    fn asks_words(&self) -> bool {
        self.asks() && self.retriever != Retriever::Dense
    }

    /// Whether `popularity` must be up to date first.
    pub fn reads_popularity(&self) -> bool {
        self.method == POPULARITY || self.pool.reads_popularity()
    }

    /// Whether the users' themes must be up to date first.
    pub fn reads_themes(&self) -> bool {
        self.method == THEMES
    }

    /// What the lists are called: METHOD, or METHOD.STEP.
    pub fn name(&self) -> String {
        match &self.step {
            Some(step) => format!("{}.{step}", self.method),
            None => self.method.clone(),
        }
    }

    /// The dataset that it writes.
    pub fn output(&self) -> String {
        if self.shown { shown_dataset(&self.name()) } else { format!("recommendations.{}", self.name()) }
    }

    /// Checks that the settings make sense.
    pub fn check(&self) -> Result<()> {
        let known = self.asks() || [POPULARITY, RANDOM].contains(&self.method.as_str());
        for (setting, ok, expected, got) in [
            ("retrieve.methods", known, "the name of a method", format!("{:?}", self.method)),
            (
                "retrieve.articles",
                (1..=i32::MAX as usize).contains(&self.articles),
                "1 to 2147483647",
                self.articles.to_string(),
            ),
            (
                "retrieve.retriever",
                !self.shown || self.retriever == Retriever::Dense,
                "dense, where what impressions showed is ranked",
                "another".to_owned(),
            ),
            ("retrieve.titles", self.titles >= 1, "at least 1", self.titles.to_string()),
            ("retrieve.best_of", self.best_of != Some(0), "at least 1", "0".to_owned()),
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
    shown: Option<Shown>,
    by: By,
}

/// What a method needs beside users and articles.
#[derive(Debug)]
enum By {
    Queries { dense: Option<Box<DenseInputs>>, bm25: Option<Box<Whole<News>>> },
    Popularity(Box<Whole<Popularity>>),
    Random,
}

/// What all partitions share.
#[derive(Debug)]
pub struct Shared {
    lists: Lists,
    phrases: Phrases,
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
            Some(dataset) => Queries::Interests { dataset: dataset.clone(), best_of: self.best_of },
            None if self.method == OWN_TITLES => Queries::OwnTitles(self.titles),
            None if self.method == ATTAINABLE => Queries::Attainable,
            None => Queries::None,
        };
        let people = People::declare(declare, queries, self.keep_seen, self.among)?;
        let corpus = self.pool.declare(declare)?;
        declare.remark(format!("from {}", corpus.about()));
        let by = match self.method.as_str() {
            _ if self.asks() => {
                let dense = self.asks_vectors().then(|| self.dense().declare_vectors(declare, &corpus)).transpose()?;
                let bm25 = self.asks_words().then(|| declare.whole::<News>("news")).transpose()?;
                let columns = [News::news_id.name(), News::title.name(), News::r#abstract.name()];
                let bm25 = bm25.map(|news| Box::new(news.columns(&columns)));
                By::Queries { dense: dense.map(Box::new), bm25 }
            }
            POPULARITY => By::Popularity(Box::new(declare.whole::<Popularity>("popularity")?)),
            _ => By::Random,
        };
        let shown = self.shown.then(|| Shown::declare(declare)).transpose()?;
        Ok(Sources { people, corpus, shown, by })
    }

    fn open(&self, inputs: &Sources, _: &Resources) -> Result<Shared> {
        let pool = inputs.corpus.open()?;
        let fetch = match &inputs.by {
            By::Queries { dense, bm25 } => {
                let dense = dense.as_ref().map(|asked| asked.open(&inputs.corpus, &pool)).transpose()?;
                let bm25 = bm25.as_ref().map(|news| self.index_words(news, &pool)).transpose()?;
                let searched = match (dense, bm25) {
                    (Some(dense), Some(bm25)) => Searched::Hybrid(dense, bm25),
                    (Some(dense), None) => Searched::Dense(dense),
                    (None, Some(bm25)) => Searched::Bm25(bm25),
                    (None, None) => return Err(Error::bug("queries that are put to nothing")),
                };
                Fetch::Queries { searched: Box::new(searched), fusion: self.fusion }
            }
            By::Popularity(clicks) => Fetch::Popularity(popularity(clicks, &pool)?),
            By::Random => Fetch::Random { seed: self.seed },
        };
        let phrases = inputs.people.phrases()?;
        Ok(Shared { lists: Lists { pool, fetch, articles: self.articles }, phrases })
    }

    fn run(&self, inputs: &Sources, shared: &Shared, partition: u32) -> Result<Done<Self::Outputs>> {
        let Shared { lists, phrases } = shared;
        let (people, passed_over) = inputs.people.read(partition, phrases)?;
        let mut account = Account { input: people.len() as u64 + passed_over, ..Account::default() };
        account.drop(NOT_ASKED, passed_over);
        if partition == 0 {
            account.note("candidates", lists.pool.len() as u64);
        }
        let made = match &inputs.shown {
            Some(shown) => lists.ranked(&people, &shown.read(partition, &people, &lists.pool)?)?,
            None => {
                let mut made = Vec::with_capacity(people.len());
                for people in people.chunks(TOGETHER) {
                    made.extend(lists.of(people)?);
                }
                made
            }
        };
        for (person, list) in people.iter().zip(&made) {
            match list.is_empty() {
                true => account
                    .drop(if self.asks() && person.queries.is_empty() { "no queries" } else { "nothing left" }, 1),
                false => account.output += 1,
            }
            account.note("queries", person.queries.len() as u64);
            account.note("recommendations", list.len() as u64);
        }
        let rows = recommendations(&self.name(), &lists.pool, &people, &made);
        Ok(Done { outputs: Rows::of(rows)?, accounts: vec![account] })
    }

    /// The candidates, what is searched, and latent interests.
    fn shared_bytes(&self, shared: &Shared) -> u64 {
        let phrases: usize = shared.phrases.values().flatten().map(|phrase| phrase.capacity() + 64).sum();
        shared.lists.memory_bytes() + phrases as u64
    }

    /// The users' rows as sets, and their lists.
    fn memory_bytes(&self, _: &Shared, input_bytes: u64) -> u64 {
        6 * input_bytes
    }
}

impl Retrieve {
    /// What vectors of queries are put to.
    fn dense(&self) -> Search<'_> {
        let Retrieve { pool, search, encoder, vectors, exact, .. } = self;
        Search { pool, index: search, encoder, vectors: vectors.as_deref(), exact: *exact }
    }

    /// Indexes the words of a pool's articles.
    fn index_words(&self, news: &Whole<News>, pool: &Pool) -> Result<Bm25> {
        let mut texts = vec![String::new(); pool.len()];
        for part in news.parts() {
            for batch in part?.batches() {
                for (id, text) in News::news_id.of(batch)?.iter().flatten().zip(self.fields.texts(batch)?) {
                    if let Some(number) = pool.number(id) {
                        texts[number as usize] = text;
                    }
                }
            }
        }
        Ok(Bm25::build(&texts, self.language))
    }
}

/// Lists as rows. An article's query is the one of the person's that fetched it; none where nothing was asked.
pub fn recommendations(method: &str, pool: &Pool, people: &[Person], lists: &[Vec<Fetched>]) -> RecommendationsColumns {
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
        let best = Retrieve { best_of: Some(4), ..settings.clone() };
        for (method, same) in
            [(INTERESTS, false), ("student", false), (THEMES, true), (OWN_TITLES, true), (RANDOM, true)]
        {
            assert_eq!(json(best.by(method)) == json(settings.by(method)), same, "{method}");
        }
        let none = Retrieve { best_of: Some(0), ..settings.clone() };
        assert_eq!(none.by(INTERESTS).check().map_err(|e| e.exit_code()), Err(2));
        // Vectors decide nothing where words are compared, nor words where vectors are.
        settings.vectors = Some("other".into());
        for (retriever, same) in [(Retriever::Dense, false), (Retriever::Bm25, true), (Retriever::Hybrid, false)] {
            let settings = Retrieve { retriever, ..settings.clone() };
            let mut other = Retrieve { vectors: None, ..settings.clone() };
            other.encoder.options.max_tokens = 9;
            assert_eq!(json(settings.by(INTERESTS)) == json(other.by(INTERESTS)), same);
            let other = Retrieve { language: "german".parse().expect("a language"), ..settings.clone() };
            assert_eq!(json(settings.by(THEMES)) == json(other.by(THEMES)), retriever == Retriever::Dense);
            assert_eq!(json(settings.by(RANDOM)), json(other.by(RANDOM)));
        }
        settings.vectors = None;
        assert_eq!(settings.by("student").interests.as_deref(), Some("interests.student"));
        assert_eq!(settings.by("student").output(), "recommendations.student");
        let step = Retrieve { step: Some("bm25".into()), ..settings.clone() };
        assert_eq!(step.by("student").output(), "recommendations.student.bm25");
        assert_eq!(Retrieve::default().check().map_err(|e| e.exit_code()), Err(2), "no method is chosen");
        settings.articles = 0;
        assert_eq!(settings.by(RANDOM).check().map_err(|e| e.exit_code()), Err(2));
    }
}
