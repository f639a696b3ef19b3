//! The news side: which articles may be recommended, their vectors, the index over them, and what queries fetch.
//!
//! ```text
//! news ──embed──▶ news_vectors ──index──▶ index (a folder) ──┐
//!            queries ──────────encoder──────────────────────retrieve──▶ recommendations.<method>, shown.<method>
//! ```
//!
//! Queries and articles are vectors of one encoder, of unit length, so a cosine is a dot product; or they are compared by their words
//! ([`Bm25`]). A *pool* ([`Pool`]) numbers the
//! candidate articles in the order of their ids; these numbers stand for articles in memory and in the index, and of two
//! equally good articles the one with the greater number (and id) comes first.

mod bm25;
mod by_vectors;
mod embed;
mod encoder;
mod exact;
mod fallback;
mod fusion;
mod import;
mod index;
mod ivf;
#[cfg(test)]
mod laws;
mod listed;
mod lists;
mod measure;
mod medoids;
mod people;
mod pool;
mod popularity;
mod queries;
mod retrieve;
mod searcher;
mod shown;
mod themes;
mod vectors;
mod words;

pub use bm25::Bm25;
pub use by_vectors::ByVectors;
pub use embed::{Articles, Embed, Fields};
pub use encoder::EncoderSettings;
pub use exact::{Exact, dot};
pub use fallback::Fallback;
pub use fusion::{Fetched, Fusion, fuse};
pub use import::{Import, ImportColumns};
pub use index::{Index, IndexAbout, IndexInputs, SearchSettings};
pub use ivf::Ivf;
pub use measure::{ByProbes, Measured, Searched, ask, recall};
pub use medoids::{MedoidSettings, Medoids};
pub use people::{Among, People, Person, Phrases, Queries};
pub use pool::{Candidates, Corpus, POOL, Pool, PoolSettings};
pub use popularity::popularity;
pub use retrieve::{METHODS, NOT_ASKED, Retrieve, Retriever, recommendations};
pub use searcher::{Search, Searcher, SearcherInputs};
pub use shown::{Shown, shown_dataset};
pub use themes::{Theme, ThemeSettings};
pub use vectors::{NEWS_VECTORS, Vectors, declare_vectors};
pub use words::Language;

/// An article that a query fetched: its number in the pool, and its similarity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// The article's number in the pool.
    pub article: u32,
    /// Cosine of query and article, or BM25.
    pub score: f32,
}

impl Hit {
    /// Best first; of equally good articles the one with the greater id.
    pub fn best_first(a: &Hit, b: &Hit) -> std::cmp::Ordering {
        b.score.total_cmp(&a.score).then(b.article.cmp(&a.article))
    }
}
