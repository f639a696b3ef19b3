//! Garbage: what killed, abandoned and superseded runs left.
//!
//! What a run left may be deleted once the log has the entry that the run was to create (the law of deletion, in `tidy.rs`). A run that
//! could still commit is judged by its newest file. If that is old, gc first creates the log entry itself, an empty one: whoever comes
//! back to commit finds it taken, and deletes nothing.

use std::collections::BTreeMap;

use crate::log::{Dataset, LOG};
use crate::manifest::PartName;
use crate::plan::Plan;
use crate::receipts::{PLAN, RUNS};
use crate::store::File;
use crate::tidy::{superseded, tidy};
use crate::{Result, Store};

/// What was (or would be) freed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Runs that could still have committed, and now cannot.
    pub abandoned: u64,
}

/// What to sweep.
#[derive(Debug, Clone, Copy)]
pub struct Sweep {
    /// Runs whose newest file is younger are left alone.
    pub older_than_s: u64,
    /// Versions before the current one that keep their parts.
    pub keep_versions: usize,
    /// Only say what would be freed.
    pub dry_run: bool,
}

/// Frees what runs left in a dataset's folder. The current version is never touched.
pub fn collect_garbage(store: &Store, name: &str, sweep: Sweep) -> Result<Swept> {
    let dataset = Dataset::new(store, name);
    let files = store.list(name)?;
    let mut swept = Swept::default();
    let prefix = dataset.path(&format!("{RUNS}/"));
    let mut runs: BTreeMap<String, Vec<&File>> = BTreeMap::new();
    for file in &files {
        let run = file.path.strip_prefix(&prefix).and_then(|path| path.split_once('/'));
        // What else lies there is somebody else's.
        if let Some((run, _)) = run.filter(|(run, _)| is_run(run)) {
            runs.entry(run.to_owned()).or_default().push(file);
        }
    }
    let old = |files: &[&File]| files.iter().all(|file| file.age_s >= sweep.older_than_s);
    let mut doomed: Vec<&File> = Vec::new();
    let (mut open, mut young) = (Vec::new(), false);
    for (run, files) in runs {
        let turn = turn(&dataset, &files)?;
        let over = match &turn {
            Some((dataset, number)) => dataset.has(*number)?,
            None => true,
        };
        match (old(&files), turn) {
            (true, _) if over => doomed.extend(files),
            (true, Some(_)) if at_work_elsewhere(store, name, &run, sweep.older_than_s)? => young = true,
            (true, Some(turn)) => open.push((turn, files)),
            _ => young |= !over,
        }
    }
    // An empty entry ends every run that was to create it: not while one of them is at work.
    for ((dataset, number), files) in open.into_iter().filter(|_| !young) {
        swept.abandoned += 1;
        doomed.extend(files);
        if !sweep.dry_run {
            // When it is there already, the run is over all the same.
            dataset.fence(number)?;
        }
    }
    // Files in the making: their writer was killed. Those of a run go with it.
    doomed.extend(files.iter().filter(|file| {
        let ours = file.path.starts_with(&dataset.path(LOG)) || part(&dataset, file);
        ours && file.half_written() && file.age_s >= sweep.older_than_s
    }));
    let superseded = superseded(&dataset, sweep.keep_versions)?;
    doomed.extend(files.iter().filter(|file| superseded.contains(&file.path)));
    swept.files = doomed.len() as u64;
    swept.bytes = doomed.iter().map(|file| file.bytes).sum();
    if !sweep.dry_run {
        tidy(&dataset, sweep.keep_versions)?;
        doomed.iter().try_for_each(|file| store.delete(&file.path))?;
    }
    Ok(swept)
}

/// Whether a run may be called so: by a digest.
fn is_run(name: &str) -> bool {
    name.len() >= 32 && name.bytes().all(|c| c.is_ascii_hexdigit())
}

/// Whether a run writes younger files into other datasets: one of its outputs may have had nothing to say for long.
fn at_work_elsewhere(store: &Store, name: &str, run: &str, older_than_s: u64) -> Result<bool> {
    for other in store.folders()?.iter().filter(|other| *other != name) {
        if store.list(&format!("{other}/{RUNS}/{run}"))?.iter().any(|file| file.age_s < older_than_s) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether it is a part of ours in the making.
fn part(dataset: &Dataset, file: &File) -> bool {
    let below = file.path.strip_prefix(&dataset.path("")).unwrap_or_default();
    !below.contains('/') || below.starts_with("bucket=")
}

/// The log entry without which a run cannot commit, and whose it is: that of the output it commits first. `None` when nothing in the run's
/// folder says so, as when its plan was lost.
fn turn(dataset: &Dataset, files: &[&File]) -> Result<Option<(Dataset, u64)>> {
    let store = &dataset.store;
    for file in files.iter().filter(|file| file.name() == PLAN) {
        let plan = store.get(&file.path)?.and_then(|json| serde_json::from_slice::<Plan>(&json).ok());
        if let Some(first) = plan.as_ref().and_then(|plan| plan.outputs.last()) {
            return Ok(Some((Dataset::new(store, &first.dataset), first.next)));
        }
    }
    // The folder of an output that is not the primary one has parts only.
    let part = |file: &&File| PartName::parse(&format!("{}.parquet", file.name().strip_suffix(".part")?));
    Ok(files.iter().find_map(part).map(|name| (dataset.clone(), name.base)))
}
