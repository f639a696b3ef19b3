//! The report: one HTML page of what the jobs found, with no scripts and nothing fetched from anywhere.
//!
//! [`gather`](gather::gather) collects what there is from the datasets, [`page`](page::page) lays it out; every text is escaped.

mod chart;
mod gather;
mod page;
mod tables;

pub use gather::{Content, DatasetLine, News, Sample, gather};
pub use page::page;
pub use tables::{Comparison, Measure, measures, slices, statistics};
