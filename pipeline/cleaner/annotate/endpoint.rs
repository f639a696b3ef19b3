//! A language model as annotator: every behaviour is asked about once, over all runs.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use dataset::{Account, Error, Result, Store};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::chat::{Answer, Chat};
use super::{Annotate, Verdict, prompt};

/// Behaviours in a row that the server leaves unanswered before the run gives up on it.
const PATIENCE: u32 = 5;

/// The language model and the answers it gave before.
#[derive(Debug)]
pub struct Endpoint {
    chat: Chat,
    store: Store,
    model: String,
    concurrency: usize,
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
    /// Checks the settings; sends nothing yet. Answers are kept under `_cache/annotate` in the store.
    pub fn new(settings: &Annotate, store: &Store) -> Result<Self> {
        let Annotate { endpoint, model, concurrency, timeout_s, attempts, allow_remote_text, .. } = settings;
        if *concurrency == 0 || !(*timeout_s > 0.0 && timeout_s.is_finite()) {
            let got = format!("concurrency {concurrency}, timeout_s {timeout_s}");
            return Err(Error::setting("[annotate]", "a positive concurrency and timeout_s", got, "leave them out"));
        }
        let timeout = Duration::from_secs_f64(*timeout_s);
        Ok(Endpoint {
            chat: Chat::new(endpoint, model, timeout, *attempts, *allow_remote_text)?,
            store: store.clone(),
            model: model.clone(),
            concurrency: *concurrency,
            unanswered_in_a_row: AtomicU32::new(0),
            cached: AtomicU64::new(0),
        })
    }

    /// Requests sent, and behaviours answered from the cache.
    pub fn traffic(&self) -> (u64, u64) {
        (self.chat.requests.load(Ordering::Relaxed), self.cached.load(Ordering::Relaxed))
    }

    /// Verdicts in the texts' order; `None` and counted where none was to be had.
    pub(super) fn ask_all(&self, texts: &[&str], account: &mut Account) -> Result<Vec<Option<Verdict>>> {
        let next = AtomicUsize::new(0);
        let outcomes: Mutex<Vec<(usize, Result<Outcome>)>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..self.concurrency.min(texts.len()) {
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
        Ok(verdicts)
    }

    fn ask(&self, text: &str) -> Result<Outcome> {
        let messages = prompt::messages(text);
        let question = json!([self.model, prompt::VERSION, messages]).to_string();
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
            let what = format!("no answer to {PATIENCE} behaviours in a row (the last: {why})");
            return Err(Error::io("endpoint", std::io::Error::other(what)));
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
    (label <= 1).then_some(Verdict { keep: label == 1, reason })
}

#[cfg(test)]
mod tests {
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
}
