//! Garbage: what killed and abandoned runs left behind. Nothing here is ever read, so this only frees space.

use std::collections::BTreeSet;

use crate::commit;
use crate::manifest::{Dataset, Part};
use crate::{Result, Store};

/// What was (or would be) freed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Finishes interrupted commits, then deletes a dataset's receipts and staged parts older than `older_than_s` seconds, and
/// all but the newest `keep_manifests` manifests. Younger files may belong to a run that is still working.
pub fn collect_garbage(
    store: &Store,
    name: &str,
    older_than_s: u64,
    keep_manifests: usize,
    dry_run: bool,
) -> Result<Swept> {
    let dataset = Dataset::new(store, name);
    if !dry_run {
        commit::tidy(&dataset)?;
    }
    // What the current version has not renamed yet is not garbage (only a dry run can find it here).
    let in_use: BTreeSet<String> =
        dataset.current()?.iter().flat_map(|m| &m.parts).map(|p: &Part| dataset.path(&p.staged)).collect();
    let mut doomed = Vec::new();
    for folder in ["_receipts", "_staged", "_spill"] {
        doomed.extend(store.list(&dataset.path(folder))?.into_iter().filter(|f| f.age_s >= older_than_s));
    }
    let manifests = store.list(&dataset.path("_manifests"))?;
    let surplus = manifests.len().saturating_sub(keep_manifests.max(1));
    doomed.extend(manifests.into_iter().take(surplus));
    let mut swept = Swept::default();
    for file in doomed.iter().filter(|f| !in_use.contains(&f.path)) {
        swept.files += 1;
        swept.bytes += file.bytes;
        if !dry_run {
            store.delete(&file.path)?;
        }
    }
    for file in store.half_written(&dataset.path("_manifests")).iter().filter(|f| f.age_s >= older_than_s) {
        swept.files += 1;
        swept.bytes += file.bytes;
        if !dry_run {
            store.delete_half_written(&file.path)?;
        }
    }
    if !dry_run {
        for folder in ["_receipts", "_staged", "_spill"] {
            let empty = store.list(&dataset.path(folder))?.is_empty();
            if empty {
                store.clear(&dataset.path(folder))?;
            }
        }
    }
    Ok(swept)
}
