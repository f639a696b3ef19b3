//! The law of freshness: after any sequence of changes, every dataset equals that of a run from nothing.
//!
//! The pipeline is small: raw logs, a tiny cleaner, two methods that need no encoder, metrics with intervals. A change is one setting of any
//! job, a row more in a log, another title, another model. `QUERENT_SEQUENCES` says how many sequences are tried (`make test-long`: 10,000),
//! `QUERENT_SEED` with which one to begin, and `QUERENT_BINARY` with which program, so that an older one can be put to the test.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rayon::prelude::*;
use tempfile::TempDir;

use crate::support::{Dice, KEY, by_glob, cleaner, copy, text, tsv_log};

/// Changes in a sequence.
const CHANGES: usize = 4;

/// A pipeline's state: which of a few values each knob has.
type State = BTreeMap<&'static str, usize>;

/// What can be changed: a knob, and how many values it has. Rows are only ever added: the others are settings.
const KNOBS: [(&str, usize); 18] = [
    ("searches", 3),
    ("clicks", 3),
    ("titles", 2),
    ("zone", 2),
    ("cut-off", 2),
    ("window", 2),
    ("history", 2),
    ("model", 3),
    ("keep-label", 2),
    ("max-tokens", 2),
    ("threshold", 2),
    ("cap", 2),
    ("candidates", 3),
    ("candidate-days", 2),
    ("articles", 2),
    ("seed", 2),
    ("cuts", 2),
    ("resamples", 2),
];

/// Knobs that only grow: what was read stays read.
const GROWING: [&str; 3] = ["searches", "clicks", "titles"];

fn start() -> State {
    KNOBS.iter().map(|(knob, _)| (*knob, 0)).collect()
}

fn change(state: &mut State, dice: &mut Dice) -> &'static str {
    loop {
        let (knob, values) = KNOBS[dice.below(KNOBS.len())];
        let now = state[knob];
        let next = if GROWING.contains(&knob) { now + 1 } else { (now + 1 + dice.below(values - 1)) % values };
        if next < values {
            state.insert(knob, next);
            return knob;
        }
    }
}

/// Three models: the tiny cleaner, the same with the two labels of other meaning, and one whose file differs in a weight.
fn models(folder: &Path) -> [PathBuf; 2] {
    let [first, second] = ["model-a", "model-b"].map(|name| folder.join(name));
    copy(cleaner(), &first);
    copy(cleaner(), &second);
    // The vocabulary in another order is another model.
    let path = second.join("tokenizer.json");
    let json = std::fs::read_to_string(&path).expect("readable");
    let mut tokenizer: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let vocabulary = tokenizer["model"]["vocab"].as_object_mut().expect("a vocabulary");
    let pairs: Vec<(String, serde_json::Value)> = vocabulary
        .iter()
        .filter(|(token, _)| token.len() > 2 && !token.starts_with('<'))
        .map(|(t, n)| (t.clone(), n.clone()))
        .collect();
    for pair in pairs.chunks_exact(2) {
        vocabulary.insert(pair[0].0.clone(), pair[1].1.clone());
        vocabulary.insert(pair[1].0.clone(), pair[0].1.clone());
    }
    std::fs::write(&path, tokenizer.to_string()).expect("writable");
    [first, second]
}

/// Writes the raw logs of a state. A log's later files are written once it has grown so far.
fn write_logs(folder: &Path, state: &State) {
    std::fs::create_dir_all(folder).expect("writable");
    let day = |day: i64, minute: usize| {
        let seconds = 1_764_547_200 + day * 86_400 + minute as i64 * 60;
        let civil = seconds.rem_euclid(86_400);
        let (date, month) = if day < 0 { (30 + day + 1, 11) } else { (day + 1, 12) };
        format!("2025-{month:02}-{date:02} {:02}:{:02}:00", civil / 3600, civil % 3600 / 60)
    };
    for file in 0..=state["searches"] {
        let queries =
            ["latest glacier guide for beginners", "velmo login", "comet explained in five questions", "weather torni"];
        let lines = (0..40).map(|i| {
            format!(
                "u{}\t{}\t{} {}\n",
                i % 5,
                day(-((i % 9) as i64) - 1, i + file * 50),
                queries[(i + file) % 4],
                i % 6
            )
        });
        let text: String = std::iter::once("user\tat\tquery\n".to_owned()).chain(lines).collect();
        std::fs::write(folder.join(format!("searches-{file}.tsv")), text).expect("writable");
    }
    for file in 0..=state["clicks"] {
        let lines = (0..60)
            .map(|i| format!("u{}\t{}\tn{}\n", i % 5, day((i % 24) as i64 - 12, i + file * 70), (i * 7 + file) % 40));
        let text: String = std::iter::once("user\tat\tarticle\n".to_owned()).chain(lines).collect();
        std::fs::write(folder.join(format!("clicks-{file}.tsv")), text).expect("writable");
    }
    for file in 0..=state["titles"] {
        let title = |i: usize| {
            if file > 0 && i.is_multiple_of(3) {
                "Zebras are in the news again"
            } else {
                "What the orchestra means for the region"
            }
        };
        let lines = (0..40).map(|i| format!("n{i}\t{} {i}\t{}\n", title(i), day((i % 20) as i64 - 10, 0)));
        let text: String = std::iter::once("id\ttitle\tat\n".to_owned()).chain(lines).collect();
        std::fs::write(folder.join(format!("news-{file}.tsv")), text).expect("writable");
    }
}

fn config(models: &[PathBuf; 2], state: &State) -> String {
    let one_of = |knob: &str, values: &[&str]| values[state[knob]].to_owned();
    let log = |kind: &str, name: &str, rest: &str| {
        let zone = if name == "searches" { one_of("zone", &["UTC", "Europe/Berlin"]) } else { "UTC".into() };
        tsv_log(kind, name, Path::new(&format!("logs/{name}-*.tsv")), &format!("time_zone = \"{zone}\"\n{rest}"))
    };
    let model = match state["model"] {
        2 => "none".to_owned(),
        model => models[model].display().to_string(),
    };
    [
        "[run]\njobs = [\"ingest\", \"clean\", \"cap\", \"statistics\", \"retrieve\", \"evaluate\"]\nmax_bad_ratio = 1.0\n".to_owned(),
        format!(
            "[ingest]\nbuckets = 3\ncut_off = \"{}T00:00:00Z\"\nwindow_days = {}\nhistory_days = {}\n",
            one_of("cut-off", &["2025-12-01", "2025-12-02"]),
            one_of("window", &["7", "10"]),
            one_of("history", &["0", "9"]),
        ),
        log("events", "searches", "domain = \"search\"\nuser = \"user\"\ntext = \"query\""),
        log("events", "clicks", "domain = \"news\"\nuser = \"user\"\nnews_id = \"article\""),
        log("news", "news", "news_id = \"id\"\ntitle = \"title\""),
        format!(
            "[clean]\nmodel = \"{model}\"\nkeep_label = \"{}\"\nmax_tokens = {}\nthreshold = {}\nborderline = 5\n",
            one_of("keep-label", &["keep", "noise"]),
            one_of("max-tokens", &["64", "3"]),
            one_of("threshold", &["0.5", "0.3"]),
        ),
        format!("[cap]\nevents_per_domain = {}\n", one_of("cap", &["50", "3"])),
        format!(
            "[index]\ncandidates = \"{}\"\ncandidate_days = {}\n",
            one_of("candidates", &["live", "before", "all"]),
            one_of("candidate-days", &["3", "6"]),
        ),
        format!(
            "[retrieve]\nmethods = [\"popularity\", \"random\"]\narticles = {}\nseed = {}\n",
            one_of("articles", &["20", "7"]),
            one_of("seed", &["1", "2"]),
        ),
        format!(
            "[evaluate]\ncuts = {}\nresamples = {}\n",
            one_of("cuts", &["[5, 10]", "[3]"]),
            one_of("resamples", &["50", "70"]),
        ),
    ]
    .join("\n")
}

/// What a root's datasets hold: of each how many rows, and their digest.
type Held = BTreeMap<String, (usize, u64)>;

/// Every pipeline has a folder of its own and is run within it, so that one that was copied finds its logs where they were read.
struct Bench {
    folder: TempDir,
    models: [PathBuf; 2],
    /// What a run from nothing gives, by state.
    expected: Mutex<BTreeMap<State, Held>>,
}

impl Bench {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let bench = Bench { models: models(folder.path()), expected: Mutex::default(), folder };
        bench.run(&bench.folder("start"), &start());
        bench
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, folder: &Path, state: &State) {
        write_logs(&folder.join("logs"), state);
        std::fs::write(folder.join("pipeline.toml"), config(&self.models, state)).expect("writable");
        let program = std::env::var("QUERENT_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_querent").into());
        let output = Command::new(program)
            .args(["run", "pipeline.toml", "--quiet", "--data", "data"])
            .current_dir(folder)
            .env("QUERENT_USER_KEY", KEY)
            .output()
            .expect("the binary starts");
        assert!(output.status.success(), "{state:?}\n{}{}", text(&output.stdout), text(&output.stderr));
    }

    fn read(folder: &Path) -> Held {
        let root = folder.join("data");
        let folders = std::fs::read_dir(&root).expect("listable").flatten();
        let names = folders.filter(|e| e.path().is_dir()).filter_map(|e| e.file_name().into_string().ok());
        // What ingest has read, and where it lay, is a diary: it has no from-nothing.
        let names = names
            .filter(|name| !name.starts_with('_') && !name.ends_with("raw_files") && !name.ends_with("quarantine"));
        let held = |name: String| {
            let rows = by_glob(&root, &name);
            let mut digest = DefaultHasher::new();
            rows.hash(&mut digest);
            (name, (rows.len(), digest.finish()))
        };
        names.map(held).collect()
    }

    /// `seed` is of the sequence that asks, so that two which ask at once are not in each other's way.
    fn run_from_nothing(&self, state: &State, seed: u64) -> Held {
        if let Some(known) = self.expected.lock().expect("no panic").get(state) {
            return known.clone();
        }
        let folder = self.folder(&format!("nothing-{seed}"));
        self.run(&folder, state);
        let held = Self::read(&folder);
        std::fs::remove_dir_all(&folder).expect("removable");
        self.expected.lock().expect("no panic").insert(state.clone(), held.clone());
        held
    }

    /// One sequence: the first dataset that is stale, with the changes that led there.
    fn sequence(&self, seed: u64) -> Option<String> {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let (folder, mut state, mut changes) = (self.folder(&format!("sequence-{seed}")), start(), Vec::new());
        copy(&self.folder("start"), &folder);
        let mut found = None;
        for _ in 0..CHANGES {
            changes.push(change(&mut state, &mut dice));
            self.run(&folder, &state);
            let (got, expected) = (Self::read(&folder), self.run_from_nothing(&state, seed));
            // Datasets of a state before stay where the state has none: no classifier, no scores.
            let stale = expected.iter().find(|(name, held)| got.get(*name) != Some(*held));
            if let Some((name, (rows, _))) = stale {
                let have = got.get(name).map_or(0, |(rows, _)| *rows);
                found =
                    Some(format!("seed {seed}: after {changes:?} {name} is stale: {have} rows, from nothing {rows}"));
                break;
            }
        }
        std::fs::remove_dir_all(&folder).expect("removable");
        found
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "ten thousand sequences take an hour")]
fn after_any_changes_every_dataset_equals_that_of_a_run_from_nothing() {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (first, sequences) = (number("QUERENT_SEED", 0), number("QUERENT_SEQUENCES", 6));
    let (bench, done, began) = (Bench::new(), AtomicU64::new(0), Instant::now());
    let one = |seed| {
        let found = bench.sequence(seed);
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(500) || done == sequences {
            let states = bench.expected.lock().expect("no panic").len();
            eprintln!("{done} of {sequences} sequences, {states} states from nothing, {:.0?}", began.elapsed());
        }
        found
    };
    let stale: Vec<String> = (first..first + sequences).into_par_iter().filter_map(one).collect();
    assert!(stale.is_empty(), "{} of {sequences} sequences left a stale dataset: {stale:#?}", stale.len());
}
