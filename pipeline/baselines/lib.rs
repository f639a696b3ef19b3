//! The field's recommenders, as their authors define them, to compare with: the same histories, candidates and lists as all methods.
//!
//! ```text
//! profiles, news_vectors ─────────────────pinnersage──▶ recommendations.pinnersage
//! ```

mod clicks;
mod pinnersage;
mod recommend;
pub mod ward;

pub use clicks::Clicks;
pub use pinnersage::{Cluster, PinnerSage};
pub use recommend::{ListSettings, Model, Recommend, Shared, Sources};
