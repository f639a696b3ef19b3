//! Relations across people: the SQL files of `sql/`, run by embedded DataFusion.
//!
//! A query is a [`dataset::Source`] like any other: its inputs are dataset versions, so its result is fingerprinted, skipped when up
//! to date and committed by the same runner as everything else.

mod borderline;
mod evaluate;
mod popularity;
mod query;
mod session;
pub mod significance;
mod statistics;
mod summarise;

pub use borderline::LookAt;
pub use evaluate::{Among, Evaluate, Judged, Judgements};
pub use popularity::popularity_query;
pub use query::Query;
pub use statistics::{Tabulate, statistics_query};
pub use summarise::{Averages, Summarise, Values};
