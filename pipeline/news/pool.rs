//! The candidates: which articles may be recommended.

use arrow::array::Array;
use chrono::{DateTime, SecondsFormat};
use clap::{Args, ValueEnum};
use dataset::plan::{Digest, digest};
use dataset::{Dataset, Error, Inputs, Result, Store, Whole};
use schemas::{Events, News, Popularity};
use serde::{Deserialize, Serialize};
use serde_json::json;

const DAY_US: i64 = 86_400_000_000;
/// The cut-off and the window's end, which ingest declares.
const WINDOW: &str = "window_us";
/// The declared value that is equal for equal candidates: what `evaluate` compares, and what an index must be of.
pub const POOL: &str = "pool";

/// Which articles may be recommended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
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

/// Which articles may be recommended, and how many are too many to look at each: what index and retrieve share.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolSettings {
    /// Which articles may be recommended
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = Candidates::Live)]
    pub candidates: Candidates,
    /// How long before the cut-off live articles may have been published
    #[arg(long, value_name = "DAYS", default_value_t = 3)]
    pub candidate_days: u32,
    /// So many candidates and fewer are searched exactly, which is fast enough, and need no index
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub exact_up_to: usize,
}

impl Default for PoolSettings {
    fn default() -> Self {
        dataset::defaults()
    }
}

/// What a pool is chosen from, declared.
#[derive(Debug)]
pub struct Corpus {
    candidates: Candidates,
    /// Publication times of live articles: from, until before. `before` ends at the cut-off.
    published: [i64; 2],
    /// The value [`POOL`].
    pub(crate) digest: Digest,
    news: Whole<News>,
    clicked: Option<Whole<Popularity>>,
}

impl PoolSettings {
    /// Whether `popularity` decides which articles are candidates.
    pub fn reads_popularity(&self) -> bool {
        self.candidates == Candidates::Before
    }

    /// Declares what the candidates are chosen from, and their digest as the value [`POOL`].
    pub fn declare(&self, declare: &mut Inputs<'_>) -> Result<Corpus> {
        let news = declare.whole::<News>("news")?;
        let window = match self.candidates {
            Candidates::All => [i64::MIN, i64::MAX],
            _ => declare.value_of::<Events, [i64; 2]>("events", WINDOW)?,
        };
        let clicked = self.reads_popularity().then(|| declare.whole::<Popularity>("popularity")).transpose()?;
        let corpus = self.corpus(news, window, clicked)?;
        declare.value(POOL, &corpus.digest)?;
        Ok(corpus)
    }

    /// What the candidates are chosen from now, outside of any run.
    pub(crate) fn now(&self, store: &Store) -> Result<Corpus> {
        let events = Dataset::new(store, "events").snapshot::<Events>()?.manifest;
        let window = events.lineage.values.get(WINDOW).cloned().unwrap_or_default();
        let window: [i64; 2] = serde_json::from_value(window)
            .map_err(|e| Error::unreadable("events", format!("no {WINDOW}: {e}"), "run ingest again"))?;
        let clicked = self.reads_popularity().then(|| Whole::open(store, "popularity")).transpose()?;
        self.corpus(Whole::open(store, "news")?, window, clicked)
    }

    fn corpus(
        &self,
        news: Whole<News>,
        [cut_off, end]: [i64; 2],
        clicked: Option<Whole<Popularity>>,
    ) -> Result<Corpus> {
        let candidates = self.candidates;
        let published = match candidates {
            Candidates::All => [i64::MIN, i64::MAX],
            Candidates::Live => [self.first_live(cut_off)?, end],
            Candidates::Before => [i64::MIN, cut_off],
        };
        let clicks = clicked.as_ref().map(|clicked| &clicked.manifest().content);
        let digest = digest(&json!([news.manifest().content, candidates, published, clicks]));
        let news = news.columns(&[News::news_id.name(), News::published_at.name()]);
        let clicked = clicked.map(|clicked| clicked.columns(&[Popularity::news_id.name()]));
        Ok(Corpus { candidates, published, digest, news, clicked })
    }

    fn first_live(&self, cut_off: i64) -> Result<i64> {
        let days = i64::from(self.candidate_days).checked_mul(DAY_US);
        days.and_then(|days| cut_off.checked_sub(days)).ok_or_else(|| {
            let hint = "the default is 3; --candidates all takes all articles";
            Error::setting("candidate_days", "days that the calendar has", self.candidate_days, hint)
        })
    }
}

impl Corpus {
    /// Declares the articles known before the cut-off, for who learns from them: they are no candidates. Reads `popularity`.
    pub fn before(declare: &mut Inputs<'_>) -> Result<Self> {
        let settings = PoolSettings { candidates: Candidates::Before, ..PoolSettings::default() };
        let window = declare.value_of::<Events, [i64; 2]>("events", WINDOW)?;
        settings.corpus(declare.whole("news")?, window, Some(declare.whole("popularity")?))
    }

    /// Which articles they are, in words.
    pub fn about(&self) -> String {
        let day = |us: i64| {
            DateTime::from_timestamp_micros(us)
                .map_or_else(String::new, |at| at.to_rfc3339_opts(SecondsFormat::Secs, true))
        };
        let [from, until] = self.published;
        match self.candidates {
            Candidates::All => "all articles".into(),
            Candidates::Live => format!("articles published from {} to {}", day(from), day(until)),
            Candidates::Before => format!("articles known before {}", day(until)),
        }
    }

    /// Articles that there are, candidates or not.
    pub(crate) fn articles(&self) -> u64 {
        self.news.manifest().rows
    }

    /// Chooses the candidates.
    ///
    /// # Errors
    /// When there are none.
    pub fn open(&self) -> Result<Pool> {
        let mut clicked = Vec::new();
        for part in self.clicked.iter().flat_map(Whole::parts) {
            for batch in part?.batches() {
                clicked.extend(Popularity::news_id.of(batch)?.iter().flatten().map(str::to_owned));
            }
        }
        let clicked = Pool::of(clicked);
        let [from, until] = self.published;
        let mut ids = Vec::new();
        for part in self.news.parts() {
            for batch in part?.batches() {
                let (id, published) = (News::news_id.of(batch)?, News::published_at.of(batch)?);
                let taken = |row: &usize| {
                    self.candidates == Candidates::All
                        || (published.is_valid(*row) && (from..until).contains(&published.value(*row)))
                        || clicked.number(id.value(*row)).is_some()
                };
                ids.extend((0..batch.num_rows()).filter(taken).map(|row| id.value(row).to_owned()));
            }
        }
        match ids.is_empty() {
            true => {
                let hint =
                    "raise candidate_days, or take \"all\"; `querent inspect news` shows when articles were published";
                let setting = format!("candidates = \"{}\"", self.candidates);
                Err(Error::setting(&setting, "articles to recommend", format!("no {}", self.about()), hint))
            }
            false => Ok(Pool::of(ids)),
        }
    }
}

/// Some articles, numbered in the order of their ids.
#[derive(Debug, Clone)]
pub struct Pool {
    ids: Vec<String>,
}

impl Pool {
    /// A pool of these ids.
    pub fn of(mut ids: Vec<String>) -> Self {
        ids.sort_unstable();
        ids.dedup();
        Pool { ids }
    }

    /// All articles of `news`.
    pub fn all(news: &Whole<News>) -> Result<Self> {
        let mut ids = Vec::new();
        for part in news.parts() {
            for batch in part?.batches() {
                ids.extend(News::news_id.of(batch)?.iter().flatten().map(str::to_owned));
            }
        }
        Ok(Pool::of(ids))
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

    /// Bytes in memory.
    pub fn memory_bytes(&self) -> u64 {
        self.ids.iter().map(|id| (id.capacity() + size_of::<String>()) as u64).sum()
    }

    /// An article's number.
    pub fn number(&self, news_id: &str) -> Option<u32> {
        self.ids.binary_search_by(|id| id.as_str().cmp(news_id)).ok().map(|number| number as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_number_articles_in_the_order_of_their_ids() {
        let pool = Pool::of(["b", "a", "c", "b"].map(str::to_owned).to_vec());
        assert_eq!((pool.len(), pool.number("b"), pool.number("d")), (3, Some(1), None));
    }

    #[test]
    fn days_beyond_the_calendar_are_refused() -> Result<()> {
        let of = |candidate_days| PoolSettings { candidate_days, ..PoolSettings::default() }.first_live(0);
        assert_eq!(of(3)?, -3 * DAY_US);
        assert_eq!(of(u32::MAX).map_err(|e| e.exit_code()), Err(2));
        Ok(())
    }
}
