//! The store: files under one root, on a local disk or in an object store, behind blocking calls.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tokio::runtime::Runtime;

use crate::fault;
use crate::{Error, Result};

/// Files under one root. Cheap to clone; usable from any thread that is not inside an async runtime.
#[derive(Clone)]
pub struct Store {
    root: String,
    local: Option<PathBuf>,
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    runtime: Arc<Runtime>,
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

impl Store {
    /// Opens the root: a folder (made when missing), or a URL (`s3://bucket/prefix` with the feature `s3`, its
    /// credentials from the environment).
    pub fn open(root: &str) -> Result<Self> {
        let failed = |source| Error::Store { path: root.to_owned(), source };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|e| Error::io("starting the I/O threads", e))?;
        let (objects, prefix, local): (Arc<dyn ObjectStore>, _, _) = if root.contains("://") {
            let (objects, prefix) = parse_url(root)?;
            (objects, prefix, None)
        } else {
            std::fs::create_dir_all(root).map_err(|e| Error::io(root, e))?;
            let local = std::path::absolute(root).map_err(|e| Error::io(root, e))?;
            let objects = LocalFileSystem::new_with_prefix(&local).map_err(failed)?;
            (Arc::new(objects), Path::default(), Some(local))
        };
        Ok(Store { root: root.trim_end_matches('/').to_owned(), local, objects, prefix, runtime: Arc::new(runtime) })
    }

    /// The root as it was given.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The root as an absolute local folder, if it is one.
    pub fn local_root(&self) -> Option<&std::path::Path> {
        self.local.as_deref()
    }

    /// The full name of a file: `root/path`.
    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.root)
    }

    /// The object store itself, for engines that read parts on their own.
    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    fn at(&self, path: &str) -> Path {
        path.split('/').fold(self.prefix.clone(), |at, part| at.join(part))
    }

    fn failed(&self, path: &str) -> impl FnOnce(object_store::Error) -> Error {
        let path = self.url(path);
        move |source| Error::Store { path, source }
    }

    /// A file's content, or `None` when there is no such file.
    pub fn get(&self, path: &str) -> Result<Option<Bytes>> {
        let got = self.runtime.block_on(async { self.objects.get(&self.at(path)).await?.bytes().await });
        match got {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(self.failed(path)(e)),
        }
    }

    /// Writes a file, whole or not at all.
    pub fn put(&self, path: &str, content: Bytes) -> Result<()> {
        fault::error(fault::PUT).map_err(self.failed(path))?;
        self.runtime.block_on(self.objects.put(&self.at(path), content.into())).map_err(self.failed(path))?;
        Ok(())
    }

    /// Writes a file that must not be there yet; false when it is.
    pub fn create(&self, path: &str, content: Bytes) -> Result<bool> {
        fault::error(fault::PUT).map_err(self.failed(path))?;
        let options = PutOptions::from(PutMode::Create);
        match self.runtime.block_on(self.objects.put_opts(&self.at(path), content.into(), options)) {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(e) => Err(self.failed(path)(e)),
        }
    }

    /// Moves a file, replacing what is there. A source that is gone is not an error: somebody moved it before.
    pub(crate) fn promote(&self, from: &str, to: &str) -> Result<()> {
        match self.runtime.block_on(self.objects.rename(&self.at(from), &self.at(to))) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(self.failed(to)(e)),
        }
    }

    /// Deletes a file; one that is gone already is not an error.
    pub fn delete(&self, path: &str) -> Result<()> {
        match self.runtime.block_on(self.objects.delete(&self.at(path))) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(self.failed(path)(e)),
        }
    }

    /// The files under a folder, by path.
    pub fn list(&self, folder: &str) -> Result<Vec<File>> {
        let at = self.at(folder);
        let skip = self.prefix.as_ref().len();
        let mut files: Vec<File> = self
            .runtime
            .block_on(
                self.objects
                    .list(Some(&at))
                    .map_ok(|meta| File {
                        path: meta.location.as_ref()[skip..].trim_start_matches('/').to_owned(),
                        bytes: meta.size,
                        age_s: (chrono::Utc::now() - meta.last_modified).num_seconds().max(0) as u64,
                    })
                    .filter(|file| {
                        // A file that vanishes while a folder is listed was deleted by another run: not ours to report.
                        let vanished = matches!(file, Err(object_store::Error::NotFound { .. }));
                        futures::future::ready(!vanished)
                    })
                    .try_collect(),
            )
            .map_err(self.failed(folder))?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// Files of a local folder that a killed write left half-written (object stores keep none).
    pub(crate) fn half_written(&self, folder: &str) -> Vec<File> {
        let Some(local) = &self.local else { return Vec::new() };
        let entries = std::fs::read_dir(local.join(folder)).into_iter().flatten().flatten();
        let named = entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.metadata().ok()?)));
        named
            .filter(|(name, _)| name.contains('#'))
            .map(|(name, meta)| File {
                path: format!("{folder}/{name}"),
                bytes: meta.len(),
                age_s: meta.modified().ok().and_then(|t| t.elapsed().ok()).map_or(0, |age| age.as_secs()),
            })
            .collect()
    }

    /// Deletes a half-written file of a local folder.
    pub(crate) fn delete_half_written(&self, path: &str) -> Result<()> {
        match &self.local {
            Some(local) => std::fs::remove_file(local.join(path)).map_err(|e| Error::io(self.url(path), e)),
            None => Ok(()),
        }
    }

    /// Deletes all files under a folder, and on a local disk the folder with whatever half-written files a kill left in it.
    pub fn clear(&self, folder: &str) -> Result<()> {
        for file in self.list(folder)? {
            self.delete(&file.path)?;
        }
        if let Some(local) = &self.local {
            match std::fs::remove_dir_all(local.join(folder)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(self.url(folder), e)),
                _ => {}
            }
        }
        self.prune(folder.rsplit_once('/').map_or(folder, |(parent, _)| parent));
        Ok(())
    }

    /// Removes a folder of a local root if it is empty (object stores have no folders).
    pub(crate) fn prune(&self, folder: &str) {
        if let Some(local) = &self.local {
            // Fails, rightly, on a folder that is in use.
            let _ = std::fs::remove_dir(local.join(folder));
        }
    }

    /// The names of the folders directly under the root.
    pub fn folders(&self) -> Result<Vec<String>> {
        let listing =
            self.runtime.block_on(self.objects.list_with_delimiter(Some(&self.prefix))).map_err(self.failed(""))?;
        let mut names: Vec<String> =
            listing.common_prefixes.iter().filter_map(|p| p.filename().map(str::to_owned)).collect();
        names.sort();
        Ok(names)
    }
}

#[cfg(feature = "s3")]
fn parse_url(root: &str) -> Result<(Arc<dyn ObjectStore>, Path)> {
    let failed = |source| Error::Store { path: root.to_owned(), source };
    let (bucket, prefix) = root
        .strip_prefix("s3://")
        .map(|rest| rest.split_once('/').unwrap_or((rest, "")))
        .ok_or_else(|| Error::setting("--data", "a folder or s3://bucket/prefix", root, "check the URL"))?;
    let objects = object_store::aws::AmazonS3Builder::from_env().with_bucket_name(bucket).build().map_err(failed)?;
    Ok((Arc::new(objects), Path::from(prefix)))
}

#[cfg(not(feature = "s3"))]
fn parse_url(root: &str) -> Result<(Arc<dyn ObjectStore>, Path)> {
    Err(Error::setting("--data", "a folder", root, "this querent was built without --features s3"))
}
