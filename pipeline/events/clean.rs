//! `clean`: events → clean events. A pass-through so far: the classifier comes next, and the manifest says so.

use std::sync::Arc;

use arrow::array::{Float32Array, RecordBatch};
use dataset::{Account, Done, Result, Rows, Stage, from_columns};
use schemas::{CleanEvents, Events};
use serde::{Deserialize, Serialize};

/// Keeps the behaviours that say something about interests.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clean {
    /// What decides: `none` keeps everything, with null scores.
    pub classifier: Classifier,
}

/// What tells interest from noise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Classifier {
    /// Nothing does: everything is kept.
    #[default]
    None,
}

impl Clean {
    /// What the manifest says beside the counts.
    pub const REMARK: &'static str = "pass-through: nothing was classified, nothing was dropped";
}

impl Stage for Clean {
    const NAME: &'static str = "clean";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "events";
    type Inputs = Rows<Events>;
    type Outputs = (Rows<CleanEvents>, Rows<CleanEvents>);

    fn run(&self, _: u32, events: Self::Inputs) -> Result<Done<Self::Outputs>> {
        let account = Account::all(events.len() as u64);
        let kept = events.into_batches().into_iter().map(unscored).collect::<Result<_>>()?;
        Ok(Done { outputs: (Rows::new(kept), Rows::empty()), accounts: vec![account] })
    }

    /// Measured: the columns pass through; only the encoded part is new.
    fn memory_bytes(&self, input_bytes: u64) -> u64 {
        input_bytes + input_bytes / 2
    }
}

fn unscored(batch: RecordBatch) -> Result<RecordBatch> {
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(Float32Array::new_null(batch.num_rows())));
    from_columns::<CleanEvents>(columns)
}
