//! Columns and the few types that contracts use.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

/// A column: its name, type and meaning.
#[derive(Debug, Clone)]
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

/// A column that is never null.
pub fn column(name: &'static str, data_type: DataType, about: &'static str) -> Column {
    Column { name, data_type, nullable: false, about }
}

/// A column that may be null.
pub fn nullable(name: &'static str, data_type: DataType, about: &'static str) -> Column {
    Column { name, data_type, nullable: true, about }
}

/// UTF-8 text.
pub fn text() -> DataType {
    DataType::Utf8
}

/// A keyed hash as 32 hex digits.
pub fn id() -> DataType {
    DataType::Utf8
}

/// A point in time: microseconds since 1970, UTC.
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Unsigned 32-bit integer.
pub fn uint32() -> DataType {
    DataType::UInt32
}

/// Unsigned 64-bit integer.
pub fn uint64() -> DataType {
    DataType::UInt64
}

/// 64-bit float.
pub fn float64() -> DataType {
    DataType::Float64
}

/// A list without null items.
pub fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, false)))
}

/// A vector: as many 32-bit floats in every row of a dataset. The contract leaves open how many.
pub fn vector() -> DataType {
    DataType::FixedSizeList(Arc::new(Field::new("item", DataType::Float32, false)), 0)
}

/// Whether a column of type `got` keeps a contract that says `expected`.
pub fn fits(expected: &DataType, got: &DataType) -> bool {
    match (expected, got) {
        (DataType::FixedSizeList(expected, 0), DataType::FixedSizeList(got, _)) => expected == got,
        (expected, got) => expected == got,
    }
}

/// A struct of the given fields.
pub(crate) fn record(fields: Vec<Field>) -> DataType {
    DataType::Struct(Fields::from(fields))
}
