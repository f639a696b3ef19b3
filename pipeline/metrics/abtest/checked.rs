//! The checks of an experiment's rows: what is no date, no count or contradicts itself is named with its file, row and column.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Field, Float64Type, Int64Type, Schema, SchemaRef};
use dataset::{Error, Result};

use super::UserDayColumns;

pub(super) const HINT: &str = "mend the table, or name its columns: see `querent abtest --help`";

/// The columns of checked rows: user_id is as the file has it.
pub(super) fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let count = |name: &str, nullable| Field::new(name, DataType::Int32, nullable);
    Arc::new(Schema::new(vec![
        text("user_id"),
        count("day", false),
        text("variant"),
        count("active", false),
        count("impressions", false),
        count("clicks", false),
        count("cold", false),
        count("pre_active", true),
        count("pre_impressions", true),
        count("pre_clicks", true),
    ]))
}

/// A batch of a file, to be checked.
pub(super) struct Checker<'a> {
    pub(super) path: &'a Path,
    pub(super) columns: &'a UserDayColumns,
    /// Rows of the file before the batch.
    pub(super) row: usize,
    pub(super) batch: &'a RecordBatch,
}

impl Checker<'_> {
    /// The batch as [`schema`] has it.
    ///
    /// # Errors
    /// When a row makes no sense: file, row, column, expected and got.
    pub(super) fn checked(&self) -> Result<RecordBatch> {
        let columns = self.columns;
        let (users, variants) = (self.texts(&columns.user_column)?, self.texts(&columns.variant_column)?);
        let days = self.days()?;
        let active = self.counts(&columns.active_column, false, 1)?;
        let impressions = self.counts(&columns.impressions_column, false, i32::MAX)?;
        let clicks = self.counts(&columns.clicks_column, false, i32::MAX)?;
        let more = |row: &usize| clicks.value(*row) > impressions.value(*row);
        if let Some(row) = (0..clicks.len()).find(more) {
            let expected = format!("at most the row's {} impressions", impressions.value(row));
            return Err(self.wrong(row, &columns.clicks_column, &expected, &clicks.value(row).to_string()));
        }
        let cold = self.counts(&columns.cold_column, false, 1)?;
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(users), Arc::new(days), Arc::new(variants)];
        arrays.extend([active, impressions, clicks, cold].map(|counts| Arc::new(counts) as ArrayRef));
        for name in columns.past() {
            arrays.push(Arc::new(match self.batch.column_by_name(name) {
                Some(_) => self.counts(name, true, i32::MAX)?,
                None => Int32Array::new_null(self.batch.num_rows()),
            }));
        }
        Ok(RecordBatch::try_new(schema(), arrays)?)
    }

    fn wrong(&self, row: usize, column: &str, expected: &str, got: &str) -> Error {
        let what = format!("row {}, column {column}: expected {expected}, got {got}", self.row + row + 1);
        Error::unreadable(self.path.display(), what, HINT)
    }

    fn column(&self, name: &str) -> Result<&ArrayRef> {
        self.batch.column_by_name(name).ok_or_else(|| Error::bug(format!("{name}: a column was not read")))
    }

    /// A column as another type; what cannot be cast is null.
    fn cast(&self, name: &str, to: &DataType, expected: &str) -> Result<ArrayRef> {
        let column = self.column(name)?;
        cast(column, to).map_err(|_| {
            let what = format!("column {name}: expected {expected}, got {}", column.data_type());
            Error::unreadable(self.path.display(), what, HINT)
        })
    }

    fn texts(&self, name: &str) -> Result<StringArray> {
        let texts = self.cast(name, &DataType::Utf8, "texts or numbers")?.as_string::<i32>().clone();
        match (0..texts.len()).find(|row| texts.is_null(*row) || texts.value(*row).is_empty()) {
            Some(row) => Err(self.wrong(row, name, "a text", "none")),
            None => Ok(texts),
        }
    }

    fn days(&self) -> Result<Int32Array> {
        let name = &self.columns.day_column;
        let expected = "a date (YYYY-MM-DD)";
        let column = self.column(name)?;
        if column.data_type().is_numeric() || *column.data_type() == DataType::Boolean {
            let what = format!("column {name}: expected {expected}, got {}", column.data_type());
            return Err(Error::unreadable(self.path.display(), what, HINT));
        }
        let days = self.cast(name, &DataType::Date32, expected)?;
        let days = days.as_primitive::<Date32Type>();
        match (0..days.len()).find(|row| days.is_null(*row)) {
            Some(row) if column.is_null(row) => Err(self.wrong(row, name, expected, "none")),
            Some(row) => Err(self.wrong(row, name, expected, "another text")),
            None => Ok(Int32Array::from(days.values().to_vec())),
        }
    }

    /// Whole numbers from 0 to `most`, or truth values; with `nullable` there may be none.
    fn counts(&self, name: &str, nullable: bool, most: i32) -> Result<Int32Array> {
        let expected = match most {
            1 => "0 or 1".to_owned(),
            most => format!("a whole number from 0 to {most}"),
        };
        let column = self.column(name)?;
        // Truth values as text are no numbers.
        let truth = |text: &str| match text {
            "true" | "True" | "TRUE" => Some("1".to_owned()),
            "false" | "False" | "FALSE" => Some("0".to_owned()),
            other => Some(other.to_owned()),
        };
        let whole = column.data_type().is_integer() || *column.data_type() == DataType::Boolean;
        let numbers = match column.data_type() {
            DataType::Utf8 => {
                let texts: StringArray = column.as_string::<i32>().iter().map(|text| text.and_then(truth)).collect();
                cast(&texts, &DataType::Float64)?
            }
            _ if whole => self.cast(name, &DataType::Int64, &expected)?,
            _ => self.cast(name, &DataType::Float64, &expected)?,
        };
        let mut counts = Vec::with_capacity(numbers.len());
        for row in 0..numbers.len() {
            if column.is_null(row) && nullable {
                counts.push(None);
                continue;
            }
            let number = match numbers.is_valid(row) {
                true if whole => numbers.as_primitive::<Int64Type>().value(row) as f64,
                true => numbers.as_primitive::<Float64Type>().value(row),
                false => {
                    return Err(self.wrong(row, name, &expected, if column.is_null(row) { "none" } else { "a text" }));
                }
            };
            if !(0.0..=f64::from(most)).contains(&number) || number.fract() != 0.0 {
                return Err(self.wrong(row, name, &expected, &number.to_string()));
            }
            counts.push(Some(number as i32));
        }
        Ok(Int32Array::from(counts))
    }
}
