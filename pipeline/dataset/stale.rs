//! What is stale: outputs that were made of versions which are no longer the current ones, and what was made of such outputs.

use std::collections::BTreeMap;
use std::fs;

use crate::artifact::IDENTITY;
use crate::manifest::{Lineage, Manifest};
use crate::{Dataset, Error, Identity, Result, Store};

/// The datasets and artifacts under a root, and why those of them are stale that are.
#[derive(Debug)]
pub struct Standing {
    current: BTreeMap<String, Manifest>,
    stale: BTreeMap<String, String>,
}

impl Standing {
    /// Looks at all that lies under a root. Damaged datasets are none.
    ///
    /// # Errors
    /// When the root cannot be listed.
    pub fn look(store: &Store) -> Result<Self> {
        let folders = store.folders()?;
        let current = |name: &String| Some((name.clone(), Dataset::new(store, name).current().ok().flatten()?));
        let current: BTreeMap<String, Manifest> = folders.iter().filter_map(current).collect();
        let mut made: BTreeMap<String, Lineage> =
            current.iter().map(|(name, manifest)| (name.clone(), manifest.lineage.clone())).collect();
        made.extend(artifacts(store, &folders)?);
        let mut standing = Standing { current, stale: BTreeMap::new() };
        // One is stale by what it was made of, so each round finds what was made of those that the round before has found.
        loop {
            let fresh = made.iter().filter(|(name, _)| !standing.stale.contains_key(*name));
            let found: Vec<_> =
                fresh.filter_map(|(name, lineage)| Some((name.clone(), standing.why(lineage)?))).collect();
            if found.is_empty() {
                return Ok(standing);
            }
            standing.stale.extend(found);
        }
    }

    /// The stale outputs: name, and why.
    pub fn stale(&self) -> &BTreeMap<String, String> {
        &self.stale
    }

    /// Why what was made so is stale; none, if it is not.
    pub fn why(&self, lineage: &Lineage) -> Option<String> {
        let mut erased = None;
        for (name, was) in &lineage.inputs {
            let Some(now) = self.current.get(name) else { return Some(format!("{name} is gone")) };
            if now.content != was.content {
                return Some(format!("made of {name} version {}, which is at version {}", was.version, now.version));
            }
            if self.stale.contains_key(name) {
                return Some(format!("made of {name}, which is stale"));
            }
            if let Some(people) = now.lineage.erased {
                erased =
                    Some(erased.map_or(
                        (people, name),
                        |(known, by)| if people < known { (people, name) } else { (known, by) },
                    ));
            }
        }
        let (people, name) = erased?;
        (people > lineage.erased.unwrap_or_default()).then(|| format!("people were erased from {name}"))
    }
}

/// The artifacts right under a root: folders, and files with their identity beside them.
fn artifacts(store: &Store, folders: &[String]) -> Result<Vec<(String, Lineage)>> {
    let Some(root) = store.local_root() else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for name in folders {
        if let Ok(Some(identity)) = Identity::read(&root.join(name)) {
            found.push((name.clone(), identity.lineage));
        }
    }
    let beside = format!(".{IDENTITY}");
    for entry in fs::read_dir(root).into_iter().flatten() {
        let path = entry.map_err(Error::at(root))?.path();
        let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(&beside).map(str::to_owned));
        let identity = name.as_ref().and_then(|_| serde_json::from_slice::<Identity>(&fs::read(&path).ok()?).ok());
        found.extend(name.zip(identity.map(|identity| identity.lineage)));
    }
    Ok(found)
}
