//! Baselines end to end: trained and not, beside other methods in `evaluate` and the report; a killed training ends with the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int32Type};
use tempfile::TempDir;

use crate::support::{at_rest, batches, by_version, config, fail, pipeline, querent, succeed};

/// A tiny world with vectors.
fn world(folder: &TempDir) -> PathBuf {
    let root = folder.path().join("data");
    succeed(&mut pipeline(&config(&root, 120, 5)));
    succeed(querent().args(["embed", "--fields", "title", "--quiet", "--data"]).arg(&root));
    root
}

fn baseline(root: &Path, model: &str) -> Command {
    let mut command = querent();
    command.args(["baseline", "--model", model, "--quiet", "--data"]).arg(root);
    command.args(["--width", "16", "--length", "10", "--users", "24", "--steps", "20", "--look-every", "5"]);
    command.args(["--learning-rate", "0.01", "--negatives", "64", "--articles", "30"]);
    command
}

/// The files of a model, and the rows of its log without times.
fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = ["state.parquet", "weights-0000.parquet"];
    files.iter().map(|file| ((*file).to_owned(), std::fs::read(folder.join(file)).expect("readable"))).collect()
}

/// Each user's articles in order, of a dataset of lists.
fn lists(root: &Path, dataset: &str) -> BTreeMap<String, Vec<String>> {
    let mut lists: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for batch in batches(root, dataset) {
        let text = |name: &str| batch.column_by_name(name).expect(name).as_string::<i32>().clone();
        let (users, news) = (text("user_id"), text("news_id"));
        let ranks = batch.column_by_name("rank").expect("rank").as_primitive::<Int32Type>().clone();
        for row in 0..batch.num_rows() {
            let list = lists.entry(users.value(row).to_owned()).or_default();
            assert_eq!(ranks.value(row) as usize, list.len() + 1);
            list.push(news.value(row).to_owned());
        }
    }
    lists
}

#[test]
fn baselines_stand_beside_other_methods_and_a_killed_training_ends_the_same() {
    let folder = TempDir::new().expect("a folder");
    let root = world(&folder);
    let models = ["pinnersage", "gru", "sasrec", "hstu", "nrhub"];
    for model in models {
        succeed(&mut baseline(&root, model));
        assert!(succeed(&mut baseline(&root, model)).contains("up to date"), "{model}");
    }
    let mut retrieve = querent();
    retrieve.args([
        "retrieve",
        "--methods",
        "own-titles,popularity",
        "--fields",
        "title",
        "--articles",
        "30",
        "--quiet",
    ]);
    succeed(retrieve.arg("--data").arg(&root));

    // The same users, candidates and seen articles as any other method.
    let popular = lists(&root, "recommendations.popularity");
    let mut seen: BTreeSet<(String, String)> = BTreeSet::new();
    for batch in batches(&root, "events") {
        let text = |name: &str| batch.column_by_name(name).expect(name).as_string::<i32>().clone();
        let (users, news) = (text("user_id"), text("news_id"));
        for row in (0..batch.num_rows()).filter(|&row| news.is_valid(row)) {
            seen.insert((users.value(row).to_owned(), news.value(row).to_owned()));
        }
    }
    for model in models {
        let lists = lists(&root, &format!("recommendations.{model}"));
        assert!(lists.len() > 80 && lists.keys().all(|user| popular.contains_key(user)), "{model}: {}", lists.len());
        for (user, list) in &lists {
            assert_eq!(list.len(), popular[user].len(), "{model}");
            assert_eq!(list.iter().collect::<BTreeSet<_>>().len(), list.len(), "{model}");
            assert!(list.iter().all(|news| !seen.contains(&(user.clone(), news.clone()))), "{model}");
        }
    }

    let said = succeed(querent().args(["evaluate", "--quiet", "--data"]).arg(&root));
    assert!(models.iter().all(|model| said.contains(model)), "{said}");
    // What lists are like stands beside how right they are.
    assert!(
        ["coverage@10", "diversity@10", "novelty@10", "unread@10"].iter().all(|metric| said.contains(metric)),
        "{said}"
    );
    let mut described: BTreeMap<(String, String), f64> = BTreeMap::new();
    for batch in batches(&root, "list_metrics") {
        let text = |name: &str| batch.column_by_name(name).expect(name).as_string::<i32>().clone();
        let (methods, metrics) = (text("method"), text("metric"));
        let values = batch.column_by_name("value").expect("value").as_primitive::<Float64Type>().clone();
        described.extend(
            (0..batch.num_rows())
                .map(|at| ((methods.value(at).to_owned(), metrics.value(at).to_owned()), values.value(at))),
        );
    }
    assert_eq!(described.len(), 4 * (models.len() + 2));
    let of = |method: &str, metric: &str| described[&(method.to_owned(), metric.to_owned())];
    for model in models {
        assert!(
            (0.0..=1.0).contains(&of(model, "coverage")) && (0.0..=1.0).contains(&of(model, "unread")),
            "{described:?}"
        );
        assert!((0.0..=2.0).contains(&of(model, "diversity")) && of(model, "novelty") > 0.0, "{described:?}");
    }
    assert!(of("own-titles", "coverage") > of("popularity", "coverage"), "{described:?}");
    assert!(of("own-titles", "novelty") > of("popularity", "novelty"), "{described:?}");
    let said = succeed(querent().args(["inspect", "baseline.sasrec", "--data"]).arg(&root));
    assert!(said.contains("baseline, ended after 20 steps") && said.contains("loss"), "{said}");
    succeed(querent().args(["report", "--quiet", "--data"]).arg(&root));
    let page = std::fs::read_to_string(root.join("report.html")).expect("written");
    assert!(page.contains("hstu") && page.contains("<h3>baseline.gru</h3>"));

    // Across domains it is another method, for whoever did anything, as NRHUB is.
    let mut across = querent();
    let file = root.with_extension("across.toml");
    let text = "[run]\njobs = [\"baseline@across\"]\n[baseline.across]\nmodel = \"sasrec\"\ncross_domain = true\nwidth = 16\n\
                length = 20\nusers = 24\nsteps = 20\nlook_every = 5\nnegatives = 64\narticles = 30\n";
    std::fs::write(&file, text).expect("writable");
    across.arg("run").arg(&file).arg("--quiet").arg("--data").arg(&root);
    succeed(&mut across);
    let of = |model: &str| lists(&root, &format!("recommendations.{model}"));
    let across = of("across");
    assert!(across.keys().eq(of("nrhub").keys()) && across != of("sasrec"), "{}", across.len());

    // Killed at any point, it goes on to the same model and the same lists.
    let killed = [
        ("hstu", "updated:8"),
        ("nrhub", "updated:8"),
        ("hstu", "figures:2"),
        ("hstu", "chosen:1"),
        ("nrhub", "put-error:3"),
    ];
    for (model, fault) in killed {
        let (folder, lists) = (root.join(format!("baseline.{model}")), format!("recommendations.{model}"));
        let expected = (content(&folder), by_version(&root, &lists));
        std::fs::remove_dir_all(&folder).expect("there");
        let mut command = baseline(&root, model);
        let first = command.env("QUERENT_FAULT", fault).output().expect("the binary starts");
        assert!(!first.status.success() && !folder.exists(), "{model}, {fault}");
        succeed(command.env_remove("QUERENT_FAULT"));
        assert!((content(&folder), by_version(&root, &lists)) == expected, "{model}, {fault}");
        assert!(!root.join(format!("baseline.{model}.unfinished")).exists());
    }
    at_rest(&root);

    // One thread or several, the same lists; another seed, others.
    let other = |name: &str, more: [&str; 2]| {
        let mut command = querent();
        let file = root.with_extension(format!("{name}.toml"));
        let text = format!(
            "[run]\njobs = [\"baseline@{name}\"]\n[baseline.{name}]\nmodel = \"hstu\"\nwidth = 16\nlength = 10\nusers = 24\n\
             steps = 20\nlook_every = 5\nlearning_rate = 0.01\nnegatives = 64\narticles = 30\n"
        );
        std::fs::write(&file, text).expect("writable");
        command.arg("run").arg(&file).args(["--quiet"]).args(more).arg("--data").arg(&root);
        succeed(&mut command);
        lists(&root, &format!("recommendations.{name}"))
    };
    let lists_of_hstu = lists(&root, "recommendations.hstu");
    assert_eq!(other("alone", ["--threads", "1"]), lists_of_hstu);
    assert_ne!(other("seeded", ["--set", "baseline.seed=2"]), lists_of_hstu);

    let wrong = |more: [&str; 2]| fail(baseline(&root, "sasrec").args(more), 2);
    assert!(wrong(["--heads", "3"]).contains("baseline.heads: expected a divisor of the width, got 3"));
    assert!(fail(baseline(&root, "nrhub").args(["--item", "id"]), 2).contains("baseline.item: expected text, got id"));
    assert!(wrong(["--cross-domain", "--item=id"]).contains("baseline.item: expected text, got id"));
    assert!(wrong(["--dropout", "1"]).contains("baseline.dropout: expected a share"));
    let said = fail(querent().args(["baseline", "--data"]).arg(&root), 2);
    assert!(said.contains("baseline.model: expected one of pinnersage, gru, sasrec, hstu, nrhub"), "{said}");

    // Settings are tried, and the best of them by the users of valid is what is trained.
    let mut tuned = baseline(&root, "gru");
    tuned.args(["--tune", "3"]);
    let said = succeed(&mut tuned);
    assert!(said.contains("trial 2") && said.contains("of 3 is the best"), "{said}");
    assert!(succeed(&mut tuned).contains("up to date"));
    let mut trials = Vec::new();
    for batch in batches(&root, "trials.gru") {
        let floats = |name: &str| batch.column_by_name(name).expect(name).as_primitive::<Float64Type>().clone();
        let (rates, recalls, ndcgs) = (floats("learning_rate"), floats("recall_10"), floats("ndcg_10"));
        let chosen = batch.column_by_name("chosen").expect("chosen").as_boolean().clone();
        trials.extend(
            (0..batch.num_rows()).map(|at| (chosen.value(at), (recalls.value(at), ndcgs.value(at)), rates.value(at))),
        );
    }
    assert_eq!((trials.len(), trials[0].2), (3, 0.01));
    let (_, best, rate) = *trials.iter().find(|trial| trial.0).expect("one is chosen");
    assert!(trials.iter().all(|trial| trial.1 <= best) && trials.iter().filter(|trial| trial.0).count() == 1);
    let made = std::fs::read_to_string(root.join("baseline.gru/querent.json")).expect("its manifest");
    let made: serde_json::Value = serde_json::from_str(&made).expect("JSON");
    assert!(made.to_string().contains(&format!("\"learning_rate\":{rate}")), "{made}");
    at_rest(&root);
}
