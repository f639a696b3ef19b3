//! What a table promises: as a type ([`Table`]) and as a value ([`Contract`]).

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::column;
use crate::kind::Record;

/// How a dataset is cut into partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One partition per user bucket, in hive folders `bucket=0007/`.
    Users,
    /// Numbered parts without a meaning of their own.
    Parts,
}

/// A column as a value: its name, type and meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The column's name; never a SQL keyword.
    pub name: &'static str,
    /// Its Arrow type.
    pub data_type: DataType,
    /// Whether null is allowed.
    pub nullable: bool,
    /// What it means, with its unit.
    pub about: &'static str,
}

impl Column {
    /// The column as a field of an Arrow schema.
    pub fn field(&self) -> Field {
        Field::new(self.name, self.data_type.clone(), self.nullable)
    }
}

/// One column of a table's row order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortColumn {
    /// The column's name.
    pub name: &'static str,
    /// Largest first.
    pub descending: bool,
}

/// A dataset's contract, as a type. `table!` makes it, with the typed columns and a token per column.
pub trait Table: fmt::Debug + Send + Sync + 'static {
    /// The columns of some rows as typed arrays: a struct with a field per column.
    type Columns: Record;

    /// The table's name; a dataset of this table usually has the same name.
    const NAME: &'static str;
    /// Raised whenever a column, its type or its meaning changes.
    const VERSION: u32;
    /// One sentence: what a row is.
    const ABOUT: &'static str;
    /// How datasets of this table are partitioned.
    const LAYOUT: Layout;
    /// Columns that together name a row.
    const KEY: &'static [&'static str];
    /// The order of rows within a part. Writers check it; readers rely on it.
    const ORDER: &'static [SortColumn];

    /// The columns, in order.
    fn columns() -> Vec<Column> {
        Self::Columns::columns()
    }

    /// The contract as a value.
    fn contract() -> Contract {
        Contract {
            name: Self::NAME,
            version: Self::VERSION,
            about: Self::ABOUT,
            layout: Self::LAYOUT,
            key: Self::KEY,
            order: Self::ORDER,
            columns: Self::columns(),
        }
    }

    /// Columns as a batch, in the contract's order. No values are copied.
    ///
    /// # Errors
    /// When the columns differ in length, or one that is never null has nulls: table, column, expected and got.
    fn into_batch(columns: Self::Columns) -> Result<RecordBatch, ArrowError> {
        column::assemble(Self::NAME, &Self::columns(), columns.into_arrays()?)
    }

    /// A batch's columns, found by their names; others that it has are left out. No values are copied.
    ///
    /// # Errors
    /// When a column is missing, has another type, or has nulls where the contract allows none: table, column, expected and got.
    fn from_batch(batch: &RecordBatch) -> Result<Self::Columns, ArrowError> {
        let columns = Self::columns();
        let arrays: Vec<_> =
            columns.iter().map(|c| column::find(Self::NAME, c, batch)).collect::<Result<_, ArrowError>>()?;
        Ok(Self::Columns::from_arrays(&mut arrays.into_iter()).expect("the types were checked"))
    }
}

/// A dataset's contract, as a value.
#[derive(Debug, Clone)]
pub struct Contract {
    /// See [`Table::NAME`].
    pub name: &'static str,
    /// See [`Table::VERSION`].
    pub version: u32,
    /// See [`Table::ABOUT`].
    pub about: &'static str,
    /// See [`Table::LAYOUT`].
    pub layout: Layout,
    /// See [`Table::KEY`].
    pub key: &'static [&'static str],
    /// See [`Table::ORDER`].
    pub order: &'static [SortColumn],
    /// See [`Table::columns`].
    pub columns: Vec<Column>,
}

impl Contract {
    /// The Arrow schema of the table.
    pub fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.columns.iter().map(Column::field).collect::<Vec<_>>()))
    }
}
