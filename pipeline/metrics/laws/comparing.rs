//! Lists against clicks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use arrow::array::Array;
use dataset::{Dataset, Done, Error, Inputs, Resources, Result, Rows, Runner, Stage, Summary, Whole};
use schemas::{
    Behaviours, Comparisons, Fallback, FallbackColumns, Lists, Metrics, Profiles, ProfilesColumns, Recommendations,
    RecommendationsColumns, Truth, TruthColumns, UserMetrics,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::TempDir;

use super::{runner, toy};
use crate::{Evaluate, Summarise};

/// What users clicked: `(user, articles)`.
#[derive(Serialize, Deserialize)]
struct Clicked {
    users: Vec<(String, Vec<String>)>,
}

const WINDOW: [i64; 2] = [100, 200];

toy!(
    Clicked,
    Truth,
    self,
    partition,
    declare,
    {
        declare.value("window_us", WINDOW)?;
        declare.partitions(2)
    },
    {
        let clicks = || of(&self.users, partition).flat_map(|(user, news)| news.iter().map(move |id| (user, id)));
        TruthColumns {
            user_id: clicks().map(|(user, _)| Some(user)).collect(),
            news_id: clicks().map(|(_, id)| Some(id)).collect(),
            occurred_at: vec![150; clicks().count()].into(),
        }
    }
);

/// A method's lists, and the pool it says they are from.
#[derive(Serialize, Deserialize)]
struct Listed {
    method: String,
    pool: Option<String>,
    users: Vec<(String, Vec<String>)>,
}

toy!(
    Listed,
    Recommendations,
    self,
    partition,
    declare,
    {
        if let Some(pool) = &self.pool {
            declare.value("pool", pool)?;
        }
        declare.partitions(2)
    },
    {
        let lists = || {
            of(&self.users, partition).flat_map(|(user, news)| (1..).zip(news).map(move |(rank, id)| (user, rank, id)))
        };
        let rows = lists().count();
        RecommendationsColumns {
            method: vec![self.method.as_str(); rows].into(),
            user_id: lists().map(|(user, _, _)| Some(user)).collect(),
            rank: lists().map(|(_, rank, _)| rank).collect::<Vec<i32>>().into(),
            news_id: lists().map(|(_, _, id)| Some(id)).collect(),
            score: vec![0.0; rows].into(),
            query: vec![None::<&str>; rows].into(),
        }
    }
);

/// What readers are shown of whom a method of a pool has no list.
#[derive(Serialize, Deserialize)]
struct Popular {
    pool: String,
    articles: Vec<String>,
}

toy!(
    Popular,
    Fallback,
    self,
    _partition,
    declare,
    {
        declare.value("pool", &self.pool)?;
        declare.partitions(1)
    },
    FallbackColumns {
        rank: (1..=self.articles.len() as i32).collect::<Vec<_>>().into(),
        news_id: self.articles.iter().map(Some).collect(),
        clicks: vec![1; self.articles.len()].into(),
    }
);

/// Users with a history of so many clicks.
#[derive(Serialize, Deserialize)]
struct People {
    users: Vec<(String, Vec<String>)>,
}

toy!(People, Profiles, self, partition, declare, { declare.partitions(2) }, {
    let users: Vec<&str> = of(&self.users, partition).map(|(user, _)| user.as_str()).collect();
    let nothing = Behaviours {
        domain: Vec::<&str>::new().into(),
        occurred_at: Vec::<i64>::new().into(),
        text: Vec::<&str>::new().into(),
        news_id: Vec::<Option<&str>>::new().into(),
    };
    let counts = || vec![0; users.len()].into();
    ProfilesColumns {
        split: vec!["train"; users.len()].into(),
        behaviours: Lists::from_lengths(vec![0; users.len()], nothing),
        browse_events: counts(),
        browse_clean: counts(),
        browse_kept: counts(),
        news_events: counts(),
        news_clean: counts(),
        news_kept: counts(),
        search_events: counts(),
        search_clean: counts(),
        search_kept: vec![1; users.len()].into(),
        news_clicks: counts(),
        user_id: users.into(),
    }
});

/// The users of a bucket: those whose last digit is even, or odd.
fn of(users: &[(String, Vec<String>)], bucket: u32) -> impl Iterator<Item = &(String, Vec<String>)> {
    users.iter().filter(move |(user, _)| user.ends_with(|c: char| c.to_digit(16).is_some_and(|d| d % 2 == bucket)))
}

fn users(lists: &[(u32, &[&str])]) -> Vec<(String, Vec<String>)> {
    lists
        .iter()
        .map(|(user, news)| (format!("{user:032x}"), news.iter().map(|id| (*id).to_owned()).collect()))
        .collect()
}

fn list(runner: &Runner, method: &str, pool: Option<&str>, lists: &[(u32, &[&str])]) {
    let stage = Listed { method: method.into(), pool: pool.map(str::to_owned), users: users(lists) };
    runner.run(&stage, &[&format!("recommendations.{method}")]).unwrap();
}

fn evaluate(runner: &Runner, evaluate: Evaluate) -> Result<(Vec<String>, Vec<Summary>)> {
    let evaluate = evaluate.resolved(runner.store())?;
    let judged = runner.run(&evaluate, &["user_metrics"])?;
    let notes = evaluate.coverage(&judged, runner.store())?;
    let summarise = Summarise { resamples: 200, ..Summarise::default() };
    Ok((notes, vec![judged, runner.run(&summarise, &["metrics", "comparisons"])?]))
}

fn world(folder: &Path, threads: usize) -> Runner {
    let runner = runner(folder, threads);
    let truth = users(&[(1, &["A", "B"]), (2, &["C"]), (3, &["A"]), (4, &["D"])]);
    runner.run(&People { users: users(&[(1, &[]), (2, &[]), (3, &[]), (9, &[])]) }, &["profiles"]).unwrap();
    runner.run(&Clicked { users: truth }, &["truth"]).unwrap();
    runner
}

/// Which methods are compared.
fn pairs(runner: &Runner) -> BTreeSet<String> {
    let mut pairs = BTreeSet::new();
    for rows in Whole::<Comparisons>::open(runner.store(), "comparisons").unwrap().parts() {
        for columns in rows.unwrap().columns() {
            let columns = columns.unwrap();
            pairs.extend((0..columns.a.len()).map(|row| format!("{} {}", columns.a.value(row), columns.b.value(row))));
        }
    }
    pairs
}

#[test]
fn methods_are_compared_under_one_retriever_and_a_method_under_two() {
    let folder = TempDir::new().unwrap();
    let runner = world(folder.path(), 2);
    type Clicks<'a> = &'a [(u32, &'a [&'a str])];
    let (all, none): (Clicks<'_>, Clicks<'_>) =
        (&[(1, &["A", "B"]), (2, &["C"]), (3, &["A"]), (4, &["D"])], &[(1, &["X"]), (2, &["X"]), (3, &["X"])]);
    list(&runner, "a", None, all);
    list(&runner, "b", None, none);
    evaluate(&runner, Evaluate::default()).unwrap();
    let adjusted = |runner: &Runner| {
        let mut adjusted: Vec<(String, f64)> = Vec::new();
        for rows in Whole::<Comparisons>::open(runner.store(), "comparisons").unwrap().parts() {
            for c in rows.unwrap().columns() {
                let c = c.unwrap();
                for row in (0..c.a.len())
                    .filter(|&row| (c.a.value(row), c.b.value(row), c.slice.value(row)) == ("a", "b", "all"))
                {
                    let k = c.k.is_valid(row).then(|| c.k.value(row));
                    let of = format!("{} {} {k:?}", c.b.value(row), c.metric.value(row));
                    adjusted.push((of, c.p_adjusted.value(row)));
                }
            }
        }
        adjusted.sort_by(|a, b| a.0.cmp(&b.0));
        adjusted
    };
    let alone = adjusted(&runner);
    assert!(!alone.is_empty() && alone.iter().all(|(_, p)| *p < 0.3), "{alone:?}");
    for method in ["a.bm25", "c.bm25"] {
        list(&runner, method, None, all);
    }
    list(&runner, "b.bm25", None, none);
    evaluate(&runner, Evaluate::default()).unwrap();
    let expected = ["a a.bm25", "a b", "a.bm25 b.bm25", "a.bm25 c.bm25", "b b.bm25", "b.bm25 c.bm25"];
    assert_eq!(Vec::from_iter(pairs(&runner)), expected);
    assert_eq!(adjusted(&runner), alone, "a second retriever makes no first one's p-values larger");
}

#[test]
fn methods_that_chose_from_different_pools_are_not_compared() {
    let folder = TempDir::new().unwrap();
    let runner = world(folder.path(), 2);
    list(&runner, "a", Some("live"), &[(1, &["A", "X"]), (2, &["X", "C"]), (3, &["Y"])]);
    list(&runner, "b", Some("live"), &[(1, &["X", "Y"]), (2, &["C"]), (3, &["A"])]);
    list(&runner, "c", Some("before"), &[(1, &["B"]), (2, &["X"])]);
    list(&runner, "mine", None, &[(1, &["A", "B"])]);
    let (notes, summaries) = evaluate(&runner, Evaluate::default()).unwrap();
    let counts = "mine has lists for 1 of 4 users, and counts 0 for the others";
    assert_eq!(notes, [counts]);
    std::fs::create_dir(folder.path().join("interests")).unwrap();
    let advice = "; --among interests compares on those who were asked for lists";
    assert_eq!(evaluate(&runner, Evaluate::default()).unwrap().0, [format!("{counts}{advice}")]);
    let judged = &summaries[0].account;
    assert_eq!((judged.input, judged.output, judged.notes["readers without a profile"]), (5, 4, 1));
    assert_eq!(summaries[1].account.notes.values().copied().collect::<Vec<_>>(), [2]);
    assert_eq!(Vec::from_iter(pairs(&runner)), ["a b", "a mine", "b mine", "c mine"]);
    let metrics = Whole::<Metrics>::open(runner.store(), "metrics").unwrap();
    let mut methods = BTreeSet::new();
    for rows in metrics.parts() {
        for batch in rows.unwrap().batches() {
            methods.extend(Metrics::method.of(batch).unwrap().iter().flatten().map(str::to_owned));
        }
    }
    assert_eq!(Vec::from_iter(methods), ["a", "b", "c", "mine"]);
    let remark = metrics.manifest().lineage.remark.as_deref().unwrap();
    assert!(remark.contains("a, b | c") && remark.ends_with("not known: mine"), "{remark}");
    // Of one pool, everything is compared.
    list(&runner, "c", Some("live"), &[(1, &["B"]), (2, &["X"])]);
    evaluate(&runner, Evaluate::default()).unwrap();
    assert_eq!(Whole::<Comparisons>::open(runner.store(), "comparisons").unwrap().manifest().lineage.remark, None);
}

/// `method slice users fallback` and a value, of one metric.
fn averages(runner: &Runner, metric: &str) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    for rows in Whole::<Metrics>::open(runner.store(), "metrics").unwrap().parts() {
        for c in rows.unwrap().columns() {
            let c = c.unwrap();
            for row in (0..c.value.len()).filter(|&row| c.metric.value(row) == metric && c.k.value(row) == 5) {
                let (method, slice) = (c.method.value(row), c.slice.value(row));
                let of = format!("{method} {slice} {} {}", c.users.value(row), c.fallback.value(row));
                found.insert(of, c.value.value(row));
            }
        }
    }
    found
}

#[test]
fn readers_without_a_list_count_with_what_they_are_shown() {
    let folder = TempDir::new().unwrap();
    let runner = world(folder.path(), 2);
    // Nothing is known of reader 4, and nobody has a list for 2 and 3 but b. Another system's lists are all that it shows.
    list(&runner, "a", Some("live"), &[(1, &["A", "X"])]);
    list(&runner, "b", Some("live"), &[(1, &["X"]), (2, &["X"]), (3, &["A"])]);
    list(&runner, "mine", None, &[(1, &["A", "B"])]);
    let before = evaluate(&runner, Evaluate::default()).unwrap();
    assert!(before.0.iter().all(|note| note.contains("counts 0 for the others")), "{:?}", before.0);
    let popular = |pool: &str, name: &str, articles: &[&str]| {
        let articles = articles.iter().map(|id| (*id).to_owned()).collect();
        runner.run(&Popular { pool: pool.into(), articles }, &[&format!("fallback.{name}")]).unwrap();
    };
    popular("live", "live-3", &["D", "C"]);
    popular("other", "all", &["A", "B", "C", "D"]);
    let (notes, summaries) = evaluate(&runner, Evaluate::default()).unwrap();
    assert_eq!(notes[0], "a has lists for 1 of 4 users; the others are shown popular articles");
    assert!(notes[1].starts_with("mine has lists for 1 of 4 users, and counts 0"), "{notes:?}");
    assert_eq!(summaries[0].account.notes["shown popular articles, without a list of a"], 3);
    let recall = averages(&runner, "recall");
    for (of, expected) in [
        ("a all 4 3", (0.5 + 1.0 + 0.0 + 1.0) / 4.0),
        ("b all 4 1", (0.0 + 0.0 + 1.0 + 1.0) / 4.0),
        ("mine all 4 0", 0.25),
        ("a without-history 1 1", 1.0),
        ("b without-history 1 1", 1.0),
        ("mine without-history 1 0", 0.0),
    ] {
        assert_eq!(recall.get(of), Some(&expected), "{of}: {recall:?}");
    }
    // The list is cut and ranked like any other: D comes before C.
    let ndcg = averages(&runner, "ndcg");
    assert_eq!(ndcg["a without-history 1 1"], 1.0);
    // Another list is another result.
    popular("live", "live-3", &["C"]);
    evaluate(&runner, Evaluate::default()).unwrap();
    assert_eq!(averages(&runner, "recall")["a without-history 1 1"], 0.0);
}

#[test]
fn seeds_of_one_method_are_averaged_user_by_user_and_compared_as_one() {
    let folder = TempDir::new().unwrap();
    let runner = world(folder.path(), 2);
    list(&runner, "a-s1", Some("live"), &[(1, &["A", "B"]), (2, &["C"])]);
    list(&runner, "a-s2", Some("live"), &[(1, &["X", "B"]), (2, &["X"])]);
    list(&runner, "b", Some("live"), &[(1, &["X"]), (2, &["C"]), (3, &["A"])]);
    evaluate(&runner, Evaluate { cuts: vec![1, 2], ..Evaluate::default() }).unwrap();
    assert_eq!(Vec::from_iter(pairs(&runner)), ["a (2 seeds) b"], "single seeds are compared with nothing");
    let mut recall: BTreeMap<(String, i32), f64> = BTreeMap::new();
    for rows in Whole::<Metrics>::open(runner.store(), "metrics").unwrap().parts() {
        for m in rows.unwrap().columns() {
            let m = m.unwrap();
            let of =
                |row: &usize| m.metric.value(*row) == "recall" && m.slice.value(*row) == "all" && m.k.is_valid(*row);
            let recalls = (0..m.value.len()).filter(of);
            recall.extend(recalls.map(|row| ((m.method.value(row).to_owned(), m.k.value(row)), m.value.value(row))));
        }
    }
    // Of four users, the first reads A and B, the second C. Seed 1 has 1/2 and 1 of them at rank 1, seed 2 nothing; at rank 2 seed 2 has B.
    let of = |method: &str| [1, 2].map(|k| recall[&(method.to_owned(), k)]);
    assert_eq!(of("a-s1"), [1.5 / 4.0, 2.0 / 4.0]);
    assert_eq!(of("a-s2"), [0.0, 0.5 / 4.0]);
    assert_eq!(of("a (2 seeds)"), [0.75 / 4.0, 1.25 / 4.0]);
    list(&runner, "a-s2", Some("before"), &[(1, &["X", "B"])]);
    let error = refused(evaluate(&runner, Evaluate::default()));
    assert!(error.to_string().contains("a-s2 of another"), "{error}");
}

#[test]
fn metrics_do_not_depend_on_threads() {
    let made: Vec<Vec<String>> = [1, 4]
        .into_iter()
        .map(|threads| {
            let folder = TempDir::new().unwrap();
            let runner = world(folder.path(), threads);
            list(&runner, "a", None, &[(1, &["A", "X"]), (2, &["X", "C"]), (3, &["Y"])]);
            list(&runner, "b", None, &[(1, &["X", "Y", "B"]), (2, &["C"]), (3, &["A"])]);
            evaluate(&runner, Evaluate { recall_capped: true, mrr_mind: true, ..Evaluate::default() }).unwrap();
            let current = |name| Dataset::new(runner.store(), name).current().unwrap().unwrap().content;
            ["user_metrics", "metrics", "comparisons"].map(current).to_vec()
        })
        .collect();
    assert_eq!(made[0], made[1]);
}

fn refused(result: Result<impl Sized>) -> Error {
    let error = result.err().expect("a refusal");
    assert_eq!(error.exit_code(), 2, "{error}");
    error
}

#[test]
fn settings_without_sense_are_refused() {
    let folder = TempDir::new().unwrap();
    let runner = world(folder.path(), 1);
    assert!(refused(evaluate(&runner, Evaluate::default())).to_string().contains("querent retrieve"));
    list(&runner, "a", None, &[(1, &["A"])]);
    let cuts = |cuts: &[u32]| evaluate(&runner, Evaluate { cuts: cuts.to_vec(), ..Evaluate::default() });
    assert!(refused(cuts(&[])).to_string().contains("evaluate.cuts"));
    refused(cuts(&[0, 5]));
    refused(cuts(&[5, u32::MAX]));
    cuts(&[i32::MAX as u32, 5, 5]).unwrap();
    let summarise = |summarise: Summarise| runner.run(&summarise, &["metrics", "comparisons"]);
    let error = refused(summarise(Summarise { resamples: 0, ..Summarise::default() }));
    assert!(error.to_string().contains("evaluate.resamples: expected 1 to 100000, got 0"), "{error}");
    let error = refused(summarise(Summarise { seed: u64::MAX, ..Summarise::default() }));
    assert!(error.to_string().contains("evaluate.seed"), "{error}");
    refused(summarise(Summarise { resample_up_to: u64::MAX, ..Summarise::default() }));
    summarise(Summarise { seed: i64::MAX as u64, resamples: 1, ..Summarise::default() }).unwrap();
    // A method whose lists are of other users.
    list(&runner, "foreign", None, &[(7, &["A"])]);
    let error = evaluate(&runner, Evaluate::default()).err().unwrap();
    assert!(error.exit_code() == 3 && error.to_string().contains("got none"), "{error}");
}

/// `fixtures/metric_cases.json` has hand-made rankings, and what trec_eval says of them.
#[test]
fn metrics_are_those_of_trec_eval() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/metric_cases.json");
    let told: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let (mut truth, mut lists, mut expected) = (Vec::new(), Vec::new(), Vec::new());
    let object = |value: &Value| value.as_object().unwrap().clone();
    for case in told["cases"].as_array().unwrap() {
        let mut users: BTreeMap<String, u32> = BTreeMap::new();
        let first = 1000 * (expected.len() as u32 + 1);
        let mut number = |user: &str| {
            let next = first + users.len() as u32;
            format!("{:032x}", *users.entry(user.to_owned()).or_insert(next))
        };
        for (user, articles) in object(&case["qrels"]) {
            let mut relevant: Vec<String> =
                object(&articles).into_iter().filter(|(_, r)| r.as_f64() >= Some(1.0)).map(|(id, _)| id).collect();
            relevant.sort();
            truth.push((number(&user), relevant));
        }
        for (user, scores) in object(&case["run"]) {
            let mut scored: Vec<(String, f32)> =
                object(&scores).into_iter().map(|(id, score)| (id, score.as_f64().unwrap() as f32)).collect();
            // As trec_eval: of equal scores the greater id first.
            scored.sort_by(|a, b| b.1.total_cmp(&a.1).then(b.0.cmp(&a.0)));
            lists.push((number(&user), scored.into_iter().map(|(id, _)| id).collect::<Vec<_>>()));
        }
        // Clicks are not graded, so neither is the gain.
        let graded =
            object(&case["qrels"]).values().any(|articles| object(articles).values().any(|r| r.as_f64() > Some(1.0)));
        for (user, mut values) in object(&case["recommended"]["per_user"]).into_iter().map(|(u, v)| (u, object(&v))) {
            values.retain(|metric, _| !graded || !metric.starts_with("ndcg"));
            expected.push((number(&user), values));
        }
    }
    truth.sort();
    lists.sort();
    let folder = TempDir::new().unwrap();
    let runner = runner(folder.path(), 2);
    runner.run(&People { users: Vec::new() }, &["profiles"]).unwrap();
    runner.run(&Clicked { users: truth }, &["truth"]).unwrap();
    runner.run(&Listed { method: "a".into(), pool: None, users: lists }, &["recommendations.a"]).unwrap();
    evaluate(&runner, Evaluate::default()).unwrap();
    let mut found: BTreeMap<(String, String), f64> = BTreeMap::new();
    for rows in Whole::<UserMetrics>::open(runner.store(), "user_metrics").unwrap().parts() {
        for columns in rows.unwrap().columns() {
            let columns = columns.unwrap();
            for row in 0..columns.value.len() {
                let metric = columns.metric.value(row).replace("rr", "mrr");
                let metric =
                    if columns.k.is_valid(row) { format!("{metric}@{}", columns.k.value(row)) } else { metric };
                found.insert((columns.user_id.value(row).to_owned(), metric), columns.value.value(row));
            }
        }
    }
    let mut compared = 0;
    for (user, values) in expected {
        for (metric, value) in values {
            if let Some(found) = found.get(&(user.clone(), metric.clone())) {
                assert!(
                    (found - value.as_f64().unwrap()).abs() < 1e-9,
                    "{user} {metric}: expected {value}, got {found}"
                );
                compared += 1;
            }
        }
    }
    assert!(compared > 100, "{compared} values");
}
