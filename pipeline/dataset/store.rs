//! The store: files under one root, on a local disk or in an object store, behind blocking calls.
//!
//! What is written is durable when the call returns: content and name are synced. Where many files become durable together, they are
//! written unsynced first; a loss of power may then take such a file, or leave its name with other bytes. As long as the power lasts, a
//! file appears whole or not at all. Links are not followed, so nothing outside the root is read or deleted.

use std::path::{Component, Path as FsPath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tokio::runtime::Runtime;

use crate::disk::{Disk, RealDisk};
use crate::fault;
use crate::parallel::in_parallel;
use crate::{Error, Result};

/// The end of a file in the making.
const HALF: &str = ".half";

/// So many files are synced at once: what waits together becomes durable together.
const SYNCS: usize = 16;

/// Files under one root. Cheap to clone; usable from any thread that is not inside an async runtime.
#[derive(Clone)]
pub struct Store {
    root: String,
    place: Place,
}

#[derive(Clone)]
enum Place {
    Disk { folder: PathBuf, disk: Arc<dyn Disk> },
    Objects { objects: Arc<dyn ObjectStore>, prefix: Path, runtime: Arc<Runtime> },
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.root)
    }
}

/// A file of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Path under the root.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Seconds since it was last written.
    pub age_s: u64,
}

impl File {
    /// The path's last part.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Whether a killed write left it.
    pub(crate) fn half_written(&self) -> bool {
        self.path.ends_with(HALF)
    }
}

impl Store {
    /// Opens the root: a folder (made by the first write when missing), or a URL (`s3://bucket/prefix` with the feature `s3`, its
    /// credentials from the environment).
    pub fn open(root: &str) -> Result<Self> {
        #[cfg(any(test, debug_assertions))]
        if let Some(folder) = root.strip_prefix(crate::like_s3::SCHEME) {
            return crate::like_s3::over_folder(root, folder);
        }
        if root.contains("://") {
            let (objects, prefix) = parse_url(root)?;
            return Self::objects(root, objects, prefix);
        }
        Self::disk(root, Arc::new(RealDisk))
    }

    /// Opens a folder that must be there.
    pub fn existing(root: &str) -> Result<Self> {
        if !root.contains("://") && !FsPath::new(root).is_dir() {
            return Err(Error::usage(format!("{root}: no such folder"), "--data names the root of the datasets"));
        }
        Self::open(root)
    }

    pub(crate) fn disk(root: &str, disk: Arc<dyn Disk>) -> Result<Self> {
        let folder = std::path::absolute(root).map_err(|e| Error::io(root, e))?;
        Ok(Store { root: root.trim_end_matches('/').to_owned(), place: Place::Disk { folder, disk } })
    }

    /// The root in an object store that is open already.
    pub fn objects(root: &str, objects: Arc<dyn ObjectStore>, prefix: Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|e| Error::io("starting the I/O threads", e))?;
        let place = Place::Objects { objects, prefix, runtime: Arc::new(runtime) };
        Ok(Store { root: root.trim_end_matches('/').to_owned(), place })
    }

    /// The root as it was given.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The root as an absolute local folder, if it is one.
    pub fn local_root(&self) -> Option<&FsPath> {
        match &self.place {
            Place::Disk { folder, .. } => Some(folder),
            Place::Objects { .. } => None,
        }
    }

    /// The full name of a file: `root/path`.
    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.root)
    }

    /// Whether files can be renamed at no cost, so that work in progress may lie under other names.
    pub(crate) fn renames(&self) -> bool {
        matches!(self.place, Place::Disk { .. })
    }

    fn failed(&self, path: &str) -> impl FnOnce(std::io::Error) -> Error {
        let url = self.url(path);
        move |e| Error::io(url, e)
    }

    /// A file's content, or `None` when there is no such file.
    pub fn get(&self, path: &str) -> Result<Option<Bytes>> {
        match &self.place {
            Place::Disk { folder, disk } => disk.read(&below(folder, path)?).map_err(self.failed(path)),
            Place::Objects { objects, prefix, runtime } => {
                let got = runtime.block_on(async { objects.get(&at(prefix, path)).await?.bytes().await });
                match got {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err(object_store::Error::NotFound { .. }) => Ok(None),
                    Err(e) => Err(Error::store(self.url(path), e)),
                }
            }
        }
    }

    /// Some bytes of a file that is there.
    pub(crate) fn get_range(&self, path: &str, start: u64, length: usize) -> Result<Bytes> {
        match &self.place {
            Place::Disk { folder, disk } => {
                disk.read_range(&below(folder, path)?, start, length).map_err(self.failed(path))
            }
            Place::Objects { objects, prefix, runtime } => runtime
                .block_on(objects.get_range(&at(prefix, path), start..start + length as u64))
                .map_err(|e| Error::store(self.url(path), e)),
        }
    }

    /// Whether there is such a file.
    pub(crate) fn exists(&self, path: &str) -> Result<bool> {
        match &self.place {
            Place::Disk { folder, disk } => disk.exists(&below(folder, path)?).map_err(self.failed(path)),
            Place::Objects { objects, prefix, runtime } => match runtime.block_on(objects.head(&at(prefix, path))) {
                Ok(_) => Ok(true),
                Err(object_store::Error::NotFound { .. }) => Ok(false),
                Err(e) => Err(Error::store(self.url(path), e)),
            },
        }
    }

    /// Writes a file in place of what is there.
    pub fn put(&self, path: &str, content: Bytes) -> Result<()> {
        self.write(path, content, true)
    }

    /// The same, not durable yet.
    pub(crate) fn put_unsynced(&self, path: &str, content: Bytes) -> Result<()> {
        self.write(path, content, false)
    }

    fn write(&self, path: &str, content: Bytes, synced: bool) -> Result<()> {
        fault::error(fault::PUT).map_err(self.failed(path))?;
        match &self.place {
            Place::Disk { folder, disk } => {
                let target = below(folder, path)?;
                let half = half(&target);
                let write = || {
                    disk.write(&half, &content)?;
                    if synced {
                        disk.sync_file(&half)?;
                    }
                    disk.rename(&half, &target)?;
                    if synced { disk.sync_folder(parent(&target)) } else { Ok(()) }
                };
                write().map_err(self.failed(path))
            }
            Place::Objects { objects, prefix, runtime } => {
                runtime
                    .block_on(objects.put(&at(prefix, path), content.into()))
                    .map_err(|e| Error::store(self.url(path), e))?;
                Ok(())
            }
        }
    }

    /// Writes a file that must not be there yet; false when another one is. The same content twice is one file: a request that had
    /// succeeded may be sent again.
    pub fn create(&self, path: &str, content: Bytes) -> Result<bool> {
        self.write_new(path, content, true)
    }

    /// The same, not durable yet.
    pub(crate) fn create_unsynced(&self, path: &str, content: Bytes) -> Result<bool> {
        self.write_new(path, content, false)
    }

    fn write_new(&self, path: &str, content: Bytes, synced: bool) -> Result<bool> {
        fault::error(fault::PUT).map_err(self.failed(path))?;
        let created = match &self.place {
            Place::Disk { folder, disk } => {
                let target = below(folder, path)?;
                let half = half(&target);
                disk.write(&half, &content).map_err(self.failed(path))?;
                if synced {
                    disk.sync_file(&half).map_err(self.failed(path))?;
                }
                let linked = disk.link(&half, &target);
                disk.remove(&half).map_err(self.failed(path))?;
                match linked {
                    Ok(()) if synced => {
                        disk.sync_folder(parent(&target)).map_err(self.failed(path))?;
                        true
                    }
                    Ok(()) => true,
                    Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => false,
                    Err(e) => return Err(self.failed(path)(e)),
                }
            }
            Place::Objects { objects, prefix, runtime } => {
                let (target, options) = (at(prefix, path), PutOptions::from(PutMode::Create));
                match runtime.block_on(objects.put_opts(&target, content.clone().into(), options)) {
                    Ok(_) => true,
                    Err(object_store::Error::AlreadyExists { .. }) => false,
                    Err(e) => return Err(Error::store(self.url(path), e)),
                }
            }
        };
        Ok(created || self.get(path)?.is_some_and(|there| there == content))
    }

    /// Gives a file another name, in place of what has it. False when the file is gone.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<bool> {
        let Place::Disk { folder, disk } = &self.place else { return self.copy(from, to) };
        match disk.rename(&below(folder, from)?, &below(folder, to)?) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(self.failed(to)(e)),
        }
    }

    /// A second name for a file's content, which nobody has yet; not durable yet. False when the file is gone.
    pub(crate) fn copy(&self, from: &str, to: &str) -> Result<bool> {
        match &self.place {
            Place::Disk { folder, disk } => {
                let (from, to_path) = (below(folder, from)?, below(folder, to)?);
                match disk.link(&from, &to_path) {
                    Ok(()) => Ok(true),
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
                    Err(e) => Err(self.failed(to)(e)),
                }
            }
            Place::Objects { objects, prefix, runtime } => {
                match runtime.block_on(objects.copy(&at(prefix, from), &at(prefix, to))) {
                    Ok(()) => Ok(true),
                    Err(object_store::Error::NotFound { .. }) => Ok(false),
                    Err(e) => Err(Error::store(self.url(to), e)),
                }
            }
        }
    }

    /// Makes the contents of some files outlive a loss of power, whoever wrote them. Each may lie at one of several paths. False when one
    /// lies at none.
    pub(crate) fn sync_files(&self, files: &[Vec<String>]) -> Result<bool> {
        let Place::Disk { folder, disk } = &self.place else { return Ok(true) };
        let sync = |path: &str| match disk.sync_file(&below(folder, path)?) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(self.failed(path)(e)),
        };
        let one = |file: usize| {
            let mut found = false;
            for path in &files[file] {
                found = found || sync(path)?;
            }
            Ok(found)
        };
        Ok(in_parallel(files.len(), SYNCS, one)?.into_iter().all(|found| found))
    }

    /// Makes the names in some folders outlive a loss of power.
    pub(crate) fn sync_folders(&self, folders: impl IntoIterator<Item = String>) -> Result<()> {
        let Place::Disk { folder, disk } = &self.place else { return Ok(()) };
        let folders: Vec<String> = folders.into_iter().collect();
        let sync = |at: usize| disk.sync_folder(&below(folder, &folders[at])?).map_err(self.failed(&folders[at]));
        in_parallel(folders.len(), SYNCS, sync).map(|_| ())
    }

    /// Deletes a file; one that is gone already is not an error.
    pub fn delete(&self, path: &str) -> Result<()> {
        match &self.place {
            Place::Disk { folder, disk } => {
                let target = below(folder, path)?;
                match disk.remove(&target) {
                    Ok(()) => {}
                    Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {}
                    Err(e) => return Err(self.failed(path)(e)),
                }
                // A run's folders go with their last file. Others stay: a commit may be about to move a part there.
                let mut above = path;
                while let Some((folder_path, _)) = above.rsplit_once('/').filter(|(f, _)| f.contains("/_runs")) {
                    disk.prune(&below(folder, folder_path)?);
                    above = folder_path;
                }
                Ok(())
            }
            Place::Objects { objects, prefix, runtime } => match runtime.block_on(objects.delete(&at(prefix, path))) {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(e) => Err(Error::store(self.url(path), e)),
            },
        }
    }

    /// The files under a folder, by path. On an object store the list may lag behind what was written.
    pub fn list(&self, folder: &str) -> Result<Vec<File>> {
        let mut files: Vec<File> = match &self.place {
            Place::Disk { folder: root, disk } => {
                let listed = disk.list(&below(root, folder)?).map_err(self.failed(folder))?;
                let file = |l: crate::disk::Listed| File {
                    path: if folder.is_empty() { l.path } else { format!("{folder}/{}", l.path) },
                    bytes: l.bytes,
                    age_s: l.age_s,
                };
                listed.into_iter().map(file).collect()
            }
            Place::Objects { objects, prefix, runtime } => {
                let skip = prefix.as_ref().len();
                let listed = objects.list(Some(&at(prefix, folder))).map_ok(|meta| File {
                    path: meta.location.as_ref()[skip..].trim_start_matches('/').to_owned(),
                    bytes: meta.size,
                    age_s: (chrono::Utc::now() - meta.last_modified).num_seconds().max(0) as u64,
                });
                runtime.block_on(listed.try_collect()).map_err(|e| Error::store(self.url(folder), e))?
            }
        };
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// Deletes all files under a folder, and on a disk the folder.
    pub fn clear(&self, folder: &str) -> Result<()> {
        self.list(folder)?.iter().try_for_each(|file| self.delete(&file.path))?;
        if let Place::Disk { folder: root, disk } = &self.place {
            disk.prune(&below(root, folder)?);
        }
        Ok(())
    }

    /// The names of the folders directly under the root.
    pub fn folders(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = match &self.place {
            Place::Disk { folder, .. } => {
                let entries = match std::fs::read_dir(folder) {
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
                    entries => entries.map_err(self.failed(""))?,
                };
                let folders = entries.flatten().filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir()));
                folders.filter_map(|entry| entry.file_name().into_string().ok()).collect()
            }
            Place::Objects { objects, prefix, runtime } => {
                let listing = runtime.block_on(objects.list_with_delimiter(Some(prefix)));
                let listing = listing.map_err(|e| Error::store(self.url(""), e))?;
                listing.common_prefixes.iter().filter_map(|p| p.filename().map(str::to_owned)).collect()
            }
        };
        names.sort();
        Ok(names)
    }
}

/// A path under a local root. None of ours has a part that leads elsewhere; one that a damaged file names might.
fn below(root: &FsPath, path: &str) -> Result<PathBuf> {
    match FsPath::new(path).components().all(|part| matches!(part, Component::Normal(_))) {
        true => Ok(root.join(path)),
        false => Err(Error::bug(format!("{path}: expected a path under the root"))),
    }
}

fn parent(path: &FsPath) -> &FsPath {
    path.parent().unwrap_or(path)
}

/// The name of a file in the making. It is hidden, and nobody else has it.
fn half(target: &FsPath) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.{:016x}{HALF}", crate::random()))
}

fn at(prefix: &Path, path: &str) -> Path {
    path.split('/').filter(|part| !part.is_empty()).fold(prefix.clone(), |at, part| at.join(part))
}

#[cfg(feature = "s3")]
fn parse_url(root: &str) -> Result<(Arc<dyn ObjectStore>, Path)> {
    let (bucket, prefix) = root
        .strip_prefix("s3://")
        .map(|rest| rest.split_once('/').unwrap_or((rest, "")))
        .ok_or_else(|| Error::setting("--data", "a folder or s3://bucket/prefix", root, "check the URL"))?;
    let objects = object_store::aws::AmazonS3Builder::from_env().with_bucket_name(bucket).build();
    let objects = objects.map_err(|e| Error::store(root, e))?;
    Ok((Arc::new(objects), Path::from(prefix)))
}

#[cfg(not(feature = "s3"))]
fn parse_url(root: &str) -> Result<(Arc<dyn ObjectStore>, Path)> {
    Err(Error::setting("--data", "a folder", root, "this querent was built without --features s3"))
}
