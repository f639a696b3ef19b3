//! The report: one HTML page of what the jobs found, with no scripts and nothing fetched from anywhere.
//!
//! [`Report`] makes it. `gather.rs` collects what there is from the datasets, [`page`](page::page) lays it out; every text is escaped.

mod chart;
mod chosen;
mod curves;
mod experiment;
mod forest;
mod found;
mod gather;
mod line;
mod page;
mod points;
mod report;
mod results;
mod runs;
mod samples;
mod tables;
mod throughput;

pub use chosen::{ChosenRow, ChosenTable};
pub use experiment::{Arm, DailyLift, Experiment, HEADINGS, Lift, experiment};
pub use gather::{Content, DatasetLine};
pub use page::page;
pub use report::Report;
pub use runs::TrainingRun;
pub use samples::{News, Sample};
pub use tables::{Comparison, ListMeasures, Measure, impression_measures, list_measures, measures, slices, statistics};
pub use throughput::{PolicyThroughput, ThroughputWords, throughput};
