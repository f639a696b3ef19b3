//! Python's own csv module, in its strict mode, beside our reader: what ours takes whole, it takes with the same fields.

use std::process::Command;

use dataset::Result;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::{Field, rows};
use crate::ingest::config::EventLog;

/// Texts from a file, one JSON string a line; prints each one's rows, or null where the strict reader refuses it.
const PYTHON: &str = r#"
import csv, io, json, sys
def rows(text):
    try:
        return [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error:
        return None
for line in open(sys.argv[1], encoding="utf-8"):
    print(json.dumps(rows(json.loads(line))))
"#;

/// Files of two columns: well formed ones, and what is not.
fn files() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec!["a", "é", ",", "\"", "\"\"", "\n", "\r\n", "\r", " ", "\\"]);
    let text = proptest::collection::vec(pieces.clone(), 0..5).prop_map(|pieces| pieces.concat());
    let field = (text, any::<bool>()).prop_map(|(text, quoted)| match quoted {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.replace(['"', ',', '\n', '\r'], ""),
    });
    let row = (field.clone(), field, prop::sample::select(vec!["\n", "\r\n"]));
    let well = proptest::collection::vec(row.prop_map(|(a, b, end)| format!("{a},{b}{end}")), 1..4);
    let awkward = proptest::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat());
    prop_oneof![3 => (well.clone(), awkward.clone()).prop_map(|(rows, rest)| rows.concat() + &rest), 2 => well.prop_map(|rows| rows.concat()), 1 => awkward]
}

/// The fields of a file's rows, if all are taken.
fn whole(text: &str) -> Result<Option<Vec<Vec<String>>>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("log.csv");
    std::fs::write(&path, text)?;
    let log: EventLog = toml::from_str("format = \"csv\"\ncolumns = [\"first\", \"second\"]").expect("a log");
    let mut read = Some(Vec::new());
    let text_of = |field: &Field<'_>| match field {
        Field::Text(text) => String::from_utf8_lossy(text).into_owned(),
        _ => String::new(),
    };
    rows(&path, &log.shape()?, &["first", "second"], &mut |_, fields| {
        read = read.take().and_then(|mut read| {
            read.push(fields.ok()?.iter().map(text_of).collect());
            Some(read)
        });
        Ok(())
    })?;
    Ok(read)
}

#[test]
fn what_is_taken_whole_pythons_strict_csv_takes_with_the_same_fields() -> Result<()> {
    let mut runner = TestRunner::deterministic();
    let texts: Vec<String> = (0..4000).map(|_| files().new_tree(&mut runner).expect("a file").current()).collect();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("texts");
    std::fs::write(&path, texts.iter().map(|text| format!("{}\n", json!(text))).collect::<String>())?;
    let python = Command::new("python3").arg("-c").arg(PYTHON).arg(&path).output()?;
    assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
    let theirs = String::from_utf8(python.stdout).expect("JSON");
    let theirs: Vec<Value> = theirs.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(theirs.len(), texts.len());
    let mut taken = 0;
    for (text, theirs) in texts.iter().zip(&theirs) {
        if let Some(ours) = whole(text)? {
            assert_eq!(&json!(ours), theirs, "{text:?}");
            taken += 1;
        }
    }
    assert!((1000..4000).contains(&taken), "{taken} of 4,000: too few or too many to say anything");
    Ok(())
}
