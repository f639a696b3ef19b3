//! The JSON schema of an answer, for servers that hold a model to one.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::json;

/// What an answer looks like. A model that is held to it writes an object's properties in their order here, so that a reason can come before the verdict
/// that follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schema {
    /// Any text.
    Text,
    /// One of these texts.
    OneOf(Vec<String>),
    /// 0 or 1.
    Bit,
    /// From 1 to so many of one kind.
    List {
        /// Of what kind.
        items: Box<Schema>,
        /// How many, at most.
        most: usize,
    },
    /// All of these, and nothing else.
    Object(Vec<(String, Schema)>),
}

impl Schema {
    /// All of these, in this order, and nothing else.
    pub fn object<const N: usize>(properties: [(&str, Schema); N]) -> Self {
        Schema::Object(properties.into_iter().map(|(name, of)| (name.to_owned(), of)).collect())
    }
}

/// Maps of `serde_json` order their keys by the alphabet, so none holds an object's properties.
struct Properties<'a>(&'a [(String, Schema)]);

impl Serialize for Properties<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, of)| (name, of)))
    }
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Schema::Text => json!({"type": "string"}).serialize(serializer),
            Schema::OneOf(texts) => json!({"type": "string", "enum": texts}).serialize(serializer),
            Schema::Bit => json!({"type": "integer", "enum": [0, 1]}).serialize(serializer),
            Schema::List { items, most } => {
                let mut map = serializer.serialize_map(Some(4))?;
                map.serialize_entry("type", "array")?;
                map.serialize_entry("items", items)?;
                map.serialize_entry("minItems", &1)?;
                map.serialize_entry("maxItems", most)?;
                map.end()
            }
            Schema::Object(properties) => {
                let names: Vec<&str> = properties.iter().map(|(name, _)| name.as_str()).collect();
                let mut map = serializer.serialize_map(Some(4))?;
                map.serialize_entry("type", "object")?;
                map.serialize_entry("properties", &Properties(properties))?;
                map.serialize_entry("required", &names)?;
                map.serialize_entry("additionalProperties", &false)?;
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_keep_their_order() {
        let items = Box::new(Schema::object([("z", Schema::Text), ("a", Schema::Bit)]));
        let schema = Schema::object([
            ("y", Schema::OneOf(vec!["n".into(), "m".into()])),
            ("b", Schema::List { items, most: 7 }),
        ]);
        let expected = concat!(
            r#"{"type":"object","properties":{"y":{"enum":["n","m"],"type":"string"},"b":{"type":"array","items":"#,
            r#"{"type":"object","properties":{"z":{"type":"string"},"a":{"enum":[0,1],"type":"integer"}},"required":["z","a"],"#,
            r#""additionalProperties":false},"minItems":1,"maxItems":7}},"required":["y","b"],"additionalProperties":false}"#,
        );
        assert_eq!(serde_json::to_string(&schema).expect("JSON"), expected);
    }
}
