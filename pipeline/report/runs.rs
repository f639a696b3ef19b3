//! Training runs under the root, as the page shows them.

use std::path::PathBuf;

use dataset::{Identity, Lineage, Result, Store};
use training::{History, Ranked};

/// A training run that has ended, in its folder.
#[derive(Debug)]
pub(crate) struct FoundRun {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) lineage: Lineage,
}

/// A training run.
#[derive(Debug, Clone, Default)]
pub struct TrainingRun {
    /// Its folder's name.
    pub name: String,
    /// The job that it is of.
    pub job: String,
    /// The steps that it was to have.
    pub planned: Option<u64>,
    /// Its figures.
    pub history: History,
    /// The best and the worst lists of its last step.
    pub lists: Option<Ranked>,
}

/// Names and folders of the runs directly under a root on this machine that have ended.
pub(crate) fn training_runs(store: &Store) -> Result<Vec<(String, PathBuf)>> {
    let Some(root) = store.local_root() else { return Ok(Vec::new()) };
    let mut runs = Vec::new();
    for name in store.folders()? {
        let folder = root.join(&name);
        if !name.ends_with(".unfinished") && History::is_in(&folder) && Identity::read(&folder)?.is_some() {
            runs.push((name, folder));
        }
    }
    Ok(runs)
}

impl TrainingRun {
    /// Reads a run's folder, with so many of its best and worst lists.
    pub(crate) fn read(run: &FoundRun, lists: usize) -> Result<Self> {
        Ok(TrainingRun {
            name: run.name.clone(),
            job: run.lineage.job.clone(),
            planned: run.lineage.settings["steps"].as_u64(),
            history: History::read(&run.folder)?,
            lists: if lists > 0 { Ranked::read(&run.folder, None, lists)? } else { None },
        })
    }
}
