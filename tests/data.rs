//! Tests on real logs (`make test-data`): the MIND sample of `../shared/data`, or of the folder `QUERENT_TEST_DATA`.

#[expect(dead_code, reason = "the end-to-end tests use the rest of it")]
mod support;

use std::path::PathBuf;
use std::process::Command;

use support::{at_rest, batches, querent, succeed};
use tempfile::TempDir;

fn mind() -> PathBuf {
    let data = std::env::var("QUERENT_TEST_DATA").map_or_else(|_| PathBuf::from("../shared/data"), PathBuf::from);
    let folder = data.join("mind_small_sample");
    assert!(folder.is_dir(), "{}: not there; QUERENT_TEST_DATA names the folder that holds it", folder.display());
    folder
}

#[test]
fn the_mind_sample_has_the_counts_that_an_independent_script_finds() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("data");
    let assignment = format!("ingest.mind={}", mind().display());
    let table = succeed(
        querent().args(["run", "jobs/configs/mind.toml", "--quiet", "--set", &assignment, "--data"]).arg(&root),
    );
    at_rest(&root);

    let counted = succeed(Command::new("python3").arg("tests/mind_counts.py").arg(mind()));
    let counts: Vec<u64> =
        counted.trim().trim_matches(['[', ']']).split(", ").map(|n| n.parse().expect("a count")).collect();
    let [users, readers, events, truth, live, articles] = counts[..] else { panic!("{counted}") };
    assert_eq!(live, 7_457);

    let rows = |name: &str| batches(&root, name).iter().map(|b| b.num_rows() as u64).sum::<u64>();
    let distinct = |name: &str, column: &str| {
        let mut values = std::collections::BTreeSet::new();
        for batch in batches(&root, name) {
            let ids = arrow::array::AsArray::as_string::<i32>(batch.column_by_name(column).expect("a column")).clone();
            values.extend(ids.iter().flatten().map(str::to_owned));
        }
        values.len() as u64
    };
    assert_eq!(rows("events"), events);
    assert_eq!(rows("truth"), truth);
    assert_eq!(rows("news"), articles);
    assert_eq!(rows("profiles"), readers);
    assert_eq!(distinct("events", "user_id"), readers);
    assert_eq!(distinct("truth", "user_id"), users, "every user of the sample clicked something");
    let published: u64 = batches(&root, "news").iter().map(|b| (b.num_rows() - b.column(1).null_count()) as u64).sum();
    assert_eq!(published, live);
    assert!(table.contains("# Users with truth but no history"), "{table}");
}
