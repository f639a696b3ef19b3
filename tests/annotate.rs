//! The endpoint client against a server that fails in every way: each behaviour ends labelled or counted, none is asked twice.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::AsArray;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{batches, config, contents, datasets, fail, http_server, pipeline, querent, succeed};

/// How often each behaviour was asked about, and what is answered to the n-th question about it.
struct Server {
    address: String,
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
}

/// What a server does with one request.
enum Reply {
    Content(String),
    Status(&'static str, &'static str),
    Hang,
    Body(&'static str),
    /// 400, and why.
    Refusal(&'static str),
}

impl Server {
    fn start(answer: impl Fn(&Value, &str, usize) -> Reply + Send + Sync + 'static) -> Self {
        let asked: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
        let counts = asked.clone();
        let address = http_server(move |request| {
            let behaviour = request["messages"][1]["content"].as_str()?.to_owned();
            let n = {
                let mut counts = counts.lock().expect("no panic");
                let n = counts.entry(behaviour.clone()).or_default();
                *n += 1;
                *n
            };
            let (head, body) = match answer(request, &behaviour, n) {
                Reply::Content(content) => {
                    let choice = json!({"message": {"role": "assistant", "content": content}, "finish_reason": "stop"});
                    let usage = json!({"prompt_tokens": 100, "completion_tokens": 10});
                    ("200 OK".into(), json!({"choices": [choice], "usage": usage}).to_string())
                }
                Reply::Status(status, headers) => (format!("{status}\r\n{headers}"), String::new()),
                Reply::Hang => {
                    std::thread::sleep(Duration::from_secs(5));
                    return None;
                }
                Reply::Body(body) => ("200 OK".into(), body.to_owned()),
                Reply::Refusal(why) => ("400 Bad Request".into(), json!({"error": {"message": why}}).to_string()),
            };
            Some((head, body))
        });
        Server { address, asked }
    }

    fn requests(&self) -> usize {
        self.asked.lock().expect("no panic").values().sum()
    }
}

fn world(folder: &Path) -> std::path::PathBuf {
    let root = folder.join("data");
    let path = config(&root, 24, 1);
    let jobs = std::fs::read_to_string(&path).expect("written").replace(", \"clean\", \"cap\", \"statistics\"", "");
    std::fs::write(&path, jobs).expect("writable");
    succeed(&mut pipeline(&path));
    root
}

fn by(model: &str, root: &Path, endpoint: &str, sample: &str) -> Command {
    let mut command = querent();
    command.args(["annotate", "--quiet", "--annotator", "endpoint", "--timeout-s", "0.5", "--attempts", "3"]);
    command.args(["--model", model, "--sample", sample, "--endpoint", endpoint, "--data"]).arg(root);
    command
}

fn annotate(root: &Path, endpoint: &str, sample: &str) -> Command {
    by("judge-1", root, endpoint, sample)
}

fn keep(_: &Value, _: &str, _: usize) -> Reply {
    Reply::Content(json!({"reason": "a subject", "label": 1}).to_string())
}

#[test]
fn every_failure_ends_in_a_label_or_is_counted() {
    let folder = TempDir::new().expect("a folder");
    let root = world(folder.path());
    // Behaviours take turns through the failures, in the order in which they are first asked about.
    let turns: Mutex<BTreeMap<String, usize>> = Mutex::default();
    let down = Arc::new(AtomicBool::new(true));
    let still = down.clone();
    let server = Server::start(move |request, behaviour, n| {
        assert_eq!(request["temperature"], 0);
        let mut turns = turns.lock().expect("no panic");
        let next = turns.len();
        let turn = *turns.entry(behaviour.to_owned()).or_insert(next);
        drop(turns);
        let good = || keep(&Value::Null, "", 0);
        match (turn % 14, n) {
            // Mended by the next try.
            (1, 1) => Reply::Status("429 Too Many Requests", "retry-after: 0.2\r\n"),
            (2, 1) => Reply::Status("503 Service Unavailable", ""),
            (3, 1) => Reply::Hang,
            (4, 1) => Reply::Body("{\"choices\": [{\"message\": {\"cont"),
            (5, 1) => Reply::Content("{\"reason\": \"x\", \"label\": 2}".into()),
            // Never mended.
            (6, _) => Reply::Content("Sure! Here it is: {\"reason\": \"x\", \"label\": 1}".into()),
            (7, _) => Reply::Content("{\"verdict\": true}".into()),
            (8, _) => Reply::Content("{\"reason\": \"x\", \"label\": 2}".into()),
            (9, _) => Reply::Content("{\"reason\": \"x\", \"lab".into()),
            (10, _) => Reply::Status("400 Bad Request", ""),
            // Mended another day.
            (11, _) if still.load(Ordering::SeqCst) => Reply::Status("503 Service Unavailable", ""),
            _ => good(),
        }
    });
    let message = fail(&mut annotate(&root, &server.address, "56"), 1);
    assert!(message.contains("annotate.endpoint: no answer to 4 of 56 behaviours (the last: HTTP 503)"), "{message}");
    assert!(!datasets(&root).contains_key("labels"), "a failure that may pass was committed");

    down.store(false, Ordering::SeqCst);
    let before = server.requests();
    let said = succeed(&mut annotate(&root, &server.address, "56"));
    let manifest = &datasets(&root)["labels"];
    let account = &manifest.account;
    assert_eq!(account.input, 56);
    assert_eq!((account.dropped["malformed answer"], account.dropped["refused by the server"]), (16, 4), "{said}");
    assert_eq!(manifest.rows, 36);
    // Those without a label, and no others: at most 16 malformed ones twice each, 4 refused ones, and the 4 that failed.
    assert!(server.requests() - before <= 2 * 16 + 4 + 4, "{said}");
    // 100 tokens for each answer that counted, and for the one malformed before it.
    assert_eq!(account.notes["prompt tokens"], 100 * (36 + 4));
    assert!(batches(&root, "labels").iter().all(|batch| {
        let annotators = batch.column_by_name("annotator").expect("a column").as_string::<i32>();
        annotators.iter().all(|annotator| annotator == Some("judge-1"))
    }));
    // What was there stays when another model says nothing that can be read.
    let nonsense = Server::start(|_, _, _| Reply::Content("I would keep it.".into()));
    let message = fail(&mut by("judge-2", &root, &nonsense.address, "56"), 2);
    assert!(message.contains("answers of another form than asked for (to the first 5 behaviours)"), "{message}");
    assert_eq!(datasets(&root)["labels"].rows, 36);
}

#[test]
fn a_killed_annotation_asks_only_for_the_rest() {
    let folder = TempDir::new().expect("a folder");
    let root = world(folder.path());
    let undisturbed = {
        let server = Server::start(keep);
        succeed(&mut annotate(&root, &server.address, "60"));
        let labels = contents(&root)["labels"].clone();
        for name in ["labels", "_cache"] {
            std::fs::remove_dir_all(root.join(name)).expect("removable");
        }
        labels
    };
    let answered = Arc::new(AtomicUsize::new(0));
    let count = answered.clone();
    let server = Server::start(move |request, behaviour, n| {
        if count.fetch_add(1, Ordering::SeqCst) > 30 {
            std::thread::sleep(Duration::from_millis(200));
        }
        keep(request, behaviour, n)
    });
    let mut child = annotate(&root, &server.address, "60").spawn().expect("the binary starts");
    while answered.load(Ordering::SeqCst) < 32 {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("running");
    child.wait().expect("killed");
    succeed(&mut annotate(&root, &server.address, "60"));
    assert_eq!(contents(&root)["labels"], undisturbed);
    // Only what was in flight when the process was killed is asked about again.
    assert!(server.requests() <= 60 + 8, "{}", server.requests());
    assert!(succeed(&mut annotate(&root, &server.address, "60")).contains("up to date"));
}

#[test]
fn a_server_that_is_gone_or_refuses_everything_ends_the_run() {
    let folder = TempDir::new().expect("a folder");
    let root = world(folder.path());
    let message = fail(&mut annotate(&root, "http://127.0.0.1:9/v1", "40"), 1);
    assert!(message.contains("no answer to 5 behaviours in a row"), "{message}");
    let server = Server::start(|_, _, _| Reply::Status("401 Unauthorized", ""));
    let message = fail(&mut annotate(&root, &server.address, "40"), 2);
    assert!(message.contains("HTTP 401") && message.contains("QUERENT_API_KEY"), "{message}");
    assert!(!datasets(&root).contains_key("labels"));
}

#[test]
fn a_server_without_schemas_is_asked_without() {
    let folder = TempDir::new().expect("a folder");
    let root = world(folder.path());
    for (status, model) in [("400 Bad Request", "judge-1"), ("500 Internal Server Error", "judge-2")] {
        let server = Server::start(move |request, behaviour, n| match request.get("response_format") {
            Some(_) => Reply::Status(status, ""),
            None => keep(request, behaviour, n),
        });
        succeed(&mut by(model, &root, &server.address, "20"));
        assert_eq!(datasets(&root)["labels"].rows, 20);
        // Found out once, by at most as many as ask at a time.
        assert!(server.requests() <= 20 + 8, "{}", server.requests());
    }
}

#[test]
fn a_server_that_renamed_the_bound_of_answers_is_asked_by_the_new_name() {
    let folder = TempDir::new().expect("a folder");
    let root = world(folder.path());
    let server = Server::start(|request, behaviour, n| match request.get("max_tokens") {
        Some(_) => Reply::Refusal("Unsupported parameter: use 'max_completion_tokens' instead."),
        None => keep(request, behaviour, n),
    });
    succeed(&mut annotate(&root, &server.address, "20"));
    assert_eq!(datasets(&root)["labels"].rows, 20);
}

#[test]
fn texts_stay_on_this_machine_unless_allowed() {
    let folder = TempDir::new().expect("a folder");
    let root = world(folder.path());
    for remote in ["http://example.com/v1", "https://10.0.0.1/v1", "http://localhost.example.com/v1"] {
        let message = fail(&mut annotate(&root, remote, "20"), 2);
        assert!(message.contains("--allow-remote-text"), "{remote}: {message}");
    }
    let message = fail(&mut annotate(&root, "http://127.0.0.1:secret@example.com/v1", "20"), 2);
    assert!(message.contains("without user, password") && !message.contains("secret"), "{message}");
    // A redirect is not followed.
    let server =
        Server::start(|_, _, _| Reply::Status("307 Temporary Redirect", "location: http://example.com/v1\r\n"));
    fail(&mut annotate(&root, &server.address, "20"), 2);
}

#[test]
fn rules_and_files_label_without_any_server() {
    let folder = TempDir::new().expect("a folder");
    let root = world(folder.path());
    let rules = |seed: &str| {
        succeed(querent().args(["annotate", "--quiet", "--sample", "100", "--seed", seed, "--data"]).arg(&root))
    };
    rules("0");
    let first = contents(&root)["labels"].clone();
    assert_eq!(datasets(&root)["labels"].rows, 100);
    rules("1");
    assert_ne!(contents(&root)["labels"], first);
    rules("0");
    assert_eq!(contents(&root)["labels"], first);
    let file = folder.path().join("labels.csv");
    std::fs::write(&file, "text,label\nsecret words,7\n").expect("writable");
    let file =
        ["annotate", "--quiet", "--annotator", "file", "--labels-file", file.to_str().expect("a path"), "--data"];
    let message = fail(querent().args(file).arg(&root), 3);
    assert!(
        message.contains("labels.csv:2: label: expected 1 or 0, got something else") && !message.contains("secret"),
        "{message}"
    );
}
