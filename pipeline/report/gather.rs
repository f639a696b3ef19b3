//! What the page says, collected from the datasets there are.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use arrow::array::{Array, AsArray, Float32Array, ListArray, StringArray, StructArray, UInt32Array};
use dataset::account::list;
use dataset::{Dataset, Error, Input, Result, Rows, Source, Store};
use schemas::{Interests, Profiles, Recommendations, Truth};

use crate::tables::{Comparison, Measure, comparisons, measures, statistics};

/// Articles shown for each sample user.
const ARTICLES: u32 = 8;
/// Behaviours shown for each sample user.
const BEHAVIOURS: usize = 10;

/// All that the page says.
#[derive(Debug, Default)]
pub struct Content {
    /// The datasets' root.
    pub root: String,
    /// Every dataset.
    pub datasets: Vec<DatasetLine>,
    /// Statistics by name; counts start with `#`.
    pub statistics: Vec<(String, f64)>,
    /// Averages.
    pub metrics: Vec<Measure>,
    /// Methods against each other, all users.
    pub comparisons: Vec<Comparison>,
    /// Only users who were asked for lists of queries count.
    pub among_interests: bool,
    /// Which articles could be recommended, by method.
    pub candidates: BTreeMap<String, String>,
    /// Whose lists the sample shows.
    pub method: String,
    /// Sample users.
    pub samples: Vec<Sample>,
}

/// One dataset's current version.
#[derive(Debug, Clone)]
pub struct DatasetLine {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// The job that wrote it.
    pub job: String,
    /// When, RFC 3339.
    pub created_at: String,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// What went in and came out.
    pub account: String,
}

/// A user: what they did, what was asked for them, what that fetched.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Our id.
    pub user_id: String,
    /// Train, valid or test.
    pub split: String,
    /// Domain and text, most recent first.
    pub behaviours: Vec<(String, String)>,
    /// All their queries.
    pub queries: Vec<String>,
    /// The top of their list.
    pub news: Vec<News>,
    /// Articles clicked in the window.
    pub clicked: usize,
}

/// A recommended article.
#[derive(Debug, Clone, Default)]
pub struct News {
    /// Its id.
    pub news_id: String,
    /// Its title.
    pub title: String,
    /// The query that fetched it.
    pub query: Option<String>,
    /// Its score.
    pub score: f32,
    /// Clicked in the window.
    pub hit: bool,
}

/// Collects what there is. `method`: whose lists the sample shows; by default those of queries, else the first there are.
///
/// # Errors
/// When there is nothing at all, or no such method.
pub fn gather(store: &Store, users: usize, method: Option<&str>) -> Result<Content> {
    let mut content = Content { root: store.root().to_owned(), ..Content::default() };
    let mut methods = Vec::new();
    for name in store.folders()? {
        let Some(manifest) = Dataset::new(store, &name).current()? else { continue };
        if let Some(method) = name.strip_prefix("recommendations.") {
            methods.push(method.to_owned());
            content.candidates.insert(method.to_owned(), manifest.lineage.remark.clone().unwrap_or_default());
        }
        if name == "user_metrics" {
            content.among_interests = manifest.lineage.settings["among"] == "interests";
        }
        let account = &manifest.account;
        let mut said = format!("{} {} in, {} out", account.input, manifest.unit, account.output);
        for (what, counts) in [("dropped", &account.dropped), ("set aside", &account.quarantined)] {
            if !counts.is_empty() {
                said.push_str(&format!("; {what}: {}", list(counts)));
            }
        }
        content.datasets.push(DatasetLine {
            name,
            version: manifest.version,
            job: manifest.lineage.job.clone(),
            created_at: manifest.created_at.clone(),
            rows: manifest.rows,
            bytes: manifest.bytes,
            account: said,
        });
    }
    content.datasets.sort_by(|a, b| a.created_at.cmp(&b.created_at).then(a.name.cmp(&b.name)));
    if content.datasets.is_empty() {
        return Err(Error::unreadable(store.root(), "there are no datasets", "run a pipeline first: `querent run`"));
    }
    content.statistics = statistics(store)?;
    content.metrics = measures(store)?;
    content.comparisons = comparisons(store)?;
    let preferred = ["interests", "own-titles"].into_iter().find(|m| methods.iter().any(|have| have == m));
    content.method = match method {
        Some(method) if !methods.iter().any(|have| have == method) => {
            return Err(Error::setting(
                "--method",
                format!("one of {}", methods.join(", ")),
                method,
                "run retrieve first",
            ));
        }
        Some(method) => method.to_owned(),
        None => preferred.map(str::to_owned).or_else(|| methods.first().cloned()).unwrap_or_default(),
    };
    if !content.method.is_empty() {
        content.samples = samples(store, &content.method, users)?;
    }
    Ok(content)
}

/// Users of the first buckets who have a list and clicked something in the window, in the order of their ids.
fn samples(store: &Store, method: &str, users: usize) -> Result<Vec<Sample>> {
    let lists = Input::<Recommendations>::open(store, &format!("recommendations.{method}"))?;
    let profiles = Input::<Profiles>::open(store, "profiles")?.columns(&["user_id", "split", "behaviours"]);
    let truth = Input::<Truth>::open(store, "truth")?.columns(&["user_id", "news_id"]);
    let interests = match method {
        "interests" => Some(Input::<Interests>::open(store, "interests")?),
        _ => None,
    };
    let mut samples = Vec::new();
    for bucket in 0..lists.partitions() {
        if samples.len() >= users {
            break;
        }
        let mut clicked: HashMap<String, HashSet<String>> = HashMap::new();
        for batch in truth.read(bucket)?.batches() {
            let users = Rows::<Truth>::column::<StringArray>(batch, "user_id")?;
            let news = Rows::<Truth>::column::<StringArray>(batch, "news_id")?;
            for (user, news) in users.iter().flatten().zip(news.iter().flatten()) {
                clicked.entry(user.into()).or_default().insert(news.into());
            }
        }
        let mut found: BTreeMap<String, Sample> = BTreeMap::new();
        for batch in lists.read(bucket)?.batches() {
            let text = |name| Rows::<Recommendations>::column::<StringArray>(batch, name);
            let (user, news, query) = (text("user_id")?, text("news_id")?, text("query")?);
            let rank = Rows::<Recommendations>::column::<UInt32Array>(batch, "rank")?;
            let score = Rows::<Recommendations>::column::<Float32Array>(batch, "score")?;
            for row in 0..batch.num_rows() {
                let Some(clicked) = clicked.get(user.value(row)) else { continue };
                let sample = found.entry(user.value(row).into()).or_default();
                let query = query.is_valid(row).then(|| query.value(row).to_owned());
                if let Some(query) = query.as_ref().filter(|query| !sample.queries.contains(query)) {
                    sample.queries.push(query.clone());
                }
                if rank.value(row) <= ARTICLES {
                    sample.news.push(News {
                        news_id: news.value(row).into(),
                        title: String::new(),
                        query,
                        score: score.value(row),
                        hit: clicked.contains(news.value(row)),
                    });
                }
            }
        }
        for (user, sample) in &mut found {
            sample.user_id = user.clone();
            sample.clicked = clicked.get(user).map_or(0, HashSet::len);
        }
        if let Some(interests) = &interests {
            for batch in interests.read(bucket)?.batches() {
                let users = Rows::<Interests>::column::<StringArray>(batch, "user_id")?;
                let candidate = Rows::<Interests>::column::<UInt32Array>(batch, "candidate")?;
                let queries = Rows::<Interests>::column::<ListArray>(batch, "queries")?;
                for row in (0..batch.num_rows()).filter(|&row| candidate.value(row) == 0) {
                    if let Some(sample) = found.get_mut(users.value(row)) {
                        sample.queries = texts(&queries.value(row));
                    }
                }
            }
        }
        for batch in profiles.read(bucket)?.batches() {
            let users = Rows::<Profiles>::column::<StringArray>(batch, "user_id")?;
            let splits = Rows::<Profiles>::column::<StringArray>(batch, "split")?;
            let behaviours = Rows::<Profiles>::column::<ListArray>(batch, "behaviours")?;
            for row in 0..batch.num_rows() {
                if let Some(sample) = found.get_mut(users.value(row)) {
                    sample.split = splits.value(row).into();
                    sample.behaviours = recent(&behaviours.value(row));
                }
            }
        }
        samples.extend(found.into_values().take(users - samples.len()));
    }
    title(store, &mut samples)?;
    Ok(samples)
}

fn texts(list: &dyn Array) -> Vec<String> {
    list.as_string_opt::<i32>().into_iter().flatten().flatten().map(str::to_owned).collect()
}

fn recent(behaviours: &dyn Array) -> Vec<(String, String)> {
    let Some(behaviours) = behaviours.as_any().downcast_ref::<StructArray>() else { return Vec::new() };
    let column = |name| behaviours.column_by_name(name).map(|column| texts(column)).unwrap_or_default();
    column("domain").into_iter().zip(column("text")).take(BEHAVIOURS).collect()
}

/// Looks the articles' titles up.
fn title(store: &Store, samples: &mut [Sample]) -> Result<()> {
    let wanted: BTreeSet<String> =
        samples.iter().flat_map(|s| &s.news).map(|article| article.news_id.clone()).collect();
    let news = Input::<schemas::News>::open(store, "news")?.columns(&["news_id", "title"]);
    let mut titles: HashMap<String, String> = HashMap::new();
    for part in 0..news.partitions() {
        for batch in news.read(part)?.batches() {
            let ids = Rows::<schemas::News>::column::<StringArray>(batch, "news_id")?;
            let names = Rows::<schemas::News>::column::<StringArray>(batch, "title")?;
            for (id, name) in ids.iter().flatten().zip(names.iter().flatten()).filter(|(id, _)| wanted.contains(*id)) {
                titles.insert(id.into(), name.into());
            }
        }
    }
    for article in samples.iter_mut().flat_map(|s| &mut s.news) {
        article.title = titles.get(&article.news_id).cloned().unwrap_or_else(|| article.news_id.clone());
    }
    Ok(())
}
