//! Training end to end: a tiny policy is made, trained by its rewards, and asked; a killed run ends with the same bytes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, AsArray, Float32Array};
use arrow::datatypes::{Float32Type, Float64Type, Int32Type, Int64Type};
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{batches, config, fail, http_server, pipeline, querent, succeed};

/// A tiny world with vectors.
fn world(folder: &TempDir) -> PathBuf {
    let root = folder.path().join("data");
    succeed(&mut pipeline(&config(&root, 90, 5)));
    succeed(querent().args(["embed", "--fields", "title", "--quiet", "--data"]).arg(&root));
    root
}

fn job(root: &Path, job: &str, output: &Path) -> Command {
    let mut command = querent();
    command.args([job, "--quiet", "--data"]).arg(root).arg("--output").arg(output);
    command.args(["--queries", "3", "--budget-tokens", "64", "--valid-users", "3"]);
    command
}

fn sft(root: &Path, output: &Path, steps: u32) -> Command {
    scratch(root, output, steps, ["2", "64", "600"])
}

/// A policy from scratch, of so many layers, such a width, and so many tokens.
fn scratch(root: &Path, output: &Path, steps: u32, [layers, width, vocabulary]: [&str; 3]) -> Command {
    let mut command = job(root, "sft", output);
    command.args(["--init", "scratch", "--layers", layers, "--width", width, "--heads", "2"]);
    command.args(["--vocabulary", vocabulary]);
    command.args(["--users", "6", "--learning-rate", "0.01", "--steps", &steps.to_string()]);
    command.args(["--look-every", if steps > 10 { "40" } else { "2" }]);
    command
}

fn grpo(root: &Path, output: &Path, policy: &Path) -> Command {
    let mut command = job(root, "grpo", output);
    command.arg("--policy").arg(policy).args(["--steps", "5", "--users", "3", "--group", "4", "--look-every", "2"]);
    command.args(["--max-new-tokens", "40", "--learning-rate", "0.003", "--lora-rank", "4"]);
    command
}

/// A smaller policy with the teacher's vocabulary.
fn student(root: &Path, output: &Path, teacher: &Path) -> Command {
    let mut command = scratch(root, output, 6, ["1", "32", "600"]);
    command.arg("--vocabulary-of").arg(teacher);
    command
}

fn distill(root: &Path, output: &Path, student: &Path, teacher: &Path) -> Command {
    let mut command = job(root, "distill", output);
    command.arg("--policy").arg(student).arg("--teacher").arg(teacher);
    command.args(["--steps", "6", "--users", "3", "--samples", "2", "--look-every", "2", "--lora-rank", "0"]);
    command.args(["--max-new-tokens", "24", "--learning-rate", "0.003"]);
    command
}

/// Tokens that a policy's tokenizer has.
fn vocabulary(policy: &Path) -> u64 {
    let folder = policy.with_extension("exported");
    succeed(querent().arg("export").arg(policy).arg(&folder).arg("--quiet"));
    let tokenizer = std::fs::read(folder.join("tokenizer.json")).expect("exported");
    let tokenizer: Value = serde_json::from_slice(&tokenizer).expect("JSON");
    tokenizer["model"]["vocab"].as_object().expect("tokens").values().filter_map(Value::as_u64).max().expect("some") + 1
}

/// The rows of the Parquet files in a folder.
fn rows(folder: &Path) -> Vec<RecordBatch> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    let read = |path: &PathBuf| {
        let file = std::fs::File::open(path).expect("readable");
        ParquetRecordBatchReaderBuilder::try_new(file).and_then(|reader| reader.build()).expect("Parquet")
    };
    files.iter().flat_map(read).map(|batch| batch.expect("rows")).collect()
}

/// Figures by step and name, without times.
fn figures(policy: &Path) -> BTreeMap<(i64, String), f64> {
    let mut figures = BTreeMap::new();
    for batch in rows(&policy.join("train_log")) {
        let steps = batch.column(0).as_primitive::<Int64Type>();
        let (names, values) = (batch.column(1).as_string::<i32>(), batch.column(2).as_primitive::<Float64Type>());
        for row in (0..batch.num_rows()).filter(|&row| !names.value(row).starts_with("seconds.")) {
            assert!(figures.insert((steps.value(row), names.value(row).to_owned()), values.value(row)).is_none());
        }
    }
    figures
}

/// The files that make a policy, and its rollouts.
fn content(policy: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut content = BTreeMap::new();
    for folder in [policy.to_owned(), policy.join("rollouts")] {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "parquet") {
                content.insert(
                    path.strip_prefix(policy).expect("below").display().to_string(),
                    std::fs::read(&path).expect("readable"),
                );
            }
        }
    }
    content
}

#[test]
fn a_policy_is_made_trained_and_asked_and_a_killed_run_ends_the_same() {
    let folder = TempDir::new().expect("a folder");
    let root = world(&folder);
    let at = |name: &str| folder.path().join(name);

    succeed(&mut sft(&root, &at("warm"), 80));
    let learnt = figures(&at("warm"));
    // As much as it takes to write something like a list.
    assert!(learnt[&(80, "loss".to_owned())] < learnt[&(1, "loss".to_owned())] - 1.0, "{learnt:?}");
    assert!(succeed(&mut sft(&root, &at("warm"), 80)).contains("up to date"));
    succeed(&mut sft(&root, &at("sft"), 6));

    // The base of the adapters is told by its place, so both runs start from one.
    succeed(&mut grpo(&root, &at("grpo"), &at("warm")));
    let (expected, log) = (content(&at("grpo")), figures(&at("grpo")));
    assert_eq!(expected.len(), 2 + 4, "weights, state, rollouts of 0, 2, 4 and 5: {:?}", expected.keys());
    let updates = (1..=5).filter(|step| log.contains_key(&(*step, "gradient_norm".to_owned()))).count();
    assert!(updates >= 3, "{updates} of 5 steps had something to learn: {log:?}");
    for step in 1..=5 {
        for figure in ["reward.mean", "kl", "entropy", "gradient_norm", "align.mean", "structure.share_of_variance"] {
            let found = log.get(&(step, figure.to_owned()));
            // A step all of whose groups are without spread makes no update.
            assert!(
                found.is_some_and(|x| x.is_finite()) || log[&(step, "groups.without_spread".into())] == 1.0,
                "{step} {figure}"
            );
        }
        if let Some(ratio) = log.get(&(step, "ratio.most".to_owned())) {
            // One update a rollout: the trainer's probabilities are the sampler's, to the bit.
            assert_eq!((*ratio, log[&(step, "ratio.least".to_owned())]), (1.0, 1.0));
        }
    }
    for step in [0, 2, 4, 5] {
        assert!(log.contains_key(&(step, "valid.reward.mean".to_owned())), "{step}");
    }

    succeed(&mut student(&root, &at("student"), &at("warm")));
    succeed(&mut distill(&root, &at("distill"), &at("student"), &at("grpo")));
    let log = figures(&at("distill"));
    let distance = |step: i64| log[&(step, "valid.reverse".to_owned())];
    assert!(distance(6) < distance(0), "{} and {}", distance(0), distance(6));
    assert!(log[&(6, "forward".to_owned())] > 0.0 && log[&(6, "overlap".to_owned())] <= 1.0);

    for (job, killed_at) in [
        ("sft", ["updated:3", "figures:2", "put-error:3", "chosen:1"]),
        ("grpo", ["updated:3", "figures:2", "put-error:6", "chosen:1"]),
        ("distill", ["updated:3", "figures:2", "put-error:6", "chosen:1"]),
    ] {
        for fault in killed_at {
            let output = at("killed");
            let mut command = match job {
                "sft" => sft(&root, &output, 6),
                "grpo" => grpo(&root, &output, &at("warm")),
                _ => distill(&root, &output, &at("student"), &at("grpo")),
            };
            let first = command.env("QUERENT_FAULT", fault).output().expect("the binary starts");
            assert!(!first.status.success(), "{job}, {fault}");
            assert!(!output.exists(), "{job}, {fault}: nothing is there before it is whole");
            // What its checkpoints cover can be looked at.
            let said = succeed(querent().arg("inspect").arg(&output));
            let stands = ["not ended", "before its first checkpoint", "ended after"];
            assert!(stands.iter().any(|stands| said.contains(stands)), "{job}, {fault}: {said}");
            assert_eq!(said.contains("ended after"), fault == "chosen:1", "{job}, {fault}: {said}");
            succeed(command.env_remove("QUERENT_FAULT"));
            let undisturbed = at(job);
            let (got, expected) = (content(&output), content(&undisturbed));
            let differ: Vec<&String> = expected.keys().filter(|file| got.get(*file) != expected.get(*file)).collect();
            assert!(differ.is_empty() && got.len() == expected.len(), "{job}, {fault}: other bytes in {differ:?}");
            assert_eq!(figures(&output), figures(&undisturbed), "{job}, {fault}");
            assert!(!folder.path().join("killed.unfinished").exists(), "{job}, {fault}");
            std::fs::remove_dir_all(&output).expect("there");
        }
    }

    // Looks count for the patience, not the times that a run was begun: killed before its second look, it goes on to that.
    let mut patient = grpo(&root, &at("patient"), &at("warm"));
    patient.args(["--patience", "1"]);
    assert!(!patient.env("QUERENT_FAULT", "figures:2").status().expect("the binary starts").success());
    succeed(patient.env_remove("QUERENT_FAULT"));
    assert!(figures(&at("patient")).contains_key(&(2, "tokens".to_owned())), "two steps, and a look at what they did");

    // A policy is asked as it was in training, by all who ask it.
    let lists = |set: &[&str]| {
        let mut generate = querent();
        generate.args(["generate", "--quiet", "--share", "0", "--data"]).arg(&root).arg("--policy").arg(at("grpo"));
        generate.args(set);
        succeed(&mut generate)
    };
    assert!(!lists(&[]).contains("up to date"));
    assert!(lists(&["--queries", "3", "--budget-tokens", "64", "--max-new-tokens", "40"]).contains("up to date"));
    assert!(!lists(&["--budget-tokens", "65"]).contains("up to date"));

    // A teacher behind a server says how likely it finds each token: here all the same. It is busy now and then.
    let calls = AtomicUsize::new(0);
    let vocabulary = vocabulary(&at("student"));
    let busy = move |request: &Value| {
        if calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(5) {
            return Some(("503 Busy".into(), String::new()));
        }
        let Some(tokens) = request["prompt"].as_array() else { return Some(("200 OK".into(), "{}".into())) };
        assert!(tokens.iter().all(|token| token.as_u64() < Some(vocabulary)), "vLLM refuses others");
        let likely = |token: &Value| json!({token.to_string(): {"logprob": -1.5}});
        let all: Vec<Value> =
            tokens.iter().enumerate().map(|(at, token)| if at == 0 { Value::Null } else { likely(token) }).collect();
        Some(("200 OK".into(), json!({"choices": [{"prompt_logprobs": all}]}).to_string()))
    };
    let served = |output: &str, address: &str, divergence: &str| {
        let mut command = distill(&root, &at(output), &at("student"), &at("nowhere"));
        command.args(["--teacher-endpoint", address, "--teacher-model", "large", "--divergence", divergence]);
        command
    };
    let address = http_server(busy);
    succeed(&mut served("served", &address, "sampled"));
    for batch in rows(&at("served").join("rollouts")) {
        let said = batch.column_by_name("reference").expect("there").as_list::<i32>().clone();
        let said = said.values().as_primitive::<Float32Type>().values();
        // What stands for no token, and what follows it, the server is not asked about.
        let asked = said.iter().filter(|said| **said == -1.5).count();
        let none = said.iter().filter(|said| **said == f32::NEG_INFINITY).count();
        assert!(asked + none == said.len() && asked > 0, "{said:?}");
    }
    let log = figures(&at("served"));
    assert!(log[&(6, "valid.reverse".to_owned())].is_finite() && !log.contains_key(&(6, "overlap".to_owned())));
    let mut killed = served("killed", &address, "sampled");
    assert!(!killed.env("QUERENT_FAULT", "updated:3").status().expect("the binary starts").success());
    succeed(killed.env_remove("QUERENT_FAULT"));
    assert_eq!(content(&at("killed")), content(&at("served")));
    let said = fail(&mut served("other", &address, "reverse"), 2);
    assert!(said.contains("distill.divergence: expected sampled"), "{said}");
    let said = fail(served("other", &address, "sampled").args(["--teacher-wire", "sglang"]), 2);
    assert!(said.contains("distill.teacher_endpoint") && !at("other").exists(), "{said}");

    // Other tokens are no teacher's.
    succeed(&mut scratch(&root, &at("stranger"), 2, ["1", "32", "512"]));
    let said = fail(&mut distill(&root, &at("other"), &at("student"), &at("stranger")), 2);
    assert!(said.contains("the student's tokens") && said.contains("of one family"), "{said}");

    // Groups are whole; what took part sums to no advantage.
    let mut groups: BTreeMap<(i64, String), Vec<Option<f32>>> = BTreeMap::new();
    for batch in rows(&at("grpo").join("rollouts")) {
        let column = |name: &str| batch.column_by_name(name).expect(name).clone();
        let (steps, users) = (column("step"), column("user_id"));
        let (samples, advantages) = (column("sample"), column("advantage"));
        let advantages: &Float32Array = advantages.as_primitive::<Float32Type>();
        for row in 0..batch.num_rows() {
            let user = users.as_string::<i32>().value(row).to_owned();
            let group = groups.entry((steps.as_primitive::<Int64Type>().value(row), user)).or_default();
            assert_eq!(samples.as_primitive::<Int32Type>().value(row) as usize, group.len());
            group.push(advantages.is_valid(row).then(|| advantages.value(row)));
        }
    }
    assert_eq!(groups.len(), 15);
    for (at, group) in &groups {
        assert_eq!(group.len(), 4);
        assert!(group.iter().flatten().sum::<f32>().abs() < 1e-4, "{at:?}: {group:?}");
    }

    let mut generate = querent();
    generate
        .args(["generate", "--quiet", "--queries", "3", "--budget-tokens", "64", "--share", "0.3", "--data"])
        .arg(&root);
    succeed(generate.arg("--policy").arg(at("grpo")));
    assert!(!batches(&root, "interests").is_empty());

    measured(&root, [&at("grpo"), &at("distill")]);
    looked_at(&root, &at("grpo"), &at("sft"));

    let wrong = |job: &str, setting: &str| {
        let mut command = querent();
        command.args([job, "--quiet", "--init", "scratch"].iter().take(if job == "sft" { 4 } else { 2 }));
        command.arg("--set").arg(setting).arg("--data").arg(&root).arg("--output").arg(at("other"));
        fail(command.arg("--policy").arg(at("warm")), 2)
    };
    let said = wrong("grpo", "grpo.group=1");
    assert!(said.contains("grpo.group: expected 2 to 1024, got 1"), "{said}");
    let said = wrong("sft", "sft.width=33");
    assert!(said.contains("sft.width: expected a multiple of twice the heads"), "{said}");
}

/// How fast a teacher and its student write, in turns.
fn measured(root: &Path, [teacher, student]: [&Path; 2]) {
    let throughput = |more: &[&str]| {
        let mut command = querent();
        command.args(["throughput", "--quiet", "--queries", "3", "--budget-tokens", "64", "--turns", "2"]).args(more);
        command.arg("--data").arg(root);
        command
    };
    let policies = format!("{},{}", teacher.display(), student.display());
    let users = ["--users", "4", "--policies", policies.as_str()];
    let said = succeed(&mut throughput(&users));
    assert!(said.contains("times the first") && said.contains("1.00"), "{said}");
    let [batch] = batches(root, "throughput").try_into().expect("one batch");
    let whole = |name: &str| batch.column_by_name(name).expect(name).as_primitive::<Int64Type>().values().to_vec();
    assert_eq!(whole("users"), [4; 4]);
    let (parameters, read, written) = (whole("parameters"), whole("prompt_tokens"), whole("sampled_tokens"));
    assert!(parameters[0] == parameters[1] && parameters[1] > parameters[2], "{parameters:?}");
    assert!(
        read[0] == read[1] && written[0] == written[1] && written[0] > 0,
        "a turn is as another: {read:?} {written:?}"
    );
    let seconds = batch.column_by_name("seconds").expect("a column").as_primitive::<Float64Type>();
    assert!(seconds.values().iter().all(|seconds| *seconds > 0.0));
    assert!(succeed(&mut throughput(&users)).contains("up to date"));
    let said = fail(&mut throughput(&["--users", "4"]), 2);
    assert!(said.contains("throughput.policies: expected at least one policy, got none"), "{said}");
    let said = fail(&mut throughput(&["--policies", policies.as_str(), "--users", "0"]), 2);
    assert!(said.contains("throughput.users: expected at least 1, got 0"), "{said}");
}

/// A run's figures are shown, its lists only when asked for; the report has both.
fn looked_at(root: &Path, grpo: &Path, sft: &Path) {
    let inspect = |folder: &Path| {
        let mut command = querent();
        command.arg("inspect").arg(folder);
        command
    };
    let said = succeed(&mut inspect(grpo));
    for shown in ["grpo, ended after 5 steps", "reward.mean by step", "valid: first", "align.mean", "tokens/s"] {
        assert!(said.contains(shown), "{shown}: {said}");
    }
    let said = succeed(&mut inspect(sft));
    assert!(said.contains("sft, ended after 6 steps") && said.contains("loss by step"), "{said}");
    let lists = succeed(inspect(grpo).args(["--lists", "2"]));
    assert!(lists.contains("best lists of step 5") && lists.contains("worst lists of step 5"), "{lists}");
    assert_eq!(lists.matches("  reward ").count(), 4, "{lists}");
    assert!(succeed(inspect(grpo).args(["--lists", "1", "--step", "2"])).contains("worst lists of step 2"));
    assert!(fail(inspect(grpo).args(["--lists", "1", "--step", "9"]), 2).contains("got step 9"));
    assert!(fail(inspect(sft).args(["--lists", "1"]), 2).contains("runs of grpo have lists"));
    assert!(fail(inspect(grpo).arg("--files"), 2).contains("expected a dataset"));

    // Under the root it has a name.
    std::fs::rename(grpo, root.join("policy.grpo")).expect("one disk");
    assert!(succeed(querent().args(["inspect", "policy.grpo", "--data"]).arg(root)).contains("ended after 5 steps"));
    assert!(succeed(querent().args(["inspect", "--data"]).arg(root)).contains("policy.grpo: a training run"));
    succeed(querent().args(["report", "--quiet", "--data"]).arg(root));
    let page = std::fs::read_to_string(root.join("report.html")).expect("written");
    for shown in
        ["How fast lists are written", "<h3>policy.grpo</h3>", "<figcaption>Reward", "<polygon", "lists of step 5"]
    {
        assert!(page.contains(shown), "{shown}");
    }
    let said = succeed(querent().args(["report", "--quiet", "--lists", "0", "--data"]).arg(root));
    let page = std::fs::read_to_string(root.join("report.html")).expect("written");
    assert!(page.contains("<h3>policy.grpo</h3>") && !page.contains("lists of step 5"), "{said}");
}
