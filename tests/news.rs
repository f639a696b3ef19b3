//! News and metrics: vectors as others make them, an index that is refused when it should be, lists that keep what they promise,
//! metrics as trec_eval computes them, a report that shows texts as texts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use arrow::array::{Array, AsArray, StringArray};
use arrow::datatypes::{Float32Type, Int32Type};
use tempfile::TempDir;

use crate::support::{
    at_rest, batches, by_version, config, contents, datasets, fail, pipeline, python, querent, succeed,
};

const MODEL: &str = "models/minilm";

/// A tiny world with profiles, and its articles' vectors.
fn world(folder: &TempDir) -> (PathBuf, PathBuf) {
    let root = folder.path().join("data");
    let config = config(&root, 40, 3);
    let text = std::fs::read_to_string(&config).expect("readable");
    std::fs::write(&config, text.replace("news = 1500", "news = 400")).expect("writable");
    succeed(&mut pipeline(&config));
    succeed(&mut job("embed", &root));
    (root, config)
}

fn job(name: &str, root: &Path) -> Command {
    assert!(Path::new(MODEL).join("model.int8.onnx").exists(), "this test needs the encoder: run `make setup`");
    let mut command = querent();
    command.args([name, "--quiet", "--data"]).arg(root);
    command
}

#[test]
fn what_is_measured_does_not_depend_on_buckets() {
    let measured = |buckets: &str| {
        let folder = TempDir::new().expect("a folder");
        let root = folder.path().join("data");
        let config = config(&root, 40, 3);
        let text = std::fs::read_to_string(&config).expect("readable").replace("news = 1500", "news = 400");
        std::fs::write(&config, text.replace("buckets = 4", buckets)).expect("writable");
        succeed(&mut pipeline(&config));
        succeed(&mut job("embed", &root));
        succeed(job("retrieve", &root).args(["--methods", "own-titles,themes,popularity,random"]));
        succeed(&mut job("evaluate", &root));
        ["metrics", "comparisons", "list_metrics"].map(|name| by_version(&root, name))
    };
    let four = measured("buckets = 4");
    assert!(four.iter().all(|rows| !rows.is_empty()));
    assert_eq!(four, measured("buckets = 7"));
}

/// Lists of a method: for each user (article, query), best first.
fn lists(root: &Path, method: &str) -> BTreeMap<String, Vec<(String, Option<String>)>> {
    let mut lists: BTreeMap<String, Vec<(String, Option<String>)>> = BTreeMap::new();
    for batch in batches(root, &format!("recommendations.{method}")) {
        let text = |name: &str| batch.column_by_name(name).expect(name).as_string::<i32>().clone();
        let (user, news, query) = (text("user_id"), text("news_id"), text("query"));
        let rank = batch.column_by_name("rank").expect("rank").as_primitive::<Int32Type>().clone();
        let score = batch.column_by_name("score").expect("score").as_primitive::<Float32Type>().clone();
        let mut last = f32::INFINITY;
        for row in 0..batch.num_rows() {
            let list = lists.entry(user.value(row).into()).or_default();
            assert_eq!(rank.value(row) as usize, list.len() + 1, "ranks have no gaps");
            last = if rank.value(row) == 1 { f32::INFINITY } else { last };
            assert!(score.value(row) <= last, "best first");
            last = score.value(row);
            list.push((news.value(row).into(), query.is_valid(row).then(|| query.value(row).into())));
        }
    }
    lists
}

/// The articles that each user read before the cut-off.
fn read_before(root: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut read: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for batch in batches(root, "events") {
        let text = |name: &str| batch.column_by_name(name).expect(name).as_string::<i32>().clone();
        let (user, news): (StringArray, StringArray) = (text("user_id"), text("news_id"));
        for row in (0..batch.num_rows()).filter(|&row| news.is_valid(row)) {
            read.entry(user.value(row).into()).or_default().insert(news.value(row).into());
        }
    }
    read
}

#[test]
fn from_articles_to_a_report() {
    let folder = TempDir::new().expect("a folder");
    let (root, config) = world(&folder);

    // Vectors are Python's, and only new texts are embedded.
    succeed(python("tests/vectors.py").arg(MODEL).arg(&root));
    assert!(succeed(&mut job("embed", &root)).contains("up to date"));
    let before = contents(&root)["news_vectors"].clone();
    let late = folder.path().join("late.csv");
    let evil = "<script>alert(1)</script>";
    std::fs::write(
        &late,
        format!(
            "article,published,section,subsection,headline,summary,tags\nlate-1,2025-12-02T00:00:00Z,a,b,{evil},c,\n"
        ),
    )
    .expect("writable");
    let text = std::fs::read_to_string(&config).expect("readable");
    let more = "[[ingest.news]]\nname = \"late\"\nformat = \"csv\"\nfiles = [\"LATE\"]\nnews_id = \"article\"\ntime = \"published\"\ntitle = \"headline\"\nabstract = \"summary\"\n\n[annotate]";
    let text = text.replace("[annotate]", &more.replace("LATE", &late.display().to_string()));
    std::fs::write(&config, text).expect("writable");
    succeed(&mut pipeline(&config));
    let said = succeed(&mut job("embed", &root));
    assert!(said.contains("1 texts embedded, "), "{said}");
    assert_ne!(contents(&root)["news_vectors"], before);

    // Lists of every method: what was read is left out, the query is kept, the same again.
    let methods = ["--methods", "own-titles,themes,attainable,popularity,random", "--articles", "30"];
    succeed(job("retrieve", &root).args(methods));
    let said = succeed(job("retrieve", &root).args(methods));
    assert_eq!(said.matches("up to date").count(), 8, "{said}");
    let asking = ["--methods", "own-titles,themes,attainable", "--articles", "30", "--retriever"];
    for retriever in ["bm25", "hybrid"] {
        succeed(job(&format!("retrieve@{retriever}"), &root).args(asking).arg(retriever));
    }
    let read = read_before(&root);
    let asked = ["own-titles", "themes", "attainable"];
    for (method, step) in asked
        .iter()
        .flat_map(|method| ["", ".bm25", ".hybrid"].map(|step| (*method, step)))
        .chain([("popularity", ""), ("random", "")])
    {
        let method_and_step = format!("{method}{step}");
        let lists = lists(&root, &method_and_step);
        assert!(lists.len() >= 38, "{method_and_step}: {}", lists.len());
        for (user, list) in &lists {
            let articles: BTreeSet<&String> = list.iter().map(|(article, _)| article).collect();
            assert_eq!(articles.len(), list.len(), "each article once");
            assert!(
                !list.iter().any(|(article, _)| read.get(user).is_some_and(|read| read.contains(article))),
                "{method}: read before"
            );
            assert!(list.iter().all(|(_, query)| query.is_some() == asked.contains(&method)));
        }
    }
    ask_as_the_data_say(&root);
    // A hybrid list is made of the two.
    for method in asked {
        let [dense, bm25, hybrid] = ["", ".bm25", ".hybrid"].map(|step| lists(&root, &format!("{method}{step}")));
        for (user, list) in &hybrid {
            let ranks = |lists: &BTreeMap<String, Vec<(String, Option<String>)>>| -> BTreeMap<String, usize> {
                lists.get(user).into_iter().flatten().zip(1..).map(|((news, _), rank)| (news.clone(), rank)).collect()
            };
            let (dense, bm25) = (ranks(&dense), ranks(&bm25));
            let part = |rank: Option<&usize>| rank.map_or(0.0, |rank| 1.0 / (60.0 + *rank as f64));
            let scores: Vec<f64> = list.iter().map(|(news, _)| part(dense.get(news)) + part(bm25.get(news))).collect();
            assert!(scores.is_sorted_by(|a, b| *a >= b - 1e-6) && scores[0] > 0.0, "{user}: {scores:?}");
            let others = dense.keys().chain(bm25.keys()).filter(|news| !list.iter().any(|(listed, _)| listed == *news));
            let missed = others.map(|news| part(dense.get(news)) + part(bm25.get(news))).fold(0.0, f64::max);
            assert!(missed <= scores[scores.len() - 1] + 1e-6, "{user}: {missed} is not in {scores:?}");
        }
    }
    // Another encoder, a step of its own: here the same one, which reads less.
    let other = ["--max-tokens", "8"];
    succeed(job("embed@short", &root).args(other));
    succeed(job("retrieve@short", &root).args(["--methods", "own-titles"]).args(other));
    assert_ne!(lists(&root, "own-titles.short"), lists(&root, "own-titles"));
    assert!(
        fail(job("retrieve@bm25", &root).args(["--methods", "own-titles"]).args(other), 2).contains("news_vectors")
    );
    succeed(job("retrieve", &root).args([
        "--methods",
        "popularity",
        "--articles",
        "30",
        "--keep-seen",
        "--candidates",
        "all",
    ]));
    let kept = lists(&root, "popularity");
    assert!(
        kept.iter().any(|(user, list)| list
            .iter()
            .any(|(article, _)| read.get(user).is_some_and(|read| read.contains(article))))
    );
    let first: BTreeSet<_> = kept.values().map(|list| list[0].0.clone()).collect();
    assert_eq!(first.len(), 1, "the most popular article is the same for all");

    // Evaluated, compared, reported.
    let said = succeed(&mut job("evaluate", &root));
    assert!(said.contains("own-titles") && said.contains("recall@10") && said.contains("all: "), "{said}");
    at_rest(&root);
    let before = contents(&root);
    for name in ["user_metrics", "metrics", "comparisons"] {
        std::fs::remove_dir_all(root.join(name)).expect("there");
    }
    succeed(job("evaluate", &root).args(["--threads", "1"]));
    assert_eq!(contents(&root), before, "the same bytes with any number of threads");
    let said = succeed(job("report", &root).args(["--users", "40"]));
    let page = std::fs::read_to_string(root.join("report.html")).expect("written");
    assert!(said.contains("report.html") && page.contains("own-titles") && page.contains("<svg"));
    assert!(page.contains(">dense</th>") && page.contains(">bm25</th>") && page.contains("% of attainable"));
    assert!(
        !page.contains("<script") && !page.contains("<img") && !page.contains("href=\"http"),
        "no scripts, no network"
    );
    assert!(fail(job("report", &root).args(["--method", "other"]), 2).contains("hint:"));
}

/// Themes ask with behaviours of the user's own, and what can be attained with their latent interests.
fn ask_as_the_data_say(root: &Path) {
    let mut behaviours: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for batch in batches(root, "profiles") {
        let users = batch.column_by_name("user_id").expect("user_id").as_string::<i32>().clone();
        let all = batch.column_by_name("behaviours").expect("behaviours").as_list::<i32>().clone();
        for row in 0..batch.num_rows() {
            let of_user = all.value(row);
            let texts = of_user.as_struct().column_by_name("text").expect("text").as_string::<i32>();
            let texts = texts.iter().flatten().map(|text| text.trim().to_owned()).collect();
            behaviours.insert(users.value(row).into(), texts);
        }
    }
    let mut topics: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for batch in batches(root, "latent_interests") {
        let [users, names] =
            ["user_id", "topic"].map(|name| batch.column_by_name(name).expect(name).as_string::<i32>());
        for (user, topic) in users.iter().flatten().zip(names.iter().flatten()) {
            topics.entry(user.into()).or_default().push(format!("{topic} "));
        }
    }
    let queries = |method: &str| -> BTreeMap<String, BTreeSet<String>> {
        let of_list = |list: Vec<(String, Option<String>)>| list.into_iter().filter_map(|(_, query)| query).collect();
        lists(root, method).into_iter().map(|(user, list)| (user, of_list(list))).collect()
    };
    for (user, queries) in queries("themes") {
        assert!(queries.len() <= 5 && queries.is_subset(&behaviours[&user]), "{queries:?}");
    }
    for (user, queries) in queries("attainable") {
        let of_a_topic = |query: &String| topics[&user].iter().any(|topic| query.starts_with(topic));
        assert!(queries.len() <= 4 * topics[&user].len() && queries.iter().all(of_a_topic), "{queries:?}");
    }
}

#[test]
fn an_index_finds_what_exact_search_finds_and_is_refused_when_it_is_of_something_else() {
    let folder = TempDir::new().expect("a folder");
    let (root, _) = world(&folder);
    let pool = ["--candidates", "all", "--exact-up-to", "0"];
    let retrieve = |more: &[&str]| {
        let mut command = job("retrieve", &root);
        command.args(["--methods", "own-titles", "--articles", "10"]).args(pool).args(more);
        command
    };
    let missing = fail(&mut retrieve(&[]), 3);
    assert!(missing.contains("there is no index") && missing.contains("querent index"), "{missing}");
    succeed(retrieve(&[]).arg("--exact"));
    let exact = lists(&root, "own-titles");

    // What a killed build leaves is no obstacle.
    let index = root.join("index.all");
    let unfinished = root.join("index.all.unfinished");
    std::fs::create_dir(&unfinished).expect("writable");
    std::fs::write(unfinished.join("ivf.safetensors"), "half a file").expect("writable");
    let said = succeed(job("index", &root).args(pool).arg("--verify"));
    // Of the table's lines, the one that retrieve would do: cells looked into, recall@10, queries per second.
    let chosen = said.lines().find(|line| line.contains("<- retrieve")).expect("a line");
    let recall: f64 = chosen.split_whitespace().nth(1).and_then(|cell| cell.parse().ok()).expect("a number");
    assert!(recall > 0.95, "{said}");
    assert!(said.contains("<- retrieve"), "{said}");
    assert!(succeed(job("index", &root).args(pool)).contains("up to date"));
    let names = |folder: &Path| {
        crate::support::files(folder).iter().map(|f| f.file_name().expect("a name").to_owned()).collect::<BTreeSet<_>>()
    };
    let files = names(&index);
    assert!(succeed(job("index", &root).args(["--candidates", "all"])).contains("none needed"));
    succeed(job("index", &root).args(pool));
    succeed(&mut retrieve(&[]));
    let found = lists(&root, "own-titles");
    let (mut same, mut all) = (0, 0);
    for (user, list) in &exact {
        all += list.len();
        same += list.iter().filter(|(article, _)| found[user].iter().any(|(other, _)| other == article)).count();
    }
    assert!(same as f64 > 0.95 * all as f64, "{same} of {all}");

    // Another encoder, other candidates, a damaged file, a folder of somebody else's.
    let other = fail(&mut retrieve(&["--max-tokens", "128"]), 2);
    assert!(other.contains("the query encoder") && other.contains("hint:"), "{other}");
    let other = fail(job("retrieve", &root).args(["--methods", "own-titles", "--max-tokens", "128"]), 2);
    assert!(other.contains("news_vectors") && other.contains("the query encoder"), "{other}");
    let live = ["--methods", "own-titles", "--exact-up-to", "0", "--index"];
    let other = fail(job("retrieve", &root).args(live).arg(&index), 1);
    assert!(other.contains("run index again"), "{other}");
    for file in crate::support::files(&index).iter().filter(|file| file.extension().is_some_and(|e| e == "safetensors"))
    {
        std::fs::write(file, "no tensors").expect("writable");
    }
    assert!(fail(&mut retrieve(&["--keep-seen"]), 3).contains("run index again"));
    // Which index does, and it makes the same file again; an earlier querent's manifest is replaced too.
    succeed(job("index", &root).args(pool));
    // What was measured was measured of the file before.
    assert_eq!(names(&index), files.into_iter().filter(|name| name != "measured.json").collect());
    succeed(&mut retrieve(&["--keep-seen"]));
    for nothing in ["--cells", "--probes"] {
        assert!(fail(job("index", &root).args(pool).args([nothing, "0"]), 2).contains("at least 1"));
    }
    let foreign = folder.path().join("foreign");
    std::fs::create_dir(&foreign).expect("writable");
    std::fs::write(foreign.join("model.safetensors"), "keep me").expect("writable");
    assert!(fail(job("index", &root).args(pool).arg("--index").arg(&foreign), 2).contains("somebody else's"));
}

#[test]
fn metrics_are_those_of_trec_eval() {
    let folder = TempDir::new().expect("a folder");
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/metric_cases.json");
    let tools = |what: &str| {
        let mut command = python("tests/metric_tools.py");
        command.arg(what).arg(folder.path()).arg(&cases);
        command
    };
    succeed(&mut tools("make"));
    let root = folder.path().join("data");
    succeed(&mut pipeline(&folder.path().join("config.toml")));
    let import = |file: &Path| {
        let mut command = querent();
        command.args(["import", "others", "--quiet"]).arg(file).arg("--data").arg(&root);
        command
    };
    let said = succeed(&mut import(&folder.path().join("lists.parquet")));
    assert!(said.contains("an article again in one list 1"), "{said}");
    succeed(querent().args(["evaluate", "--quiet", "--recall-capped", "--mrr-mind", "--data"]).arg(&root));
    let said = succeed(&mut tools("check"));
    assert!(said.contains("agree"), "{said}");
    at_rest(&root);
}

#[test]
fn bad_lists_are_one_clear_error() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("data");
    succeed(&mut pipeline(&config(&root, 24, 1)));
    let write = |name: &str, columns: Vec<(&str, arrow::array::ArrayRef)>| {
        let batch = arrow::array::RecordBatch::try_from_iter(columns).expect("even columns");
        let path = folder.path().join(name);
        let file = std::fs::File::create(&path).expect("writable");
        let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).expect("Parquet");
        writer.write(&batch).expect("Parquet");
        writer.close().expect("Parquet");
        path
    };
    let texts = |texts: &[&str]| std::sync::Arc::new(StringArray::from(texts.to_vec())) as arrow::array::ArrayRef;
    let ranks =
        |ranks: &[i64]| std::sync::Arc::new(arrow::array::Int64Array::from(ranks.to_vec())) as arrow::array::ArrayRef;
    let scores = |scores: &[f64]| {
        std::sync::Arc::new(arrow::array::Float64Array::from(scores.to_vec())) as arrow::array::ArrayRef
    };
    let import = |file: &Path| {
        let mut command = querent();
        command.args(["import", "others", "--quiet"]).arg(file).arg("--data").arg(&root);
        command
    };
    // A user and articles that the logs know.
    let first = |table: &str, column: &str, row: usize| {
        let batches = batches(&root, table);
        batches[0].column_by_name(column).expect("a column").as_string::<i32>().value(row).to_owned()
    };
    let user = first("raw_clicks", "uid", 0);
    let [a, b] = [0, 1].map(|row| first("raw_news", "article", row));
    let twice = write(
        "twice.parquet",
        vec![("user_id", texts(&[&user, &user])), ("news_id", texts(&[&a, &b])), ("rank", ranks(&[3, 3]))],
    );
    let nan = write(
        "nan.parquet",
        vec![("user_id", texts(&[&user])), ("news_id", texts(&[&a])), ("score", scores(&[f64::NAN]))],
    );
    let zero =
        write("zero.parquet", vec![("user_id", texts(&[&user])), ("news_id", texts(&[&a])), ("rank", ranks(&[0]))]);
    let bare = write("bare.parquet", vec![("user_id", texts(&[&user])), ("news_id", texts(&[&a]))]);
    for (file, expected) in [
        (&twice, "rank 3 twice"),
        (&nan, "row 1, column score: expected a number, got NaN"),
        (&zero, "row 1, column rank: expected a rank from 1, got 0"),
        (&bare, "expected a column rank or score, got user_id, news_id"),
    ] {
        let message = fail(&mut import(file), 3);
        assert!(message.contains(expected) && message.contains("hint:"), "{message}");
        assert!(!datasets(&root).contains_key("recommendations.others"), "nothing is committed");
    }
    assert!(fail(querent().args(["evaluate", "--quiet", "--data"]).arg(&root), 2).contains("querent retrieve"));
    let strangers = write(
        "strangers.parquet",
        vec![("user_id", texts(&["nobody"])), ("news_id", texts(&["nothing"])), ("rank", ranks(&[1]))],
    );
    let message = fail(&mut import(&strangers), 3);
    assert!(message.contains("users of this ingest, got 1 rows of none"), "{message}");
    // The same ids, as tools that hold them otherwise write them: as ingest reads them.
    let spaced = write(
        "spaced.parquet",
        vec![
            ("user_id", texts(&[&format!(" {user}")])),
            ("news_id", texts(&[&format!("{a} ")])),
            ("rank", ranks(&[1])),
        ],
    );
    succeed(&mut import(&spaced));
    let held = batches(&root, "recommendations.others");
    assert_eq!(held[0].column_by_name("news_id").expect("a column").as_string::<i32>().value(0), a);
    let none =
        write("none.parquet", vec![("user_id", texts(&[&user])), ("news_id", texts(&["None"])), ("rank", ranks(&[1]))]);
    let message = fail(&mut import(&none), 3);
    assert!(message.contains("row 1, column news_id: expected an id, got none"), "{message}");
    let unknown = write(
        "unknown.parquet",
        vec![("user_id", texts(&[&user])), ("news_id", texts(&["nothing"])), ("rank", ranks(&[1]))],
    );
    let message = fail(&mut import(&unknown), 3);
    assert!(message.contains("articles of this ingest, got 1 rows of none"), "{message}");
    let message = fail(querent().args(["import", "random", "--quiet"]).arg(&strangers).arg("--data").arg(&root), 2);
    assert!(
        message.contains("another name than interests, own-titles, themes, attainable, popularity, random"),
        "{message}"
    );
}
