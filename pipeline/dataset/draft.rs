//! Folders and files that are no datasets: models, indexes. They appear whole or not at all.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{Error, Result};

/// A folder in the making, beside the one that it will be.
#[derive(Debug)]
pub struct Draft {
    /// Where files are written.
    pub path: PathBuf,
    target: PathBuf,
}

impl Draft {
    /// Starts anew: what an earlier attempt left is deleted.
    pub fn new(target: &Path) -> Result<Self> {
        let path = beside(target, ".unfinished");
        empty_folder(&path)?;
        Ok(Draft { path, target: target.into() })
    }

    /// Writes a file, and to the disk.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.path.join(name);
        let written = fs::File::create(&path).and_then(|mut file| {
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

    /// Puts the folder in its place, for the one that was there.
    pub fn publish(self) -> Result<()> {
        let Draft { path, target } = self;
        let superseded = beside(&target, ".superseded");
        if superseded.exists() {
            fs::remove_dir_all(&superseded).map_err(Error::at(&superseded))?;
        }
        if target.exists() {
            fs::rename(&target, &superseded).map_err(Error::at(&target))?;
        }
        fs::rename(&path, &target).map_err(Error::at(&target))?;
        if superseded.exists() {
            fs::remove_dir_all(&superseded).map_err(Error::at(&superseded))?;
        }
        Ok(())
    }
}

fn beside(target: &Path, ending: &str) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    target.with_file_name(name)
}

/// An empty folder, whatever was there.
pub fn empty_folder(path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_dir_all(path).map_err(Error::at(path))?;
    }
    fs::create_dir_all(path).map_err(Error::at(path))
}

/// A file that `write` makes by way of a temporary one, which would be its owner's alone: it gets the permissions of any new file.
pub fn write_through(path: &Path, write: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    let permissions = fs::File::create(path).and_then(|file| file.metadata()).map_err(Error::at(path))?.permissions();
    write(path).and_then(|()| fs::set_permissions(path, permissions)).map_err(Error::at(path))
}
