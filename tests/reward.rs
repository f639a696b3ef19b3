//! Rewards end to end: lists are scored the same whatever the cut, and a score can be explained.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float32Type, Int32Type};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{at_rest, batches, config, contents, datasets, fail, pipeline, querent, succeed};

const COMPONENTS: [&str; 5] = ["align", "coverage", "specificity", "diversity", "structure"];

fn score(root: &Path) -> Command {
    let mut command = querent();
    command.args(["score", "--quiet", "--data"]).arg(root);
    command
}

/// Users, candidates, and the numbers of some columns; NaN for null.
fn scores(root: &Path, columns: &[&str]) -> Vec<(String, i32, Vec<f32>)> {
    let mut rows = Vec::new();
    for batch in batches(root, "scores") {
        let users = batch.column_by_name("user_id").expect("a column").as_string::<i32>().clone();
        let candidates = batch.column_by_name("candidate").expect("a column").as_primitive::<Int32Type>().clone();
        for row in 0..batch.num_rows() {
            let number = |name: &&str| {
                let column = batch.column_by_name(name).expect("a column").as_primitive::<Float32Type>();
                if column.is_null(row) { f32::NAN } else { column.value(row) }
            };
            let numbers = columns.iter().map(number).collect();
            rows.push((users.value(row).to_owned(), candidates.value(row), numbers));
        }
    }
    rows
}

#[test]
fn lists_are_scored_and_explained() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("data");
    succeed(&mut pipeline(&config(&root, 24, 5)));
    let said = fail(&mut score(&root), 2);
    assert!(said.contains("interests"), "{said}");
    succeed(querent().args(["embed", "--fields", "title", "--quiet", "--data"]).arg(&root));
    let generate = ["generate", "--quiet", "--samples", "3", "--keep-all", "--share", "0.3", "--queries", "3"];
    succeed(querent().args(generate).args(["--max-new-tokens", "40", "--budget-tokens", "64", "--data"]).arg(&root));

    let said = succeed(score(&root).args(["--threads", "1"]));
    assert!(said.contains("align ") && said.contains("structure "), "the scale is said: {said}");
    at_rest(&root);
    let rows = scores(&root, &[&COMPONENTS[..], &["copied", "reward"]].concat());
    assert_eq!(rows.len() as u64, datasets(&root)["interests"].account.output * 3);
    for (user, candidate, numbers) in &rows {
        assert!(numbers[..6].iter().all(|number| (0.0..=1.0).contains(number)), "{user} {candidate}: {numbers:?}");
        assert!((0.0..=5.0).contains(&numbers[6]), "{user} {candidate}: {numbers:?}");
    }
    assert!(rows.iter().any(|(.., numbers)| numbers[0] > 0.1 && numbers[3] > 0.1), "{rows:?}");
    assert!(succeed(&mut score(&root)).contains("score: up to date"));

    // In shards and with other threads: the same bytes.
    let content = contents(&root)["scores"].clone();
    std::fs::remove_dir_all(root.join("scores")).expect("there");
    for shard in ["0/2", "1/2"] {
        succeed(score(&root).args(["--threads", "2", "--shard", shard]));
    }
    succeed(querent().args(["commit", "scores", "--data"]).arg(&root));
    assert_eq!(contents(&root)["scores"], content);

    // Raw, the reward is the weighted sum of what the columns say.
    succeed(score(&root).args(["--normalise", "raw", "--without", "structure,align", "--coverage-weight", "2"]));
    for (user, candidate, numbers) in scores(&root, &["coverage", "specificity", "diversity", "reward"]) {
        let expected = 2.0 * numbers[0] + numbers[1] + numbers[2];
        assert!((numbers[3] - expected).abs() < 1e-5, "{user} {candidate}: {numbers:?}");
    }

    // An explanation shows the user's themes and each list's queries, and scores nothing.
    let (user, ..) = &rows[0];
    let before = contents(&root);
    let said = succeed(score(&root).args(["--explain", user]));
    for expected in ["themes", "theme 1: weight", "list 0: reward", "list 2: reward", "fetches, align ", "copied"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert_eq!(contents(&root), before);
    let said = fail(score(&root).args(["--explain", "somebody"]), 2);
    assert!(said.contains("--explain: expected a user id") && said.contains("hint: "), "{said}");
    let said = fail(score(&root).args(["--explain", &"0".repeat(32)]), 2);
    assert!(said.contains("expected a user of profiles"), "{said}");

    // Another step's lists are another dataset's.
    let said = fail(querent().args(["score@student", "--quiet", "--data"]).arg(&root), 2);
    assert!(said.contains("interests.student"), "{said}");
    let scale = folder.path().join("scale.json");
    std::fs::write(&scale, "{\"low\": [0, 0, 0, 0, 0], \"high\": [1, 1, 0, 1, 1], \"clip\": true}").expect("writable");
    let said = fail(score(&root).arg("--calibration").arg(&scale), 3);
    assert!(said.contains("each of low below that of high"), "{said}");
}

/// A server of rewards, ended when it goes.
struct Served {
    process: Child,
    address: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const TOKEN: &str = "0123456789abcdef0123";

fn serve(root: &Path, more: &[&str]) -> Served {
    let mut command = score(root);
    command.args(["--serve", "0", "--normalise", "raw"]).args(more).env("QUERENT_SCORE_TOKEN", TOKEN);
    let mut process = command.stdout(Stdio::piped()).spawn().expect("the binary starts");
    let stdout = BufReader::new(process.stdout.take().expect("piped"));
    let lines = stdout.lines().map_while(Result::ok);
    let address = lines.filter_map(|line| Some(line.split_once("serving at http://")?.1.to_owned())).next();
    Served { process, address: address.expect("it serves") }
}

impl Served {
    /// Status and body of the answer to a request as it goes over the line.
    fn ask(&self, head: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        let length =
            if head.contains("content-length") { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        write!(stream, "{head}\r\nhost: x\r\nconnection: close\r\n{length}\r\n{body}").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("HTTP");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}")))
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.ask(&format!("POST {path} HTTP/1.1\r\nauthorization: Bearer {TOKEN}"), &body.to_string())
    }
}

#[test]
fn rewards_are_served_to_whoever_has_the_token() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("data");
    succeed(&mut pipeline(&config(&root, 24, 5)));
    succeed(querent().args(["embed", "--fields", "title", "--quiet", "--data"]).arg(&root));
    let said = fail(score(&root).args(["--serve", "0", "--normalise", "raw"]).env_remove("QUERENT_SCORE_TOKEN"), 2);
    assert!(said.contains("QUERENT_SCORE_TOKEN: expected at least 16"), "{said}");
    let profiles = batches(&root, "profiles");
    let user = profiles[0].column_by_name("user_id").expect("a column").as_string::<i32>().value(0).to_owned();
    let served = serve(&root, &[]);
    let list = "[\"bee swarm collection\", \"ceiling paint colours\", \"night shift fatigue\"]";

    // The three wires say the same of one list.
    let prompt = "<|im_start|>user\nwhat?<|im_end|>\n<|im_start|>assistant\n";
    let query = format!("{prompt}{list}<|im_end|>");
    let body = json!({"query": [query.clone(), query], "prompts": [prompt, prompt], "labels": [user, user]});
    let (status, answer) = served.post("/get_reward", &body);
    assert_eq!(status, 200, "{answer}");
    let reward = answer["rewards"][0].as_f64().expect("a reward");
    assert!(reward > 2.0 && answer["rewards"][1] == answer["rewards"][0], "{answer}");
    assert_eq!(answer["extra_logs"]["structure"], json!([1.0, 1.0]));
    let (status, one) = served.post("/reward", &json!({"prompt": "", "response": list, "label": user}));
    assert_eq!(
        (status, &one["reward"], &one["align"]),
        (200, &answer["rewards"][0], &answer["extra_logs"]["align"][0])
    );
    let output = json!([{"type": "message", "content": [{"type": "output_text", "text": list}]}]);
    let body = json!({"responses_create_params": {"input": "x"}, "response": {"output": output}, "label": user});
    let (status, verified) = served.post("/verify", &body);
    assert_eq!((status, &verified["reward"]), (200, &one["reward"]));
    assert_eq!((&verified["reward_components"]["align"], &verified["response"]), (&one["align"], &body["response"]));
    let (_, none) = served.post("/reward", &json!({"prompt": "", "response": "I cannot", "label": user}));
    assert_eq!(none["reward"], 0.0, "{none}");

    // A token in the address will do, too, for some trainers send no headers of ours.
    let body = json!({"prompt": "", "response": list, "label": user});
    let (status, _) = served.ask(&format!("POST /reward?token={TOKEN} HTTP/1.1"), &body.to_string());
    assert_eq!(status, 200);

    // Whatever is wrong has one clear answer, which repeats no text.
    let post = format!("POST /reward HTTP/1.1\r\nauthorization: Bearer {TOKEN}");
    let huge = format!("{post}\r\ncontent-length: 900000000");
    for (head, body, status, error) in [
        ("POST /reward HTTP/1.1", body.to_string(), 401, "expected the token"),
        ("POST /reward?token=0123456789abcdef012 HTTP/1.1", body.to_string(), 401, "expected the token"),
        (&post.replace("POST", "GET"), String::new(), 405, "expected POST"),
        (&post.replace("/reward", "/rewards"), body.to_string(), 404, "expected /get_reward"),
        (&post, "{\"response\": \"planted".to_owned(), 400, "expected JSON"),
        (&post, "{\"response\": \"planted\"}".to_owned(), 422, "user id"),
        (&post, json!({"response": "planted", "label": "0".repeat(32)}).to_string(), 422, "a user id of profiles"),
        (&post, json!({"response": "planted", "label": "planted"}).to_string(), 422, "a user id of profiles"),
        (&huge, String::new(), 413, "at most"),
    ] {
        let (got, answer) = served.ask(head, &body);
        let said = answer["error"].as_str().expect("an error");
        assert!(got == status && said.contains(error) && !said.contains("planted"), "{head}: {got} {said}");
    }

    // Sixteen at once, none lost, each the same.
    let answers: Vec<(u16, Value)> = std::thread::scope(|scope| {
        let ask = || (0..20).map(|_| served.post("/reward", &body)).collect::<Vec<_>>();
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(answers.len() == 320 && answers.iter().all(|(status, answer)| *status == 200 && *answer == one));
}

#[test]
fn other_trainers_get_rewards_through_the_shims() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("data");
    succeed(&mut pipeline(&config(&root, 24, 5)));
    succeed(querent().args(["embed", "--fields", "title", "--quiet", "--data"]).arg(&root));
    let profiles = batches(&root, "profiles");
    let user = profiles[0].column_by_name("user_id").expect("a column").as_string::<i32>().value(0).to_owned();
    let served = serve(&root, &[]);
    let script = "import sys; from jobs.shims import trl, verl\n\
        u, l = sys.argv[1], '[\"bee swarm\", \"ceiling paint\", \"night shift\"]'\n\
        a = trl.querent_reward(prompts=['p'] * 2, completions=[l, [{'role': 'assistant', 'content': l}]], user_id=[u] * 2)\n\
        b = verl.compute_score('x', l, u)\n\
        c = verl.compute_score('x', 'none', None, {'user_id': u})\n\
        assert a[0] == a[1] == b['score'] > 1 and c['score'] == 0 and list(b) == list(c), (a, b, c)\n\
        try: verl.compute_score('x', l, 'nobody')\n\
        except RuntimeError as e: assert '422' in str(e), e\n\
        else: raise AssertionError('nobody has a reward')";
    let mut python = Command::new("python3");
    python.args(["-c", script, &user]).current_dir(env!("CARGO_MANIFEST_DIR"));
    python.env("PYTHONDONTWRITEBYTECODE", "1").env("QUERENT_SCORE_TOKEN", TOKEN);
    succeed(python.env("QUERENT_SCORE_URL", format!("http://{}", served.address)));
}
