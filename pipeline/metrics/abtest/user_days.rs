//! Rows of an experiment's table: Parquet or CSV files with a row per user and day, each row checked.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringBuilder};
use clap::Args;
use dataset::{Error, Result};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::{Deserialize, Serialize};

use super::checked::{Checker, HINT};

/// Rows read at a time.
const BATCH: usize = 8192;
/// A piece of a Parquet file has about so many rows: pieces are read side by side.
const PIECE_ROWS: i64 = 1_000_000;
/// A CSV row's bytes, for a guess of their number.
const CSV_ROW_BYTES: u64 = 40;

/// Which columns of the table are what.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct UserDayColumns {
    /// Column with the platform's user ids
    #[arg(long, value_name = "COLUMN", default_value = "user_id")]
    pub user_column: String,
    /// Column with dates (YYYY-MM-DD, where they are text)
    #[arg(long, value_name = "COLUMN", default_value = "day")]
    pub day_column: String,
    /// Column with the arm that the user was assigned to
    #[arg(long, value_name = "COLUMN", default_value = "variant")]
    pub variant_column: String,
    /// Column that says whether the user came that day
    #[arg(long, value_name = "COLUMN", default_value = "active")]
    pub active_column: String,
    /// Column with the number of articles shown that day
    #[arg(long, value_name = "COLUMN", default_value = "impressions")]
    pub impressions_column: String,
    /// Column with the number of articles clicked that day
    #[arg(long, value_name = "COLUMN", default_value = "clicks")]
    pub clicks_column: String,
    /// Column that says whether the user has little history; what it says on a user's first day counts
    #[arg(long, value_name = "COLUMN", default_value = "cold")]
    pub cold_column: String,
    /// Column with active days before the experiment, if there is one: it makes estimates more precise (CUPED)
    #[arg(long, value_name = "COLUMN", default_value = "pre_active")]
    pub pre_active_column: String,
    /// Column with articles shown before it, if there is one
    #[arg(long, value_name = "COLUMN", default_value = "pre_impressions")]
    pub pre_impressions_column: String,
    /// Column with articles clicked before it, if there is one
    #[arg(long, value_name = "COLUMN", default_value = "pre_clicks")]
    pub pre_clicks_column: String,
}

impl Default for UserDayColumns {
    fn default() -> Self {
        dataset::defaults()
    }
}

impl UserDayColumns {
    fn needed(&self) -> [&str; 7] {
        [
            &self.user_column,
            &self.day_column,
            &self.variant_column,
            &self.active_column,
            &self.impressions_column,
            &self.clicks_column,
            &self.cold_column,
        ]
    }

    pub(super) fn past(&self) -> [&str; 3] {
        [&self.pre_active_column, &self.pre_impressions_column, &self.pre_clicks_column]
    }
}

/// A file, or some row groups of a Parquet file.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    path: PathBuf,
    /// None: a CSV file.
    groups: Option<Range<usize>>,
    /// Rows of the file before it.
    start: usize,
    /// Its rows; of a CSV file a guess.
    pub(super) rows: u64,
}

impl Piece {
    /// The pieces of a file.
    pub(super) fn of(path: &Path) -> Result<Vec<Piece>> {
        let mut file = File::open(path).map_err(Error::at(path))?;
        let mut magic = [0; 4];
        let bytes = file.metadata().map_err(Error::at(path))?.len();
        if file.read_exact(&mut magic).is_err() || &magic != b"PAR1" {
            let rows = bytes / CSV_ROW_BYTES;
            return Ok(vec![Piece { path: path.into(), groups: None, start: 0, rows }]);
        }
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| unreadable(path, &e))?;
        let mut pieces: Vec<Piece> = Vec::new();
        let mut start = 0;
        for (at, group) in builder.metadata().row_groups().iter().enumerate() {
            let rows = group.num_rows().max(0);
            match pieces.last_mut().filter(|piece| piece.rows as i64 + rows <= PIECE_ROWS) {
                Some(Piece { groups: Some(groups), rows: so_far, .. }) => {
                    groups.end = at + 1;
                    *so_far += rows as u64;
                }
                _ => pieces.push(Piece { path: path.into(), groups: Some(at..at + 1), start, rows: rows as u64 }),
            }
            start += rows as usize;
        }
        Ok(pieces)
    }

    /// What tells it from the other pieces of its file.
    pub(super) fn place(&self) -> usize {
        self.start
    }

    /// Calls `each` with its rows, checked and in their order.
    ///
    /// # Errors
    /// When a row makes no sense: file, row, column, expected and got.
    pub(super) fn read(&self, columns: &UserDayColumns, mut each: impl FnMut(RecordBatch) -> Result<()>) -> Result<()> {
        let mut row = self.start;
        let mut check = |batch: RecordBatch| {
            let checked = Checker { path: &self.path, columns, row, batch: &batch }.checked()?;
            row += batch.num_rows();
            each(checked)
        };
        let Some(groups) = &self.groups else { return csv(&self.path, columns, check) };
        let file = File::open(&self.path).map_err(Error::at(&self.path))?;
        let failed = |e: &dyn std::fmt::Display| unreadable(&self.path, e);
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| failed(&e))?;
        let there: Vec<String> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
        let roots = wanted(&self.path, columns, &there)?.into_iter().map(|(at, _)| at);
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        let builder = builder.with_projection(mask).with_row_groups(groups.clone().collect()).with_batch_size(BATCH);
        for batch in builder.build().map_err(|e| failed(&e))? {
            check(batch.map_err(|e| failed(&e))?)?;
        }
        Ok(())
    }
}

fn unreadable(path: &Path, e: &dyn std::fmt::Display) -> Error {
    Error::unreadable(path.display(), format!("expected Parquet: {e}"), "copy the file again")
}

/// The columns that are read, by their places in the file.
fn wanted<'a>(path: &Path, columns: &'a UserDayColumns, there: &[String]) -> Result<Vec<(usize, &'a str)>> {
    let find = |name: &str| there.iter().position(|column| column == name);
    let needed = columns.needed().into_iter().map(|name| {
        let missing = || {
            let what = format!("expected a column {name}, got {}", there.join(", "));
            Error::unreadable(path.display(), what, "name the columns: see `querent abtest --help`")
        };
        Ok((find(name).ok_or_else(missing)?, name))
    });
    let past = columns.past().into_iter().filter_map(|name| Some(Ok((find(name)?, name))));
    needed.chain(past).collect()
}

/// Reads a CSV file as columns of text.
fn csv(path: &Path, columns: &UserDayColumns, mut each: impl FnMut(RecordBatch) -> Result<()>) -> Result<()> {
    let broken = |e: ::csv::Error| Error::unreadable(path.display(), format!("expected CSV: {e}"), HINT);
    let mut reader = ::csv::Reader::from_path(path).map_err(broken)?;
    let there: Vec<String> =
        reader.headers().map_err(broken)?.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect();
    let wanted = wanted(path, columns, &there)?;
    let mut record = ::csv::StringRecord::new();
    loop {
        let mut builders: Vec<StringBuilder> = wanted.iter().map(|_| StringBuilder::new()).collect();
        let mut rows = 0;
        while rows < BATCH && reader.read_record(&mut record).map_err(broken)? {
            for ((at, _), builder) in wanted.iter().zip(&mut builders) {
                builder.append_option(record.get(*at).map(str::trim).filter(|field| !field.is_empty()));
            }
            rows += 1;
        }
        if rows == 0 {
            return Ok(());
        }
        let named = wanted
            .iter()
            .zip(builders)
            .map(|((_, name), mut builder)| (*name, Arc::new(builder.finish()) as ArrayRef, true));
        each(RecordBatch::try_from_iter_with_nullable(named)?)?;
    }
}
