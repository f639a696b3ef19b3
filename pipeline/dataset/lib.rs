//! Datasets that never lie, and the runner that fills them.
//!
//! A dataset is a folder of immutable Parquet parts under a log: a Delta table.
//!
//! ```text
//! profiles/
//!   _delta_log/00000000000000000012.json   version 12: its parts, and what it was made of   (log.rs)
//!   bucket=0007/0007-12-<attempt>.parquet  a part, made by a run that was to create entry 12
//!   _runs/<run>/plan.json                  an unfinished run: what it makes, of what
//!   _runs/<run>/0007.json                  its partition 7 is done: a receipt
//!   _runs/<run>/0007-12-<attempt>.part     a part of it, until the commit gives it its final name
//! ```
//!
//! What always holds:
//!
//! * A version appears by one create-if-absent PUT of its log entry; of several writers exactly one wins (`commit.rs`).
//! * What a version names is there, whole, for as long as it is the current one.
//! * Parts of unfinished work do not end in `.parquet` on a disk, so a plain glob reads the old version while a run works.
//! * A part is reused only while everything it was made from is the same ([`plan`]), and everything is declared ([`Inputs`]).
//! * A version balances its account: in = out + dropped + quarantined ([`account`]).
//!
//! A [`Stage`] turns one partition's rows into rows; the [`Runner`] does all the rest. An [`Artifact`] is what is no dataset.

pub mod account;
mod artifact;
pub mod bucket;
mod checkpoint;
mod commit;
mod disk;
mod error;
pub mod fault;
mod file;
mod gc;
pub mod ids;
mod inputs;
#[cfg(test)]
mod laws;
#[cfg(any(test, debug_assertions))]
mod like_s3;
mod log;
mod manifest;
mod memory;
#[cfg(test)]
mod model;
mod parallel;
mod part;
pub mod plan;
mod progress;
mod receipts;
mod regroup;
mod rows;
mod runner;
mod settings;
mod stage;
mod stale;
mod store;
mod tidy;
mod work;

pub use account::Account;
pub use artifact::{Artifact, Draft, IDENTITY, Identity};
pub use bucket::{KeySource, UserKey};
pub use commit::seal;
pub use error::{Error, Exit, Kind, Result, plain};
pub use file::{check_file, is_there, open_file, read_file};
pub use gc::{Sweep, Swept, collect_garbage};
pub use inputs::{ByPartition, Inputs, Whole};
pub use log::{Dataset, Snapshot};
pub use manifest::{Entry, InputRef, Lineage, Manifest, Part};
pub use memory::parse_bytes;
pub use parallel::in_parallel;
pub use part::{check_order, decode, encode, read_part};
pub use plan::{Digest, Plan};
pub use progress::{Progress, Style};
pub use regroup::{Regrouped, Spill};
pub use rows::Rows;
pub(crate) use runner::random;
pub use runner::{Outcome, Resources, Runner, Shard, Summary, Written, threads};
pub use settings::defaults;
pub use stage::{Done, Outputs, Stage};
pub use stale::Standing;
pub use store::{File, Store};
