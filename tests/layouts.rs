//! The mappings of docs/logs.md, word for word, on thousands of invented rows: what `ingest` keeps is what DuckDB counts.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::AsArray;
use tempfile::TempDir;

use crate::support::{batches, python, querent, succeed};

const PAGE: &str = include_str!("../docs/logs.md");

#[test]
fn each_mapping_keeps_what_duckdb_counts() {
    let folder = TempDir::new().expect("a folder");
    let counted = succeed(python("tests/log_counts.py").arg(folder.path()));
    let counted: BTreeMap<String, [u64; 4]> = serde_json::from_str(&counted).expect("JSON");
    for (heading, expected) in counted {
        let section = PAGE.split("\n### ").find(|section| section.starts_with(&heading)).expect("a heading");
        let toml = section.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a mapping");
        let (config, root) = (folder.path().join("mapping.toml"), folder.path().join(&heading));
        std::fs::write(&config, toml).expect("writable");
        let mut ingest = querent();
        ingest.current_dir(folder.path()).arg("ingest").arg("--config").arg(&config).arg("--data").arg(&root);
        succeed(ingest.args(["--quiet", "--max-bad-ratio", "0"]));
        let rows = |name: &str| batches(&root, name).iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
        let mut users = BTreeSet::new();
        for batch in batches(&root, "events") {
            let ids = batch.column_by_name("user_id").expect("a column").as_string::<i32>();
            users.extend(ids.iter().flatten().map(str::to_owned));
        }
        let got = [rows("events"), rows("truth"), users.len() as u64, rows("news")];
        assert_eq!(got, expected, "{heading}: behaviours, truth, users, articles");
        assert!(expected[0] > 1_000 && expected[2] >= 40, "{heading}: too few to say anything");
    }
}
