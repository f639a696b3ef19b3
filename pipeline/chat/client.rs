//! A client of OpenAI-compatible chat servers: bounded waits, retries with backoff, no people's text in errors.

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dataset::{Error, Result};
use serde_json::{Value, json};
use ureq::Agent;

use crate::Server;
use crate::wire::{Answer, message, read, retry_after};

/// The environment variable with the server's key.
const KEY: &str = "QUERENT_API_KEY";
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const LARGEST_ANSWER: u64 = 1 << 20;

/// One server and model.
#[derive(Debug)]
pub struct Client {
    url: String,
    model: String,
    key: Option<String>,
    attempts: u32,
    agent: Agent,
    /// What the server was found to do.
    manners: Manners,
    /// Requests sent.
    requests: AtomicU64,
    /// What the setting of its address is called.
    setting: String,
}

/// Found out by asking: servers differ in what they take.
#[derive(Debug, Default)]
struct Manners {
    /// It answered under a schema. What it refuses from then on, it does not refuse for the schema.
    takes_schema: AtomicBool,
    /// It answered without one what it had refused with one.
    refuses_schema: AtomicBool,
    /// It calls the bound of an answer `max_completion_tokens`.
    renamed_bound: AtomicBool,
}

/// Why there is no answer to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unanswered {
    /// The server was asked as often as it may be. Another day it may answer.
    Failed(String),
    /// The server will not answer this question.
    Refused(String),
}

/// Why a request came to nothing.
#[derive(Debug)]
struct Refusal {
    /// The HTTP status; none where no answer came, or one that cannot be read.
    status: Option<u16>,
    /// What was got, in words.
    got: String,
    then: Then,
}

/// What to do about it.
#[derive(Debug)]
enum Then {
    /// Ask again, perhaps not before this time has passed.
    Later(Option<Duration>),
    /// Ask again, with the bound of an answer under its newer name.
    Rename,
    /// This question will not be answered.
    GiveUp,
    /// No question will.
    Stop,
}

impl Refusal {
    fn unanswered(why: impl ToString) -> Self {
        Refusal { status: None, got: why.to_string(), then: Then::Later(None) }
    }

    /// What servers say that take no schema: 400, 422, or as llama-cpp-python, 500.
    fn may_be_the_schemas(&self) -> bool {
        matches!(self.status, Some(400 | 422 | 500)) && !matches!(self.then, Then::Rename)
    }
}

fn is(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Relaxed)
}

impl Client {
    /// Takes the key from the environment; sends nothing yet.
    ///
    /// # Errors
    /// When the key is none.
    pub fn open(server: &Server) -> Result<Self> {
        Self::with_key(server, std::env::var_os(KEY).filter(|key| !key.is_empty()))
    }

    fn with_key(server: &Server, key: Option<OsString>) -> Result<Self> {
        let key = key.map(|key| match key.into_string() {
            Ok(key) if key.bytes().all(|c| c.is_ascii_graphic()) => Ok(key),
            _ => Err(Error::setting(KEY, "visible ASCII characters", "others too", "copy the key again")),
        });
        let config = Agent::config_builder()
            .timeout_global(Some(server.timeout))
            .http_status_as_error(false)
            // A redirect or a proxy could carry texts to another host.
            .max_redirects(0)
            .max_redirects_will_error(false);
        let config = if server.remote { config } else { config.proxy(None) };
        Ok(Client {
            url: server.url.to_string(),
            model: server.model.clone(),
            key: key.transpose()?,
            attempts: server.attempts,
            agent: config.build().new_agent(),
            manners: Manners::default(),
            requests: AtomicU64::new(0),
            setting: server.setting("endpoint"),
        })
    }

    /// Requests sent so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// The server cannot be asked as it is set up: it refused what it was asked.
    pub(crate) fn refused(&self, got: &str) -> Error {
        let hint = format!("check endpoint and model; a key is taken from the environment variable {KEY}");
        Error::setting(&self.setting, "a server that answers", got, hint)
    }

    /// Asks once, and again while the server says later. A server that refuses under a schema is asked without, once; if it answers then, it is
    /// asked without from then on.
    ///
    /// # Errors
    /// When the server refuses whoever asks.
    pub fn ask(&self, messages: &Value, format: &Value, max_tokens: u32) -> Result<Result<Answer, Unanswered>> {
        let Manners { takes_schema, refuses_schema, renamed_bound } = &self.manners;
        let (mut wait, mut tried, mut bare) = (FIRST_WAIT, 0, false);
        loop {
            let with_schema = !bare && !is(refuses_schema);
            let Refusal { got, then, .. } = match self.request(messages, with_schema.then_some(format), max_tokens) {
                Ok(answer) => {
                    if with_schema {
                        takes_schema.store(true, Ordering::Relaxed);
                    } else if bare && !is(takes_schema) {
                        refuses_schema.store(true, Ordering::Relaxed);
                    }
                    return Ok(Ok(answer));
                }
                Err(refusal) if with_schema && !is(takes_schema) && refusal.may_be_the_schemas() => {
                    bare = true;
                    continue;
                }
                Err(refusal) => refusal,
            };
            match then {
                Then::Rename => renamed_bound.store(true, Ordering::Relaxed),
                Then::Stop => return Err(self.refused(&got)),
                Then::GiveUp => return Ok(Err(Unanswered::Refused(got))),
                Then::Later(at_least) => {
                    // The schema was not what it refused.
                    bare = false;
                    tried += 1;
                    if tried >= self.attempts {
                        return Ok(Err(Unanswered::Failed(got)));
                    }
                    std::thread::sleep(at_least.unwrap_or(wait).min(LONGEST_WAIT));
                    wait = (2 * wait).min(LONGEST_WAIT);
                }
            }
        }
    }

    fn request(&self, messages: &Value, format: Option<&Value>, max_tokens: u32) -> Result<Answer, Refusal> {
        let renamed = is(&self.manners.renamed_bound);
        let bound = if renamed { "max_completion_tokens" } else { "max_tokens" };
        let mut body = json!({"model": self.model, "messages": messages, "temperature": 0, bound: max_tokens});
        if let Some(format) = format {
            body["response_format"] = format.clone();
        }
        let mut request = self.agent.post(&self.url).content_type("application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        let mut response = request.send(body.to_string()).map_err(Refusal::unanswered)?;
        let (status, wait) = (response.status().as_u16(), retry_after(response.headers()));
        let body = response.body_mut().with_config().limit(LARGEST_ANSWER).read_to_string();
        if (200..300).contains(&status) {
            return read(&body.map_err(Refusal::unanswered)?).map_err(Refusal::unanswered);
        }
        let body = body.unwrap_or_default();
        let got = format!("HTTP {status}{}", message(&body, messages, self.key.as_deref()));
        let then = match status {
            400 | 422 if !renamed && body.contains("max_completion_tokens") => Then::Rename,
            400 | 413 | 422 => Then::GiveUp,
            408 | 409 | 425 | 429 | 500.. => Then::Later(wait),
            _ => Then::Stop,
        };
        Err(Refusal { status: Some(status), got, then })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ServerSettings;

    #[test]
    fn a_key_that_is_none_is_refused_and_not_shown() {
        let server = Server::new(&ServerSettings::local("http://localhost/v1")).expect("sound");
        for key in ["planted\r\nX-More: 1", "planted\u{fc}", "planted key"] {
            let error = Client::with_key(&server, Some(key.into())).expect_err("no key");
            assert_eq!(error.exit_code(), 2);
            assert!(!error.to_string().contains("planted"), "{error}");
        }
        assert!(Client::with_key(&server, Some("sk-planted_1".into())).is_ok());
    }
}
