//! Parquet, column by column. Strings are read as the bytes that they are: one that is not UTF-8 costs its row and not its file.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, make_array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, TimeUnit, TimestampMicrosecondType};
use dataset::{Error, Result};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::errors::ParquetError;
use parquet::file::metadata::{FileMetaData, ParquetMetaData, ParquetMetaDataBuilder, ParquetMetaDataReader};
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};

use super::columns::Columns;
use super::{Each, Field, Found, Row};

const BATCH_ROWS: usize = 8192;
/// From here on, floating point of 32 and of 16 bits does not hold every whole number.
const EXACT_32: f32 = 16_777_216.0;
const EXACT_16: f32 = 2_048.0;

/// Reads the wanted columns of a file. A name with dots goes into structs, and into lists of them.
pub(super) fn read(path: &Path, wanted: &[&str], each: &mut Each<'_>) -> Result<Found> {
    let file = File::open(path).map_err(|e| Error::io(path.display(), e))?;
    let failed = |e: &dyn std::fmt::Display| {
        Error::unreadable(path.display(), format!("expected Parquet: {e}"), "fetch the file again, or mend `format`")
    };
    let metadata = metadata(&file).map_err(|e| failed(&e))?;
    let uuids = uuids(metadata.metadata());
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
    let columns = Columns(builder.schema().fields().iter().map(|field| field.name().clone()).collect());
    // A column of the whole name comes before one inside another.
    let root = |name: &&str| columns.0.iter().any(|column| column == name);
    let paths: Vec<Vec<&str>> =
        wanted.iter().map(|name| if root(name) { vec![*name] } else { name.split('.').collect() }).collect();
    let roots: Vec<&str> = paths.iter().map(|path| path[0]).collect();
    let at = match columns.positions(path, &roots) {
        Ok(at) => at,
        // What is missing is said as it is written in the mapping.
        Err(e) => return Err(columns.positions(path, wanted).err().unwrap_or(e)),
    };
    let mask = ProjectionMask::roots(builder.parquet_schema(), at.iter().copied());
    let reader = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(|e| failed(&e))?;
    let mut row = 0;
    for batch in reader {
        let batch = batch.map_err(|e| failed(&e))?;
        let column = |parts: &Vec<&str>| -> Result<Column> {
            let array = batch.column_by_name(parts[0]).ok_or_else(|| failed(&"a column has gone"))?;
            Column::of(array, &parts[1..], uuids.contains(parts[0])).map_err(|why| {
                let what = format!("column {:?}: {}", parts.join("."), why.got);
                Error::unreadable(path.display(), what, why.hint)
            })
        };
        let read: Vec<Column> = paths.iter().map(column).collect::<Result<_>>()?;
        let mut fields = Vec::with_capacity(read.len());
        for i in 0..batch.num_rows() {
            row += 1;
            fields.clear();
            fields.extend(read.iter().map(|column| column.field(i)));
            each(Row::at(row), Ok(&fields))?;
        }
    }
    Ok(Found { columns: columns.names(), ..Found::default() })
}

/// The file's metadata, its strings declared as mere bytes.
fn metadata(file: &File) -> Result<ArrowReaderMetadata, ParquetError> {
    let metadata = ParquetMetaDataReader::new().parse_and_finish(file)?;
    let about = metadata.file_metadata();
    let schema = SchemaDescriptor::new(bytes_for_strings(&about.schema_descr().root_schema_ptr())?);
    let about = FileMetaData::new(
        about.version(),
        about.num_rows(),
        about.created_by().map(str::to_owned),
        about.key_value_metadata().cloned(),
        Arc::new(schema),
        about.column_orders().cloned(),
    );
    let metadata = ParquetMetaDataBuilder::new(about).set_row_groups(metadata.row_groups().to_vec()).build();
    // What an Arrow writer left there would make strings of them again.
    ArrowReaderMetadata::try_new(Arc::new(metadata), ArrowReaderOptions::new().with_skip_arrow_metadata(true))
}

fn bytes_for_strings(column: &TypePtr) -> Result<TypePtr, ParquetError> {
    let about = column.get_basic_info();
    let id = about.has_id().then(|| about.id());
    if column.is_group() {
        let fields = column.get_fields().iter().map(bytes_for_strings).collect::<Result<_, _>>()?;
        let mut group = Type::group_type_builder(about.name())
            .with_fields(fields)
            .with_converted_type(about.converted_type())
            .with_logical_type(about.logical_type_ref().cloned())
            .with_id(id);
        if about.has_repetition() {
            group = group.with_repetition(about.repetition());
        }
        return Ok(Arc::new(group.build()?));
    }
    let string = matches!(about.converted_type(), ConvertedType::UTF8 | ConvertedType::JSON | ConvertedType::ENUM)
        || matches!(about.logical_type_ref(), Some(LogicalType::String | LogicalType::Json | LogicalType::Enum));
    if column.get_physical_type() != Physical::BYTE_ARRAY || !string {
        return Ok(column.clone());
    }
    let bytes = Type::primitive_type_builder(about.name(), Physical::BYTE_ARRAY);
    Ok(Arc::new(bytes.with_repetition(about.repetition()).with_id(id).build()?))
}

/// The columns that hold UUIDs.
fn uuids(metadata: &ParquetMetaData) -> BTreeSet<String> {
    let columns = metadata.file_metadata().schema_descr().columns().to_vec();
    let uuid = columns.iter().filter(|column| matches!(column.logical_type_ref(), Some(LogicalType::Uuid)));
    uuid.map(|column| column.path().parts()[0].clone()).collect()
}

/// A Parquet column as the fields it gives.
pub(super) enum Column {
    Text(ArrayRef),
    /// Numbers as text, and which of them are too large for their type to hold every whole number.
    Coarse(ArrayRef, Vec<bool>),
    Micros(ArrayRef),
    WallMicros(ArrayRef),
    List {
        nulls: Option<NullBuffer>,
        offsets: OffsetBuffer<i32>,
        items: Box<Column>,
    },
}

/// Why a column cannot be read.
pub(super) struct Unreadable {
    pub(super) got: String,
    pub(super) hint: String,
}

impl Column {
    pub(super) fn of(array: &ArrayRef, parts: &[&str], uuid: bool) -> Result<Self, Unreadable> {
        let to = |to: &DataType| {
            cast(array, to)
                .map_err(|e| Unreadable { got: format!("of type {}: {e}", array.data_type()), hint: String::new() })
        };
        let bytes = |array: ArrayRef| {
            let got = format!("of type {}", array.data_type());
            cast(&array, &DataType::Binary)
                .map(Column::Text)
                .map_err(|e| Unreadable { got: format!("{got}: {e}"), hint: String::new() })
        };
        let micros = |zone: Option<&str>| to(&DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into)));
        match array.data_type() {
            DataType::Struct(members) => {
                let names: Vec<&str> = members.iter().map(|member| member.name().as_str()).collect();
                let inside = parts.first().and_then(|name| array.as_struct().column_by_name(name));
                let Some(inside) = inside else {
                    let hint = "name one of its members in the mapping, with a dot, such as user.id".to_owned();
                    return Err(Unreadable { got: format!("a struct of {}", names.join(", ")), hint });
                };
                let nulls = NullBuffer::union(array.nulls(), inside.nulls());
                let inside = inside.to_data().into_builder().nulls(nulls).build();
                let inside = inside.map_err(|e| Unreadable { got: e.to_string(), hint: String::new() })?;
                Column::of(&make_array(inside), &parts[1..], uuid)
            }
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                let array = to(&DataType::List(item.clone()))?;
                let list = array.as_list::<i32>();
                let items = Box::new(Column::of(list.values(), parts, uuid)?);
                Ok(Column::List { nulls: list.nulls().cloned(), offsets: list.offsets().clone(), items })
            }
            other if !parts.is_empty() => {
                let hint = "name a column of the file, or a member of a struct".to_owned();
                Err(Unreadable { got: format!("type {other} has no {}", parts.join(".")), hint })
            }
            DataType::Timestamp(_, Some(_)) => micros(Some("UTC")).map(Column::Micros),
            DataType::Timestamp(_, None) | DataType::Date32 | DataType::Date64 => micros(None).map(Column::WallMicros),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => bytes(array.clone()),
            DataType::FixedSizeBinary(16) if uuid => {
                let id = |bytes: &[u8]| {
                    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
                };
                let ids: arrow::array::StringArray =
                    array.as_fixed_size_binary().iter().map(|bytes| bytes.map(id)).collect();
                bytes(Arc::new(ids))
            }
            DataType::Null | DataType::Boolean | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                bytes(to(&DataType::Utf8)?)
            }
            DataType::Float32 | DataType::Float16 => {
                let exact = if *array.data_type() == DataType::Float16 { EXACT_16 } else { EXACT_32 };
                let numbers = to(&DataType::Float32)?;
                let numbers = numbers.as_primitive::<Float32Type>().values().iter();
                let coarse = numbers.map(|number| number.abs() >= exact).collect();
                let text = cast(&to(&DataType::Utf8)?, &DataType::Binary);
                let failed = |e| Unreadable { got: format!("of type {}: {e}", array.data_type()), hint: String::new() };
                Ok(Column::Coarse(text.map_err(failed)?, coarse))
            }
            number if number.is_numeric() => bytes(to(&DataType::Utf8)?),
            other => {
                let hint = "give it as text, a number, a time, or a list or struct of them".to_owned();
                Err(Unreadable { got: format!("expected text, numbers or times, got type {other}"), hint })
            }
        }
    }

    pub(super) fn field(&self, row: usize) -> Field<'_> {
        match self {
            Column::List { nulls, .. } if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) => Field::Missing,
            Column::List { offsets, items, .. } => {
                let range = offsets[row] as usize..offsets[row + 1] as usize;
                Field::List(range.map(|item| items.field(item)).collect())
            }
            Column::Text(array) | Column::Coarse(array, _) | Column::Micros(array) | Column::WallMicros(array)
                if array.is_null(row) =>
            {
                Field::Missing
            }
            Column::Coarse(array, coarse) if coarse[row] => {
                Field::Coarse(Cow::Borrowed(array.as_binary::<i32>().value(row)))
            }
            Column::Coarse(array, _) => Field::Text(Cow::Borrowed(array.as_binary::<i32>().value(row))),
            Column::Text(array) => match array.as_binary::<i32>().value(row) {
                [] => Field::Missing,
                text => Field::Text(Cow::Borrowed(text)),
            },
            Column::Micros(array) => Field::Micros(array.as_primitive::<TimestampMicrosecondType>().value(row)),
            Column::WallMicros(array) => Field::WallMicros(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        }
    }
}
