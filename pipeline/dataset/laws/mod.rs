//! Laws of datasets and runner, checked with toy stages over a real disk, a disk that loses power, and an object store like S3.

mod artifacts;
mod damage;
mod power;
mod races;
mod runs;
mod stores;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use arrow::array::RecordBatch;
use schemas::{Truth, TruthColumns};
use serde::{Deserialize, Serialize};

use crate::*;

/// Partitions at which [`Make`] fails, by its shift: a stage's settings are all that reaches it, and a wish to fail is none.
static FAILING: Mutex<BTreeSet<(i64, u32)>> = Mutex::new(BTreeSet::new());

/// Makes `rows` rows per partition, all `shift` microseconds later.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Make {
    rows: u32,
    shift: i64,
    partitions: u32,
}

fn make(rows: u32, shift: i64, partitions: u32) -> Make {
    Make { rows, shift, partitions }
}

fn truth(rows: impl IntoIterator<Item = (String, String, i64)>) -> Rows<Truth> {
    let rows: Vec<_> = rows.into_iter().collect();
    let columns = TruthColumns {
        user_id: rows.iter().map(|r| Some(&r.0)).collect(),
        news_id: rows.iter().map(|r| Some(&r.1)).collect(),
        occurred_at: rows.iter().map(|r| r.2).collect::<Vec<_>>().into(),
    };
    Rows::of(columns).expect("columns of the contract")
}

impl Stage for Make {
    const NAME: &'static str = "make";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "rows";
    type Inputs = ();
    type Shared = ();
    type Outputs = (Rows<Truth>, Rows<Truth>);

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<()> {
        declare.partitions(self.partitions)
    }

    fn open(&self, (): &(), _: &Resources) -> Result<()> {
        Ok(())
    }

    fn run(&self, (): &(), (): &(), partition: u32) -> Result<Done<Self::Outputs>> {
        if FAILING.lock().expect("no panic").contains(&(self.shift, partition)) {
            return Err(Error::setting("toy", "success", "failure", "asked for"));
        }
        let rows = (0..self.rows).map(|i| (format!("{partition:032x}"), format!("n{i:05}"), i64::from(i) + self.shift));
        let mut account = Account::all(u64::from(self.rows));
        account.input += 1;
        account.drop("one", 1);
        Ok(Done { outputs: (truth(rows), Rows::empty()), accounts: vec![account] })
    }
}

/// Passes rows on.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Pass {}

impl Stage for Pass {
    const NAME: &'static str = "pass";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "rows";
    type Inputs = ByPartition<Truth>;
    type Shared = ();
    type Outputs = Rows<Truth>;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<ByPartition<Truth>> {
        declare.by_partition("out")
    }

    fn open(&self, _: &ByPartition<Truth>, _: &Resources) -> Result<()> {
        Ok(())
    }

    fn run(&self, rows: &ByPartition<Truth>, (): &(), partition: u32) -> Result<Done<Self::Outputs>> {
        Ok(Done { outputs: rows.read(partition)?, accounts: Vec::new() })
    }
}

fn runner_over(store: Store) -> Runner {
    Runner {
        resources: Resources {
            store,
            threads: 2,
            memory_limit: 1 << 30,
            progress: Style::Silent,
            max_bad_ratio: 0.01,
            user_key: KeySource { file: None, insecure_dev_key: true },
        },
        shard: None,
        dry_run: false,
        keep_versions: 0,
        git_revision: "test".into(),
    }
}

fn runner(root: &Path) -> Runner {
    runner_over(Store::open(&root.display().to_string()).expect("a folder"))
}

const OUT: [&str; 2] = ["out", "out.rest"];

fn run(runner: &Runner, stage: &Make) -> Result<Summary> {
    runner.run(stage, &OUT)
}

fn text(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().map(|c| arrow::util::display::array_value_to_string(c, row));
            rows.push(cells.map(|c| c.expect("printable")).collect::<Vec<_>>().join("|"));
        }
    }
    rows.sort();
    rows
}

/// The rows of the current version.
fn by_version(runner: &Runner, name: &str) -> Result<Vec<String>> {
    let mut batches = Vec::new();
    for rows in Whole::<Truth>::open(runner.store(), name)?.parts() {
        batches.extend(rows?.into_batches());
    }
    Ok(text(&batches))
}

fn parquet_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "_delta_log" {
            files.extend(parquet_files(&path));
        } else if path.extension().is_some_and(|e| e == "parquet") {
            files.push(path);
        }
    }
    files
}

/// The rows that a plain glob reads.
fn by_glob(root: &Path, name: &str) -> Vec<String> {
    let mut batches = Vec::new();
    for file in parquet_files(&root.join(name)) {
        let file = std::fs::File::open(file).expect("it was listed");
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).expect("parquet");
        batches.extend(reader.build().expect("parquet").map(|b| b.expect("parquet")));
    }
    text(&batches)
}
