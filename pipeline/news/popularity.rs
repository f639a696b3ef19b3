//! `popularity`: clicks per article before the cut-off.

use arrow::array::{RecordBatch, StringArray, UInt64Array};
use dataset::{Done, Input, Result, Rows, Source, Stage, Store};
use schemas::Popularity;
use serde::Serialize;

use crate::Pool;

/// Writes the result of `sql/popularity.sql`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CountClicks {}

impl Stage for CountClicks {
    const NAME: &'static str = "popularity";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "articles";
    type Inputs = Vec<RecordBatch>;
    type Outputs = Rows<Popularity>;

    fn run(&self, _: u32, rows: Self::Inputs) -> Result<Done<Self::Outputs>> {
        Ok(Done { outputs: Rows::new(rows), accounts: Vec::new() })
    }
}

/// A pool's articles by clicks in the current `popularity`, most clicked first, with their clicks; of equally popular ones the
/// greater id first.
pub fn popularity(store: &Store, pool: &Pool) -> Result<Vec<(u32, u64)>> {
    let mut clicks = vec![0; pool.len()];
    let input = Input::<Popularity>::open(store, "popularity")?;
    for part in 0..input.partitions() {
        for batch in input.read(part)?.batches() {
            let ids = Rows::<Popularity>::column::<StringArray>(batch, "news_id")?;
            let counts = Rows::<Popularity>::column::<UInt64Array>(batch, "clicks")?;
            for (id, count) in ids.iter().flatten().zip(counts.values()) {
                if let Some(number) = pool.number(id) {
                    clicks[number as usize] = *count;
                }
            }
        }
    }
    let mut ranking: Vec<(u32, u64)> = (0..).zip(clicks).collect();
    ranking.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(b.0.cmp(&a.0)));
    Ok(ranking)
}
