//! Inputs: what a stage reads, declared once. Fingerprint, partition keys, lineage, memory estimate and the check of user keys all follow
//! from the declaration.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use schemas::Table;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::log::Head;
use crate::manifest::{InputRef, Lineage, Manifest};
use crate::plan::{Digest, digest, file_digest};
use crate::regroup::Regrouped;
use crate::{Dataset, Error, Identity, Resources, Result, Rows, Snapshot, UserKey, read_part};

/// Collects a stage's declarations.
#[derive(Debug)]
pub struct Inputs<'a> {
    resources: &'a Resources,
    outputs: &'a [(Dataset, Head)],
    /// The versions that were opened: whatever is asked of a dataset, it is asked of one version.
    opened: BTreeMap<String, Manifest>,
    declared: Declared,
}

/// What a stage declared.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    pub(crate) partitions: Option<(u32, String)>,
    pub(crate) inputs: BTreeMap<String, InputRef>,
    pub(crate) models: BTreeMap<String, String>,
    pub(crate) values: BTreeMap<String, Value>,
    pub(crate) remark: Option<String>,
    pub(crate) user_key_check: Option<(String, String)>,
    /// People erased from every input that is made of people's behaviours.
    pub(crate) erased: Option<u64>,
    /// Datasets read whole, and the tasks of a regroup: in every partition's key.
    everywhere: Vec<(String, Digest)>,
    by_partition: Vec<(Snapshot, u32)>,
    pub(crate) regroup: Option<Arc<Regrouped>>,
}

impl Declared {
    /// Where what is made of this comes from.
    pub(crate) fn lineage(&self, job: &str, stage_version: u32, settings: Value, git_revision: &str) -> Lineage {
        Lineage {
            job: job.to_owned(),
            stage_version,
            settings,
            inputs: self.inputs.clone(),
            models: self.models.clone(),
            values: self.values.clone(),
            user_key_check: self.user_key_check.as_ref().map(|(check, _)| check.clone()),
            git_revision: git_revision.to_owned(),
            remark: self.remark.clone(),
            erased: self.erased,
        }
    }

    /// A digest of what one partition reads.
    pub(crate) fn key(&self, partition: u32) -> Digest {
        let parts: Vec<_> = self
            .by_partition
            .iter()
            .map(|(snapshot, cut)| {
                let part = snapshot.manifest.part(partition % snapshot.manifest.partitions);
                (snapshot.dataset.name(), part.map(|part| &part.blake3), cut)
            })
            .collect();
        digest(&json!([self.everywhere, parts, partition]))
    }

    /// The size of what one partition reads, as Arrow arrays.
    pub(crate) fn memory_bytes(&self, partition: u32) -> u64 {
        let part = |(snapshot, _): &(Snapshot, u32)| {
            let part = snapshot.manifest.part(partition % snapshot.manifest.partitions);
            part.map_or(0, |part| part.memory_bytes)
        };
        let regrouped = self.regroup.as_ref().map_or(0, |regrouped| regrouped.memory_bytes(partition));
        self.by_partition.iter().map(part).sum::<u64>() + regrouped
    }
}

impl<'a> Inputs<'a> {
    pub(crate) fn new(resources: &'a Resources, outputs: &'a [(Dataset, Head)]) -> Self {
        Inputs { resources, outputs, opened: BTreeMap::new(), declared: Declared::default() }
    }

    pub(crate) fn finish(self) -> Declared {
        self.declared
    }

    /// A dataset that is read partition by partition: partition 7 reads its part 7, and no other. All datasets so read have as many
    /// partitions.
    pub fn by_partition<T: Table>(&mut self, dataset: &str) -> Result<ByPartition<T>> {
        let snapshot = self.open::<T>(dataset)?;
        self.cut(snapshot, 1)
    }

    /// A dataset each of whose parts is read by several partitions: with `cut` 3 and 8 parts, partitions 7, 15 and 23 read part 7.
    pub fn by_cut<T: Table>(&mut self, dataset: &str, cut: impl FnOnce(&Manifest) -> u32) -> Result<ByPartition<T>> {
        let snapshot = self.open::<T>(dataset)?;
        let cut = cut(&snapshot.manifest);
        self.cut(snapshot, cut)
    }

    fn cut<T: Table>(&mut self, snapshot: Snapshot, cut: u32) -> Result<ByPartition<T>> {
        self.count(snapshot.manifest.partitions * cut, snapshot.dataset.name())?;
        self.declared.by_partition.push((snapshot.clone(), cut));
        Ok(ByPartition { snapshot, columns: Vec::new(), table: PhantomData })
    }

    /// A dataset of which every partition may read everything.
    pub fn whole<T: Table>(&mut self, dataset: &str) -> Result<Whole<T>> {
        let snapshot = self.open::<T>(dataset)?;
        self.declared.everywhere.push((dataset.to_owned(), snapshot.manifest.content.clone()));
        Ok(Whole { snapshot, columns: Vec::new(), table: PhantomData })
    }

    fn snapshot<T: Table>(&mut self, dataset: &str) -> Result<Snapshot> {
        let known = Dataset::new(&self.resources.store, dataset);
        let snapshot = match self.opened.get(dataset) {
            Some(manifest) => Snapshot { dataset: known, manifest: manifest.clone() }.checked(&T::contract())?,
            None => known.snapshot::<T>()?,
        };
        self.opened.insert(dataset.to_owned(), snapshot.manifest.clone());
        Ok(snapshot)
    }

    fn open<T: Table>(&mut self, dataset: &str) -> Result<Snapshot> {
        let snapshot = self.snapshot::<T>(dataset)?;
        self.declared.inputs.insert(dataset.to_owned(), snapshot.manifest.reference());
        if let Some(erased) = snapshot.manifest.lineage.erased {
            self.erased(erased);
        }
        if let Some(check) = &snapshot.manifest.lineage.user_key_check {
            self.key_check(check.clone(), dataset)?;
        }
        Ok(snapshot)
    }

    fn key_check(&mut self, check: String, of: &str) -> Result<()> {
        let (known, first) = self.declared.user_key_check.get_or_insert_with(|| (check.clone(), of.to_owned()));
        match *known == check {
            true => Ok(()),
            false => Err(other_key(of, known, first, &check)),
        }
    }

    /// How many partitions there are, where no dataset says so.
    pub fn partitions(&mut self, partitions: u32) -> Result<()> {
        self.count(partitions, "the settings")
    }

    fn count(&mut self, partitions: u32, of: &str) -> Result<()> {
        let (known, first) = self.declared.partitions.get_or_insert_with(|| (partitions, of.to_owned()));
        match *known == partitions {
            true => Ok(()),
            false => Err(Error::retry(
                format!("{of}: expected {known} partitions, those of {first}, got {partitions}"),
                "they are not of one ingest: run the jobs between ingest and this one again",
            )),
        }
    }

    /// Checks that two datasets were written by one run, and not one before and one after a kill.
    pub fn together(&self, a: &Manifest, b: &Manifest) -> Result<()> {
        match a.fingerprint == b.fingerprint {
            true => Ok(()),
            false => Err(Error::retry(
                format!("{} and {}: expected both of one run, got two", a.dataset, b.dataset),
                format!("run {} again", a.lineage.job),
            )),
        }
    }

    /// Something else that decides the rows: a text of SQL, a number from elsewhere.
    pub fn value(&mut self, name: &str, value: impl Serialize) -> Result<()> {
        let value = serde_json::to_value(value).map_err(|e| Error::bug(format!("{name}: {e}")))?;
        self.declared.values.insert(name.to_owned(), value);
        Ok(())
    }

    /// A value that the run which wrote a dataset declared, such as ingest's window.
    pub fn value_of<T: Table, V: DeserializeOwned>(&mut self, dataset: &str, name: &str) -> Result<V> {
        let manifest = self.snapshot::<T>(dataset)?.manifest;
        let value = manifest.lineage.values.get(name).cloned().unwrap_or_default();
        self.declared.values.insert(format!("{name} of {dataset}"), value.clone());
        serde_json::from_value(value).map_err(|e| {
            let what = format!("its version {} has no {name}: {e}", manifest.version);
            Error::unreadable(dataset, what, format!("run {} again", manifest.lineage.job))
        })
    }

    /// Local files that decide the rows, a model's: their contents count, not where they lie. `role` tells models apart.
    pub fn files(&mut self, role: &str, files: &[PathBuf]) -> Result<()> {
        for file in files {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let (digest, _) = file_digest(file)?;
            // Two folders may have files of one name.
            let names = (1..).map(|n| if n == 1 { format!("{role}/{name}") } else { format!("{role}/{n}/{name}") });
            let free = names.into_iter().find(|name| !self.declared.models.contains_key(name));
            self.declared.models.extend(free.map(|name| (name, digest)));
        }
        Ok(())
    }

    /// An artifact that decides the rows: by what it was made of, and by its files.
    ///
    /// # Errors
    /// When there is none.
    pub fn artifact(&mut self, role: &str, folder: &Path) -> Result<Identity> {
        let identity = Identity::read(folder)?.ok_or_else(|| {
            let what = format!("{}: expected the {role} that querent makes, got none", folder.display());
            Error::usage(what, format!("run {role} first")).of_kind(crate::Kind::Missing)
        })?;
        self.value(role, (&identity.fingerprint, &identity.files))?;
        Ok(identity)
    }

    /// The key that turns a platform's user ids into ours.
    pub fn user_key(&mut self) -> Result<UserKey> {
        let key = self.resources.user_key.find()?;
        self.key_check(key.check(), "the user key in use")?;
        Ok(key)
    }

    /// How many people were erased from what this is made of. Of several inputs the one that knows of fewest counts: somebody may still
    /// be in it.
    pub fn erased(&mut self, people: u64) {
        self.declared.erased = Some(self.declared.erased.map_or(people, |known| known.min(people)));
    }

    /// Something that a reader of the dataset should know.
    pub fn remark(&mut self, remark: impl Into<String>) {
        self.declared.remark = Some(remark.into());
    }

    /// Rows that tasks send to partitions ([`crate::Stage::map`]). A task is named by a digest of all that it reads.
    pub fn regroup(&mut self, partitions: u32, schema: SchemaRef, tasks: Vec<Digest>) -> Result<Arc<Regrouped>> {
        self.declared.everywhere.push(("regrouped".into(), digest(&json!(tasks))));
        self.regroup_increment(partitions, schema, tasks)
    }

    /// The same, of an incremental stage: the tasks are those that the version before does not hold yet, so they say nothing of what the
    /// next version is made of. The stage declares that as a value.
    pub fn regroup_increment(
        &mut self,
        partitions: u32,
        schema: SchemaRef,
        tasks: Vec<Digest>,
    ) -> Result<Arc<Regrouped>> {
        self.count(partitions, "the regrouped rows")?;
        let regrouped = Arc::new(Regrouped::new(partitions, schema, tasks));
        self.declared.regroup = Some(regrouped.clone());
        Ok(regrouped)
    }

    /// Digests of the model files declared so far.
    pub fn models(&self) -> &BTreeMap<String, String> {
        &self.declared.models
    }

    /// The store, to look what there is.
    pub fn store(&self) -> &crate::Store {
        &self.resources.store
    }

    /// The version that an output is at: what an incremental stage carries on. If another run commits meanwhile, this one does not.
    pub fn before(&self, output: usize) -> Option<&Manifest> {
        self.outputs[output].1.current.as_ref()
    }

    /// The rows that an output is made of now, for a stage that takes over what it would compute again. It answers for their being the
    /// same: they must be found by their content and, with `same`, be made by the same models and settings.
    ///
    /// There are none of another run than the one that made the first output: with its rows they make nothing that any run wrote.
    pub fn cache<T: Table>(&self, output: usize, same: impl FnOnce(&Manifest) -> bool) -> Option<Whole<T>> {
        let (dataset, head) = &self.outputs[output];
        let turn = self.before(0)?.outputs.get(&dataset.name);
        let of_one_run = |manifest: &Manifest| turn == Some(&manifest.version);
        self.rows_of(output, head.current.clone().filter(of_one_run).filter(same))
    }

    /// The newest rows of an output, whichever run wrote them.
    pub fn newest<T: Table>(&self, output: usize) -> Option<Whole<T>> {
        self.rows_of(output, self.outputs[output].1.current.clone())
    }

    fn rows_of<T: Table>(&self, output: usize, manifest: Option<Manifest>) -> Option<Whole<T>> {
        let manifest = manifest.filter(|manifest| manifest.holds(&T::contract()))?;
        let snapshot = Snapshot { dataset: self.outputs[output].0.clone(), manifest };
        Some(Whole { snapshot, columns: Vec::new(), table: PhantomData })
    }
}

pub(crate) fn other_key(of: &str, known: &str, first: &str, got: &str) -> Error {
    let what =
        format!("{of}: expected user ids under the key of {first} (check value {known}), got another key's ({got})");
    let hint = "use the key it was made with, or ingest the raw logs again under one key";
    Error::new(crate::Exit::Data, what, hint)
}

/// A dataset that is read partition by partition.
#[derive(Debug)]
pub struct ByPartition<T> {
    snapshot: Snapshot,
    columns: Vec<&'static str>,
    table: PhantomData<fn() -> T>,
}

/// A dataset that is read whole.
#[derive(Debug)]
pub struct Whole<T> {
    snapshot: Snapshot,
    columns: Vec<&'static str>,
    table: PhantomData<fn() -> T>,
}

macro_rules! handle {
    ($name:ident) => {
        impl<T: Table> $name<T> {
            /// Only these columns.
            pub fn columns(mut self, columns: &[&'static str]) -> Self {
                self.columns = columns.to_vec();
                self
            }

            /// The version read.
            pub fn manifest(&self) -> &Manifest {
                &self.snapshot.manifest
            }

            /// The version read.
            pub fn snapshot(&self) -> &Snapshot {
                &self.snapshot
            }

            fn part(&self, partition: u32) -> Result<Rows<T>> {
                match self.snapshot.manifest.part(partition) {
                    Some(part) => {
                        Ok(Rows::new(read_part(&self.snapshot.dataset, &T::contract(), part, &self.columns)?))
                    }
                    None => Ok(Rows::empty()),
                }
            }
        }
    };
}

handle!(ByPartition);
handle!(Whole);

impl<T: Table> ByPartition<T> {
    /// The rows of one partition.
    pub fn read(&self, partition: u32) -> Result<Rows<T>> {
        self.part(partition % self.snapshot.manifest.partitions)
    }
}

impl<T: Table> Whole<T> {
    /// The current version, outside of any run: for people's eyes.
    pub fn open(store: &crate::Store, dataset: &str) -> Result<Self> {
        let snapshot = Dataset::new(store, dataset).snapshot::<T>()?;
        Ok(Whole { snapshot, columns: Vec::new(), table: PhantomData })
    }

    /// How many parts there may be.
    pub fn partitions(&self) -> u32 {
        self.snapshot.manifest.partitions
    }

    /// The rows of one part.
    pub fn read(&self, partition: u32) -> Result<Rows<T>> {
        self.part(partition)
    }

    /// The rows, part by part.
    pub fn parts(&self) -> impl Iterator<Item = Result<Rows<T>>> {
        (0..self.partitions()).map(|partition| self.part(partition))
    }
}
