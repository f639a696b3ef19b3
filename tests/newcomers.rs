//! Readers of whom nothing is known before the cut-off: every method shows them the same popular articles.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::{at_rest, by_version, fail, querent, succeed, tsv_log};

/// Three readers who clicked before, most of all on n1, then n2; in the window two who never came before click on n1 and on n9.
fn write_logs(folder: &Path) -> PathBuf {
    let mut clicks = String::from("user\tat\tarticle\n");
    for (user, article) in [(0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (2, 3)] {
        clicks += &format!("u{user}\t2025-11-30 11:0{article}:00\tn{article}\n");
    }
    for (user, article) in [("u0", 4), ("new-1", 1), ("new-2", 9)] {
        clicks += &format!("{user}\t2025-12-02 11:00:00\tn{article}\n");
    }
    let article = |id| format!("n{id}\tThe orchestra plays piece {id}\t2025-11-30 09:00:00\n");
    let news: String = std::iter::once("id\ttitle\tat\n".to_owned()).chain((0..10).map(article)).collect();
    std::fs::write(folder.join("clicks.tsv"), clicks).expect("writable");
    std::fs::write(folder.join("news.tsv"), news).expect("writable");
    let log = |kind: &str, name: &str, rest: &str| tsv_log(kind, name, &folder.join(format!("{name}.tsv")), rest);
    let text = [
        "[run]\njobs = [\"ingest\", \"clean\", \"cap\", \"retrieve\", \"evaluate\"]\n".to_owned(),
        "[ingest]\nbuckets = 2\ncut_off = \"2025-12-01\"\n".to_owned(),
        log("events", "clicks", "domain = \"news\"\nuser = \"user\"\nnews_id = \"article\""),
        log("news", "news", "news_id = \"id\"\ntitle = \"title\""),
        "[clean]\nmodel = \"none\"\n".to_owned(),
        "[retrieve]\nmethods = [\"own-titles\", \"random\"]\nretriever = \"bm25\"\narticles = 5\n".to_owned(),
        "[evaluate]\nresamples = 20\n".to_owned(),
    ];
    let path = folder.join("pipeline.toml");
    std::fs::write(&path, text.join("\n")).expect("writable");
    path
}

#[test]
fn every_method_shows_newcomers_the_same_popular_articles() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("data");
    let config = write_logs(folder.path());
    let run = || succeed(querent().args(["run", "--quiet", "--data"]).arg(&root).arg(&config));
    let said = run();
    // Of equally popular articles the greater id comes first.
    let shown: Vec<String> = by_version(&root, "fallback.live-3");
    assert_eq!(shown[1..6], ["1|n1|3", "2|n2|2", "3|n3|1", "4|n9|0", "5|n8|0"], "behind 10, by their texts");
    assert_eq!(shown.len(), 10, "all that there are, however short lists are");
    let table = said.split("without-history: 2 users").nth(1).expect("a slice of their own");
    let line = |method: &str| table.lines().find(|line| line.starts_with(method)).expect("a method").to_owned();
    // new-1 reads the first article, new-2 the fourth.
    for method in ["own-titles", "random"] {
        let line = line(method);
        assert!(line.contains("1.0000 (") && line.contains("0.6250 (") && line.ends_with("  2"), "{table}");
    }
    assert!(said.contains("shown popular articles"), "{said}");
    at_rest(&root);
    assert!(run().matches("up to date").count() >= 8);

    // Lists of other candidates have a fallback of their own, as long as any, however short the lists are.
    let other = ["retrieve", "--quiet", "--methods", "random", "--candidates", "all", "--articles", "2", "--data"];
    succeed(querent().args(other).arg(&root));
    assert_eq!(by_version(&root, "fallback.all")[1..5], shown[1..5]);
    assert_eq!(by_version(&root, "fallback.live-3"), shown);
    let said = succeed(querent().args(["evaluate", "--quiet", "--resamples", "20", "--data"]).arg(&root));
    let table = said.split("without-history: 2 users").nth(1).expect("a slice of their own");
    let random = table.lines().find(|line| line.starts_with("random")).expect("a method");
    assert!(random.contains("1.0000 (") && random.contains("0.6250 ("), "as for every method: {table}");
    // Interests that nobody made are no reason to leave readers out.
    assert!(fail(querent().args(["evaluate", "--methods", "interests", "--data"]).arg(&root), 2).contains("hint:"));
}
