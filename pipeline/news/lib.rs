//! The news side: which articles may be recommended, their vectors, the index over them, and what queries fetch.
//!
//! ```text
//! news ──embed──▶ news_vectors ──index──▶ index (a folder) ──┐
//!            queries ──────────encoder──────────────────────retrieve──▶ recommendations.<method>
//! ```
//!
//! Queries and articles are vectors of one encoder, of unit length, so a cosine is a dot product. A *pool* ([`Pool`]) numbers the
//! candidate articles in the order of their ids; these numbers stand for articles in memory and in the index, and of two
//! equally good articles the one with the greater number (and id) comes first.

mod embed;
mod encoder;
mod exact;
mod fusion;
mod import;
mod index;
mod ivf;
#[cfg(test)]
mod laws;
mod listed;
mod lists;
mod measure;
mod people;
mod pool;
mod popularity;
mod queries;
mod retrieve;
mod themes;
mod vectors;

pub use embed::{Articles, Embed, Fields};
pub use encoder::EncoderSettings;
pub use exact::Exact;
pub use fusion::{Fetched, Fusion, fuse};
pub use import::{Import, ImportColumns};
pub use index::{Index, IndexAbout, IndexInputs, SearchSettings};
pub use ivf::Ivf;
pub use measure::{ByProbes, Measured, Searched, ask, recall};
pub use pool::{Candidates, Corpus, POOL, Pool, PoolSettings};
pub use popularity::popularity;
pub use retrieve::{METHODS, Retrieve};
pub use themes::{Theme, ThemeSettings};
pub use vectors::Vectors;

/// An article that a query fetched: its number in the pool, and its similarity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// The article's number in the pool.
    pub article: u32,
    /// Cosine of query and article.
    pub score: f32,
}

impl Hit {
    /// Best first; of equally good articles the one with the greater id.
    pub fn best_first(a: &Hit, b: &Hit) -> std::cmp::Ordering {
        b.score.total_cmp(&a.score).then(b.article.cmp(&a.article))
    }
}
