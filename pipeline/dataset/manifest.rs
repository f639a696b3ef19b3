//! Manifests: what one version of a dataset is made of, and where it comes from.

use std::collections::BTreeMap;

use schemas::{Contract, Layout};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::account::Account;
use crate::plan::{Digest, digest};

/// One version of a dataset. It is the log entry's `add` actions (the parts) and what its `commitInfo` keeps under `querent`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format of this description.
    pub format: u32,
    /// The dataset's name.
    pub dataset: String,
    /// Its table.
    pub table: String,
    /// The table's version.
    pub table_version: u32,
    /// This version's number: that of its log entry.
    pub version: u64,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// Fingerprint of the run that made it.
    pub fingerprint: Digest,
    /// The log entry that the run was to create, of every dataset that it writes.
    pub outputs: BTreeMap<String, u64>,
    /// A number that no other commit has.
    pub nonce: String,
    /// Digest of the rows' bytes: equal content, equal digest, whoever wrote it and when.
    pub content: Digest,
    /// Number of partitions, empty ones included.
    pub partitions: u32,
    /// Rows in all parts.
    pub rows: u64,
    /// Bytes of all parts on disk.
    pub bytes: u64,
    /// What the account counts.
    pub unit: String,
    /// What went in came out.
    pub account: Account,
    /// Where it comes from.
    pub lineage: Lineage,
    /// Each partition's key and account, by partition.
    pub ledger: Vec<Entry>,
    /// The parts, by partition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
}

/// What one partition was made from, and its account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// See [`crate::plan`].
    pub key: Digest,
    /// What went in came out.
    pub account: Account,
}

/// One Parquet file of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The partition it belongs to.
    pub partition: u32,
    /// Path under the dataset's folder.
    pub path: String,
    /// Its rows.
    pub rows: u64,
    /// Its size on disk.
    pub bytes: u64,
    /// Its size as Arrow arrays.
    pub memory_bytes: u64,
    /// BLAKE3 of the file, in hex.
    pub blake3: Digest,
}

/// What a part's name says: `bucket=0007/0007-12-8f3a….parquet` is partition 7, written by a run that was based on version 12. The
/// base is one more than the number of the newest log entry that the run found, so 0 when there was none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartName {
    pub(crate) partition: u32,
    pub(crate) base: u64,
    pub(crate) attempt: u64,
}

impl PartName {
    /// Where a part lies under its dataset's folder.
    pub(crate) fn path(self, layout: Layout) -> String {
        let PartName { partition, base, attempt } = self;
        let name = format!("{partition:04}-{base}-{attempt:016x}.parquet");
        match layout {
            Layout::Users => format!("bucket={partition:04}/{name}"),
            Layout::Parts => name,
        }
    }

    /// The name that a path under a dataset's folder spells, if it is one that we write.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let (folder, name) = path.rsplit_once('/').map_or((None, path), |(folder, name)| (Some(folder), name));
        let mut fields = name.strip_suffix(".parquet")?.split('-');
        let (partition, base, attempt) = (fields.next()?, fields.next()?, fields.next()?);
        let name = PartName {
            partition: partition.parse().ok()?,
            base: base.parse().ok()?,
            attempt: u64::from_str_radix(attempt, 16).ok()?,
        };
        let layout = if folder.is_some() { Layout::Users } else { Layout::Parts };
        // Whatever else would parse (signs, other widths, deeper folders) is somebody's own file.
        (name.path(layout) == path).then_some(name)
    }

    /// The same part while its run is in work, within the run's folder.
    pub(crate) fn staged(self) -> String {
        let PartName { partition, base, attempt } = self;
        format!("{partition:04}-{base}-{attempt:016x}.part")
    }
}

/// Where a version comes from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Lineage {
    /// The job.
    pub job: String,
    /// Its stage's version.
    pub stage_version: u32,
    /// Its resolved settings.
    pub settings: Value,
    /// The datasets it read.
    pub inputs: BTreeMap<String, InputRef>,
    /// Digests of the model files that it used, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, String>,
    /// What else decided its rows: texts of SQL, cut-offs, the set of raw files.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, Value>,
    /// Check value of the user key, for datasets about users.
    pub user_key_check: Option<String>,
    /// The program's git revision.
    pub git_revision: String,
    /// Something a reader should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
    /// How many people were erased from what it was made of; none: it was not made of people's behaviours. Versions before the current
    /// one that knew of fewer are never kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased: Option<u64>,
}

/// A dataset version that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRef {
    /// Its number.
    pub version: u64,
    /// Its content digest.
    pub content: Digest,
}

impl Manifest {
    /// The newest format that this program knows.
    pub(crate) const FORMAT: u32 = 2;

    /// The digest of what parts hold.
    pub(crate) fn content_of(table: &str, table_version: u32, parts: &[Part]) -> Digest {
        let parts: Vec<_> = parts.iter().map(|p| json!([p.partition, p.rows, p.blake3])).collect();
        digest(&json!([table, table_version, parts]))
    }

    /// The part of a partition, if it has rows.
    pub fn part(&self, partition: u32) -> Option<&Part> {
        let at = self.parts.binary_search_by_key(&partition, |part| part.partition).ok()?;
        Some(&self.parts[at])
    }

    /// What lineages record about it.
    pub fn reference(&self) -> InputRef {
        InputRef { version: self.version, content: self.content.clone() }
    }

    /// What does not agree within the manifest, or with the dataset and number under which it was found.
    pub(crate) fn contradiction(&self, dataset: &str, number: u64) -> Option<String> {
        let mut account = Account::default();
        self.ledger.iter().for_each(|entry| account.merge(&entry.account));
        let named = |part: &Part| {
            let name = PartName::parse(&part.path);
            name.is_some_and(|name| name.partition == part.partition && name.base <= number)
        };
        let partitions: Vec<u32> = self.parts.iter().map(|part| part.partition).collect();
        [
            (self.dataset != dataset, "dataset"),
            (self.version != number || self.outputs.get(dataset) != Some(&number), "version"),
            (self.ledger.len() != self.partitions as usize, "ledger"),
            (self.account != account, "account"),
            (!self.parts.iter().all(named), "part names"),
            (!partitions.is_sorted_by(|a, b| a < b) || partitions.last() >= Some(&self.partitions), "partitions"),
            (self.rows != self.parts.iter().map(|p| p.rows).sum::<u64>(), "rows"),
            (self.bytes != self.parts.iter().map(|p| p.bytes).sum::<u64>(), "bytes"),
            (self.content != Self::content_of(&self.table, self.table_version, &self.parts), "content"),
        ]
        .into_iter()
        .find_map(|(wrong, what)| wrong.then(|| format!("its {what} and the rest of it do not agree")))
    }

    /// Whether it holds the given version of a table.
    pub(crate) fn holds(&self, contract: &Contract) -> bool {
        self.table == contract.name && self.table_version == contract.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_we_write_are_ours() {
        for layout in [Layout::Users, Layout::Parts] {
            let name = PartName { partition: 7, base: 12, attempt: 0xabc };
            assert_eq!(PartName::parse(&name.path(layout)), Some(name));
        }
        for other in [
            "0007-12-0000000000000ABC.parquet",
            "0007-+12-0000000000000abc.parquet",
            "7-12-0000000000000abc.parquet",
            "backup/0007-12-0000000000000abc.parquet",
            "bucket=0008/0007-12-0000000000000abc.parquet",
            "x/bucket=0007/0007-12-0000000000000abc.parquet",
            "../0007-12-0000000000000abc.parquet",
            "0007-12-0000000000000abc.parquet.bak",
        ] {
            assert_eq!(PartName::parse(other), None, "{other}");
        }
    }
}
