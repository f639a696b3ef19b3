//! A language model as annotator: every behaviour is asked about once, over all runs.

use chat::{Answers, Form, Question, Reply, Server};
use dataset::{Account, Result, Store, Style, plain};
use serde::Deserialize;

use super::{Verdict, prompt};

/// Characters of a reason that are kept.
const LONGEST_REASON: usize = 200;

/// The language model and the answers it gave before.
#[derive(Debug)]
pub(super) struct Endpoint {
    answers: Answers,
}

impl Endpoint {
    /// Sends nothing yet. Answers are kept under `_cache/annotate` in the store. `in_all`: behaviours that will be asked about.
    pub(super) fn open(server: &Server, store: &Store, in_all: usize, progress: Style) -> Result<Self> {
        let form = Form { of: "behaviours", folder: "annotate", version: prompt::VERSION, max_tokens: 200 };
        Ok(Endpoint { answers: Answers::open(server, store, form, in_all, progress)? })
    }

    /// Verdicts in the texts' order; `None` and counted where none was to be had.
    pub(super) fn ask_all(&self, texts: &[&str], account: &mut Account) -> Result<Vec<Option<Verdict>>> {
        let before = self.answers.traffic();
        let question = |text: &&str| {
            let messages = prompt::messages(text);
            Question { messages, schema: prompt::schema() }
        };
        let questions: Vec<_> = texts.iter().map(question).collect();
        let replies = self.answers.ask_all(&questions, &|_, content| verdict(content))?;
        let mut verdicts = Vec::with_capacity(texts.len());
        for reply in replies {
            match reply {
                Reply::Verdict(verdict, [prompt_tokens, completion_tokens]) => {
                    account.note("prompt tokens", prompt_tokens);
                    account.note("completion tokens", completion_tokens);
                    verdicts.push(Some(verdict));
                }
                Reply::None(why) => {
                    account.drop(why, 1);
                    verdicts.push(None);
                }
            }
        }
        for (what, (before, after)) in
            ["requests", "from the cache"].into_iter().zip(before.into_iter().zip(self.answers.traffic()))
        {
            account.note(what, after - before);
        }
        Ok(verdicts)
    }
}

/// The verdict of an answer that is one JSON object of the right form and nothing else.
fn verdict(content: &str) -> Option<Verdict> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Form {
        reason: Option<String>,
        #[serde(deserialize_with = "chat::bit")]
        label: u8,
    }
    let Form { reason, label } = serde_json::from_str(content).ok()?;
    let reason = reason.map(|reason| plain(&reason).chars().take(LONGEST_REASON).collect());
    Some(Verdict { keep: label == 1, reason })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;

    use serde_json::json;

    use super::super::Annotate;
    use super::*;

    #[test]
    fn only_the_asked_for_form_is_a_verdict() {
        let read = |content: &str| verdict(content).map(|verdict| verdict.keep);
        assert_eq!(read("{\"reason\": \"a topic\", \"label\": 1}"), Some(true));
        assert_eq!(read("{\"label\": 0}"), Some(false));
        assert_eq!(read("{\"label\": \"1\"}"), Some(true));
        for malformed in [
            "{\"reason\": \"x\", \"label\": 2}",
            "{\"reason\": \"x\"}",
            "{\"label\": 1, \"label\": 0}",
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
        let reason = verdict(&content).and_then(|verdict| verdict.reason).expect("a reason");
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
        settings.server().expect("sound")
    }

    fn http(status: &str, headers: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\n{headers}connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    fn completion(content: &str) -> String {
        let choice = json!({"message": {"content": content}, "finish_reason": "stop"});
        json!({"choices": [choice], "usage": {}}).to_string()
    }

    const TEXTS: [&str; 6] =
        ["planted one", "planted two", "planted three", "planted four", "planted five", "planted six"];

    /// What asking all texts comes to.
    type Asked = (Vec<Option<Verdict>>, Account);

    /// All texts, asked twice.
    fn ask(answer: String) -> Result<[Asked; 2]> {
        ask_about(&TEXTS, answer)
    }

    fn ask_about(texts: &[&str], answer: String) -> Result<[Asked; 2]> {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().to_string_lossy())?;
        let endpoint = Endpoint::open(&server(answer), &store, texts.len(), Style::Silent)?;
        let (mut first, mut second) = (Account::default(), Account::default());
        let verdicts = endpoint.ask_all(texts, &mut first)?;
        let again = endpoint.ask_all(texts, &mut second)?;
        Ok([(verdicts, first), (again, second)])
    }

    #[test]
    fn an_answer_is_asked_for_once_and_counts_that_make_no_sense_do_no_harm() -> Result<()> {
        let usage = json!({"prompt_tokens": u64::MAX, "completion_tokens": u64::MAX});
        let [(verdicts, account), (again, cached)] = ask(http(
            "200 OK",
            "",
            &completion("{\"label\": 1}").replace("\"usage\":{}", &format!("\"usage\":{usage}")),
        ))?;
        assert!(verdicts.iter().all(|verdict| verdict.as_ref().is_some_and(|verdict| verdict.keep)));
        assert_eq!((account.notes.get("requests"), account.notes.get("from the cache")), (Some(&6), None));
        assert_eq!(again, verdicts);
        assert_eq!((cached.notes.get("requests"), cached.notes.get("from the cache")), (None, Some(&6)));
        Ok(())
    }

    #[test]
    fn however_few_are_asked_about_no_verdict_at_all_is_no_result() -> Result<()> {
        // Else the labels that there are would give way to none.
        for n in 1..TEXTS.len() {
            let refused = http("400 No", "", &json!({"error": {"message": "too long"}}).to_string());
            for answer in [refused, http("200 OK", "", &completion("no idea"))] {
                let error = ask_about(&TEXTS[..n], answer).expect_err("no verdict");
                let expected = format!("(to the first {} behaviours)", n.min(5));
                assert!(error.exit_code() == 2 && error.to_string().contains(&expected), "{error}");
            }
        }
        ask_about(&[], http("401 No", "", ""))?;
        Ok(())
    }

    #[test]
    fn a_server_that_fails_is_one_error_without_texts() {
        for (answer, exit, expected) in [
            (http("500 Oh No", "", "planted one"), 1, "no answer to 5 behaviours in a row (the last: HTTP 500)"),
            (http("429 Slowly", "retry-after: 1e300\r\n", ""), 1, "HTTP 429"),
            (http("401 No", "", "planted one"), 2, "expected a server that answers, got HTTP 401"),
            (
                http("404 No", "", &json!({"error": {"message": "no model m"}}).to_string()),
                2,
                "got HTTP 404: no model m",
            ),
            (
                http("400 No", "", &json!({"error": {"message": "planted"}}).to_string()),
                2,
                "got HTTP 400 (to the first 5",
            ),
            (http("200 OK", "", &completion("planted one")), 2, "got answers of another form than asked for (to the"),
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
