//! What runs do: commit, skip, reuse, resume, and say why.

use tempfile::TempDir;

use super::*;

#[test]
fn a_run_commits_and_the_next_one_has_nothing_to_do() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    let runner = runner(root.path());
    let first = run(&runner, &make(3, 0, 4))?;
    assert_eq!((first.outcome, first.computed, first.account.output), (Outcome::Committed, 4, 12));
    assert_eq!(by_version(&runner, "out")?, by_glob(root.path(), "out"));
    assert_eq!(by_version(&runner, "out")?.len(), 12);
    assert_eq!(parquet_files(&root.path().join("out.rest")).len(), 1, "an empty dataset opens too");
    assert_eq!(run(&runner, &make(3, 0, 4))?.outcome, Outcome::UpToDate);

    let second = run(&runner, &make(2, 0, 4))?;
    assert_eq!(second.outputs[0].version, 1);
    assert_eq!(by_version(&runner, "out")?.len(), 8);
    assert_eq!(by_version(&runner, "out")?, by_glob(root.path(), "out"), "what was superseded is gone");
    let left = std::fs::read_dir(root.path().join("out")).expect("listable").flatten();
    let left: Vec<_> = left.map(|e| e.file_name()).filter(|n| n.to_string_lossy().starts_with('_')).collect();
    assert_eq!(left, ["_delta_log"]);
    Ok(())
}

#[test]
fn a_dry_run_says_why_and_writes_nothing() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    let real = runner(root.path());
    let dry = Runner { dry_run: true, ..real.clone() };
    assert_eq!(run(&dry, &make(3, 0, 2))?.outcome, Outcome::WouldRun("there is none yet".into()));
    assert!(!root.path().join("out").exists());
    run(&real, &make(3, 0, 2))?;
    assert_eq!(run(&dry, &make(3, 5, 2))?.outcome, Outcome::WouldRun("shift 0 → 5".into()));
    assert_eq!(run(&dry, &make(3, 0, 2))?.outcome, Outcome::UpToDate);
    Ok(())
}

#[test]
fn a_failed_run_leaves_the_old_version_and_the_next_resumes() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    let mut runner = runner(root.path());
    runner.resources.threads = 1;
    run(&runner, &make(3, 0, 6))?;
    let before = by_glob(root.path(), "out");
    FAILING.lock().expect("no panic").insert((901, 4));
    assert!(run(&runner, &make(3, 901, 6)).is_err());
    assert_eq!(by_glob(root.path(), "out"), before, "a plain glob reads the old version while work is unfinished");
    assert_eq!(by_version(&runner, "out")?, before);
    FAILING.lock().expect("no panic").remove(&(901, 4));
    let summary = run(&runner, &make(3, 901, 6))?;
    assert_eq!((summary.computed, summary.reused), (2, 4), "receipts of the failed run count");
    assert_ne!(by_glob(root.path(), "out"), before);
    Ok(())
}

#[test]
fn partitions_whose_input_is_the_same_are_reused() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    let runner = runner(root.path());
    run(&runner, &make(3, 0, 4))?;
    assert_eq!(runner.run(&Pass {}, &["copy"])?.computed, 4);
    // The same rows again, in more partitions, then in as many: the input's parts are made anew, byte for byte the same.
    run(&runner, &make(3, 0, 5))?;
    assert_eq!(runner.run(&Pass {}, &["copy"])?.computed, 5);
    run(&runner, &make(3, 7, 5))?;
    run(&runner, &make(3, 0, 5))?;
    assert_eq!(runner.run(&Pass {}, &["copy"])?.outcome, Outcome::UpToDate, "the same content, whoever wrote it when");
    Ok(())
}

#[test]
fn a_lost_staged_part_is_made_again() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    let runner = runner(root.path());
    let shard = Runner { shard: Some(Shard { index: 0, count: 1 }), ..runner.clone() };
    run(&shard, &make(3, 0, 4))?;
    let staged = |root: &Path| -> Vec<PathBuf> {
        let runs = std::fs::read_dir(root.join("out/_runs")).expect("listable").flatten();
        let files = runs.flat_map(|run| std::fs::read_dir(run.path()).expect("listable").flatten());
        files.map(|file| file.path()).filter(|p| p.extension().is_some_and(|e| e == "part")).collect()
    };
    let parts = staged(root.path());
    assert_eq!(parts.len(), 4);
    std::fs::remove_file(&parts[0]).expect("removable");
    // Zeroed by a loss of power: the size is right, the bytes are not.
    let bytes = std::fs::read(&parts[1]).expect("readable").len();
    std::fs::write(&parts[1], vec![0; bytes]).expect("writable");
    let summary = run(&runner, &make(3, 0, 4))?;
    assert_eq!((summary.computed, summary.reused), (2, 2));
    assert_eq!(by_version(&runner, "out")?.len(), 12);
    Ok(())
}

#[test]
fn an_empty_receipt_or_plan_is_made_again() -> Result<()> {
    for name in ["0002.json", "plan.json"] {
        for content in ["", "{\"partition\": 2, \"key\": \"\", \"parts\": [null, null], \"accounts\": []}", "garbage"] {
            let root = TempDir::new().expect("a folder");
            let runner = runner(root.path());
            let shard = Runner { shard: Some(Shard { index: 0, count: 1 }), ..runner.clone() };
            run(&shard, &make(3, 0, 4))?;
            let folder = std::fs::read_dir(root.path().join("out/_runs")).expect("listable").flatten().next();
            std::fs::write(folder.expect("one run").path().join(name), content).expect("writable");
            run(&runner, &make(3, 0, 4))?;
            assert_eq!(by_version(&runner, "out")?.len(), 12, "{name} {content:?}");
            assert_eq!(by_version(&runner, "out")?, by_glob(root.path(), "out"));
        }
    }
    Ok(())
}

#[test]
fn shards_and_sealing_are_one_run() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    let runner = runner(root.path());
    let shard = |index| Runner { shard: Some(Shard { index, count: 3 }), ..runner.clone() };
    assert_eq!(run(&shard(0), &make(2, 0, 7))?.outcome, Outcome::ShardDone);
    let error = seal(runner.store(), "out", None, 0).expect_err("two shards are missing");
    assert_eq!((error.kind(), error.exit_code()), (Kind::Incomplete, 1), "{error}");
    assert!(
        error.to_string().contains("3 of 7 partitions") && error.to_string().contains("missing 1, 2, 4, 5"),
        "{error}"
    );
    run(&shard(1), &make(2, 0, 7))?;
    run(&shard(2), &make(2, 0, 7))?;
    assert_eq!(seal(runner.store(), "out", None, 0)?[0].version, 0);
    assert_eq!(seal(runner.store(), "out", None, 0)?[0].version, 0, "sealed already");
    assert_eq!(by_version(&runner, "out")?.len(), 14);
    Ok(())
}

#[test]
fn another_user_key_is_refused() -> Result<()> {
    #[derive(Debug, Serialize, Deserialize)]
    struct Keyed {}
    impl Stage for Keyed {
        const NAME: &'static str = "keyed";
        const VERSION: u32 = 1;
        const UNIT: &'static str = "rows";
        type Inputs = UserKey;
        type Shared = ();
        type Outputs = Rows<Truth>;
        fn inputs(&self, declare: &mut Inputs<'_>) -> Result<UserKey> {
            declare.user_key()
        }
        fn open(&self, _: &UserKey, _: &Resources) -> Result<()> {
            Ok(())
        }
        fn run(&self, _: &UserKey, (): &(), _: u32) -> Result<Done<Self::Outputs>> {
            Ok(Done { outputs: Rows::empty(), accounts: Vec::new() })
        }
    }
    let root = TempDir::new().expect("a folder");
    let mut runner = runner(root.path());
    runner.run(&Keyed {}, &["keyed"])?;
    let file = root.path().join("key");
    std::fs::write(&file, "9f86d081884c7d659a2feaa0c55ad015\n").expect("writable");
    runner.resources.user_key = KeySource { file: Some(file), insecure_dev_key: false };
    let error = runner.run(&Keyed {}, &["keyed"]).expect_err("another key");
    assert!(error.to_string().contains("another key's") && error.exit_code() == 3, "{error}");
    Ok(())
}

#[test]
fn rows_out_of_order_or_twice_are_refused() {
    let contract = <Truth as schemas::Table>::contract();
    let encode = |rows: Vec<(&str, &str)>| {
        let rows = rows.into_iter().map(|(u, n)| (u.to_owned(), n.to_owned(), 0));
        part::encode(&contract, truth(rows).batches()).map(|_| ()).map_err(|e| e.to_string())
    };
    assert!(encode(vec![("a", "1"), ("a", "2"), ("b", "1")]).is_ok());
    for wrong in [vec![("a", "2"), ("a", "1")], vec![("a", "1"), ("a", "1")]] {
        assert!(encode(wrong).expect_err("out of order").contains("row 1: expected rows sorted by user_id, news_id"));
    }
    let (a, b) = (truth([("b".into(), "1".into(), 0)]), truth([("a".into(), "1".into(), 0)]));
    let both = [a.into_batches(), b.into_batches()].concat();
    assert!(part::encode(&contract, &both).is_err(), "across batches too");
}

#[test]
fn too_little_memory_is_said_before_any_work() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    let mut runner = runner(root.path());
    run(&runner, &make(1, 0, 2))?;
    runner.resources.memory_limit = 2;
    let error = runner.run(&Pass {}, &["copy"]).expect_err("two bytes");
    assert!(error.to_string().contains("--memory-limit is 0 MiB") && error.exit_code() == 2, "{error}");
    assert!(!root.path().join("copy/_delta_log").exists());
    Ok(())
}

#[test]
fn a_dataset_keeps_as_many_versions_as_it_is_told() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    let runner = Runner { keep_versions: 2, ..runner(root.path()) };
    for shift in 0..6 {
        run(&runner, &make(2, shift, 3))?;
    }
    let dataset = Dataset::new(runner.store(), "out");
    assert_eq!(dataset.versions()?, [0, 1, 2, 3, 4, 5]);
    for version in 3..6 {
        Snapshot { dataset: dataset.clone(), manifest: dataset.manifest(version)? }.verify()?;
    }
    assert_eq!(parquet_files(&root.path().join("out")).len(), 9);
    assert_eq!(dataset.unnamed_parts()?.len(), 6, "and it is said that a plain glob sees more");
    Ok(())
}

#[test]
fn four_hundred_versions_have_their_checkpoints() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    let runner = runner(root.path());
    (0..400).try_for_each(|shift| run(&runner, &make(1, shift, 1)).map(|_| ()))?;
    let current = Dataset::new(runner.store(), "out").current()?;
    assert_eq!(current.expect("committed").version, 399);
    let checkpoints = std::fs::read_dir(root.path().join("out/_delta_log")).expect("listable").flatten();
    let checkpoints = checkpoints.filter(|e| e.file_name().to_string_lossy().contains("checkpoint.parquet")).count();
    assert_eq!(checkpoints, 24);
    Ok(())
}
