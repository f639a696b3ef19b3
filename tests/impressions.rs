//! Impressions end to end: from MIND's layout to what its scorer says of methods with queries, references and baselines.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use tempfile::TempDir;

use crate::support::{at_rest, batches, fail, querent, succeed};

/// Articles about two things, and users who read of one of them only: what they are shown is of both, and they click theirs.
fn mind(folder: &Path) {
    let words = [["glacier", "comet", "drought", "harvest"], ["orchestra", "museum", "treaty", "election"]];
    let (mut news, mut behaviours) = (String::new(), String::new());
    for article in 0..80 {
        let (kind, at) = (article % 2, article / 2);
        let title = format!("The {} and the {}, part {at}", words[kind][at % 4], words[kind][(at / 4) % 4]);
        let _ = writeln!(news, "N{article}\tnews\tworld\t{title}\t\t\t[]\t[]");
    }
    for user in 0..40 {
        let kind = user % 2;
        let own = |at: usize| format!("N{}", 2 * ((user * 7 + at) % 30) + kind);
        let history: Vec<String> = (0..6).map(own).collect();
        for hour in 1..4 {
            // Fresh articles, from N60 on; the first half of them is of one kind.
            let shown = |at: usize| 60 + (user + 3 * hour + 5 * at) % 20;
            let shown: Vec<String> =
                (0..8).map(|at| format!("N{}-{}", shown(at), usize::from(shown(at) % 2 == kind && at < 5))).collect();
            let (history, shown) = (history.join(" "), shown.join(" "));
            let _ = writeln!(behaviours, "{user}{hour}\tU{user}\t11/15/2019 {hour}:00:00 AM\t{history}\t{shown}");
        }
    }
    std::fs::create_dir_all(folder).expect("writable");
    std::fs::write(folder.join("news.tsv"), news).expect("writable");
    std::fs::write(folder.join("behaviors.tsv"), behaviours).expect("writable");
}

#[test]
fn methods_are_judged_on_what_was_shown() {
    let folder = TempDir::new().expect("a folder");
    let (root, raw) = (folder.path().join("data"), folder.path().join("mind"));
    mind(&raw);
    let job = |job: &str, arguments: &[&str]| {
        let mut command = querent();
        command.args([job, "--quiet", "--data"]).arg(&root).args(arguments);
        command
    };
    succeed(&mut job("ingest", &["--buckets", "2", "--mind", &raw.display().to_string()]));
    succeed(&mut job("clean", &["--model", "none"]));
    succeed(&mut job("cap", &[]));
    succeed(&mut job("embed", &["--fields", "title"]));
    succeed(&mut job("retrieve", &["--methods", "popularity"]));
    let said = fail(&mut job("evaluate", &["--impressions"]), 2);
    assert!(said.contains("no method has ranked what impressions showed") && said.contains("hint: run"), "{said}");
    let retrieve = ["--methods", "own-titles,themes,popularity,random", "--fields", "title", "--impressions"];
    succeed(&mut job("retrieve", &retrieve));
    let small = ["--width", "16", "--length", "10", "--users", "16", "--steps", "30", "--look-every", "10"];
    let small = [&small[..], &["--learning-rate", "0.01", "--negatives", "0", "--impressions"]].concat();
    for model in ["pinnersage", "sasrec", "nrhub"] {
        succeed(&mut job("baseline", &[&["--model", model], &small[..]].concat()));
    }
    let said = succeed(&mut job("evaluate", &["--impressions"]));
    assert!(said.contains("all: 120 impressions") && said.contains("ndcg@10"), "{said}");
    let again = succeed(&mut job("evaluate", &["--impressions"]));
    assert!(again.contains("up to date"), "{again}");

    let mut auc = std::collections::BTreeMap::new();
    for batch in batches(&root, "impression_metrics") {
        let text = |name: &str| batch.column_by_name(name).expect(name).as_string::<i32>().clone();
        let (methods, slices, metrics) = (text("method"), text("slice"), text("metric"));
        let values = batch.column_by_name("value").expect("value").as_primitive::<Float64Type>().clone();
        let counts = batch.column_by_name("impressions").expect("impressions").as_primitive::<Int64Type>().clone();
        for row in 0..batch.num_rows() {
            if slices.value(row) == "all" && metrics.value(row) == "auc" {
                assert_eq!(counts.value(row), 120);
                auc.insert(methods.value(row).to_owned(), values.value(row));
            }
        }
    }
    assert_eq!(auc.len(), 7, "{auc:?}");
    // Nothing that was shown had been clicked before, so popularity is even on all of it.
    assert_eq!(auc["popularity"], 0.5);
    assert!((auc["random"] - 0.5).abs() < 0.1, "{auc:?}");
    assert!(auc["own-titles"] > 0.75 && auc["themes"] > 0.75 && auc["pinnersage"] > 0.75, "{auc:?}");

    // Lists of words are no scores of articles.
    let said = fail(&mut job("retrieve", &["--methods", "own-titles", "--retriever", "bm25", "--impressions"]), 2);
    assert!(said.contains("retrieve.retriever: expected dense"), "{said}");
    succeed(&mut job("report", &[]));
    let page = std::fs::read_to_string(root.join("report.html")).expect("written");
    assert!(page.contains("What was clicked of what was shown") && page.contains("AUC"));

    // Who is erased has no impressions any more, and the next reading of the log brings none back.
    let people = || {
        let users = |batch: &RecordBatch| batch.column_by_name("user_id").expect("user_id").as_string::<i32>().clone();
        let all = batches(&root, "impressions");
        all.iter()
            .flat_map(|batch| users(batch).iter().flatten().map(str::to_owned).collect::<Vec<_>>())
            .collect::<BTreeSet<_>>()
    };
    let before = people();
    let list = folder.path().join("erase.txt");
    std::fs::write(&list, "U3\nU4\n").expect("writable");
    succeed(&mut job("ingest", &["--erase", &list.display().to_string()]));
    let after = people();
    assert!(before.len() == 40 && after.len() == 38 && after.is_subset(&before), "{} {}", before.len(), after.len());
    succeed(&mut job("ingest", &["--buckets", "2", "--mind", &raw.display().to_string()]));
    assert_eq!(people(), after);
    at_rest(&root);
}
