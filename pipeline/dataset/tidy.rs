//! Deleting what nobody needs any more.
//!
//! **The law of deletion.** A part may be deleted when the current version does not name it and the log has the entry that the part's
//! run was to create (its name says which). Such a part never comes back: version 12 takes parts from version 11 and from runs that
//! were to create entry 12, and from nowhere else. So whoever deletes may have read the log or a listing long ago.

use std::collections::BTreeSet;

use crate::fault;
use crate::log::{Dataset, Head};
use crate::plan::Plan;
use crate::receipts::{PLAN, folder, runs};
use crate::{Result, Store};

/// Deletes what a finished or killed commit left: superseded parts, by the law of deletion, and the folders of runs whose version is
/// there. `keep` versions before the current one keep their parts. Runs that knew of fewer erased people go too, whatever they were to make.
pub(crate) fn tidy(dataset: &Dataset, keep: usize) -> Result<()> {
    let Head { next, current: Some(current) } = dataset.head()? else { return Ok(()) };
    dataset.sync()?;
    fault::point(fault::SUPERSEDED);
    superseded(dataset, keep)?.iter().try_for_each(|path| dataset.store.delete(path))?;
    for plan in runs(dataset)? {
        let done = plan.fingerprint == current.fingerprint;
        if (done || plan.lineage.erased < current.lineage.erased) && plan.outputs[0].next < next {
            clear(&dataset.store, &plan)?;
        }
    }
    Ok(())
}

/// The parts that may be deleted, by the law of deletion; those of the current version and of `keep` versions before it are none. A version
/// that knew of fewer erased people is not kept.
pub(crate) fn superseded(dataset: &Dataset, keep: usize) -> Result<Vec<String>> {
    let Head { next, current: Some(current) } = dataset.head()? else { return Ok(Vec::new()) };
    let mut named: BTreeSet<String> = current.parts.iter().map(|part| part.path.clone()).collect();
    if keep > 0 {
        let versions = dataset.versions()?;
        for version in versions.iter().rev().skip(1).take(keep) {
            let kept = dataset.manifest(*version)?;
            if kept.lineage.erased >= current.lineage.erased {
                named.extend(kept.parts.into_iter().map(|part| part.path));
            }
        }
    }
    let parts = dataset.part_files()?.into_iter();
    let superseded = parts.filter(|(path, name)| name.base < next && !named.contains(path));
    Ok(superseded.map(|(path, _)| dataset.path(&path)).collect())
}

/// Deletes the folders of a run, its plan last: as long as that is there, somebody will finish this.
pub(crate) fn clear(store: &Store, plan: &Plan) -> Result<()> {
    let folders: Vec<String> = plan.outputs.iter().map(|output| folder(&output.dataset, &plan.run())).collect();
    for folder in folders.iter().rev() {
        for file in store.list(folder)?.iter().filter(|file| file.name() != PLAN) {
            store.delete(&file.path)?;
        }
    }
    store.delete(&format!("{}/{PLAN}", folders[0]))?;
    folders.iter().try_for_each(|folder| store.clear(folder))
}
