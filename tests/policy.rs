//! The policy end to end: lists for users by a real model, the same whatever the cut, from every form of the model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use arrow::array::{AsArray, Float32Array};
use arrow::datatypes::Int32Type;
use policy::checkpoint::{self, Moments, State};
use tempfile::TempDir;

use crate::support::{at_rest, batches, by_version, config, contents, datasets, fail, pipeline, querent, succeed};

const MODEL: &str = "models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";

/// A tiny world's profiles.
fn world(folder: &TempDir) -> PathBuf {
    let root = folder.path().join("data");
    succeed(&mut pipeline(&config(&root, 24, 5)));
    root
}

fn generate(root: &Path) -> Command {
    assert!(Path::new(MODEL).exists(), "this test needs the model: run `make setup`");
    let mut command = querent();
    // Few tokens: what is tested does not depend on how many.
    command.args(["generate", "--quiet"]).arg("--data").arg(root);
    for few in ["budget_tokens=64", "queries=3", "max_new_tokens=40", "share=0.2"] {
        command.arg("--set").arg(format!("generate.{few}"));
    }
    command
}

/// Queries, structure and policy by user and candidate.
fn lists(root: &Path) -> BTreeMap<(String, i32), (Vec<String>, f32, String)> {
    let mut lists = BTreeMap::new();
    for batch in batches(root, "interests") {
        let text = |name: &str| batch.column_by_name(name).expect(name).as_string::<i32>().clone();
        let (users, policies) = (text("user_id"), text("policy"));
        let candidates = batch.column_by_name("candidate").expect("a column").as_primitive::<Int32Type>().clone();
        let queries = batch.column_by_name("queries").expect("a column").as_list::<i32>().clone();
        let structure: Float32Array = batch.column_by_name("structure").expect("a column").as_primitive().clone();
        for row in 0..batch.num_rows() {
            let list = queries.value(row).as_string::<i32>().iter().flatten().map(str::to_owned).collect();
            let key = (users.value(row).to_owned(), candidates.value(row));
            lists.insert(key, (list, structure.value(row), policies.value(row).to_owned()));
        }
    }
    lists
}

/// Sample and reward of every list, by user and candidate.
fn rewards(root: &Path) -> Vec<(i32, f32)> {
    let mut rows = Vec::new();
    for batch in batches(root, "interests") {
        let samples = batch.column_by_name("sample").expect("a column").as_primitive::<Int32Type>().clone();
        let rewards: Float32Array = batch.column_by_name("reward").expect("a column").as_primitive().clone();
        rows.extend(samples.values().iter().copied().zip(rewards.values().iter().copied()));
    }
    rows
}

#[test]
fn a_model_writes_lists_that_depend_on_nothing_but_user_and_seed() {
    let folder = TempDir::new().expect("a folder");
    let root = world(&folder);
    let said = succeed(generate(&root).args(["--threads", "1"]));
    assert!(said.contains("lists keep the form (100.0%)"), "{said}");
    at_rest(&root);
    let first = lists(&root);
    assert!(first.len() >= 3, "{said}");
    for (queries, structure, policy) in first.values() {
        assert_eq!((queries.len(), *structure, policy.as_str()), (3, 1.0, "SmolLM2-135M-Instruct.Q4_1.gguf"));
    }
    let account = datasets(&root)["interests"].account.clone();
    assert_eq!(account.output, first.len() as u64);
    assert_eq!(account.input, account.output + account.dropped.values().sum::<u64>());
    assert!(succeed(&mut generate(&root)).contains("up to date"));

    // Other threads, in shards: the same bytes.
    let content = contents(&root)["interests"].clone();
    std::fs::remove_dir_all(root.join("interests")).expect("there");
    for shard in ["0/2", "1/2"] {
        succeed(generate(&root).args(["--threads", "2", "--shard", shard]));
    }
    succeed(querent().args(["commit", "interests", "--data"]).arg(&root));
    assert_eq!(contents(&root)["interests"], content);

    // Another seed, other lists.
    succeed(generate(&root).args(["--seed", "2"]));
    let second = lists(&root);
    assert_eq!(second.len(), first.len());
    assert!(first.iter().any(|(key, (queries, ..))| second[key].0 != *queries));

    // Of several the best is chosen, for which rewards must be there, and that is found out before anything is written.
    let said = fail(generate(&root).args(["--seed", "2", "--samples", "3"]), 2);
    assert!(said.contains("news_vectors") && !root.join("samples").exists(), "{said}");
    succeed(querent().args(["embed", "--fields", "title", "--quiet", "--data"]).arg(&root));
    let said = succeed(generate(&root).args(["--seed", "2", "--samples", "3"]));
    assert!(said.contains("generate best of 3") && said.contains("lists keep the form (100.0%)"), "{said}");
    at_rest(&root);
    let chosen = lists(&root);
    assert_eq!(chosen.len(), first.len());
    // Other rewards choose among the same lists, and keep them all.
    let written = contents(&root)["samples"].clone();
    succeed(generate(&root).args(["--seed", "2", "--samples", "3", "--keep-all", "--normalise", "raw"]));
    assert_eq!(contents(&root)["samples"], written, "none is written again");
    let kept = rewards(&root);
    assert_eq!(kept.len(), 3 * first.len());
    for lists in kept.chunks(3) {
        assert!(lists[0].1 >= lists[1].1 && lists[1].1 >= lists[2].1 && lists[2].1 > 0.0, "{lists:?}");
        let mut samples: Vec<i32> = lists.iter().map(|(sample, _)| *sample).collect();
        samples.sort_unstable();
        assert_eq!(samples, [0, 1, 2]);
    }

    // The lists fetch news: of the first of them, what one alone would.
    let retrieve = |step: &str, best_of: &[&str]| {
        let mut command = querent();
        command.args([step, "--articles", "5", "--quiet"]).args(best_of).arg("--data").arg(&root);
        command
    };
    succeed(&mut retrieve("retrieve@best1", &["--best-of", "1"]));
    let said = fail(&mut retrieve("retrieve@best4", &["--best-of", "4"]), 2);
    assert!(said.contains("retrieve.best_of") && said.contains("--keep-all"), "{said}");
    succeed(generate(&root).args(["--seed", "2"]));
    succeed(&mut retrieve("retrieve@alone", &[]));
    let news = |step: &str| {
        let batches = batches(&root, &format!("recommendations.interests.{step}"));
        let column = |name: &str| -> Vec<String> {
            let texts =
                |batch: &arrow::array::RecordBatch| batch.column_by_name(name).expect(name).as_string::<i32>().clone();
            batches
                .iter()
                .flat_map(|batch| texts(batch).iter().flatten().map(str::to_owned).collect::<Vec<_>>())
                .collect()
        };
        (column("user_id"), column("news_id"))
    };
    assert_eq!(news("best1"), news("alone"));
    succeed(querent().args(["retrieve", "--articles", "10", "--quiet", "--data"]).arg(&root));
    succeed(querent().args(["evaluate", "--among", "interests", "--resamples", "50", "--quiet", "--data"]).arg(&root));
    let account = datasets(&root)["user_metrics"].account.clone();
    assert!(account.output > 0 && account.output <= first.len() as u64, "{account:?}");
    // Others make lists for the same users only, if they are told so; theirs are what they are among all.
    let own_titles = |among: &str| {
        let among = ["retrieve", "--methods", "own-titles,random", "--articles", "10", "--among", among, "--quiet"];
        succeed(querent().args(among).arg("--data").arg(&root));
        let account = datasets(&root)["recommendations.random"].account.clone();
        (account, by_version(&root, "recommendations.own-titles"))
    };
    let (account, lists) = own_titles("all");
    assert!(account.output > first.len() as u64 && !account.dropped.contains_key("not in interests"), "{account:?}");
    let (account, fewer) = own_titles("interests");
    assert_eq!(account.output, first.len() as u64, "{account:?}");
    assert_eq!(account.dropped["not in interests"], account.input - account.output);
    assert!(!fewer.is_empty() && fewer.len() < lists.len() && fewer.iter().all(|row| lists.contains(row)));
}

#[test]
fn every_form_of_a_model_writes_the_same() {
    let folder = TempDir::new().expect("a folder");
    let root = world(&folder);
    succeed(&mut generate(&root));
    let queries = |root: &Path| lists(root).into_iter().map(|(key, (queries, ..))| (key, queries)).collect::<Vec<_>>();
    let expected = queries(&root);

    let exported = folder.path().join("exported");
    succeed(querent().arg("export").arg(MODEL).arg(&exported));
    assert!(succeed(querent().arg("export").arg(MODEL).arg(&exported)).contains("up to date"));
    let said = fail(querent().arg("export").arg(MODEL).arg("models/minilm"), 2);
    assert!(said.contains("somebody else's") && said.contains("hint: "), "{said}");
    succeed(generate(&root).arg("--policy").arg(&exported));
    assert_eq!(queries(&root), expected);

    let store = dataset::Store::open(&root.display().to_string()).expect("a folder");
    let model = policy::Model::open(Path::new(MODEL)).expect("the model that `make setup` fetched");
    checkpoint::save(&store, "student", &model, &State { step: 3, ..State::default() }, &Moments::new())
        .expect("writable");
    drop(model);
    let step = root.join("student/step=000003");
    let said = succeed(generate(&root).args(["--constrained", "true", "--policy"]).arg(&step));
    assert_eq!(queries(&root), expected, "{said}");
    assert!(lists(&root).values().all(|(.., policy)| policy == "student/step=000003"));
    let out = folder.path().join("from-checkpoint");
    succeed(querent().arg("export").arg(&step).arg(&out));
    let weights = |folder: &Path| std::fs::read(folder.join("model.safetensors")).expect("written");
    assert!(weights(&out) == weights(&exported), "the same weights by either way");
}

#[test]
fn what_cannot_work_is_one_clear_error() {
    let folder = TempDir::new().expect("a folder");
    let root = world(&folder);
    let template = folder.path().join("prompt.toml");
    std::fs::write(&template, "system = 1\n").expect("writable");
    let template = template.display().to_string();
    for (arguments, code, expected) in [
        (vec!["--policy", "models/none"], 3, "models/none: no such folder"),
        (vec!["--policy", "models/minilm"], 3, "model_type: expected llama or qwen2, got bert"),
        (vec!["--budget-tokens", "9000"], 2, "the model's context"),
        (vec!["--queries", "11"], 2, "generate.queries"),
        (vec!["--samples", "0"], 2, "generate.samples"),
        (vec!["--temperature=-1"], 2, "temperature"),
        (vec!["--prompt", &template], 2, "prompt: "),
        (vec!["--set", "generate.sampels=3"], 2, "did you mean \"samples\"?"),
    ] {
        let said = fail(generate(&root).args(&arguments), code);
        assert!(said.contains(expected) && said.contains("hint: "), "{arguments:?}: {said}");
        assert!(!root.join("interests/_delta_log").exists(), "{arguments:?}");
    }
}
