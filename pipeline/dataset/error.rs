//! The one error type of the data spine: what happened, where, and what to do.

use std::fmt::Display;
use std::path::Path;

/// Result of the data spine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with datasets. [`Error::exit_code`] sorts them for schedulers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed: disk full, no permission, network.
    #[error(
        "{path}: {source}\nhint: nothing that was committed has changed; free space or mend the store, then run again"
    )]
    Store {
        /// Where.
        path: String,
        /// What the store said.
        source: object_store::Error,
    },
    /// A local file failed.
    #[error("{path}: {source}\nhint: nothing that was committed has changed; mend the cause, then run again")]
    Io {
        /// Where.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A dataset is not there.
    #[error(
        "{dataset}: no such dataset under {root}\nhint: run the job that writes it (`querent schema {table}` says what it holds), or check --data"
    )]
    Missing {
        /// Its name.
        dataset: String,
        /// The table looked for.
        table: String,
        /// Where it was looked for.
        root: String,
    },
    /// Bytes are not what the manifest says.
    #[error(
        "{path}: expected {expected}, got {got}\nhint: the part was changed or damaged after it was written; delete the dataset's folder and run its job again"
    )]
    Corrupt {
        /// The part.
        path: String,
        /// By the manifest.
        expected: String,
        /// As found.
        got: String,
    },
    /// A file is not readable as what it should be.
    #[error("{path}: {what}\nhint: {hint}")]
    Unreadable {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
        /// What to do.
        hint: String,
    },
    /// A table's columns are not those of the contract.
    #[error(
        "{table}: column {column}: expected {expected}, got {got}\nhint: `querent schema {table}` prints the contract"
    )]
    Schema {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// By the contract.
        expected: String,
        /// As found.
        got: String,
    },
    /// Rows break their contract's order or key.
    #[error(
        "{table}: row {row}: expected rows sorted by {order}, got one out of order\nhint: this is a bug of the stage that wrote it"
    )]
    Order {
        /// The table.
        table: String,
        /// The first offending row, from 0.
        row: usize,
        /// The order.
        order: String,
    },
    /// A dataset was written under another version of its contract.
    #[error(
        "{dataset}: expected {table} version {expected}, got version {got}\nhint: run the job that writes it again with this querent"
    )]
    TableVersion {
        /// The dataset.
        dataset: String,
        /// Its table.
        table: String,
        /// This program's version.
        expected: u32,
        /// The dataset's.
        got: u32,
    },
    /// A dataset holds another table.
    #[error("{dataset}: expected table {expected}, got {got}\nhint: check --data")]
    OtherTable {
        /// The dataset.
        dataset: String,
        /// Expected table.
        expected: String,
        /// Found table.
        got: String,
    },
    /// A manifest is newer than this program.
    #[error(
        "{path}: expected manifest format up to {expected}, got {got}\nhint: a newer querent wrote it; upgrade this one"
    )]
    Future {
        /// The manifest.
        path: String,
        /// Newest format known.
        expected: u32,
        /// Found.
        got: u32,
    },
    /// Datasets of different user keys were about to be mixed.
    #[error(
        "{dataset}: its user ids were made with another key (check value {got}, expected {expected})\nhint: use the key it was made with, or ingest the raw logs again under one key"
    )]
    OtherKey {
        /// The dataset.
        dataset: String,
        /// Check value in use.
        expected: String,
        /// The dataset's.
        got: String,
    },
    /// Datasets changed while they were read, or inputs that must come from one run do not.
    #[error("{what}: expected {expected}, got {got}\nhint: {hint}")]
    Mismatch {
        /// What differs.
        what: String,
        /// First.
        expected: String,
        /// Second.
        got: String,
        /// What to do.
        hint: String,
    },
    /// Another writer committed first.
    #[error(
        "{dataset}: another run committed version {version} (job {job}) while this one worked; nothing was overwritten\nhint: run again: what this run finished is kept and will be reused"
    )]
    Conflict {
        /// The dataset.
        dataset: String,
        /// The winner's version.
        version: u64,
        /// The winner's job.
        job: String,
    },
    /// A sharded run is not complete.
    #[error(
        "{dataset}: {have} of {need} partitions of run {fingerprint} are done; missing {missing}\nhint: run the missing shards, then commit again"
    )]
    Incomplete {
        /// The dataset.
        dataset: String,
        /// The run.
        fingerprint: String,
        /// Receipts there.
        have: usize,
        /// Receipts needed.
        need: u32,
        /// The first missing partitions.
        missing: String,
    },
    /// An account does not balance: a bug, never to be committed.
    #[error(
        "{job}: partition {partition}: {unit} in {input} but out + dropped + quarantined {output}\nhint: this is a bug; nothing was committed"
    )]
    Unbalanced {
        /// The job.
        job: String,
        /// The partition.
        partition: u32,
        /// The unit.
        unit: String,
        /// Units in.
        input: u64,
        /// Units accounted for.
        output: u64,
    },
    /// Too much was set aside.
    #[error(
        "{job}: {bad} of {total} {unit} are unreadable ({reasons}), more than --max-bad-ratio {limit}\nhint: mend the input{example}, or raise --max-bad-ratio"
    )]
    TooBad {
        /// The job.
        job: String,
        /// Set aside.
        bad: u64,
        /// Of how many.
        total: u64,
        /// The unit.
        unit: String,
        /// Counts by reason.
        reasons: String,
        /// The limit.
        limit: f64,
        /// Where the first one lies, as ` (first: file:line)`, or empty.
        example: String,
    },
    /// One partition needs more memory than the limit.
    #[error(
        "{job}: partition {partition} needs about {need} MiB, --memory-limit is {limit} MiB\nhint: raise --memory-limit, or ingest with more --buckets"
    )]
    Memory {
        /// The job.
        job: String,
        /// The partition.
        partition: u32,
        /// Estimate.
        need: u64,
        /// Limit.
        limit: u64,
    },
    /// A setting makes no sense.
    #[error("{setting}: expected {expected}, got {got}\nhint: {hint}")]
    Setting {
        /// The setting or flag.
        setting: String,
        /// What is allowed.
        expected: String,
        /// What was given.
        got: String,
        /// What to do.
        hint: String,
    },
    /// A pattern matches no raw file.
    #[error(
        "{setting}: expected globs that match files, got {got}\nhint: paths are relative to the folder querent is run in"
    )]
    NoFiles {
        /// The setting.
        setting: String,
        /// The patterns.
        got: String,
    },
    /// A model failed on rows.
    #[error("{0}")]
    Model(String),
    /// Arrow or Parquet refused.
    #[error("{what}: {source}\nhint: this is a bug; nothing was committed")]
    Arrow {
        /// While doing what.
        what: String,
        /// What Arrow said.
        source: arrow::error::ArrowError,
    },
}

impl Error {
    /// 1: failed and worth retrying; 2: wrong usage or configuration; 3: data breaks its contract.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Store { .. }
            | Error::Io { .. }
            | Error::Conflict { .. }
            | Error::Incomplete { .. }
            | Error::Mismatch { .. }
            | Error::Model(_) => 1,
            Error::Memory { .. } | Error::Setting { .. } | Error::Missing { .. } | Error::NoFiles { .. } => 2,
            _ => 3,
        }
    }

    /// A local file failed.
    pub fn io(path: impl Display, source: std::io::Error) -> Self {
        Error::Io { path: path.to_string(), source }
    }

    /// A local file or folder failed: what [`Error::io`] makes of the system's error.
    pub fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        |source| Error::io(path.display(), source)
    }

    /// A file is not readable as what it should be.
    pub fn unreadable(path: impl Display, what: impl Display, hint: impl Display) -> Self {
        Error::Unreadable { path: path.to_string(), what: what.to_string(), hint: hint.to_string() }
    }

    /// A model failed on rows; its own error says why and what to do.
    pub fn model(e: impl Display) -> Self {
        Error::Model(e.to_string())
    }

    /// Arrow refused something that our own code made.
    pub fn arrow(what: impl Display) -> impl FnOnce(arrow::error::ArrowError) -> Self {
        move |source| Error::Arrow { what: what.to_string(), source }
    }

    /// A setting makes no sense.
    pub fn setting(setting: &str, expected: impl Display, got: impl Display, hint: impl Display) -> Self {
        Error::Setting {
            setting: setting.into(),
            expected: expected.to_string(),
            got: got.to_string(),
            hint: hint.to_string(),
        }
    }
}
