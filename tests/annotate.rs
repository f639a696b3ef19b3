//! The endpoint client against a server that fails in every way: each behaviour ends labelled or counted, none is asked twice.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::AsArray;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{batches, config, contents, datasets, fail, pipeline, querent, succeed};

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
}

impl Server {
    fn start(answer: impl Fn(&Value, &str, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}/v1", listener.local_addr().expect("bound"));
        let asked: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
        let (counts, answer) = (asked.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (counts, answer) = (counts.clone(), answer.clone());
                std::thread::spawn(move || serve(stream, &counts, &*answer));
            }
        });
        Server { address, asked }
    }

    fn requests(&self) -> usize {
        self.asked.lock().expect("no panic").values().sum()
    }
}

/// Answers the requests of one connection.
fn serve(
    stream: TcpStream,
    asked: &Mutex<BTreeMap<String, usize>>,
    answer: &dyn Fn(&Value, &str, usize) -> Reply,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let (mut line, mut length) = (String::new(), 0);
        while reader.read_line(&mut line).ok()? > 0 && line.trim() != "" {
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            line.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let request: Value = serde_json::from_slice(&body).ok()?;
        let behaviour = request["messages"][1]["content"].as_str()?.to_owned();
        let n = {
            let mut asked = asked.lock().expect("no panic");
            let n = asked.entry(behaviour.clone()).or_default();
            *n += 1;
            *n
        };
        let (status, body) = match answer(&request, &behaviour, n) {
            Reply::Content(content) => {
                let choice = json!({"message": {"role": "assistant", "content": content}, "finish_reason": "stop"});
                (
                    "200 OK",
                    json!({"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 10}}).to_string(),
                )
            }
            Reply::Status(status, headers) => {
                write!(writer, "HTTP/1.1 {status}\r\n{headers}content-length: 0\r\n\r\n").ok()?;
                continue;
            }
            Reply::Hang => {
                std::thread::sleep(Duration::from_secs(5));
                return None;
            }
            Reply::Body(body) => ("200 OK", body.to_owned()),
        };
        write!(writer, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).ok()?;
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

fn annotate(root: &Path, endpoint: &str, sample: &str) -> Command {
    let mut command = querent();
    command.args([
        "annotate",
        "--quiet",
        "--annotator",
        "endpoint",
        "--model",
        "judge-1",
        "--timeout-s",
        "0.5",
        "--attempts",
        "3",
    ]);
    command.args(["--sample", sample, "--endpoint", endpoint, "--data"]).arg(root);
    command
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
    let server = Server::start(move |request, behaviour, n| {
        assert_eq!(request["response_format"]["type"], "json_schema");
        assert_eq!(request["temperature"], 0);
        let mut turns = turns.lock().expect("no panic");
        let next = turns.len();
        let turn = *turns.entry(behaviour.to_owned()).or_insert(next);
        drop(turns);
        let good = || keep(&Value::Null, "", 0);
        match (turn % 12, n) {
            // Mended by the next try.
            (0, 1) => Reply::Status("429 Too Many Requests", "retry-after: 0.2\r\n"),
            (1, 1) => Reply::Status("500 Internal Server Error", ""),
            (2, 1) => Reply::Hang,
            (3, 1) => Reply::Body("{\"choices\": [{\"message\": {\"cont"),
            (4, 1) => Reply::Content("{\"reason\": \"x\", \"label\": 2}".into()),
            // Never mended.
            (5, _) => Reply::Content("Sure! Here it is: {\"reason\": \"x\", \"label\": 1}".into()),
            (6, _) => Reply::Content("{\"verdict\": true}".into()),
            (7, _) => Reply::Content("{\"reason\": \"x\", \"label\": 2}".into()),
            (8, _) => Reply::Content("{\"reason\": \"x\", \"lab".into()),
            (9, _) => Reply::Status("503 Service Unavailable", ""),
            _ => good(),
        }
    });
    let said = succeed(&mut annotate(&root, &server.address, "48"));
    let manifest = &datasets(&root)["labels"];
    let account = &manifest.account;
    assert_eq!(account.input, 48);
    assert_eq!((account.dropped["malformed answer"], account.dropped["no answer"]), (16, 4), "{said}");
    assert_eq!(manifest.rows, 28);
    // 100 tokens for each answer that counted, and for the one malformed before it.
    assert_eq!(account.notes["prompt tokens"], 100 * (28 + 4));
    assert!(batches(&root, "labels").iter().all(|batch| {
        let annotators = batch.column_by_name("annotator").expect("a column").as_string::<i32>();
        annotators.iter().all(|annotator| annotator == Some("judge-1"))
    }));
    assert!(said.contains("requests 92"), "{said}");
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
    let server = Server::start(|request, behaviour, n| match request.get("response_format") {
        Some(_) => Reply::Status("400 Bad Request", ""),
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
