//! Contracts: what every dataset of querent holds, column by column.
//!
//! One file per dataset. A [`Table`] is a marker type with a name, a version, a key, a row order and
//! columns with their meaning; a [`Contract`] is the same as a value, for code that handles any table.
//! `querent schema` prints them. Times are UTC, ids are 32 hex digits, a column that may be null says so.

mod borderline;
mod clean_events;
mod cleaner_predictions;
mod column;
mod comparisons;
mod events;
mod interests;
mod labels;
mod latent_interests;
mod metrics;
mod news;
mod news_vectors;
mod policy_optimizer;
mod policy_state;
mod policy_weights;
mod popularity;
mod profiles;
mod quarantine;
mod raw;
mod recommendations;
mod statistics;
mod text_scores;
mod true_labels;
mod truth;
mod user_metrics;

pub use borderline::Borderline;
pub use clean_events::CleanEvents;
pub use cleaner_predictions::CleanerPredictions;
pub use column::{Column, column, fits, float64, id, list, nullable, text, timestamp, uint32, uint64, vector};
pub use comparisons::Comparisons;
pub use events::{DOMAINS, Events};
pub use interests::Interests;
pub use labels::Labels;
pub use latent_interests::LatentInterests;
pub use metrics::{Metrics, SLICES};
pub use news::News;
pub use news_vectors::NewsVectors;
pub use policy_optimizer::PolicyOptimizer;
pub use policy_state::PolicyState;
pub use policy_weights::PolicyWeights;
pub use popularity::Popularity;
pub use profiles::{Profiles, behaviour_fields};
pub use quarantine::Quarantine;
pub use raw::{RawClicks, RawNews, RawSearches, RawVisits};
pub use recommendations::Recommendations;
pub use statistics::Statistics;
pub use text_scores::TextScores;
pub use true_labels::TrueLabels;
pub use truth::Truth;
pub use user_metrics::UserMetrics;

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};

/// How a dataset is cut into partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One partition per user bucket, in hive folders `bucket=0007/`.
    Users,
    /// Numbered parts without a meaning of their own.
    Parts,
}

/// One column of a table's row order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortColumn {
    /// The column's name.
    pub name: &'static str,
    /// Largest first.
    pub descending: bool,
}

/// Ascending order by a column.
pub const fn ascending(name: &'static str) -> SortColumn {
    SortColumn { name, descending: false }
}

/// Descending order by a column.
pub const fn descending(name: &'static str) -> SortColumn {
    SortColumn { name, descending: true }
}

/// A dataset's contract, as a type.
pub trait Table: Send + Sync + 'static {
    /// The table's name; a dataset of this table usually has the same name.
    const NAME: &'static str;
    /// Raised whenever a column, its type or its meaning changes.
    const VERSION: u32;
    /// One sentence: what a row is.
    const ABOUT: &'static str;
    /// How datasets of this table are partitioned.
    const LAYOUT: Layout;
    /// Columns that together name a row.
    const KEY: &'static [&'static str];
    /// The order of rows within a part. Writers check it; readers rely on it.
    const ORDER: &'static [SortColumn];

    /// The columns, in order.
    fn columns() -> Vec<Column>;

    /// The contract as a value.
    fn contract() -> Contract {
        Contract {
            name: Self::NAME,
            version: Self::VERSION,
            about: Self::ABOUT,
            layout: Self::LAYOUT,
            key: Self::KEY,
            order: Self::ORDER,
            columns: Self::columns(),
        }
    }
}

/// A dataset's contract, as a value.
#[derive(Debug, Clone)]
pub struct Contract {
    /// See [`Table::NAME`].
    pub name: &'static str,
    /// See [`Table::VERSION`].
    pub version: u32,
    /// See [`Table::ABOUT`].
    pub about: &'static str,
    /// See [`Table::LAYOUT`].
    pub layout: Layout,
    /// See [`Table::KEY`].
    pub key: &'static [&'static str],
    /// See [`Table::ORDER`].
    pub order: &'static [SortColumn],
    /// See [`Table::columns`].
    pub columns: Vec<Column>,
}

impl Contract {
    /// The Arrow schema of the table.
    pub fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(
            self.columns.iter().map(|c| Field::new(c.name, c.data_type.clone(), c.nullable)).collect::<Vec<_>>(),
        ))
    }
}

/// Every contract, in the order of the data's way through the jobs.
pub fn all() -> Vec<Contract> {
    vec![
        RawSearches::contract(),
        RawVisits::contract(),
        RawClicks::contract(),
        RawNews::contract(),
        LatentInterests::contract(),
        TrueLabels::contract(),
        Events::contract(),
        Quarantine::contract(),
        News::contract(),
        Truth::contract(),
        Labels::contract(),
        CleanerPredictions::contract(),
        TextScores::contract(),
        CleanEvents::contract(),
        Borderline::contract(),
        Profiles::contract(),
        Statistics::contract(),
        NewsVectors::contract(),
        Popularity::contract(),
        PolicyWeights::contract(),
        PolicyOptimizer::contract(),
        PolicyState::contract(),
        Interests::contract(),
        Recommendations::contract(),
        UserMetrics::contract(),
        Metrics::contract(),
        Comparisons::contract(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words that engines refuse as bare column names.
    const SQL_KEYWORDS: [&str; 8] = ["at", "list", "order", "group", "table", "select", "time", "user"];

    #[test]
    fn contracts_name_their_own_columns_and_no_sql_keyword() {
        for contract in all() {
            let names: Vec<_> = contract.columns.iter().map(|c| c.name).collect();
            for key in contract.key.iter().chain(contract.order.iter().map(|o| &o.name)) {
                assert!(names.contains(key), "{}: no column {key}", contract.name);
            }
            for name in names {
                assert!(!SQL_KEYWORDS.contains(&name), "{}: {name} is a keyword", contract.name);
            }
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = all().iter().map(|c| c.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().len());
    }
}
