//! Imported lists.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use dataset::{Outcome, Result, Runner, Summary, Whole};
use schemas::Recommendations;

use super::{WORLD, World, manifest, runner};
use crate::Import;

fn write(folder: &Path, name: &str, rows: &[(String, String, i64)]) -> PathBuf {
    let column = |values: StringArray| Arc::new(values) as ArrayRef;
    let batch = RecordBatch::try_from_iter([
        ("news_id", column(rows.iter().map(|(_, news, _)| Some(news)).collect())),
        ("note", column(rows.iter().map(|_| Some("whatever else there is")).collect())),
        ("user_id", column(rows.iter().map(|(user, ..)| Some(user)).collect())),
        ("rank", Arc::new(rows.iter().map(|(.., rank)| *rank).collect::<Int64Array>()) as ArrayRef),
    ]);
    let (batch, path) = (batch.expect("even columns"), folder.join(name));
    let file = std::fs::File::create(&path).expect("writable");
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).expect("Parquet");
    writer.write(&batch).expect("Parquet");
    writer.close().expect("Parquet");
    path
}

fn import(runner: &Runner, files: &[PathBuf]) -> Result<Summary> {
    let import = Import { method: "others".into(), files: files.to_vec(), ..Import::default() };
    runner.run(&import, &[&import.output()])
}

/// Articles by user, best first.
fn lists(runner: &Runner) -> Result<BTreeMap<String, Vec<String>>> {
    let mut lists: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for part in Whole::<Recommendations>::open(runner.store(), "recommendations.others")?.parts() {
        for columns in part?.columns() {
            let columns = columns?;
            for row in 0..columns.rank.len() {
                let list = lists.entry(columns.user_id.value(row).to_owned()).or_default();
                list.push(columns.news_id.value(row).to_owned());
                assert_eq!(columns.rank.value(row), list.len() as i32);
            }
        }
    }
    Ok(lists)
}

#[test]
fn lists_are_the_same_however_they_are_cut_into_files() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let runner = runner(&folder.path().join("data"))?;
    WORLD.make(&runner)?;
    let rows: Vec<(String, String, i64)> = (0..30)
        .flat_map(|user| {
            (0..4).map(move |at| (World::raw(user), World::article((user * 7 + at) % 520), 10 - at as i64))
        })
        .collect();
    let whole = write(folder.path(), "whole.parquet", &rows);
    let summary = import(&runner, std::slice::from_ref(&whole))?;
    assert_eq!((summary.outcome, summary.account.output), (Outcome::Committed, 120));
    let (expected, content) = (lists(&runner)?, manifest(&runner, "recommendations.others")?.content);
    assert_eq!(expected.len(), 30);
    assert!(expected.values().any(|list| list[..] == [3, 2, 1, 0].map(World::article)), "user 0's, best first");
    assert_eq!(import(&runner, &[whole])?.outcome, Outcome::UpToDate);

    let cut: Vec<PathBuf> =
        rows.chunks(37).enumerate().map(|(at, rows)| write(folder.path(), &format!("{at}.parquet"), rows)).collect();
    assert_eq!(import(&runner, &cut)?.outcome, Outcome::Committed);
    assert_eq!(manifest(&runner, "recommendations.others")?.content, content);
    let turned: Vec<PathBuf> = cut.into_iter().rev().collect();
    assert_eq!(import(&runner, &turned)?.outcome, Outcome::UpToDate, "the order of files decides nothing");
    Ok(())
}

#[test]
fn lists_of_nobody_and_ranks_that_come_twice_are_refused() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let runner = runner(&folder.path().join("data"))?;
    WORLD.make(&runner)?;
    let one = |user: &str, rank| vec![(user.to_owned(), World::article(1), rank)];
    let known = write(folder.path(), "known.parquet", &one("user-1", 1));
    let strangers = write(folder.path(), "strangers.parquet", &one("nobody", 1));
    let zero = write(folder.path(), "zero.parquet", &one("user-1", 0));
    let bare = folder.path().join("none.parquet");
    for (files, expected) in [
        (vec![strangers.clone()], "got 1 rows of none"),
        // The same file twice says everything twice.
        (vec![known.clone(), known.clone()], "rank 1 twice"),
        (vec![zero], "row 1, column rank: expected a rank from 1, got 0"),
    ] {
        let error = import(&runner, &files).expect_err(expected);
        assert!(error.to_string().contains(expected) && error.exit_code() == 3, "{error}");
        assert!(dataset::Dataset::new(runner.store(), "recommendations.others").current()?.is_none());
    }
    assert!(import(&runner, &[bare]).is_err());
    let summary = import(&runner, &[known, strangers])?;
    assert_eq!(summary.account.notes["of unknown users"], 1);
    for name in ["random", "", "a/b"] {
        let named = Import { method: name.into(), files: vec!["x".into()], ..Import::default() };
        assert_eq!(named.check().map_err(|e| e.exit_code()), Err(2), "{name}");
    }
    Ok(())
}
