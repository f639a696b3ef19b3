//! Files of others, read with care: regular ones of a bounded size. A pipe would hang its reader, a device never ends.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use crate::{Error, Result};

/// What the system says of a file. One that is missing is its folder's fault; all else may pass.
fn unread(file: &Path, e: io::Error, hint: &str) -> Error {
    match e.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Error::unreadable(file.display(), &e, hint).because(e),
        _ => Error::io(file.display(), e),
    }
}

/// Whether there is such a file or folder.
///
/// # Errors
/// When that cannot be told.
pub fn is_there(path: &Path, hint: &str) -> Result<bool> {
    path.try_exists().map_err(|e| unread(path, e, hint))
}

/// The size of a regular file, links followed, of at most `limit` bytes. It is not opened: that would wait for a pipe's other end.
///
/// # Errors
/// 3 for a file that is missing or is not as it should be, 1 for what the system cannot do now.
pub fn check_file(file: &Path, limit: u64, hint: &str) -> Result<u64> {
    let metadata = file.metadata().map_err(|e| unread(file, e, hint))?;
    let wrong = |what: String| Err(Error::unreadable(file.display(), what, hint));
    match metadata.len() {
        _ if !metadata.is_file() => wrong("expected a regular file".to_owned()),
        size if size > limit => wrong(format!("expected at most {limit} bytes, got {size}")),
        size => Ok(size),
    }
}

/// A regular file of at most `limit` bytes, opened.
///
/// # Errors
/// Those of [`check_file`].
pub fn open_file(file: &Path, limit: u64, hint: &str) -> Result<File> {
    check_file(file, limit, hint)?;
    File::open(file).map_err(|e| unread(file, e, hint))
}

/// A whole regular file of at most `limit` bytes; `hint` says what to do about a file that is not as it should be.
///
/// # Errors
/// Those of [`check_file`], and for a file that grew beyond the limit meanwhile.
pub fn read_file(file: &Path, limit: u64, hint: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = open_file(file, limit, hint)?.take(limit + 1).read_to_end(&mut bytes);
    match read.map_err(|e| unread(file, e, hint))? as u64 {
        size if size > limit => {
            Err(Error::unreadable(file.display(), format!("expected at most {limit} bytes, got more"), hint))
        }
        _ => Ok(bytes),
    }
}
