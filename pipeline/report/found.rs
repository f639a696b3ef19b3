//! The datasets there are, each at the version that it had when the page was begun; and the training runs.

use std::collections::BTreeMap;

use dataset::{Dataset, Manifest, Result, Rows, Snapshot, Store, read_part};
use schemas::Table;

use crate::runs::FoundRun;

/// Datasets by name.
#[derive(Debug)]
pub struct Found {
    store: Store,
    pub(crate) manifests: BTreeMap<String, Manifest>,
    /// Training runs that have ended.
    pub(crate) runs: Vec<FoundRun>,
}

impl Found {
    /// All datasets under the root.
    pub(crate) fn all_of(store: &Store) -> Result<Self> {
        let folders = store.folders()?;
        Self::open(store, &folders.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Those of the named datasets that are there.
    pub(crate) fn open(store: &Store, names: &[&str]) -> Result<Self> {
        let mut manifests = BTreeMap::new();
        for name in names {
            if let Some(manifest) = Dataset::new(store, name).current()? {
                manifests.insert((*name).to_owned(), manifest);
            }
        }
        Ok(Found { store: store.clone(), manifests, runs: Vec::new() })
    }

    /// The datasets' root, as it was given.
    pub(crate) fn root(&self) -> &str {
        self.store.root()
    }

    /// The methods that there are lists of.
    pub(crate) fn methods(&self) -> impl Iterator<Item = (&str, &Manifest)> {
        self.manifests.iter().filter_map(|(name, manifest)| Some((name.strip_prefix("recommendations.")?, manifest)))
    }

    /// The number of a dataset's partitions; 0 when it is not there.
    pub(crate) fn partitions(&self, name: &str) -> u32 {
        self.manifests.get(name).map_or(0, |manifest| manifest.partitions)
    }

    /// The rows of one partition, `columns` of them (none: all); none when the dataset is not there.
    pub(crate) fn rows<T: Table>(&self, name: &str, partition: u32, columns: &[&str]) -> Result<Rows<T>> {
        let Some(manifest) = self.manifests.get(name) else { return Ok(Rows::empty()) };
        let snapshot = Snapshot { dataset: Dataset::new(&self.store, name), manifest: manifest.clone() };
        let snapshot = snapshot.checked(&T::contract())?;
        match snapshot.manifest.part(partition) {
            Some(part) => Ok(Rows::new(read_part(&snapshot.dataset, &T::contract(), part, columns)?)),
            None => Ok(Rows::empty()),
        }
    }

    /// All columns of a small dataset, batch by batch; none when it is not there.
    pub(crate) fn all<T: Table>(&self, name: &str) -> Result<Vec<T::Columns>> {
        let mut all = Vec::new();
        for partition in 0..self.partitions(name) {
            for columns in self.rows::<T>(name, partition, &[])?.columns() {
                all.push(columns?);
            }
        }
        Ok(all)
    }
}
