//! Tests on real logs (`make test-data`): the MIND sample of `../shared/data`, or of the folder `QUERENT_TEST_DATA`.

#[expect(dead_code, reason = "the end-to-end tests use the rest of it")]
mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int32Type};
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
        querent()
            .args(["run", "jobs/configs/mind.toml", "--quiet", "--set", &assignment, "--set"])
            .arg("run.jobs=[\"ingest\", \"clean\", \"cap\", \"statistics\"]")
            .arg("--data")
            .arg(&root),
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

/// Own titles on the live pool, by exact search: Recall@10 as another implementation measured it on the same file of the encoder.
#[test]
fn own_titles_reach_on_the_mind_sample_what_others_measured() {
    let folder = TempDir::new().expect("a folder");
    let (root, sample) = (folder.path().join("data"), folder.path().join("mind"));
    std::fs::create_dir(&sample).expect("writable");
    let behaviours = std::fs::read_to_string(mind().join("behaviors.tsv")).expect("readable");
    // Articles that nobody was shown or had read cost time and change nothing.
    let mut named: BTreeSet<&str> = BTreeSet::new();
    for line in behaviours.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        named.extend(columns[3].split(' '));
        named.extend(columns[4].split(' ').filter_map(|shown| shown.split('-').next()));
    }
    let news = std::fs::read_to_string(mind().join("news.tsv")).expect("readable");
    let kept: Vec<&str> =
        news.lines().filter(|line| line.split('\t').next().is_some_and(|id| named.contains(id))).collect();
    std::fs::write(sample.join("behaviors.tsv"), &behaviours).expect("writable");
    std::fs::write(sample.join("news.tsv"), kept.join("\n") + "\n").expect("writable");
    let assignment = format!("ingest.mind={}", sample.display());
    let said = succeed(
        querent()
            .args(["run", "jobs/configs/mind.toml", "--quiet", "--set", &assignment, "--set", "evaluate.among=all"])
            .args(["--set", "retrieve.among=all"])
            .args(["--set", "retrieve.methods=[\"own-titles\", \"popularity\", \"random\"]", "--set"])
            .arg("run.jobs=[\"ingest\", \"clean\", \"cap\", \"embed\", \"retrieve\", \"evaluate\"]")
            .arg("--data")
            .arg(&root),
    );
    // The others counted 0 for readers of whom they had no list, and knew no popular articles to show them.
    let (mut recall, mut readers) = (std::collections::BTreeMap::<String, f64>::new(), BTreeSet::new());
    for batch in batches(&root, "user_metrics") {
        let text = |name: &str| batch.column_by_name(name).expect(name).as_string::<i32>().clone();
        let (method, user, metric) = (text("method"), text("user_id"), text("metric"));
        let k = batch.column_by_name("k").expect("k").as_primitive::<Int32Type>().clone();
        let value = batch.column_by_name("value").expect("value").as_primitive::<Float64Type>().clone();
        let fallback = batch.column_by_name("fallback").expect("fallback").as_boolean().clone();
        for row in 0..batch.num_rows() {
            readers.insert(user.value(row).to_owned());
            if (metric.value(row), k.value(row), fallback.value(row)) == ("recall", 10, false) {
                *recall.entry(method.value(row).to_owned()).or_default() += value.value(row);
            }
        }
    }
    recall.values_mut().for_each(|sum| *sum /= readers.len() as f64);
    assert!((recall["own-titles"] - 0.0159).abs() < 0.0004, "{recall:?}\n{said}");
    assert!((0.0045..0.0065).contains(&recall["popularity"]), "{recall:?}");
    assert!(recall["random"] < 0.003, "{recall:?}");
}
