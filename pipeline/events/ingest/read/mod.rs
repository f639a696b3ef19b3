//! Raw files, row by row: Parquet, CSV, TSV and JSON, plain or compressed, whatever bytes they hold.
//!
//! A row that cannot be read is handed on with a reason and counted; it never ends the file. A file that cannot be read
//! (missing column, truncated archive, not Parquet) is one error. No reader accepts what a strict one refuses.

mod cells;
mod columns;
mod guess;
mod hive;
mod json;
mod open;
mod parquet;
#[cfg(test)]
mod python;
mod quotes;
mod select;
mod separated;

use std::borrow::Cow;
use std::path::Path;

use dataset::{Error, Result};
use serde::{Deserialize, Serialize};

pub(crate) use guess::{Kind, guess};
pub(crate) use hive::partitions;
pub(crate) use open::lines;
pub(crate) use select::Select;
pub(crate) use separated::Dialect;

use super::config::Format;

/// Why a row was set aside. These go into the quarantine as they are, and never hold the row's own text.
pub(crate) type Reason = Cow<'static, str>;

/// The reasons that are always the same.
pub(crate) mod reason {
    use super::Reason;

    pub(crate) const OPEN_QUOTE: Reason = Reason::Borrowed("a quote that is never closed");
    pub(crate) const AFTER_QUOTE: Reason = Reason::Borrowed("text after a closing quote");
    pub(crate) const BARE_RETURN: Reason = Reason::Borrowed("a carriage return outside of quotes");
    pub(crate) use dataset::ids::UTF8;
    pub(crate) const JSON: Reason = Reason::Borrowed("not a JSON object");
    pub(crate) const NO_USER: Reason = Reason::Borrowed("no user");
    pub(crate) const LONG_USER: Reason = Reason::Borrowed("user id too long");
    pub(crate) use dataset::ids::INEXACT as INEXACT_ID;
    pub(crate) const LENGTHS: Reason = Reason::Borrowed("lists of unequal lengths");
    pub(crate) const NO_TIME: Reason = Reason::Borrowed("no readable time");
    pub(crate) const TIME_RANGE: Reason = Reason::Borrowed("time out of range");
    pub(crate) const NO_TEXT: Reason = Reason::Borrowed("no text");
    pub(crate) const LONG_LINE: Reason = Reason::Borrowed("line too long");
    pub(crate) const LONG_TEXT: Reason = Reason::Borrowed("text too long");
    pub(crate) const NO_NEWS_ID: Reason = Reason::Borrowed("no news id");
    pub(crate) const UNKNOWN_NEWS: Reason = Reason::Borrowed("unknown news id");
    pub(crate) const IMPRESSION: Reason = Reason::Borrowed("malformed impression");

    pub(crate) const MIXED: Reason = Reason::Borrowed("a value of another kind than those before it");
    pub(crate) const SELECT: Reason = Reason::Borrowed("`select` cannot be computed");
    pub(crate) const UNLABELLED: Reason = Reason::Borrowed("impressions that do not say what was clicked");
    pub(crate) const NO_LIST: Reason = Reason::Borrowed("not a JSON list");

    /// A row of another width than its file. Few widths are told apart, so that reasons stay few.
    pub(crate) fn fields(expected: usize, got: usize) -> Reason {
        match got {
            0..=40 => format!("expected {expected} fields, got {got}").into(),
            _ => format!("expected {expected} fields, got more than 40").into(),
        }
    }
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Field<'a> {
    /// Null, or absent.
    Missing,
    /// Bytes as they are in the file; numbers with the digits they are written with.
    Text(Cow<'a, [u8]>),
    /// A floating-point number of Parquet's as text, so large that its type does not hold every whole number there.
    Coarse(Cow<'a, [u8]>),
    /// A Parquet timestamp with a zone, microseconds since 1970 UTC.
    Micros(i64),
    /// A Parquet timestamp without a zone, microseconds since 1970 by the wall clock.
    WallMicros(i64),
    /// A list.
    List(Vec<Field<'a>>),
}

/// Where a row lies: its first line (from 1; row for Parquet), and how many lines it fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) line: u64,
    pub(crate) lines: u64,
}

impl Row {
    /// A row that is one line.
    pub(crate) fn at(line: u64) -> Self {
        Row { line, lines: 1 }
    }
}

/// How a file is written, whatever its columns mean.
#[derive(Debug, Clone)]
pub(crate) struct Shape<'a> {
    pub(crate) format: Format,
    /// Of csv and tsv.
    pub(crate) dialect: Dialect,
    pub(crate) encoding: Encoding,
    /// The columns of a csv or tsv file without a header line.
    pub(crate) columns: &'a [String],
    /// What its rows are made into first.
    pub(crate) select: Option<Select>,
}

/// How text is written as bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// UTF-8, with or without a byte order mark; a file that begins with UTF-16's mark is read as UTF-16.
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    /// UTF-16, least significant byte first.
    #[serde(rename = "utf-16le")]
    Utf16Le,
    /// UTF-16, most significant byte first.
    #[serde(rename = "utf-16be")]
    Utf16Be,
    /// Windows-1252, which holds all characters of ISO 8859-1.
    #[serde(rename = "latin-1", alias = "windows-1252")]
    Latin1,
}

/// What a file was found to hold beside its rows.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Its columns, as far as they look like names.
    pub(crate) columns: Vec<String>,
    /// Wanted columns that no row of a JSON file has. (Of the other formats that is an error.)
    pub(crate) absent: Vec<String>,
    /// Lines that repeat the header.
    pub(crate) headers: u64,
    /// Rows that `select` leaves out.
    pub(crate) left_out: u64,
}

/// What a reader hands on per row: where it lies, and its wanted fields or why there are none.
pub(crate) type Each<'a> = dyn FnMut(Row, Result<&[Field<'_>], Reason>) -> Result<()> + 'a;

/// Reads the wanted columns of a file. Those that the names of its folders say are taken from there.
pub(crate) fn rows(path: &Path, shape: &Shape<'_>, wanted: &[&str], each: &mut Each<'_>) -> Result<Found> {
    if let Some(select) = &shape.select {
        return select.rows(path, shape, wanted, each);
    }
    let partitions = partitions(path);
    let said = |name: &&str| partitions.iter().find(|(said, _)| said == name);
    if !wanted.iter().any(|name| said(name).is_some()) {
        return of_file(path, shape, wanted, each);
    }
    let inside: Vec<&str> = wanted.iter().copied().filter(|name| said(name).is_none()).collect();
    let mut all: Vec<Field<'static>> = vec![Field::Missing; wanted.len()];
    for (field, name) in all.iter_mut().zip(wanted) {
        if let Some((_, value)) = said(name).filter(|(_, value)| !value.is_empty()) {
            *field = Field::Text(Cow::Owned(value.clone().into_bytes()));
        }
    }
    of_file(path, shape, &inside, &mut |row, fields| match fields {
        Err(reason) => each(row, Err(reason)),
        Ok(fields) => {
            let mut fields = fields.iter();
            let mut next = || fields.next().cloned().unwrap_or(Field::Missing);
            let of_row: Vec<Field<'_>> = wanted
                .iter()
                .zip(&all)
                .map(|(name, said_by_path)| if said(name).is_some() { said_by_path.clone() } else { next() })
                .collect();
            each(row, Ok(&of_row))
        }
    })
}

fn of_file(path: &Path, shape: &Shape<'_>, wanted: &[&str], each: &mut Each<'_>) -> Result<Found> {
    match shape.format {
        Format::Parquet => parquet::read(path, wanted, each),
        Format::Csv | Format::Tsv => separated::read(path, shape, wanted, each),
        Format::Jsonl => json::read(path, shape.encoding, wanted, each),
    }
}

fn broken(path: &Path, e: &dyn std::fmt::Display) -> Error {
    Error::unreadable(path.display(), format!("the file breaks off or is damaged: {e}"), "fetch the file again")
}
