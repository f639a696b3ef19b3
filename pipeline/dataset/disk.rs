//! The few operations of a file system that the store is made of, so that tests can put another one in its place: one that loses
//! whatever was not synced.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::SystemTime;

use bytes::Bytes;

/// A regular file in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Path below the folder that was listed, with `/`.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) age_s: u64,
}

/// A file system. Paths are absolute. Nothing follows links below the root.
pub(crate) trait Disk: Send + Sync + std::fmt::Debug {
    /// A regular file's content; `None` when there is none.
    fn read(&self, path: &Path) -> io::Result<Option<Bytes>>;
    /// Whether there is such a regular file.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Some bytes of a file.
    fn read_range(&self, path: &Path, start: u64, length: usize) -> io::Result<Bytes>;
    /// Writes a new file. Folders that it needs are made, and their names synced; neither its content nor its name is.
    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()>;
    /// Makes a file's content outlive a loss of power, whoever wrote it (not its name).
    fn sync_file(&self, path: &Path) -> io::Result<()>;
    /// A second name for a file; fails when that name is taken. Folders that it needs are made, and not synced.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Moves a file, replacing what is there. Folders that it needs are made, and not synced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Deletes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder outlive a loss of power.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// All regular files below a folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<Listed>>;
    /// Removes a folder if it is empty.
    fn prune(&self, folder: &Path);
}

/// The machine's own file system.
#[derive(Debug)]
pub(crate) struct RealDisk;

impl Disk for RealDisk {
    fn read(&self, path: &Path) -> io::Result<Option<Bytes>> {
        if !self.exists(path)? {
            return Ok(None);
        }
        match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        // Of the path itself: neither a link nor a pipe or device, which would hang whoever reads it.
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_file() => Ok(true),
            Ok(_) => Err(io::Error::new(ErrorKind::InvalidInput, "expected a regular file, got something else")),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn read_range(&self, path: &Path, start: u64, length: usize) -> io::Result<Bytes> {
        let mut bytes = vec![0; length];
        fs::File::open(path)?.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        in_folder(path, make_synced_folder, || fs::File::create(path))?.write_all(content)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        match self.exists(path)? {
            true => fs::File::open(path)?.sync_all(),
            false => Err(ErrorKind::NotFound.into()),
        }
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        in_folder(to, fs::create_dir_all, || match fs::hard_link(from, to) {
            Err(e) if e.kind() == ErrorKind::NotFound && !from.exists() => Ok(Err(e)),
            linked => linked.map(Ok),
        })?
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        in_folder(to, fs::create_dir_all, || match fs::rename(from, to) {
            // Of the two, the folder may be what is missing.
            Err(e) if e.kind() == ErrorKind::NotFound && !from.exists() => Ok(Err(e)),
            renamed => renamed.map(Ok),
        })?
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        match fs::File::open(folder) {
            Ok(folder) => folder.sync_all(),
            // Somebody removed it, with whatever was in it.
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Listed>> {
        let mut found = Vec::new();
        walk(folder, "", &mut found)?;
        Ok(found)
    }

    fn prune(&self, folder: &Path) {
        // Fails, rightly, on a folder that is in use.
        let _ = fs::remove_dir(folder);
    }
}

/// Does something with a file in a folder that may not be there yet, or be removed by somebody at this moment.
fn in_folder<'a, T>(
    path: &'a Path,
    make_folder: impl Fn(&'a Path) -> io::Result<()>,
    act: impl Fn() -> io::Result<T>,
) -> io::Result<T> {
    for _ in 0..8 {
        match act() {
            Err(e) if e.kind() == ErrorKind::NotFound => make_folder(path.parent().unwrap_or(path))?,
            done => return done,
        }
    }
    act()
}

/// Makes a folder whose name outlives a loss of power: it lies in the folder above.
fn make_synced_folder(folder: &Path) -> io::Result<()> {
    let new: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    fs::create_dir_all(folder)?;
    new.into_iter().filter_map(Path::parent).try_for_each(|above| RealDisk.sync_folder(above))
}

fn walk(folder: &Path, below: &str, found: &mut Vec<Listed>) -> io::Result<()> {
    // What vanishes while a folder is listed was deleted by another run.
    let gone = |e: &io::Error| e.kind() == ErrorKind::NotFound;
    let entries = match fs::read_dir(folder) {
        Err(e) if gone(&e) => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        // Of the entry itself: links are not followed.
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&entry.path(), &path, found)?,
            Ok(kind) if kind.is_file() => match entry.metadata() {
                Ok(metadata) => found.push(Listed { path, bytes: metadata.len(), age_s: age(&metadata) }),
                Err(e) if gone(&e) => {}
                Err(e) => return Err(e),
            },
            Ok(_) => {}
            Err(e) if gone(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn age(metadata: &fs::Metadata) -> u64 {
    let written = metadata.modified().unwrap_or_else(|_| SystemTime::now());
    written.elapsed().map_or(0, |age| age.as_secs())
}
