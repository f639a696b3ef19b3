//! The candidates: which articles may be recommended.

use std::collections::HashSet;

use arrow::array::{Array, StringArray, TimestampMicrosecondArray};
use chrono::{DateTime, SecondsFormat};
use dataset::plan::{Digest, digest};
use dataset::{Dataset, Error, Input, Result, Rows, Source, Store};
use schemas::{Events, News, Popularity};
use serde::{Deserialize, Serialize};
use serde_json::json;

const DAY_US: i64 = 86_400_000_000;

/// Which articles may be recommended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Candidates {
    /// Published from some days before the cut-off until the window's end.
    #[default]
    Live,
    /// Known before the cut-off: published before it, or named in a history. What training may look at.
    Before,
    /// The whole corpus.
    All,
}

impl std::fmt::Display for Candidates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Candidates::Live => "live",
            Candidates::Before => "before",
            Candidates::All => "all",
        })
    }
}

/// The candidate articles, numbered in the order of their ids.
#[derive(Debug, Clone)]
pub struct Pool {
    ids: Vec<String>,
    /// Which they are, for people.
    pub about: String,
}

impl Pool {
    /// Chooses the candidates from the current `news`. `days`: how long before the cut-off live articles may have been published.
    ///
    /// # Errors
    /// When there are none.
    pub fn open(store: &Store, candidates: Candidates, days: u32) -> Result<Self> {
        let events = Dataset::new(store, "events").snapshot::<Events>()?;
        let window = events.window()?;
        let cut = window.start;
        let live = cut - i64::from(days) * DAY_US..window.end;
        let clicked = match candidates {
            Candidates::Before => clicked_before(store)?,
            _ => Vec::new(),
        };
        let news = Input::<News>::open(store, "news")?.columns(&["news_id", "published_at"]);
        let mut ids = Vec::new();
        for part in 0..news.partitions() {
            for batch in news.read(part)?.batches() {
                let id: &StringArray = Rows::<News>::column(batch, "news_id")?;
                let published: &TimestampMicrosecondArray = Rows::<News>::column(batch, "published_at")?;
                for row in 0..batch.num_rows() {
                    let at = published.is_valid(row).then(|| published.value(row));
                    let taken = match candidates {
                        Candidates::All => true,
                        Candidates::Live => at.is_some_and(|at| live.contains(&at)),
                        Candidates::Before => {
                            at.is_some_and(|at| at < cut)
                                || clicked.binary_search_by(|c| c.as_str().cmp(id.value(row))).is_ok()
                        }
                    };
                    if taken {
                        ids.push(id.value(row).to_owned());
                    }
                }
            }
        }
        ids.sort_unstable();
        let day = |us: i64| {
            DateTime::from_timestamp_micros(us)
                .map_or_else(String::new, |at| at.to_rfc3339_opts(SecondsFormat::Secs, true))
        };
        let about = match candidates {
            Candidates::All => format!("all {} articles", ids.len()),
            Candidates::Live => {
                format!("{} articles published from {} to {}", ids.len(), day(live.start), day(live.end))
            }
            Candidates::Before => format!("{} articles known before {}", ids.len(), day(cut)),
        };
        match ids.is_empty() {
            true => {
                let hint =
                    "raise candidate_days, or take \"all\"; `querent inspect news` shows when articles were published";
                Err(Error::setting(&format!("candidates = \"{candidates}\""), "articles to recommend", about, hint))
            }
            false => Ok(Pool { ids, about }),
        }
    }

    /// A pool of these ids.
    pub fn of(mut ids: Vec<String>) -> Self {
        ids.sort_unstable();
        ids.dedup();
        Pool { about: format!("{} articles", ids.len()), ids }
    }

    /// Ids by number, ascending.
    pub fn ids(&self) -> &[String] {
        &self.ids
    }

    /// Number of articles.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// An article's number.
    pub fn number(&self, news_id: &str) -> Option<u32> {
        self.ids.binary_search_by(|id| id.as_str().cmp(news_id)).ok().map(|number| number as u32)
    }

    /// Digest of the ids.
    pub fn content(&self) -> Digest {
        digest(&json!(self.ids))
    }
}

/// Titles of at most so many articles of a pool, evenly spread, where they have one.
///
/// # Errors
/// When none has.
pub fn titles(store: &Store, pool: &Pool, count: usize) -> Result<Vec<String>> {
    let wanted: HashSet<u32> =
        (0..count.min(pool.len())).map(|at| (at * pool.len() / count.min(pool.len())) as u32).collect();
    let news = Input::<News>::open(store, "news")?.columns(&["news_id", "title"]);
    let mut titles = Vec::new();
    for part in 0..news.partitions() {
        for batch in news.read(part)?.batches() {
            let id: &StringArray = Rows::<News>::column(batch, "news_id")?;
            let title: &StringArray = Rows::<News>::column(batch, "title")?;
            let taken =
                |&row: &usize| title.is_valid(row) && pool.number(id.value(row)).is_some_and(|n| wanted.contains(&n));
            titles.extend((0..batch.num_rows()).filter(taken).map(|row| title.value(row).to_owned()));
        }
    }
    match titles.is_empty() {
        true => {
            Err(Error::unreadable("news", "no article of the pool has a title", "ingest titles, or leave --verify out"))
        }
        false => Ok(titles),
    }
}

fn clicked_before(store: &Store) -> Result<Vec<String>> {
    let popularity = Input::<Popularity>::open(store, "popularity")?;
    let mut ids = Vec::new();
    for part in 0..popularity.partitions() {
        for batch in popularity.read(part)?.batches() {
            ids.extend(
                Rows::<Popularity>::column::<StringArray>(batch, "news_id")?.iter().flatten().map(str::to_owned),
            );
        }
    }
    ids.sort_unstable();
    Ok(ids)
}
