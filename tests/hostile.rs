//! Settings that make no sense: each is one clear error, or does what it says; none crashes, hangs, or writes outside of the root.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{querent, text, world};

/// Arguments, what comes before a value, and values. A value follows its flag after `=`.
type Hostile<'a> = (&'a [&'a str], &'a str, &'a [&'a str]);

const NUMBERS: [&str; 9] =
    ["-1", "1e3", "0x10", "", "abc", "1.5", "nan", "99999999999999999999", "18446744073709551615"];
const NAMES: [&str; 12] = [
    "../events",
    "events/../profiles",
    "/etc",
    "..",
    ".",
    "",
    "events/",
    "events\n",
    "_cache",
    "%2e%2e",
    "\u{1b}[31mred",
    "C:\\x",
];

/// What is always a mistake.
const REFUSED: [Hostile<'_>; 21] = [
    (&["cap"], "--shard=", &["3/2", "0/0", "2/2", "-1/2", "1/-2", "1", "/", "1/2/3", "a/b", "0/99999999999", " 0/2"]),
    (&["cap"], "--threads=", &["0", "-1", "100000", "18446744073709551615", "99999999999999999999", "1e3", "", "abc"]),
    (&["cap"], "--memory-limit=", &["0", "-1", "1e400", "nan", "inf", "", "0x10", "1..2", "1.5.2MiB"]),
    (&["cap"], "--max-bad-ratio=", &["nan", "-1", "2", "inf", "-inf", ""]),
    (&["cap"], "--events-per-domain=", &NUMBERS),
    (
        &["cap"],
        "--set=",
        &["", "=", "cap", "cap=1", "cap.=1", ".x=1", "cap.a.b=1", "evil.x=1", "../x.y=1", "cap.events_per_domain=[1]"],
    ),
    (
        &["cap"],
        "--set=cap.events_per_domain=",
        &["", "true", "{a=1}", "\"1\"", "1979-05-27", "0", "nan", "1\n[run]\njobs=['x']"],
    ),
    (&["gc", "--dry-run"], "--older-than-hours=", &["nan", "-5", "inf", "-inf", ""]),
    (&["inspect"], "", &NAMES),
    (&["commit"], "", &NAMES),
    (&["gc"], "", &NAMES),
    (&["import"], "", &["../x", "a/b", "..", "", "interests", "a b", "é", "x\n", "<b>"]),
    (&["simulate"], "--users=", &["0", "4294967296000", "9223372036854775807"]),
    (
        &["simulate"],
        "--set=simulate.",
        &["history_days=4294967295", "window_days=4294967295", "noise=nan", "seed=-1", "cut_off=\"+262000-12-01\""],
    ),
    (
        &["ingest"],
        "--set=ingest.",
        &[
            "buckets=0",
            "buckets=-1",
            "buckets=1.0",
            "window_days=0",
            "window_days=-1",
            "cut_off=1",
            "cut_off=\"yesterday\"",
            "cut_off=\"9999999-12-01T00:00:00Z\"",
            "mind=/nowhere",
            "events=1",
            "events=[{name=\"x\"}]",
            "news=[{}]",
        ],
    ),
    (&["clean"], "--threshold=", &["nan", "-1", "inf", "5"]),
    (&["clean"], "--max-tokens=", &["0", "1", "-1"]),
    (&["clean"], "--onnx=", &["../../../etc/passwd", "/etc/passwd"]),
    (&["retrieve"], "--methods=", &["../x", "nothere", "random,../x"]),
    (
        &["evaluate"],
        "--set=evaluate.",
        &[
            "cuts=[]",
            "cuts=[0]",
            "cuts=[-1]",
            "resamples=0",
            "methods=[\"../x\"]",
            "methods=[\"nothere\"]",
            "among=\"x\"",
        ],
    ),
    (&["report"], "--output=", &["/dev/full", "/", "..", "data", "data.1.toml", "data.1.toml/x.html"]),
];

/// What may be meant, and is done within bounds, or refused.
const BOUNDED: [Hostile<'_>; 7] = [
    (&["cap"], "--memory-limit=", &["9999999999999999999999GiB", "2 GiB", "1", "1KiB"]),
    (&["cap"], "--shard=", &["0/4294967295"]),
    (&["cap"], "--events-per-domain=", &["4294967295"]),
    (
        &["ingest"],
        "--set=ingest.",
        &[
            "window_days=4294967295",
            "window_days=106751991",
            "history_days=4294967295",
            "buckets=10000",
            "cut_off=\"+262000-12-01T00:00:00Z\"",
            "cut_off=\"-9999-12-01T00:00:00Z\"",
        ],
    ),
    (&["clean"], "--borderline=", &["0", "4294967295"]),
    (&["retrieve", "--methods=random"], "--articles=", &["0", "18446744073709551615"]),
    (&["evaluate"], "--set=evaluate.", &["cuts=[4294967295]", "cuts=[10,10,10]", "resample_up_to=0"]),
];

/// A command's exit code and what it said, after looking that it ended in time.
fn run(command: &mut Command) -> (i32, String) {
    let began = Instant::now();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    while child.try_wait().expect("a child").is_none() {
        if began.elapsed() > Duration::from_secs(60) {
            child.kill().expect("running");
            panic!("{command:?} hangs");
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    let output = child.wait_with_output().expect("it has ended");
    let said = text(&output.stdout) + &text(&output.stderr);
    (output.status.code().expect("no signal"), said)
}

#[test]
fn settings_that_make_no_sense_are_one_clear_error() {
    let (folder, root, config) = world();
    let command = |arguments: &[&str], flag: &str, value: &str| {
        let mut command = querent();
        command.args(arguments).arg(format!("{flag}{value}")).current_dir(folder.path());
        let with_config = !["inspect", "commit", "gc"].contains(&arguments[0]);
        if with_config {
            command.arg("--config").arg(&config).arg("--quiet");
        }
        command.arg("--data").arg(&root);
        if arguments == ["import"] {
            command.arg("/dev/null");
        }
        command
    };
    let each = |all: &[Hostile<'_>], codes: &[i32]| {
        let mut wrong = Vec::new();
        for (arguments, flag, values) in all {
            for value in *values {
                let (code, said) = run(&mut command(arguments, flag, value));
                let clear = code == 0 || said.lines().any(|line| line.starts_with("error: "));
                if !codes.contains(&code) || !clear || said.contains('\u{1b}') {
                    wrong.push(format!("{arguments:?} {flag}{value:?}: exit {code}: {said}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    };
    each(&REFUSED, &[2, 3]);
    each(&BOUNDED, &[0, 2, 3]);
    let left: Vec<_> =
        Path::read_dir(folder.path()).expect("listable").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left.len(), 2, "only the root and its pipeline's file: {left:?}");
}
