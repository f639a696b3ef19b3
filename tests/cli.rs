//! The command line: exit codes, messages, and the jobs' flags.

use std::path::Path;

use tempfile::TempDir;

use crate::support::{at_rest, config, contents, datasets, fail, files, pipeline, querent, succeed, text, world};

fn job(name: &str, config: &Path) -> std::process::Command {
    let mut command = querent();
    command.args([name, "--quiet", "--config"]).arg(config);
    command
}

#[test]
fn a_pipeline_ends_with_a_table_and_the_next_one_is_up_to_date() {
    let (_folder, root, config) = world();
    let said = succeed(&mut pipeline(&config));
    assert!(said.lines().filter(|line| line.ends_with("up to date")).count() >= 8, "{said}");
    assert!(said.contains("Avg. news clicks per user"), "{said}");
    at_rest(&root);
    assert!(succeed(job("cap", &config).arg("--dry-run")).contains("cap: up to date"));
    let said = succeed(job("cap", &config).args(["--dry-run", "--events-per-domain", "7"]));
    assert!(said.contains("cap: would run: events_per_domain 50 → 7"), "{said}");
    let said = succeed(job("cap", &config).args(["--dry-run", "--set", "cap.events_per_domain=9"]));
    assert!(said.contains("50 → 9"), "{said}");
}

#[test]
fn a_dry_run_writes_nothing() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("data");
    let config = config(&root, 24, 1);
    let said = succeed(pipeline(&config).arg("--dry-run"));
    assert!(said.contains("simulate: would run: there is none yet"), "{said}");
    assert!(files(&root).is_empty());
}

#[test]
fn wrong_usage_is_exit_code_2_and_says_what_is_right() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().display().to_string();
    let with_root = |arguments: &[&str]| {
        let mut command = querent();
        command.args(arguments).args(["--data", &root]);
        command
    };
    for (arguments, expected) in [
        (&["cap", "--thread", "2"][..], "--threads"),
        (&["cap"], "run the job that writes it"),
        (&["cap", "--set", "cap.events_per_doman=3"], "did you mean \"events_per_domain\"?"),
        (&["cap", "--set", "cup.events_per_domain=3"], "did you mean \"cap\"?"),
        (&["cap", "--set", "cap.events_per_domain=many"], "[cap] events_per_domain: expected u32, got string \"many\""),
        (&["cap", "--max-bad-ratio", "nan"], "expected a share from 0 to 1"),
        (&["cap", "--threads", "0"], "--threads"),
        (&["gc", "--older-than-hours", "nan"], "0 or more"),
        (&["gc", "--older-than-hours=-5"], "0 or more"),
        (&["cap@short"], "expected a job whose steps may have names"),
        (&["retrieve", "--set", "retrieve.method=random"], "did you mean \"methods\"?"),
        (&["cap", "--memory-limit", "2 parsecs"], "for example 2GiB"),
        (&["cap", "--shard", "4/4"], "--shard: expected i/N"),
        (&["cap", "--config", "nowhere.toml"], "nowhere.toml"),
        (&["ingest"], "--mind FOLDER"),
        (&["ingest", "--cut-off", "tomorrow", "--mind", "x"], "--cut-off"),
        (&["ingest", "--set", "ingest.cut_off=tomorrow", "--mind", "x"], "2025-12-01T00:00:00Z"),
        (&["simulate", "--users", "0"], "simulate.users: expected 1 to"),
        (&["cap", "--events-per-domain", "0"], "cap.events_per_domain: expected at least 1"),
        (&["run", "jobs/configs/demo.toml", "--config", "x.toml"], "unexpected argument"),
        (&["inspect", "profiles"], "no such dataset"),
        (&["commit", "profiles"], "run the shards first"),
    ] {
        let message = fail(&mut with_root(arguments), 2);
        assert!(message.contains(expected), "{arguments:?}: {message}");
        assert!(message.starts_with("error: ") && message.lines().count() <= 12, "{message}");
    }
    let message = fail(with_root(&["simulate"]).env_remove("QUERENT_USER_KEY"), 2);
    assert!(message.contains("QUERENT_USER_KEY") && message.contains("--insecure-dev-key"), "{message}");
    let message = fail(with_root(&["simulate"]).env("QUERENT_USER_KEY", "short"), 2);
    assert!(message.contains("openssl rand") && !message.contains("\"short\""), "{message}");
    let message = fail(querent().args(["schema", "event"]), 2);
    assert!(message.contains("clean_events"), "{message}");
}

#[test]
fn broken_data_is_exit_code_3() {
    let (_folder, root, config) = world();
    let message = fail(job("ingest", &config).env("QUERENT_USER_KEY", "9f86d081884c7d659a2feaa0c55ad015"), 3);
    assert!(message.contains("another key's"), "{message}");

    let part = files(&root.join("clean_events")).into_iter().find(|p| p.extension().is_some_and(|e| e == "parquet"));
    let part = part.expect("a part");
    let bytes = std::fs::read(&part).expect("readable");
    let changed = ["--set", "cap.events_per_domain=3"];
    std::fs::write(&part, &bytes[..bytes.len() - 1]).expect("writable");
    let message = fail(job("cap", &config).args(changed), 3);
    assert!(message.contains(&part.file_name().expect("named").to_string_lossy().into_owned()), "{message}");
    assert!(fail(querent().args(["inspect", "clean_events", "--verify", "--data"]).arg(&root), 3).contains("expected"));
    std::fs::write(&part, &bytes).expect("writable");

    let entry = root.join("clean_events/_delta_log/00000000000000000000.json");
    let json = std::fs::read_to_string(&entry).expect("readable");
    for (from, to, expected) in [
        ("\"table\":\"clean_events\"", "\"table\":\"events\"", "content and the rest of it do not agree"),
        ("\"format\":2", "\"format\":3", "upgrade"),
    ] {
        std::fs::write(&entry, json.replace(from, to)).expect("writable");
        let message = fail(job("cap", &config).args(changed), 3);
        assert!(message.contains(expected), "{message}");
    }
    std::fs::write(&entry, json).expect("writable");
    succeed(job("cap", &config).args(changed));
    at_rest(&root);
}

#[test]
fn shards_and_commit_make_the_same_profiles() {
    let (_folder, root, config) = world();
    let whole = contents(&root);
    std::fs::remove_dir_all(root.join("profiles")).expect("removable");
    succeed(job("cap", &config).args(["--shard", "0/3"]));
    succeed(job("cap", &config).args(["--shard", "2/3"]));
    let message = fail(querent().args(["commit", "profiles", "--data"]).arg(&root), 1);
    assert!(message.contains("3 of 4 partitions"), "{message}");
    succeed(job("cap", &config).args(["--shard", "1/3"]));
    assert!(!datasets(&root).contains_key("profiles"));
    succeed(querent().args(["commit", "profiles", "--data"]).arg(&root));
    succeed(querent().args(["commit", "profiles", "--data"]).arg(&root));
    assert_eq!(contents(&root), whole);
    at_rest(&root);
}

#[test]
fn inspect_and_schema_show_what_is_there() {
    let (_folder, root, _) = world();
    let inspect = |arguments: &[&str]| succeed(querent().arg("inspect").args(arguments).arg("--data").arg(&root));
    assert!(inspect(&[]).contains("true_labels"));
    let described = inspect(&["clean_events"]);
    assert!(described.contains("events in") && described.contains("from text_scores version 0"), "{described}");
    let described = inspect(&["text_scores"]);
    assert!(described.contains("with model classifier/model.int8.onnx"), "{described}");
    assert_eq!(inspect(&["profiles", "--files"]).lines().count(), 4);
    assert!(inspect(&["profiles", "--json"]).contains("\"fingerprint\""));
    assert!(inspect(&["profiles", "--verify"]).contains("as version"));
    assert!(inspect(&["events", "--head", "3"]).contains("occurred_at"));
    assert!(succeed(querent().arg("schema")).contains("latent_interests"));
    assert!(succeed(querent().args(["schema", "profiles"])).contains("most recent first"));
    let freed = succeed(querent().args(["gc", "--older-than-hours", "0", "--data"]).arg(&root));
    assert!(freed.contains("profiles: freed 0 files"), "{freed}");
    assert!(fail(querent().args(["gc", "profile", "--data"]).arg(&root), 2).contains("profile: no such dataset"));
    at_rest(&root);
}

#[test]
fn text_of_people_never_reaches_the_log() {
    let folder = TempDir::new().expect("a folder");
    let log = folder.path().join("log.jsonl");
    std::fs::write(
        &log,
        "{\"u\": \"ann\", \"t\": \"2025-11-30T10:00:00Z\", \"q\": \"my secret ann@example.org\"}\n\
         {\"u\": \"ann\", \"t\": \"never\", \"q\": \"my secret\"}\n{\"u\": \"ann\", \"t\n",
    )
    .expect("writable");
    let config = folder.path().join("config.toml");
    std::fs::write(
        &config,
        format!(
            "[ingest]\ncut_off = \"2025-12-01T00:00:00Z\"\nbuckets = 2\n[[ingest.events]]\nname = \"log\"\ndomain = \"search\"\n\
             files = [\"{}\"]\nformat = \"jsonl\"\nuser = \"u\"\ntime = \"t\"\ntext = \"q\"\n",
            log.display()
        ),
    )
    .expect("writable");
    let root = folder.path().join("data");
    let message = fail(job("ingest", &config).arg("--data").arg(&root), 3);
    assert!(message.contains("log.jsonl:2") && !message.contains("secret") && !message.contains("ann"), "{message}");
    let output = job("ingest", &config).args(["--max-bad-ratio", "1", "--data"]).arg(&root).output().expect("starts");
    assert!(output.status.success());
    for said in [text(&output.stdout), text(&output.stderr)] {
        assert!(!said.contains("secret") && !said.contains("ann"), "{said}");
    }
    let head = succeed(querent().args(["inspect", "events", "--head", "1", "--data"]).arg(&root));
    assert!(head.contains("my secret <email>"), "asked for, and scrubbed: {head}");
    let logs: String = files(&root)
        .iter()
        .filter(|p| p.extension().is_some_and(|e| e == "json"))
        .map(|p| std::fs::read_to_string(p).expect("readable"))
        .collect();
    assert!(!logs.contains("secret") && logs.contains("scrubbed email"));
    let aside = succeed(querent().args(["inspect", "events.quarantine", "--head", "9", "--data"]).arg(&root));
    assert!(aside.contains("not a JSON object") && !aside.contains("secret"), "{aside}");
}

#[test]
fn a_new_log_is_suggested_explained_and_read() {
    let folder = TempDir::new().expect("a folder");
    let (log, path, root) =
        (folder.path().join("log.csv"), folder.path().join("mine.toml"), folder.path().join("data"));
    std::fs::write(&log, "user_id;searched_at;query\nann;2025-11-30 10:00;ferry times\nben;never;shed\n")
        .expect("writable");
    let suggested = succeed(querent().args(["ingest", "--data"]).arg(&root).arg("--suggest").arg(&log));
    assert!(suggested.contains("delimiter = \";\"") && suggested.contains("text = \"query\""), "{suggested}");
    std::fs::write(&path, format!("[ingest]\ncut_off = \"2025-12-01\"\nbuckets = 2\n{suggested}")).expect("writable");
    let said = succeed(job("ingest", &path).arg("--explain").arg("--data").arg(&root));
    assert!(said.contains("user ann, 2025-11-30T10:00:00Z, \"ferry times\": history"), "{said}");
    assert!(
        said.contains("set aside: no readable time 1") && said.contains("would be refused: log log: 1 of 2"),
        "{said}"
    );
    assert!(!root.exists(), "nothing is written");
    let said = succeed(job("ingest", &path).args(["--max-bad-ratio", "0.5", "--data"]).arg(&root));
    assert!(said.contains("2 behaviours in, 1 out"), "{said}");
}

#[test]
fn alone_it_says_where_to_start() {
    let said = succeed(&mut querent());
    assert!(said.contains("querent run jobs/configs/demo.toml --insecure-dev-key"), "{said}");
    assert!(said.contains("train-cleaner  Train a RoBERTa on labels"), "{said}");
    assert!(succeed(querent().args(["completions", "bash"])).contains("train-cleaner"));
}

#[test]
fn a_dry_run_of_everything_works_on_a_fresh_root() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("data");
    let demo = include_str!("../jobs/configs/demo.toml").replace("out/demo", &root.display().to_string());
    let path = folder.path().join("demo.toml");
    std::fs::write(&path, &demo).expect("writable");
    let said = succeed(pipeline(&path).arg("--dry-run"));
    for job in
        ["ingest", "annotate", "train-cleaner", "clean", "cap", "statistics", "index", "retrieve", "evaluate", "report"]
    {
        assert!(said.contains(&format!("{job}: would run: its inputs are not there yet (")), "{said}");
    }
    assert!(!root.exists());
}

#[test]
fn a_mistake_in_a_file_is_named_with_its_line_before_anything_runs() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("data");
    let path = config(&root, 24, 1);
    let text = std::fs::read_to_string(&path).expect("readable");
    for (from, to, expected) in [
        (
            "events_per_domain = 50",
            "events_per_doman = 50",
            "[cap]: events_per_doman is no setting of it\nhint: did you mean",
        ),
        (
            "events_per_domain = 50",
            "events_per_domain = \"50\"",
            "[cap] events_per_domain: expected u32, got string \"50\"",
        ),
        ("domain = \"browse\"", "domian = \"browse\"", "[ingest] events: unknown field `domian`"),
        ("\"statistics\"]", "\"statistic\"]", "did you mean \"statistics\"?"),
    ] {
        let line = 1 + text[..text.find(from).expect("it is there")].matches('\n').count();
        std::fs::write(&path, text.replace(from, to)).expect("writable");
        let message = fail(&mut pipeline(&path), 2);
        assert!(message.contains(expected), "{message}");
        // An item of a list is named by its first line.
        let lines = if from.starts_with("domain") { line - 2..=line } else { line..=line };
        assert!(lines.into_iter().any(|line| message.contains(&format!("{}:{line}: ", path.display()))), "{message}");
        assert!(!root.exists());
    }
}

/// A pipeline's last step may run for hours after its first: what it would refuse at once is refused before all.
#[test]
fn a_value_that_makes_no_sense_is_refused_before_the_first_step() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("data");
    let log = "{ name = \"a\", domain = \"search\", user = \"u\", time = \"t\", text = \"x\", format = \"csv\", select = \"SELECT *\" }";
    let select = format!("cut_off = \"2025-12-01\"\nevents = [{log}]");
    for (job, settings, expected) in [
        ("simulate", "noise = 2.0", "simulate.noise"),
        ("ingest", "cut_off = \"2025-12-01\"\nmind = \"x\"\nwindow_days = 0", "ingest.window_days"),
        ("ingest", &select, "ingest.events[a].select"),
        ("annotate", "sample = 0", "annotate.sample"),
        ("train-cleaner", "epochs = 0", "train-cleaner.epochs"),
        ("clean", "model = \"x\"\nthreshold = 5.0", "clean.threshold"),
        ("clean", "model = \"none\"\nonly = [\"search\"]", "clean.only"),
        ("sft", "users = 0", "sft.users"),
        ("grpo", "group = 1", "grpo.group"),
        ("distill", "users = 0", "distill.users"),
        ("generate", "temperature = -1.0", "generate.temperature"),
        ("score", "covered_at = 45.0", "score.covered_at"),
        ("retrieve", "impressions = true\nretriever = \"bm25\"", "retrieve.retriever"),
        ("baseline", "dropout = 1.5", "baseline.dropout"),
        ("evaluate", "cuts = [0]", "evaluate.cuts"),
    ] {
        let path = folder.path().join("pipeline.toml");
        let data = root.display();
        let text = format!("[run]\ndata = \"{data}\"\njobs = [\"cap\", \"{job}\"]\n\n[{job}]\n{settings}\n");
        std::fs::write(&path, text).expect("writable");
        let said = fail(&mut pipeline(&path), 2);
        assert!(
            said.contains(&format!("step {job}: {expected}")) && said.contains("hint: "),
            "{job} {settings}: {said}"
        );
        assert!(!root.exists(), "{job} {settings}");
    }
}

#[test]
fn steps_have_names() {
    let (_folder, root, path) = world();
    let text = std::fs::read_to_string(&path).expect("readable");
    let text = text.replace("\"statistics\"]", "\"statistics\", \"report\", \"report@few\"]");
    std::fs::write(&path, text + "\n[report.few]\nusers = 1\n").expect("writable");
    let said = succeed(&mut pipeline(&path));
    assert!(said.lines().any(|line| line.starts_with("report@few ")), "{said}");
    assert!(root.join("report.html").exists() && root.join("report.few.html").exists());
    let said = succeed(job("report@few", &path).arg("--dry-run"));
    assert!(said.contains("report@few: up to date"), "{said}");
    let said = succeed(job("report@few", &path).args(["--dry-run", "--users", "2"]));
    assert!(said.contains("report@few: would run"), "{said}");
}

#[test]
fn ctrl_c_says_what_is_kept() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let folder = TempDir::new().expect("a folder");
        let mut simulate = querent();
        simulate.args(["simulate", "--users", "2000000", "--threads", "1", "--data"]).arg(folder.path());
        simulate.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
        let child = simulate.spawn().expect("the binary starts");
        // It answers signals from when it works on the first partition.
        while !folder.path().join("raw_searches").exists() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        succeed(std::process::Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]));
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(code));
        assert!(text(&output.stderr).contains("run the same command again to go on"), "{}", text(&output.stderr));
    }
}

#[test]
fn versions_can_be_listed_compared_and_read() {
    let (_folder, root, path) = world();
    let keep = ["--keep-versions", "1"];
    succeed(job("cap", &path).args(["--set", "cap.events_per_domain=2"]).args(keep));
    let inspect =
        |arguments: &[&str]| succeed(querent().args(["inspect", "profiles", "--data"]).arg(&root).args(arguments));
    let versions = inspect(&["--versions"]);
    assert_eq!(versions.lines().count(), 3, "{versions}");
    let differ = inspect(&["--diff", "0", "1"]);
    assert!(differ.contains("setting events_per_domain 50 → 2"), "{differ}");
    assert!(inspect(&["--version", "0"]).contains("\"events_per_domain\":50"));
    assert!(inspect(&["--version", "0", "--verify"]).contains("as version 0 says"));
    assert!(inspect(&[]).contains("a plain glob sees"), "the version before is kept");
    let before = files(&root.join("profiles"));
    let output = querent().args(["inspect", "profiles", "--files", "--data"]).arg(&root).output().expect("starts");
    assert!(text(&output.stderr).contains("a plain glob sees"), "{}", text(&output.stderr));
    assert_eq!(files(&root.join("profiles")), before, "looking writes nothing");
    succeed(querent().args(["gc", "--data"]).arg(&root));
    assert!(!inspect(&[]).contains("a plain glob sees"));
    at_rest(&root);
}
