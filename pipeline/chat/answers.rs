//! Questions that are asked once: an answer is kept under everything that decides it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use dataset::{Error, Progress, Result, Store, Style, in_parallel};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::wire::json_of;
use crate::{Client, Schema, Server, Unanswered};

/// Questions in a row that come to nothing before the run gives up on the server.
const PATIENCE: u32 = 5;

/// What all questions of one kind share.
#[derive(Debug, Clone)]
pub struct Form {
    /// What they are called in messages, such as behaviours.
    pub of: &'static str,
    /// Where answers are kept: `_cache/<folder>` in the store.
    pub folder: &'static str,
    /// Raised with every change of wording.
    pub version: &'static str,
    /// Tokens of an answer, at most.
    pub max_tokens: u32,
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// The conversation.
    pub messages: Value,
    /// What the answer looks like. It follows from the conversation: answers are kept by that alone.
    pub schema: Schema,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply<V> {
    /// A verdict, and the tokens that were read and written for it, now or when it was asked first.
    Verdict(V, [u64; 2]),
    /// None was to be had, and why.
    None(&'static str),
}

/// A server, and the answers that it gave before.
#[derive(Debug)]
pub struct Answers {
    client: Client,
    store: Store,
    server: Server,
    form: Form,
    progress: Style,
    /// Questions without any use, and without a verdict before, that end the run.
    patience: u32,
    /// Questions in a row that the server failed to answer.
    failed_in_a_row: AtomicU32,
    /// Questions that it refused, or answered with nonsense, before it gave any verdict.
    useless: AtomicU32,
    /// Verdicts had so far.
    had: AtomicU64,
    cached: AtomicU64,
}

/// Where in a store something is kept under all that decides it.
pub fn kept_at(folder: &str, decides: &Value) -> String {
    let key = blake3::hash(decides.to_string().as_bytes()).to_hex().to_string();
    format!("_cache/{folder}/{}/{key}.json", &key[..2])
}

/// What came of a question that was asked now.
enum Asked<V> {
    Reply(Reply<V>),
    /// Another day the server may answer.
    Failed(String),
}

/// An answer as the cache has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Cached<V> {
    verdict: V,
    prompt_tokens: u64,
    completion_tokens: u64,
}

impl Answers {
    /// Sends nothing yet. `in_all`: questions that will be asked; if none of so few gets a verdict, nothing that the server says is of any use.
    pub fn open(server: &Server, store: &Store, form: Form, in_all: usize, progress: Style) -> Result<Self> {
        Ok(Answers {
            client: Client::open(server)?,
            store: store.clone(),
            server: server.clone(),
            form,
            progress,
            patience: PATIENCE.min(u32::try_from(in_all).unwrap_or(u32::MAX)),
            failed_in_a_row: AtomicU32::new(0),
            useless: AtomicU32::new(0),
            had: AtomicU64::new(0),
            cached: AtomicU64::new(0),
        })
    }

    /// Requests sent so far, and questions answered from the cache.
    pub fn traffic(&self) -> [u64; 2] {
        [self.client.requests(), self.cached.load(Ordering::Relaxed)]
    }

    /// What came of each question, in their order: equal ones are asked once. `verdict`: what the answer to the question of this number says, if
    /// it is of the right form; of an answer it gets the JSON alone.
    ///
    /// # Errors
    /// When the server fails to answer a question, after all have been asked, or too many in a row: what it has answered is kept, so that
    /// another run asks only for the rest. When nothing that it says is of any use, or it refuses whoever asks.
    pub fn ask_all<V: Clone + Send + Serialize + DeserializeOwned>(
        &self,
        questions: &[Question],
        verdict: &(dyn Fn(usize, &str) -> Option<V> + Sync),
    ) -> Result<Vec<Reply<V>>> {
        let mut known = HashMap::new();
        let mut distinct = Vec::new();
        let mut replied = Vec::with_capacity(questions.len());
        for (at, question) in questions.iter().enumerate() {
            let number = *known.entry(question.messages.to_string()).or_insert_with(|| {
                distinct.push(at);
                distinct.len() - 1
            });
            replied.push(number);
        }
        let n = distinct.len();
        let progress = Progress::new(self.form.folder, self.form.of, n as u64, self.progress);
        let ask = |number: usize| {
            let at = distinct[number];
            let path = self.path(&questions[at]);
            if let Some(kept) = self.kept(&path)? {
                progress.skip(1);
                return Ok(Asked::Reply(kept));
            }
            let asked = self.ask(&questions[at], &path, &|content| verdict(at, content))?;
            progress.step(1);
            Ok(asked)
        };
        let (mut replies, mut failed) = (Vec::with_capacity(n), Vec::new());
        for asked in in_parallel(n, self.server.concurrency, ask)? {
            match asked {
                Asked::Reply(reply) => replies.push(reply),
                Asked::Failed(why) => failed.push(why),
            }
        }
        match failed.last() {
            Some(why) => Err(self.failed(&format!("no answer to {} of {n} {}", failed.len(), self.form.of), why)),
            None => Ok(replied.into_iter().map(|number| replies[number].clone()).collect()),
        }
    }

    /// Where the answer to a question is kept.
    fn path(&self, question: &Question) -> String {
        kept_at(self.form.folder, &json!([self.server.name(), self.server.model, self.form.version, question.messages]))
    }

    fn kept<V: DeserializeOwned>(&self, path: &str) -> Result<Option<Reply<V>>> {
        let kept = self.store.get(path)?.and_then(|json| serde_json::from_slice::<Cached<V>>(&json).ok());
        Ok(kept.map(|Cached { verdict, prompt_tokens, completion_tokens }| {
            self.cached.fetch_add(1, Ordering::Relaxed);
            self.had.fetch_add(1, Ordering::Relaxed);
            Reply::Verdict(verdict, [prompt_tokens, completion_tokens])
        }))
    }

    fn ask<V: Serialize + DeserializeOwned>(
        &self,
        Question { messages, schema }: &Question,
        path: &str,
        verdict: &dyn Fn(&str) -> Option<V>,
    ) -> Result<Asked<V>> {
        let (mut prompt_tokens, mut completion_tokens) = (0, 0);
        // A malformed answer is asked for once more.
        for _ in 0..2 {
            let answer = match self.client.ask(messages, schema, self.form.max_tokens)? {
                Ok(answer) => answer,
                Err(Unanswered::Failed(why)) => return self.unanswered(why),
                Err(Unanswered::Refused(got)) => {
                    self.failed_in_a_row.store(0, Ordering::Relaxed);
                    return self.nothing("refused by the server", &got);
                }
            };
            self.failed_in_a_row.store(0, Ordering::Relaxed);
            prompt_tokens += answer.prompt_tokens;
            completion_tokens += answer.completion_tokens;
            if let Some(verdict) = answer.content.as_deref().and_then(|content| verdict(json_of(content))) {
                self.had.fetch_add(1, Ordering::Relaxed);
                let cached = Cached { verdict, prompt_tokens, completion_tokens };
                let created = self.store.create(path, json!(cached).to_string().into())?;
                // Whoever was first has the last word: all who ask at the same time go on with one verdict.
                let first = if created { None } else { self.kept(path)? };
                let own = || Reply::Verdict(cached.verdict, [prompt_tokens, completion_tokens]);
                return Ok(Asked::Reply(first.unwrap_or_else(own)));
            }
        }
        self.nothing("malformed answer", "answers of another form than asked for")
    }

    /// The server failed to answer.
    fn unanswered<V>(&self, why: String) -> Result<Asked<V>> {
        if self.failed_in_a_row.fetch_add(1, Ordering::Relaxed) + 1 >= PATIENCE {
            return Err(self.failed(&format!("no answer to {PATIENCE} {} in a row", self.form.of), &why));
        }
        Ok(Asked::Failed(why))
    }

    fn failed(&self, what: &str, why: &str) -> Error {
        let what = format!("{}: {what} (the last: {why})", self.server.setting("endpoint"));
        Error::retry(what, "mend the cause, then run again: answers are kept, and nothing is asked twice")
    }

    /// There is no verdict on this question. Where there never was one on any, the server or model is the wrong one.
    fn nothing<V>(&self, why: &'static str, got: &str) -> Result<Asked<V>> {
        let useless = self.useless.fetch_add(1, Ordering::Relaxed) + 1;
        if useless >= self.patience && self.had.load(Ordering::Relaxed) == 0 {
            return Err(self.client.refused(&format!("{got} (to the first {} {})", self.patience, self.form.of)));
        }
        Ok(Asked::Reply(Reply::None(why)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::ServerSettings;
    use crate::testing::serve;

    const FORM: Form = Form { of: "things", folder: "things", version: "1", max_tokens: 9 };

    fn question(text: &str) -> Question {
        Question { messages: json!([{"role": "user", "content": text}]), schema: Schema::Bit }
    }

    fn answer(content: &str) -> String {
        json!({"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}).to_string()
    }

    fn asking(address: &str, store: &Store) -> Result<Answers> {
        let settings = ServerSettings { attempts: 1, concurrency: 1, ..ServerSettings::local(address) };
        Answers::open(&Server::new(&settings)?, store, FORM, 9, Style::Silent)
    }

    #[test]
    fn who_ask_at_the_same_time_go_on_with_one_verdict() -> Result<()> {
        // A server whose every answer is another one.
        let calls = AtomicUsize::new(0);
        let address = serve(move |_, _| (200, answer(&calls.fetch_add(1, Ordering::Relaxed).to_string())));
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().to_string_lossy())?;
        let (slow, fast) = (asking(&address, &store)?, asking(&address, &store)?);
        let read = |content: &str| content.parse::<u32>().ok();
        let verdict = |replies: Vec<Reply<u32>>| match replies[0] {
            Reply::Verdict(verdict, _) => verdict,
            Reply::None(why) => panic!("{why}"),
        };
        // While the slow one reads its answer, the fast one asks, and keeps what it was told.
        let between = |_: usize, content: &str| {
            assert_eq!(content, "0");
            assert_eq!(fast.ask_all(&[question("a")], &|_, content| read(content)).map(verdict).ok(), Some(1));
            read(content)
        };
        assert_eq!(verdict(slow.ask_all(&[question("a")], &between)?), 1);
        assert_eq!(verdict(slow.ask_all(&[question("a")], &|_, content| read(content))?), 1);
        Ok(())
    }

    #[test]
    fn a_server_that_refuses_between_its_failures_is_not_down() -> Result<()> {
        let calls = AtomicUsize::new(0);
        let address = serve(move |_, _| match calls.fetch_add(1, Ordering::Relaxed) {
            0 => (200, answer("7")),
            odd if odd % 2 == 1 => (503, String::new()),
            _ => (422, String::new()),
        });
        let folder = tempfile::tempdir().expect("a folder");
        let answers = asking(&address, &Store::open(&folder.path().to_string_lossy())?)?;
        let questions: Vec<Question> = (0..14).map(|n| question(&n.to_string())).collect();
        let error = answers.ask_all(&questions, &|_, content| content.parse::<u32>().ok()).expect_err("some failed");
        assert!(error.to_string().contains("no answer to 7 of 14 things"), "{error}");
        Ok(())
    }
}
