//! Manifests: the numbered, immutable files that say which parts make up a dataset, and where they come from.

use std::collections::BTreeMap;

use bytes::Bytes;
use schemas::Table;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::account::Account;
use crate::plan::{Digest, digest};
use crate::store::Store;
use crate::{Error, Result};

/// The newest manifest format this program knows.
pub(crate) const FORMAT: u32 = 1;

/// One version of a dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format of this file.
    pub format: u32,
    /// The dataset's name.
    pub dataset: String,
    /// Its table.
    pub table: String,
    /// The table's version.
    pub table_version: u32,
    /// This version's number, from 1.
    pub version: u64,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// Fingerprint of the run that made it.
    pub fingerprint: Digest,
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
    /// Where it lies until the commit has renamed it.
    pub staged: String,
    /// Its rows.
    pub rows: u64,
    /// Its size on disk.
    pub bytes: u64,
    /// Its size as Arrow arrays.
    pub memory_bytes: u64,
    /// BLAKE3 of the file, in hex.
    pub blake3: Digest,
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
    /// SHA-256 of the model files it used, by name.
    pub models: BTreeMap<String, String>,
    /// Check value of the user key, for datasets about users.
    pub user_key_check: Option<String>,
    /// The program's git revision.
    pub git_revision: String,
    /// The seed, for jobs that draw random numbers.
    pub seed: Option<u64>,
    /// The raw files read so far (ingest only).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub raw_files: Vec<RawFile>,
    /// Something a reader should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
}

/// A dataset version that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRef {
    /// Its number.
    pub version: u64,
    /// Its content digest.
    pub content: Digest,
}

/// A raw file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawFile {
    /// The raw log it belongs to, as the configuration names it.
    pub source: String,
    /// As found.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// BLAKE3 of its content.
    pub blake3: Digest,
    /// Rows read.
    pub rows: u64,
    /// Latest time in it, microseconds since 1970; the smallest number without times.
    pub latest_us: i64,
}

impl Manifest {
    /// The digest of what parts hold.
    pub(crate) fn content_of(table: &str, table_version: u32, parts: &[Part]) -> Digest {
        let parts: Vec<_> = parts.iter().map(|p| json!([p.partition, p.rows, p.blake3])).collect();
        digest(&json!([table, table_version, parts]))
    }

    /// The part of a partition, if it has rows.
    pub fn part(&self, partition: u32) -> Option<&Part> {
        self.parts.iter().find(|p| p.partition == partition)
    }
}

/// A dataset by name: the folder, whatever version it is at.
#[derive(Debug, Clone)]
pub struct Dataset {
    pub(crate) store: Store,
    pub(crate) name: String,
}

impl Dataset {
    /// The dataset of that name under the store's root, there or not.
    pub fn new(store: &Store, name: &str) -> Self {
        Dataset { store: store.clone(), name: name.to_owned() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The store it lies in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn path(&self, relative: &str) -> String {
        format!("{}/{relative}", self.name)
    }

    /// The numbers of the versions whose manifests are there, ascending.
    pub fn versions(&self) -> Result<Vec<u64>> {
        let files = self.store.list(&self.path("_manifests"))?;
        Ok(files.iter().filter_map(|f| f.path.rsplit('/').next()?.strip_suffix(".json")?.parse().ok()).collect())
    }

    /// The current version, or `None` before the first commit.
    pub fn current(&self) -> Result<Option<Manifest>> {
        match self.versions()?.last() {
            Some(version) => self.manifest(*version).map(Some),
            None => Ok(None),
        }
    }

    pub(crate) fn manifest_path(&self, version: u64) -> String {
        self.path(&format!("_manifests/{version:06}.json"))
    }

    /// The manifest of one version.
    pub fn manifest(&self, version: u64) -> Result<Manifest> {
        let path = self.manifest_path(version);
        let url = self.store.url(&path);
        let bytes = self.store.get(&path)?.ok_or_else(|| {
            Error::unreadable(&url, "no such version", format!("`querent inspect {}` lists the versions", self.name))
        })?;
        let hint = "the manifest was damaged after it was written: restore it, or delete the dataset's folder and run its job again";
        let value: Value = serde_json::from_slice(&bytes)
            .map_err(|e| Error::unreadable(&url, format!("expected a JSON manifest: {e}"), hint))?;
        let format = value["format"].as_u64().unwrap_or(0) as u32;
        if format > FORMAT {
            return Err(Error::Future { path: url, expected: FORMAT, got: format });
        }
        serde_json::from_value(value)
            .map_err(|e| Error::unreadable(&url, format!("expected a manifest of format {FORMAT}: {e}"), hint))
    }

    /// Publishes a manifest under its number; false when that number is taken.
    pub(crate) fn publish(&self, manifest: &Manifest) -> Result<bool> {
        let json = to_json(manifest);
        self.store.create(&self.manifest_path(manifest.version), json)
    }

    /// The current version, checked against the table's contract.
    pub fn snapshot<T: Table>(&self) -> Result<Snapshot> {
        let manifest = self.current()?.ok_or_else(|| Error::Missing {
            dataset: self.name.clone(),
            table: T::NAME.into(),
            root: self.store.root().into(),
        })?;
        if manifest.table != T::NAME {
            return Err(Error::OtherTable {
                dataset: self.name.clone(),
                expected: T::NAME.into(),
                got: manifest.table,
            });
        }
        if manifest.table_version != T::VERSION {
            return Err(Error::TableVersion {
                dataset: self.name.clone(),
                table: T::NAME.into(),
                expected: T::VERSION,
                got: manifest.table_version,
            });
        }
        Ok(Snapshot { dataset: self.clone(), manifest })
    }
}

/// One version of a dataset, opened for reading.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The dataset.
    pub dataset: Dataset,
    /// The version.
    pub manifest: Manifest,
}

impl Snapshot {
    /// The evaluation window of what ingest wrote, microseconds since 1970; it starts at the cut-off.
    pub fn window(&self) -> Result<std::ops::Range<i64>> {
        const DAY: i64 = 86_400_000_000;
        let settings = &self.manifest.lineage.settings;
        let cut_off = settings["cut_off"].as_str().and_then(|at| chrono::DateTime::parse_from_rfc3339(at).ok());
        match (cut_off, settings["window_days"].as_i64()) {
            (Some(cut_off), Some(days)) => Ok(cut_off.timestamp_micros()..cut_off.timestamp_micros() + days * DAY),
            _ => Err(Error::unreadable(
                self.dataset.name(),
                "its manifest names no cut-off and window",
                "run ingest again",
            )),
        }
    }

    /// What lineages record about it.
    pub fn reference(&self) -> InputRef {
        InputRef { version: self.manifest.version, content: self.manifest.content.clone() }
    }

    /// Checks every part's size and digest.
    pub fn verify(&self) -> Result<()> {
        self.manifest.parts.iter().try_for_each(|part| crate::part::read_bytes(&self.dataset, part).map(|_| ()))
    }

    /// The full names of its parts, for other readers; a part that is not renamed yet is renamed first.
    pub fn files(&self) -> Result<Vec<String>> {
        crate::commit::promote(&self.dataset, &self.manifest)?;
        let store = &self.dataset.store;
        Ok(self.manifest.parts.iter().map(|p| store.url(&self.dataset.path(&p.path))).collect())
    }
}

/// Pretty JSON with a final newline.
pub(crate) fn to_json(value: &impl Serialize) -> Bytes {
    let mut json = serde_json::to_vec_pretty(value).expect("our own types have string keys only");
    json.push(b'\n');
    json.into()
}
