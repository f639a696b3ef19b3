//! A table's column as a token: its name, and the type of array that it is read as.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::Schema;
use arrow::error::ArrowError;

use crate::kind::Values;
use crate::{Column, Lists, Table};

/// Column of table `T`, whose values are an `A`. `table!` makes one per column: `Truth::news_id`.
///
/// ```
/// use schemas::{Truth, TruthColumns};
///
/// # fn main() -> Result<(), arrow::error::ArrowError> {
/// let rows = TruthColumns { user_id: vec!["u"].into(), news_id: vec!["n"].into(), occurred_at: vec![1].into() };
/// let batch = rows.into_batch()?;
/// assert_eq!(Truth::news_id.of(&batch)?.value(0), "n");
/// # Ok(())
/// # }
/// ```
///
/// A text is not taken for a time:
///
/// ```compile_fail
/// # fn read(batch: &arrow::array::RecordBatch) -> Result<(), arrow::error::ArrowError> {
/// let times: &arrow::array::TimestampMicrosecondArray = schemas::Truth::news_id.of(batch)?;
/// # Ok(())
/// # }
/// ```
pub struct Col<T, A> {
    name: &'static str,
    nullable: bool,
    reads: PhantomData<fn() -> (T, A)>,
}

impl<T, A> Clone for Col<T, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, A> Copy for Col<T, A> {}

impl<T, A> fmt::Debug for Col<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Col({})", self.name)
    }
}

impl<T, A> Col<T, A> {
    pub(crate) const fn new(name: &'static str, nullable: bool) -> Self {
        Col { name, nullable, reads: PhantomData }
    }

    /// The column's name.
    pub const fn name(self) -> &'static str {
        self.name
    }
}

impl<T: Table, A: Values> Col<T, A> {
    fn find(self, batch: &RecordBatch) -> Result<&ArrayRef, ArrowError> {
        let column = Column { name: self.name, data_type: A::data_type(), nullable: self.nullable, about: "" };
        find(T::NAME, &column, batch)
    }
}

impl<T: Table, A: Array + Values> Col<T, A> {
    /// This column of a batch, which may have other columns than the table.
    ///
    /// # Errors
    /// When the column is missing, has another type, or has nulls where the contract allows none: table, column, expected and got.
    pub fn of(self, batch: &RecordBatch) -> Result<&A, ArrowError> {
        Ok(self.find(batch)?.as_any().downcast_ref().expect("the type was checked"))
    }
}

impl<T: Table, A: Values> Col<T, Lists<A>> {
    /// This column of a batch, which may have other columns than the table. No values are copied.
    ///
    /// # Errors
    /// When the column is missing, has another type, or has nulls where the contract allows none: table, column, expected and got.
    pub fn of(self, batch: &RecordBatch) -> Result<Lists<A>, ArrowError> {
        Ok(Lists::from_array(self.find(batch)?).expect("the type was checked"))
    }
}

/// A name as it is in data: without the mark that lets a Rust keyword be a name.
pub(crate) const fn plain(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', ..] => name.split_at(2).1,
        _ => name,
    }
}

fn wrong(table: &str, column: &str, expected: impl fmt::Display, got: impl fmt::Display) -> ArrowError {
    ArrowError::SchemaError(format!("table {table}, column {column}: expected {expected}, got {got}"))
}

fn check(table: &str, column: &Column, array: &dyn Array) -> Result<(), ArrowError> {
    if *array.data_type() != column.data_type {
        return Err(wrong(table, column.name, &column.data_type, array.data_type()));
    }
    match array.null_count() {
        nulls if nulls > 0 && !column.nullable => Err(wrong(table, column.name, "no nulls", nulls)),
        _ => Ok(()),
    }
}

/// A column of a batch that keeps the contract.
pub(crate) fn find<'a>(table: &str, column: &Column, batch: &'a RecordBatch) -> Result<&'a ArrayRef, ArrowError> {
    let missing = || wrong(table, column.name, &column.data_type, "no such column");
    let array = batch.column_by_name(column.name).ok_or_else(missing)?;
    check(table, column, array)?;
    Ok(array)
}

/// A batch of a table's columns, one array each.
pub(crate) fn assemble(table: &str, columns: &[Column], arrays: Vec<ArrayRef>) -> Result<RecordBatch, ArrowError> {
    let rows = arrays.first().map_or(0, |array| array.len());
    for (column, array) in columns.iter().zip(&arrays) {
        check(table, column, array)?;
        if array.len() != rows {
            let got = format!("{} rows", array.len());
            return Err(wrong(table, column.name, format!("{rows} rows, as in {}", columns[0].name), got));
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(columns.iter().map(Column::field).collect::<Vec<_>>())), arrays)
}
