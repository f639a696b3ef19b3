//! Sources: what a stage reads, partition by partition.

use std::collections::BTreeMap;

use schemas::Table;

use crate::manifest::{Dataset, InputRef, RawFile, Snapshot};
use crate::plan::Digest;
use crate::{Error, Result, Rows, Store, read_part};

/// Where a stage's rows come from.
pub trait Source: Sync {
    /// What one partition gives.
    type Rows;
    /// Number of partitions.
    fn partitions(&self) -> u32;
    /// The datasets read, for fingerprint and lineage.
    fn inputs(&self) -> BTreeMap<String, InputRef>;
    /// The raw files read so far, for ingest's lineage. Known only once [`Source::prepare`] has read them.
    fn raw_files(&self) -> Vec<RawFile> {
        Vec::new()
    }
    /// The version of an output that the source carries on, when an output is an input too (ingest).
    fn carries(&self, _dataset: &str) -> Option<u64> {
        None
    }
    /// A digest of what one partition reads.
    fn key(&self, partition: u32) -> Digest;
    /// Size of one partition as Arrow arrays.
    fn memory_bytes(&self, partition: u32) -> u64;
    /// Check value of the user key its ids were made with.
    fn user_key_check(&self) -> Option<&str>;
    /// Called once before partitions are read, and only if any is.
    fn prepare(&self) -> Result<()> {
        Ok(())
    }
    /// Reads one partition.
    fn read(&self, partition: u32) -> Result<Self::Rows>;
}

/// One dataset as a source, perhaps only some of its columns.
#[derive(Debug)]
pub struct Input<T> {
    snapshot: Snapshot,
    columns: Vec<&'static str>,
    table: std::marker::PhantomData<fn() -> T>,
}

impl<T: Table> Input<T> {
    /// All columns of the current version.
    pub fn open(store: &Store, dataset: &str) -> Result<Self> {
        let snapshot = Dataset::new(store, dataset).snapshot::<T>()?;
        Ok(Input { snapshot, columns: Vec::new(), table: std::marker::PhantomData })
    }

    /// The same version again, all columns.
    pub fn reopen(&self) -> Self {
        Input { snapshot: self.snapshot.clone(), columns: Vec::new(), table: std::marker::PhantomData }
    }

    /// Only these columns.
    pub fn columns(mut self, columns: &[&'static str]) -> Self {
        self.columns = columns.to_vec();
        self
    }

    /// The version read.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl<T: Table> Source for Input<T> {
    type Rows = Rows<T>;

    fn partitions(&self) -> u32 {
        self.snapshot.manifest.partitions
    }

    fn inputs(&self) -> BTreeMap<String, InputRef> {
        BTreeMap::from([(self.snapshot.dataset.name().to_owned(), self.snapshot.reference())])
    }

    fn key(&self, partition: u32) -> Digest {
        self.snapshot.manifest.part(partition).map_or_else(|| "empty".into(), |p| p.blake3.clone())
    }

    fn memory_bytes(&self, partition: u32) -> u64 {
        self.snapshot.manifest.part(partition).map_or(0, |p| p.memory_bytes)
    }

    fn user_key_check(&self) -> Option<&str> {
        self.snapshot.manifest.lineage.user_key_check.as_deref()
    }

    fn read(&self, partition: u32) -> Result<Rows<T>> {
        match self.snapshot.manifest.part(partition) {
            Some(part) => Ok(Rows::new(read_part(&self.snapshot.dataset, &T::contract(), part, &self.columns)?)),
            None => Ok(Rows::empty()),
        }
    }
}

/// Checks that two sources have the same buckets and the same user key, as datasets of one ingest do.
pub fn same_users<A: Table, B: Table>(a: &Input<A>, b: &Input<B>) -> Result<()> {
    let about = |buckets: u32, key: Option<&str>| format!("{buckets} buckets, user key {}", key.unwrap_or("none"));
    let (expected, got) = (about(a.partitions(), a.user_key_check()), about(b.partitions(), b.user_key_check()));
    match expected == got {
        true => Ok(()),
        false => Err(Error::Mismatch {
            what: b.snapshot.dataset.name().to_owned(),
            expected: format!("those of {}, {expected}", a.snapshot.dataset.name()),
            got,
            hint: "they are not of one ingest: run the jobs between ingest and this one again".into(),
        }),
    }
}

/// Two datasets that one run wrote together.
#[derive(Debug)]
pub struct Joint<A, B>(Input<A>, Input<B>);

impl<A: Table, B: Table> Joint<A, B> {
    /// Joins two inputs.
    ///
    /// # Errors
    /// When they were not committed by the same run, as after a kill between their commits.
    pub fn new(a: Input<A>, b: Input<B>) -> Result<Self> {
        let (first, second) = (&a.snapshot.manifest, &b.snapshot.manifest);
        if first.fingerprint != second.fingerprint {
            return Err(Error::Mismatch {
                what: format!("{} and {}", first.dataset, second.dataset),
                expected: format!("both of run {}", first.fingerprint),
                got: format!("run {}", second.fingerprint),
                hint: format!("run {} again", first.lineage.job),
            });
        }
        Ok(Joint(a, b))
    }
}

impl<A: Table, B: Table> Source for Joint<A, B> {
    type Rows = (Rows<A>, Rows<B>);

    fn partitions(&self) -> u32 {
        self.0.partitions()
    }

    fn inputs(&self) -> BTreeMap<String, InputRef> {
        self.0.inputs().into_iter().chain(self.1.inputs()).collect()
    }

    fn key(&self, partition: u32) -> Digest {
        format!("{}+{}", self.0.key(partition), self.1.key(partition))
    }

    fn memory_bytes(&self, partition: u32) -> u64 {
        self.0.memory_bytes(partition) + self.1.memory_bytes(partition)
    }

    fn user_key_check(&self) -> Option<&str> {
        self.0.user_key_check()
    }

    fn read(&self, partition: u32) -> Result<Self::Rows> {
        Ok((self.0.read(partition)?, self.1.read(partition)?))
    }
}

/// The source of stages that make their rows from nothing but their settings.
#[derive(Debug)]
pub struct Nothing {
    /// How many partitions to make.
    pub partitions: u32,
    /// Bytes that one partition will take.
    pub memory_bytes: u64,
    /// Check value of the user key, when the rows name users by our ids.
    pub user_key_check: Option<String>,
}

impl Source for Nothing {
    type Rows = ();

    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn inputs(&self) -> BTreeMap<String, InputRef> {
        BTreeMap::new()
    }

    fn key(&self, partition: u32) -> Digest {
        partition.to_string()
    }

    fn memory_bytes(&self, _: u32) -> u64 {
        self.memory_bytes
    }

    fn user_key_check(&self) -> Option<&str> {
        self.user_key_check.as_deref()
    }

    fn read(&self, _: u32) -> Result<()> {
        Ok(())
    }
}
