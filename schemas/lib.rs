//! Contracts: what every dataset of querent holds, column by column.
//!
//! One file per dataset. A [`Table`] is a marker type with a name, a version, a key, a row order and
//! columns with their meaning; a [`Contract`] is the same as a value, for code that handles any table.
//! `querent schema` prints them. Times are UTC, ids are 32 hex digits, a column that may be null says so.
//!
//! A table's definition also gives its rows a type. They are made and read as a struct of arrays, a field per column,
//! so that no column is taken for another; where only some columns were read, a token per column reads one.
//!
//! ```
//! use schemas::{Truth, TruthColumns};
//!
//! # fn main() -> Result<(), arrow::error::ArrowError> {
//! let batch = TruthColumns {
//!     user_id: vec!["0f", "0f"].into(),
//!     news_id: vec!["N1", "N2"].into(),
//!     occurred_at: vec![1_700_000_000_000_000, 1_700_000_001_000_000].into(),
//! }
//! .into_batch()?;
//!
//! let truth = TruthColumns::from_batch(&batch)?;
//! assert_eq!(truth.news_id.value(1), "N2");
//!
//! let articles = batch.project(&[1])?;
//! assert_eq!(Truth::news_id.of(&articles)?.value(1), "N2");
//! assert_eq!(Truth::news_id.name(), "news_id");
//! # Ok(())
//! # }
//! ```

mod arms;
mod borderline;
mod clean_events;
mod cleaner_predictions;
mod column;
mod comparisons;
mod contract;
mod daily_lifts;
mod delta;
mod erased;
mod events;
#[cfg(test)]
#[expect(unreachable_pub, dead_code, reason = "made like any table, looked at by tests only")]
mod every;
mod experiment_moments;
mod experiment_users;
mod fallback;
mod impression_metrics;
mod impressions;
mod interests;
mod kind;
mod labels;
mod latent_interests;
mod lifts;
mod list_metrics;
mod lists;
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
mod raw_files;
mod recommendations;
mod rollouts;
mod scores;
mod statistics;
mod table;
mod text_scores;
mod throughput;
mod train_log;
mod trials;
mod true_labels;
mod true_lifts;
mod truth;
mod user_impressions;
mod user_metrics;

pub use arms::{Arms, ArmsColumns};
pub use borderline::{Borderline, BorderlineColumns};
pub use clean_events::{CleanEvents, CleanEventsColumns};
pub use cleaner_predictions::{CleanerPredictions, CleanerPredictionsColumns};
pub use column::Col;
pub use comparisons::{Comparisons, ComparisonsColumns};
pub use contract::{Column, Contract, Layout, SortColumn, Table};
pub use daily_lifts::{DailyLifts, DailyLiftsColumns};
pub use delta::BUCKET;
pub use erased::{Erased, ErasedColumns};
pub use events::{DOMAINS, Events, EventsColumns};
pub use experiment_moments::{ExperimentMoments, ExperimentMomentsColumns};
pub use experiment_users::{ExperimentUsers, ExperimentUsersColumns};
pub use fallback::{Fallback, FallbackColumns};
pub use impression_metrics::{ImpressionMetrics, ImpressionMetricsColumns};
pub use impressions::{Impressions, ImpressionsColumns};
pub use interests::{Interests, InterestsColumns};
pub use kind::{Bool, Bytes, Float32, Float64, Id, Int32, Int64, Kind, Record, Text, Texts, Time, Values, Vector};
pub use labels::{Labels, LabelsColumns};
pub use latent_interests::{LatentInterests, LatentInterestsColumns};
pub use lifts::{Lifts, LiftsColumns};
pub use list_metrics::{ListMetrics, ListMetricsColumns};
pub use lists::Lists;
pub use metrics::{Metrics, MetricsColumns, SLICES};
pub use news::{News, NewsColumns};
pub use news_vectors::{NewsVectors, NewsVectorsColumns};
pub use policy_optimizer::{PolicyOptimizer, PolicyOptimizerColumns};
pub use policy_state::{PolicyState, PolicyStateColumns};
pub use policy_weights::{PolicyWeights, PolicyWeightsColumns};
pub use popularity::{Popularity, PopularityColumns};
pub use profiles::{Behaviours, Profiles, ProfilesColumns};
pub use quarantine::{Quarantine, QuarantineColumns};
pub use raw::{
    RawClicks, RawClicksColumns, RawExperiment, RawExperimentColumns, RawNews, RawNewsColumns, RawSearches,
    RawSearchesColumns, RawVisits, RawVisitsColumns,
};
pub use raw_files::{RawFiles, RawFilesColumns};
pub use recommendations::{Recommendations, RecommendationsColumns, mean_of_seeds, method_and_step, of_mean, of_seed};
pub use rollouts::{Rollouts, RolloutsColumns};
pub use scores::{Scores, ScoresColumns};
pub use statistics::{Statistics, StatisticsColumns};
pub use text_scores::{TextScores, TextScoresColumns};
pub use throughput::{Throughput, ThroughputColumns};
pub use train_log::{TrainLog, TrainLogColumns};
pub use trials::{Trials, TrialsColumns};
pub use true_labels::{TrueLabels, TrueLabelsColumns};
pub use true_lifts::{TrueLifts, TrueLiftsColumns};
pub use truth::{Truth, TruthColumns};
pub use user_impressions::{UserImpressions, UserImpressionsColumns};
pub use user_metrics::{UserMetrics, UserMetricsColumns};

/// Every contract, in the order of the data's way through the jobs.
pub fn all() -> Vec<Contract> {
    vec![
        RawSearches::contract(),
        RawVisits::contract(),
        RawClicks::contract(),
        RawNews::contract(),
        RawExperiment::contract(),
        LatentInterests::contract(),
        TrueLabels::contract(),
        TrueLifts::contract(),
        Events::contract(),
        Quarantine::contract(),
        RawFiles::contract(),
        Erased::contract(),
        News::contract(),
        Truth::contract(),
        Impressions::contract(),
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
        TrainLog::contract(),
        Rollouts::contract(),
        Trials::contract(),
        Interests::contract(),
        Throughput::contract(),
        Scores::contract(),
        Recommendations::contract(),
        Fallback::contract(),
        UserMetrics::contract(),
        Metrics::contract(),
        Comparisons::contract(),
        ListMetrics::contract(),
        UserImpressions::contract(),
        ImpressionMetrics::contract(),
        ExperimentUsers::contract(),
        ExperimentMoments::contract(),
        Arms::contract(),
        Lifts::contract(),
        DailyLifts::contract(),
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
