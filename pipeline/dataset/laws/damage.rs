//! Damaged and hostile files: one clear error each, and nothing outside a dataset's own parts is ever deleted.

use serde_json::Value;
use tempfile::TempDir;

use super::*;

fn committed() -> (TempDir, Runner) {
    let root = TempDir::new().expect("a folder");
    let runner = runner(root.path());
    run(&runner, &make(50, 0, 2)).expect("commits");
    (root, runner)
}

fn entry(root: &TempDir) -> PathBuf {
    root.path().join("out/_delta_log/00000000000000000000.json")
}

#[test]
fn damage_is_one_clear_error_each() -> Result<()> {
    let (root, runner) = committed();
    let good = Dataset::new(runner.store(), "out").current()?.expect("committed");
    let part = root.path().join("out").join(&good.parts[1].path);
    let bytes = std::fs::read(&part).expect("there");
    let json = std::fs::read_to_string(entry(&root)).expect("there");
    let check = |expected: &str| {
        let error = by_version(&runner, "out").expect_err("damaged");
        assert!(error.to_string().contains(expected) && error.to_string().contains("hint: "), "{expected}: {error}");
        assert_eq!(error.exit_code(), 3, "{error}");
    };

    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    std::fs::write(&part, &flipped).expect("writable");
    check("expected BLAKE3");
    std::fs::write(&part, &bytes[..bytes.len() / 2]).expect("writable");
    check("bytes, got");
    std::fs::remove_file(&part).expect("removable");
    check("not there");
    std::fs::write(&part, &bytes).expect("writable");
    assert_eq!(by_version(&runner, "out")?.len(), 100);

    // What an entry says of itself, its parts and its place must agree.
    let add: &str = json.lines().find(|line| line.starts_with("{\"add\"")).expect("a part");
    for (from, to, expected) in [
        ("\"format\":2", "\"format\":99", "expected format up to 2, got 99"),
        ("\"table_version\":1", "\"table_version\":7", "its content and the rest"),
        ("\"table\":\"truth\"", "\"table\":\"news\"", "its content and the rest"),
        ("\"format\":2", "\"format\":2,,", "expected JSON lines"),
        ("\"fingerprint\"", "\"footprint\"", "expected a version of ours"),
        ("\"dataset\":\"out\"", "\"dataset\":\"in\"", "its dataset and the rest"),
        ("\"version\":0", "\"version\":7", "its version and the rest"),
        ("\"rows\":100", "\"rows\":50", "its rows and the rest"),
        ("\"partitions\":2", "\"partitions\":1", "its ledger and the rest"),
        ("\"output\":50", "\"output\":49", "its account and the rest"),
        (add, "", "its rows and the rest"),
        ("bucket=0001/", "bucket=0001/../bucket=0001/", "expected parts of ours"),
        ("\"commitInfo\"", "\"commitInformation\"", "of another program that changes the table"),
    ] {
        assert!(json.contains(from), "{from}");
        std::fs::write(entry(&root), json.replace(from, to)).expect("writable");
        check(expected);
    }
    std::fs::write(entry(&root), "").expect("writable");
    check("of another program");
    std::fs::write(entry(&root), &json).expect("writable");
    assert_eq!(by_version(&runner, "out")?.len(), 100);
    Ok(())
}

#[test]
fn entries_of_other_tools_are_taken_while_they_change_nothing() -> Result<()> {
    let (root, runner) = committed();
    let next = |number: u64, line: &str| {
        let path = root.path().join(format!("out/_delta_log/{number:020}.json"));
        std::fs::write(path, format!("{line}\n")).expect("writable");
    };
    next(1, r#"{"commitInfo":{"operation":"VACUUM END"}}"#);
    assert_eq!(by_version(&runner, "out")?.len(), 100);
    assert_eq!(run(&runner, &make(1, 0, 2))?.outputs[0].version, 2);
    next(3, r#"{"remove":{"path":"bucket=0000/x.parquet","dataChange":true}}"#);
    let error = by_version(&runner, "out").expect_err("somebody else changed the table");
    assert!(error.to_string().contains("another program that changes the table"), "{error}");
    Ok(())
}

/// An entry that names another folder, links, foreign files, copies of folders: nothing of it is deleted.
#[test]
fn nothing_but_own_parts_is_ever_deleted() -> Result<()> {
    let (root, runner) = committed();
    runner.run(&Pass {}, &["copy"])?;
    let out = root.path().join("out");
    let copy = by_version(&runner, "copy")?;
    std::os::unix::fs::symlink(root.path().join("copy"), out.join("other")).expect("linkable");
    std::os::unix::fs::symlink(root.path().join("copy/bucket=0001"), out.join("bucket=0009")).expect("linkable");
    let victim = root.path().join("victim");
    std::fs::create_dir(&victim).expect("writable");
    std::fs::write(victim.join("keep.txt"), "mine").expect("writable");
    std::os::unix::fs::symlink(&victim, out.join("_runs")).expect("linkable");
    let foreign =
        ["notes.parquet", "backup/0000-0-0000000000000001.parquet", "bucket=0000/mine.parquet", "0000-0-zz.parquet"];
    for name in foreign {
        std::fs::create_dir_all(out.join(name).parent().expect("a folder")).expect("writable");
        std::fs::write(out.join(name), "mine").expect("writable");
    }
    std::fs::remove_file(out.join("_runs")).expect("removable");
    // A plan whose run would lie elsewhere.
    let stray = out.join("_runs/0123");
    std::fs::create_dir_all(&stray).expect("writable");
    let forged =
        r#"{"fingerprint":"../../../victim","partitions":1,"unit":"","outputs":[],"lineage":{},"max_bad_ratio":0}"#;
    std::fs::write(stray.join("plan.json"), forged).expect("writable");

    run(&runner, &make(2, 1, 2))?;
    let sweep = Sweep { older_than_s: 0, keep_versions: 0, dry_run: false };
    collect_garbage(runner.store(), "out", sweep)?;
    run(&runner, &make(2, 2, 3))?;
    for name in foreign {
        assert!(out.join(name).exists(), "{name}");
    }
    assert!(victim.join("keep.txt").exists());
    assert_eq!(by_version(&runner, "copy")?, copy);
    assert_eq!(by_version(&runner, "out")?.len(), 6);
    Ok(())
}

#[test]
fn hostile_receipts_do_no_harm() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    let runner = runner(root.path());
    let shard = Runner { shard: Some(Shard { index: 0, count: 1 }), ..runner.clone() };
    run(&shard, &make(3, 0, 3))?;
    let folder =
        std::fs::read_dir(root.path().join("out/_runs")).expect("listable").flatten().next().expect("one").path();
    let path = folder.join("0001.json");
    let receipt: Value = serde_json::from_slice(&std::fs::read(&path).expect("there")).expect("JSON");
    let forged = |change: &dyn Fn(&mut Value)| {
        let mut receipt = receipt.clone();
        change(&mut receipt);
        std::fs::write(&path, receipt.to_string()).expect("writable");
    };
    let changes: [&dyn Fn(&mut Value); 6] = [
        &|r| r["partition"] = 2.into(),
        &|r| r["parts"] = Value::Array(Vec::new()),
        &|r| r["accounts"] = Value::Array(Vec::new()),
        &|r| r["parts"][0]["path"] = "../victim.parquet".into(),
        &|r| r["parts"][0]["path"] = "bucket=0001/0001-7-0000000000000001.parquet".into(),
        &|r| r["parts"][0]["bytes"] = 1.into(),
    ];
    for change in changes {
        forged(change);
        let error = seal(runner.store(), "out", None, 0).expect_err("a receipt is forged");
        assert_eq!(error.kind(), Kind::Incomplete, "{error}");
    }
    run(&runner, &make(3, 0, 3))?;
    assert_eq!(by_version(&runner, "out")?.len(), 9);
    Ok(())
}
