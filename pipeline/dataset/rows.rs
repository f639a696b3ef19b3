//! Rows of a table: Arrow batches whose type says which contract they keep.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema};
use schemas::{Table, fits};

use crate::{Error, Result};

/// Rows of table `T`, perhaps only some of its columns.
pub struct Rows<T> {
    batches: Vec<RecordBatch>,
    table: PhantomData<fn() -> T>,
}

impl<T> std::fmt::Debug for Rows<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rows({} rows)", self.batches.iter().map(RecordBatch::num_rows).sum::<usize>())
    }
}

impl<T: Table> Rows<T> {
    /// Rows from batches; their columns are checked when they are written.
    pub fn new(batches: Vec<RecordBatch>) -> Self {
        Rows { batches, table: PhantomData }
    }

    /// No rows.
    pub fn empty() -> Self {
        Self::new(Vec::new())
    }

    /// The batches.
    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// The batches, by value.
    pub fn into_batches(self) -> Vec<RecordBatch> {
        self.batches
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A column of a batch as its concrete array type.
    ///
    /// # Errors
    /// When the column is missing or has another type: the reader did not ask for it, or the contract changed.
    pub fn column<'a, A: 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a A> {
        let wrong = |got: String| Error::Schema {
            table: T::NAME.into(),
            column: name.into(),
            expected: std::any::type_name::<A>().into(),
            got,
        };
        let column = batch.column_by_name(name).ok_or_else(|| wrong("no such column".into()))?;
        column.as_any().downcast_ref().ok_or_else(|| wrong(column.data_type().to_string()))
    }
}

/// A batch of table `T` from all its columns, in the contract's order.
pub fn from_columns<T: Table>(columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    let contract = T::contract();
    for (column, array) in contract.columns.iter().zip(&columns) {
        if !fits(&column.data_type, array.data_type()) {
            return Err(Error::Schema {
                table: T::NAME.into(),
                column: column.name.into(),
                expected: column.data_type.to_string(),
                got: array.data_type().to_string(),
            });
        }
    }
    let fields: Vec<Field> = contract
        .columns
        .iter()
        .zip(&columns)
        .map(|(c, array)| Field::new(c.name, array.data_type().clone(), c.nullable))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(Error::arrow(format!("making {}", T::NAME)))
}
