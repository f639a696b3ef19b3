//! A language model as annotator: every behaviour is asked about once, over all runs.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use dataset::{Account, Error, Result, Store, plain};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::chat::{Answer, Chat};
use super::server::Server;
use super::{Verdict, prompt};

/// Behaviours in a row that the server leaves unanswered before the run gives up on it.
const PATIENCE: u32 = 5;
/// Characters of a reason that are kept.
const LONGEST_REASON: usize = 200;

/// The language model and the answers it gave before.
#[derive(Debug)]
pub(super) struct Endpoint {
    chat: Chat,
    store: Store,
    server: Server,
    unanswered_in_a_row: AtomicU32,
    cached: AtomicU64,
}

/// An answer as the cache has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Cached {
    verdict: Verdict,
    prompt_tokens: u64,
    completion_tokens: u64,
}

impl Endpoint {
    /// Sends nothing yet. Answers are kept under `_cache/annotate` in the store.
    pub(super) fn open(server: &Server, store: &Store) -> Result<Self> {
        Ok(Endpoint {
            chat: Chat::open(server)?,
            store: store.clone(),
            server: server.clone(),
            unanswered_in_a_row: AtomicU32::new(0),
            cached: AtomicU64::new(0),
        })
    }

    /// Requests sent so far, and behaviours answered from the cache.
    fn traffic(&self) -> [u64; 2] {
        [&self.chat.requests, &self.cached].map(|count| count.load(Ordering::Relaxed))
    }

    /// Verdicts in the texts' order; `None` and counted where none was to be had.
    pub(super) fn ask_all(&self, texts: &[&str], account: &mut Account) -> Result<Vec<Option<Verdict>>> {
        let before = self.traffic();
        let next = AtomicUsize::new(0);
        let outcomes: Mutex<Vec<(usize, Result<Outcome>)>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..self.server.concurrency.min(texts.len()) {
                scope.spawn(|| {
                    while let Some(text) = {
                        let i = next.fetch_add(1, Ordering::Relaxed);
                        texts.get(i).map(|text| (i, text))
                    } {
                        let outcome = self.ask(text.1);
                        if outcome.is_err() {
                            next.store(texts.len(), Ordering::Relaxed);
                        }
                        outcomes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((text.0, outcome));
                    }
                });
            }
        });
        let mut verdicts = vec![None; texts.len()];
        for (i, outcome) in outcomes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            match outcome? {
                Outcome::Labelled(Cached { verdict, prompt_tokens, completion_tokens }) => {
                    account.note("prompt tokens", prompt_tokens);
                    account.note("completion tokens", completion_tokens);
                    verdicts[i] = Some(verdict);
                }
                Outcome::Unlabelled(why) => account.drop(why, 1),
            }
        }
        for (what, (before, after)) in
            ["requests", "from the cache"].into_iter().zip(before.into_iter().zip(self.traffic()))
        {
            account.note(what, after - before);
        }
        Ok(verdicts)
    }

    fn ask(&self, text: &str) -> Result<Outcome> {
        let messages = prompt::messages(text);
        let question = json!([self.server.name(), self.server.model, prompt::VERSION, messages]).to_string();
        let key = blake3::hash(question.as_bytes()).to_hex().to_string();
        let path = format!("_cache/annotate/{}/{key}.json", &key[..2]);
        if let Some(cached) = self.store.get(&path)?.and_then(|json| serde_json::from_slice::<Cached>(&json).ok()) {
            self.cached.fetch_add(1, Ordering::Relaxed);
            return Ok(Outcome::Labelled(cached));
        }
        let (mut prompt_tokens, mut completion_tokens) = (0, 0);
        // A malformed answer is asked for once more.
        for _ in 0..2 {
            let answer = match self.chat.ask(&messages, &prompt::response_format())? {
                Ok(answer) => answer,
                Err(why) => return self.unanswered(&why),
            };
            self.unanswered_in_a_row.store(0, Ordering::Relaxed);
            prompt_tokens += answer.prompt_tokens;
            completion_tokens += answer.completion_tokens;
            if let Some(verdict) = verdict(&answer) {
                let cached = Cached { verdict, prompt_tokens, completion_tokens };
                self.store.create(&path, json!(cached).to_string().into())?;
                return Ok(Outcome::Labelled(cached));
            }
        }
        Ok(Outcome::Unlabelled("malformed answer"))
    }

    fn unanswered(&self, why: &str) -> Result<Outcome> {
        if self.unanswered_in_a_row.fetch_add(1, Ordering::Relaxed) + 1 >= PATIENCE {
            let what = format!("annotate.endpoint: no answer to {PATIENCE} behaviours in a row (the last: {why})");
            return Err(Error::retry(
                what,
                "mend the cause, then run again: answers are kept, and nothing is asked twice",
            ));
        }
        Ok(Outcome::Unlabelled("no answer"))
    }
}

enum Outcome {
    Labelled(Cached),
    Unlabelled(&'static str),
}

/// The verdict of an answer that is one JSON object of the right form and nothing else.
fn verdict(answer: &Answer) -> Option<Verdict> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Form {
        reason: Option<String>,
        label: u8,
    }
    let Form { reason, label } = serde_json::from_str(answer.content.as_ref()?.trim()).ok()?;
    let reason = reason.map(|reason| plain(&reason).chars().take(LONGEST_REASON).collect());
    (label <= 1).then_some(Verdict { keep: label == 1, reason })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;

    use super::super::Annotate;
    use super::*;

    #[test]
    fn only_the_asked_for_form_is_a_verdict() {
        let read = |content: &str| {
            let answer = Answer { content: Some(content.into()), prompt_tokens: 0, completion_tokens: 0 };
            verdict(&answer).map(|verdict| verdict.keep)
        };
        assert_eq!(read(" {\"reason\": \"a topic\", \"label\": 1}\n"), Some(true));
        assert_eq!(read("{\"label\": 0}"), Some(false));
        for malformed in [
            "{\"reason\": \"x\", \"label\": 2}",
            "{\"reason\": \"x\"}",
            "{\"label\": \"1\"}",
            "{\"label\": 1, \"sure\": true}",
            "Here you are: {\"label\": 1}",
            "{\"label\": 1",
            "1",
            "",
        ] {
            assert_eq!(read(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn a_reason_steers_no_terminal_and_is_short() {
        let content = json!({"reason": format!("\u{1b}[31m{}", "x".repeat(9_000)), "label": 0}).to_string();
        let verdict = verdict(&Answer { content: Some(content), prompt_tokens: 0, completion_tokens: 0 });
        let reason = verdict.and_then(|verdict| verdict.reason).expect("a reason");
        assert!(reason.len() < 210 && !reason.contains('\u{1b}'), "{reason}");
    }

    /// A server that gives every request the same answer.
    fn server(answer: String) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}/v1", listener.local_addr().expect("bound"));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let answer = answer.clone();
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().expect("a connection"));
                    let (mut line, mut length) = (String::new(), 0);
                    while reader.read_line(&mut line).is_ok_and(|read| read > 0) && !line.trim().is_empty() {
                        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                            length = value.trim().parse().expect("a length");
                        }
                        line.clear();
                    }
                    let mut body = vec![0; length];
                    // Whoever asked may have gone.
                    let _ = reader.read_exact(&mut body).and_then(|()| stream.write_all(answer.as_bytes()));
                });
            }
        });
        let settings = Annotate {
            endpoint,
            model: "m".into(),
            attempts: 1,
            timeout_s: 5.0,
            concurrency: 2,
            ..Annotate::default()
        };
        Server::new(&settings).expect("sound")
    }

    fn http(status: &str, headers: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\n{headers}connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    const TEXTS: [&str; 6] =
        ["planted one", "planted two", "planted three", "planted four", "planted five", "planted six"];

    /// What asking all texts comes to.
    type Asked = (Vec<Option<Verdict>>, Account);

    /// All texts, asked twice.
    fn ask(answer: String) -> Result<[Asked; 2]> {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().to_string_lossy())?;
        let endpoint = Endpoint::open(&server(answer), &store)?;
        let (mut first, mut second) = (Account::default(), Account::default());
        let verdicts = endpoint.ask_all(&TEXTS, &mut first)?;
        let again = endpoint.ask_all(&TEXTS, &mut second)?;
        Ok([(verdicts, first), (again, second)])
    }

    #[test]
    fn an_answer_is_asked_for_once_and_counts_that_make_no_sense_do_no_harm() -> Result<()> {
        let choice = json!({"message": {"content": "{\"label\": 1}"}, "finish_reason": "stop"});
        let usage = json!({"prompt_tokens": u64::MAX, "completion_tokens": u64::MAX});
        let [(verdicts, account), (again, cached)] =
            ask(http("200 OK", "", &json!({"choices": [choice], "usage": usage}).to_string()))?;
        assert!(verdicts.iter().all(|verdict| verdict.as_ref().is_some_and(|verdict| verdict.keep)));
        assert_eq!((account.notes.get("requests"), account.notes.get("from the cache")), (Some(&6), None));
        assert_eq!(again, verdicts);
        assert_eq!((cached.notes.get("requests"), cached.notes.get("from the cache")), (None, Some(&6)));
        Ok(())
    }

    #[test]
    fn a_server_that_fails_is_one_error_without_texts() {
        for (answer, exit, expected) in [
            (http("500 Oh No", "", "planted one"), 1, "no answer to 5 behaviours in a row (the last: HTTP 500)"),
            (http("429 Slowly", "retry-after: 1e300\r\n", ""), 1, "HTTP 429"),
            (http("401 No", "", "planted one"), 2, "expected a server that answers, got HTTP 401"),
            (http("307 There", "location: http://example.com/\r\n", ""), 2, "got HTTP 307"),
            (http("200 OK", "", "planted one"), 1, "an answer that is no chat completion"),
            ("planted one planted one\r\n\r\n".to_owned(), 1, "no answer"),
        ] {
            let error = ask(answer).expect_err(expected);
            assert_eq!(error.exit_code(), exit, "{error}");
            assert!(error.to_string().contains(expected) && !error.to_string().contains("planted"), "{error}");
        }
    }
}
