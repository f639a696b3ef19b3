//! Questions that are asked once: an answer is kept under everything that decides it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use dataset::{Error, Result, Store};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::parallel::in_parallel;
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
    pub fn open(server: &Server, store: &Store, form: Form, in_all: usize) -> Result<Self> {
        Ok(Answers {
            client: Client::open(server)?,
            store: store.clone(),
            server: server.clone(),
            form,
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
        let ask = |number: usize| {
            let at = distinct[number];
            self.ask(&questions[at], &|content| verdict(at, content))
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

    fn ask<V: Serialize + DeserializeOwned>(
        &self,
        Question { messages, schema }: &Question,
        verdict: &dyn Fn(&str) -> Option<V>,
    ) -> Result<Asked<V>> {
        let question = json!([self.server.name(), self.server.model, self.form.version, messages]).to_string();
        let key = blake3::hash(question.as_bytes()).to_hex().to_string();
        let path = format!("_cache/{}/{}/{key}.json", self.form.folder, &key[..2]);
        if let Some(cached) = self.store.get(&path)?.and_then(|json| serde_json::from_slice::<Cached<V>>(&json).ok()) {
            self.cached.fetch_add(1, Ordering::Relaxed);
            self.had.fetch_add(1, Ordering::Relaxed);
            return Ok(Asked::Reply(Reply::Verdict(cached.verdict, [cached.prompt_tokens, cached.completion_tokens])));
        }
        let (mut prompt_tokens, mut completion_tokens) = (0, 0);
        // A malformed answer is asked for once more.
        for _ in 0..2 {
            let answer = match self.client.ask(messages, schema, self.form.max_tokens)? {
                Ok(answer) => answer,
                Err(Unanswered::Failed(why)) => return self.unanswered(why),
                Err(Unanswered::Refused(got)) => return self.nothing("refused by the server", &got),
            };
            self.failed_in_a_row.store(0, Ordering::Relaxed);
            prompt_tokens += answer.prompt_tokens;
            completion_tokens += answer.completion_tokens;
            if let Some(verdict) = answer.content.as_deref().and_then(|content| verdict(json_of(content))) {
                self.had.fetch_add(1, Ordering::Relaxed);
                let cached = Cached { verdict, prompt_tokens, completion_tokens };
                self.store.create(&path, json!(cached).to_string().into())?;
                return Ok(Asked::Reply(Reply::Verdict(cached.verdict, [prompt_tokens, completion_tokens])));
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
