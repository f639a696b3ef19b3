//! Requests to a model's server: bounded waits, retries with backoff, no people's text in errors.

use std::ffi::OsString;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dataset::{Error, Result};
use serde::Serialize;
use ureq::Agent;

use crate::Server;
use crate::wire::{message, retry_after};

/// The environment variable with the server's key.
const KEY: &str = "QUERENT_API_KEY";
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// One address of a server.
#[derive(Debug)]
pub(crate) struct Http {
    url: String,
    key: Option<String>,
    attempts: u32,
    /// Bytes of an answer, at most.
    largest: u64,
    agent: Agent,
    /// Requests sent.
    requests: AtomicU64,
    /// What the setting of its address is called.
    setting: String,
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
pub(crate) struct Refusal {
    /// The HTTP status; none where no answer came, or one that cannot be read.
    pub(crate) status: Option<u16>,
    /// What was got, in words.
    pub(crate) got: String,
    pub(crate) then: Then,
    /// What the server sent with it.
    pub(crate) body: String,
}

/// What to do about it.
#[derive(Debug)]
pub(crate) enum Then {
    /// Ask again, perhaps not before this time has passed.
    Later(Option<Duration>),
    /// This question will not be answered.
    GiveUp,
    /// No question will.
    Stop,
}

impl Refusal {
    pub(crate) fn unanswered(why: impl ToString) -> Self {
        Refusal { status: None, got: why.to_string(), then: Then::Later(None), body: String::new() }
    }
}

/// How often a question was asked, and how long to wait before it is asked again.
#[derive(Debug)]
pub(crate) struct Patience {
    tried: u32,
    wait: Duration,
}

impl Patience {
    pub(crate) fn new() -> Self {
        Patience { tried: 0, wait: FIRST_WAIT }
    }
}

impl Http {
    /// Takes the key from the environment; sends nothing yet. `path`: what follows the server's address.
    ///
    /// # Errors
    /// When the key is none.
    pub(crate) fn open(server: &Server, path: &str, largest: u64) -> Result<Self> {
        Self::with_key(server, path, largest, std::env::var_os(KEY).filter(|key| !key.is_empty()))
    }

    fn with_key(server: &Server, path: &str, largest: u64, key: Option<OsString>) -> Result<Self> {
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
        Ok(Http {
            url: server.at(path).to_string(),
            key: key.transpose()?,
            attempts: server.attempts,
            largest,
            agent: config.build().new_agent(),
            requests: AtomicU64::new(0),
            setting: server.setting("endpoint"),
        })
    }

    /// Requests sent so far.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// The server cannot be asked as it is set up: it refused what it was asked.
    pub(crate) fn refused(&self, got: &str) -> Error {
        let hint = format!("check endpoint and model; a key is taken from the environment variable {KEY}");
        Error::setting(&self.setting, "a server that answers", got, hint)
    }

    /// Sends a request. `question`: people's text in it, which no error repeats.
    pub(crate) fn post(&self, body: &impl Serialize, question: &str) -> Result<String, Refusal> {
        let mut request = self.agent.post(&self.url).content_type("application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        let body = serde_json::to_string(body).map_err(Refusal::unanswered)?;
        let mut response = request.send(body).map_err(Refusal::unanswered)?;
        let (status, wait) = (response.status().as_u16(), retry_after(response.headers()));
        let body = response.body_mut().with_config().limit(self.largest).read_to_string();
        if (200..300).contains(&status) {
            return body.map_err(Refusal::unanswered);
        }
        let body = body.unwrap_or_default();
        let got = format!("HTTP {status}{}", message(&body, question, self.key.as_deref()));
        let then = match status {
            400 | 413 | 422 => Then::GiveUp,
            408 | 409 | 425 | 429 | 500.. => Then::Later(wait),
            _ => Then::Stop,
        };
        Err(Refusal { status: Some(status), got, then, body })
    }

    /// Waits until the question may be asked again.
    ///
    /// # Errors
    /// When no more is to be done about it; the outer one, when the server refuses whoever asks.
    pub(crate) fn wait(&self, refusal: Refusal, patience: &mut Patience) -> Result<Result<(), Unanswered>> {
        let Refusal { got, then, .. } = refusal;
        match then {
            Then::Stop => Err(self.refused(&got)),
            Then::GiveUp => Ok(Err(Unanswered::Refused(got))),
            Then::Later(at_least) => {
                patience.tried += 1;
                if patience.tried >= self.attempts {
                    return Ok(Err(Unanswered::Failed(got)));
                }
                std::thread::sleep(at_least.unwrap_or(patience.wait).min(LONGEST_WAIT));
                patience.wait = (2 * patience.wait).min(LONGEST_WAIT);
                Ok(Ok(()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ServerSettings;

    #[test]
    fn a_key_that_is_none_is_refused_and_not_shown() {
        let server = Server::new(&ServerSettings::local("http://localhost/v1")).expect("sound");
        let with_key = |key: &str| Http::with_key(&server, "x", 1, Some(key.into()));
        for key in ["planted\r\nX-More: 1", "planted\u{fc}", "planted key"] {
            let error = with_key(key).expect_err("no key");
            assert_eq!(error.exit_code(), 2);
            assert!(!error.to_string().contains("planted"), "{error}");
        }
        assert!(with_key("sk-planted_1").is_ok());
    }
}
