//! Artifacts: folders and files that are no datasets, because other tools make and read such too: a cleaner, an index, an exported model,
//! a report.
//!
//! An artifact is made in a folder beside its target, `NAME.unfinished`, and takes the target's place by one exchange of names, so the
//! target is there whole at any moment. `querent.json` in it (beside it, if it is one file) says what it was made of, so one that is up to date
//! is left alone. What has none is somebody else's, and never replaced. The lock on the unfinished folder goes with its process, so two processes
//! never make one artifact at a time, and a killed one leaves nothing that has to be cleared by hand.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::inputs::Inputs;
use crate::manifest::Lineage;
use crate::plan::{Digest, digest, file_digest, recipe};
use crate::settings::written_down;
use crate::stale::Standing;
use crate::{Error, Outcome, Resources, Result, Runner};

/// The file that says what an artifact was made of.
pub const IDENTITY: &str = "querent.json";
const LOCK: &str = ".lock";

/// What is made, from declared inputs, as a folder or one file.
pub trait Artifact: Serialize + DeserializeOwned {
    /// The job's name.
    const NAME: &'static str;
    /// Raised whenever the same inputs and settings give another artifact.
    const VERSION: u32;
    /// The target is a file, which the draft holds under the target's name; else a folder.
    const FILE: bool = false;
    /// Handles of what it reads.
    type Inputs;

    /// Declares what it reads.
    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<Self::Inputs>;

    /// Makes it. What an earlier, killed attempt at the same left in the draft is still there.
    fn make(&self, inputs: &Self::Inputs, draft: &Draft, resources: &Resources) -> Result<()>;
}

/// What an artifact was made of, and what it consists of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// The job and its version, settings, inputs, models.
    pub lineage: Lineage,
    /// Digest of all of it.
    pub fingerprint: Digest,
    /// Size and BLAKE3 of each file.
    pub files: BTreeMap<String, (u64, Digest)>,
}

/// A folder in the making.
#[derive(Debug)]
pub struct Draft {
    /// Where files are written.
    pub path: PathBuf,
    lock: File,
}

impl Draft {
    /// Writes a file, and to the disk.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.path.join(name);
        let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
        let written = folder.and_then(|()| File::create(&path)).and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        });
        written.map_err(Error::at(&path))
    }

    /// Writes JSON for people.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let json = serde_json::to_vec_pretty(value).expect("our own types can be written as JSON");
        self.write(name, &json)
    }

    /// A file that `write` makes by way of a temporary one, which would be its owner's alone: it gets the permissions of any new file.
    pub fn write_through(&self, name: &str, write: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
        let path = self.path.join(name);
        let permissions = File::create(&path).and_then(|file| file.metadata()).map_err(Error::at(&path))?.permissions();
        write(&path)
            .and_then(|()| fs::set_permissions(&path, permissions))
            .and_then(|()| File::open(&path)?.sync_all())
            .map_err(Error::at(&path))
    }

    /// Starts, or goes on with, the draft of a target.
    fn open(target: &Path, file: bool, fingerprint: &str) -> Result<Self> {
        let path = beside(target, ".unfinished");
        fs::create_dir_all(&path).map_err(Error::at(&path))?;
        let lock = File::create(path.join(LOCK)).map_err(Error::at(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let what = format!("{}: another process is making it", target.display());
                return Err(Error::retry(what, "wait for it, or stop it, then run again"));
            }
            Err(TryLockError::Error(e)) => return Err(Error::io(path.display(), e)),
        }
        let draft = Draft { path, lock };
        let begun = fs::read_to_string(draft.path.join(".of")).unwrap_or_default();
        if begun != fingerprint {
            for entry in fs::read_dir(&draft.path).map_err(Error::at(&draft.path))?.flatten() {
                let path = entry.path();
                // Of a file whose own identity was still to come, this says whose it is.
                let whose = file && entry.file_name() == IDENTITY;
                if entry.file_name() != LOCK && !whose {
                    let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                    removed.map_err(Error::at(&path))?;
                }
            }
            draft.write(".of", fingerprint.as_bytes())?;
        }
        Ok(draft)
    }

    /// Puts it in the target's place.
    fn publish(self, target: &Path, file: bool) -> Result<()> {
        let Draft { path, lock } = self;
        let sync = |folder: &Path| File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::at(folder));
        sync(&path)?;
        if file {
            let name = target.file_name().unwrap_or_default();
            fs::rename(path.join(name), target).map_err(Error::at(target))?;
            fs::rename(path.join(IDENTITY), identity_path(target, true)).map_err(Error::at(target))?;
        } else {
            fs::remove_file(path.join(LOCK)).map_err(Error::at(&path))?;
            match target.symlink_metadata() {
                Ok(_) => exchange(&path, target)?,
                Err(_) => fs::rename(&path, target).map_err(Error::at(target))?,
            }
            // Not before: what fails at its last step is whole, and the next run goes on from there.
            fs::remove_file(target.join(".of")).map_err(Error::at(target))?;
        }
        target.parent().filter(|folder| folder.is_dir()).map_or(Ok(()), sync)?;
        match fs::remove_dir_all(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(path.display(), e)),
            _ => {}
        }
        drop(lock);
        Ok(())
    }
}

/// Two folders change their names, in one step where the file system can do that.
fn exchange(a: &Path, b: &Path) -> Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        // As NFS says.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => exchange_by_steps(a, b).map_err(Error::at(b)),
        Err(e) => Err(Error::io(b.display(), e.into())),
    }
}

/// The same by way of a third name. Who is killed between two steps leaves nothing at `b`, and `a` whole: the next run puts it there.
fn exchange_by_steps(a: &Path, b: &Path) -> std::io::Result<()> {
    let aside = beside(b, ".replaced");
    match fs::remove_dir_all(&aside) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    fs::rename(b, &aside)?;
    fs::rename(a, b)?;
    fs::rename(&aside, a)
}

fn beside(target: &Path, ending: &str) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    target.with_file_name(name)
}

fn identity_path(target: &Path, file: bool) -> PathBuf {
    match file {
        false => target.join(IDENTITY),
        true => beside(target, &format!(".{IDENTITY}")),
    }
}

impl Identity {
    /// The identity of the artifact in a folder; `None` when there is none.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        Self::of(folder, false)
    }

    fn of(target: &Path, file: bool) -> Result<Option<Self>> {
        let path = identity_path(target, file);
        match fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json).map(Some).map_err(|e| {
                Error::unreadable(
                    path.display(),
                    format!("expected what the artifact was made of: {e}"),
                    "delete it and run its job again",
                )
            }),
            Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(Error::io(path.display(), e)),
        }
    }

    /// Whether the files are there, as far as their sizes tell.
    fn is_there(&self, target: &Path, file: bool) -> bool {
        let folder = if file { target.parent().unwrap_or(target) } else { target };
        self.files.iter().all(|(name, (bytes, _))| fs::metadata(folder.join(name)).is_ok_and(|m| m.len() == *bytes))
    }

    /// Checks a file's content, when it is opened.
    pub fn check(&self, folder: &Path, name: &str) -> Result<()> {
        let path = folder.join(name);
        let (got, _) = file_digest(&path)?;
        match self.files.get(name) {
            Some((_, expected)) if *expected == got => Ok(()),
            _ => {
                let hint = format!("delete the folder and run {} again", self.lineage.job);
                Err(Error::unreadable(path.display(), "the file has changed since it was written", hint))
            }
        }
    }
}

impl Runner {
    /// Brings an artifact up to date.
    ///
    /// # Errors
    /// When the target is there and is none of ours, or another process is making it.
    pub fn make<A: Artifact>(&self, artifact: &A, target: &Path) -> Result<Outcome> {
        let mut declare = Inputs::new(&self.resources, &[]);
        let inputs = artifact.inputs(&mut declare)?;
        let declared = declare.finish();
        let (settings, artifact) = written_down(A::NAME, artifact)?;
        let lineage = declared.lineage(A::NAME, A::VERSION, settings, &self.git_revision);
        let fingerprint = digest(&json!([recipe(&lineage, 1), declared.key(0)]));
        let found = Identity::of(target, A::FILE)?;
        if !may_take(target, A::FILE, found.is_some()) {
            let kind = if A::FILE { "file" } else { "folder" };
            let what =
                format!("{}: expected a new {kind} or one of {}'s, got somebody else's", target.display(), A::NAME);
            return Err(Error::usage(what, format!("name another {kind}")));
        }
        if found.as_ref().is_some_and(|found| found.fingerprint == fingerprint && found.is_there(target, A::FILE)) {
            let stale = if self.dry_run { Standing::look(self.store())?.why(&lineage) } else { None };
            return Ok(stale.map_or(Outcome::UpToDate, Outcome::WouldRun));
        }
        if self.dry_run {
            let why = found.map_or("there is none yet".into(), |found| changes(&found.lineage, &lineage));
            return Ok(Outcome::WouldRun(why));
        }
        if let Some(folder) = target.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            if folder.exists() && !folder.is_dir() {
                let what = format!("{}: expected a folder, got a file", folder.display());
                return Err(Error::usage(what, "name another place"));
            }
            fs::create_dir_all(folder).map_err(Error::at(folder))?;
        }
        let draft = Draft::open(target, A::FILE, &fingerprint)?;
        artifact.make(&inputs, &draft, &self.resources)?;
        let mut files = BTreeMap::new();
        list(&draft.path, "", &mut files)?;
        draft.write_json(IDENTITY, &Identity { lineage, fingerprint, files })?;
        draft.publish(target, A::FILE)?;
        Ok(Outcome::Committed)
    }
}

/// Whether a target may be written: there is none, or it is ours. `known`: its identity was found.
fn may_take(target: &Path, file: bool, known: bool) -> bool {
    match target.metadata() {
        Err(_) => target.file_name().is_some(),
        Ok(there) if file => {
            // A kill between the two names of a file leaves its identity in the draft.
            there.is_file() && (known || beside(target, ".unfinished").join(IDENTITY).exists())
        }
        Ok(there) => there.is_dir() && target.file_name().is_some() && (known || is_empty(target)),
    }
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

fn changes(old: &Lineage, new: &Lineage) -> String {
    let differ: Vec<&str> = [
        (old.stage_version != new.stage_version, "its version"),
        (old.settings != new.settings, "settings"),
        (old.models != new.models, "models"),
        (old.inputs != new.inputs, "inputs"),
        (old.values != new.values, "what it depends on"),
    ]
    .into_iter()
    .filter_map(|(differs, what)| differs.then_some(what))
    .collect();
    if differ.is_empty() {
        "its files are not as they were written".into()
    } else {
        format!("{} changed", differ.join(", "))
    }
}

fn list(folder: &Path, below: &str, files: &mut BTreeMap<String, (u64, Digest)>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::at(folder))? {
        let entry = entry.map_err(Error::at(folder))?;
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        match entry.path() {
            path if path.is_dir() => list(&path, &format!("{name}/"), files)?,
            _ if name.starts_with('.') || name == IDENTITY => {}
            path => {
                let (digest, bytes) = file_digest(&path)?;
                files.insert(name, (bytes, digest));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_change_places_on_any_file_system() {
        for exchange in [
            |a: &Path, b: &Path| exchange(a, b).expect("writable"),
            |a: &Path, b: &Path| exchange_by_steps(a, b).expect("writable"),
        ] {
            let root = tempfile::tempdir().expect("a folder");
            let [a, b] = ["a", "b"].map(|name| root.path().join(name));
            for folder in [&a, &b, &root.path().join("b.replaced")] {
                fs::create_dir(folder).expect("writable");
                fs::write(folder.join("is"), folder.file_name().expect("a name").as_encoded_bytes()).expect("writable");
            }
            exchange(&a, &b);
            let is = |folder: &Path| fs::read_to_string(folder.join("is")).expect("readable");
            assert_eq!((is(&a), is(&b)), ("b".to_owned(), "a".to_owned()));
        }
    }

    #[test]
    fn what_is_not_ours_is_not_taken() {
        let root = tempfile::tempdir().expect("a folder");
        let page = root.path().join("page.html");
        assert!(may_take(&page, true, false) && may_take(&root.path().join("new"), false, false));
        fs::write(&page, "theirs").expect("writable");
        assert!(!may_take(&page, true, false) && may_take(&page, true, true));
        // A kill between the file's name and its identity's.
        fs::create_dir(root.path().join("page.html.unfinished")).expect("writable");
        assert!(!may_take(&page, true, false));
        fs::write(root.path().join("page.html.unfinished").join(IDENTITY), "{}").expect("writable");
        assert!(may_take(&page, true, false));
        // Another artifact's draft goes, but for what says whose the page is.
        let draft = Draft::open(&page, true, "another").expect("writable");
        assert!(draft.path.join(IDENTITY).exists() && may_take(&page, true, false));
        for (never, file) in [("/dev/null", true), ("/", true), ("/", false), ("/dev/null", false)] {
            assert!(!may_take(Path::new(never), file, true), "{never}");
        }
        assert!(
            !may_take(root.path(), true, true) && !may_take(&page, false, true) && !may_take(root.path(), false, false)
        );
        assert!(may_take(root.path(), false, true));
    }
}
