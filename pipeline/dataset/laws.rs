//! Laws of datasets and runner, checked with a toy stage.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray, TimestampMicrosecondArray};
use proptest::prelude::*;
use schemas::{Table, Truth};
use serde::Serialize;
use tempfile::TempDir;

use crate::*;

/// Makes `rows` rows per partition, or passes its input's rows on, all `shift` microseconds later.
#[derive(Debug, Clone, Serialize)]
struct Make {
    rows: u32,
    shift: i64,
    #[serde(skip)]
    fail_at: Option<u32>,
}

fn make(rows: u32, shift: i64) -> Make {
    Make { rows, shift, fail_at: None }
}

fn truth(rows: impl IntoIterator<Item = (String, String, i64)>) -> Rows<Truth> {
    let rows: Vec<_> = rows.into_iter().collect();
    let times: Vec<i64> = rows.iter().map(|r| r.2).collect();
    let batch = from_columns::<Truth>(vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.0))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.1))),
        Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")),
    ]);
    Rows::new(vec![batch.expect("columns of the contract")])
}

impl Stage for Make {
    const NAME: &'static str = "make";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "rows";
    type Inputs = ();
    type Outputs = (Rows<Truth>, Rows<Truth>);

    fn run(&self, partition: u32, (): ()) -> Result<Done<Self::Outputs>> {
        if self.fail_at == Some(partition) {
            return Err(Error::setting("toy", "success", "failure", "asked for"));
        }
        let rows = (0..self.rows).map(|i| (format!("{partition:032x}"), format!("n{i:05}"), i64::from(i) + self.shift));
        let mut account = Account::all(u64::from(self.rows));
        account.input += 1;
        account.drop("one", 1);
        Ok(Done { outputs: (truth(rows), Rows::empty()), accounts: vec![account] })
    }
}

/// Passes rows on.
#[derive(Debug, Clone, Serialize)]
struct Pass {}

impl Stage for Pass {
    const NAME: &'static str = "pass";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "rows";
    type Inputs = Rows<Truth>;
    type Outputs = Rows<Truth>;

    fn run(&self, _: u32, rows: Rows<Truth>) -> Result<Done<Self::Outputs>> {
        Ok(Done { outputs: rows, accounts: Vec::new() })
    }
}

fn runner(root: &Path) -> Runner {
    Runner {
        store: Store::open(&root.display().to_string()).expect("a folder"),
        threads: 2,
        memory_limit: 1 << 30,
        shard: None,
        dry_run: false,
        max_bad_ratio: 0.01,
        progress: Style::Silent,
        git_revision: "test".into(),
    }
}

fn nothing(partitions: u32) -> Nothing {
    Nothing { partitions, memory_bytes: 1, user_key_check: Some("k".into()) }
}

const OUT: [&str; 2] = ["out", "out.rest"];

fn run(runner: &Runner, stage: &Make, partitions: u32) -> Result<Summary> {
    runner.run(stage, &nothing(partitions), &OUT, Origin::default())
}

fn text(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().map(|c| arrow::util::display::array_value_to_string(c, row));
            rows.push(cells.map(|c| c.expect("printable")).collect::<Vec<_>>().join("|"));
        }
    }
    rows.sort();
    rows
}

/// The rows that the manifest names.
fn by_manifest(runner: &Runner, name: &str) -> Result<Vec<String>> {
    let input = Input::<Truth>::open(&runner.store, name)?;
    let mut batches = Vec::new();
    for partition in 0..input.partitions() {
        batches.extend(input.read(partition)?.into_batches());
    }
    Ok(text(&batches))
}

fn parquet_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(parquet_files(&path));
        } else if path.extension().is_some_and(|e| e == "parquet") {
            files.push(path);
        }
    }
    files
}

/// The rows that a plain glob reads.
fn by_glob(root: &Path, name: &str) -> Vec<String> {
    let mut batches = Vec::new();
    for file in parquet_files(&root.join(name)) {
        let file = std::fs::File::open(file).expect("it was listed");
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).expect("parquet");
        batches.extend(reader.build().expect("parquet").map(|b| b.expect("parquet")));
    }
    text(&batches)
}

#[test]
fn a_run_commits_and_the_next_one_has_nothing_to_do() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    let runner = runner(root.path());
    let first = run(&runner, &make(3, 0), 4)?;
    assert_eq!((first.outcome, first.computed, first.account.output), (Outcome::Committed, 4, 12));
    assert_eq!(by_manifest(&runner, "out")?, by_glob(root.path(), "out"));
    assert_eq!(by_manifest(&runner, "out")?.len(), 12);
    assert_eq!(parquet_files(&root.path().join("out.rest")).len(), 1, "an empty dataset opens too");
    assert_eq!(run(&runner, &make(3, 0), 4)?.outcome, Outcome::UpToDate);

    let second = run(&runner, &make(2, 0), 4)?;
    assert_eq!(second.outputs[0].1, 2, "version");
    assert_eq!(by_manifest(&runner, "out")?.len(), 8);
    assert_eq!(by_manifest(&runner, "out")?, by_glob(root.path(), "out"), "what was superseded is gone");
    let left: Vec<_> =
        std::fs::read_dir(root.path().join("out")).expect("listable").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left.iter().filter(|n| n.to_string_lossy().starts_with('_')).count(), 1, "{left:?}");
    Ok(())
}

#[test]
fn a_dry_run_says_why_and_writes_nothing() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    let real = runner(root.path());
    let dry = Runner { dry_run: true, ..real.clone() };
    assert_eq!(run(&dry, &make(3, 0), 2)?.outcome, Outcome::WouldRun("there is none yet".into()));
    assert!(!root.path().join("out").exists());
    run(&real, &make(3, 0), 2)?;
    assert_eq!(run(&dry, &make(3, 5), 2)?.outcome, Outcome::WouldRun("shift 0 → 5".into()));
    assert_eq!(run(&dry, &make(3, 0), 2)?.outcome, Outcome::UpToDate);
    Ok(())
}

#[test]
fn partitions_whose_input_is_the_same_are_reused() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    let runner = runner(root.path());
    run(&runner, &make(3, 0), 4)?;
    let pass = || runner.run(&Pass {}, &Input::<Truth>::open(&runner.store, "out")?, &["copy"], Origin::default());
    assert_eq!(pass()?.computed, 4);
    let before = by_glob(root.path(), "copy");

    // One partition of the input changes.
    let dataset = Dataset::new(&runner.store, "out");
    let mut manifest = dataset.current()?.expect("committed");
    let rows = truth([("a".into(), "b".into(), 1)]);
    let file = part::encode(&Truth::contract(), rows.batches())?;
    let part = &mut manifest.parts[2];
    (part.rows, part.bytes, part.blake3) = (1, file.len() as u64, blake3::hash(&file).to_hex().to_string());
    std::fs::write(root.path().join("out").join(&part.path), &file).expect("writable");
    manifest.version += 1;
    manifest.content = "another".into();
    assert!(dataset.publish(&manifest)?);

    let summary = pass()?;
    assert_eq!((summary.computed, summary.reused), (1, 3));
    let after = by_glob(root.path(), "copy");
    assert_eq!(after, by_manifest(&runner, "copy")?);
    assert_eq!(after.iter().filter(|row| before.contains(row)).count(), 9);
    assert_eq!(after.len(), 10);
    Ok(())
}

#[test]
fn a_failed_run_leaves_the_old_version_and_the_next_resumes() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    let runner = Runner { threads: 1, ..runner(root.path()) };
    run(&runner, &make(3, 0), 6)?;
    let before = by_glob(root.path(), "out");
    let failing = Make { fail_at: Some(4), ..make(3, 9) };
    assert!(run(&runner, &failing, 6).is_err());
    assert_eq!(by_glob(root.path(), "out"), before, "a plain glob reads the old version while work is unfinished");
    assert_eq!(by_manifest(&runner, "out")?, before);
    let summary = run(&runner, &make(3, 9), 6)?;
    assert_eq!((summary.computed, summary.reused), (2, 4), "receipts of the failed run count");
    assert_ne!(by_glob(root.path(), "out"), before);
    Ok(())
}

#[test]
fn a_lost_staged_part_is_made_again() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    let runner = runner(root.path());
    let shard = Runner { shard: Some(Shard { index: 0, count: 1 }), ..runner.clone() };
    run(&shard, &make(3, 0), 4)?;
    let staged = root.path().join("out/_staged");
    let folder = std::fs::read_dir(&staged).expect("listable").flatten().next().expect("one run").path();
    let victim = std::fs::read_dir(folder).expect("listable").flatten().next().expect("a part").path();
    std::fs::remove_file(victim).expect("removable");
    let summary = run(&runner, &make(3, 0), 4)?;
    assert_eq!((summary.computed, summary.reused), (1, 3));
    assert_eq!(by_manifest(&runner, "out")?.len(), 12);
    Ok(())
}

#[test]
fn of_different_concurrent_runs_exactly_one_wins_and_nothing_is_lost() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    let loser = runner(root.path());
    run(&loser, &make(1, 0), 4)?;
    // The other run commits between this one's start and its commit.
    let slow = Runner { shard: Some(Shard { index: 0, count: 1 }), ..loser.clone() };
    run(&slow, &make(2, 5), 4)?;
    run(&loser, &make(3, 7), 4)?;
    let plan =
        std::fs::read_dir(root.path().join("out/_receipts")).expect("listable").flatten().next().expect("one run");
    let plan: Plan =
        serde_json::from_slice(&std::fs::read(plan.path().join("plan.json")).expect("there")).expect("a plan");
    assert_eq!(plan.outputs[0].base, 1);
    let error = seal(&loser.store, "out", None).expect_err("the other was first");
    assert!(matches!(error, Error::Conflict { version: 2, .. }), "{error}");
    assert_eq!(error.exit_code(), 1);
    assert_eq!(by_manifest(&loser, "out")?, by_glob(root.path(), "out"), "the winner's rows, exactly");
    assert_eq!(by_manifest(&loser, "out")?.len(), 12);
    let again = run(&loser, &make(2, 5), 4)?;
    assert_eq!((again.outcome, again.computed), (Outcome::Committed, 0), "the loser's work was kept");
    assert_eq!(by_glob(root.path(), "out").len(), 8);
    Ok(())
}

#[test]
fn the_same_run_many_times_at_once_is_one_version() -> Result<()> {
    for _ in 0..8 {
        let root = TempDir::new().expect("a folder");
        let runner = runner(root.path());
        let results: Vec<Result<Summary>> = std::thread::scope(|scope| {
            let runs: Vec<_> = (0..4).map(|_| scope.spawn(|| run(&runner, &make(3, 0), 5))).collect();
            runs.into_iter().map(|r| r.join().expect("no panic")).collect()
        });
        for result in results {
            result?;
        }
        assert_eq!(Dataset::new(&runner.store, "out").versions()?, [1]);
        assert_eq!(by_manifest(&runner, "out")?, by_glob(root.path(), "out"));
        assert_eq!(by_manifest(&runner, "out")?.len(), 15);
    }
    Ok(())
}

#[test]
fn damage_is_one_clear_error_each() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    let runner = runner(root.path());
    run(&runner, &make(50, 0), 2)?;
    let dataset = Dataset::new(&runner.store, "out");
    let good = dataset.current()?.expect("committed");
    let part = root.path().join("out").join(&good.parts[1].path);
    let bytes = std::fs::read(&part).expect("there");
    let manifest = root.path().join("out/_manifests/000001.json");
    let json = std::fs::read_to_string(&manifest).expect("there");
    let error = || by_manifest(&runner, "out").expect_err("damaged");
    let check = |expected: &str| {
        let error = error();
        assert!(error.to_string().contains(expected) && error.to_string().contains("hint: "), "{error}");
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
    assert_eq!(by_manifest(&runner, "out")?.len(), 100);

    for (from, to, expected) in [
        ("\"format\": 1", "\"format\": 99", "manifest format up to 1, got 99"),
        ("\"table_version\": 1", "\"table_version\": 7", "truth version 1, got version 7"),
        ("\"table\": \"truth\"", "\"table\": \"news\"", "expected table truth, got news"),
        ("\"format\": 1", "\"format\": 1,,", "expected a JSON manifest"),
        ("\"rows\"", "\"lines\"", "expected a manifest of format 1"),
    ] {
        std::fs::write(&manifest, json.replace(from, to)).expect("writable");
        check(expected);
    }
    std::fs::write(&manifest, &json).expect("writable");

    // A part that is not Parquet, though its digest is right.
    let mut forged = good.clone();
    let junk = b"junk junk junk".to_vec();
    forged.parts[1].bytes = junk.len() as u64;
    forged.parts[1].blake3 = blake3::hash(&junk).to_hex().to_string();
    std::fs::write(&part, junk).expect("writable");
    forged.version = 2;
    assert!(dataset.publish(&forged)?);
    check("expected Parquet");
    Ok(())
}

#[test]
fn another_user_key_is_refused() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    let runner = runner(root.path());
    run(&runner, &make(1, 0), 2)?;
    let other = Nothing { user_key_check: Some("other".into()), ..nothing(2) };
    let error = runner.run(&make(1, 1), &other, &OUT, Origin::default()).expect_err("another key");
    assert!(matches!(error, Error::OtherKey { .. }) && error.exit_code() == 3, "{error}");
    Ok(())
}

#[test]
fn rows_out_of_order_or_twice_are_refused() {
    let contract = Truth::contract();
    let encode = |rows: Vec<(&str, &str)>| {
        let rows = rows.into_iter().map(|(u, n)| (u.to_owned(), n.to_owned(), 0));
        part::encode(&contract, truth(rows).batches()).map(|_| ())
    };
    assert!(encode(vec![("a", "1"), ("a", "2"), ("b", "1")]).is_ok());
    for wrong in [vec![("a", "2"), ("a", "1")], vec![("a", "1"), ("a", "1")]] {
        assert!(matches!(encode(wrong), Err(Error::Order { row: 1, .. })));
    }
    let (a, b) = (truth([("b".into(), "1".into(), 0)]), truth([("a".into(), "1".into(), 0)]));
    let both = [a.into_batches(), b.into_batches()].concat();
    assert!(matches!(part::encode(&contract, &both), Err(Error::Order { row: 1, .. })), "across batches too");
}

#[test]
fn too_little_memory_is_said_before_any_work() {
    let root = TempDir::new().expect("a folder");
    let runner = Runner { memory_limit: 2, ..runner(root.path()) };
    let error = run(&runner, &make(1, 0), 2).expect_err("3 bytes do not fit in 2");
    assert!(matches!(error, Error::Memory { .. }) && error.exit_code() == 2, "{error}");
}

#[test]
fn garbage_is_what_nobody_will_read() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    let runner = runner(root.path());
    for shift in 0..3 {
        run(&runner, &make(1, shift), 2)?;
    }
    let slow = Runner { shard: Some(Shard { index: 0, count: 2 }), ..runner.clone() };
    run(&slow, &make(1, 9), 2)?;
    let rows = by_manifest(&runner, "out")?;
    assert_eq!(collect_garbage(&runner.store, "out", 3600, 20, false)?.files, 0, "young receipts may be in use");
    let would = collect_garbage(&runner.store, "out", 0, 1, true)?;
    let did = collect_garbage(&runner.store, "out", 0, 1, false)?;
    assert_eq!((would, did.files), (did, 5), "a plan, a receipt, a part and two manifests");
    assert_eq!(by_manifest(&runner, "out")?, rows);
    assert_eq!(by_glob(root.path(), "out"), rows);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn shards_in_any_number_and_order_make_the_same_dataset(
        partitions in 1u32..9,
        count in 1u32..5,
        threads in 1usize..4,
        reversed in any::<bool>(),
    ) {
        let (whole, sharded) = (TempDir::new()?, TempDir::new()?);
        let one = runner(whole.path());
        run(&one, &make(4, 0), partitions).expect("runs");
        let many = runner(sharded.path());
        let mut shards: Vec<u32> = (0..count).collect();
        if reversed {
            shards.reverse();
        }
        for (done, index) in shards.into_iter().enumerate() {
            if done > 0 && done < partitions as usize {
                let error = seal(&many.store, "out", None).expect_err("shards are missing");
                // A shard without partitions of its own leaves nothing to seal.
                prop_assert!(matches!(error, Error::Incomplete { .. } | Error::Setting { .. }), "{}", error);
            }
            let shard = Runner { shard: Some(Shard { index, count }), threads, ..many.clone() };
            run(&shard, &make(4, 0), partitions).expect("runs");
        }
        seal(&many.store, "out", None).expect("complete");
        let content = |runner: &Runner| Dataset::new(&runner.store, "out").current().map(|m| m.map(|m| m.content));
        prop_assert_eq!(content(&one).expect("readable"), content(&many).expect("readable"));
        prop_assert_eq!(by_manifest(&one, "out").expect("readable"), by_glob(sharded.path(), "out"));
    }

    #[test]
    fn accounts_merge_like_sums(counts in proptest::collection::vec((0u64..9, 0u64..9, 0u64..9), 0..6)) {
        let mut whole = Account::default();
        let mut sums = BTreeMap::from([("out", 0), ("d", 0), ("q", 0)]);
        for (out, dropped, bad) in counts {
            let mut part = Account::all(out);
            part.drop("d", dropped);
            part.quarantine("q", bad);
            part.input = part.accounted();
            whole.merge(&part);
            for (name, n) in [("out", out), ("d", dropped), ("q", bad)] {
                *sums.entry(name).or_default() += n;
            }
        }
        prop_assert_eq!(whole.input, whole.accounted());
        prop_assert_eq!(whole.input, sums.values().sum::<u64>());
        prop_assert_eq!(whole.bad(), sums["q"]);
    }
}
