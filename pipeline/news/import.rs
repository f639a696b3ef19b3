//! `import`: lists that another system recommends, as `recommendations.<method>`, so that they are evaluated like ours.
//!
//! Each file is read once, and its rows go to their users' buckets (`listed.rs`); then each bucket's lists are put in order.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use arrow::array::{Float32Array, Int32Array, StringArray};
use clap::Args;
use dataset::bucket::{bucket, hex, unhex};
use dataset::plan::{digest, file_digest};
use dataset::{
    Account, ByPartition, Dataset, Done, Error, Inputs, Kind, Regrouped, Resources, Result, Rows, Spill, Stage,
    UserKey, Whole,
};
use schemas::{News, Profiles, Recommendations, RecommendationsColumns, Truth};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::listed::{Listed, ListsFile, in_order};
use crate::{METHODS, Pool};

/// Imports lists.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct Import {
    /// What the lists are called.
    #[arg(skip)]
    pub method: String,
    /// Parquet files. Their contents decide, not where they lie.
    #[arg(skip)]
    #[serde(skip_serializing)]
    pub files: Vec<PathBuf>,
    /// Which columns of the files are what
    #[command(flatten)]
    #[serde(flatten)]
    pub columns: ImportColumns,
}

impl Default for Import {
    fn default() -> Self {
        dataset::defaults()
    }
}

/// Which columns of the files are what.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct ImportColumns {
    /// Column with the platform's user ids
    #[arg(long, value_name = "COLUMN", default_value = "user_id")]
    pub user_column: String,
    /// The user column has querent's own ids (32 hex digits)
    #[arg(long)]
    pub hashed: bool,
    /// Column with the articles' ids
    #[arg(long, value_name = "COLUMN", default_value = "news_id")]
    pub news_id_column: String,
    /// Column with ranks from 1, best first
    #[arg(long, value_name = "COLUMN", default_value = "rank")]
    pub rank_column: String,
    /// Column with scores, used where there are no ranks. Larger is better; of equal ones the greater id comes first, as in trec_eval
    #[arg(long, value_name = "COLUMN", default_value = "score")]
    pub score_column: String,
}

impl Default for ImportColumns {
    fn default() -> Self {
        dataset::defaults()
    }
}

impl Import {
    /// The dataset that it writes.
    pub fn output(&self) -> String {
        format!("recommendations.{}", self.method)
    }

    /// Checks that the method has a name of its own, and that there is something to import.
    pub fn check(&self) -> Result<()> {
        let fine = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if self.method.is_empty() || !self.method.chars().all(fine) {
            let got = format!("{:?}", self.method);
            return Err(Error::setting("METHOD", "letters, digits, - and _", got, "such as production"));
        }
        if METHODS.contains(&self.method.as_str()) {
            let expected = format!("another name than {}", METHODS.join(", "));
            return Err(Error::setting(
                "METHOD",
                expected,
                &self.method,
                "`querent retrieve` writes the lists of these",
            ));
        }
        match self.files.is_empty() {
            true => Err(Error::setting("FILES", "Parquet files of lists", "none", "see `querent import --help`")),
            false => Ok(()),
        }
    }
}

/// What import reads.
#[derive(Debug)]
pub struct Sources {
    files: Vec<PathBuf>,
    /// None for ids that are ours already.
    key: Option<UserKey>,
    profiles: ByPartition<Profiles>,
    truth: Option<ByPartition<Truth>>,
    news: Whole<News>,
    rows: Arc<Regrouped>,
    /// All articles, read once for all that look for some.
    articles: OnceLock<Arc<Pool>>,
}

impl Sources {
    fn articles(&self) -> Result<Arc<Pool>> {
        if let Some(articles) = self.articles.get() {
            return Ok(articles.clone());
        }
        let articles = Arc::new(Pool::all(&self.news)?);
        Ok(self.articles.get_or_init(|| articles).clone())
    }

    /// The rows that were sent to a bucket.
    fn listed(&self, partition: u32) -> Result<Listed> {
        Listed::of(self.rows.read(partition)?.into_iter().map(|(_, batch)| batch).collect())
    }

    /// The users of a bucket who have a profile, or clicks in the window.
    fn known(&self, partition: u32) -> Result<HashSet<[u8; 16]>> {
        let mut known = HashSet::new();
        if let Some(truth) = &self.truth {
            for batch in truth.read(partition)?.batches() {
                known.extend(Truth::user_id.of(batch)?.iter().flatten().filter_map(unhex));
            }
        }
        for batch in self.profiles.read(partition)?.batches() {
            known.extend(Profiles::user_id.of(batch)?.iter().flatten().filter_map(unhex));
        }
        Ok(known)
    }
}

impl Stage for Import {
    const NAME: &'static str = "import";
    const VERSION: u32 = 2;
    const UNIT: &'static str = "rows";
    type Inputs = Sources;
    /// All articles, to count unknown ones.
    type Shared = Arc<Pool>;
    type Outputs = Rows<Recommendations>;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<Sources> {
        self.check()?;
        let interests = format!("interests.{}", self.method);
        if Dataset::new(declare.store(), &interests).current()?.is_some() {
            let expected = format!("another name than {}, whose queries are in {interests}", self.method);
            return Err(Error::setting("METHOD", expected, &self.method, "`querent retrieve` writes its lists"));
        }
        let profiles = declare.by_partition::<Profiles>("profiles")?.columns(&[Profiles::user_id.name()]);
        let truth = match declare.by_partition::<Truth>("truth") {
            Err(e) if e.kind() == Kind::Missing => None,
            truth => Some(truth?.columns(&[Truth::user_id.name()])),
        };
        let news = declare.whole::<News>("news")?.columns(&[News::news_id.name()]);
        let key = (!self.columns.hashed).then(|| declare.user_key()).transpose()?;
        // In the order of their contents: which file was named first decides nothing.
        let mut files: Vec<(String, PathBuf)> =
            self.files.iter().map(|file| Ok((file_digest(file)?.0, file.clone()))).collect::<Result<_>>()?;
        files.sort();
        let task = |(number, (blake3, _)): (usize, &(String, PathBuf))| {
            // The same file twice is two tasks.
            let twice = files[..number].iter().filter(|(other, _)| other == blake3).count();
            digest(&json!([blake3, twice]))
        };
        let tasks = files.iter().enumerate().map(task).collect();
        let rows = declare.regroup(profiles.manifest().partitions, Listed::schema(), tasks)?;
        Ok(Sources {
            files: files.into_iter().map(|(_, file)| file).collect(),
            key,
            profiles,
            truth,
            news,
            rows,
            articles: OnceLock::new(),
        })
    }

    fn map(&self, inputs: &Sources, task: usize, spill: &mut Spill<'_>) -> Result<()> {
        let mut file = ListsFile::open(&inputs.files[task], &self.columns, inputs.key.as_ref())?;
        let (buckets, budget) = (spill.partitions(), spill.budget_bytes);
        while let Some(listed) = file.read(budget)? {
            let to: Vec<u32> = (0..listed.len()).map(|row| bucket(&listed.user(row), buckets)).collect();
            spill.send(&to, &listed.into_batch()?)?;
        }
        Ok(())
    }

    /// Lists of which nothing could be evaluated are a mistake: ids of another kind, or under another key.
    fn mapped(&self, inputs: &Sources, _: &Resources) -> Result<()> {
        let news = inputs.articles()?;
        let (mut rows, mut known_user, mut known_article) = (0, false, false);
        for partition in 0..inputs.profiles.manifest().partitions {
            let listed = inputs.listed(partition)?;
            rows += listed.len();
            let known = if listed.len() > 0 && !known_user { inputs.known(partition)? } else { HashSet::new() };
            known_user = known_user || (0..listed.len()).any(|row| known.contains(&listed.user(row)));
            known_article = known_article || (0..listed.len()).any(|row| news.number(listed.news_id(row)).is_some());
            if known_user && known_article {
                return Ok(());
            }
        }
        let (expected, hint) = match (known_user, self.columns.hashed) {
            (false, true) => {
                ("lists of users of this ingest", "--hashed wants querent's own ids, under the key of these datasets")
            }
            (false, false) => (
                "lists of users of this ingest",
                "is --user-column the platform's user id, as the raw logs have it? --hashed is for querent's own ids",
            ),
            (true, _) => (
                "lists of articles of this ingest",
                "is --news-id-column the article's id, as the news log has it? `querent inspect news` shows some",
            ),
        };
        let what = format!("{}: expected {expected}, got {rows} rows of none", self.output());
        Err(Error::new(dataset::Exit::Data, what, hint))
    }

    fn open(&self, inputs: &Sources, _: &Resources) -> Result<Arc<Pool>> {
        inputs.articles()
    }

    fn run(&self, inputs: &Sources, news: &Arc<Pool>, partition: u32) -> Result<Done<Self::Outputs>> {
        let listed = inputs.listed(partition)?;
        let known = inputs.known(partition)?;
        let ordered = in_order(&listed)?;
        let rows = || ordered.iter().map(|(row, _)| *row);
        let mut account = Account { input: listed.len() as u64, output: ordered.len() as u64, ..Account::default() };
        account.drop("an article again in one list", account.input - account.output);
        let unknown = rows().filter(|row| news.number(listed.news_id(*row)).is_none()).count();
        account.note("unknown articles", unknown as u64);
        let strangers = rows().filter(|row| !known.contains(&listed.user(*row))).count();
        account.note("of unknown users", strangers as u64);
        let columns = RecommendationsColumns {
            method: StringArray::from(vec![self.method.as_str(); ordered.len()]),
            user_id: rows().map(|row| Some(hex(&listed.user(row)))).collect(),
            rank: ordered.iter().map(|(_, rank)| *rank).collect::<Int32Array>(),
            news_id: rows().map(|row| Some(listed.news_id(row))).collect(),
            score: rows().map(|row| Some(listed.score(row))).collect::<Float32Array>(),
            query: StringArray::new_null(ordered.len()),
        };
        Ok(Done { outputs: Rows::of(columns)?, accounts: vec![account] })
    }

    /// The articles.
    fn shared_bytes(&self, news: &Arc<Pool>) -> u64 {
        news.memory_bytes()
    }

    /// The rows, their order, and the same as columns.
    fn memory_bytes(&self, _: &Arc<Pool>, input_bytes: u64) -> u64 {
        4 * input_bytes
    }
}
