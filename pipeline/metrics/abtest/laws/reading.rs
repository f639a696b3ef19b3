//! What is read of a table, whatever it is cut into; and what is refused, by name.

use std::fs;
use std::path::{Path, PathBuf};
use std::slice;

use arrow::array::Array;
use dataset::{Result, Whole};
use schemas::{Arms, DailyLifts, ExperimentUsers, Lifts};
use tempfile::TempDir;

use super::super::{AbTest, GatherExperiment};
use crate::laws::runner;

const HEADER: &str = "user_id,day,variant,active,impressions,clicks,cold,pre_active,pre_impressions,pre_clicks";

/// Rows of invented users: 4 days, both arms, some cold; days on which a user does not come have no row.
fn rows(users: usize) -> Vec<String> {
    let mut rows = Vec::new();
    for user in 0..users {
        let variant = if user % 2 == 0 { "control" } else { "new" };
        for day in 0..4 {
            let chance = (user * 2_654_435_761 + day * 40_503_001) >> 9;
            let come = chance % 5 > 1;
            if come || day == 0 {
                let shown = if come { 3 + chance % 7 } else { 0 };
                let (cold, active) = (u8::from(user % 3 == 0 && day < 2), u8::from(come));
                let clicks = shown * (user % 4) / 4;
                rows.push(format!(
                    "u{user},2025-12-0{},{variant},{active},{shown},{clicks},{cold},{},{},{}",
                    day + 1,
                    user % 9,
                    user % 17,
                    user % 5
                ));
            }
        }
    }
    rows
}

/// Analyses files of rows: with some buckets and threads, under a root of its own.
fn analyse(folder: &Path, files: &[Vec<String>], buckets: u32, threads: usize, settings: &AbTest) -> Result<PathBuf> {
    let root = folder.join(format!("data-{buckets}-{threads}-{}", files.len()));
    let named: Vec<PathBuf> = (0..files.len()).map(|at| folder.join(format!("{buckets}-{at}.csv"))).collect();
    for (path, rows) in named.iter().zip(files) {
        fs::write(path, format!("{HEADER}\n{}\n", rows.join("\n"))).unwrap();
    }
    fs::create_dir_all(&root).unwrap();
    let mut runner = runner(&root, threads);
    runner.resources.user_key.insecure_dev_key = true;
    let gather = GatherExperiment { files: named, buckets: Some(buckets), ..GatherExperiment::default() };
    runner.run(&gather, &["experiment_users", "experiment_moments"])?;
    runner.run(settings, &["lifts", "daily_lifts", "arms"])?;
    Ok(root)
}

/// All rows of the results, as text.
fn results(root: &Path) -> Vec<String> {
    let store = dataset::Store::open(root.to_str().unwrap()).unwrap();
    let mut lines = Vec::new();
    let mut add = |batch: &arrow::array::RecordBatch| {
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().map(|c| arrow::util::display::array_value_to_string(c, row).unwrap());
            lines.push(cells.collect::<Vec<_>>().join("|"));
        }
    };
    Whole::<Lifts>::open(&store, "lifts")
        .unwrap()
        .parts()
        .for_each(|part| part.unwrap().batches().iter().for_each(&mut add));
    Whole::<DailyLifts>::open(&store, "daily_lifts")
        .unwrap()
        .parts()
        .for_each(|part| part.unwrap().batches().iter().for_each(&mut add));
    Whole::<Arms>::open(&store, "arms")
        .unwrap()
        .parts()
        .for_each(|part| part.unwrap().batches().iter().for_each(&mut add));
    lines
}

#[test]
fn order_files_buckets_and_threads_decide_nothing() {
    let folder = TempDir::new().unwrap();
    let settings = AbTest { simulate_aa: 20, ..AbTest::default() };
    let rows = rows(300);
    let reversed: Vec<String> = rows.iter().rev().cloned().collect();
    let thirds: Vec<Vec<String>> = reversed.chunks(reversed.len().div_ceil(3)).map(<[String]>::to_vec).collect();
    let first = results(&analyse(folder.path(), slice::from_ref(&rows), 1, 1, &settings).unwrap());
    assert_eq!(first.len(), 2 * 3 * 2 + 2 * 3 * 4 + 2, "{first:#?}");
    assert_eq!(results(&analyse(folder.path(), &thirds, 5, 3, &settings).unwrap()), first);
}

#[test]
fn users_days_and_lifts_are_those_of_the_rows() {
    let folder = TempDir::new().unwrap();
    let rows = rows(120);
    let root = analyse(folder.path(), slice::from_ref(&rows), 2, 1, &AbTest::default()).unwrap();
    let store = dataset::Store::open(root.to_str().unwrap()).unwrap();
    let mut users = 0;
    for part in Whole::<ExperimentUsers>::open(&store, "experiment_users").unwrap().parts() {
        for columns in part.unwrap().columns() {
            users += columns.unwrap().user_id.len();
        }
    }
    assert_eq!(users, 120);
    let active = |variant: &str, until: &str, cold: Option<bool>| -> f64 {
        let of = |row: &&String| {
            let cells: Vec<&str> = row.split(',').collect();
            let number: usize = cells[0][1..].parse().unwrap();
            cells[2] == variant
                && cells[1] <= until
                && cells[3] == "1"
                && cold.is_none_or(|cold| number.is_multiple_of(3) == cold)
        };
        rows.iter().filter(of).count() as f64
    };
    let lines = results(&root);
    let cells = |start: &str| -> Vec<f64> {
        let line = lines.iter().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {lines:#?}"));
        line[start.len()..].split('|').map(|cell| cell.parse().unwrap_or(f64::NAN)).collect()
    };
    // Of 60 users of each arm, and 4 days; 20 of them are cold on their first day.
    for (segment, cold, users) in [("all", None, 60.0), ("cold", Some(true), 20.0), ("warm", Some(false), 40.0)] {
        if users < 30.0 {
            assert!(!lines.iter().any(|line| line.starts_with("new|dau|cold|")), "20 users are too few: {lines:#?}");
            continue;
        }
        let got = cells(&format!("new|dau|{segment}|false|"));
        assert_eq!(&got[..2], [users, users]);
        let expected = ["control", "new"].map(|variant| active(variant, "2025-12-04", cold) / users / 4.0);
        assert!((got[2] - expected[0]).abs() < 1e-12 && (got[3] - expected[1]).abs() < 1e-12, "{got:?} {expected:?}");
        let second = cells(&format!("new|dau|{segment}|2025-12-02|"));
        let expected = active("new", "2025-12-02", cold) / active("control", "2025-12-02", cold) - 1.0;
        assert!((second[1] - expected).abs() < 1e-12, "{second:?} {expected}");
    }
}

#[test]
fn what_makes_no_sense_is_one_error_that_names_it() {
    let good = rows(80);
    let with = |row: usize, column: usize, value: &str| {
        let mut rows = good.clone();
        let mut cells: Vec<&str> = rows[row].split(',').collect();
        cells[column] = value;
        rows[row] = cells.join(",");
        rows
    };
    // A control user's second row.
    let same_user =
        |pair: &[String]| pair[0].split(',').next() == pair[1].split(',').next() && pair[1].contains(",control,");
    let second = 1 + good.windows(2).position(same_user).expect("somebody comes twice");
    let without = |text: &str| good.iter().filter(|row| !row.contains(text)).cloned().collect::<Vec<_>>();
    let twice = || good.iter().chain(&good[3..4]).cloned().collect::<Vec<_>>();
    for (rows, expected) in [
        (with(4, 4, "-3"), "row 5, column impressions: expected a whole number from 0 to 2147483647, got -3"),
        (with(4, 4, "2.5"), "row 5, column impressions: expected a whole number from 0 to 2147483647, got 2.5"),
        (with(6, 5, "NaN"), "row 7, column clicks: expected a whole number from 0 to 2147483647, got NaN"),
        (with(6, 5, "many"), "row 7, column clicks: expected a whole number from 0 to 2147483647, got a text"),
        (with(6, 5, "99"), "row 7, column clicks: expected at most the row's "),
        (with(2, 3, "2"), "row 3, column active: expected 0 or 1, got 2"),
        (with(2, 6, ""), "row 3, column cold: expected 0 or 1, got none"),
        (with(2, 7, "-1"), "row 3, column pre_active: expected a whole number"),
        (with(9, 1, ""), "row 10, column day: expected a date (YYYY-MM-DD), got none"),
        (with(9, 1, "soon"), "row 10, column day: expected a date (YYYY-MM-DD), got another text"),
        (with(9, 0, ""), "row 10, column user_id: expected a text, got none"),
        (
            with(second, 2, "new"),
            "expected every user in one variant, got 1 users in several, among the 80 of bucket 0",
        ),
        (with(second, 7, "77"), "expected one past per user in all rows, got 1 users with several"),
        (twice(), "expected one row per user and day, got 1 more"),
        (without(",new,"), "expected a control and a treatment, got \"control\" alone"),
        (without("2025-12-03"), "got none of \"control\" on 2025-12-03"),
        (
            good.iter().filter(|row| !row.contains("2025-12-04,new")).cloned().collect(),
            "got none of \"new\" on 2025-12-04",
        ),
        (good[..60].to_vec(), "expected at least 30 users in each variant, got "),
    ] {
        let folder = TempDir::new().unwrap();
        let error = analyse(folder.path(), &[rows], 1, 1, &AbTest::default()).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}\nexpected: {expected}");
        assert!(error.exit_code() == 3 && error.to_string().contains("hint: "), "{error}");
    }
    for (settings, expected) in [
        (AbTest { control: "old".into(), ..AbTest::default() }, "one of the variants control, new"),
        (AbTest { shares: vec!["control=0.5".into()], ..AbTest::default() }, "a share of each variant (control, new)"),
        (AbTest { guardrails: vec!["speed=0.1".into()], ..AbTest::default() }, "metrics (dau, ctr)"),
        (AbTest { guardrails: vec!["ctr".into()], ..AbTest::default() }, "NAME=SHARE"),
        (AbTest { sequential_tuning: f64::NAN, ..AbTest::default() }, "more than 0"),
    ] {
        let folder = TempDir::new().unwrap();
        let error = analyse(folder.path(), slice::from_ref(&good), 1, 1, &settings).expect_err(expected);
        assert!(error.to_string().contains(expected) && error.exit_code() == 2, "{error}\nexpected: {expected}");
    }
}
