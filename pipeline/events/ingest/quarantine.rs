//! Quarantine: which raw rows were set aside, and why. Never their text.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{StringArray, UInt64Array};
use dataset::{Account, Done, Result, Rows, Stage, from_columns};
use schemas::Quarantine;
use serde::Serialize;
use serde_json::Value;

/// Lists the rows that were set aside.
#[derive(Debug, Clone, Serialize)]
pub struct SetAside {
    /// All of ingest's settings that change what is readable.
    pub(super) recipe: Value,
}

/// File, line, reason, source.
pub(super) type Entry = (String, u64, String, String);

/// What was set aside now, and before.
#[derive(Debug)]
pub struct Entries {
    pub(super) fresh: Vec<Entry>,
    pub(super) carried: Rows<Quarantine>,
}

impl Stage for SetAside {
    const NAME: &'static str = "ingest-quarantine";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "rows";
    type Inputs = Entries;
    type Outputs = Rows<Quarantine>;

    fn run(&self, _: u32, entries: Entries) -> Result<Done<Self::Outputs>> {
        let fresh = entries.fresh.len();
        let mut all: BTreeSet<Entry> = entries.fresh.into_iter().collect();
        for batch in entries.carried.batches() {
            let text = |name| Rows::<Quarantine>::column::<StringArray>(batch, name);
            let (sources, files, reasons) = (text("source")?, text("file")?, text("reason")?);
            let lines: &UInt64Array = Rows::<Quarantine>::column(batch, "line")?;
            all.extend(
                (0..batch.num_rows())
                    .map(|i| (files.value(i).into(), lines.value(i), reasons.value(i).into(), sources.value(i).into())),
            );
        }
        let mut account = Account { input: (fresh + entries.carried.len()) as u64, ..Account::default() };
        account.output = all.len() as u64;
        // A line of several behaviours is listed once per reason.
        account.drop("listed already", account.input - account.output);
        let rows = from_columns::<Quarantine>(vec![
            Arc::new(StringArray::from_iter_values(all.iter().map(|e| &e.3))),
            Arc::new(StringArray::from_iter_values(all.iter().map(|e| &e.0))),
            Arc::new(UInt64Array::from_iter_values(all.iter().map(|e| e.1))),
            Arc::new(StringArray::from_iter_values(all.iter().map(|e| &e.2))),
        ])?;
        Ok(Done { outputs: Rows::new(vec![rows]), accounts: vec![account] })
    }
}
