//! The command line: exit codes, messages, and the jobs' flags.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::{at_rest, config, contents, datasets, fail, files, pipeline, querent, succeed, text};

/// A tiny world, ingested.
fn world() -> (TempDir, PathBuf, PathBuf) {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("data");
    let config = config(&root, 24, 1);
    succeed(&mut pipeline(&config));
    (folder, root, config)
}

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
    let root = folder.path().join("data").display().to_string();
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
        (&["cap", "--set", "cap.events_per_domain=many"], "[cap]: "),
        (&["cap", "--memory-limit", "2 parsecs"], "for example 2GiB"),
        (&["cap", "--shard", "4/4"], "--shard: expected i/N"),
        (&["cap", "--config", "nowhere.toml"], "nowhere.toml"),
        (&["ingest"], "--mind FOLDER"),
        (&["ingest", "--cut-off", "tomorrow", "--mind", "x"], "[ingest]: "),
        (&["simulate", "--users", "0"], "simulate.users: expected 1 to"),
        (&["cap", "--events-per-domain", "0"], "cap.events_per_domain: expected at least 1"),
        (&["run", "jobs/configs/demo.toml", "--config", "x.toml"], "leave it out"),
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
    assert_eq!(contents(&root), whole);
    at_rest(&root);
}

#[test]
fn inspect_and_schema_show_what_is_there() {
    let (_folder, root, _) = world();
    let inspect = |arguments: &[&str]| succeed(querent().arg("inspect").args(arguments).arg("--data").arg(&root));
    assert!(inspect(&[]).contains("true_labels"));
    let described = inspect(&["clean_events"]);
    assert!(described.contains("with model model.int8.onnx") && described.contains("events in"), "{described}");
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
