//! Several processes at once: threads over one folder, each with a store of its own.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tempfile::TempDir;

use super::*;

#[test]
fn the_same_run_many_times_at_once_is_one_version() -> Result<()> {
    for _ in 0..8 {
        let root = TempDir::new().expect("a folder");
        let results: Vec<Result<Summary>> = std::thread::scope(|scope| {
            let one = || run(&runner(root.path()), &make(3, 0, 5));
            let runs: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
            runs.into_iter().map(|r| r.join().expect("no panic")).collect()
        });
        for result in results {
            result?;
        }
        let runner = runner(root.path());
        assert_eq!(Dataset::new(runner.store(), "out").versions()?, [0]);
        assert_eq!(by_version(&runner, "out")?, by_glob(root.path(), "out"));
        assert_eq!(by_version(&runner, "out")?.len(), 15);
    }
    Ok(())
}

#[test]
fn of_different_concurrent_runs_exactly_one_wins_and_nothing_is_lost() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    let loser = runner(root.path());
    run(&loser, &make(1, 0, 4))?;
    // The other run commits between this one's start and its commit.
    let slow = Runner { shard: Some(Shard { index: 0, count: 1 }), ..loser.clone() };
    run(&slow, &make(2, 5, 4))?;
    run(&loser, &make(3, 7, 4))?;
    let error = seal(loser.store(), "out", None, 0).expect("the current version, for no run is open");
    assert_eq!(error[0].version, 1);
    assert_eq!(by_version(&loser, "out")?, by_glob(root.path(), "out"), "the winner's rows, exactly");
    assert_eq!(by_version(&loser, "out")?.len(), 12);
    let again = run(&loser, &make(2, 5, 4))?;
    assert_eq!((again.outcome, again.computed, again.reused), (Outcome::Committed, 0, 4), "the loser's work was kept");
    assert_eq!(by_glob(root.path(), "out").len(), 8);
    Ok(())
}

/// Two writers of different contents, gc that takes everything for old, and readers, for a while. No version is lost, no read is a mixture,
/// and whoever reported success has an entry in the log.
#[test]
fn writers_gc_and_readers_at_once() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    run(&runner(root.path()), &make(5, 0, 4))?;
    let (stop, reads, commits, conflicts) =
        (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| -> Result<()> {
        let writer = |own: i64| {
            let (root, commits, conflicts) = (root.path(), &commits, &conflicts);
            move || {
                for turn in 0..40 {
                    let rows = 5 + (turn % 3) as u32;
                    match run(&runner(root), &make(rows, own * 1000 + turn, 4)) {
                        Ok(summary) => {
                            let version = summary.outputs[0].version;
                            let manifest =
                                Dataset::new(runner(root).store(), "out").manifest(version).expect("in the log");
                            assert_eq!(manifest.rows, u64::from(rows) * 4);
                            commits.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(e) => {
                            assert!(matches!(e.kind(), Kind::Conflict) || e.exit_code() == 1, "{e}");
                            conflicts.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
            }
        };
        let writers = [scope.spawn(writer(1)), scope.spawn(writer(2))];
        let sweeper = scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let sweep = Sweep { older_than_s: 0, keep_versions: 0, dry_run: false };
                collect_garbage(runner(root.path()).store(), "out", sweep).expect("sweeps");
                std::thread::sleep(std::time::Duration::from_millis(60));
            }
        });
        let reader = scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                match by_version(&runner(root.path()), "out") {
                    Ok(rows) => {
                        assert_eq!(rows.len() % 4, 0, "a mixture");
                        reads.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(e) => assert!(e.to_string().contains("a newer version was committed"), "{e}"),
                }
            }
        });
        for writer in writers {
            writer.join().expect("no panic");
        }
        stop.store(true, Ordering::SeqCst);
        sweeper.join().expect("no panic");
        reader.join().expect("no panic");
        Ok(())
    })?;
    let (commits, conflicts, reads) = (commits.into_inner(), conflicts.into_inner(), reads.into_inner());
    assert!(commits >= 10 && reads >= 10, "{commits} commits, {conflicts} conflicts, {reads} reads");
    let last = runner(root.path());
    run(&last, &make(2, 99_999, 4))?;
    assert_eq!(by_version(&last, "out")?, by_glob(root.path(), "out"), "at rest");
    Ok(())
}

#[test]
fn gc_spares_young_runs_and_ends_old_ones_before_it_deletes() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    let runner = runner(root.path());
    run(&runner, &make(1, 0, 2))?;
    let shard = Runner { shard: Some(Shard { index: 0, count: 1 }), ..runner.clone() };
    run(&shard, &make(2, 5, 2))?;
    let sweep = |older_than_s, dry_run| {
        collect_garbage(runner.store(), "out", Sweep { older_than_s, keep_versions: 0, dry_run })
    };
    assert_eq!(sweep(3600, false)?, Swept::default(), "it may be at work");
    assert!(sweep(0, true)?.files > 0);
    assert_eq!(seal(runner.store(), "out", None, 0)?[0].rows, 4, "a dry run ends nothing");

    run(&shard, &make(3, 6, 2))?;
    let swept = sweep(0, false)?;
    assert_eq!(swept.abandoned, 1);
    assert!(!root.path().join("out/_runs").exists());
    assert_eq!(by_version(&runner, "out")?.len(), 4, "the current version is untouched");
    assert_eq!(sweep(0, false)?, Swept::default());
    run(&runner, &make(3, 6, 2))?;
    assert_eq!(by_version(&runner, "out")?.len(), 6);
    Ok(())
}
