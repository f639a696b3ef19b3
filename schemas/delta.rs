//! A contract as the schema in a Delta table's log.

use arrow::datatypes::{DataType, Field, TimeUnit};
use serde_json::{Value, json};

use crate::{Column, Contract, Layout};

/// The partition column of tables that are laid out by user.
pub const BUCKET: &str = "bucket";

impl Contract {
    /// The table's schema as Delta Lake writes it: the struct whose JSON is `metaData.schemaString`. A column's meaning is its
    /// comment. Tables of [`Layout::Users`] end with the partition column `bucket`, which is in the parts' paths and not in the parts.
    ///
    /// # Panics
    /// When a column has a type that Delta has not; no [`Kind`](crate::Kind) is of one.
    pub fn delta_schema(&self) -> Value {
        let bucket = (self.layout == Layout::Users).then_some(Column {
            name: BUCKET,
            data_type: DataType::Int32,
            nullable: true,
            about: "partition of the user: hash of user_id, modulo the number of buckets",
        });
        let columns = self.columns.iter().chain(&bucket);
        let fields: Vec<Value> = columns.map(|c| field(&c.field(), json!({ "comment": c.about }))).collect();
        json!({ "type": "struct", "fields": fields })
    }
}

fn field(field: &Field, metadata: Value) -> Value {
    json!({
        "name": field.name(),
        "type": data_type(field.data_type()),
        "nullable": field.is_nullable(),
        "metadata": metadata,
    })
}

fn data_type(of: &DataType) -> Value {
    match of {
        DataType::Utf8 => json!("string"),
        DataType::Int32 => json!("integer"),
        DataType::Int64 => json!("long"),
        DataType::Float32 => json!("float"),
        DataType::Float64 => json!("double"),
        DataType::Boolean => json!("boolean"),
        DataType::Binary => json!("binary"),
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if **zone == *"UTC" => json!("timestamp"),
        DataType::List(item) => json!({
            "type": "array",
            "elementType": data_type(item.data_type()),
            "containsNull": item.is_nullable(),
        }),
        DataType::Struct(fields) => json!({
            "type": "struct",
            "fields": fields.iter().map(|f| field(f, json!({}))).collect::<Vec<_>>(),
        }),
        other => panic!("Delta has no type for {other}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::every::Every;
    use crate::{Table, all};

    #[test]
    fn every_kind_has_its_type() {
        let schema = Every::contract().delta_schema();
        assert_eq!(schema["type"], "struct");
        let fields = schema["fields"].as_array().unwrap();
        assert_eq!(
            fields[2],
            json!({ "name": "occurred_at", "type": "timestamp", "nullable": false, "metadata": { "comment": "when" } })
        );
        let list = |of: Value| json!({ "type": "array", "elementType": of, "containsNull": false });
        let visit =
            |name, of: Value, nullable| json!({ "name": name, "type": of, "nullable": nullable, "metadata": {} });
        let visits = json!({ "type": "struct", "fields": [
            visit("domain", json!("string"), false),
            visit("visited_at", json!("timestamp"), false),
            visit("news_id", json!("string"), true),
            visit("words", list(json!("string")), false),
        ]});
        let expected = [
            ("user_id", json!("string")),
            ("type", json!("string")),
            ("occurred_at", json!("timestamp")),
            ("count", json!("integer")),
            ("total", json!("long")),
            ("score", json!("float")),
            ("value", json!("double")),
            ("cold", json!("boolean")),
            ("data", json!("binary")),
            ("vector", list(json!("float"))),
            ("queries", list(json!("string"))),
            ("shape", list(json!("integer"))),
            ("random", list(json!("long"))),
            ("visits", list(visits)),
            ("reason", json!("string")),
            ("seen_at", json!("timestamp")),
            ("rank", json!("integer")),
            ("tags", list(json!("string"))),
            ("bucket", json!("integer")),
        ];
        let nullable = ["reason", "seen_at", "rank", "tags", "bucket"];
        assert_eq!(fields.len(), expected.len());
        for (field, (name, of)) in fields.iter().zip(expected) {
            assert_eq!((&field["name"], &field["type"]), (&json!(name), &of));
            assert_eq!(field["nullable"], json!(nullable.contains(&name)), "{name}");
        }
    }

    #[test]
    fn every_table_has_a_schema_and_a_bucket_where_it_is_laid_out_by_user() {
        for contract in all() {
            let schema = contract.delta_schema();
            let names: Vec<_> =
                schema["fields"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
            let has_bucket = names.last() == Some(&super::BUCKET);
            assert_eq!(has_bucket, contract.layout == crate::Layout::Users, "{}", contract.name);
            assert_eq!(names.len(), contract.columns.len() + usize::from(has_bucket));
        }
    }
}
