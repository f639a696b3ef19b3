//! `borderline`: the behaviours that the cleaner was least sure of.

use arrow::array::RecordBatch;
use dataset::{Dataset, Done, Result, Rows, Stage, Store};
use schemas::{Borderline, CleanEvents, Table};
use serde::Serialize;

use crate::Query;

/// Writes the result of `sql/borderline.sql`.
#[derive(Debug, Clone, Serialize)]
pub struct LookAt {
    /// The cleaner's threshold.
    pub threshold: f32,
    /// Texts, at most.
    pub texts: u32,
}

impl Stage for LookAt {
    const NAME: &'static str = "borderline";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "texts";
    type Inputs = Vec<RecordBatch>;
    type Outputs = Rows<Borderline>;

    fn run(&self, _: u32, rows: Self::Inputs) -> Result<Done<Self::Outputs>> {
        Ok(Done { outputs: Rows::new(rows), accounts: Vec::new() })
    }
}

impl LookAt {
    /// `sql/borderline.sql` over the current clean and dropped events.
    pub fn query(&self, store: &Store, threads: usize, memory_limit: u64) -> Result<Query> {
        Ok(Query {
            name: "borderline",
            sql: include_str!("../../sql/borderline.sql"),
            parameters: vec![("threshold", f64::from(self.threshold)), ("texts", f64::from(self.texts))],
            tables: vec![
                ("kept", Dataset::new(store, "clean_events").snapshot::<CleanEvents>()?),
                ("dropped", Dataset::new(store, "clean_events.dropped").snapshot::<CleanEvents>()?),
            ],
            threads,
            memory_limit,
            contract: Borderline::contract(),
        })
    }
}
