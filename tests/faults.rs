//! Kills, store errors: whatever happens at whatever moment, the next run ends with the same bytes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::{
    Dice, at_rest, by_glob, by_version, config, contents, copy, datasets, files, pipeline, querent, succeed,
};

const USERS: u32 = 24;
const JOBS_OUTPUTS: usize = 18;

/// A root where one world is ingested already, and what it holds after another world has followed it.
struct Setup {
    folder: TempDir,
    expected: BTreeMap<String, String>,
    seconds: f64,
}

impl Setup {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let root = folder.path().join("base");
        succeed(&mut pipeline(&config(&root, USERS, 1)));
        let setup = Setup { expected: BTreeMap::new(), seconds: 0.0, folder };
        let (root, second) = setup.trial("expected");
        let start = Instant::now();
        succeed(&mut pipeline(&second));
        let seconds = start.elapsed().as_secs_f64();
        at_rest(&root);
        let expected = contents(&root);
        assert_eq!(expected.len(), JOBS_OUTPUTS, "{expected:?}");
        Setup { expected, seconds, ..setup }
    }

    /// A root of its own that holds the first world, and the pipeline of the second.
    fn trial(&self, name: &str) -> (PathBuf, PathBuf) {
        let root = self.folder.path().join(name);
        copy(&self.folder.path().join("base"), &root);
        let second = config(&root, USERS + 4, 2);
        (root, second)
    }

    fn check(&self, root: &Path, second: &Path, what: &str) {
        succeed(&mut pipeline(second));
        at_rest(root);
        assert_eq!(contents(root), self.expected, "{what}");
        std::fs::remove_dir_all(root).expect("removable");
    }
}

#[test]
fn a_commit_broken_off_between_its_entries_mixes_no_versions() {
    let row = |user: &str, text: &str, second: u32| format!("{user},2025-11-30T10:00:0{second}Z,{text}\n");
    let log = |rows: &[String]| format!("user,time,text\n{}", rows.concat());
    let (first, second) = (log(&[row("u1", "a", 1)]), log(&[row("u1", "b", 2), row("u2", "c", 3)]));
    let begun = |name: &str, content: &str| {
        let folder = TempDir::new().expect("a folder");
        let (file, root) = (folder.path().join("l.csv"), folder.path().join(name));
        std::fs::write(&file, content).expect("writable");
        let text = format!(
            "[ingest]\nbuckets = 2\ncut_off = \"2025-12-01\"\n[[ingest.events]]\nname = \"log\"\ndomain = \"search\"\n\
             files = [{:?}]\nformat = \"csv\"\nuser = \"user\"\ntime = \"time\"\ntext = \"text\"\n",
            file.display()
        );
        let config = folder.path().join("mine.toml");
        std::fs::write(&config, text).expect("writable");
        (folder, file, root, config)
    };
    let ingest = |root: &Path, config: &Path| {
        let mut command = querent();
        command.args(["ingest", "--quiet", "--config"]).arg(config).arg("--data").arg(root);
        command
    };
    let rows = |root: &Path| ["events", "truth", "events.quarantine"].map(|name| by_version(root, name));
    let (_fresh, _, root, config) = begun("fresh", &second);
    succeed(&mut ingest(&root, &config));
    let expected = rows(&root);

    let mut broken_off = 0;
    for entry in 1..=5 {
        let (_folder, file, root, config) = begun("data", &first);
        succeed(&mut ingest(&root, &config));
        std::fs::write(&file, &second).expect("writable");
        let killed = ingest(&root, &config).env("QUERENT_FAULT", format!("entry:{entry}")).status().expect("starts");
        broken_off += usize::from(!killed.success());
        succeed(&mut ingest(&root, &config));
        assert_eq!(rows(&root), expected, "killed after entry {entry}");
        // And it goes on from there.
        std::fs::write(&file, &first).expect("writable");
        succeed(&mut ingest(&root, &config));
    }
    assert!(broken_off >= 4, "{broken_off} commits were broken off");
}

#[test]
fn a_kill_at_any_step_or_any_moment_is_made_good_by_the_next_run() {
    let setup = Setup::new();
    let mut kills = 0;

    // At every step of the protocol, for early, middle and late passes of it.
    for point in ["staged", "receipt", "sealing", "placed", "entry", "superseded", "spilled"] {
        let before = kills;
        for pass in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 17, 22, 28] {
            let what = format!("{point}:{pass}");
            let (root, second) = setup.trial(&what.replace(':', "-"));
            let output = pipeline(&second).env("QUERENT_FAULT", &what).output().expect("the binary starts");
            if output.status.success() {
                // The pipeline passes this point fewer times.
                std::fs::remove_dir_all(&root).expect("removable");
                break;
            }
            assert_eq!(output.status.code(), None, "{what}: killed, not failed");
            kills += 1;
            for (name, manifest) in datasets(&root) {
                assert_eq!(by_version(&root, &name).len() as u64, manifest.rows, "{what}: {name}");
            }
            setup.check(&root, &second, &what);
        }
        assert!(kills > before, "no process passed {point}");
    }

    // At random moments, again and again until one run gets through.
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let mut trial = 0;
    let most = std::env::var("QUERENT_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(110);
    while kills < most {
        trial += 1;
        let (root, second) = setup.trial(&format!("random-{trial}"));
        for _ in 0..12 {
            let moment = setup.seconds * dice.share();
            let mut child = pipeline(&second).stdout(std::process::Stdio::null()).spawn().expect("the binary starts");
            std::thread::sleep(Duration::from_secs_f64(moment));
            if child.try_wait().expect("waitable").is_some() {
                break;
            }
            child.kill().expect("killable");
            child.wait().expect("waitable");
            kills += 1;
            for (name, manifest) in datasets(&root) {
                assert_eq!(by_version(&root, &name).len() as u64, manifest.rows, "{name}");
            }
        }
        setup.check(&root, &second, "killed at random moments");
    }
    assert!(kills >= 100, "{kills} kills");
}

#[test]
fn a_store_error_leaves_the_old_version_and_the_next_run_finishes() {
    let setup = Setup::new();
    for pass in [1, 2, 5, 9, 14, 20, 27, 35, 44, 54] {
        let (root, second) = setup.trial(&format!("error-{pass}"));
        let before: BTreeMap<String, Vec<String>> =
            datasets(&root).into_keys().map(|name| (name.clone(), by_glob(&root, &name))).collect();
        let output = pipeline(&second).env("QUERENT_FAULT", format!("put-error:{pass}")).output().expect("starts");
        assert_eq!(output.status.code(), Some(1), "worth retrying");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(message.contains("injected store error") && message.contains("hint: "), "{message}");
        for (name, manifest) in datasets(&root) {
            let rows = by_version(&root, &name);
            assert_eq!(rows.len() as u64, manifest.rows, "{name}");
            // A plain glob reads one version, whole, or `inspect` says that it reads more.
            let glob = by_glob(&root, &name);
            let said = succeed(querent().args(["inspect", &name, "--data"]).arg(&root));
            let one = glob == rows || Some(&glob) == before.get(&name);
            assert!(one || said.contains("a plain glob sees"), "{name}: {said}");
        }
        setup.check(&root, &second, &format!("put-error:{pass}"));
    }
}

/// How often two processes are set on one root.
fn trials(default: u32) -> u32 {
    std::env::var("QUERENT_TRIALS").ok().and_then(|trials| trials.parse().ok()).unwrap_or(default)
}

/// The same over a store with S3's manners: kills at every step of the protocol and at random moments, and two processes at once.
#[test]
fn kills_over_a_store_like_s3_are_made_good_by_the_next_run() {
    let folder = TempDir::new().expect("a folder");
    let [first, second] = [1, 2].map(|seed| over_objects(folder.path(), seed));
    let run = |config: &Path, root: &Path| {
        let mut command = pipeline(config);
        command.arg("--data").arg(format!("like-s3://{}", root.display())).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let base = folder.path().join("base");
    succeed(&mut run(&first, &base));
    let begin = |name: &str| {
        let root = folder.path().join(name);
        copy(&base, &root);
        root
    };
    let root = begin("expected");
    let begun = Instant::now();
    succeed(&mut run(&second, &root));
    let (seconds, expected) = (begun.elapsed().as_secs_f64(), contents(&root));
    assert_ne!(contents(&base), expected);
    // Whoever reads by version sees one, whole; the next run ends with the bytes of an undisturbed one.
    let check = |root: &Path, what: &str| {
        for (name, manifest) in datasets(root) {
            assert_eq!(by_version(root, &name).len() as u64, manifest.rows, "{what}: {name}");
        }
        succeed(&mut run(&second, root));
        assert_eq!(contents(root), expected, "{what}");
        // What listings showed late is deleted later.
        let like_s3 = format!("like-s3://{}", root.display());
        succeed(querent().args(["gc", "--older-than-hours", "0", "--data", &like_s3]));
        // A killed put leaves a temporary file of the local store below; S3 has none.
        for file in files(root).iter().filter(|file| file.to_string_lossy().contains('#')) {
            std::fs::remove_file(file).expect("removable");
        }
        at_rest(root);
        std::fs::remove_dir_all(root).expect("removable");
    };
    for point in ["staged", "receipt", "sealing", "entry", "superseded", "spilled"] {
        let mut kills = 0;
        for pass in [1, 3] {
            let what = format!("{point}:{pass}");
            let root = begin(&what.replace(':', "-"));
            let status = run(&second, &root).env("QUERENT_FAULT", &what).status().expect("the binary starts");
            kills += u32::from(!status.success());
            check(&root, &what);
        }
        assert!(kills > 0, "no process passed {point}");
    }
    let mut dice = Dice(0x517C_C1B7_2722_0A95);
    for trial in 0..trials(3) {
        let root = begin(&format!("two-{trial}"));
        let mut children = [(); 2].map(|()| run(&second, &root).spawn().expect("the binary starts"));
        for child in &mut children {
            std::thread::sleep(Duration::from_secs_f64(1.5 * seconds * dice.share()));
            child.kill().expect("killable");
            child.wait().expect("waitable");
        }
        check(&root, &format!("two at once, trial {trial}"));
    }
}

/// A pipeline whose raw logs lie on a disk.
fn over_objects(folder: &Path, seed: u32) -> PathBuf {
    let raw = folder.join(format!("raw-{seed}"));
    let path = config(&raw, USERS + 4 * (seed - 1), seed);
    succeed(&mut pipeline(&path));
    let text = std::fs::read_to_string(&path).expect("written").replace("\"simulate\", ", "");
    std::fs::write(&path, text).expect("writable");
    path
}

/// Two processes run whole pipelines of the same world over one root and are killed at random moments, while `gc` takes everything for old.
/// Whatever they did to each other, the next run ends with the bytes of an undisturbed one. `QUERENT_TRIALS` says how often.
#[test]
fn two_pipelines_and_gc_at_once_lose_nothing() {
    let setup = Setup::new();
    let mut dice = Dice(0x2545_F491_4F6C_DD1D);
    for trial in 0..trials(4) {
        let (root, second) = setup.trial(&format!("two-{trial}"));
        let start = || {
            let mut command = pipeline(&second);
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
            command.spawn().expect("the binary starts")
        };
        let mut children = [start(), start()];
        // One in four is left alone.
        let ends = [(); 2]
            .map(|()| 2.0 * setup.seconds * dice.share())
            .map(|at| if dice.share() < 0.25 { f64::INFINITY } else { at });
        let begun = Instant::now();
        let mut running = [true, true];
        while running.contains(&true) {
            let collected =
                querent().args(["gc", "--older-than-hours", "0", "--data"]).arg(&root).output().expect("starts");
            // What is superseded meanwhile is somebody else's to delete; that is no damage.
            assert!(matches!(collected.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&collected.stderr));
            for ((child, running), end) in children.iter_mut().zip(&mut running).zip(ends) {
                if *running && begun.elapsed().as_secs_f64() > end {
                    child.kill().expect("killable");
                }
                let Some(status) = child.try_wait().expect("waitable").filter(|_| *running) else { continue };
                *running = false;
                // One that gc or the other overtook says that it is worth another try.
                assert!(status.code().is_none_or(|code| code <= 1), "trial {trial}: {status:?}");
            }
            // Whoever reads gets a whole version, or is told that a newer one has taken its place.
            let read =
                querent().args(["inspect", "profiles", "--verify", "--data"]).arg(&root).output().expect("starts");
            assert!(matches!(read.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&read.stderr));
        }
        // What a killed process had not yet lost to the other one's commit lies about until `gc` has passed.
        succeed(&mut pipeline(&second));
        succeed(querent().args(["gc", "--older-than-hours", "0", "--data"]).arg(&root));
        setup.check(&root, &second, &format!("trial {trial}"));
    }
}
