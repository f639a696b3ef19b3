//! Rows of a table: Arrow batches whose type says which contract they keep.

use std::marker::PhantomData;

use arrow::array::RecordBatch;
use schemas::Table;

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

    /// Rows from columns.
    ///
    /// # Errors
    /// When they differ in length, or one that is never null has nulls.
    pub fn of(columns: T::Columns) -> Result<Self> {
        let batch = T::into_batch(columns).map_err(Error::arrow(format!("making {}", T::NAME)))?;
        Ok(Self::new(vec![batch]))
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

    /// All columns, batch by batch. Of rows of which only some columns were read, take these by their tokens (`Truth::user_id.of(batch)`).
    ///
    /// # Errors
    /// When a column was not read.
    pub fn columns(&self) -> impl Iterator<Item = Result<T::Columns>> {
        self.batches.iter().map(|batch| T::from_batch(batch).map_err(Error::arrow(format!("reading {}", T::NAME))))
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A column token's failure is a failure of the rows that were read.
impl From<arrow::error::ArrowError> for Error {
    fn from(source: arrow::error::ArrowError) -> Self {
        Error::arrow("reading columns")(source)
    }
}
