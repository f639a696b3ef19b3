//! Columns that stand in a file's path, as Hive partitions them: `logs/day=2025-11-30/part.parquet`.

use std::path::{Component, Path};

/// What Hive writes for a value that is not there.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The columns in the names of a file's folders; of one that is there twice the innermost.
pub(crate) fn partitions(path: &Path) -> Vec<(String, String)> {
    let folders = path.parent().into_iter().flat_map(Path::components).rev().filter_map(|folder| match folder {
        Component::Normal(name) => name.to_str()?.split_once('='),
        _ => None,
    });
    let value = |value: &str| if value == NULL { String::new() } else { decoded(value) };
    folders.filter(|(name, _)| !name.is_empty()).map(|(name, text)| (name.to_owned(), value(text))).collect()
}

/// Percent-encoded characters, which Hive writes for what a folder's name cannot hold. What is none stays.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_say_columns() {
        let found = partitions(Path::new("logs/day=2025-11-30/hour=10%3A30/lang=__HIVE_DEFAULT_PARTITION__/a=b.csv"));
        let expected = [("lang", ""), ("hour", "10:30"), ("day", "2025-11-30")];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(partitions(Path::new("=x/100%/a.csv")).is_empty());
    }
}
