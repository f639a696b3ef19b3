//! Raw files, row by row: Parquet, CSV, TSV and JSON lines, plain or compressed, whatever bytes they hold.
//!
//! A row that cannot be read is handed on with a reason and counted; it never ends the file. A file that cannot be read
//! (missing column, truncated archive, not Parquet) is one error.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatchReader};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use dataset::{Error, Result};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::config::Format;

/// Why a row was set aside. These go into the quarantine as they are.
pub(crate) mod reason {
    pub(crate) const FIELDS: &str = "wrong number of fields";
    pub(crate) const UTF8: &str = "not UTF-8";
    pub(crate) const JSON: &str = "not a JSON object";
    pub(crate) const NO_USER: &str = "no user";
    pub(crate) const NO_TIME: &str = "no readable time";
    pub(crate) const TIME_RANGE: &str = "time out of range";
    pub(crate) const NO_TEXT: &str = "no text";
    pub(crate) const LONG_TEXT: &str = "text too long";
    pub(crate) const NO_NEWS_ID: &str = "no news id";
    pub(crate) const UNKNOWN_NEWS: &str = "unknown news id";
    pub(crate) const IMPRESSION: &str = "malformed impression";
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Field<'a> {
    /// Null, or absent.
    Missing,
    /// Bytes as they are in the file.
    Text(&'a [u8]),
    /// A Parquet timestamp with a zone, microseconds since 1970 UTC.
    Micros(i64),
    /// A Parquet timestamp without a zone, microseconds since 1970 by the wall clock.
    WallMicros(i64),
    /// A list of texts.
    List(Vec<String>),
}

/// What a reader hands on per row: its line (from 1; row for Parquet), and its wanted fields or why there are none.
pub(crate) type Each<'a> = dyn FnMut(u64, Result<&[Field<'_>], &'static str>) -> Result<()> + 'a;

/// Reads the wanted columns of a file. `names` are the columns of a csv or tsv file without a header line.
pub(crate) fn rows(path: &Path, format: Format, names: &[String], wanted: &[&str], each: &mut Each<'_>) -> Result<()> {
    match format {
        Format::Parquet => parquet(path, wanted, each),
        Format::Csv => separated(path, b',', true, names, wanted, each),
        Format::Tsv => separated(path, b'\t', false, names, wanted, each),
        Format::Jsonl => jsonl(path, wanted, each),
    }
}

/// Opens a plain, gz or zst file, told apart by their first bytes; a byte order mark is skipped.
pub(crate) fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    let failed = |e| Error::io(path.display(), e);
    let mut file = BufReader::with_capacity(1 << 18, File::open(path).map_err(failed)?);
    let start = file.fill_buf().map_err(failed)?;
    let mut reader: Box<dyn BufRead> = if start.starts_with(&[0x1f, 0x8b]) {
        Box::new(BufReader::with_capacity(1 << 18, flate2::bufread::MultiGzDecoder::new(file)))
    } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Box::new(BufReader::with_capacity(1 << 18, zstd::Decoder::with_buffer(file).map_err(failed)?))
    } else {
        Box::new(file)
    };
    let start = reader.fill_buf().map_err(|e| broken(path, &e))?;
    if start.starts_with(b"\xef\xbb\xbf") {
        reader.consume(3);
    }
    Ok(reader)
}

fn broken(path: &Path, e: &dyn std::fmt::Display) -> Error {
    Error::unreadable(path.display(), format!("the file breaks off or is damaged: {e}"), "fetch the file again")
}

/// Calls `each` with every line that is not empty, without its end.
pub(crate) fn lines(path: &Path, mut each: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
    let mut reader = open(path)?;
    let (mut line, mut number) = (Vec::new(), 0);
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line).map_err(|e| broken(path, &e))? == 0 {
            return Ok(());
        }
        number += 1;
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if !text.is_empty() {
            each(number, text)?;
        }
    }
}

/// Where the wanted columns are among a file's columns.
/// (Which columns it has is not said: without a header line they would be what people wrote.)
fn positions(path: &Path, have: &[String], wanted: &[&str]) -> Result<Vec<usize>> {
    let find = |name: &&str| {
        have.iter().position(|column| column == name).ok_or_else(|| {
            Error::unreadable(
                path.display(),
                format!("expected a column {name:?}, got {} others", have.len()),
                "mend the mapping in the configuration; name the columns of a file without a header line in `columns`",
            )
        })
    };
    wanted.iter().map(find).collect()
}

fn separated(
    path: &Path,
    delimiter: u8,
    quoting: bool,
    names: &[String],
    wanted: &[&str],
    each: &mut Each<'_>,
) -> Result<()> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .quoting(quoting)
        .has_headers(false)
        .flexible(true)
        .buffer_capacity(1 << 18)
        .from_reader(open(path)?);
    let mut record = csv::ByteRecord::new();
    let mut next = |record: &mut csv::ByteRecord| reader.read_byte_record(record).map_err(|e| broken(path, &e));
    let names: Vec<String> = if names.is_empty() {
        if !next(&mut record)? {
            return Ok(());
        }
        record.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect()
    } else {
        names.to_vec()
    };
    let at = positions(path, &names, wanted)?;
    while next(&mut record)? {
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() != names.len() {
            each(line, Err(reason::FIELDS))?;
            continue;
        }
        let fields: Vec<Field<'_>> = at
            .iter()
            .map(|i| match &record[*i] {
                [] => Field::Missing,
                text => Field::Text(text),
            })
            .collect();
        each(line, Ok(&fields))?;
    }
    Ok(())
}

fn jsonl(path: &Path, wanted: &[&str], each: &mut Each<'_>) -> Result<()> {
    use serde_json::Value;
    lines(path, |line, bytes| {
        let Ok(Value::Object(object)) = serde_json::from_slice(bytes) else {
            let reason = if std::str::from_utf8(bytes).is_ok() { reason::JSON } else { reason::UTF8 };
            return each(line, Err(reason));
        };
        // Numbers (ids, unix times) keep the digits they are written with.
        let written: Vec<Option<String>> = wanted
            .iter()
            .map(|name| match object.get(*name) {
                Some(Value::Number(n)) => Some(n.to_string()),
                Some(Value::String(s)) if !s.is_empty() => Some(s.clone()),
                _ => None,
            })
            .collect();
        let fields: Vec<Field<'_>> = wanted
            .iter()
            .zip(&written)
            .map(|(name, text)| match (text, object.get(*name)) {
                (Some(text), _) => Field::Text(text.as_bytes()),
                (None, Some(Value::Array(items))) => {
                    Field::List(items.iter().filter_map(|i| i.as_str().map(str::to_owned)).collect())
                }
                _ => Field::Missing,
            })
            .collect();
        each(line, Ok(&fields))
    })
}

fn parquet(path: &Path, wanted: &[&str], each: &mut Each<'_>) -> Result<()> {
    let file = File::open(path).map_err(|e| Error::io(path.display(), e))?;
    let failed = |e: &dyn std::fmt::Display| {
        Error::unreadable(path.display(), format!("expected Parquet: {e}"), "fetch the file again, or mend `format`")
    };
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| failed(&e))?;
    let have: Vec<String> = builder.schema().fields().iter().map(|f| f.name().clone()).collect();
    let at = positions(path, &have, wanted)?;
    let mask = ProjectionMask::roots(builder.parquet_schema(), at.iter().copied());
    let reader = builder.with_projection(mask).with_batch_size(8192).build().map_err(|e| failed(&e))?;
    let projected = reader.schema();
    let at: Vec<usize> =
        wanted.iter().map(|name| projected.index_of(name).map_err(|e| failed(&e))).collect::<Result<_>>()?;
    let mut row = 0;
    for batch in reader {
        let batch = batch.map_err(|e| failed(&e))?;
        let columns: Vec<Column> =
            at.iter().map(|i| Column::of(batch.column(*i)).map_err(|e| failed(&e))).collect::<Result<_>>()?;
        for i in 0..batch.num_rows() {
            row += 1;
            let fields: Vec<Field<'_>> = columns.iter().map(|c| c.field(i)).collect();
            each(row, Ok(&fields))?;
        }
    }
    Ok(())
}

/// A Parquet column as the fields it gives.
enum Column {
    Text(ArrayRef),
    Micros(ArrayRef),
    WallMicros(ArrayRef),
    List(ArrayRef),
}

impl Column {
    fn of(array: &ArrayRef) -> Result<Self, arrow::error::ArrowError> {
        let micros =
            |zone: Option<&str>| cast(array, &DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into)));
        Ok(match array.data_type() {
            DataType::Timestamp(_, Some(_)) => Column::Micros(micros(Some("UTC"))?),
            DataType::Timestamp(_, None) | DataType::Date32 | DataType::Date64 => Column::WallMicros(micros(None)?),
            DataType::List(_) | DataType::LargeList(_) => {
                let item = arrow::datatypes::Field::new("item", DataType::Utf8, true);
                Column::List(cast(array, &DataType::List(item.into()))?)
            }
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
                Column::Text(cast(array, &DataType::Binary)?)
            }
            _ => Column::Text(cast(&cast(array, &DataType::Utf8)?, &DataType::Binary)?),
        })
    }

    fn field(&self, row: usize) -> Field<'_> {
        let (Column::Text(array) | Column::Micros(array) | Column::WallMicros(array) | Column::List(array)) = self;
        if array.is_null(row) {
            return Field::Missing;
        }
        match self {
            Column::Text(array) => match array.as_binary::<i32>().value(row) {
                [] => Field::Missing,
                text => Field::Text(text),
            },
            Column::Micros(array) => Field::Micros(array.as_primitive::<TimestampMicrosecondType>().value(row)),
            Column::WallMicros(array) => Field::WallMicros(array.as_primitive::<TimestampMicrosecondType>().value(row)),
            Column::List(array) => {
                let items = array.as_list::<i32>().value(row);
                Field::List(items.as_string::<i32>().iter().flatten().map(str::to_owned).collect())
            }
        }
    }
}
