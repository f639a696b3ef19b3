//! Questions that are asked once: an answer is kept under everything that decides it.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use dataset::{Error, Result, Store};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Client, Server};

/// Questions in a row that the server leaves unanswered before the run gives up on it.
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
    /// The answer's JSON schema, for servers that can hold a model to one.
    pub response_format: Value,
    /// Tokens of an answer, at most.
    pub max_tokens: u32,
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
    unanswered_in_a_row: AtomicU32,
    cached: AtomicU64,
}

/// An answer as the cache has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Cached<V> {
    verdict: V,
    prompt_tokens: u64,
    completion_tokens: u64,
}

impl Answers {
    /// Sends nothing yet.
    pub fn open(server: &Server, store: &Store, form: Form) -> Result<Self> {
        Ok(Answers {
            client: Client::open(server)?,
            store: store.clone(),
            server: server.clone(),
            form,
            unanswered_in_a_row: AtomicU32::new(0),
            cached: AtomicU64::new(0),
        })
    }

    /// Requests sent so far, and questions answered from the cache.
    pub fn traffic(&self) -> [u64; 2] {
        [self.client.requests(), self.cached.load(Ordering::Relaxed)]
    }

    /// What came of each of `n` questions, in their order. `messages`: a question's conversation. `verdict`: what its answer says, if it is of the
    /// right form.
    ///
    /// # Errors
    /// When the server refuses all questions, or leaves too many in a row unanswered.
    pub fn ask_all<V: Clone + Send + Serialize + DeserializeOwned>(
        &self,
        n: usize,
        messages: &(dyn Fn(usize) -> Value + Sync),
        verdict: &(dyn Fn(usize, &str) -> Option<V> + Sync),
    ) -> Result<Vec<Reply<V>>> {
        let next = AtomicUsize::new(0);
        let outcomes: Mutex<Vec<(usize, Result<Reply<V>>)>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..self.server.concurrency.min(n) {
                scope.spawn(|| {
                    while let Some(at) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < n) {
                        let outcome = self.ask(&messages(at), &|content| verdict(at, content));
                        if outcome.is_err() {
                            next.store(n, Ordering::Relaxed);
                        }
                        outcomes.lock().unwrap_or_else(PoisonError::into_inner).push((at, outcome));
                    }
                });
            }
        });
        let mut replies = vec![Reply::None("not asked"); n];
        for (at, outcome) in outcomes.into_inner().unwrap_or_else(PoisonError::into_inner) {
            replies[at] = outcome?;
        }
        Ok(replies)
    }

    fn ask<V: Serialize + DeserializeOwned>(
        &self,
        messages: &Value,
        verdict: &dyn Fn(&str) -> Option<V>,
    ) -> Result<Reply<V>> {
        let question = json!([self.server.name(), self.server.model, self.form.version, messages]).to_string();
        let key = blake3::hash(question.as_bytes()).to_hex().to_string();
        let path = format!("_cache/{}/{}/{key}.json", self.form.folder, &key[..2]);
        if let Some(cached) = self.store.get(&path)?.and_then(|json| serde_json::from_slice::<Cached<V>>(&json).ok()) {
            self.cached.fetch_add(1, Ordering::Relaxed);
            return Ok(Reply::Verdict(cached.verdict, [cached.prompt_tokens, cached.completion_tokens]));
        }
        let (mut prompt_tokens, mut completion_tokens) = (0, 0);
        // A malformed answer is asked for once more.
        for _ in 0..2 {
            let answer = match self.client.ask(messages, &self.form.response_format, self.form.max_tokens)? {
                Ok(answer) => answer,
                Err(why) => return self.unanswered(&why),
            };
            self.unanswered_in_a_row.store(0, Ordering::Relaxed);
            prompt_tokens += answer.prompt_tokens;
            completion_tokens += answer.completion_tokens;
            if let Some(verdict) = answer.content.as_deref().and_then(|content| verdict(content.trim())) {
                let cached = Cached { verdict, prompt_tokens, completion_tokens };
                self.store.create(&path, json!(cached).to_string().into())?;
                return Ok(Reply::Verdict(cached.verdict, [prompt_tokens, completion_tokens]));
            }
        }
        Ok(Reply::None("malformed answer"))
    }

    fn unanswered<V>(&self, why: &str) -> Result<Reply<V>> {
        if self.unanswered_in_a_row.fetch_add(1, Ordering::Relaxed) + 1 >= PATIENCE {
            let what = format!(
                "{}: no answer to {PATIENCE} {} in a row (the last: {why})",
                self.server.setting("endpoint"),
                self.form.of
            );
            let hint = "mend the cause, then run again: answers are kept, and nothing is asked twice";
            return Err(Error::retry(what, hint));
        }
        Ok(Reply::None("no answer"))
    }
}
