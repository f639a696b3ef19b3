//! Queries beside commits.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use dataset::{Dataset, Done, Inputs, Outcome, Resources, Result, Rows, Runner, Stage, Store, Whole};
use schemas::{CleanEvents, CleanEventsColumns, Popularity};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::{runner, toy};
use crate::engine::{Engine, Relation};
use crate::{Query, Sql, Version};

const BUCKETS: u32 = 3;

/// In each bucket, so many clicks on one article, and one on an article of the bucket's own.
#[derive(Serialize, Deserialize)]
struct Clicks {
    clicks: i64,
}

toy!(Clicks, CleanEvents, self, partition, declare, { declare.partitions(BUCKETS) }, {
    let rows = self.clicks as usize + 1;
    let own = format!("N{partition}");
    CleanEventsColumns {
        event_id: (0..rows).map(|row| Some(format!("{row:032x}"))).collect(),
        user_id: vec![format!("{partition:032x}"); rows].into(),
        domain: vec!["news"; rows].into(),
        occurred_at: vec![7; rows].into(),
        text: vec!["title"; rows].into(),
        news_id: (0..rows).map(|row| Some(if row == 0 { own.as_str() } else { "all" })).collect(),
        source: vec!["toy"; rows].into(),
        keep_score: vec![None; rows].into(),
    }
});

fn popularity(store: &Store) -> BTreeMap<String, i64> {
    let mut clicks = BTreeMap::new();
    for rows in Whole::<Popularity>::open(store, "popularity").unwrap().parts() {
        for columns in rows.unwrap().columns() {
            let columns = columns.unwrap();
            clicks.extend(
                columns.news_id.iter().flatten().map(str::to_owned).zip(columns.clicks.values().iter().copied()),
            );
        }
    }
    clicks
}

fn expected(clicks: i64) -> BTreeMap<String, i64> {
    let own = (0..BUCKETS).map(|bucket| (format!("N{bucket}"), 1));
    own.chain((clicks > 0).then(|| ("all".to_owned(), i64::from(BUCKETS) * clicks))).collect()
}

#[test]
fn a_query_reads_the_version_of_a_root_with_any_name_on_any_threads() {
    let folder = TempDir::new().unwrap();
    for threads in [1, 3, 8] {
        let runner = runner(&folder.path().join(format!("we[i]rd*?{threads}")), threads);
        runner.run(&Clicks { clicks: 5 }, &["clean_events"]).unwrap();
        // What a glob would read, and no version names.
        fs::write(runner.store().local_root().unwrap().join("clean_events/bucket=0001/stray.parquet"), "no").unwrap();
        let first = runner.run(&Sql::<Popularity>::default(), &["popularity"]).unwrap();
        assert_eq!((first.outcome, first.unit.as_str(), first.account.output), (Outcome::Committed, "articles", 4));
        assert_eq!(popularity(runner.store()), expected(5));
        let again = runner.run(&Sql::<Popularity>::default(), &["popularity"]).unwrap();
        assert_eq!(again.outcome, Outcome::UpToDate);
        let left: Vec<_> = fs::read_dir(runner.store().local_root().unwrap().join("popularity/_runs"))
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn query(runner: &Runner, version: &Version) -> Result<usize> {
    let engine = Engine::whole("popularity", &runner.resources)?;
    let tables = vec![("clean_events", Relation::Version(version.clone()))];
    let batches = engine.query(Popularity::FILE, Popularity::SQL, Vec::new(), tables)?;
    Ok(batches.iter().map(|batch| batch.num_rows()).sum())
}

#[test]
fn a_part_that_is_gone_is_an_error_and_never_an_empty_table() {
    let folder = TempDir::new().unwrap();
    let runner = runner(folder.path(), 2);
    runner.run(&Clicks { clicks: 5 }, &["clean_events"]).unwrap();
    let declared = || Version::from(&Whole::<CleanEvents>::open(runner.store(), "clean_events").unwrap());
    let version = declared();
    assert_eq!(query(&runner, &version).unwrap(), 4);
    runner.run(&Clicks { clicks: 6 }, &["clean_events"]).unwrap();
    let error = query(&runner, &version).unwrap_err();
    assert!(error.exit_code() == 1 && error.to_string().contains("a newer version was committed"), "{error}");
    let version = declared();
    let part = Dataset::new(runner.store(), "clean_events").current().unwrap().unwrap().parts[2].path.clone();
    let part = folder.path().join("clean_events").join(part);
    fs::write(&part, "not what was written").unwrap();
    let error = query(&runner, &version).unwrap_err();
    assert!(error.exit_code() == 3 && error.to_string().contains("expected"), "{error}");
    fs::remove_file(&part).unwrap();
    let error = query(&runner, &version).unwrap_err();
    assert!(error.exit_code() == 3 && error.to_string().contains("somebody deleted it"), "{error}");
    // Where rows are only counted, too.
    let engine = Engine::whole("popularity", &runner.resources).unwrap();
    let counted = engine.query("count", "SELECT count(*) FROM t", Vec::new(), vec![("t", Relation::Version(version))]);
    assert!(counted.unwrap_err().to_string().contains("somebody deleted it"));
}

#[test]
fn an_input_that_is_committed_again_and_again_never_makes_a_wrong_number() {
    let folder = TempDir::new().unwrap();
    let done = AtomicBool::new(false);
    let mut results: Vec<(u64, BTreeMap<String, i64>)> = Vec::new();
    let mut overtaken = 0;
    let mut clicks_of = BTreeMap::new();
    runner(folder.path(), 1).run(&Clicks { clicks: 0 }, &["clean_events"]).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let runner = runner(folder.path(), 1);
            let mut committed = Vec::new();
            for clicks in 1..=200 {
                let summary = runner.run(&Clicks { clicks }, &["clean_events"]).unwrap();
                committed.push((summary.outputs[0].version, clicks));
            }
            done.store(true, Ordering::Relaxed);
            committed
        });
        let runner = runner(folder.path(), 2);
        while !done.load(Ordering::Relaxed) {
            match runner.run(&Sql::<Popularity>::default(), &["popularity"]) {
                Ok(_) => {
                    let made = Dataset::new(runner.store(), "popularity").current().unwrap().unwrap();
                    results.push((made.lineage.inputs["clean_events"].version, popularity(runner.store())));
                }
                Err(error) => {
                    assert!(error.exit_code() == 1 && error.to_string().contains("a newer version"), "{error}");
                    overtaken += 1;
                }
            }
        }
        clicks_of.extend(writer.join().unwrap());
    });
    let last = runner(folder.path(), 2);
    last.run(&Sql::<Popularity>::default(), &["popularity"]).unwrap();
    assert_eq!(popularity(last.store()), expected(200));
    let first = results.first().map_or(0, |(version, _)| *version);
    clicks_of.entry(first).or_insert(0);
    let wrong = results.iter().filter(|(version, found)| *found != expected(clicks_of[version])).count();
    assert_eq!(wrong, 0, "of {} results", results.len());
    assert!(results.len() + overtaken >= 20, "{} results, {overtaken} overtaken", results.len());
}
