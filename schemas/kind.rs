//! What a column can be: the kinds that a table's definition names, and the typed arrays that hold their values.
//!
//! A column that may be null is an `Option` of its kind. Delta Lake has a type for every kind; it has none for unsigned integers.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float32Array, Float64Array, Int32Array, Int64Array, StringArray,
    StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use arrow::error::ArrowError;

use crate::{Column, Lists};

/// A keyed hash as 32 hex digits.
pub type Id = StringArray;
/// UTF-8 text.
pub type Text = StringArray;
/// A point in time: microseconds since 1970, UTC. Arrays need not name the zone; what is written does.
pub type Time = TimestampMicrosecondArray;
/// Signed 32-bit integer.
pub type Int32 = Int32Array;
/// Signed 64-bit integer.
pub type Int64 = Int64Array;
/// 32-bit float.
pub type Float32 = Float32Array;
/// 64-bit float.
pub type Float64 = Float64Array;
/// True or false.
pub type Bool = BooleanArray;
/// Bytes.
pub type Bytes = BinaryArray;
/// A vector of 32-bit floats per row.
pub type Vector = Lists<Float32Array>;
/// A list of texts per row.
pub type Texts = Lists<StringArray>;

/// Values of one type, one per row: an Arrow array, [`Lists`], or a [`Record`].
pub trait Values: Clone + fmt::Debug + Send + Sync + 'static {
    /// Their Arrow type.
    fn data_type() -> DataType;

    /// The values as an array of exactly that type. No values are copied.
    ///
    /// # Errors
    /// When lists or records do not hold together: arrays differ in length, offsets point past the items, an item is null.
    fn into_array(self) -> Result<ArrayRef, ArrowError>;

    /// The values of an array; none when it has another type.
    fn from_array(array: &ArrayRef) -> Option<Self>;
}

/// What a definition writes for a column: the type of its values, or an `Option` of it where null is allowed.
pub trait Kind {
    /// The values.
    type Values: Values;
    /// Whether null is allowed.
    const NULLABLE: bool;
}

impl<V: Values> Kind for V {
    type Values = V;
    const NULLABLE: bool = false;
}

impl<V: Values> Kind for Option<V> {
    type Values = V;
    const NULLABLE: bool = true;
}

macro_rules! arrays {
    ($($array:ident: $data_type:expr),+ $(,)?) => {
        $(impl Values for $array {
            fn data_type() -> DataType {
                $data_type
            }

            fn into_array(self) -> Result<ArrayRef, ArrowError> {
                Ok(Arc::new(self))
            }

            fn from_array(array: &ArrayRef) -> Option<Self> {
                array.as_any().downcast_ref().cloned()
            }
        })+
    };
}

arrays! {
    StringArray: DataType::Utf8,
    Int32Array: DataType::Int32,
    Int64Array: DataType::Int64,
    Float32Array: DataType::Float32,
    Float64Array: DataType::Float64,
    BooleanArray: DataType::Boolean,
    BinaryArray: DataType::Binary,
}

impl Values for TimestampMicrosecondArray {
    fn data_type() -> DataType {
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
    }

    fn into_array(self) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(self.with_timezone("UTC")))
    }

    fn from_array(array: &ArrayRef) -> Option<Self> {
        array.as_any().downcast_ref().cloned()
    }
}

/// Columns side by side, a field each: all of a table, or those of the records within a list.
pub trait Record: Clone + fmt::Debug + Send + Sync + 'static {
    /// The columns, in order.
    fn columns() -> Vec<Column>;

    /// The columns' values, in order.
    ///
    /// # Errors
    /// See [`Values::into_array`].
    fn into_arrays(self) -> Result<Vec<ArrayRef>, ArrowError>;

    /// The columns from their values, in order; none when one is missing or has another type.
    fn from_arrays(arrays: &mut dyn Iterator<Item = &ArrayRef>) -> Option<Self>;
}

fn fields<R: Record>() -> Fields {
    R::columns().iter().map(Column::field).collect::<Vec<Field>>().into()
}

impl<R: Record> Values for R {
    fn data_type() -> DataType {
        DataType::Struct(fields::<R>())
    }

    fn into_array(self) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(StructArray::try_new(fields::<R>(), self.into_arrays()?, None)?))
    }

    fn from_array(array: &ArrayRef) -> Option<Self> {
        let records: &StructArray = array.as_any().downcast_ref()?;
        R::from_arrays(&mut records.columns().iter())
    }
}
