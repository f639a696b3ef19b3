//! What a file seems to be, by its first lines.

use std::fs::File;
use std::io::{BufRead, Read};
use std::path::Path;

use dataset::{Error, Result};

use super::Encoding;
use super::broken;
use super::open::{bare, open};

/// Lines that are looked at.
const LINES: usize = 100;
const DELIMITERS: [char; 4] = ['\t', ',', ';', '|'];

/// What a file seems to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Parquet.
    Parquet,
    /// JSON objects.
    Json,
    /// Separated text.
    Separated,
}

/// What a file seems to hold, what separates its fields, and how many its first line has.
pub(crate) fn guess(path: &Path) -> Result<(Kind, char, usize)> {
    let mut magic = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read(&mut magic)).map_err(|e| Error::io(path.display(), e))?;
    if magic[..read] == *b"PAR1" {
        return Ok((Kind::Parquet, ',', 0));
    }
    let mut reader = open(path, Encoding::Utf8)?;
    let mut lines: Vec<String> = Vec::new();
    let mut line = Vec::new();
    while lines.len() < LINES {
        line.clear();
        if reader.by_ref().take(1 << 20).read_until(b'\n', &mut line).map_err(|e| broken(path, &e))? == 0 {
            break;
        }
        lines.extend(Some(String::from_utf8_lossy(bare(&line)).into_owned()).filter(|line| !line.trim().is_empty()));
    }
    let Some(first) = lines.first() else {
        return Err(Error::unreadable(path.display(), "expected lines, got none", "take a file with rows in it"));
    };
    if first.trim_start().starts_with(['{', '[']) {
        return Ok((Kind::Json, ',', 0));
    }
    // What is in every line, and most often in the first.
    let everywhere = |delimiter: &char| lines.iter().filter(|line| line.contains(*delimiter)).count();
    let best =
        DELIMITERS.into_iter().max_by_key(|delimiter| (everywhere(delimiter), first.matches(*delimiter).count()));
    let delimiter = best.filter(|delimiter| first.contains(*delimiter)).unwrap_or(',');
    Ok((Kind::Separated, delimiter, first.matches(delimiter).count() + 1))
}
