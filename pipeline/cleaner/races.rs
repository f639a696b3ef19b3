//! The jobs as the runner runs them: labels from a file, two trainings into one folder at once, and one that is killed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use dataset::{Dataset, KeySource, Outcome, Resources, Result, Runner, Store, Style, Whole};
use schemas::Labels;
use tempfile::TempDir;

use crate::annotate::{Annotate, Annotator};
use crate::{Metrics, TrainCleaner};

/// Where a child of the test is to work.
const CHILD: &str = "QUERENT_TEST_CLEANER";

fn runner(root: &Path) -> Result<Runner> {
    let resources = Resources {
        store: Store::open(&root.to_string_lossy())?,
        threads: 2,
        memory_limit: 1 << 30,
        progress: Style::Silent,
        max_bad_ratio: 0.0,
        user_key: KeySource::default(),
    };
    let git_revision = "test".into();
    Ok(Runner { resources, shard: None, dry_run: false, keep_versions: 0, git_revision })
}

fn annotate(folder: &Path) -> Annotate {
    let labels_file = Some(folder.join("labels.tsv"));
    Annotate { annotator: Annotator::File, labels_file, ..Annotate::default() }
}

/// A data root with labels.
fn labelled() -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    let mut tsv = String::from("text\tdomain\tlabel\n");
    for (i, subject) in ["glacier", "election", "orchestra", "vaccine", "harvest"].iter().enumerate() {
        for j in 0..12 {
            tsv +=
                &format!("latest {subject} news {j}\tsearch\t1\nlogin page {i} {j} of {subject}.example\tbrowse\t0\n");
        }
    }
    fs::write(folder.path().join("labels.tsv"), tsv)?;
    let summary = runner(folder.path())?.run(&annotate(folder.path()), &["labels"])?;
    assert_eq!((summary.outcome, summary.account.output, summary.account.notes["keep"]), (Outcome::Committed, 120, 60));
    Ok(folder)
}

fn settings(seed: u64) -> TrainCleaner {
    let small = TrainCleaner { layers: 1, width: 32, vocabulary: 400, ..TrainCleaner::default() };
    TrainCleaner { epochs: 6, patience: 6, learning_rate: 2e-3, seed, ..small }
}

fn target(folder: &Path) -> PathBuf {
    folder.join("cleaner")
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    let read = |entry: fs::DirEntry| {
        (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).expect("a file"))
    };
    entries.map(read).collect()
}

#[test]
fn labels_of_a_file_count_by_its_content() -> Result<()> {
    let folder = labelled()?;
    let runner = runner(folder.path())?;
    let run = |settings: &Annotate| runner.run(settings, &["labels"]).map(|summary| summary.outcome);
    assert_eq!(run(&annotate(folder.path()))?, Outcome::UpToDate);
    let elsewhere = folder.path().join("elsewhere");
    fs::create_dir(&elsewhere)?;
    let moved = Annotate { labels_file: Some(elsewhere.join("labels.tsv")), ..annotate(folder.path()) };
    fs::rename(folder.path().join("labels.tsv"), elsewhere.join("labels.tsv"))?;
    assert_eq!(run(&moved)?, Outcome::UpToDate);
    fs::write(elsewhere.join("labels.tsv"), "text\tlabel\nlogin\t0\nmoon landing\t1\n")?;
    assert_eq!(run(&moved)?, Outcome::Committed);
    let labels = Whole::<Labels>::open(runner.store(), "labels")?;
    let rows: usize = labels.parts().map(|rows| rows.map(|rows| rows.len())).sum::<Result<_>>()?;
    assert_eq!(rows, 2);
    let log = format!("{:?}", Dataset::new(runner.store(), "labels").snapshot::<Labels>()?.manifest);
    assert!(!log.contains("elsewhere") && !log.contains("moon"), "{log}");

    // What is wrong is said before anything is read, and without what a cell holds.
    fs::write(elsewhere.join("labels.tsv"), "label\ttext\nplanted\t0\n")?;
    let error = run(&moved).expect_err("swapped");
    assert!(error.exit_code() == 3 && !error.to_string().contains("planted"), "{error}");
    fs::remove_file(elsewhere.join("labels.tsv"))?;
    assert_eq!(run(&moved).expect_err("missing").exit_code(), 2);
    assert!(Command::new("mkfifo").arg(elsewhere.join("labels.tsv")).status()?.success());
    assert_eq!(run(&moved).expect_err("a pipe").exit_code(), 3);
    std::os::unix::fs::symlink("/dev/zero", elsewhere.join("zero.tsv"))?;
    let endless = Annotate { labels_file: Some(elsewhere.join("zero.tsv")), ..moved };
    assert_eq!(run(&endless).expect_err("a device").exit_code(), 3);
    Ok(())
}

#[test]
fn of_two_trainings_into_one_folder_one_makes_it_and_the_other_says_so() -> Result<()> {
    let folder = labelled()?;
    let (start, target) = (Barrier::new(2), target(folder.path()));
    let train = || {
        let runner = runner(folder.path())?;
        start.wait();
        runner.make(&settings(0), &target)
    };
    let outcomes = std::thread::scope(|scope| {
        [scope.spawn(train), scope.spawn(train)].map(|thread| thread.join().expect("no panic"))
    });
    let made = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Outcome::Committed))).count();
    let told = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect::<Vec<_>>();
    assert_eq!((made, told.len()), (1, 1), "{outcomes:?}");
    assert_eq!(told[0].exit_code(), 1);
    assert!(told[0].to_string().contains("another process is making it"), "{}", told[0]);
    assert_eq!(runner(folder.path())?.make(&settings(0), &target)?, Outcome::UpToDate);
    assert_eq!(Metrics::read(&target)?.epochs.len(), 6);
    let names: Vec<String> = files(&target).into_keys().filter(|name| name != ".lock").collect();
    let expected = [
        "config.json",
        "languages.json",
        "metrics.json",
        "model.int8.onnx",
        "model.onnx",
        "model.safetensors",
        "querent.json",
        "thresholds.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(names, expected);
    Ok(())
}

/// The process that is killed.
#[test]
fn child() -> Result<()> {
    match std::env::var_os(CHILD) {
        Some(folder) => runner(Path::new(&folder))?.make(&settings(2), &target(Path::new(&folder))).map(drop),
        None => Ok(()),
    }
}

#[test]
fn a_killed_training_leaves_the_old_cleaner_whole_and_the_next_one_goes_on() -> Result<()> {
    let folder = labelled()?;
    let (runner, target) = (runner(folder.path())?, target(folder.path()));
    runner.make(&settings(1), &target)?;
    let old = files(&target);

    let mut child = Command::new(std::env::current_exe()?)
        .args(["--exact", "races::child"])
        .env(CHILD, folder.path())
        .stdout(Stdio::null())
        .spawn()?;
    let (state, started) = (folder.path().join("cleaner.unfinished/training/0.safetensors"), Instant::now());
    while !state.exists() && child.try_wait()?.is_none() && started.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill()?;
    child.wait()?;
    assert!(state.exists(), "an epoch had ended, and no more");
    assert!(files(&target) == old);

    // What goes on comes to the same bytes as what was never stopped.
    let never_stopped = folder.path().join("never_stopped");
    assert_eq!(runner.make(&settings(2), &target)?, Outcome::Committed);
    assert_eq!(runner.make(&settings(2), &never_stopped)?, Outcome::Committed);
    assert!(files(&target) == files(&never_stopped) && files(&target) != old);
    assert!(!folder.path().join("cleaner.unfinished").exists());
    Ok(())
}

#[test]
fn a_folder_of_somebody_elses_is_left_alone() -> Result<()> {
    let folder = labelled()?;
    let target = target(folder.path());
    fs::create_dir(&target)?;
    fs::write(target.join("notes.txt"), "keep me")?;
    let error = runner(folder.path())?.make(&settings(0), &target).expect_err("not ours");
    assert_eq!(error.exit_code(), 2);
    assert_eq!(files(&target).len(), 1);
    Ok(())
}

#[test]
fn every_label_is_scored_by_a_model_that_has_not_seen_it() -> Result<()> {
    let folder = labelled()?;
    let target = target(folder.path());
    let settings = TrainCleaner { epochs: 1, folds: 3, ..settings(0) };
    assert_eq!(runner(folder.path())?.make(&settings, &target)?, Outcome::Committed);
    let folds = Metrics::read(&target)?.cross_validation.expect("folds were asked for");
    assert_eq!((folds.folds, folds.all.texts), (3, 120));
    assert_eq!(folds.domains.keys().collect::<Vec<_>>(), ["browse", "search"]);
    assert!(target.join("predictions.parquet").exists() && !target.join("training").exists());
    Ok(())
}
