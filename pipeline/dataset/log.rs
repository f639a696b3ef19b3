//! The log: a dataset's folder is a Delta table, and a version is an entry of its log.
//!
//! An entry of ours says everything about its version: it adds *all* parts again (which Delta allows: the newest `add` of a path
//! counts), removes those that were dropped, and keeps the [`Manifest`] under `querent` in its `commitInfo`. So one entry is all that
//! has to be read to open a dataset, however long its log is. Entries of other tools are accepted above ours as long as they change
//! nothing (a vacuum logs that it ran); any other is one clear error.

use std::collections::BTreeSet;

use bytes::Bytes;
use schemas::{Contract, Layout, Table};
use serde_json::{Map, Value, json};

use crate::bucket::{digest_128, hex};
use crate::checkpoint;
use crate::manifest::{Manifest, Part, PartName};
use crate::store::Store;
use crate::{Error, Kind, Result};

/// The log's folder within a dataset's.
pub(crate) const LOG: &str = "_delta_log";
/// So many versions apart are checkpoints.
const CHECKPOINT_EVERY: u64 = 16;
/// Where we keep our own description within `commitInfo`.
const OURS: &str = "querent";
/// The operation of an entry that ends all runs based on the one before it.
const FENCE: &str = "FENCE";

/// A dataset by name: the folder, whatever version it is at.
#[derive(Debug, Clone)]
pub struct Dataset {
    pub(crate) store: Store,
    pub(crate) name: String,
}

/// The end of a dataset's log.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// The number of the entry that the next commit creates.
    pub(crate) next: u64,
    /// The newest version.
    pub(crate) current: Option<Manifest>,
}

/// What an entry of the log is.
enum Logged {
    /// A version of ours.
    Version(Box<Manifest>),
    /// Something that changes neither rows nor columns.
    Remark,
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

    fn entry_path(&self, number: u64) -> String {
        self.path(&format!("{LOG}/{number:020}.json"))
    }

    /// The numbers of the log's entries, ascending. A listing may lag, so whether there are later ones is asked for by name.
    fn numbers(&self) -> Result<Vec<u64>> {
        let number = |name: &str| {
            let digits = name.strip_suffix(".json").filter(|digits| digits.len() == 20)?;
            digits.parse().ok()
        };
        let mut numbers: Vec<u64> =
            self.store.list(&self.path(LOG))?.iter().filter_map(|file| number(file.name())).collect();
        let mut next = numbers.last().map_or(0, |last| last + 1);
        while self.store.exists(&self.entry_path(next))? {
            numbers.push(next);
            next += 1;
        }
        Ok(numbers)
    }

    /// The end of the log.
    pub(crate) fn head(&self) -> Result<Head> {
        let numbers = self.numbers()?;
        let next = numbers.last().map_or(0, |last| last + 1);
        for number in numbers.into_iter().rev() {
            if let Logged::Version(manifest) = self.logged(number)? {
                return Ok(Head { next, current: Some(*manifest) });
            }
        }
        Ok(Head { next, current: None })
    }

    /// The numbers of the versions whose log entries are there, ascending.
    pub fn versions(&self) -> Result<Vec<u64>> {
        let mut versions = Vec::new();
        for number in self.numbers()? {
            if matches!(self.logged(number)?, Logged::Version(_)) {
                versions.push(number);
            }
        }
        Ok(versions)
    }

    /// The current version, or `None` before the first commit.
    pub fn current(&self) -> Result<Option<Manifest>> {
        Ok(self.head()?.current)
    }

    /// One version.
    pub fn manifest(&self, version: u64) -> Result<Manifest> {
        let none = || {
            let hint = format!("`querent inspect {} --versions` lists them", self.name);
            Error::usage(format!("{}: no version {version}", self.name), hint)
        };
        if !self.store.exists(&self.entry_path(version))? {
            return Err(none());
        }
        match self.logged(version)? {
            Logged::Version(manifest) => Ok(*manifest),
            Logged::Remark => Err(none()),
        }
    }

    /// The version that the entry of that number made, if it made one.
    pub(crate) fn version_at(&self, number: u64) -> Result<Option<Manifest>> {
        match self.logged(number)? {
            Logged::Version(manifest) => Ok(Some(*manifest)),
            Logged::Remark => Ok(None),
        }
    }

    fn logged(&self, number: u64) -> Result<Logged> {
        let path = self.entry_path(number);
        let url = self.store.url(&path);
        let hint = "the log was damaged or written by another program: restore it, or delete the dataset's folder and run its job again";
        let broken = |what: String| Error::unreadable(&url, what, hint);
        let bytes = self.store.get(&path)?.ok_or_else(|| broken("it is gone".into()))?;
        let text = std::str::from_utf8(&bytes).map_err(|e| broken(format!("expected JSON lines: {e}")))?;
        let actions: Vec<Map<String, Value>> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()
            .map_err(|e| broken(format!("expected JSON lines: {e}")))?;
        let mut ours = None;
        let mut parts = Vec::new();
        let mut changes = actions.is_empty();
        for action in &actions {
            if let Some(info) = action.get("commitInfo") {
                ours = info.get(OURS).cloned();
            } else if let Some(add) = action.get("add") {
                parts.push(part_of(add).ok_or_else(|| broken("expected parts of ours, got another file".into()))?);
                changes = true;
            } else if !action.contains_key("txn") {
                changes = true;
            }
        }
        let Some(ours) = ours else {
            return match changes {
                true => Err(broken(
                    "expected an entry of querent's, got one of another program that changes the table".into(),
                )),
                false => Ok(Logged::Remark),
            };
        };
        let format = ours["format"].as_u64().unwrap_or(0);
        if format > u64::from(Manifest::FORMAT) {
            let what = format!("expected format up to {}, got {format}", Manifest::FORMAT);
            return Err(Error::unreadable(&url, what, "a newer querent wrote it; upgrade this one"));
        }
        let manifest: Manifest =
            serde_json::from_value(ours).map_err(|e| broken(format!("expected a version of ours: {e}")))?;
        parts.sort_by_key(|part| part.partition);
        let manifest = Manifest { parts, ..manifest };
        match manifest.contradiction(&self.name, number) {
            Some(what) => Err(broken(what)),
            None => Ok(Logged::Version(Box::new(manifest))),
        }
    }

    /// Creates the entry of a version; false when another one has its number.
    pub(crate) fn publish(&self, contract: &Contract, manifest: &Manifest, before: Option<&Manifest>) -> Result<bool> {
        self.store.create(&self.entry_path(manifest.version), encode(contract, manifest, before))
    }

    /// Writes a checkpoint of a version, for other engines, every so many versions.
    pub(crate) fn checkpoint(&self, version: u64) -> Result<()> {
        if version == 0 || !version.is_multiple_of(CHECKPOINT_EVERY) {
            return Ok(());
        }
        let failed = || Error::arrow(format!("a checkpoint of {}", self.name));
        let entry = self.store.get(&self.entry_path(version))?.unwrap_or_default();
        let lines = entry.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let actions: Vec<Value> = lines
            .map(serde_json::from_slice)
            .collect::<Result<_, _>>()
            .map_err(|e| Error::bug(format!("a checkpoint of {}: {e}", self.name)))?;
        let state = checkpoint::state([actions.as_slice()], 0).map_err(failed())?;
        for (name, content) in checkpoint::files(version, &state).map_err(failed())? {
            self.store.put(&self.path(&format!("{LOG}/{name}")), content)?;
        }
        Ok(())
    }

    /// Makes the log's entries outlive a loss of power, whoever created them. Whoever deletes what an entry supersedes, or says that a
    /// version is there, does this before.
    pub(crate) fn sync(&self) -> Result<()> {
        self.store.sync_folders([self.path(LOG)])
    }

    /// Whether the log has the entry of that number.
    pub(crate) fn has(&self, number: u64) -> Result<bool> {
        self.store.exists(&self.entry_path(number))
    }

    /// Creates an entry that changes nothing but the log's length, which ends every run that is based on the entry before it.
    pub(crate) fn fence(&self, number: u64) -> Result<bool> {
        let info = json!({
            "commitInfo": { "timestamp": now_ms(), "operation": FENCE, "engineInfo": engine(), "nonce": crate::random() },
        });
        self.store.create(&self.entry_path(number), format!("{info}\n").into())
    }

    /// The current version, checked against the table's contract.
    pub fn snapshot<T: Table>(&self) -> Result<Snapshot> {
        let manifest = self.current()?.ok_or_else(|| self.missing(T::NAME))?;
        Snapshot { dataset: self.clone(), manifest }.checked(&T::contract())
    }

    fn missing(&self, table: &str) -> Error {
        let what = format!("{}: no such dataset under {}", self.name, self.store.root());
        let hint = format!("run the job that writes it (`querent schema {table}` says what it holds), or check --data");
        Error::usage(what, hint).of_kind(Kind::Missing)
    }

    /// The parts that a plain glob sees and the current version does not name: an unfinished commit left them, or one is at work.
    pub fn unnamed_parts(&self) -> Result<Vec<String>> {
        let named: BTreeSet<String> = self.current()?.into_iter().flat_map(|m| m.parts).map(|part| part.path).collect();
        Ok(self.part_files()?.into_iter().map(|(path, _)| path).filter(|path| !named.contains(path)).collect())
    }

    /// Files named as we name parts, wherever they come from: path under the dataset's folder, and what it says.
    pub(crate) fn part_files(&self) -> Result<Vec<(String, PartName)>> {
        let prefix = self.path("");
        let files = self.store.list(&self.name)?;
        let part = |file: &crate::File| {
            let path = file.path.strip_prefix(&prefix)?;
            Some((path.to_owned(), PartName::parse(path)?))
        };
        Ok(files.iter().filter_map(part).collect())
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
    /// Itself, if it holds the table.
    ///
    /// # Errors
    /// When it holds another table, or another version of it.
    pub fn checked(self, contract: &Contract) -> Result<Self> {
        let Manifest { dataset, table, table_version, .. } = &self.manifest;
        if table != contract.name {
            let what = format!("expected table {}, got {table}", contract.name);
            return Err(Error::unreadable(dataset, what, "check --data"));
        }
        if *table_version != contract.version {
            let what = format!("expected {table} version {}, got version {table_version}", contract.version);
            return Err(Error::unreadable(dataset, what, "run the job that writes it again with this querent"));
        }
        Ok(self)
    }

    /// The full names of its parts, for other readers.
    pub fn files(&self) -> Vec<String> {
        let Snapshot { dataset, manifest } = self;
        manifest.parts.iter().map(|part| dataset.store.url(&dataset.path(&part.path))).collect()
    }

    /// Checks every part's size and digest.
    pub fn verify(&self) -> Result<()> {
        self.manifest.parts.iter().try_for_each(|part| crate::part::read_bytes(&self.dataset, part).map(|_| ()))
    }
}

/// The part that an `add` action of ours names.
fn part_of(add: &Value) -> Option<Part> {
    let tag = |name: &str| add["tags"][name].as_str();
    let stats: Value = serde_json::from_str(add["stats"].as_str()?).ok()?;
    let path = add["path"].as_str()?;
    Some(Part {
        partition: PartName::parse(path)?.partition,
        path: path.to_owned(),
        rows: stats["numRecords"].as_u64()?,
        bytes: add["size"].as_u64()?,
        memory_bytes: tag("memory_bytes")?.parse().ok()?,
        blake3: tag("blake3")?.to_owned(),
    })
}

fn encode(contract: &Contract, manifest: &Manifest, before: Option<&Manifest>) -> Bytes {
    let now = now_ms();
    let users = contract.layout == Layout::Users;
    let values = |part: &Part| match users {
        true => json!({ "bucket": part.partition.to_string() }),
        false => json!({}),
    };
    let ours = Manifest { parts: Vec::new(), ..manifest.clone() };
    let mut lines = vec![json!({ "commitInfo": {
        "timestamp": now, "operation": "WRITE", "operationParameters": { "mode": "Overwrite", "job": manifest.lineage.job },
        "engineInfo": engine(), OURS: ours,
    }})];
    // A feature of our own that nobody else writes: other engines read the table, and refuse to change it.
    lines.push(json!({ "protocol": { "minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": [OURS] } }));
    lines.push(json!({ "metaData": {
        "id": uuid(&manifest.dataset), "name": manifest.dataset, "description": contract.about,
        "format": { "provider": "parquet", "options": {} },
        "schemaString": contract.delta_schema().to_string(),
        "partitionColumns": if users { vec!["bucket"] } else { Vec::new() },
        "configuration": {},
    }}));
    let had: BTreeSet<&str> = before.iter().flat_map(|m| &m.parts).map(|part| part.path.as_str()).collect();
    let has: BTreeSet<&str> = manifest.parts.iter().map(|part| part.path.as_str()).collect();
    for part in before.iter().flat_map(|m| &m.parts).filter(|part| !has.contains(part.path.as_str())) {
        lines.push(json!({ "remove": {
            "path": part.path, "deletionTimestamp": now, "dataChange": true, "extendedFileMetadata": true,
            "partitionValues": values(part), "size": part.bytes,
        }}));
    }
    for part in &manifest.parts {
        lines.push(json!({ "add": {
            "path": part.path, "partitionValues": values(part), "size": part.bytes, "modificationTime": now,
            "dataChange": !had.contains(part.path.as_str()),
            "stats": json!({ "numRecords": part.rows }).to_string(),
            "tags": { "blake3": part.blake3, "memory_bytes": part.memory_bytes.to_string() },
        }}));
    }
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    text.into()
}

fn engine() -> String {
    format!("querent/{}", env!("CARGO_PKG_VERSION"))
}

fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// A table's identity for other engines: the same for the same name.
fn uuid(dataset: &str) -> String {
    let id = hex(&digest_128(&[b"delta table", dataset.as_bytes()]));
    format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..])
}
