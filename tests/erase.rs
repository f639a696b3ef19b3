//! Erasing people: whoever is erased is in nothing below the root, once the jobs have run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::util::display::array_value_to_string;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

use crate::support::{batches, fail, files, pipeline, querent, succeed, tsv_log};

/// What only one person ever typed, and the title that only they read.
const SEARCH: &str = "zwieback recipes of my aunt";
const TITLE: &str = "The orchestra plays for the last quokkas";

fn write_logs(folder: &Path) {
    let mut searches = String::from("user\tat\tquery\n");
    let mut clicks = String::from("user\tat\tarticle\n");
    let mut news = format!("id\ttitle\tat\nn-own\t{TITLE}\t2025-11-30 08:00:00\n");
    news += "n-other\tWhere quokkas sleep\t2025-11-30 08:30:00\n";
    for article in 0..12 {
        news += &format!("n{article}\tThe orchestra plays piece {article}\t2025-11-30 09:{article:02}:00\n");
    }
    for user in 0..8 {
        for minute in 0..4 {
            searches += &format!("u{user}\t2025-11-30 10:{minute:02}:00\tharbour plans {}\n", user + minute);
            clicks += &format!("u{user}\t2025-11-30 11:{minute:02}:00\tn{}\n", (user + minute) % 12);
        }
        clicks += &format!("u{user}\t2025-12-02 11:00:00\tn{}\n", (user + 5) % 12);
    }
    searches += &format!("u3\t2025-11-30 12:00:00\t{SEARCH}\nu3\tnever\t{SEARCH}\n");
    clicks += "u3\t2025-11-30 12:00:00\tn-own\n";
    for (name, text) in [("searches.tsv", searches), ("clicks.tsv", clicks), ("news.tsv", news)] {
        std::fs::write(folder.join(name), text).expect("writable");
    }
}

fn config(folder: &Path, events_per_domain: u32) -> PathBuf {
    let log = |kind: &str, name: &str, rest: &str| tsv_log(kind, name, &folder.join(format!("{name}*.tsv")), rest);
    let text = [
        "[run]\njobs = [\"ingest\", \"clean\", \"cap\", \"statistics\", \"retrieve\", \"evaluate\"]\nmax_bad_ratio = 1.0\nkeep_versions = 3\n".to_owned(),
        "[ingest]\nbuckets = 3\ncut_off = \"2025-12-01\"\n".to_owned(),
        log("events", "searches", "domain = \"search\"\nuser = \"user\"\ntext = \"query\""),
        log("events", "clicks", "domain = \"news\"\nuser = \"user\"\nnews_id = \"article\""),
        log("news", "news", "news_id = \"id\"\ntitle = \"title\""),
        "[clean]\nmodel = \"none\"\n".to_owned(),
        format!("[cap]\nevents_per_domain = {events_per_domain}\n"),
        "[retrieve]\nmethods = [\"own-titles\", \"popularity\"]\nretriever = \"bm25\"\n".to_owned(),
        "[evaluate]\nresamples = 20\n".to_owned(),
    ];
    let path = folder.join("pipeline.toml");
    std::fs::write(&path, text.join("\n")).expect("writable");
    path
}

/// Names of the datasets any Parquet file of which holds a text, whichever version it is of; the logs' own folders are none.
fn holding(root: &Path, text: &str) -> BTreeSet<String> {
    let holds = |batch: &RecordBatch| {
        let cells = |row: usize| batch.columns().iter().map(move |column| array_value_to_string(column, row));
        (0..batch.num_rows()).flat_map(cells).any(|cell| cell.expect("printable").contains(text))
    };
    let mut found = BTreeSet::new();
    for path in files(root) {
        let name = path.strip_prefix(root).expect("below it").components().next().expect("a folder");
        let bytes = std::fs::read(&path).expect("readable");
        let held = match bytes.starts_with(b"PAR1") {
            true => {
                let file = std::fs::File::open(&path).expect("readable");
                let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet");
                reader.build().expect("Parquet").any(|batch| holds(&batch.expect("Parquet")))
            }
            false => String::from_utf8_lossy(&bytes).contains(text),
        };
        if held {
            found.insert(name.as_os_str().to_string_lossy().into_owned());
        }
    }
    found
}

/// The user_id of whoever typed a text.
fn user_of(root: &Path, text: &str) -> String {
    for batch in batches(root, "events") {
        for row in 0..batch.num_rows() {
            let cell = |name: &str| {
                array_value_to_string(batch.column_by_name(name).expect("a column"), row).expect("printable")
            };
            if cell("text") == text {
                return cell("user_id");
            }
        }
    }
    panic!("nobody typed {text}");
}

#[test]
fn whoever_is_erased_is_in_no_file_once_the_jobs_have_run() {
    let folder = TempDir::new().expect("a folder");
    let logs = folder.path();
    let root = logs.join("data");
    write_logs(logs);
    let run = |cap: u32| succeed(pipeline(&config(logs, cap)).arg("--data").arg(&root));
    // Two versions of what cap writes, both of which are kept.
    run(50);
    run(10);
    let user = user_of(&root, SEARCH);
    let everywhere = ["clean_events", "events", "events.quarantine", "profiles", "truth", "user_metrics"];
    let held = holding(&root, &user);
    assert!(everywhere.iter().all(|name| held.contains(*name)), "{held:?}");
    assert!(holding(&root, TITLE).contains("recommendations.own-titles"), "their titles were queries");
    assert!(!holding(&root, SEARCH).is_empty());
    // A run that was killed left its rows.
    let killed = pipeline(&config(logs, 7)).args(["--data"]).arg(&root).env("QUERENT_FAULT", "receipt:1").output();
    drop(killed);

    let list = logs.join("erase.txt");
    std::fs::write(&list, "u3\n").expect("writable");
    let erase = |list: &Path| {
        let mut command = querent();
        command.args(["ingest", "--quiet", "--keep-versions", "3", "--erase"]).arg(list).arg("--data").arg(&root);
        command
    };
    let said = succeed(&mut erase(&list));
    assert!(said.contains("dropped: erased 10") && said.contains("people erased 1"), "{said}");
    assert!(said.contains("may still hold what came of the erased") && said.contains("profiles"), "{said}");
    for name in ["events", "truth", "events.quarantine", "events.raw_files", "events.erased"] {
        assert!(!holding(&root, &user).contains(name), "{name}");
        assert!(!holding(&root, SEARCH).contains(name), "{name}");
    }

    // Until their jobs have run, later datasets are shown as stale.
    let overview = succeed(querent().args(["inspect", "--data"]).arg(&root));
    let stale = |name: &str| overview.lines().any(|line| line.starts_with(&format!("{name}: stale, made of")));
    for name in ["clean_events", "profiles", "recommendations.own-titles", "user_metrics", "metrics"] {
        assert!(stale(name), "{name}\n{overview}");
    }
    assert!(!stale("events") && !stale("news"), "{overview}");
    let one = succeed(querent().args(["inspect", "profiles", "--data"]).arg(&root));
    assert!(one.contains("stale: made of clean_events, which is stale"), "{one}");
    let dry = succeed(pipeline(&config(logs, 10)).arg("--dry-run").arg("--data").arg(&root));
    assert!(dry.contains("cap: would run: made of clean_events, which is stale"), "{dry}");
    assert!(dry.contains("ingest: up to date"), "{dry}");

    run(10);
    for text in [&user, SEARCH] {
        assert_eq!(holding(&root, text), BTreeSet::new(), "{text}");
    }
    // Articles are nobody's; that somebody read one is gone.
    assert_eq!(holding(&root, TITLE), BTreeSet::from(["news".to_owned()]));
    let overview = succeed(querent().args(["inspect", "--data"]).arg(&root));
    assert!(!overview.contains("stale"), "{overview}");

    // They come again, in files new and changed: nothing changes for anybody but the others.
    std::fs::write(logs.join("searches-2.tsv"), format!("user\tat\tquery\nu3\t2025-11-30 13:00:00\t{SEARCH}\n"))
        .expect("writable");
    run(10);
    assert_eq!(holding(&root, &user), BTreeSet::new());
    assert_eq!(holding(&root, SEARCH), BTreeSet::new());

    std::fs::write(&list, "u4\nNULL\n").expect("writable");
    let said = fail(&mut erase(&list), 2);
    assert!(said.contains("erase.txt: line 2: expected a user id") && !said.contains("u4"), "{said}");
}
