//! Relations across people: the SQL files of `sql/`, run by embedded DataFusion.
//!
//! A SQL job is a file in `sql/`, a table in `schemas/` and a line in `queries.rs`. Its inputs are dataset versions, and DataFusion is
//! handed the bytes that were checked against them; it opens no file by itself.

pub mod abtest;
mod engine;
mod evaluate;
mod impressions;
mod judge;
#[cfg(test)]
mod laws;
mod list_metrics;
mod pools;
mod queries;
mod seeds;
pub mod significance;
#[cfg(test)]
mod slt;
mod sql;
mod summarise;
mod values;
mod version;

pub use evaluate::{Among, Evaluate, Judgements, methods};
pub use impressions::{EvaluateImpressions, Ranked, SummariseImpressions};
pub use judge::Judged;
pub use list_metrics::{DescribeLists, Described};
pub use queries::Nearest;
pub use sql::{NoParameters, Query, Sql};
pub use summarise::{Averages, Summarise};
pub use version::Version;
