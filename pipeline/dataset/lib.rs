//! Datasets that never lie, and the runner that fills them.
//!
//! A dataset is a folder of immutable Parquet parts under versioned manifests:
//!
//! ```text
//! profiles/
//!   _manifests/000002.json              the highest number is the current version
//!   _receipts/<fingerprint>/0007.json   partition 7 of an unfinished run is done: its parts, digests, counts
//!   _staged/<fingerprint>/0007-<attempt>.staged    a part of an unfinished run
//!   bucket=0007/0007-<attempt>.parquet  a part of the current version
//! ```
//!
//! What always holds:
//!
//! * A version appears by one create-if-absent PUT of its manifest; of several writers exactly one wins.
//! * Parts of unfinished work do not end in `.parquet`: until the commit, and after a kill or a full disk, a plain
//!   glob reads the old version. The commit renames the parts, then deletes what it superseded; a kill between the two
//!   is mended by the next run, and a reader through the manifest never notices.
//! * A part is reused only while everything it was made from is the same ([`plan`]).
//! * A manifest balances its account: in = out + dropped + quarantined ([`account`]).
//!
//! A [`Stage`] turns one partition's rows into rows; the [`Runner`] does all the rest.

pub mod account;
pub mod bucket;
mod commit;
mod draft;
mod error;
pub mod fault;
mod gc;
mod input;
#[cfg(test)]
mod laws;
mod manifest;
mod memory;
mod part;
pub mod plan;
mod progress;
mod rows;
mod runner;
mod stage;
mod store;

pub use account::Account;
pub use bucket::UserKey;
pub use commit::seal;
pub use draft::{Draft, empty_folder, write_through};
pub use error::{Error, Result};
pub use gc::{Swept, collect_garbage};
pub use input::{Input, Joint, Nothing, Source, same_users};
pub use manifest::{Dataset, Entry, InputRef, Lineage, Manifest, Part, RawFile, Snapshot};
pub use memory::parse_bytes;
pub use part::{check_order, decode, encode, read_part};
pub use plan::{Digest, Plan};
pub use progress::{Progress, Style};
pub use rows::{Rows, from_columns};
pub use runner::{Origin, Outcome, Runner, Shard, Summary};
pub use stage::{Done, Outputs, Stage};
pub use store::{File, Store};
