//! `statistics`: what a dataset is like, the paper's Table 1 first.

use arrow::array::RecordBatch;
use dataset::{Dataset, Done, Result, Rows, Stage, Store};
use schemas::{News, Profiles, Statistics, Table, Truth};
use serde::{Deserialize, Serialize};

use crate::Query;

/// Writes the result of `sql/statistics.sql`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tabulate {}

impl Stage for Tabulate {
    const NAME: &'static str = "statistics";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "statistics";
    type Inputs = Vec<RecordBatch>;
    type Outputs = Rows<Statistics>;

    fn run(&self, _: u32, rows: Self::Inputs) -> Result<Done<Self::Outputs>> {
        Ok(Done { outputs: Rows::new(rows), accounts: Vec::new() })
    }
}

/// `sql/statistics.sql` over the current profiles, news and truth.
pub fn statistics_query(store: &Store, threads: usize, memory_limit: u64) -> Result<Query> {
    Ok(Query {
        name: "statistics",
        sql: include_str!("../../sql/statistics.sql"),
        parameters: Vec::new(),
        tables: vec![
            ("profiles", Dataset::new(store, "profiles").snapshot::<Profiles>()?),
            ("news", Dataset::new(store, "news").snapshot::<News>()?),
            ("truth", Dataset::new(store, "truth").snapshot::<Truth>()?),
        ],
        threads,
        memory_limit,
        contract: Statistics::contract(),
    })
}
