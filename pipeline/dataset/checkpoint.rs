//! Checkpoints of a table's log: the whole state at one version in one Parquet file, so that other engines open a table of many
//! versions without reading every entry. Ours never reads them: the newest data entry says as much.
//!
//! A checkpoint is Delta's classic one (a single file, specification V1). It never says less than the log: an action that it has
//! no column for is an error, and so is a state without protocol or metadata.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::error::{ArrowError, Result};
use arrow::json::ReaderBuilder;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};

/// The file that tells readers where the newest checkpoint is.
pub(crate) const HINT: &str = "_last_checkpoint";

/// The checkpoint's file in `_delta_log`.
pub(crate) fn file_name(version: u64) -> String {
    format!("{version:020}.checkpoint.parquet")
}

/// The two files of `_delta_log` that make the checkpoint of `version`: name and content, in the order in which they must be
/// written. `state` is what [`state`] made of the log up to that version.
pub(crate) fn files(version: u64, state: &[Value]) -> Result<[(String, Bytes); 2]> {
    for kind in ["protocol", "metaData"] {
        if !state.iter().any(|action| action.get(kind).is_some()) {
            return Err(ArrowError::JsonError(format!("checkpoint of version {version}: no {kind} in the log")));
        }
    }
    let content = encode(state)?;
    let hint = json!({
        "version": version,
        "size": state.len(),
        "sizeInBytes": content.len(),
        "numOfAddFiles": state.iter().filter(|action| action.get("add").is_some()).count(),
    });
    Ok([(file_name(version), content), (HINT.to_owned(), hint.to_string().into())])
}

/// What entries of a log, oldest first, come to by Delta's law: the last protocol and metadata, per application its last
/// transaction, per path its last `add` or `remove`. Removes from before `tombstones_since_ms` are forgotten. A self-contained
/// entry may stand for all entries before it, but then their removes are not in the checkpoint.
pub(crate) fn state<'a>(
    entries: impl IntoIterator<Item = &'a [Value]>,
    tombstones_since_ms: i64,
) -> Result<Vec<Value>> {
    let (mut protocol, mut metadata) = (None, None);
    let (mut transactions, mut files) = (BTreeMap::new(), BTreeMap::new());
    for action in entries.into_iter().flatten() {
        let (kind, content) = action
            .as_object()
            .filter(|action| action.len() == 1)
            .and_then(|action| action.iter().next())
            .ok_or_else(|| ArrowError::JsonError(format!("expected an object of one action, got {action}")))?;
        let text = |key: &str| {
            let text = content[key].as_str();
            text.map(str::to_owned).ok_or_else(|| ArrowError::JsonError(format!("{kind} without {key}: {content}")))
        };
        match kind.as_str() {
            "protocol" => protocol = Some(action.clone()),
            "metaData" => metadata = Some(action.clone()),
            "txn" => drop(transactions.insert(text("appId")?, action.clone())),
            "add" | "remove" => {
                let (path, mut file) = (text("path")?, action.clone());
                // Whoever reads a checkpoint learns a state, not a change.
                file[kind]["dataChange"] = Value::Bool(false);
                files.insert(path, file);
            }
            "commitInfo" => {}
            other => return Err(ArrowError::JsonError(format!("a checkpoint has no column for the action {other}"))),
        }
    }
    let remembered = |file: &Value| match file.get("remove") {
        Some(remove) => remove["deletionTimestamp"].as_i64().is_some_and(|at_ms| at_ms >= tombstones_since_ms),
        None => true,
    };
    let files = files.into_values().filter(remembered);
    Ok(protocol.into_iter().chain(metadata).chain(transactions.into_values()).chain(files).collect())
}

/// A row per action; of its columns only that of its kind is set.
fn encode(state: &[Value]) -> Result<Bytes> {
    let schema = Arc::new(schema());
    // Strict: a key that has no column is an error.
    let mut decoder = ReaderBuilder::new(schema.clone())
        .with_batch_size(state.len().max(1))
        .with_strict_mode(true)
        .build_decoder()?;
    decoder.serialize(state)?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut content = Vec::new();
    let mut writer = ArrowWriter::try_new_with_options(&mut content, schema, options)?;
    if let Some(rows) = decoder.flush()? {
        writer.write(&rows)?;
    }
    writer.close()?;
    Ok(content.into())
}

fn schema() -> Schema {
    let (text, long, int, flag) = (DataType::Utf8, DataType::Int64, DataType::Int32, DataType::Boolean);
    let must = |name: &str, kind: &DataType| Field::new(name, kind.clone(), false);
    let may = |name: &str, kind: &DataType| Field::new(name, kind.clone(), true);
    let map = |name: &str, nullable| {
        let key = Field::new("key", DataType::Utf8, false);
        Field::new_map(name, "key_value", key, Field::new("value", DataType::Utf8, true), false, nullable)
    };
    let texts = |name: &str, nullable| Field::new_list(name, Field::new("element", DataType::Utf8, false), nullable);
    let action = |name: &str, fields: Vec<Field>| Field::new(name, DataType::Struct(Fields::from(fields)), true);
    let format = DataType::Struct(Fields::from(vec![must("provider", &text), map("options", false)]));
    Schema::new(vec![
        action("txn", vec![must("appId", &text), must("version", &long), may("lastUpdated", &long)]),
        action(
            "add",
            vec![
                must("path", &text),
                map("partitionValues", false),
                must("size", &long),
                must("modificationTime", &long),
                must("dataChange", &flag),
                map("tags", true),
                may("stats", &text),
            ],
        ),
        action(
            "remove",
            vec![
                must("path", &text),
                may("deletionTimestamp", &long),
                must("dataChange", &flag),
                may("extendedFileMetadata", &flag),
                map("partitionValues", true),
                may("size", &long),
                map("tags", true),
                may("stats", &text),
            ],
        ),
        action(
            "metaData",
            vec![
                must("id", &text),
                may("name", &text),
                may("description", &text),
                must("format", &format),
                must("schemaString", &text),
                texts("partitionColumns", false),
                map("configuration", false),
                may("createdTime", &long),
            ],
        ),
        action(
            "protocol",
            vec![
                must("minReaderVersion", &int),
                must("minWriterVersion", &int),
                texts("readerFeatures", true),
                texts("writerFeatures", true),
            ],
        ),
    ])
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Int64Type;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    fn add(path: &str, rows: u64) -> Value {
        json!({"add": {"path": path, "partitionValues": {"bucket": "7"}, "size": 3473, "modificationTime": 1, "dataChange": true,
            "tags": {"querent.key": "k"}, "stats": format!("{{\"numRecords\":{rows}}}")}})
    }

    fn remove(path: &str, at_ms: i64) -> Value {
        json!({"remove": {"path": path, "deletionTimestamp": at_ms, "dataChange": true, "extendedFileMetadata": true,
            "partitionValues": {"bucket": "7"}, "size": 3473}})
    }

    fn head() -> Vec<Value> {
        vec![
            json!({"commitInfo": {"timestamp": 1, "operation": "WRITE", "querent": {"job": "cap"}}}),
            json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}),
            json!({"metaData": {"id": "a", "name": "profiles", "format": {"provider": "parquet", "options": {}}, "schemaString": "{}",
                "partitionColumns": ["bucket"], "configuration": {}, "createdTime": 1}}),
        ]
    }

    #[test]
    fn the_last_action_of_a_path_counts() {
        let first = [head(), vec![add("a", 1), add("b", 2)]].concat();
        let fence = vec![json!({"commitInfo": {"operation": "FENCE"}})];
        let second = [head(), vec![remove("a", 50), add("b", 2), add("c", 3)]].concat();
        let third = [head(), vec![remove("c", 90), add("b", 2), add("a", 4)]].concat();
        let entries: Vec<&[Value]> = vec![&first, &fence, &second, &third];

        let kinds = |since| -> Vec<(String, Value)> {
            let all = state(entries.iter().copied(), since).expect("a state");
            all.into_iter()
                .map(|action| {
                    let (kind, content) = action.as_object().and_then(|a| a.iter().next()).expect("an action");
                    (kind.clone(), content["path"].clone())
                })
                .collect()
        };
        let kept = |kind: &str, path: Value| (kind.to_owned(), path);
        let (protocol, metadata) = (kept("protocol", Value::Null), kept("metaData", Value::Null));
        let (a, b) = (kept("add", json!("a")), kept("add", json!("b")));
        assert_eq!(kinds(0), [protocol.clone(), metadata.clone(), a.clone(), b.clone(), kept("remove", json!("c"))]);
        assert_eq!(kinds(91), [protocol, metadata, a, b], "tombstones expire");
    }

    #[test]
    fn a_checkpoint_reads_back() {
        let entry = [head(), vec![json!({"txn": {"appId": "x", "version": 3}}), remove("a", 50), add("b", 2)]].concat();
        let actions = state([entry.as_slice()], 0).expect("a state");
        let [(name, content), (hint_name, hint)] = files(12, &actions).expect("two files");
        assert_eq!((name.as_str(), hint_name.as_str()), ("00000000000000000012.checkpoint.parquet", HINT));
        let hint: Value = serde_json::from_slice(&hint).expect("JSON");
        assert_eq!(hint, json!({"version": 12, "size": 5, "sizeInBytes": content.len(), "numOfAddFiles": 1}));

        let mut batches = ParquetRecordBatchReaderBuilder::try_new(content).and_then(|b| b.build()).expect("Parquet");
        let rows = batches.next().expect("a batch").expect("rows");
        let set: Vec<usize> =
            rows.columns().iter().map(|column| (0..rows.num_rows()).filter(|&i| column.is_valid(i)).count()).collect();
        assert_eq!(set, [1; 5], "one action of each kind");
        let row = actions.iter().position(|action| action.get("add").is_some()).expect("an add");
        let adds = rows.column_by_name("add").expect("adds").as_struct();
        assert_eq!(adds.column_by_name("path").expect("paths").as_string::<i32>().value(row), "b");
        assert_eq!(adds.column_by_name("size").expect("sizes").as_primitive::<Int64Type>().value(row), 3473);
        let tags = adds.column_by_name("tags").expect("tags").as_map().value(row);
        assert_eq!(tags.column(0).as_string::<i32>().value(0), "querent.key");
        assert!(!adds.column_by_name("dataChange").expect("flags").as_boolean().value(row), "a state, not a change");
    }

    #[test]
    fn nothing_is_left_out_silently() {
        let refused = |extra: Value| {
            let entry = [head(), vec![extra]].concat();
            state([entry.as_slice()], 0).and_then(|actions| files(0, &actions)).expect_err("refused").to_string()
        };
        assert!(refused(json!({"domainMetadata": {"domain": "x"}})).contains("domainMetadata"));
        let mut vector = add("a", 1);
        vector["add"]["deletionVector"] = json!({"storageType": "u"});
        assert!(refused(vector).contains("deletionVector"));
        assert!(refused(json!({"add": {"path": "a"}})).contains("null"), "a column that must be there is not");
        assert!(files(0, &[]).expect_err("refused").to_string().contains("no protocol"));
    }
}
