//! A client of OpenAI-compatible chat servers: bounded waits, retries with backoff, no people's text in errors.

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dataset::{Error, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::Response;

use crate::Server;

/// The environment variable with the server's key.
const KEY: &str = "QUERENT_API_KEY";
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const LARGEST_ANSWER: u64 = 1 << 20;
/// What a server says that it has read or written, at most: more would be no count of tokens.
const MOST_TOKENS: u64 = 1 << 32;

/// One server and model.
#[derive(Debug)]
pub struct Client {
    url: String,
    model: String,
    key: Option<String>,
    attempts: u32,
    agent: Agent,
    /// The server refused to be held to a schema.
    schema_refused: AtomicBool,
    /// Requests sent.
    requests: AtomicU64,
    /// What the setting of its address is called.
    setting: String,
}

/// A model's answer.
#[derive(Debug)]
pub struct Answer {
    /// What it said; `None` when it was cut off.
    pub content: Option<String>,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
}

/// Why there is no answer.
#[derive(Debug)]
enum Refusal {
    /// Worth another try, perhaps not before this time has passed.
    Later(String, Option<Duration>),
    /// The server does not know the schema.
    Schema,
    /// The request is wrong for every text.
    Never(u16),
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
            schema_refused: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            setting: server.setting("endpoint"),
        })
    }

    /// Requests sent so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Asks once, and again while the server says later. `Ok(Err(why))`: it never answered.
    pub fn ask(&self, messages: &Value, format: &Value, max_tokens: u32) -> Result<Result<Answer, String>> {
        let mut wait = FIRST_WAIT;
        let mut tried = 0;
        loop {
            let with_schema = !self.schema_refused.load(Ordering::Relaxed);
            match self.request(messages, with_schema.then_some(format), max_tokens) {
                Ok(answer) => return Ok(Ok(answer)),
                Err(Refusal::Schema) => self.schema_refused.store(true, Ordering::Relaxed),
                Err(Refusal::Never(status)) => {
                    let hint = format!("check endpoint and model; a key is taken from the environment variable {KEY}");
                    return Err(Error::setting(&self.setting, "a server that answers", format!("HTTP {status}"), hint));
                }
                Err(Refusal::Later(why, at_least)) => {
                    tried += 1;
                    if tried >= self.attempts {
                        return Ok(Err(why));
                    }
                    std::thread::sleep(at_least.unwrap_or(wait).min(LONGEST_WAIT));
                    wait = (2 * wait).min(LONGEST_WAIT);
                }
            }
        }
    }

    fn request(&self, messages: &Value, format: Option<&Value>, max_tokens: u32) -> Result<Answer, Refusal> {
        let mut body = json!({"model": self.model, "messages": messages, "temperature": 0, "max_tokens": max_tokens});
        if let Some(format) = format {
            body["response_format"] = format.clone();
        }
        let mut request = self.agent.post(&self.url).content_type("application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        let mut response = request.send(body.to_string()).map_err(|e| Refusal::Later(e.to_string(), None))?;
        match response.status().as_u16() {
            200..300 => {}
            400 | 422 if format.is_some() => return Err(Refusal::Schema),
            status @ (408 | 409 | 425 | 429 | 500..) => {
                return Err(Refusal::Later(format!("HTTP {status}"), retry_after(&response)));
            }
            status => return Err(Refusal::Never(status)),
        }
        let body = response.body_mut().with_config().limit(LARGEST_ANSWER).read_to_string();
        let body = body.map_err(|e| Refusal::Later(e.to_string(), None))?;
        let completion: Completion = serde_json::from_str(&body)
            .map_err(|_| Refusal::Later("an answer that is no chat completion".into(), None))?;
        let Usage { prompt_tokens, completion_tokens } = completion.usage.unwrap_or_default();
        let choice = completion.choices.into_iter().next();
        let content = choice.filter(|c| c.finish_reason.as_deref() != Some("length")).and_then(|c| c.message.content);
        let [prompt_tokens, completion_tokens] = [prompt_tokens, completion_tokens].map(|n| n.min(MOST_TOKENS));
        Ok(Answer { content, prompt_tokens, completion_tokens })
    }
}

/// Seconds to wait, where the server says so.
fn retry_after<B>(response: &Response<B>) -> Option<Duration> {
    let value = response.headers().get("retry-after")?.to_str().ok()?;
    value.trim().parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
}

#[derive(Default, Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
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
