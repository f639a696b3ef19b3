//! `recommendations.<name>`: each user's list by a baseline, of the same candidates, without what they have read, as long as any other's.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use dataset::{Account, ByPartition, Done, Error, Inputs, Resources, Result, Rows, Stage, Whole};
use news::{
    Among, ByVectors, Candidates, Corpus, Fusion, NOT_ASKED, People, Person, Phrases, Pool, PoolSettings, Queries,
    Shown, Vectors, declare_vectors, recommendations, shown_dataset,
};
use schemas::{Events, News, NewsVectors, Profiles, Recommendations};
use serde::{Deserialize, Serialize};

use crate::{Articles, Clicks, Item, Network, PinnerSage, Prepared, Vocabulary, candle};

/// Users whose lists are made together.
const TOGETHER: usize = 256;

/// Which baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Model {
    /// Medoids of the clusters of what a user read; not trained.
    Pinnersage,
    /// A recurrent network over clicks.
    Gru,
    /// Causal self-attention over clicks.
    Sasrec,
    /// Gated attention by SiLU over clicks and their times.
    Hstu,
    /// Words of clicks, searches and visits, with attention over words, texts and the three kinds.
    Nrhub,
}

impl std::fmt::Display for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

impl Model {
    /// Whether it must be trained first.
    pub fn is_trained(self) -> bool {
        self != Model::Pinnersage
    }
}

/// Who gets lists, of which articles, how long: what every method is told alike.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct ListSettings {
    /// Which articles may be recommended
    #[command(flatten)]
    #[serde(flatten)]
    pub pool: PoolSettings,
    /// Users to recommend to
    #[arg(long, value_name = "USERS", value_enum, default_value_t)]
    pub among: Among,
    /// Articles for each user
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub articles: usize,
    /// Recommend articles that were read before, too
    #[arg(long)]
    pub keep_seen: bool,
}

impl Default for ListSettings {
    fn default() -> Self {
        dataset::defaults()
    }
}

/// Recommends by one baseline.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Recommend {
    /// What its lists are called.
    pub method: String,
    /// The baseline.
    pub model: Model,
    /// Settings of [`Model::Pinnersage`]; none of others.
    pub pinnersage: Option<PinnerSage>,
    /// The folder of the trained model; none of [`Model::Pinnersage`].
    #[serde(skip)]
    pub trained: Option<PathBuf>,
    /// Whether it reads searches and visits, by the words of titles: [`Train::reads_words`](crate::Train::reads_words).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reads_words: bool,
    /// How the lists that several vectors of a user fetch become one.
    pub fusion: Fusion,
    /// Who gets lists, of which articles.
    pub lists: ListSettings,
    /// What users were shown is ranked, instead of all candidates. [`Recommend::of_shown`] says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shown: bool,
}

impl Recommend {
    /// The dataset that it writes.
    pub fn output(&self) -> String {
        if self.shown { shown_dataset(&self.method) } else { format!("recommendations.{}", self.method) }
    }

    /// The same, but what impressions showed each user is ranked, of whatever age and whether they have read it or not.
    pub fn of_shown(&self) -> Self {
        let all = PoolSettings { candidates: Candidates::All, ..PoolSettings::default() };
        let lists = ListSettings { pool: all, keep_seen: true, ..self.lists.clone() };
        Recommend { shown: true, lists, ..self.clone() }
    }

    fn check(&self) -> Result<()> {
        self.pinnersage.iter().try_for_each(PinnerSage::check)?;
        match (1..=i32::MAX as usize).contains(&self.lists.articles) {
            true => Ok(()),
            false => {
                let hint = "see `querent baseline --help`";
                Err(Error::setting("baseline.articles", "1 to 2147483647", self.lists.articles, hint))
            }
        }
    }
}

/// What it reads.
#[derive(Debug)]
pub struct Sources {
    people: People,
    profiles: ByPartition<Profiles>,
    corpus: Corpus,
    shown: Option<Shown>,
    news: Whole<News>,
    vectors: Whole<NewsVectors>,
    encoder: String,
    /// The articles whose words are known, where words are read.
    before: Option<Corpus>,
    cut_off_us: i64,
    trained: Option<PathBuf>,
}

/// What all partitions share.
#[derive(Debug)]
pub struct Shared {
    lists: ByVectors,
    /// All articles, candidates or not: their numbers are those of clicks.
    all: Pool,
    /// What searches and visits are read with.
    vocabulary: Option<Vocabulary>,
    asks: Asks,
}

/// What makes vectors of users.
#[derive(Debug)]
enum Asks {
    /// Vectors of all articles, of which medoids are chosen.
    Medoids(Vectors),
    Network(Box<Prepared>),
}

/// A user and what they read.
struct User {
    person: Person,
    clicks: Clicks,
    /// The clicked articles' titles.
    titles: Vec<String>,
}

impl Stage for Recommend {
    const NAME: &'static str = "baseline";
    const VERSION: u32 = 4;
    const UNIT: &'static str = "users";
    type Inputs = Sources;
    type Shared = Shared;
    type Outputs = Rows<Recommendations>;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<Sources> {
        self.check()?;
        let ListSettings { pool, among, keep_seen, .. } = &self.lists;
        let people = People::declare(declare, Queries::None, *keep_seen, *among)?;
        let profiles = declare.by_partition::<Profiles>("profiles")?;
        let profiles = profiles.columns(&[Profiles::user_id.name(), Profiles::behaviours.name()]);
        let corpus = pool.declare(declare)?;
        declare.remark(format!("from {}", corpus.about()));
        let columns = [News::news_id.name(), News::title.name()];
        let words = self.reads_words;
        let news = declare.whole::<News>("news")?.columns(if words { &columns } else { &columns[..1] });
        let before = words.then(|| Corpus::before(declare)).transpose()?;
        let (vectors, encoder) = declare_vectors(declare, None)?;
        let [cut_off_us, _] = declare.value_of::<Events, [i64; 2]>("events", "window_us")?;
        let shown = self.shown.then(|| Shown::declare(declare)).transpose()?;
        let trained = self.trained.clone();
        if let Some(folder) = &trained {
            declare.artifact(Self::NAME, folder)?;
        }
        Ok(Sources { people, profiles, corpus, shown, news, vectors, encoder, before, cut_off_us, trained })
    }

    fn open(&self, inputs: &Sources, _: &Resources) -> Result<Shared> {
        let pool = inputs.corpus.open()?;
        let all = Pool::all(&inputs.news)?;
        let vectors = Vectors::read(&inputs.vectors, &all, &inputs.encoder)?;
        let candidates: Vec<u32> = pool.ids().iter().filter_map(|id| all.number(id)).collect();
        let before = inputs.before.as_ref().map(Corpus::open).transpose()?;
        let vocabulary = before.map(|before| Vocabulary::read(&inputs.news, &all, &vectors, &before)).transpose()?;
        let (of_candidates, asks) = match &inputs.trained {
            None => (vectors.gather(&candidates), Asks::Medoids(vectors)),
            Some(folder) => {
                let articles = |item| match (item, &vocabulary) {
                    (_, Some(vocabulary)) if self.model == Model::Nrhub => Articles::Words(vocabulary),
                    (Item::Text, words) => {
                        Articles::Texts { articles: &vectors, words: words.as_ref().map(|words| &words.vectors) }
                    }
                    (Item::Id, _) => Articles::Ids(vectors.len()),
                };
                let (network, ..) = Network::load(folder, articles)?;
                let table = network.table(&candidates).map_err(candle)?;
                (table, Asks::Network(Box::new(network.prepared(0..all.len() as u32).map_err(candle)?)))
            }
        };
        let lists = ByVectors::new(pool, of_candidates, self.lists.articles, self.fusion)?;
        Ok(Shared { lists, all, vocabulary, asks })
    }

    fn run(&self, inputs: &Sources, shared: &Shared, partition: u32) -> Result<Done<Self::Outputs>> {
        let (mut users, passed_over) = users(inputs, shared, partition)?;
        let mut account = Account { input: users.len() as u64 + passed_over, ..Account::default() };
        account.drop(NOT_ASKED, passed_over);
        if partition == 0 {
            account.note("candidates", shared.lists.pool().len() as u64);
        }
        let vectors = self.asked(inputs, shared, &mut users)?;
        let (people, clicks): (Vec<Person>, Vec<Clicks>) =
            users.into_iter().map(|user| (user.person, user.clicks)).unzip();
        let shown =
            inputs.shown.as_ref().map(|shown| shown.read(partition, &people, shared.lists.pool())).transpose()?;
        let mut made = Vec::with_capacity(people.len());
        for (people, vectors) in people.chunks(TOGETHER).zip(vectors.chunks(TOGETHER)) {
            made.extend(match &shown {
                Some(shown) => shared.lists.ranked(&shown[made.len()..], vectors),
                None => shared.lists.of(people, vectors)?,
            });
        }
        for (clicks, list) in clicks.iter().zip(&made) {
            match list.is_empty() {
                true => account.drop(if clicks.is_empty() { "no clicks" } else { "nothing left" }, 1),
                false => account.output += 1,
            }
            account.note("recommendations", list.len() as u64);
        }
        let rows = recommendations(&self.method, shared.lists.pool(), &people, &made);
        Ok(Done { outputs: Rows::of(rows)?, accounts: vec![account] })
    }

    /// The candidates, and the vectors of all articles.
    fn shared_bytes(&self, shared: &Shared) -> u64 {
        let asks = match &shared.asks {
            Asks::Medoids(vectors) => 4 * vectors.values().len() as u64,
            Asks::Network(prepared) => prepared.memory_bytes(),
        };
        let vocabulary = shared.vocabulary.as_ref().map_or(0, Vocabulary::memory_bytes);
        shared.lists.memory_bytes() + shared.all.memory_bytes() + asks + vocabulary
    }

    /// The users' rows as sets, and their lists.
    fn memory_bytes(&self, _: &Shared, input_bytes: u64) -> u64 {
        6 * input_bytes
    }
}

/// The users of a bucket who get lists, and how many do not.
fn users(inputs: &Sources, shared: &Shared, partition: u32) -> Result<(Vec<User>, u64)> {
    let (people, passed_over) = inputs.people.read(partition, &Phrases::new())?;
    let mut users: Vec<User> =
        people.into_iter().map(|person| User { person, clicks: Clicks::default(), titles: Vec::new() }).collect();
    let at: HashMap<String, usize> =
        users.iter().enumerate().map(|(at, user)| (user.person.user_id.clone(), at)).collect();
    for batch in inputs.profiles.read(partition)?.batches() {
        let (ids, behaviours) = (Profiles::user_id.of(batch)?, Profiles::behaviours.of(batch)?);
        for row in 0..batch.num_rows() {
            let Some(&at) = at.get(ids.value(row)) else { continue };
            let clicks = Clicks::read(&behaviours, row, |id| shared.all.number(id), shared.vocabulary.as_ref());
            let text = &behaviours.items().text;
            users[at].titles = clicks.places.iter().map(|&place| text.value(place).to_owned()).collect();
            users[at].clicks = clicks;
        }
    }
    Ok((users, passed_over))
}

impl Recommend {
    /// The vectors that each user of a bucket asks with; none without clicks. The titles of medoids are noted as their queries.
    fn asked(&self, inputs: &Sources, shared: &Shared, users: &mut [User]) -> Result<Vec<Vectors>> {
        let vectors = match &shared.asks {
            Asks::Network(prepared) => {
                let clicks: Vec<&Clicks> = users.iter().map(|user| &user.clicks).collect();
                return prepared.ask(&clicks).map_err(candle);
            }
            Asks::Medoids(vectors) => vectors,
        };
        let settings = self.pinnersage.unwrap_or_default();
        let medoids = |user: &mut User| {
            let mut clusters = settings.clusters(&user.clicks, vectors, inputs.cut_off_us);
            clusters.truncate(settings.medoids);
            user.person.queries = clusters.iter().map(|cluster| user.titles[cluster.medoid].clone()).collect();
            let medoids: Vec<u32> = clusters.iter().map(|cluster| user.clicks.articles[cluster.medoid]).collect();
            vectors.gather(&medoids)
        };
        Ok(users.iter_mut().map(medoids).collect())
    }
}
