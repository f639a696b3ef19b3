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
    /// Why the folder cannot be read, if so: another version of querent wrote it, or it is damaged.
    pub unreadable: Option<String>,
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
    /// Reads a run's folder, with so many of its best and worst lists. One that cannot be read says why: one old run must not cost the page.
    pub(crate) fn read(run: &FoundRun, lists: usize) -> Self {
        let about = TrainingRun {
            name: run.name.clone(),
            job: run.lineage.job.clone(),
            planned: run.lineage.settings["steps"].as_u64(),
            ..TrainingRun::default()
        };
        let ranked = || if lists > 0 { Ranked::read(&run.folder, None, lists) } else { Ok(None) };
        match History::read(&run.folder).and_then(|history| Ok((history, ranked()?))) {
            Ok((history, lists)) => TrainingRun { history, lists, ..about },
            Err(e) => TrainingRun { unreadable: Some(e.to_string()), ..about },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_run_that_cannot_be_read_says_why() {
        let folder = TempDir::new().expect("a folder");
        fs::create_dir(folder.path().join("train_log")).expect("writable");
        let lineage = Lineage { job: "grpo".into(), ..Lineage::default() };
        let found = FoundRun { name: "policy.old".into(), folder: folder.path().to_owned(), lineage };
        assert_eq!(TrainingRun::read(&found, 3).unreadable, None);
        fs::write(folder.path().join("state.parquet"), "of another time").expect("writable");
        let run = TrainingRun::read(&found, 3);
        assert!(run.unreadable.as_ref().is_some_and(|why| why.contains("state.parquet")), "{run:?}");
        let page = crate::curves::training(&[run]).into_string();
        assert!(page.contains("policy.old") && page.contains("cannot be read") && !page.contains("0 steps"), "{page}");
    }
}
