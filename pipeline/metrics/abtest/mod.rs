//! A/B tests: from a table of users and days to lifts.
//!
//! `user_days.rs` reads the table, row by row checked. `gather.rs` sends rows to their users' buckets, `numbered.rs` puts them in order,
//! and SQL adds them up: per user, then over users, so nobody holds user-days. `analyse.rs` turns the sums into lifts. The statistics (`estimate.rs`) see [`Moments`] alone.

mod analyse;
mod assign;
mod checked;
mod distributions;
mod estimate;
mod figures;
mod gather;
#[cfg(test)]
mod laws;
mod moments;
mod numbered;
mod rows;
mod user_days;

pub use analyse::{AbTest, Adjustment};
pub use distributions::{StudentT, chi_squared_tail, normal_quantile, normal_tail};
pub use estimate::{ALPHA, Arm, DETECTS, Interval, Pair};
pub use gather::GatherExperiment;
pub use moments::Moments;
pub use user_days::UserDayColumns;

/// What is measured, in the order of the report.
pub const METRICS: [&str; 2] = ["dau", "ctr"];
/// Which users, in the order of the report.
pub const SEGMENTS: [&str; 3] = ["all", "cold", "warm"];
