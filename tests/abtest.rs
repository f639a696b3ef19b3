//! An experiment from its simulation to the report.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Float64Type;
use tempfile::TempDir;

use crate::support::{at_rest, batches, by_version, contents, fail, querent, succeed};

fn command(root: &Path, arguments: &[&str]) -> std::process::Command {
    let mut command = querent();
    command.args(arguments).arg("--quiet").arg("--data").arg(root);
    command
}

/// A simulated experiment of some users, and where its files lie.
fn simulated(root: &Path, users: u32, more: &[&str]) -> String {
    let users = users.to_string();
    let arguments = [&["simulate", "--experiment", "--users", &users, "--seed", "3"], more].concat();
    succeed(&mut command(root, &arguments));
    format!("{}/raw_experiment/*.parquet", root.display())
}

/// Columns of some rows by what the first columns say.
fn table(batches: &[RecordBatch], keys: &[&str], values: &[&str]) -> BTreeMap<String, Vec<f64>> {
    let mut table = BTreeMap::new();
    for batch in batches {
        let column = |name: &str| batch.column_by_name(name).expect("a column").clone();
        for row in 0..batch.num_rows() {
            let key = keys.iter().map(|key| column(key).as_string::<i32>().value(row).to_owned());
            let value = |name: &&str| column(name).as_primitive::<Float64Type>().value(row);
            table.insert(key.collect::<Vec<_>>().join(" "), values.iter().map(value).collect());
        }
    }
    table
}

/// Of the rows that are, or are not, adjusted.
fn lifts(root: &Path, cuped: bool) -> BTreeMap<String, Vec<f64>> {
    let rows = batches(root, "lifts").into_iter().map(|batch| {
        let is = batch.column_by_name("cuped").expect("a column").as_boolean();
        let wanted = is.iter().map(|is| Some(is == Some(cuped))).collect();
        arrow::compute::filter_record_batch(&batch, &wanted).expect("as long")
    });
    let values =
        ["lift", "lift_low", "lift_high", "always_low", "always_high", "control_value", "treatment_value", "p_value"];
    table(&rows.collect::<Vec<_>>(), &["metric", "segment"], &values)
}

#[test]
fn known_lifts_are_found_reported_and_reproducible() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("data");
    let lift = ["--warm-lift", "0.1", "--cold-lift", "0.2", "--click-lift", "-0.4", "--experiment-days", "5"];
    let files = simulated(&root, 6_000, &lift);
    let arguments = ["abtest", &files, "--buckets", "3", "--guardrails", "dau=0.01", "--simulate-aa", "100"];
    let said = succeed(&mut command(&root, &arguments));
    assert!(said.contains("DAU, cold users, CUPED") && said.contains("A/A") && !said.contains("warning"), "{said}");
    at_rest(&root);

    let truth = table(&batches(&root, "true_lifts"), &["metric", "segment"], &["lift", "control_value"]);
    assert_eq!(truth.len(), 6);
    let (plain, cuped) = (lifts(&root, false), lifts(&root, true));
    for (name, truth) in &truth {
        for found in [&plain[name], &cuped[name]] {
            // Twelve intervals of 95% about the truth: a fourth of their width more holds all of these.
            let slack = (found[2] - found[1]) / 4.0;
            assert!(found[1] - slack <= truth[0] && truth[0] <= found[2] + slack, "{name}: {found:?} {truth:?}");
            assert!(found[3] < found[1] && found[2] < found[4], "always valid is wider: {name} {found:?}");
        }
        assert!((plain[name][5] / truth[1] - 1.0).abs() < 0.1, "{name}: {:?} {truth:?}", plain[name]);
        assert!(cuped[name][2] - cuped[name][1] < plain[name][2] - plain[name][1], "{name}: CUPED is more precise");
    }
    assert!(plain["dau all"][7] < 0.001 && plain["ctr all"][7] < 0.001, "{plain:?}");
    let days = by_version(&root, "daily_lifts");
    assert_eq!(days.len(), 2 * 3 * 5, "{days:#?}");
    let last = days.iter().find(|day| day.contains("|dau|all|2025-12-05|")).expect("the last day");
    let until: Vec<f64> = last.split('|').skip(5).map(|cell| cell.parse().expect("a number")).collect();
    assert_eq!(until, plain["dau all"][..5], "the last day is the whole experiment");
    let inferior = table(&batches(&root, "lifts"), &["metric", "segment"], &["inferiority_p_value"]);
    assert!(inferior["dau all"][0] < 0.001, "active users are not fewer: {inferior:?}");
    let rates = table(&batches(&root, "lifts"), &["metric", "segment"], &["false_positives"]);
    assert!(rates.values().all(|rate| rate[0] <= 0.13), "{rates:?}");

    succeed(&mut command(&root, &["report"]));
    let page = std::fs::read_to_string(root.join("report.html")).expect("written");
    for text in ["The experiment", "treatment against control", "Lift over the control", "lift until each day"] {
        assert!(page.contains(text), "{text}");
    }
    assert!(page.matches("class=\"always\"").count() == 12 && page.matches("class=\"band\"").count() == 6);

    // The same files in another order of names, more threads: the same bytes. Then nothing is left to do.
    let other = folder.path().join("other");
    let again =
        ["abtest", &files, "--threads", "4", "--buckets", "3", "--guardrails", "dau=0.01", "--simulate-aa", "100"];
    succeed(&mut command(&other, &again));
    let (first, second) = (contents(&root), contents(&other));
    for name in ["lifts", "daily_lifts", "arms", "experiment_users", "experiment_moments"] {
        assert_eq!(first[name], second[name], "{name}");
    }
    let said = succeed(&mut command(&root, &arguments));
    assert!(said.contains("gather-experiment: up to date") && said.contains("abtest: up to date"), "{said}");
}

#[test]
fn a_broken_assignment_warns() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("data");
    let files = simulated(&root, 2_000, &[]);
    let said = succeed(&mut command(&root, &["abtest", &files, "--shares", "control=0.6,treatment=0.4"]));
    assert!(said.contains("warning: sample ratio mismatch (p < 0.001)"), "{said}");
    succeed(&mut command(&root, &["report"]));
    let page = std::fs::read_to_string(root.join("report.html")).expect("written");
    assert!(page.contains("Warning: </strong>sample ratio mismatch"), "{page}");
}

#[test]
fn columns_may_have_other_names_and_csv_and_parquet_say_the_same() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("data");
    let files = simulated(&root, 400, &["--experiment-days", "3"]);
    succeed(&mut command(&root, &["abtest", &files]));

    let mut csv = String::from("day,who,arm,here,shown,clicked,fresh,more\n");
    for batch in batches(&root, "raw_experiment") {
        let text = |name: &str, row| {
            arrow::util::display::array_value_to_string(batch.column_by_name(name).expect("a column"), row)
                .expect("printable")
        };
        for row in 0..batch.num_rows() {
            let cells =
                ["day", "user_id", "variant", "active", "impressions", "clicks", "cold"].map(|name| text(name, row));
            csv += &format!("{},\"a, b\"\n", cells.join(","));
        }
    }
    let path = folder.path().join("days.csv");
    std::fs::write(&path, csv).expect("writable");
    let path = path.display().to_string();
    let other = folder.path().join("other");
    let named = [
        "abtest",
        &path,
        "--user-column",
        "who",
        "--variant-column",
        "arm",
        "--active-column",
        "here",
        "--impressions-column",
        "shown",
        "--clicks-column",
        "clicked",
        "--cold-column",
        "fresh",
    ];
    let said = succeed(&mut command(&other, &named));
    assert!(said.contains("noted: users of whom nothing before is known 400"), "{said}");
    assert_eq!(lifts(&other, false), lifts(&root, false));
    assert!(lifts(&other, true).is_empty(), "nothing is known of the time before");
}

#[test]
fn bad_tables_and_wrong_usage_are_one_clear_error() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("data");
    let header = "user_id,day,variant,active,impressions,clicks,cold\n";
    let path = folder.path().join("days.csv");
    let file = path.display().to_string();
    for (rows, expected) in [
        (
            "a,2025-12-01,control,1,2,3,0\n",
            "days.csv: row 1, column clicks: expected at most the row's 2 impressions, got 3",
        ),
        ("a,2025-12-01,control,1,2,1,0\na,2025-12-02,treatment,1,2,1,0\n", "got none of \"treatment\" on 2025-12-01"),
        ("a,2025-12-01,control,1,2,1,0\na,2025-12-01,treatment,1,2,1,0\n", "every user in one variant"),
        (
            "a,2025-12-01,control,1,2,1,0\nb,2025-12-01,treatment,1,2,1,0\n",
            "at least 30 users in each variant, got 1 in control",
        ),
        ("a,2025-12-01,control,1,2\n", "expected CSV"),
        ("", "expected a control and a treatment, got no rows"),
    ] {
        std::fs::write(&path, format!("{header}{rows}")).expect("writable");
        let message = fail(&mut command(&root, &["abtest", &file]), 3);
        assert!(message.contains(expected) && message.contains("hint: "), "{message}\nexpected: {expected}");
    }
    std::fs::write(&path, "user_id,day\n").expect("writable");
    let message = fail(&mut command(&root, &["abtest", &file]), 3);
    assert!(message.contains("expected a column variant, got user_id, day"), "{message}");
    std::fs::write(&path, b"PAR1 and no more").expect("writable");
    assert!(fail(&mut command(&root, &["abtest", &file]), 3).contains("expected Parquet"));
    for (arguments, expected) in [
        (&["abtest"][..], "FILES: expected Parquet or CSV files"),
        (&["abtest", "nowhere/*.parquet"], "FILES: expected files that are there"),
        (&["abtest", &file, "--guardrails", "dau"], "abtest.guardrails"),
        (&["abtest", &file, "--adjustment", "none"], "--adjustment"),
        (&["simulate", "--experiment", "--warm-lift", "3"], "simulate.warm_lift: expected -0.9 to 0.2"),
    ] {
        let message = fail(&mut command(&root, arguments), 2);
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
}
