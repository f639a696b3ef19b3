//! Settings that are a list, or the one thing that would be in it.

use serde::{Deserialize, Deserializer, Serialize};

/// Texts, one or several; numbers and truth values are theirs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "OneOrMany")]
pub struct Texts(pub Vec<String>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text, or a list of texts")]
enum OneOrMany {
    One(Scalar),
    Many(Vec<Scalar>),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text, a whole number, true or false")]
enum Scalar {
    Text(String),
    Number(i64),
    Truth(bool),
}

impl From<OneOrMany> for Texts {
    fn from(value: OneOrMany) -> Self {
        let text = |scalar| match scalar {
            Scalar::Text(text) => text,
            Scalar::Number(number) => number.to_string(),
            Scalar::Truth(truth) => truth.to_string(),
        };
        Texts(match value {
            OneOrMany::One(one) => vec![text(one)],
            OneOrMany::Many(many) => many.into_iter().map(text).collect(),
        })
    }
}

/// A list, or the one thing that would be in it.
pub(super) fn one_or_many<'de, D: Deserializer<'de>>(value: D) -> Result<Vec<String>, D::Error> {
    Ok(Texts::deserialize(value)?.0)
}
