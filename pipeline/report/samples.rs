//! Sample users: from behaviours over queries to news.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use arrow::array::Array;
use dataset::Result;
use schemas::{Interests, Profiles, Recommendations, Truth};

use crate::found::Found;

/// Articles shown for each sample user.
const ARTICLES: i32 = 8;
/// Behaviours shown for each sample user.
const BEHAVIOURS: usize = 10;

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

/// Users of the first buckets who have a list and clicked something in the window, in the order of their ids.
pub(crate) fn samples(found: &Found, method: &str, users: usize) -> Result<Vec<Sample>> {
    let lists = format!("recommendations.{method}");
    let mut samples = Vec::new();
    for bucket in 0..found.partitions(&lists) {
        if samples.len() >= users {
            break;
        }
        let clicked = clicked(found, bucket)?;
        let mut sampled = listed(found, &lists, bucket, &clicked)?;
        ask(found, &lists, bucket, &mut sampled)?;
        look_back(found, bucket, &mut sampled)?;
        samples.extend(sampled.into_values().take(users - samples.len()));
    }
    title(found, &mut samples)?;
    Ok(samples)
}

/// What each user clicked in the window.
fn clicked(found: &Found, bucket: u32) -> Result<HashMap<String, HashSet<String>>> {
    let mut clicked: HashMap<String, HashSet<String>> = HashMap::new();
    let columns = [Truth::user_id.name(), Truth::news_id.name()];
    for batch in found.rows::<Truth>("truth", bucket, &columns)?.batches() {
        let (users, news) = (Truth::user_id.of(batch)?, Truth::news_id.of(batch)?);
        for (user, news) in users.iter().flatten().zip(news.iter().flatten()) {
            clicked.entry(user.into()).or_default().insert(news.into());
        }
    }
    Ok(clicked)
}

/// The users with a list and a click, and the top of their lists.
fn listed(
    found: &Found,
    lists: &str,
    bucket: u32,
    clicked: &HashMap<String, HashSet<String>>,
) -> Result<BTreeMap<String, Sample>> {
    let mut sampled: BTreeMap<String, Sample> = BTreeMap::new();
    for list in found.rows::<Recommendations>(lists, bucket, &[])?.columns() {
        let list = list?;
        for row in 0..list.rank.len() {
            let user = list.user_id.value(row);
            let Some(clicked) = clicked.get(user) else { continue };
            let sample = sampled.entry(user.into()).or_default();
            (sample.user_id, sample.clicked) = (user.into(), clicked.len());
            let query = list.query.is_valid(row).then(|| list.query.value(row).to_owned());
            if let Some(query) = query.as_ref().filter(|query| !sample.queries.contains(query)) {
                sample.queries.push(query.clone());
            }
            if list.rank.value(row) <= ARTICLES {
                sample.news.push(News {
                    news_id: list.news_id.value(row).into(),
                    title: String::new(),
                    query,
                    score: list.score.value(row),
                    hit: clicked.contains(list.news_id.value(row)),
                });
            }
        }
    }
    Ok(sampled)
}

/// All their queries, where the lists were made of queries: those that fetched nothing too.
fn ask(found: &Found, lists: &str, bucket: u32, sampled: &mut BTreeMap<String, Sample>) -> Result<()> {
    let read = found.manifests.get(lists).map(|manifest| manifest.lineage.inputs.keys());
    let interests = read.into_iter().flatten().find(|name| *name == "interests" || name.starts_with("interests."));
    let Some(interests) = interests else { return Ok(()) };
    for batch in found.rows::<Interests>(interests, bucket, &[])?.batches() {
        let (users, candidates) = (Interests::user_id.of(batch)?, Interests::candidate.of(batch)?);
        let queries = Interests::queries.of(batch)?;
        for row in (0..batch.num_rows()).filter(|&row| candidates.value(row) == 0) {
            if let Some(sample) = sampled.get_mut(users.value(row)) {
                sample.queries = queries.row(row).map(str::to_owned).collect();
            }
        }
    }
    Ok(())
}

/// What they did, most recent first.
fn look_back(found: &Found, bucket: u32, sampled: &mut BTreeMap<String, Sample>) -> Result<()> {
    let columns = [Profiles::user_id.name(), Profiles::split.name(), Profiles::behaviours.name()];
    for batch in found.rows::<Profiles>("profiles", bucket, &columns)?.batches() {
        let (users, splits) = (Profiles::user_id.of(batch)?, Profiles::split.of(batch)?);
        let behaviours = Profiles::behaviours.of(batch)?;
        let items = behaviours.items();
        for row in 0..batch.num_rows() {
            if let Some(sample) = sampled.get_mut(users.value(row)) {
                sample.split = splits.value(row).into();
                let recent = behaviours.range(row).take(BEHAVIOURS);
                sample.behaviours =
                    recent.map(|at| (items.domain.value(at).into(), items.text.value(at).into())).collect();
            }
        }
    }
    Ok(())
}

/// Looks the articles' titles up.
fn title(found: &Found, samples: &mut [Sample]) -> Result<()> {
    let wanted: BTreeSet<String> =
        samples.iter().flat_map(|s| &s.news).map(|article| article.news_id.clone()).collect();
    let mut titles: HashMap<String, String> = HashMap::new();
    let columns = [schemas::News::news_id.name(), schemas::News::title.name()];
    for part in 0..found.partitions("news") {
        for batch in found.rows::<schemas::News>("news", part, &columns)?.batches() {
            let (ids, names) = (schemas::News::news_id.of(batch)?, schemas::News::title.of(batch)?);
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
