//! Parts: Arrow batches to Parquet bytes and back, checked on both ways.

use arrow::array::{Array, RecordBatch, RecordBatchReader};
use arrow::compute::LexicographicalComparator;
use arrow::compute::{SortColumn, SortOptions, concat};
use arrow::datatypes::{DataType, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use schemas::Contract;

use crate::Dataset;
use crate::manifest::Part;
use crate::{Error, Exit, Result};

const ROW_GROUP_BYTES: usize = 32 << 20;
const BATCH_ROWS: usize = 16 * 1024;

/// Batches as one Parquet file, after checking types, nulls, order and key.
pub fn encode(contract: &Contract, batches: &[RecordBatch]) -> Result<Vec<u8>> {
    for batch in batches {
        check_schema(contract, &batch.schema())?;
        check_nulls(contract, batch)?;
    }
    check_order(contract, batches)?;
    let failed = |e: parquet::errors::ParquetError| Error::arrow(format!("writing {}", contract.name))(e.into());
    let mut writer = ArrowWriter::try_new(Vec::new(), contract.schema(), Some(properties(contract))).map_err(failed)?;
    for batch in batches {
        writer.write(batch).map_err(failed)?;
    }
    writer.into_inner().map_err(failed)
}

fn properties(contract: &Contract) -> WriterProperties {
    // Leaf indices, as Parquet counts columns; orders only name columns that come before any nested one.
    let sorting = contract
        .order
        .iter()
        .filter_map(|order| {
            let index = contract.columns.iter().position(|c| c.name == order.name)?;
            let flat = contract.columns[..=index].iter().all(|c| !c.data_type.is_nested());
            flat.then_some(SortingColumn { column_idx: index as i32, descending: order.descending, nulls_first: false })
        })
        .collect();
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_sorting_columns(Some(sorting))
        .set_key_value_metadata(Some(vec![
            KeyValue::new("querent.table".into(), contract.name.to_owned()),
            KeyValue::new("querent.table_version".into(), contract.version.to_string()),
        ]));
    // Smallest and largest texts say which rows to read only where rows lie in their order.
    let first = contract.order.first().map(|order| order.name);
    for text in contract.columns.iter().filter(|c| c.data_type == DataType::Utf8 && Some(c.name) != first) {
        builder = builder.set_column_statistics_enabled(text.name.into(), EnabledStatistics::None);
    }
    // Hardly a time repeats, and neighbours are near each other.
    for time in contract.columns.iter().filter(|c| matches!(c.data_type, DataType::Timestamp(..))) {
        builder = builder
            .set_column_dictionary_enabled(time.name.into(), false)
            .set_column_encoding(time.name.into(), Encoding::DELTA_BINARY_PACKED);
    }
    if let [only] = contract.key {
        // A column without repeats gains nothing from a dictionary.
        builder = builder.set_column_dictionary_enabled((*only).into(), false);
    }
    builder.build()
}

/// A part's batches, `columns` of them (none: all), after checking its size, digest and schema.
pub fn read_part(dataset: &Dataset, contract: &Contract, part: &Part, columns: &[&str]) -> Result<Vec<RecordBatch>> {
    let url = dataset.store.url(&dataset.path(&part.path));
    decode(&url, contract, read_bytes(dataset, part)?, columns)
}

/// A part's bytes, after checking their number and digest.
pub(crate) fn read_bytes(dataset: &Dataset, part: &Part) -> Result<Bytes> {
    let path = dataset.path(&part.path);
    let url = dataset.store.url(&path);
    let Some(bytes) = dataset.store.get(&path)? else {
        // Versions do not lose parts: either a newer one has superseded it, or somebody deleted it.
        return Err(match dataset.current()?.is_some_and(|m| m.part(part.partition) != Some(part)) {
            true => Error::retry(
                format!("{}: a newer version was committed while this one was read", dataset.name),
                "run again",
            ),
            false => Error::unreadable(
                &url,
                "the current version names it, but it is not there",
                "somebody deleted it; delete the dataset's folder and run its job again",
            ),
        });
    };
    check_bytes(part, &bytes).map_err(|(expected, got)| {
        let hint =
            "the part was changed or damaged after it was written; delete the dataset's folder and run its job again";
        Error::unreadable(&url, format!("expected {expected}, got {got}"), hint)
    })?;
    Ok(bytes)
}

/// Checks a part's bytes against what its version says: expected and got, where they differ.
pub(crate) fn check_bytes(part: &Part, bytes: &Bytes) -> Result<(), (String, String)> {
    if bytes.len() as u64 != part.bytes {
        return Err((format!("{} bytes", part.bytes), format!("{} bytes", bytes.len())));
    }
    let digest = blake3::hash(bytes).to_hex();
    match digest.as_str() == part.blake3 {
        true => Ok(()),
        false => Err((format!("BLAKE3 {}", part.blake3), digest.to_string())),
    }
}

/// The batches of a Parquet file that should hold a table, `columns` of them (none: all), after checking its schema.
pub fn decode(url: &str, contract: &Contract, bytes: Bytes, columns: &[&str]) -> Result<Vec<RecordBatch>> {
    let failed = |e: &dyn std::fmt::Display| {
        Error::unreadable(url, format!("expected Parquet: {e}"), "delete the dataset's folder and run its job again")
    };
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|e| failed(&e))?;
    check_schema(contract, builder.schema())?;
    let mask = if columns.is_empty() {
        ProjectionMask::all()
    } else {
        ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied())
    };
    let reader = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(|e| failed(&e))?;
    let schema = reader.schema();
    let batches: Vec<RecordBatch> = reader.collect::<Result<_, _>>().map_err(|e| failed(&e))?;
    // File metadata travels in the schema; batches carry the contract's plain fields only.
    let plain = std::sync::Arc::new(arrow::datatypes::Schema::new(schema.fields().clone()));
    batches.into_iter().map(|b| b.with_schema(plain.clone()).map_err(Error::arrow("reading a part"))).collect()
}

fn check_schema(contract: &Contract, got: &SchemaRef) -> Result<()> {
    let wrong = |column: &str, expected: String, got: String| schema_error(contract, column, &expected, &got);
    for (index, column) in contract.columns.iter().enumerate() {
        let expected = format!("{} of type {}", column.name, column.data_type);
        let Some(field) = got.fields().get(index) else {
            return Err(wrong(column.name, expected, "no such column".into()));
        };
        if field.name() != column.name || column.data_type != *field.data_type() {
            return Err(wrong(column.name, expected, format!("{} of type {}", field.name(), field.data_type())));
        }
    }
    match got.fields().get(contract.columns.len()) {
        Some(extra) => Err(wrong(extra.name(), "no such column".into(), format!("type {}", extra.data_type()))),
        None => Ok(()),
    }
}

fn schema_error(contract: &Contract, column: &str, expected: &str, got: &str) -> Error {
    let what = format!("{}: column {column}: expected {expected}, got {got}", contract.name);
    Error::new(Exit::Data, what, format!("`querent schema {}` prints the contract", contract.name))
}

fn check_nulls(contract: &Contract, batch: &RecordBatch) -> Result<()> {
    for (column, array) in contract.columns.iter().zip(batch.columns()) {
        if !column.nullable && array.null_count() > 0 {
            return Err(schema_error(contract, column.name, "no nulls", &format!("{} nulls", array.null_count())));
        }
    }
    Ok(())
}

/// Checks that rows lie in the contract's order, across batches too; strictly, when the table has a key.
pub fn check_order(contract: &Contract, batches: &[RecordBatch]) -> Result<()> {
    if contract.order.is_empty() {
        return Ok(());
    }
    let mut row = 0;
    let mut last: Option<RecordBatch> = None;
    for batch in batches.iter().filter(|b| b.num_rows() > 0) {
        if let Some(last) = &last {
            let pair: Result<Vec<_>, _> = contract
                .order
                .iter()
                .filter_map(|o| Some((last.column_by_name(o.name)?, batch.column_by_name(o.name)?)))
                .map(|(a, b)| concat(&[a.as_ref(), b.slice(0, 1).as_ref()]))
                .collect();
            check_columns(contract, pair.map_err(Error::arrow("checking the order"))?, row - 1)?;
        }
        let columns = contract.order.iter().filter_map(|o| batch.column_by_name(o.name).cloned()).collect();
        check_columns(contract, columns, row)?;
        row += batch.num_rows();
        last = Some(batch.slice(batch.num_rows() - 1, 1));
    }
    Ok(())
}

fn check_columns(contract: &Contract, columns: Vec<arrow::array::ArrayRef>, first_row: usize) -> Result<()> {
    let rows = columns.first().map_or(0, |c| c.len());
    let columns: Vec<SortColumn> = columns
        .into_iter()
        .zip(contract.order)
        .map(|(values, order)| SortColumn {
            values,
            options: Some(SortOptions { descending: order.descending, nulls_first: false }),
        })
        .collect();
    let comparator = LexicographicalComparator::try_new(&columns).map_err(Error::arrow("checking the order"))?;
    let strict = !contract.key.is_empty();
    for i in 1..rows {
        let order = comparator.compare(i - 1, i);
        if order.is_gt() || (strict && order.is_eq()) {
            let order: Vec<_> = contract.order.iter().map(|o| o.name).collect();
            let row = first_row + i;
            return Err(Error::bug(format!(
                "{}: row {row}: expected rows sorted by {}, got one out of order",
                contract.name,
                order.join(", ")
            )));
        }
    }
    Ok(())
}
